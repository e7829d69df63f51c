//! systemd's settings for a service: a drop-in with `SystemCallFilter=` and what belongs to it.

use callgate_abi::{Action, Arch, Syscall, errno_name};

use super::{Emitted, lost, text};
use crate::{Policy, Verdict};

/// What systemd always adds to a list of allowed calls: its set `@default`, of amd64's and arm64's names
/// (`systemd-analyze syscall-filter @default`, 247 to 257). What the policy refuses of it is taken out again.
const DEFAULT_SET: [&str; 46] = [
    "arch_prctl",
    "brk",
    "clock_getres",
    "clock_gettime",
    "clock_nanosleep",
    "execve",
    "exit",
    "exit_group",
    "futex",
    "futex_waitv",
    "get_robust_list",
    "get_thread_area",
    "getegid",
    "geteuid",
    "getgid",
    "getgroups",
    "getpgid",
    "getpgrp",
    "getpid",
    "getppid",
    "getrandom",
    "getresgid",
    "getresuid",
    "getrlimit",
    "getsid",
    "gettid",
    "gettimeofday",
    "getuid",
    "membarrier",
    "mmap",
    "mprotect",
    "munmap",
    "nanosleep",
    "pause",
    "prlimit64",
    "restart_syscall",
    "rseq",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "set_robust_list",
    "set_thread_area",
    "set_tid_address",
    "sigreturn",
    "time",
    "uretprobe",
];

/// The policy as a drop-in for a service (`/etc/systemd/system/NAME.service.d/callgate.conf`), for one
/// architecture, as systemd 247 and later read it.
///
/// It knows no conditions on arguments: a call that the policy allows for some is allowed there for all,
/// one that it refuses for some is refused for all. The default is allow, kill or an errno; numbers that
/// systemd does not know get ENOSYS. What it can't say is lost.
pub fn systemd(policy: &Policy, arch: Arch, name: &str) -> Emitted {
    let mut lost = lost::loading(policy);
    let open = policy.default.runs();
    let fallback = match policy.default {
        Action::Allow | Action::KillProcess => policy.default,
        Action::Errno(errno) if errno > 0 => policy.default,
        Action::Log => Action::Allow,
        _ => Action::KillProcess,
    };
    if fallback != policy.default {
        lost.push(format!(
            "the default is {}; there it is {fallback}",
            policy.default
        ));
    }
    let unnamed = policy.unknown.action(policy.default);
    if open {
        lost.extend(lost::unknown(policy, fallback));
    } else if unnamed != Action::Errno(38) {
        lost.push(format!(
            "numbers that systemd does not know get errno(ENOSYS) there, {unnamed} here"
        ));
    }
    let (mut allowed, mut logged, mut plain, mut refused) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for call in arch.calls() {
        let action = said(policy, call, &mut lost);
        if action == Action::Log {
            logged.push(call.name().into_owned());
        }
        match action {
            Action::Allow | Action::Log if open => {}
            Action::Allow | Action::Log => allowed.push(call.name().into_owned()),
            _ if !open && action == fallback => {
                let listed = call.known_name().is_some_and(|name| DEFAULT_SET.contains(&name));
                plain.extend(listed.then(|| call.name().into_owned()));
            }
            Action::Errno(errno) => refused.push(format!("{call}:{}", errno_word(errno))),
            _ => refused.push(format!("{call}:kill")),
        }
    }
    let what = format!("systemd drop-in for a service on {arch}");
    let mut out = text::header("#", &what, policy, name, &lost);
    out.push_str(&format!("[Service]\nSystemCallArchitectures={}\n", machine(arch)));
    if let Action::Errno(errno) = fallback {
        out.push_str(&format!("SystemCallErrorNumber={}\n", errno_word(errno)));
    }
    if !open && allowed.is_empty() {
        allowed.push("@default".to_owned()); // an empty list would be no filter
    }
    out.push_str(&text::wrapped("SystemCallFilter=", &allowed, " ", ""));
    out.push_str(&text::wrapped("SystemCallFilter=~", &plain, " ", ""));
    out.push_str(&text::wrapped("SystemCallFilter=~", &refused, " ", ""));
    out.push_str(&text::wrapped("SystemCallLog=", &logged, " ", ""));
    Emitted { text: out, lost }
}

/// What the call gets there, and what is lost of what it gets here.
fn said(policy: &Policy, call: Syscall, lost: &mut Vec<String>) -> Action {
    let action = match policy.verdict(call) {
        Verdict::Always(action) => action,
        verdict if !policy.default.runs() && verdict.may_run() => {
            lost.push(format!("{call}: allowed for some arguments; there for all"));
            return Action::Allow;
        }
        Verdict::Depends { actions, .. } => {
            let strictest = actions.into_iter().max().unwrap_or(policy.default);
            lost.push(format!(
                "{call}: what it gets depends on its arguments; there {strictest} for all"
            ));
            strictest
        }
    };
    match action {
        Action::Trace(_) | Action::Trap | Action::KillThread if action != policy.default => {
            lost.push(format!("{call}: {action} becomes kill"));
            Action::KillProcess
        }
        Action::Trace(_) | Action::Trap | Action::KillThread => Action::KillProcess,
        Action::Errno(0) if policy.default == action => Action::KillProcess,
        Action::Log if policy.default == action => Action::Allow,
        _ => action,
    }
}

fn errno_word(errno: u16) -> String {
    let name = errno_name(errno);
    if name.starts_with('E') {
        name.into_owned()
    } else {
        errno.to_string()
    }
}

/// systemd's word for the machine.
fn machine(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "x86-64",
        Arch::Aarch64 => "arm64",
    }
}

#[cfg(test)]
mod tests {
    use callgate_abi::{ArgCondition, CompareOp};

    use super::*;
    use crate::Rule;

    #[test]
    fn a_list_of_what_is_allowed_takes_back_what_systemd_adds_and_names_its_errnos() {
        let mut policy = Policy::new(Action::Errno(38));
        policy.rules = vec![
            Rule::new(Action::Allow, ["read", "execve", "exit_group"]),
            Rule::new(Action::Log, ["write"]),
            Rule::new(Action::Errno(1), ["clone3", "mmap"]),
            Rule::new(Action::KillProcess, ["ptrace"]),
        ];
        let emitted = systemd(&policy, Arch::X86_64, "p.json");
        assert_eq!(emitted.lost, [] as [&str; 0]);
        let text = emitted.text;
        assert!(
            text.contains("\n[Service]\nSystemCallArchitectures=x86-64\nSystemCallErrorNumber=ENOSYS\n"),
            "{text}"
        );
        assert!(
            text.contains("\nSystemCallFilter=read write execve exit_group\n"),
            "{text}"
        );
        assert!(
            text.contains("\nSystemCallFilter=~mmap:EPERM ptrace:kill clone3:EPERM\n"),
            "{text}"
        );
        assert!(text.contains("\nSystemCallLog=write\n"), "{text}");
        let back: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("SystemCallFilter=~"))
            .flat_map(|l| l.split(' '))
            .collect();
        assert!(
            back.contains(&"brk") && back.contains(&"futex") && !back.contains(&"execve"),
            "{text}"
        );
    }

    #[test]
    fn a_list_of_what_is_refused_and_what_is_lost() {
        let mut policy = Policy::new(Action::Allow);
        let arg = ArgCondition::new(0, CompareOp::Eq, 1).unwrap();
        policy.rules = vec![
            Rule::new(Action::Errno(1), ["ptrace"]),
            Rule::new(Action::Trap, ["reboot"]),
            Rule::new(Action::KillProcess, ["socket"]).when([arg]),
        ];
        let emitted = systemd(&policy, Arch::Aarch64, "p.json");
        assert!(
            emitted
                .text
                .ends_with("\nSystemCallFilter=~ptrace:EPERM reboot:kill socket:kill\n"),
            "{}",
            emitted.text
        );
        assert_eq!(
            emitted.lost,
            [
                "reboot: trap becomes kill",
                "socket: what it gets depends on its arguments; there kill for all"
            ]
        );
    }
}
