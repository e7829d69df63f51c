//! A process under ptrace: seize, wait, look, inject, resume.
//!
//! A stop is a type: only a [`Stopped`] tracee can be asked questions, and resuming consumes it, so
//! a running tracee can't be asked by mistake. What ptrace(2) encodes in wait statuses comes out as a
//! [`Reason`].
//!
//! Terms:
//! - a *tracee* is one thread; its process, children and new threads are followed by [`Options`];
//! - a [`Tracer`] belongs to one thread of ours: the kernel lets only that thread give orders, and it
//!   waits for its own tracees only (`__WNOTHREAD`), so several tracers can live in one program;
//! - *injecting* makes a stopped tracee perform a system call of our choice and puts everything back.
//!
//! ```
//! use callgate_launch::Launch;
//! use callgate_tracee::{Event, Options, Reason, Resume, Tracer};
//!
//! let mut started = Launch::new("/bin/true", ["true"], ["PATH=/bin"])?.start()?;
//! let mut tracer = Tracer::seize(started.pid().as_raw(), Options::FOLLOW)?;
//! started.go()?;
//! let mut calls = 0;
//! while let Some(event) = tracer.wait()? {
//!     if let Event::Stopped(tracee) = event {
//!         if tracee.reason() == Reason::Syscall {
//!             calls += 1;
//!         }
//!         tracee.resume(Resume::ToNextSyscall)?;
//!     }
//! }
//! assert!(calls > 20);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Limits: Linux 5.3 or newer (`PTRACE_GET_SYSCALL_INFO`); x86-64 and arm64.

#[cfg_attr(target_arch = "x86_64", path = "arch/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "arch/aarch64.rs")]
mod arch;
mod attach;
mod batch;
mod error;
mod inject;
mod memory;
mod stopped;
mod stopper;
mod sys;
mod syscall;
mod tracer;
mod waker;

pub use attach::{Attached, tracer_of};
pub use error::TraceeError;
pub use inject::{Injector, Load, Place};
pub use stopped::{Frame, Reason, Resume, Stopped};
pub use stopper::Stopper;
pub use sys::hear_signals;
pub use syscall::{Moment, SyscallStop};
pub use tracer::{Event, Options, Tracer, Usage};
pub use waker::{Waker, Woken};
