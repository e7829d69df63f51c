//! The moment from which the filter is in force.

use callgate_abi::{Action, Arch, Filter, Instruction, Syscall};
use callgate_python::prelude::{MARKER, Marker};

use crate::bpf::{JUMP_EQUAL, LOAD, RETURN};

/// When the filter is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// When the interpreter has started and before the first byte of the user's code is compiled:
    /// neither the loader's nor the interpreter's own calls need be allowed.
    Body,
    /// When the program has been executed and before its first instruction: execve need not be
    /// allowed.
    Exec,
}

/// What the marker's filter sends to the tracer; no refusal is told by it.
pub(crate) const MARKER_DATA: u32 = 0;

/// The call by which what starts the code says that start-up is over: one that means nothing to the kernel, and
/// fails where nobody answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sign {
    syscall: &'static str,
    /// Halves of its arguments, by their offsets in struct seccomp_data (linux/seccomp.h): 16, and 8 for each
    /// argument, low half first on both architectures.
    words: &'static [(u32, u32)],
    /// What it is made to return.
    pub(crate) answer: i64,
}

impl Sign {
    /// That of Python's prelude.
    pub(crate) const PYTHON: Self = Self {
        syscall: Marker::SYSCALL,
        words: &[
            (16, MARKER.fd as u32),
            (24, (MARKER.offset & 0xffff_ffff) as u32),
            (28, (MARKER.offset >> 32) as u32),
            (32, MARKER.whence),
        ],
        answer: Marker::ACK as i64,
    };

    /// That of the program that starts JavaScript, from which few calls can be made as one likes: `kill` of no
    /// signal, to a number that no process has ("call" in ASCII; the kernel gives none above 4,194,304).
    pub(crate) const NODE: Self = Self {
        syscall: "kill",
        words: &[(16, 0x6361_6c6c), (24, 0)],
        answer: 0,
    };

    /// Whether a call is this one.
    pub(crate) fn is(&self, call: Syscall, args: &[u64; 6]) -> bool {
        let half = |offset: u32| {
            let word = args
                .get(((offset - 16) / 8) as usize)
                .copied()
                .unwrap_or_default();
            (word >> (offset % 8 * 8)) as u32
        };
        call.arch() == Some(Arch::NATIVE)
            && call.known_name() == Some(self.syscall)
            && self.words.iter().all(|(offset, value)| half(*offset) == *value)
    }
}

/// A filter that stops for the tracer at the sign and lets everything else pass. It is in
/// force from before the interpreter's start, so that nothing else has to be stopped for. Without a
/// tracer the call fails, and what made it does not start the code.
pub(crate) fn marker_filter(sign: &Sign) -> Option<Filter> {
    let call = Arch::NATIVE.call(sign.syscall).ok()?;
    let mut wanted = vec![(4, Arch::NATIVE.audit()), (0, call.nr())];
    wanted.extend(sign.words);
    let mut program = Vec::new();
    let mut left = (wanted.len() * 2) as u8;
    for (offset, value) in wanted {
        left -= 2;
        program.push(Instruction {
            code: LOAD,
            jt: 0,
            jf: 0,
            k: offset,
        });
        // A mismatch skips what is left of the comparisons and the first return.
        program.push(Instruction {
            code: JUMP_EQUAL,
            jt: 0,
            jf: left + 1,
            k: value,
        });
    }
    program.push(Instruction {
        code: RETURN,
        jt: 0,
        jf: 0,
        k: Action::Trace(MARKER_DATA as u16).ret(),
    });
    program.push(Instruction {
        code: RETURN,
        jt: 0,
        jf: 0,
        k: Action::Allow.ret(),
    });
    Some(Filter(program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_told_by_the_bits_the_kernel_reads() {
        let call = |name: &str| Arch::NATIVE.call(name).unwrap();
        let args = [0x6361_6c6c | 7 << 32, 7 << 32, 9, 9, 9, 9];
        assert!(Sign::NODE.is(call("kill"), &args));
        assert!(
            !Sign::NODE.is(call("tkill"), &args)
                && !Sign::NODE.is(call("kill"), &[0x6361_6c6c, 9, 0, 0, 0, 0])
        );
        let seek = [u64::MAX, MARKER.offset, 0, 1, 1, 1];
        assert!(Sign::PYTHON.is(call("lseek"), &seek) && MARKER.is_marker(&seek));
        assert!(!Sign::PYTHON.is(
            call("lseek"),
            &[u64::MAX, MARKER.offset & 0xffff_ffff, 0, 0, 0, 0]
        ));
        // Both sides mean the same.
        let start = include_str!("node/start.js");
        assert!(start.contains(&format!("process.kill({:#x}, 0)", Sign::NODE.words[0].1)));
    }
}
