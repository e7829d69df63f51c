//! The outcome of a run that is over: its end judged, and what is known of it besides.

use std::time::Duration;

use super::request::{Io, Network, Run};
use super::streams::{Captures, finish};
use crate::attend::Attended;
use crate::cgroup::{Absent, Readings};
use crate::filtering::Filtering;
use crate::host;
use crate::inherited::of_core_dumps;
use crate::lacks::{lacks, limits_said, refusal_said};
use crate::landlock;
use crate::network::opened;
use crate::outcome::{Outcome, SetUpFailure, Usage};
use crate::tier::Tier;
use crate::verdict::judge;

/// What is known of a run besides how it ended.
pub(crate) struct Course<'a> {
    pub(crate) tier: Tier,
    pub(crate) layers: Vec<String>,
    pub(crate) notes: &'a [String],
    /// Its Landlock layer.
    pub(crate) landlock: Option<&'a landlock::Layer>,
    /// Why it had no cgroup, if it had none.
    pub(crate) no_cgroup: Option<Absent>,
    pub(crate) wall: Duration,
}

impl Course<'_> {
    /// Judges by what was seen and what the cgroup says, and takes in what was captured.
    pub(crate) fn conclude(
        self,
        run: &Run,
        attended: &Attended,
        readings: &Readings,
        captures: Captures,
    ) -> Result<Outcome, SetUpFailure> {
        let mut outcome = judge(run, attended, readings)?;
        let stderr = finish(captures, run.io == Io::Capture, &mut outcome);
        if let (Some(stderr), true, true) = (stderr, run.look_for_lacks, outcome.exit_code != 0) {
            outcome.lacks = lacks(run, self.tier, &stderr);
            if outcome.limit.is_none() {
                let sized = matches!(self.tier, Tier::Full | Tier::Unprivileged);
                outcome.notes.extend(limits_said(&run.limits, sized, &stderr));
            }
            if run.filtering == Filtering::Enforced && outcome.violation.is_none() {
                outcome.notes.extend(refusal_said(&run.filter, &stderr));
            }
        }
        outcome.tier = Some(self.tier);
        outcome.layers = self.layers;
        if run.network == Network::Host {
            outcome.network = Some(run.network);
            let scoped = self.landlock.is_some_and(landlock::Layer::scopes_sockets);
            outcome.notes.push(opened(scoped));
        }
        outcome.notes.extend(self.notes.iter().cloned());
        outcome.notes.extend(of_core_dumps());
        if self.landlock.is_none() {
            outcome.missing.push("landlock: this kernel has none".to_owned());
        }
        if self.tier == Tier::Landlock {
            let version = self.landlock.map_or(0, landlock::Layer::version);
            outcome.missing.extend(host::missing(version, run.network));
        }
        if let Some(absent) = self.no_cgroup {
            match self.tier {
                Tier::Full => outcome.missing.push(format!("cgroup: {absent}")),
                Tier::Container | Tier::Unprivileged | Tier::Landlock => {}
            }
            outcome.notes.push(format!(
                "without a cgroup the limits of memory and CPU time are of each process, not of all together ({absent})"
            ));
        }
        let used = attended.reports.usage.unwrap_or_default();
        outcome.usage = Usage {
            wall_ms: millis(self.wall),
            cpu_ms: millis(readings.cpu.unwrap_or(used.cpu)),
            max_rss_bytes: used.max_rss_bytes,
            memory_peak_bytes: readings.memory_peak,
            pids_peak: readings.pids_peak,
        };
        Ok(outcome)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
