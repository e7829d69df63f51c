//! Whether two runs ended alike: by status, and by what they wrote, as far as that is stable.

use callgate_exec::{Outcome, Status};
use serde::Serialize;

use super::stable::Stable;

/// What a run is compared by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    ending: Ending,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// How a run ended, whatever it wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ending {
    status: Status,
    exit_code: i32,
    signal: Option<String>,
    /// A child that was killed by the filter, although the probe itself went on.
    violation: Option<String>,
    truncated: Vec<String>,
}

impl Sample {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        let captured = outcome.captured.clone().unwrap_or_default();
        Self {
            ending: Ending {
                status: outcome.status,
                exit_code: outcome.exit_code,
                signal: outcome.signal.clone(),
                violation: outcome.violation.as_ref().map(|refused| refused.syscall.clone()),
                truncated: outcome.truncated.clone(),
            },
            stdout: captured.stdout,
            stderr: captured.stderr,
        }
    }

    /// The ending in words.
    pub(crate) fn ending(&self) -> String {
        let Ending {
            status,
            exit_code,
            signal,
            violation,
            ..
        } = &self.ending;
        match (status, signal, violation) {
            (_, _, Some(call)) => format!("{call} was refused"),
            (Status::Exited, ..) => format!("exited with {exit_code}"),
            (_, Some(signal), _) => format!("killed by {signal}"),
            _ => status.to_string(),
        }
    }
}

/// What the runs of a probe have in common when nothing that it needs is refused.
#[derive(Clone, Debug)]
pub(crate) struct Yardstick {
    ending: Ending,
    stdout: Stable,
    stderr: Stable,
}

/// How two streams are compared, for the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// `exact`, `any_order`, `stable_parts`, `common_lines` or `nothing`.
    pub stdout: &'static str,
    /// The same for standard error.
    pub stderr: &'static str,
    /// What is not compared, in sentences; empty where everything is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Yardstick {
    /// What these runs have in common; `Err` with two endings if they ended differently.
    pub(crate) fn of(samples: &[Sample]) -> Result<Self, (String, String)> {
        let Some(first) = samples.first() else {
            return Err(("no run".to_owned(), "no run".to_owned()));
        };
        if let Some(other) = samples.iter().find(|other| other.ending != first.ending) {
            return Err((first.ending(), other.ending()));
        }
        let stream = |of: fn(&Sample) -> &[u8]| Stable::of(&samples.iter().map(of).collect::<Vec<_>>());
        Ok(Self {
            ending: first.ending.clone(),
            stdout: stream(|sample| &sample.stdout),
            stderr: stream(|sample| &sample.stderr),
        })
    }

    /// Whether everything that the runs wrote is compared byte by byte.
    pub(crate) fn is_exact(&self) -> bool {
        matches!((&self.stdout, &self.stderr), (Stable::Exact(_), Stable::Exact(_)))
    }

    /// Whether a run ended as these.
    pub(crate) fn fits(&self, sample: &Sample) -> bool {
        self.ending == sample.ending && self.stdout.fits(&sample.stdout) && self.stderr.fits(&sample.stderr)
    }

    /// What is compared.
    pub(crate) fn comparison(&self) -> Comparison {
        let streams = [
            ("standard output", &self.stdout),
            ("standard error", &self.stderr),
        ];
        let mut notes: Vec<String> = streams
            .iter()
            .filter_map(|(name, stable)| stable.note(name))
            .collect();
        for name in &self.ending.truncated {
            notes.push(format!("{name} is compared up to the limit at which it is cut"));
        }
        Comparison {
            stdout: self.stdout.word(),
            stderr: self.stderr.word(),
            notes,
        }
    }
}
