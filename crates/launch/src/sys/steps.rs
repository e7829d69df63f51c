//! What each step does: one raw system call, or two.

use std::ffi::{CString, c_char, c_int, c_long};
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr;

use super::capabilities::{bound_capabilities, set_capabilities};
use super::errno;
use super::files::{copy_file, write_file};
use crate::step::{IpcKind, Step};

/// 0 or more is success; else the errno.
pub(super) fn checked(result: c_long) -> Result<c_long, i32> {
    if result < 0 { Err(errno()) } else { Ok(result) }
}

fn optional(text: Option<&CString>) -> *const c_char {
    text.map_or(ptr::null(), |s| s.as_ptr())
}

/// `struct landlock_path_beneath_attr` (linux/landlock.h), which is packed.
#[repr(C, packed)]
struct PathBeneath {
    access: u64,
    parent: c_int,
}

/// `struct mount_attr` (linux/mount.h).
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Runs one step.
pub(super) fn run(step: &Step, pipe: RawFd) -> Result<(), i32> {
    // SAFETY: every pointer below comes from a CString or a live local; the numbers are plain. No call
    // keeps a pointer past its return, and none touches memory of ours but what it is given.
    unsafe {
        match step {
            Step::Mount {
                source,
                target,
                kind,
                flags,
                data,
            } => {
                checked(c_long::from(libc::mount(
                    optional(source.as_ref()),
                    target.as_ptr(),
                    optional(kind.as_ref()),
                    *flags as libc::c_ulong,
                    optional(data.as_ref()).cast(),
                )))?;
            }
            Step::MountAttributes { path, set } => {
                let attributes = MountAttributes {
                    set: *set,
                    clear: 0,
                    propagation: 0,
                    userns_fd: 0,
                };
                checked(libc::syscall(
                    libc::SYS_mount_setattr,
                    libc::AT_FDCWD,
                    path.as_ptr(),
                    libc::AT_RECURSIVE,
                    &raw const attributes,
                    size_of::<MountAttributes>(),
                ))?;
            }
            Step::Detach(path) => {
                checked(c_long::from(libc::umount2(path.as_ptr(), libc::MNT_DETACH)))?;
            }
            Step::PivotRoot { new, old } => {
                checked(libc::syscall(libc::SYS_pivot_root, new.as_ptr(), old.as_ptr()))?;
            }
            Step::Chroot(path) => {
                checked(c_long::from(libc::chroot(path.as_ptr())))?;
            }
            Step::ChrootInto { directory, .. } => {
                checked(c_long::from(libc::fchdir(*directory)))?;
                checked(c_long::from(libc::chroot(c".".as_ptr())))?;
            }
            Step::Chdir(path) => {
                checked(c_long::from(libc::chdir(path.as_ptr())))?;
            }
            Step::Mkdir { path, mode } => {
                exactly(|| c_long::from(libc::mkdir(path.as_ptr(), *mode)))?;
            }
            Step::File { path, mode, bytes } => return write_file(path, *mode, bytes),
            Step::Copy {
                from,
                length,
                path,
                mode,
            } => return copy_file(*from, *length, path, *mode),
            Step::Remove(path) => {
                checked(c_long::from(libc::unlink(path.as_ptr())))?;
            }
            Step::Symlink { target, path } => {
                checked(c_long::from(libc::symlink(target.as_ptr(), path.as_ptr())))?;
            }
            Step::Hostname(name) => {
                checked(c_long::from(libc::sethostname(
                    name.as_ptr(),
                    name.as_bytes().len(),
                )))?;
            }
            Step::Dup { from, to } if from == to => {
                checked(c_long::from(libc::fcntl(*from, libc::F_SETFD, 0)))?;
            }
            Step::Dup { from, to } => {
                checked(c_long::from(libc::dup2(*from, *to)))?;
            }
            Step::CloseExcept(keep) => return close_except(keep, &[pipe]),
            Step::JoinCgroup { tasks, .. } => {
                checked(libc::write(*tasks, c"0".as_ptr().cast(), 1) as c_long)?;
            }
            Step::Enter { process, namespaces } => {
                checked(c_long::from(libc::setns(*process, *namespaces as c_int)))?;
            }
            Step::Join {
                directory,
                namespaces,
            } => {
                let all = [
                    (libc::CLONE_NEWNET, c"net"),
                    (libc::CLONE_NEWIPC, c"ipc"),
                    (libc::CLONE_NEWUTS, c"uts"),
                ];
                for (flag, name) in all {
                    if namespaces & flag as u64 == 0 {
                        continue;
                    }
                    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
                    let namespace = checked(c_long::from(libc::openat(*directory, name.as_ptr(), flags)))?;
                    let entered = checked(c_long::from(libc::setns(namespace as c_int, flag)));
                    libc::close(namespace as c_int);
                    entered?;
                }
            }
            Step::Unshare(flags) => {
                checked(c_long::from(libc::unshare(*flags as c_int)))?;
            }
            Step::NewSession => {
                checked(c_long::from(libc::setsid()))?;
            }
            Step::Halt => {
                checked(c_long::from(libc::kill(libc::getpid(), libc::SIGSTOP)))?;
            }
            Step::Umask(mask) => {
                // The raw call: libc's type has no room for a refusal.
                checked(libc::syscall(libc::SYS_umask, *mask))?;
            }
            Step::Limit { resource, soft, hard } => {
                let limit = libc::rlimit64 {
                    rlim_cur: *soft,
                    rlim_max: *hard,
                };
                checked(libc::syscall(
                    libc::SYS_prlimit64,
                    0,
                    c_long::from(*resource),
                    &raw const limit,
                    ptr::null_mut::<libc::rlimit64>(),
                ))?;
            }
            Step::DieWithParent => {
                checked(c_long::from(libc::prctl(
                    libc::PR_SET_PDEATHSIG,
                    libc::SIGKILL,
                    0,
                    0,
                    0,
                )))?;
            }
            Step::Subreaper => {
                checked(c_long::from(libc::prctl(
                    libc::PR_SET_CHILD_SUBREAPER,
                    1,
                    0,
                    0,
                    0,
                )))?;
            }
            // The raw calls: libc's wrappers would signal the supervisor's other threads, which this
            // copy does not have.
            Step::NoGroups => {
                checked(libc::syscall(libc::SYS_setgroups, 0, ptr::null::<libc::gid_t>()))?;
            }
            Step::Gid(id) => {
                let id = c_long::from(*id);
                checked(libc::syscall(libc::SYS_setresgid, id, id, id))?;
            }
            Step::Uid(id) => {
                let id = c_long::from(*id);
                checked(libc::syscall(libc::SYS_setresuid, id, id, id))?;
            }
            Step::UidWith { uid, capabilities } => {
                let id = c_long::from(*uid);
                // Until the exec: else a superuser who becomes another loses all of them (prctl(2)).
                checked(c_long::from(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0)))?;
                checked(libc::syscall(libc::SYS_setresuid, id, id, id))?;
                set_capabilities(*capabilities, *capabilities, *capabilities)?;
                for capability in (0..64).filter(|bit| capabilities & (1 << bit) != 0) {
                    checked(c_long::from(libc::prctl(
                        libc::PR_CAP_AMBIENT,
                        libc::PR_CAP_AMBIENT_RAISE,
                        capability,
                        0,
                        0,
                    )))?;
                }
            }
            Step::Capabilities { effective, permitted } => {
                return set_capabilities(*effective, *permitted, 0);
            }
            Step::NoCapabilityBounds => return bound_capabilities(0),
            Step::BoundCapabilities(kept) => return bound_capabilities(*kept),
            Step::NoCapabilities => return set_capabilities(0, 0, 0),
            Step::NoNewPrivs => {
                checked(c_long::from(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)))?;
            }
            Step::LandlockAllow {
                ruleset,
                path,
                access,
            } => {
                let parent = checked(c_long::from(libc::open(
                    path.as_ptr(),
                    libc::O_PATH | libc::O_CLOEXEC,
                )))? as c_int;
                let rule = PathBeneath {
                    access: *access,
                    parent,
                };
                const LANDLOCK_RULE_PATH_BENEATH: c_long = 1;
                let added = checked(libc::syscall(
                    libc::SYS_landlock_add_rule,
                    c_long::from(*ruleset),
                    LANDLOCK_RULE_PATH_BENEATH,
                    &raw const rule,
                    0,
                ));
                libc::close(parent);
                added?;
            }
            Step::LandlockEnforce { ruleset } => {
                checked(libc::syscall(
                    libc::SYS_landlock_restrict_self,
                    c_long::from(*ruleset),
                    0,
                ))?;
            }
            Step::RemoveIpc { kind, id } => {
                // For IPC_RMID no argument is looked at besides the id.
                let removed = checked(c_long::from(match kind {
                    IpcKind::Memory => libc::shmctl(*id, libc::IPC_RMID, ptr::null_mut()),
                    IpcKind::Semaphores => libc::semctl(*id, 0, libc::IPC_RMID),
                    IpcKind::Messages => libc::msgctl(*id, libc::IPC_RMID, ptr::null_mut()),
                }));
                match removed {
                    Ok(_) | Err(libc::EINVAL | libc::EIDRM) => {}
                    Err(errno) => return Err(errno),
                }
            }
            Step::Seccomp(filter) => {
                // An Instruction has the layout of a sock_filter but not its promise: copied on the stack.
                let mut program =
                    [const { MaybeUninit::<libc::sock_filter>::uninit() }; callgate_abi::BPF_MAXINSNS];
                let Some(room) = program.get_mut(..filter.0.len()) else {
                    return Err(libc::E2BIG);
                };
                for (to, from) in room.iter_mut().zip(&filter.0) {
                    to.write(libc::sock_filter {
                        code: from.code,
                        jt: from.jt,
                        jf: from.jf,
                        k: from.k,
                    });
                }
                let program = libc::sock_fprog {
                    len: filter.0.len() as libc::c_ushort,
                    filter: program.as_mut_ptr().cast(),
                };
                checked(libc::syscall(
                    libc::SYS_seccomp,
                    c_long::from(libc::SECCOMP_SET_MODE_FILTER),
                    0,
                    &raw const program,
                ))?;
            }
        }
    }
    Ok(())
}

/// Makes something with its mode as it is given: without a mask. To set the mask twice takes the kernel less than one walk
/// along a path.
pub(super) fn exactly(make: impl FnOnce() -> c_long) -> Result<c_long, i32> {
    // SAFETY: the raw call with plain numbers; libc's type has no room for a refusal.
    let mask = checked(unsafe { libc::syscall(libc::SYS_umask, 0) })?;
    let made = checked(make());
    // SAFETY: as above.
    checked(unsafe { libc::syscall(libc::SYS_umask, mask) })?;
    made
}

/// Closes every descriptor but those in `keep` and `also`.
pub(super) fn close_except(keep: &[RawFd], also: &[RawFd]) -> Result<(), i32> {
    let mut from = 0;
    loop {
        let next = keep.iter().chain(also).copied().filter(|fd| *fd >= from).min();
        let to = next.map_or(c_int::MAX, |fd| fd - 1);
        if to >= from {
            // SAFETY: closing numbers touches no memory; what the child still needs is kept.
            checked(unsafe {
                libc::syscall(libc::SYS_close_range, c_long::from(from), c_long::from(to), 0)
            })?;
        }
        match next {
            Some(fd) => from = fd + 1,
            None => return Ok(()),
        }
    }
}
