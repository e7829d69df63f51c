//! Where the time of a run went, stage by stage. Nothing is timed unless it is asked for.

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// The stages of a run, each by its end. They come in this order, but for `startup` and `lock`: with the lock at the
/// exec the filter is in force first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Stage {
    Ready,
    Plan,
    Prepare,
    Clone,
    Root,
    Enter,
    Startup,
    Lock,
    Code,
    Teardown,
    Conclude,
}

/// When each stage ended, seen by the supervisor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moments {
    /// `None` where nobody asks.
    begun: Option<Instant>,
    ends: [Option<Instant>; Stage::Conclude as usize + 1],
}

impl Moments {
    /// Times the stages since a moment, if there is one.
    pub(crate) fn since(begun: Option<Instant>) -> Self {
        Self {
            begun,
            ..Self::default()
        }
    }

    /// A stage has ended now. What a run does again later, as an exec of its own, is no stage.
    pub(crate) fn end(&mut self, stage: Stage) {
        if self.begun.is_none() {
            return;
        }
        if let Some(end) = self.ends.get_mut(stage as usize) {
            end.get_or_insert_with(Instant::now);
        }
    }

    /// What each took.
    pub(crate) fn timings(&self) -> Option<Timings> {
        let begun = self.begun?;
        let mut last = begun;
        let mut all: Vec<(usize, Instant)> = self
            .ends
            .iter()
            .enumerate()
            .filter_map(|(stage, end)| Some((stage, (*end)?)))
            .collect();
        all.sort_by_key(|(_, end)| *end);
        let mut took = [None; Stage::Conclude as usize + 1];
        for (stage, end) in all {
            if let Some(took) = took.get_mut(stage) {
                // Since the beginning, and then the difference, so that all together are the total.
                *took = Some(micros(begun, end).saturating_sub(micros(begun, last)));
            }
            last = end;
        }
        let of = |stage: Stage| took.get(stage as usize).copied().flatten();
        Some(Timings {
            total_us: micros(begun, last),
            ready_us: of(Stage::Ready),
            plan_us: of(Stage::Plan),
            prepare_us: of(Stage::Prepare),
            clone_us: of(Stage::Clone),
            root_us: of(Stage::Root),
            enter_us: of(Stage::Enter),
            startup_us: of(Stage::Startup),
            lock_us: of(Stage::Lock),
            code_us: of(Stage::Code),
            teardown_us: of(Stage::Teardown),
            conclude_us: of(Stage::Conclude),
        })
    }
}

fn micros(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(u64::MAX)
}

/// Where the time of a run went, in microseconds of the wall clock as the supervisor saw it. A stage that was not
/// reached, or that the run does not have, is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// All stages together.
    pub total_us: u64,
    /// Reading what is asked for: the policy, the script, the interpreter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_us: Option<u64>,
    /// What belongs in the root, and what is waited for that was made meanwhile: the tier and the uid; at tier container
    /// the copy of the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_us: Option<u64>,
    /// The Landlock ruleset, the streams, the cgroup, the steps of the set-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepare_us: Option<u64>,
    /// The first process, with the namespaces that are not made besides, until it is traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clone_us: Option<u64>,
    /// The cgroup joined, the root put together by mounts and the other namespaces joined, until the command's process is
    /// there. Begins while the first process is not traced yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_us: Option<u64>,
    /// Limits, capabilities, uid, Landlock, until the program is executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enter_us: Option<u64>,
    /// The interpreter's start, until it is ready for the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_us: Option<u64>,
    /// The filter is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_us: Option<u64>,
    /// The code, until its process has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_us: Option<u64>,
    /// What it left is killed, and its namespaces and mounts are taken apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teardown_us: Option<u64>,
    /// The cgroup's readings and its removal, the rest of the output, the files that are brought out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conclude_us: Option<u64>,
}

impl Timings {
    /// The stages that the run had, in the order in which people read them: name, microseconds, what it is.
    pub fn stages(&self) -> Vec<(&'static str, u64, &'static str)> {
        [
            ("ready", self.ready_us, "policy, script, interpreter"),
            ("plan", self.plan_us, "root planned; tier, uid"),
            ("prepare", self.prepare_us, "streams, cgroup, steps of the set-up"),
            ("clone", self.clone_us, "the first process, in its namespaces"),
            ("root", self.root_us, "the cgroup joined, the root mounted"),
            ("enter", self.enter_us, "limits, uid, Landlock, exec"),
            ("startup", self.startup_us, "the interpreter's start"),
            ("lock", self.lock_us, "the filter loaded"),
            ("code", self.code_us, "the code"),
            (
                "teardown",
                self.teardown_us,
                "processes, mounts, namespaces ended",
            ),
            (
                "conclude",
                self.conclude_us,
                "cgroup removed, output and files taken in",
            ),
        ]
        .into_iter()
        .filter_map(|(name, took, what)| Some((name, took?, what)))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn stages_are_told_in_the_order_in_which_they_ended_and_make_up_the_total() {
        let begun = Instant::now();
        let mut moments = Moments::since(Some(begun));
        let at = |ms: u64| Some(begun + Duration::from_millis(ms));
        moments.ends[Stage::Ready as usize] = at(3);
        moments.ends[Stage::Lock as usize] = at(5);
        moments.ends[Stage::Startup as usize] = at(9);
        let timings = moments.timings().unwrap();
        assert_eq!(timings.lock_us, Some(2000));
        assert_eq!(timings.startup_us, Some(4000));
        assert_eq!((timings.total_us, timings.code_us), (9000, None));
        assert_eq!(
            timings.stages().iter().map(|(_, took, _)| took).sum::<u64>(),
            9000
        );
    }

    #[test]
    fn nothing_is_timed_that_nobody_asked_for() {
        let mut moments = Moments::since(None);
        moments.end(Stage::Ready);
        assert_eq!(moments.ends, [None; Stage::Conclude as usize + 1]);
        assert_eq!(moments.timings(), None);
    }
}
