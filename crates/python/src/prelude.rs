//! The little program that Python is started with, which marks where the user's code begins.
//!
//! `dig` and `exec` start an interpreter with [`command`]. The prelude reads the user's program from a
//! descriptor, builds a fresh `__main__`, and then makes a system call that means nothing to the
//! kernel, `lseek(-1, "callgate", SEEK_SET)`: the [`MARKER`]. A supervisor that traces the process sees
//! it, knows that start-up is over, and answers by making the call return [`Marker::ACK`]. Without that
//! answer the prelude says so on stderr and exits with [`UNANSWERED`]: the user's code is not run by an
//! interpreter that nobody watches. No byte of it is decoded, compiled or evaluated before the answer.
//!
//! After the answer the program runs as under `python -I -B FILE`: the same `__main__`, `sys.argv`,
//! exit codes, and tracebacks with source lines and without the prelude's frames, although there is no
//! file. What still differs: `sys.orig_argv` and `/proc/self/cmdline` show the prelude; a walk over
//! `sys._getframe()` finds its two frames below `<module>`; before CPython 3.13, tracebacks printed for
//! a thread, for `__del__` or by the program's own hook with `sys.__excepthook__` have no source lines
//! if the file isn't there; `multiprocessing` with `spawn` or `forkserver` can't import `__main__` again
//! unless the file is there; source that is neither UTF-8 nor declares its encoding gets the message of
//! `compile`. The prelude's own text can be compiled ahead ([`Bytecode`]): then there is one frame more below
//! `<module>`, and nothing else differs.

mod bytecode;

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::Path;

pub use self::bytecode::Bytecode;

/// The prelude's source, as given to `python -c`, for one program.
const SOURCE: &str = concat!(
    include_str!("prelude/prelude.py"),
    include_str!("prelude/once.py")
);

/// The exit code of a prelude whose marker was not answered, or that could not read the program.
pub const UNANSWERED: i32 = 125;

/// The call that the prelude makes just before it turns to the user's code.
pub const MARKER: Marker = Marker {
    fd: -1,
    offset: 0x6361_6c6c_6761_7465,
    whence: 0,
};

/// The arguments of the marker call, an `lseek` that would fail with EBADF if nobody answered it.
///
/// A program can make the same call later. It marks something only once per process start: a
/// supervisor answers the first one and treats any further one as what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The descriptor: -1, which is never open.
    pub fd: i32,
    /// The offset: "callgate" in ASCII, most significant byte first.
    pub offset: u64,
    /// `SEEK_SET`.
    pub whence: u32,
}

impl Marker {
    /// The name of the call; its number comes from [`callgate_abi::Arch::call`].
    pub const SYSCALL: &str = "lseek";

    /// What a supervisor makes the marker return: "attend" in ASCII. As a file offset it is valid and
    /// positive, so that no libc takes it for an errno.
    pub const ACK: u64 = 0x6174_7465_6e64;

    /// Whether an `lseek` with these arguments is the marker.
    ///
    /// `fd` and `whence` are compared by their low 32 bits: they are `int`s, and the upper half of the
    /// register is undefined in both calling conventions.
    pub fn is_marker(&self, args: &[u64; 6]) -> bool {
        let low = |value: u64| (value & 0xffff_ffff) as u32;
        low(args[0]) == self.fd as u32 && args[1] == self.offset && low(args[2]) == self.whence
    }
}

/// The argument vector that starts `interpreter` with the prelude, for the program that can be read to
/// its end from descriptor `code_fd` of the new process.
///
/// `name` is what the program is told about itself: `sys.argv[0]`, `__file__` and the file in
/// tracebacks. The interpreter is isolated (`-I`: no `PYTHON*` variables, no user site, neither the
/// working directory nor the program's on `sys.path`) and writes no bytecode (`-B`); `site` and `.pth`
/// files of the environment are processed. `compiled` has to be this interpreter's, and the descriptor to hold what
/// [`Bytecode::and`] makes; without it the interpreter compiles the text.
pub fn command(
    interpreter: &Path,
    compiled: Option<&Bytecode>,
    code_fd: RawFd,
    name: &str,
    args: &[OsString],
) -> Vec<OsString> {
    let mut argv: Vec<OsString> = vec![interpreter.into()];
    argv.extend(["-I", "-B", "-c"].map(OsString::from));
    argv.push(compiled.map_or_else(|| SOURCE.into(), |compiled| compiled.program(code_fd)));
    argv.push(code_fd.to_string().into());
    argv.push(name.into());
    argv.extend_from_slice(args);
    argv
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_is_told_from_other_seeks_by_the_bits_the_kernel_reads() {
        let args = |fd, offset, whence| [fd, offset, whence, 7, 7, 7];
        assert!(MARKER.is_marker(&args(u64::MAX, 0x6361_6c6c_6761_7465, 0)));
        assert!(MARKER.is_marker(&args(0x0000_0000_ffff_ffff, 0x6361_6c6c_6761_7465, 0)));
        assert!(!MARKER.is_marker(&args(0, 0x6361_6c6c_6761_7465, 0)));
        assert!(!MARKER.is_marker(&args(u64::MAX, 0x6761_7465, 0)));
        assert!(!MARKER.is_marker(&args(u64::MAX, 0x6361_6c6c_6761_7465, 1)));
    }

    #[test]
    fn both_sides_mean_the_same_words() {
        assert_eq!(&MARKER.offset.to_be_bytes(), b"callgate");
        assert_eq!(&Marker::ACK.to_be_bytes()[2..], b"attend");
        assert!(SOURCE.contains(
            &format!("lseek({}, {:#X}, {})", MARKER.fd, MARKER.offset, MARKER.whence).replace("0X", "0x")
        ));
        assert!(SOURCE.contains(&format!("{:#X}", Marker::ACK).replace("0X", "0x")));
    }
}
