//! What the unwinder starts from on x86-64.

use callgate_tracee::Frame;
use framehop::UnwindRegsNative;

/// The registers of a tracee, as the unwinder takes them.
pub(crate) fn registers(frame: &Frame) -> UnwindRegsNative {
    UnwindRegsNative::new(frame.instruction, frame.stack, frame.frame)
}
