//! The limits that we were started with: a hard one can be lowered by anybody, and raised only with CAP_SYS_RESOURCE
//! in the host's own user namespace (setrlimit(2)).

use std::sync::OnceLock;

use caps::{CapSet, Capability};
use nix::sys::resource::{Resource, getrlimit};

/// A resource of which a run gets a limit.
struct Limited {
    /// The step that sets it (`callgate_launch::Step::name`).
    step: &'static str,
    resource: Resource,
    /// The option by which it is chosen, and whether the option's value is the limit's own.
    option: Option<(&'static str, bool)>,
    /// Its letter in `ulimit`, its name in systemd's units, and in Docker's `--ulimit`.
    names: (char, &'static str, &'static str),
}

const fn limited(
    step: &'static str,
    resource: Resource,
    option: Option<(&'static str, bool)>,
    names: (char, &'static str, &'static str),
) -> Limited {
    Limited {
        step,
        resource,
        option,
        names,
    }
}

const LIMITED: &[Limited] = &[
    limited(
        "prlimit(RLIMIT_NOFILE)",
        Resource::RLIMIT_NOFILE,
        Some(("--files", true)),
        ('n', "LimitNOFILE", "nofile"),
    ),
    limited(
        "prlimit(RLIMIT_FSIZE)",
        Resource::RLIMIT_FSIZE,
        Some(("--file-size", true)),
        ('f', "LimitFSIZE", "fsize"),
    ),
    limited(
        "prlimit(RLIMIT_DATA)",
        Resource::RLIMIT_DATA,
        Some(("--memory", true)),
        ('d', "LimitDATA", "data"),
    ),
    limited(
        "prlimit(RLIMIT_NPROC)",
        Resource::RLIMIT_NPROC,
        // With the init, and with the user's other processes where they are counted together.
        Some(("--pids", false)),
        ('u', "LimitNPROC", "nproc"),
    ),
    limited(
        "prlimit(RLIMIT_CPU)",
        Resource::RLIMIT_CPU,
        // A second or two more, as the supervisor is to come first.
        Some(("--cpu", false)),
        ('t', "LimitCPU", "cpu"),
    ),
    limited(
        "prlimit(RLIMIT_CORE)",
        Resource::RLIMIT_CORE,
        None,
        ('c', "LimitCORE", "core"),
    ),
];

/// What to do about a limit of this height that was refused.
pub(crate) fn advice(step: &str, asked: u64) -> Option<String> {
    let limited = LIMITED.iter().find(|limited| limited.step == step)?;
    // What refuses to set a limit may refuse to tell it as well.
    let hard = getrlimit(limited.resource).map_or(u64::MAX, |(_, hard)| hard);
    if asked <= hard {
        return Some(match limited.option {
            Some(("--files", _)) => {
                "more than the kernel lets anybody have (fs.nr_open, sysctl(8)), or an outer sandbox \
                                     refuses prlimit: lower --files, or allow it there"
                    .to_owned()
            }
            _ => "an outer sandbox refuses prlimit: allow it there".to_owned(),
        });
    }
    let lower = match limited.option {
        Some((option, true)) => format!("ask for no more ({option} {hard})"),
        Some((option, false)) => format!("ask for less ({option})"),
        None => "ask whoever set it".to_owned(),
    };
    let (letter, unit, docker) = limited.names;
    Some(format!(
        "callgate was started with a hard limit of {hard} (`ulimit -H{letter}`), which only CAP_SYS_RESOURCE can raise: \
         {lower}, or raise it where callgate is started ({unit}= in a systemd unit, --ulimit {docker}= in Docker, \
         /etc/security/limits.conf for a login)"
    ))
}

/// A limit of our own choice, which may be lower: never more than what we were started with.
pub(crate) fn at_most(resource: Resource, wanted: u64) -> u64 {
    match getrlimit(resource) {
        Ok((_, hard)) if !can_raise() => wanted.min(hard),
        _ => wanted,
    }
}

/// What is said of a run whose crashes the host hears of. 1 is the kernel's word for no core dump at all, 0 still lets
/// it start the handler that `core_pattern` names (core(5); fs/coredump.c); and who is held to 0 can't say 1.
pub(crate) fn of_core_dumps() -> Option<String> {
    if at_most(Resource::RLIMIT_CORE, 1) == 1 {
        return None;
    }
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let handler = pattern.strip_prefix('|')?.split_whitespace().next()?;
    Some(format!(
        "if it crashes, the host's handler of core dumps is started ({handler}): callgate was started with a hard limit \
         of 0 on them (`ulimit -Hc`), and only one of 1 keeps the kernel from that"
    ))
}

/// Whether hard limits can be raised: a superuser of a user namespace below the host's can't. Asked once, as it stays so.
fn can_raise() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let host = std::fs::read_to_string("/proc/self/uid_map")
            .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
        host && caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_RESOURCE).unwrap_or(false)
    })
}
