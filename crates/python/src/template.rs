//! A Python interpreter that has its modules imported and is forked for each program: a *template*.
//!
//! It is started with [`command`] and speaks by the [marker](crate::prelude::MARKER): once for each module
//! that it has imported, in their order, and once more when it is ready. Then it reads from its control
//! socket (`SOCK_SEQPACKET`): one byte, with descriptors. The first is for those who set the fork up; after
//! [`INTO`] it is a pidfd of a process in whose pid namespace the fork is to be. The second is the fork's own socket,
//! its *seat*; whatever follows is for those who set the fork up, too. It answers with numbers of four bytes: the
//! fork's pid (as the template sees it), or minus the errno, and then the descriptors' numbers in the fork.
//!
//! In the fork the seat has the number of the template's control socket, whose place it takes; so says the answer. The
//! fork waits for a byte on it, reseeds what has not reseeded itself, and makes the marker call, at which the supervisor
//! sets it up. What comes next on its seat is a byte of flags, with the descriptors of its standard streams. What
//! [`program`] makes follows it if it says [`INLINE`], else it is in a file whose descriptor comes last. With [`USUAL`] the
//! streams are what most runs have, and need not be looked at. From there on it is as in the
//! [prelude](crate::prelude): the marker once more, and then the program.
//!
//! What forks of one template share: the hash seed of strings, the layout of memory, and the state of
//! whatever generator the template's modules have made for themselves. Reseeded are `random` (by itself),
//! numpy's global generator, the names of `tempfile`, the node of `uuid`, `multiprocessing`'s key; OpenSSL
//! reseeds itself, for a fork has another process number than its template.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The template's source, as given to `python -c`.
const SOURCE: &str = concat!(
    include_str!("prelude/prelude.py"),
    include_str!("prelude/template.py")
);

/// What `python -c` gets: it compiles the source, which is its first argument. The interpreter keeps the syntax tree of
/// what it is given itself until that has ended, and so each fork would take the template's apart.
const START: &str = r#"exec(compile(__import__("sys").argv.pop(1), "<string>", "exec", 0, True))"#;

/// The byte that asks for a fork in the pid namespace of the first descriptor's process.
pub const INTO: u8 = b'p';
/// The byte that asks for a fork where the template is.
pub const HERE: u8 = b'f';

/// The program follows in the same message: no more bytes than [`INLINE_MOST`].
pub const INLINE: u8 = 1;
/// Standard input is `/dev/null`, the others are pipes.
pub const USUAL: u8 = 2;

/// How long a program may be that follows its flags, in bytes: as much as a fork makes room for.
pub const INLINE_MOST: usize = 16 << 10;

/// Variables that keep libraries from starting threads when they are imported: a fork would lack them. And one that has
/// the loader look up at once what a library calls (ld.so(8)): else each fork would do so for what it is first to call.
/// Set while the template imports, and not seen by the programs.
pub const VARIABLES: [(&str, &str); 7] = [
    ("LD_BIND_NOW", "1"),
    ("OMP_NUM_THREADS", "1"),
    ("OPENBLAS_NUM_THREADS", "1"),
    ("MKL_NUM_THREADS", "1"),
    ("BLIS_NUM_THREADS", "1"),
    ("NUMEXPR_NUM_THREADS", "1"),
    ("VECLIB_MAXIMUM_THREADS", "1"),
];

/// What programs begin with: a text of the supervisor's own, which the template compiles once. A program that begins
/// with it runs as it would anyway, but that the rest is a text of its own: its lines are counted from 1.
///
/// To compile twenty lines takes longer than a short program.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// The name that such programs have.
    pub name: String,
    /// The text, whole lines of Python without a NUL.
    pub text: String,
    /// A rest with which it does nothing. The template runs both, as Python learns by repetition.
    pub rest: String,
}

/// The argument vector that starts `interpreter` as a template, whose control socket is descriptor `control`.
/// `hidden` are the variables that its programs don't see.
pub fn command(
    interpreter: &Path,
    control: RawFd,
    hidden: &[&str],
    beginning: Option<&Beginning>,
    modules: &[String],
) -> Vec<OsString> {
    let mut argv: Vec<OsString> = vec![interpreter.into()];
    argv.extend(["-I", "-B", "-c", START, SOURCE].map(OsString::from));
    argv.push(control.to_string().into());
    argv.push(hidden.join(",").into());
    argv.extend(match beginning {
        Some(Beginning { name, text, rest }) => [name, text, rest].map(OsString::from),
        None => ["", "", ""].map(OsString::from),
    });
    argv.extend(modules.iter().map(OsString::from));
    argv
}

/// A program as a fork takes it: the length of its name and arguments, these (with a NUL between two), and
/// its bytes, which nobody looks at before the lock.
pub fn program(name: &str, args: &[OsString], code: &[u8]) -> Vec<u8> {
    let words: Vec<&[u8]> = std::iter::once(OsStr::new(name))
        .chain(args.iter().map(OsString::as_os_str))
        .map(OsStr::as_bytes)
        .collect();
    let words = words.join(&0);
    let mut all = (words.len() as u64).to_le_bytes().to_vec();
    all.extend(words);
    all.extend(code);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_its_words_and_its_bytes() {
        let all = program("a b", &["x".into(), String::new().into()], b"print(1)\n");
        assert_eq!(&all[..8], &6_u64.to_le_bytes());
        assert_eq!(&all[8..], b"a b\0x\0print(1)\n");
    }
}
