//! What a seccomp filter answers, in the kernel's own order of precedence.

use std::fmt;

/// What happens to a call. Ordered as the kernel orders results of stacked filters: the greatest wins
/// (seccomp(2): `KILL_PROCESS` > `KILL_THREAD` > `TRAP` > `ERRNO` > `TRACE` > `LOG` > `ALLOW`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// The call runs.
    Allow,
    /// The call runs and is written to the audit log.
    Log,
    /// A tracer decides; without one the call fails with ENOSYS. Carries 16 bits for the tracer.
    Trace(u16),
    /// The call fails with this errno (0 to 4095) and does not run.
    Errno(u16),
    /// The thread gets SIGSYS and the call does not run.
    Trap,
    /// The thread ends.
    KillThread,
    /// The whole process ends with SIGSYS.
    KillProcess,
}

/// The greatest errno that the kernel returns (`MAX_ERRNO`, linux/err.h).
const MAX_ERRNO: u16 = 4095;

impl Action {
    /// The value that a BPF program returns for this action (`SECCOMP_RET_*`, linux/seccomp.h).
    pub const fn ret(self) -> u32 {
        match self {
            Self::KillProcess => 0x8000_0000,
            Self::KillThread => 0x0000_0000,
            Self::Trap => 0x0003_0000,
            Self::Errno(errno) => 0x0005_0000 | errno as u32,
            Self::Trace(data) => 0x7ff0_0000 | data as u32,
            Self::Log => 0x7ffc_0000,
            Self::Allow => 0x7fff_0000,
        }
    }

    /// The action that the kernel takes for a returned value; unknown actions kill the process,
    /// and an errno over 4095 is cut to 4095, as in `__seccomp_filter` (kernel/seccomp.c).
    /// `SECCOMP_RET_USER_NOTIF` is not among our actions: `None`.
    pub const fn from_ret(ret: u32) -> Option<Self> {
        let data = (ret & 0xffff) as u16;
        Some(match ret & 0xffff_0000 {
            0x0000_0000 => Self::KillThread,
            0x0003_0000 => Self::Trap,
            0x0005_0000 => Self::Errno(if data > MAX_ERRNO { MAX_ERRNO } else { data }),
            0x7ff0_0000 => Self::Trace(data),
            0x7ffc_0000 => Self::Log,
            0x7fff_0000 => Self::Allow,
            0x7fc0_0000 => return None,
            _ => Self::KillProcess,
        })
    }

    /// Whether the call runs under this action (with [`Action::Trace`], a tracer decides).
    pub const fn runs(self) -> bool {
        matches!(self, Self::Allow | Self::Log)
    }

    /// The name in OCI files, without the errno: `SCMP_ACT_ALLOW` ….
    pub const fn scmp_name(self) -> &'static str {
        match self {
            Self::Allow => "SCMP_ACT_ALLOW",
            Self::Log => "SCMP_ACT_LOG",
            Self::Trace(_) => "SCMP_ACT_TRACE",
            Self::Errno(_) => "SCMP_ACT_ERRNO",
            Self::Trap => "SCMP_ACT_TRAP",
            Self::KillThread => "SCMP_ACT_KILL_THREAD",
            Self::KillProcess => "SCMP_ACT_KILL_PROCESS",
        }
    }

    /// The action for a name in an OCI file, with its `errnoRet` (for `ERRNO` and `TRACE`; EPERM
    /// where it is missing, as in runc and crun). `SCMP_ACT_KILL` ends the thread, as in libseccomp.
    ///
    /// # Errors
    /// [`UnknownAction`] for any other name, or an errno over 4095.
    pub fn from_scmp(name: &str, errno: Option<u32>) -> Result<Self, UnknownAction> {
        const EPERM: u32 = 1;
        let unknown = || UnknownAction {
            name: name.to_owned(),
            errno,
        };
        let data = u16::try_from(errno.unwrap_or(EPERM)).map_err(|_| unknown())?;
        Ok(match name {
            "SCMP_ACT_ALLOW" => Self::Allow,
            "SCMP_ACT_LOG" => Self::Log,
            "SCMP_ACT_TRACE" => Self::Trace(data),
            "SCMP_ACT_ERRNO" if data <= MAX_ERRNO => Self::Errno(data),
            "SCMP_ACT_TRAP" => Self::Trap,
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Self::KillThread,
            "SCMP_ACT_KILL_PROCESS" => Self::KillProcess,
            _ => return Err(unknown()),
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => f.pad("allow"),
            Self::Log => f.pad("log"),
            Self::Trace(data) => f.pad(&format!("trace({data})")),
            Self::Errno(errno) => f.pad(&format!("errno({})", crate::errno_name(*errno))),
            Self::Trap => f.pad("trap"),
            Self::KillThread => f.pad("kill-thread"),
            Self::KillProcess => f.pad("kill"),
        }
    }
}

/// A name that is no action, or an errno that no call can return.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct UnknownAction {
    /// The name as it was written.
    pub name: String,
    /// The errno that stood with it.
    pub errno: Option<u32>,
}

impl fmt::Display for UnknownAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errno {
            Some(errno) if errno > u32::from(MAX_ERRNO) => {
                write!(
                    f,
                    "errno {errno} with {}: the kernel returns 0 to 4095",
                    self.name
                )
            }
            _ => write!(
                f,
                "unknown action {:?}: expected SCMP_ACT_ALLOW, _LOG, _TRACE, _ERRNO, _TRAP, _KILL_THREAD or _KILL_PROCESS",
                self.name
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_the_kernels_order_of_precedence() {
        let by_kernel = [
            Action::Allow,
            Action::Log,
            Action::Trace(1),
            Action::Errno(1),
            Action::Trap,
            Action::KillThread,
            Action::KillProcess,
        ];
        // The kernel compares the returned values as signed numbers; the least wins.
        let mut by_value = by_kernel;
        by_value.sort_by_key(|action| std::cmp::Reverse(action.ret() as i32));
        assert_eq!(by_kernel, by_value);
        assert!(by_kernel.is_sorted());
    }

    #[test]
    fn a_returned_value_and_its_action_lead_to_each_other() {
        for action in [
            Action::Allow,
            Action::Log,
            Action::Trace(7),
            Action::Errno(38),
            Action::Trap,
        ] {
            assert_eq!(Action::from_ret(action.ret()), Some(action));
        }
        assert_eq!(Action::from_ret(0x8000_0000), Some(Action::KillProcess));
        assert_eq!(Action::from_ret(0x1234_0000), Some(Action::KillProcess));
        assert_eq!(Action::from_ret(0x0005_ffff), Some(Action::Errno(4095)));
    }

    #[test]
    fn an_errno_over_the_kernels_greatest_is_refused() {
        assert!(Action::from_scmp("SCMP_ACT_ERRNO", Some(4096)).is_err());
        assert!(Action::from_scmp("SCMP_ACT_ALLOWED", None).is_err());
        assert_eq!(Action::from_scmp("SCMP_ACT_ERRNO", None), Ok(Action::Errno(1)));
    }
}
