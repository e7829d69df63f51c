//! One run that a client asks for.

use callgate_exec::Outcome;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The body of `POST /v1/sandbox/run`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Request {
    #[serde(default)]
    pub(crate) language: Option<String>,
    #[serde(default)]
    pub(crate) code: Option<String>,
    #[serde(default)]
    pub(crate) preload: Option<String>,
    #[serde(default)]
    pub(crate) enable_network: Option<bool>,
}

/// The languages of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Python3,
    Nodejs,
}

impl Language {
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name {
            "python3" => Some(Self::Python3),
            "nodejs" => Some(Self::Nodejs),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Python3 => "python3",
            Self::Nodejs => "nodejs",
        }
    }
}

/// What is run.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) language: Language,
    pub(crate) code: String,
    pub(crate) preload: Option<String>,
    pub(crate) network: bool,
    /// What the policy refuses is recorded and allowed.
    pub(crate) learn: bool,
}

impl Job {
    /// A Python program of the server's own, which is run as any client's.
    pub(crate) fn of_the_server(code: &str) -> Self {
        Self {
            language: Language::Python3,
            code: code.to_owned(),
            preload: None,
            network: false,
            learn: false,
        }
    }

    /// A hash by which the same code is known again, in the log: SHA-256, the first 16 bytes in hexadecimal.
    pub(crate) fn digest(&self) -> String {
        let digest = Sha256::digest(self.code.as_bytes());
        digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A run that is over.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) outcome: Outcome,
    /// It was ended from outside.
    pub(crate) ended: bool,
}

impl Done {
    /// The word for it in metrics and in the log.
    pub(crate) fn word(&self) -> String {
        match self.ended {
            true => "ended".to_owned(),
            false => self.outcome.status.to_string(),
        }
    }
}
