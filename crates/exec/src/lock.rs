//! The moment from which the filter is in force.

use callgate_abi::{Action, Arch, Filter, Instruction};
use callgate_python::prelude::{MARKER, Marker};

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

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// A filter that stops for the tracer at the prelude's marker and lets everything else pass. It is in
/// force from before the interpreter's start, so that nothing else has to be stopped for. Without a
/// tracer the marker fails, and the prelude with it.
pub(crate) fn marker_filter() -> Option<Filter> {
    let call = Arch::NATIVE.call(Marker::SYSCALL).ok()?;
    // Offsets in struct seccomp_data (linux/seccomp.h): nr 0, arch 4, args from 16, 8 bytes each,
    // low half first on both architectures.
    let wanted = [
        (4, Arch::NATIVE.audit()),
        (0, call.nr()),
        (16, MARKER.fd as u32),
        (24, (MARKER.offset & 0xffff_ffff) as u32),
        (28, (MARKER.offset >> 32) as u32),
        (32, MARKER.whence),
    ];
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
