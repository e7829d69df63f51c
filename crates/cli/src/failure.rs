//! A command that failed: one message, advice if there is some, and the exit code.

use std::fmt::Display;

use crate::terminal::{BOLD_RED, DIM, escape};

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    advice: Option<String>,
    /// The exit code.
    pub(crate) code: u8,
}

/// Bad input.
pub(crate) const BAD_INPUT: u8 = 2;
/// It can't be traced, or a set-up step failed.
pub(crate) const CANNOT: u8 = 125;

impl Failure {
    pub(crate) fn new(code: u8, message: impl Display) -> Self {
        Self {
            message: message.to_string(),
            advice: None,
            code,
        }
    }

    /// The input is at fault.
    pub(crate) fn input(message: impl Display) -> Self {
        Self::new(BAD_INPUT, message)
    }

    pub(crate) fn with_advice(mut self, advice: Option<String>) -> Self {
        self.advice = advice;
        self
    }

    /// Prints it to standard error.
    pub(crate) fn print(&self) {
        say!("{BOLD_RED}error:{BOLD_RED:#} {}", escape(&self.message));
        if let Some(advice) = &self.advice {
            say!("{DIM}  → {}{DIM:#}", escape(advice));
        }
    }
}
