//! A step as plain system calls, for a process whose tracer makes the calls in its place.

use std::ffi::CStr;
use std::os::fd::RawFd;

use crate::step::Step;

/// A system call: number and arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its number on this architecture.
    pub nr: i64,
    /// Its arguments.
    pub args: [u64; 6],
}

/// What calls point to: bytes that will stand at a known address of the process.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    base: u64,
    bytes: Vec<u8>,
}

impl Memory {
    /// Memory that begins at this address.
    pub fn at(base: u64) -> Self {
        Self {
            base,
            bytes: Vec::new(),
        }
    }

    /// What has to be written there.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds bytes; returns their address, which is a multiple of 8.
    pub fn put(&mut self, bytes: &[u8]) -> u64 {
        let at = self.base + self.bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        at
    }

    fn text(&mut self, text: &CStr) -> u64 {
        self.put(text.to_bytes_with_nul())
    }

    fn words<T: Into<u64> + Copy>(&mut self, words: &[T]) -> u64 {
        let bytes: Vec<u8> = words
            .iter()
            .flat_map(|word| (*word).into().to_ne_bytes())
            .collect();
        self.put(&bytes)
    }
}

impl Step {
    /// The calls that do what this step does, every one of which must succeed (return 0 or more); what they
    /// point to is put into `memory`. Of the descriptors and paths that a step names, those of the process are
    /// meant. `None` for a step that plain calls can't do, because it needs what a call returns: mounts and
    /// files are for an init.
    ///
    /// `last_capability` is the kernel's last one (`/proc/sys/kernel/cap_last_cap`).
    pub fn calls(&self, memory: &mut Memory, last_capability: u64) -> Option<Vec<Call>> {
        let one = |nr: i64, args: &[u64]| {
            let mut six = [0; 6];
            for (to, from) in six.iter_mut().zip(args) {
                *to = *from;
            }
            Some(vec![Call { nr, args: six }])
        };
        let number = |fd: RawFd| fd as u64;
        match self {
            Self::Chroot(path) => one(libc::SYS_chroot, &[memory.text(path)]),
            Self::ChrootInto { directory, .. } => {
                let at = memory.text(c".");
                Some(
                    [
                        one(libc::SYS_fchdir, &[number(*directory)]),
                        one(libc::SYS_chroot, &[at]),
                    ]
                    .into_iter()
                    .flatten()
                    .flatten()
                    .collect(),
                )
            }
            Self::Chdir(path) => one(libc::SYS_chdir, &[memory.text(path)]),
            Self::Dup { from, to } if from != to => one(libc::SYS_dup3, &[number(*from), number(*to), 0]),
            Self::Dup { from, .. } => one(libc::SYS_fcntl, &[number(*from), libc::F_SETFD as u64, 0]),
            Self::CloseExcept(keep) => Some(
                gaps(keep)
                    .into_iter()
                    .map(|(from, to)| Call {
                        nr: libc::SYS_close_range,
                        args: [from, to, 0, 0, 0, 0],
                    })
                    .collect(),
            ),
            Self::JoinCgroup { tasks, .. } => one(libc::SYS_write, &[number(*tasks), memory.put(b"0"), 1]),
            Self::Enter { process, namespaces } => one(libc::SYS_setns, &[number(*process), *namespaces]),
            Self::Unshare(flags) => one(libc::SYS_unshare, &[*flags]),
            Self::NewSession => one(libc::SYS_setsid, &[]),
            Self::Umask(mask) => one(libc::SYS_umask, &[u64::from(*mask)]),
            Self::Limit { resource, soft, hard } => one(
                libc::SYS_prlimit64,
                &[0, u64::from(*resource), memory.words(&[*soft, *hard]), 0],
            ),
            Self::DieWithParent => one(
                libc::SYS_prctl,
                &[libc::PR_SET_PDEATHSIG as u64, libc::SIGKILL as u64],
            ),
            Self::Subreaper => one(libc::SYS_prctl, &[libc::PR_SET_CHILD_SUBREAPER as u64, 1]),
            Self::NoGroups => one(libc::SYS_setgroups, &[0, 0]),
            Self::Gid(id) => one(libc::SYS_setresgid, &[u64::from(*id); 3]),
            // Whoever changes its uid is undumpable until it executes something, which a fork does not. Then
            // only a tracer with CAP_SYS_PTRACE could write to its memory.
            Self::Uid(id) => Some(
                [
                    one(libc::SYS_setresuid, &[u64::from(*id); 3]),
                    one(libc::SYS_prctl, &[libc::PR_SET_DUMPABLE as u64, 1]),
                ]
                .into_iter()
                .flatten()
                .flatten()
                .collect(),
            ),
            Self::NoCapabilityBounds => Some(bound(0, last_capability)),
            Self::BoundCapabilities(kept) => Some(bound(*kept, last_capability)),
            Self::NoCapabilities => {
                let (header, sets) = capabilities(memory, 0, 0);
                one(libc::SYS_capset, &[header, sets])
            }
            Self::Capabilities { effective, permitted } => {
                let (header, sets) = capabilities(memory, *effective, *permitted);
                one(libc::SYS_capset, &[header, sets])
            }
            Self::NoNewPrivs => one(libc::SYS_prctl, &[libc::PR_SET_NO_NEW_PRIVS as u64, 1]),
            Self::LandlockEnforce { ruleset } => {
                one(libc::SYS_landlock_restrict_self, &[number(*ruleset), 0])
            }
            Self::Seccomp(filter) => {
                // struct sock_filter, for each instruction, and struct sock_fprog (linux/filter.h).
                let mut program = Vec::new();
                for at in &filter.0 {
                    program.extend(at.code.to_ne_bytes());
                    program.extend([at.jt, at.jf]);
                    program.extend(at.k.to_ne_bytes());
                }
                let program = memory.put(&program);
                let length = u16::try_from(filter.0.len()).ok()?.to_ne_bytes();
                let mut header = [0; 16];
                header.get_mut(..2)?.copy_from_slice(&length);
                header.get_mut(8..)?.copy_from_slice(&program.to_ne_bytes());
                let header = memory.put(&header);
                one(
                    libc::SYS_seccomp,
                    &[libc::SECCOMP_SET_MODE_FILTER.into(), 0, header],
                )
            }
            Self::Mount { .. }
            | Self::MountAttributes { .. }
            | Self::Detach(_)
            | Self::PivotRoot { .. }
            | Self::Mkdir { .. }
            | Self::File { .. }
            | Self::Copy { .. }
            | Self::Remove(_)
            | Self::Symlink { .. }
            | Self::Hostname(_)
            | Self::Join { .. }
            | Self::LandlockAllow { .. }
            | Self::UidWith { .. }
            | Self::RemoveIpc { .. }
            | Self::Halt => None,
        }
    }
}

/// What capset(2) takes: struct __user_cap_header_struct, version 3, of the process itself; then its three sets, the low
/// halves first, of which the inheritable one is empty.
fn capabilities(memory: &mut Memory, effective: u64, permitted: u64) -> (u64, u64) {
    let header = memory.put(&0x2008_0522_u64.to_le_bytes());
    let halves = [
        effective as u32,
        permitted as u32,
        0,
        (effective >> 32) as u32,
        (permitted >> 32) as u32,
        0,
    ];
    let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_ne_bytes()).collect();
    (header, memory.put(&bytes))
}

/// The calls that take capabilities out of the bounding set, all of the kernel's but those kept.
fn bound(kept: u64, last: u64) -> Vec<Call> {
    let prctl = |args: [u64; 2]| Call {
        nr: libc::SYS_prctl,
        args: [args[0], args[1], 0, 0, 0, 0],
    };
    let dropped = (0..=last.min(63)).filter(|capability| kept & (1 << capability) == 0);
    let mut calls: Vec<Call> = dropped
        .map(|capability| prctl([libc::PR_CAPBSET_DROP as u64, capability]))
        .collect();
    calls.push(prctl([
        libc::PR_CAP_AMBIENT as u64,
        libc::PR_CAP_AMBIENT_CLEAR_ALL as u64,
    ]));
    calls
}

/// The ranges of descriptors between those that are kept.
pub(crate) fn gaps(keep: &[RawFd]) -> Vec<(u64, u64)> {
    let mut keep: Vec<u64> = keep.iter().map(|fd| *fd as u64).collect();
    keep.sort_unstable();
    let mut from = 0;
    let mut gaps = Vec::new();
    for kept in keep {
        if kept > from {
            gaps.push((from, kept - 1));
        }
        from = from.max(kept + 1);
    }
    gaps.push((from, i32::MAX as u64));
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_the_kept_is_closed() {
        let last = i32::MAX as u64;
        assert_eq!(gaps(&[2, 0, 1, 7]), [(3, 6), (8, last)]);
        assert_eq!(gaps(&[]), [(0, last)]);
        assert_eq!(gaps(&[1, 1]), [(0, 0), (2, last)]);
    }

    #[test]
    fn what_a_call_points_to_is_aligned() {
        let mut memory = Memory::at(0x1000);
        assert_eq!(memory.put(b"abc"), 0x1000);
        assert_eq!(memory.put(&[1; 8]), 0x1008);
        assert_eq!(memory.bytes().len(), 16);
    }
}
