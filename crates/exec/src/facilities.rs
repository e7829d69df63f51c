//! What this machine offers for isolation: tried, not guessed.

use std::fmt;

use callgate_launch::{Launch, Step};
use callgate_tracee::Options;
use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::sys::wait::waitpid;
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroup;
use crate::landlock;
use crate::limits::Limits;
use crate::seize::seize;
use crate::setup::{namespaces, text};
use crate::sys;
use crate::tier::Tier;

/// One thing that a machine has or lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facility {
    /// What it is.
    pub name: String,
    /// Whether it is there.
    pub present: bool,
    /// What was found.
    pub found: String,
    /// What it costs if it is missing, and the mend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
}

impl Facility {
    fn new(name: &str, found: Result<String, String>, cost: &str) -> Self {
        let present = found.is_ok();
        let (Ok(found) | Err(found)) = found;
        Self {
            name: name.to_owned(),
            present,
            found,
            cost: (!present).then(|| cost.to_owned()),
        }
    }
}

/// Why a tier can't be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Tries whether the first steps of a tier are permitted.
pub(crate) fn trial(tier: Tier) -> Result<(), Refusal> {
    let root = geteuid().is_root();
    match tier {
        Tier::Full if !root => Err(Refusal("needs a superuser".to_owned())),
        Tier::Full => try_namespaces(flags(tier)),
        Tier::Container => {
            let needed = [
                Capability::CAP_SYS_CHROOT,
                Capability::CAP_SETUID,
                Capability::CAP_SETGID,
                Capability::CAP_SETPCAP,
            ];
            for capability in needed {
                if !caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false) {
                    return Err(Refusal(format!("needs {capability}")));
                }
            }
            Ok(())
        }
        Tier::Unprivileged | Tier::Landlock if root => Err(Refusal(
            "is for ordinary users, and this is a superuser".to_owned(),
        )),
        Tier::Unprivileged => try_namespaces(flags(tier)),
        // Before, whoever may write to a file could truncate it (landlock(7), LANDLOCK_ACCESS_FS_TRUNCATE).
        Tier::Landlock => match landlock::version() {
            Ok(Some(3..)) => Ok(()),
            Ok(Some(version)) => Err(Refusal(format!(
                "needs Landlock ABI 3 (Linux 6.2), and this is ABI {version}"
            ))),
            Ok(None) => Err(Refusal(
                "needs Landlock, which this kernel lacks or has not enabled (boot with lsm=landlock,…)"
                    .to_owned(),
            )),
            Err(errno) => Err(Refusal(format!(
                "Landlock is refused by an outer sandbox: {errno}"
            ))),
        },
    }
}

fn flags(tier: Tier) -> u64 {
    namespaces(tier).into_iter().map(|(flag, _)| flag).sum()
}

/// Makes a process in new namespaces and has it change a mount there.
fn try_namespaces(namespaces: u64) -> Result<(), Refusal> {
    let private = Step::Mount {
        source: None,
        target: text("/"),
        kind: None,
        flags: libc::MS_REC | libc::MS_PRIVATE,
        data: None,
    };
    let init = callgate_launch::Init {
        namespaces,
        steps: vec![private],
        ..callgate_launch::Init::default()
    };
    // A directory can't be executed: when the exec is what fails, all before it went well.
    let none: [&str; 0] = [];
    let refusal = |what: String| Refusal(what);
    let mut started = Launch::new("/", none, none)
        .map(|launch| launch.init(init))
        .and_then(Launch::start)
        .map_err(|error| refusal(error.to_string()))?;
    let pid = started.pid();
    let _ = started.go();
    let _ = waitpid(pid, None);
    match started.reports() {
        Ok(reports) => match reports.failure {
            Some(failure) if !failure.exec => Err(refusal(format!(
                "{}: {}",
                failure.step,
                Errno::from_raw(failure.errno)
            ))),
            _ => Ok(()),
        },
        Err(error) => Err(refusal(error.to_string())),
    }
}

/// Everything that bears on tracing and isolation, in the order in which it is shown.
pub fn survey() -> Vec<Facility> {
    let mut all = vec![kernel(), ptrace(), seccomp()];
    for (flag, name) in namespaces(Tier::Unprivileged) {
        // Each alone; an ordinary user needs a user namespace around the others.
        let user = if geteuid().is_root() {
            0
        } else {
            libc::CLONE_NEWUSER as u64
        };
        let found = try_namespaces(flag | user | libc::CLONE_NEWNS as u64)
            .map(|()| "can be made".to_owned())
            .map_err(|refusal| refusal.to_string());
        let cost = "tiers full and unprivileged can't be had (in Docker: --cap-add SYS_ADMIN and a seccomp profile \
                    that allows unshare and mount)";
        all.push(Facility::new(&format!("{name} namespace"), found, cost));
    }
    let version = landlock::version();
    all.push(Facility::new(
        "landlock",
        match version {
            Ok(Some(version)) => Ok(format!("ABI {version}")),
            Ok(None) => Err("not in this kernel, or not enabled".to_owned()),
            Err(errno) => Err(format!("refused by an outer sandbox: {errno}")),
        },
        "no second lock on files, TCP, abstract sockets and signals (boot with lsm=landlock,…)",
    ));
    let cgroups = cgroups();
    let no_cgroup = (!cgroups.present).then(|| cgroups.found.clone());
    all.push(cgroups);
    all.push(capabilities());
    for tier in Tier::ALL {
        let found = match (trial(tier), tier, &no_cgroup) {
            (Err(refusal), _, _) => Err(refusal.to_string()),
            (Ok(()), Tier::Full, Some(why)) => Err(format!("all but its cgroup: {why}")),
            (Ok(()), Tier::Landlock, _) => Ok("works, without namespaces and a root of its own".to_owned()),
            (Ok(()), _, _) => Ok("works".to_owned()),
        };
        let cost = match tier {
            Tier::Full if no_cgroup.is_some() => "`--tier full` fails; `auto` does without and says so",
            Tier::Full => "runs share more with the host: `auto` takes the next tier",
            Tier::Container => "no fallback where namespaces are refused",
            Tier::Unprivileged => "ordinary users share more with the host: tier landlock is taken for them",
            Tier::Landlock => "ordinary users who are refused namespaces can't run code here",
        };
        all.push(Facility::new(&format!("tier {tier}"), found, cost));
    }
    all
}

fn kernel() -> Facility {
    let found = nix::sys::utsname::uname()
        .map(|u| {
            format!(
                "{} {}",
                u.release().to_string_lossy(),
                u.machine().to_string_lossy()
            )
        })
        .map_err(|errno| errno.to_string());
    Facility::new("kernel", found, "nothing is known of this system")
}

fn ptrace() -> Facility {
    let yama = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok();
    let none: [&str; 0] = [];
    let tried = Launch::new("/", none, none)
        .and_then(Launch::start)
        .map_err(|e| e.to_string())
        .and_then(|mut started| {
            let pid = started.pid();
            let mut tracer = seize(pid.as_raw(), Options::FOLLOW).map_err(|e| e.to_string())?;
            let _ = started.go();
            while let Ok(Some(event)) = tracer.wait() {
                if let callgate_tracee::Event::Stopped(tracee) = event {
                    tracee
                        .resume(callgate_tracee::Resume::Freely)
                        .map_err(|e| e.to_string())?;
                }
            }
            Ok(match &yama {
                Some(scope) => format!("own children can be traced (Yama ptrace_scope {})", scope.trim()),
                None => "own children can be traced (no Yama)".to_owned(),
            })
        });
    let cost = "dig can't trace and exec can't watch (in Docker: --cap-add SYS_PTRACE)";
    Facility::new("ptrace", tried, cost)
}

fn seccomp() -> Facility {
    use callgate_abi::Action;
    let wanted = [
        ("kill_process", Action::KillProcess.ret()),
        ("kill_thread", Action::KillThread.ret()),
        ("trap", Action::Trap.ret()),
        ("errno", Action::Errno(0).ret()),
        ("user_notif", 0x7fc0_0000),
        ("trace", Action::Trace(0).ret()),
        ("log", Action::Log.ret()),
        ("allow", Action::Allow.ret()),
    ];
    let (there, missing): (Vec<_>, Vec<_>) = wanted
        .into_iter()
        .partition(|(_, action)| sys::seccomp_action_available(*action));
    let names = |list: &[(&str, u32)]| list.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ");
    let found = if missing.is_empty() {
        Ok(names(&there))
    } else {
        Err(format!("{} (missing: {})", names(&there), names(&missing)))
    };
    Facility::new(
        "seccomp actions",
        found,
        "policies that use the missing actions can't be enforced",
    )
}

/// Made and removed again: what is mounted may not be written to.
fn cgroups() -> Facility {
    let found = Cgroup::new(geteuid().as_raw(), &Limits::default())
        .map(|cgroup| format!("{} below {}", cgroup.name(), cgroup.place()))
        .map_err(|absent| absent.to_string());
    Facility::new(
        "cgroups",
        found,
        "limits of memory and CPU time are per process; tier full needs them (in Docker: a writable \
         /sys/fs/cgroup; in a systemd service: Delegate=yes)",
    )
}

fn capabilities() -> Facility {
    let found = caps::read(None, CapSet::Effective)
        .map_err(|error| error.to_string())
        .map(|set| {
            if set.len() >= caps::all().len() {
                return format!("all {}", set.len());
            }
            let mut names: Vec<String> = set.iter().map(ToString::to_string).collect();
            names.sort();
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(" ")
            }
        });
    Facility::new("capabilities", found, "unknown")
}
