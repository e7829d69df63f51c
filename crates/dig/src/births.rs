//! `CLONE_UNTRACED`: the flag by which a child hides from tracers (clone(2)) is taken away for the time of
//! the call, and put back where the program could see it.

use callgate_abi::{Syscall, flags_in_memory};
use callgate_tracee::{Stopped, TraceeError};

use crate::traits::CLONE_UNTRACED;

/// What is to be put back when the call has been made, in the parent and in the child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Undo {
    /// The first argument.
    Argument(u64),
    /// Eight bytes.
    Memory { address: u64, value: u64 },
}

/// Takes the flag away, if it is there.
pub(crate) fn reveal(tracee: &Stopped, call: Syscall, args: &[u64; 6]) -> Result<Option<Undo>, TraceeError> {
    match call.known_name() {
        Some("clone") if args[0] & CLONE_UNTRACED != 0 => {
            tracee.set_argument(0, args[0] & !CLONE_UNTRACED)?;
            Ok(Some(Undo::Argument(args[0])))
        }
        Some("clone3") => {
            let Some(place) = flags_in_memory(call) else {
                return Ok(None);
            };
            let address = args[place.pointer];
            let mut flags = [0; 8];
            // What can't be read can't be read by the kernel either: the call will fail.
            if !tracee
                .read(address, &mut flags)
                .is_ok_and(|read| read == flags.len())
            {
                return Ok(None);
            }
            let value = u64::from_ne_bytes(flags);
            if value & CLONE_UNTRACED == 0 {
                return Ok(None);
            }
            // Even where the program itself may not write.
            tracee.poke(address, &(value & !CLONE_UNTRACED).to_ne_bytes())?;
            Ok(Some(Undo::Memory { address, value }))
        }
        _ => Ok(None),
    }
}

impl Undo {
    /// Puts it back.
    pub(crate) fn apply(&self, tracee: &Stopped) -> Result<(), TraceeError> {
        match self {
            Self::Argument(value) => tracee.restore_argument(0, *value),
            Self::Memory { address, value } => tracee.poke(*address, &value.to_ne_bytes()),
        }
    }
}
