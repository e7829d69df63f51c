//! A line that says what takes so long; on a terminal only, and on standard error.

use std::time::Duration;

use callgate_python::environment::Step;
use indicatif::{ProgressBar, ProgressStyle};

use crate::terminal::escape;

/// A spinner with a message. Where standard error is no terminal, each message is a line instead.
pub(crate) struct Spinner(ProgressBar);

impl Spinner {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::default_spinner());
        Self(bar)
    }

    /// Shows how far something has come, on a terminal only: elsewhere it would be a line each.
    pub(crate) fn tick(&self, message: impl FnOnce() -> String) {
        if !self.0.is_hidden() {
            self.say(&message());
        }
    }

    /// Shows a message.
    pub(crate) fn say(&self, message: &str) {
        let message = escape(message).into_owned();
        if self.0.is_hidden() {
            say!("{message} …");
            return;
        }
        self.0.enable_steady_tick(Duration::from_millis(100));
        self.0.set_message(message);
    }

    /// Takes the line away.
    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}

/// A bar for a known number of things to decide. Where standard error is no terminal, nothing is shown.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of {len} calls, {msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Shows how far it has come. The number of decided calls may go down again.
    pub(crate) fn at(&self, decided: usize, all: usize, message: String) {
        self.0.set_length(all as u64);
        self.0.set_position(decided as u64);
        self.0.set_message(message);
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}

/// What is being done for an environment.
pub(crate) fn environment_step(step: &Step<'_>) -> String {
    match step {
        Step::Waiting { path } => format!("waiting for another callgate that builds {}", path.display()),
        Step::Creating { path, tool } => {
            format!("creating the environment {} with {}", path.display(), tool.name())
        }
        Step::Installing { dependencies, tool } => {
            format!("installing {} with {}", dependencies.join(", "), tool.name())
        }
    }
}
