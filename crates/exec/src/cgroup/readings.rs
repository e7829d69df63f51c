//! What a cgroup says of its run: what was used, and which limits were hit.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use super::directory::Directory;

/// What all processes of a run together used. What the kernel does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readings {
    /// User and system time.
    pub(crate) cpu: Option<Duration>,
    /// The most memory that was charged at once, in bytes: anonymous, tmpfs, page cache, kernel.
    pub(crate) memory_peak: Option<u64>,
    /// The most processes and threads at once, without our own.
    pub(crate) pids_peak: Option<u64>,
    /// Processes that the kernel killed because the memory limit was reached.
    pub(crate) oom_kills: u64,
    /// How often a process or thread was refused.
    pub(crate) pids_refused: u64,
}

impl Readings {
    pub(crate) fn v1(memory: &Directory, pids: &Directory, clock: Option<CpuClock>, ours: u64) -> Self {
        Self {
            cpu: clock.and_then(|clock| clock.read()),
            memory_peak: number(memory, "memory.max_usage_in_bytes"),
            oom_kills: entry(memory, "memory.oom_control", "oom_kill").unwrap_or(0),
            ..Self::of_pids(pids, ours)
        }
    }

    pub(crate) fn v2(at: &Directory, clock: Option<CpuClock>, ours: u64) -> Self {
        Self {
            cpu: clock.and_then(|clock| clock.read()),
            memory_peak: number(at, "memory.peak"),
            oom_kills: entry(at, "memory.events", "oom_kill").unwrap_or(0),
            ..Self::of_pids(at, ours)
        }
    }

    fn of_pids(at: &Directory, ours: u64) -> Self {
        Self {
            pids_peak: number(at, "pids.peak").map(|peak| peak.saturating_sub(ours)),
            pids_refused: entry(at, "pids.events", "max").unwrap_or(0),
            ..Self::default()
        }
    }
}

/// A file that holds one number.
pub(super) fn number(at: &Directory, file: &'static str) -> Option<u64> {
    at.read(file)?.trim().parse().ok()
}

/// The number behind a key.
pub(super) fn entry(at: &Directory, file: &'static str, key: &str) -> Option<u64> {
    value(&at.read(file)?, key)
}

fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

/// The CPU time of all processes of a run, ended ones too. It can be read from any thread.
pub(crate) struct CpuClock {
    file: Arc<File>,
    v2: bool,
}

impl CpuClock {
    pub(crate) fn v1(at: &Directory) -> Option<Self> {
        let file = at.open("cpuacct.usage")?;
        Some(Self { file, v2: false })
    }

    /// `cpu.stat` is there whether the controller is or not.
    pub(crate) fn v2(at: &Directory) -> Option<Self> {
        let file = at.open("cpu.stat")?;
        Some(Self { file, v2: true })
    }

    /// The time until now.
    pub(crate) fn read(&self) -> Option<Duration> {
        let mut bytes = [0; 4096];
        let length = self.file.read_at(&mut bytes, 0).ok()?;
        let text = std::str::from_utf8(bytes.get(..length)?).ok()?;
        if self.v2 {
            value(text, "usage_usec").map(Duration::from_micros)
        } else {
            text.trim().parse().ok().map(Duration::from_nanos)
        }
    }
}
