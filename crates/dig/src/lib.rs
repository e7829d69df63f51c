//! Records the system calls of a probe with ptrace.
//!
//! Terms: the *probe* is the program whose needs are asked, a Python script or any command; the
//! *startup* phase ends at the first line of a script (the prelude's marker) or at the exec boundary
//! of a command; who made a call is read at its first *sight* only, and at that of each new argument key.
//!
//! ```
//! use callgate_dig::{Request, Target, record};
//!
//! let target = Target::Command { program: "/bin/true".into(), argv: vec!["true".into()] };
//! let trace = record(Request::new(target), |_| {})?;
//! assert!(trace.syscalls.iter().any(|call| call.name == "execve"));
//! # Ok::<(), callgate_dig::DigError>(())
//! ```
//!
//! # How it is fast
//!
//! It learns by enforcing. At first every call stops, at its entry and at its exit. When calls bring nothing
//! new for a while, a filter is loaded into the process (and inherited by all that it makes): what has been
//! seen in this phase, by call and argument keys, passes; everything else stops once
//! (`SECCOMP_RET_TRACE`), and so do the calls with paths, i386's and x32's, and all that would show or
//! change the filter. So nothing that is new passes unrecorded: the set of calls, keys and files is that of
//! a recording that stops on every call ([`Request::counts`]), but `count` and `errors` are lower bounds.
//!
//! The kernel only ever lets filters be tightened. A call that comes first after the filter, and then often,
//! costs a stop each time (one, not two): some 5 µs.
//!
//! The filter does not show: prctl and seccomp answer as if it were not there, and signals, children,
//! `CLONE_UNTRACED` and strict mode work as without. Where it could not be hidden or would not be exact,
//! there is none, every call stops to the end, and a note says why: under a filter that was there before (a
//! container's), and in a process that has less privileges than a tracer with CAP_SYS_PTRACE (set-user-ID
//! programs would lose theirs).
//!
//! Limits: `/proc/PID/status` shows the filter (`Seccomp:`, `Seccomp_filters:`, and `NoNewPrivs:` where a
//! process has no CAP_SYS_ADMIN), and that a thread which stops often is bound to one CPU
//! (`Cpus_allowed:`; the affinity calls don't show it); a probe that traces others gets EPERM, as under any tracer; what io_uring
//! does in the kernel is not seen, nor are calls that enter the vDSO alone; a set-user-ID program has no
//! more privileges than its caller unless the tracer has CAP_SYS_PTRACE; a program that rewrites the code
//! or the constants of its libc could hide the path of a stat behind one of glibc's fstat.

#[cfg_attr(target_arch = "x86_64", path = "arch/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "arch/aarch64.rs")]
mod arch;
mod attach;
mod barrier;
mod births;
mod calls;
mod error;
mod fast;
mod files;
mod interpreters;
mod learned;
mod live;
mod load;
mod maps;
mod native;
mod near;
mod passing;
mod paths;
mod prepare;
mod record;
mod recorder;
mod request;
mod sites;
mod status;
mod threads;
mod traits;
mod veil;

pub use attach::{Attach, attach};
pub use error::{DigError, NotAttached};
pub use record::record;
pub use request::{Request, Target, Word};
