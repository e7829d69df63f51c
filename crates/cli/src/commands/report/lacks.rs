//! What is said of what the code missed.

use callgate_exec::{LackKind, Outcome};
use callgate_policy::quoted;

use crate::terminal::{BOLD, YELLOW, escape_line};

/// Prints where the host has it, and what brings it in.
pub(super) fn print(outcome: &Outcome) {
    for lack in &outcome.lacks {
        let what = match lack.kind {
            LackKind::PythonModule => "the Python module",
            LackKind::SharedObject => "the shared object",
            LackKind::File => "the file",
            LackKind::NodeModule => "the Node.js module",
        };
        let name = escape_line(&lack.name);
        say!("{YELLOW}missing:{YELLOW:#} {what} {BOLD}{name}{BOLD:#}, as the code says");
        match lack.on_host.as_slice() {
            [] => say!("  not found on this host among what everyone may read"),
            found => {
                for path in found {
                    say!("  on this host: {}", escape_line(&path.display().to_string()));
                }
            }
        }
        if !lack.options.is_empty() {
            let words: Vec<String> = lack.options.iter().map(|word| quoted(word)).collect();
            say!("  to have it in the run: {}", escape_line(&words.join(" ")));
        }
        if let Some(advice) = &lack.advice {
            say!("  {}", escape_line(advice));
        }
    }
}
