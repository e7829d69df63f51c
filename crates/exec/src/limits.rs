//! Limits of a run, and the steps that set those that the kernel keeps for each process.

use std::time::Duration;

use callgate_launch::Step;
use nix::sys::resource::Resource;

use crate::inherited::at_most;

/// What a run may use. Where a [cgroup](crate::Outcome::layers) can be had, memory, CPU time and processes
/// are counted over all processes of the run together; elsewhere memory and CPU time are limits of each
/// process (setrlimit(2)), and the outcome says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// CPU time, user and system.
    pub cpu: Option<Duration>,
    /// Memory, in bytes; tmpfs, shared memory and page cache count too. Without a cgroup: the private
    /// writable memory of each process (`RLIMIT_DATA`).
    pub memory: Option<u64>,
    /// Processes and threads together.
    pub pids: u64,
    /// Open descriptors of one process.
    pub files: u64,
    /// The size of one file, in bytes.
    pub file_size: u64,
    /// The size of each scratch directory, in bytes.
    pub tmp_size: u64,
    /// How much of each output stream is passed on, in bytes; by default all, and of a captured one
    /// [`Limits::CAPTURED`].
    pub output: Option<u64>,
}

impl Default for Limits {
    /// Roomy enough for numpy on a large machine, small enough for the host to stay healthy.
    fn default() -> Self {
        Self {
            cpu: None,
            memory: Some(1 << 30),
            pids: 512,
            files: 1024,
            file_size: 1 << 30,
            tmp_size: 256 << 20,
            output: None,
        }
    }
}

impl Limits {
    /// How much of a captured stream is kept if nothing else is asked for, in bytes.
    pub const CAPTURED: u64 = 16 << 20;

    /// The steps that set what each process may use. `in_cgroup`: memory is limited there. `pids` is the
    /// limit on the uid's processes, if it can be had.
    pub(crate) fn steps(&self, in_cgroup: bool, pids: Option<u64>) -> Vec<Step> {
        let mut limits = vec![
            // No core dumps: 0 would still dump into a program's pipe (/proc/sys/kernel/core_pattern); 1
            // is the kernel's word for neither (fs/coredump.c). Who is held to 0 is told of it.
            (libc::RLIMIT_CORE, at_most(Resource::RLIMIT_CORE, 1)),
            (libc::RLIMIT_NOFILE, self.files),
            (libc::RLIMIT_FSIZE, self.file_size),
            (libc::RLIMIT_MEMLOCK, at_most(Resource::RLIMIT_MEMLOCK, 64 << 10)),
            (libc::RLIMIT_MSGQUEUE, 0),
        ];
        limits.extend(pids.map(|pids| (libc::RLIMIT_NPROC, pids)));
        if let (Some(memory), false) = (self.memory, in_cgroup) {
            limits.push((libc::RLIMIT_DATA, memory));
        }
        let alike = |(resource, value)| Step::Limit {
            resource,
            soft: value,
            hard: value,
        };
        let mut steps: Vec<Step> = limits.into_iter().map(alike).collect();
        if let Some(cpu) = self.cpu {
            // Whole seconds. With a cgroup the supervisor comes first; this holds if it can't. The soft limit
            // kills by a signal of its own, which can be ignored; the hard one can't.
            let soft = cpu.as_secs_f64().ceil() as u64 + u64::from(in_cgroup);
            steps.push(Step::Limit {
                resource: libc::RLIMIT_CPU,
                soft,
                hard: soft + 1,
            });
        }
        steps
    }

    /// The size of a scratch directory as tmpfs(5) takes it: its inodes are bounded too, by one for each
    /// 4 KiB and 64 Ki in all.
    pub(crate) fn scratch(&self) -> String {
        let inodes = (self.tmp_size / 4096).clamp(64, 65_536);
        format!("mode=1777,size={},nr_inodes={inodes}", self.tmp_size)
    }
}
