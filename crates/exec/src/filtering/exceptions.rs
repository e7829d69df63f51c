//! What stays refused, if the policy refuses it, while all else is allowed for learning.
//!
//! The other layers hold code that is free to make calls; they were not built to hold what these calls
//! give it:
//! - whatever has a [`risk`] that lint warns of: other processes' memory and descriptors, mounts and
//!   namespaces, calls that no filter sees (io_uring), and the parts of the kernel with a record of flaws;
//! - further filters, whose answers could come between the kernel and the supervisor;
//! - clone with flags for namespaces, or for a thread that no tracer follows (clone3 is answered with
//!   ENOSYS by the supervisor: its flags lie in memory, where nobody can look without a race);
//! - sockets of families that are not separated by network namespaces, or that talk to the kernel (a run
//!   without a network and without such a namespace has a filter of its own against the rest);
//! - input into terminals;
//! - where the run has no namespaces of its own: System V and POSIX IPC objects, as nothing but the filter
//!   keeps it from those of others there.

use callgate_abi::{Arch, Severity, risk};

/// A call that stays refused for some arguments; the low halves are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Only {
    /// Where the argument has any of these bits.
    AnyBit { nr: u32, index: u8, bits: u32 },
    /// Where the argument is one of these values.
    Values {
        nr: u32,
        index: u8,
        values: &'static [u32],
    },
    /// Where it is none of these.
    Besides {
        nr: u32,
        index: u8,
        values: &'static [u32],
    },
}

/// The calls that stay refused on one architecture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Exceptions {
    /// Whatever their arguments.
    pub(super) whole: Vec<u32>,
    /// For some arguments.
    pub(super) some: Vec<Only>,
}

/// The flag bits of clone that make namespaces (`CLONE_NEW*`), without those of its exit signal.
pub(super) const NAMESPACES: u32 = 0x7e02_0000;
const UNTRACED: u32 = libc::CLONE_UNTRACED as u32;

const FAMILIES: &[u32] = &[
    libc::AF_UNIX as u32,
    libc::AF_INET as u32,
    libc::AF_INET6 as u32,
    libc::AF_NETLINK as u32,
];

/// `TIOCSTI` and `TIOCLINUX` (ioctl_tty(2)).
const TERMINAL: &[u32] = &[0x5412, 0x541c];

/// The flags of clone in its first argument, on both architectures.
const FLAGS: u8 = 0;

/// What makes objects that namespaces would separate.
const SHARED: [&str; 4] = ["shmget", "semget", "msgget", "mq_open"];

impl Exceptions {
    /// Those of a run on this architecture that has namespaces of its own, or has not.
    pub(super) fn of(arch: Arch, separate: bool) -> Self {
        let dangerous = arch
            .calls()
            .filter(|call| {
                call.known_name().is_some_and(|name| {
                    name == "seccomp"
                        || (!separate && SHARED.contains(&name))
                        || risk(name).is_some_and(|risk| risk.severity >= Severity::Warning)
                })
            })
            .map(|call| call.nr());
        let mut some = Vec::new();
        if let Ok(clone) = arch.call("clone") {
            some.push(Only::AnyBit {
                nr: clone.nr(),
                index: FLAGS,
                bits: NAMESPACES | UNTRACED,
            });
        }
        if let Ok(ioctl) = arch.call("ioctl") {
            some.push(Only::Values {
                nr: ioctl.nr(),
                index: 1,
                values: TERMINAL,
            });
        }
        if let Ok(socket) = arch.call("socket") {
            some.push(Only::Besides {
                nr: socket.nr(),
                index: 0,
                values: FAMILIES,
            });
        }
        Self {
            whole: dangerous.collect(),
            some,
        }
    }
}
