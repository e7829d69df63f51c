//! Limits of a run, and the steps that set them.

use callgate_launch::Step;

/// Limits that every process of a run has (setrlimit(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Processes and threads of the run's uid together.
    pub processes: u64,
    /// Open descriptors of one process.
    pub descriptors: u64,
    /// The size of one file, in bytes.
    pub file_size: u64,
    /// The size of the scratch directory, in bytes.
    pub tmp_size: u64,
    /// How much of each captured stream is kept, in bytes.
    pub output: usize,
}

impl Default for Limits {
    /// Roomy enough for numpy on a large machine, small enough for the host to stay healthy.
    fn default() -> Self {
        Self {
            processes: 512,
            descriptors: 1024,
            file_size: 1 << 30,
            tmp_size: 256 << 20,
            output: 16 << 20,
        }
    }
}

impl Limits {
    /// The steps that set them. `counts_processes` is false where the uid has other processes that
    /// are not part of the run and would be counted as well.
    pub(crate) fn steps(&self, counts_processes: bool) -> Vec<Step> {
        let mut limits = vec![
            // No core dumps: 0 would still dump into a program's pipe (/proc/sys/kernel/core_pattern); 1
            // is the kernel's word for neither (fs/coredump.c).
            (libc::RLIMIT_CORE, 1),
            (libc::RLIMIT_NOFILE, self.descriptors),
            (libc::RLIMIT_FSIZE, self.file_size),
            (libc::RLIMIT_MEMLOCK, 64 << 10),
            (libc::RLIMIT_MSGQUEUE, 0),
        ];
        if counts_processes {
            limits.push((libc::RLIMIT_NPROC, self.processes));
        }
        limits
            .into_iter()
            .map(|(resource, value)| Step::Limit { resource, value })
            .collect()
    }
}
