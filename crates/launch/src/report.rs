//! What the child and the init say over the pipe: fixed records, read when all is over.

use std::time::Duration;

use crate::step::Step;

/// The first thing that failed before the command ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The system call: `mount`, `chroot`, `execve`.
    pub step: &'static str,
    /// What it was about: a path, a uid.
    pub subject: Option<String>,
    /// The errno.
    pub errno: i32,
    /// Whether it was the exec of the command itself: everything before it had succeeded.
    pub exec: bool,
}

/// What the command and everything it started used, as `getrusage(RUSAGE_CHILDREN)` tells the init.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Usage {
    /// User and system time together.
    pub cpu: Duration,
    /// The greatest resident set of any one process, in bytes.
    pub max_rss_bytes: u64,
}

/// Everything that was said.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Reports {
    /// What failed, if anything did: the command never ran.
    pub failure: Option<Failure>,
    /// What was used, if there was an init and it came to its end.
    pub usage: Option<Usage>,
}

/// One record: kind, place, errno or times. Written by one `write(2)`, so it is never torn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Record {
    pub(crate) kind: u32,
    pub(crate) index: u32,
    pub(crate) errno: i32,
    pub(crate) pad: u32,
    pub(crate) cpu_us: u64,
    pub(crate) max_rss_kib: u64,
}

impl Record {
    pub(crate) const SIZE: usize = 32;
    pub(crate) const INIT_STEP: u32 = 1;
    pub(crate) const CHILD_STEP: u32 = 2;
    pub(crate) const EXEC: u32 = 3;
    pub(crate) const FORK: u32 = 4;
    pub(crate) const USAGE: u32 = 5;
    pub(crate) const CLOSE: u32 = 6;
    pub(crate) const SUBREAPER: u32 = 7;
    /// With the pid in place of the index.
    pub(crate) const READY: u32 = 8;
    pub(crate) const UNSHARE: u32 = 9;
    pub(crate) const EAGER_STEP: u32 = 10;

    pub(crate) fn failed(kind: u32, index: usize, errno: i32) -> Self {
        Self {
            kind,
            index: index as u32,
            errno,
            pad: 0,
            cpu_us: 0,
            max_rss_kib: 0,
        }
    }

    /// The failure that it stands for, of these steps or of what is done besides.
    pub(crate) fn failure(&self, steps: &[Step]) -> Option<Failure> {
        let (step, subject) = match self.kind {
            Self::EAGER_STEP | Self::INIT_STEP | Self::CHILD_STEP => {
                let step = steps.get(self.index as usize)?;
                (step.name(), step.subject())
            }
            Self::FORK => ("fork", None),
            Self::CLOSE => ("close_range", None),
            Self::SUBREAPER => ("prctl(PR_SET_CHILD_SUBREAPER)", None),
            Self::UNSHARE => ("unshare", None),
            _ => return None,
        };
        Some(Failure {
            step,
            subject,
            errno: self.errno,
            exec: false,
        })
    }

    pub(crate) fn usage(cpu_us: u64, max_rss_kib: u64) -> Self {
        Self {
            kind: Self::USAGE,
            index: 0,
            errno: 0,
            pad: 0,
            cpu_us,
            max_rss_kib,
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[0..4].copy_from_slice(&self.kind.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.index.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.errno.to_ne_bytes());
        bytes[16..24].copy_from_slice(&self.cpu_us.to_ne_bytes());
        bytes[24..32].copy_from_slice(&self.max_rss_kib.to_ne_bytes());
        bytes
    }

    pub(crate) fn from_bytes(b: &[u8; Self::SIZE]) -> Self {
        let four = |i: usize| [b[i], b[i + 1], b[i + 2], b[i + 3]];
        let eight = |i: usize| {
            let mut out = [0; 8];
            out.copy_from_slice(&b[i..i + 8]);
            u64::from_ne_bytes(out)
        };
        Self {
            kind: u32::from_ne_bytes(four(0)),
            index: u32::from_ne_bytes(four(4)),
            errno: i32::from_ne_bytes(four(8)),
            pad: 0,
            cpu_us: eight(16),
            max_rss_kib: eight(24),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_pipe() {
        for record in [
            Record::failed(Record::CHILD_STEP, 7, 13),
            Record::usage(1_234_567, 89),
        ] {
            assert_eq!(Record::from_bytes(&record.to_bytes()), record);
        }
    }
}
