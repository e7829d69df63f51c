//! What the kernel calls things: architectures, system calls, actions, argument conditions, filters.
//!
//! Every other crate speaks in these types. There is no I/O here and no `unsafe`.
//!
//! Terms:
//! - an [`Abi`] is a way to enter the kernel (x86-64, i386, x32, arm64, 32-bit arm); a number means
//!   nothing without it;
//! - an [`Arch`] is a machine that policies are written for: amd64 or arm64;
//! - a [`Syscall`] is a number under an ABI; numbers without a name survive as `syscall_999`;
//! - an [`Action`] is what a seccomp filter answers, ordered by the kernel's own precedence;
//! - an [`ArgKey`] is an argument that chooses what a call does, named as the kernel's headers name it;
//! - [`about`] says what a call does, its [`Group`] and the kernel that had it first, [`risk`] why it is
//!   dangerous in a sandbox;
//! - a [`Filter`] is a classic-BPF program over `struct seccomp_data`.
//!
//! ```
//! use callgate_abi::{Abi, Arch, Syscall};
//!
//! let call = Syscall::named(Abi::X86_64, "openat").unwrap();
//! assert_eq!(call.nr(), 257);
//! assert_eq!(Arch::Aarch64.call("openat").unwrap().nr(), 56);
//! assert_eq!(Syscall::new(Abi::X86_64, 999).name(), "syscall_999");
//! ```
//!
//! Limits: names and numbers come from the `syscalls` crate (Linux 6.17); see [`table`](crate::Syscall)
//! for the two corrections that arm64 needs.

mod action;
mod arch;
mod condition;
mod errno;
mod filter;
mod group;
mod keys;
mod risk;
mod site;
mod syscall;
mod table;

pub use action::{Action, UnknownAction};
pub use arch::{Abi, Arch, UnknownArch};
pub use condition::{ArgCondition, CompareOp, InvalidCondition};
pub use errno::{errno_name, errno_number};
pub use filter::{BPF_MAXINSNS, Filter, Instruction};
pub use group::{About, Group, about};
pub use keys::{
    ArgKey, FlagsInMemory, KeySet, argument_value, flags_in_memory, is_key, keys, keys_in_memory,
};
pub use risk::{Risk, Severity, risk};
pub use site::Site;
pub use syscall::{Syscall, UnknownName};
