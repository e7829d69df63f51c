//! Policies: which call gets which action; how they are read, made, compared, compiled and emitted.
//!
//! Text becomes values and values become text: there are no files, no processes and no `unsafe` here.
//!
//! Terms:
//! - a [`Policy`] is a default [`Action`](callgate_abi::Action) and [`Rule`]s, by the kernel's names, for
//!   every architecture at once; on disk it is OCI seccomp JSON, with a `comment` that says where each
//!   rule came from (its provenance);
//! - [`Policy::decide`] says what a call gets: the most restrictive action of all rules that match it.
//!   It is the reference; [`compile()`] makes the filters that must agree with it, [`bpf`] runs them, and
//!   [`verify()`] proves that they do;
//! - a call's [`Verdict`] is what is known before its arguments are;
//! - [`from_traces`] makes a policy from what was observed, [`diff()`] compares the two, and
//!   [`equivalents`] says what libc calls on the other architecture;
//! - conditions on arguments are written by people as [`when()`] reads them; [`Policy::allow_when`] allows a
//!   call under them, and [`Policy::translate`] carries them to the other architecture;
//! - [`compare`] and [`diff_policies`] compare policies by what they decide, [`combine`] makes one of two,
//!   [`mod@lint`] finds what is dangerous or broken in one, [`explain()`] tells all that is known of a call;
//! - [`disassemble`] shows a program with names, also a foreign one, and [`verdicts`] what it answers to
//!   each call;
//! - [`shipped`] has the policies that come with the program, [`emit`] the formats of other tools, and
//!   [`mod@import`] makes a policy from one of them.
//!
//! ```
//! use callgate_abi::{Action, Arch};
//! use callgate_policy::{Policy, bpf, compile};
//!
//! let policy = Policy::parse(
//!     r#"{"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [
//!          {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
//!          {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}"#,
//! )?;
//! let clone3 = Arch::X86_64.call("clone3")?;
//! assert_eq!(policy.decide(clone3, &[0; 6]), Action::Errno(38));
//!
//! let filter = compile(&policy, Arch::X86_64)?.link()?;
//! let answer = bpf::Program::new(&filter)?.run(&bpf::SeccompData::new(clone3, [0; 6]));
//! assert_eq!(answer, Action::Errno(38).ret());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Limits: a file names its calls, so numbers without a name get the default, or ENOSYS
//! above the newest known one ([`Unknown`]); user notification
//! (`SCMP_ACT_NOTIFY`) is refused when read, and moby's conditions on capabilities and kernel versions are
//! resolved by [`mod@import`] alone;
//! calls through compatibility entries (i386, x32, 32-bit arm) are always killed.

mod amend;
pub mod bpf;
mod combine;
mod compare;
mod compile;
mod decide;
mod derive;
mod diff;
mod disasm;
pub mod emit;
mod explain;
pub mod import;
pub mod lint;
mod logic;
mod model;
mod names;
mod notes;
mod oci;
mod outline;
mod parse;
mod partial;
mod remedy;
pub mod shipped;
mod siblings;
mod translate;
mod verdicts;
mod verify;
mod when;
mod write;

pub use amend::{AmendError, Amended, DenyError};
pub use combine::{Combination, CombineError, Combined, combine};
pub use compare::{Difference, compare};
pub use compile::{CompileError, Compiled, compile};
pub use decide::Verdict;
pub use derive::{Derived, Recipe, from_traces};
pub use diff::{
    AddedRule, ArchDiff, ArgumentDiff, Change, DiffEntry, Observed, ObservedCall, OciChange, Removal, Source,
    diff, diff_policies,
};
pub use disasm::{Line, disassemble};
pub use explain::{ExplainError, Explanation, Instead, RiskNote, explain};
pub use model::{Policy, Rule, Unknown};
pub use names::{UnknownCall, check as known_name};
pub use outline::rule_lines;
pub use parse::{MAX_BYTES, PolicyError};
pub use remedy::{Remedy, quoted, remedy};
pub use siblings::siblings;
pub use translate::{Equivalent, Translated, equivalents};
pub use verdicts::{Answer, Entry, Verdicts, verdicts};
pub use verify::{Counterexample, Proof, ProvedProgram, Verifier, VerifyError, edges, verify};
pub use when::{WhenError, when};
