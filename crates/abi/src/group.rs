//! What a call does and which group it belongs to, by its name.
//!
//! The table is `calls.tsv`: name, group, the kernel that had it first where that is certain (from
//! syscalls(2), man-pages 6), and one line of what it does.

use std::fmt;
use std::sync::LazyLock;

use serde::Serialize;

const TABLE: &str = include_str!("calls.tsv");

/// What a call has to do with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Files, directories, descriptors, pipes.
    Files,
    /// Mappings, protection, NUMA.
    Memory,
    /// Processes and threads: making, executing, ending, waiting.
    Process,
    /// Users, groups, capabilities.
    Identity,
    /// Sockets.
    Network,
    /// System V objects and message queues.
    Ipc,
    /// Futexes and what belongs to them.
    Sync,
    /// Clocks, timers, sleep.
    Time,
    /// Signals.
    Signals,
    /// Priorities and CPUs.
    Scheduling,
    /// Resource limits and usage.
    Limits,
    /// Waiting for descriptors and file events.
    Events,
    /// Operations that the kernel carries out later: aio and io_uring.
    AsyncIo,
    /// Mounts and file systems.
    Mounts,
    /// Namespaces and roots.
    Namespaces,
    /// Looking into other processes.
    Inspection,
    /// The kernel and the machine themselves.
    Kernel,
    /// The kernel's keys.
    Keys,
    /// seccomp, Landlock, security modules, random bytes.
    Security,
    /// Removed, or never there.
    Obsolete,
}

/// Every group with its word, in the order in which they are shown.
const WORDS: [(Group, &str); 20] = [
    (Group::Files, "files"),
    (Group::Memory, "memory"),
    (Group::Process, "process"),
    (Group::Identity, "identity"),
    (Group::Network, "network"),
    (Group::Ipc, "ipc"),
    (Group::Sync, "sync"),
    (Group::Time, "time"),
    (Group::Signals, "signals"),
    (Group::Scheduling, "scheduling"),
    (Group::Limits, "limits"),
    (Group::Events, "events"),
    (Group::AsyncIo, "async-io"),
    (Group::Mounts, "mounts"),
    (Group::Namespaces, "namespaces"),
    (Group::Inspection, "inspection"),
    (Group::Kernel, "kernel"),
    (Group::Keys, "keys"),
    (Group::Security, "security"),
    (Group::Obsolete, "obsolete"),
];

impl Group {
    /// The word used in reports.
    pub fn name(self) -> &'static str {
        WORDS
            .iter()
            .find(|(group, _)| *group == self)
            .map_or("", |(_, word)| word)
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is known of a call by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub name: &'static str,
    /// Its group.
    pub group: Group,
    /// The kernel that had it first, where that is certain: `5.3`. For older ones than 2.2 it is left out.
    pub since: Option<&'static str>,
    /// What it does, in one line.
    pub summary: &'static str,
}

/// What is known of the call of that name; `None` for names that neither amd64 nor arm64 has.
pub fn about(name: &str) -> Option<About> {
    /// To read the table for each name takes longer than all else that is printed of a trace.
    static ROWS: LazyLock<Vec<About>> = LazyLock::new(|| TABLE.lines().filter_map(row).collect());
    let index = ROWS.binary_search_by_key(&name, |about| about.name).ok()?;
    ROWS.get(index).copied()
}

fn row(line: &'static str) -> Option<About> {
    let mut cells = line.split('\t');
    let (name, word) = (cells.next()?, cells.next()?);
    let (group, _) = WORDS.iter().find(|(_, known)| *known == word)?;
    let since = cells.next().filter(|since| *since != "-");
    Some(About {
        name,
        group: *group,
        since,
        summary: cells.next()?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Arch;

    #[test]
    fn every_call_of_both_architectures_has_a_group_and_nothing_else_is_in_the_table() {
        let wanted: BTreeSet<String> = Arch::ALL
            .iter()
            .flat_map(|arch| arch.calls())
            .map(|call| call.name().into_owned())
            .collect();
        for name in &wanted {
            assert!(about(name).is_some(), "{name}");
        }
        let rows: Vec<&str> = TABLE.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(rows.len(), wanted.len());
        assert!(rows.is_sorted());
        for line in rows {
            let about = row(line).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(line.split('\t').count(), 4, "{line}");
            assert!(
                !about.summary.is_empty() && !about.summary.ends_with('.'),
                "{line}"
            );
            let digits = |since: &str| since.split('.').all(|part| part.parse::<u8>().is_ok());
            assert!(about.since.is_none_or(digits), "{line}");
        }
    }

    #[test]
    fn every_group_has_calls_and_a_word_of_its_own() {
        for (group, word) in WORDS {
            assert_eq!(group.name(), word);
            assert!(
                TABLE.lines().filter_map(row).any(|about| about.group == group),
                "{word}"
            );
        }
        assert_eq!(about("clone3").unwrap().since, Some("5.3"));
        assert_eq!(about("_llseek"), None);
    }
}
