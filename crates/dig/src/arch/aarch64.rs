//! What the unwinder starts from on arm64.

use callgate_tracee::Frame;
use framehop::UnwindRegsNative;

/// The registers of a tracee, as the unwinder takes them.
pub(crate) fn registers(frame: &Frame) -> UnwindRegsNative {
    UnwindRegsNative::new(frame.link, frame.stack, frame.frame)
}
