//! The trace that a recording ends in.

use callgate_abi::Arch;
use callgate_trace::{Counts, Ending, EndingKind, Phase, Python, SCHEMA, Trace};

use super::Recorder;
use crate::error::DigError;

impl Recorder {
    pub(crate) fn into_trace(self, command: Vec<String>, python: Option<Python>) -> Result<Trace, DigError> {
        let kernel = nix::sys::utsname::uname().map_err(|errno| DigError::System { what: "uname", errno })?;
        let (files, mut notes) = self.files.into_trace();
        notes.extend(self.notes);
        for (arch, count) in self.unknown_abis {
            notes.push(format!(
                "{count} calls of an unknown architecture (AUDIT_ARCH {arch:#x}) are not listed"
            ));
        }
        notes.extend(self.sites.notes());
        if self.script && self.phase == Some(Phase::Startup) {
            notes.push("the probe ended before its first line".to_owned());
        }
        Ok(Trace {
            schema: SCHEMA.to_owned(),
            arch: Arch::NATIVE,
            kernel: kernel.release().to_string_lossy().into_owned(),
            command,
            python,
            outcome: self.ending.unwrap_or_else(|| {
                Ending::cut(if self.attached {
                    EndingKind::Detached
                } else {
                    EndingKind::Interrupted
                })
            }),
            counts: if self.injected {
                Counts::LowerBound
            } else {
                Counts::Exact
            },
            notes,
            syscalls: self.calls.into_trace(),
            files,
        })
    }
}
