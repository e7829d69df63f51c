//! What many formats can't say, in one sentence each.

use callgate_abi::{Abi, Action, Arch};

use crate::{Policy, Verdict};

/// Calls through x32's entry, where a format's tool does not refuse them by itself.
pub(super) fn x32(policy: &Policy, arch: Arch) -> Option<String> {
    let open = arch == Arch::X86_64 && policy.default != Action::KillProcess;
    open.then(|| {
        format!(
            "{} calls get {} there and are killed here",
            Abi::X32,
            policy.default
        )
    })
}

/// Numbers above the newest known, where a format has one answer for all numbers that it does not name.
pub(super) fn unknown(policy: &Policy, there: Action) -> Option<String> {
    let here = policy.unknown.action(there);
    (here != there).then(|| format!("numbers above the newest known call get {here}; there {there}"))
}

/// What a container runtime does with the file beyond its filter.
pub(super) fn loading(policy: &Policy) -> Vec<String> {
    let mut lost: Vec<String> = policy
        .flags
        .iter()
        .map(|flag| format!("the flag {flag}"))
        .collect();
    let listener = [
        ("listenerPath", &policy.listener_path),
        ("listenerMetadata", &policy.listener_metadata),
    ];
    lost.extend(
        listener
            .iter()
            .filter(|(_, value)| value.is_some())
            .map(|(name, _)| (*name).to_owned()),
    );
    lost
}

/// Rules that runc and crun read otherwise: they take several comparisons of one argument for alternatives.
pub(super) fn repeated(policy: &Policy, arch: Option<Arch>) -> Vec<String> {
    let counts = |index: &usize| {
        let rule = &policy.rules[*index];
        arch.is_none_or(|arch| rule.applies_to(arch))
            && (0..6).any(|arg| {
                rule.args
                    .iter()
                    .filter(|condition| condition.index() == arg)
                    .count()
                    > 1
            })
    };
    let sentence = |index| {
        format!(
            "syscalls[{index}] compares one argument more than once: here all comparisons must hold, in runc and crun \
             one is enough"
        )
    };
    (0..policy.rules.len()).filter(counts).map(sentence).collect()
}

/// What a list of allowed calls, with kill for all else, does not say.
pub(super) fn list(policy: &Policy, arch: Arch) -> Vec<String> {
    let mut lost = Vec::new();
    if policy.default != Action::KillProcess {
        lost.push(format!("the default is {}; there it is kill", policy.default));
    }
    lost.extend(unknown(policy, Action::KillProcess));
    for call in arch.calls() {
        match policy.verdict(call) {
            Verdict::Always(action) if action == policy.default || action == Action::Allow => {}
            Verdict::Always(Action::Log) => lost.push(format!("{call}: allowed there without a log entry")),
            Verdict::Always(action) => lost.push(format!("{call}: {action} becomes kill")),
            verdict if verdict.may_run() => {
                lost.push(format!("{call}: allowed for some arguments; there for all"));
            }
            Verdict::Depends { .. } => {
                lost.push(format!("{call}: what it gets by its arguments becomes kill"))
            }
        }
    }
    lost.extend(loading(policy));
    lost
}
