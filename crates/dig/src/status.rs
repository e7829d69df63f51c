//! What `/proc/TID/status` says of a thread's privileges and filters (proc_pid_status(5)).

use std::path::Path;

/// The lines that matter here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// The process that it belongs to.
    pub(crate) process: i32,
    /// 0, or 1 in strict mode, or 2 under a filter.
    pub(crate) seccomp: u32,
    /// Whether no program that it executes can gain privileges.
    pub(crate) no_new_privs: bool,
    /// Its effective capabilities.
    capabilities: u64,
}

/// linux/capability.h
pub(crate) const CAP_SYS_PTRACE: u32 = 19;
pub(crate) const CAP_SYS_ADMIN: u32 = 21;

impl Status {
    /// Of a thread; `None` if it is gone.
    pub(crate) fn of(tid: i32) -> Option<Self> {
        Self::read(Path::new(&format!("/proc/{tid}/status")))
    }

    /// Our own.
    pub(crate) fn own() -> Option<Self> {
        Self::read(Path::new("/proc/thread-self/status"))
    }

    fn read(path: &Path) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(path).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        Some(Self {
            process: field("Tgid")?.parse().ok()?,
            // Kernels without seccomp have no such line.
            seccomp: field("Seccomp").map_or(Some(0), |mode| mode.parse().ok())?,
            no_new_privs: field("NoNewPrivs")? == "1",
            capabilities: u64::from_str_radix(field("CapEff")?, 16).ok()?,
        })
    }

    pub(crate) fn has(&self, capability: u32) -> bool {
        self.capabilities >> capability & 1 == 1
    }
}

/// The threads of a process.
pub(crate) fn threads(process: i32) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_found_and_our_own_can_be_read() {
        let text = "Name:\tx\nTgid:\t77\nCapEff:\t0000000000200000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        let status = Status::parse(text).unwrap();
        assert_eq!(
            (status.process, status.seccomp, status.no_new_privs),
            (77, 2, true)
        );
        assert!(status.has(CAP_SYS_ADMIN) && !status.has(CAP_SYS_PTRACE));
        assert_eq!(Status::own().unwrap().process, std::process::id() as i32);
        assert!(threads(std::process::id() as i32).len() > 1);
    }
}
