//! Runs by forks of a Python interpreter that has its modules imported: a template.
//!
//! What is warm about a run is its interpreter, and nothing else. The *template* is a Python process in the
//! root, without a byte of anybody's program: it imports what it is told to and forks. For each run there is a
//! *bed*: an init of its own in new namespaces, with mounts, a uid and a cgroup, as a cold run has them. The
//! template forks into the bed's pid namespace; the fork is traced from before it does anything, and the same
//! set-up steps that a cold run's child makes are made by its tracer in its place ([`seat`]). It gives up every
//! privilege then, *before* it is given a program. Then it waits for that, and as in a
//! cold run the policy's filter is in force before a byte of it is compiled.
//!
//! At tier container there are no namespaces: a bed is the directory of a root ([`place`]), and all of a run are its
//! tracer's tracees, which end with it. The template has a uid of its own, and capabilities that are in effect in its
//! forks alone, while they are set up ([`guard`]).
//!
//! Beds are made ahead, one by each of the template's threads, so that a run need not wait for them. What a thread's beds
//! have in common it keeps ([`nest`]): the process that makes their inits, and with it the network namespace, which is
//! dear to make and in which nothing outlives the processes of a run.
//!
//! What differs from a cold run, all told:
//! - the hash seed and the layout of memory are the template's, the same for all its runs;
//! - modules that were imported ahead are in `sys.modules`, and their start-up is not seen by the policy;
//! - libraries like OpenBLAS were imported with one thread (their variables are not seen by the program);
//! - `os.getppid()` is 0, as the parent is outside the pid namespace, and no signal comes if it dies: the run
//!   goes on when the template dies, and ends with its own init or its supervisor; at tier container it is the
//!   template's number;
//! - at tier container there is one filter more: `clone3` is not there, and CLONE_UNTRACED is refused;
//! - the network namespace has been an earlier run's, of which nothing is left;
//! - the interpreter's end stops before its last part: what only other modules than `__main__` hold is not taken
//!   apart (no `__del__`; files that were left open there are not flushed);
//! - `gc.get_freeze_count()` is not 0; `sys.orig_argv` shows the template.

mod bed;
mod channel;
mod generation;
mod guard;
mod keeper;
mod nest;
mod place;
mod seat;
mod slot;
mod spec;
mod stale;
mod template;

pub use self::spec::{Job, Spec};
pub use self::template::Template;
