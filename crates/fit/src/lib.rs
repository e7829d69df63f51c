//! The loop that joins the rooms: dig → policy → exec, amended until the probe runs.
//!
//! Terms:
//! - a *probe* is traced once, and its trace becomes a policy;
//! - an [`Attempt`] is one run of the probe under that policy; a call that the kernel refuses there is
//!   allowed with the provenance "found at enforcement", and the run is repeated, a bounded number of
//!   times;
//! - the probe *fits* when it ends under the policy as it ended while it was traced.
//!
//! ```no_run
//! use callgate_fit::{Fit, Progress, Silent};
//! use callgate_python::interpreter::Interpreter;
//!
//! let interpreter = Interpreter::inspect(&Interpreter::find()?)?;
//! let fitted = Fit::new(interpreter, b"print(1)".to_vec(), "one.py").run(&mut Silent)?;
//! assert!(fitted.fits);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Limits: a call that the policy lets fail (an errno rule) is not found by this loop; the probe then
//! fails by itself and the outcome says how.

mod fit;
pub mod minimise;

pub use fit::{Amendment, Attempt, Fit, FitError, Fitted, MOST_ATTEMPTS, Progress, Silent};
pub use minimise::{Minimise, Minimised};
