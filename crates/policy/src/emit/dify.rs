//! dify-sandbox's lists: numbers for its config.yaml and its environment, names for its Go source.

use callgate_abi::{Action, Arch, Syscall};

use super::lists::numbers;
use super::{Emitted, lost, text};
use crate::{Policy, Verdict};

/// The list as `allowed_syscalls` of dify-sandbox's conf/config.yaml.
///
/// The list is whole: up to a94a466 the setting replaces the built-in list instead of adding to it.
/// It knows numbers alone, so errno rules and conditions on arguments are lost: a call that the policy
/// allows for some arguments is allowed there for all.
pub fn dify(policy: &Policy, arch: Arch, name: &str) -> Emitted {
    listed(policy, arch, name, "conf/config.yaml", |list| {
        format!("allowed_syscalls: [{list}]\n")
    })
}

/// The same list for its environment: `ALLOWED_SYSCALLS=0,1,…`, as `docker run --env-file` reads it.
pub fn dify_env(policy: &Policy, arch: Arch, name: &str) -> Emitted {
    listed(policy, arch, name, "environment", |list| {
        format!("ALLOWED_SYSCALLS={}\n", list.replace(", ", ","))
    })
}

fn listed(policy: &Policy, arch: Arch, name: &str, place: &str, line: impl Fn(String) -> String) -> Emitted {
    let mut lost = lost::list(policy, arch);
    if policy.allowed(arch).is_empty() {
        lost.push("nothing is allowed; there an empty list stands for the built-in one".to_owned());
    }
    let what = format!(
        "dify-sandbox {place}, {arch} numbers: the whole list, as the setting replaces the built-in one there (up to \
         a94a466; later versions may add to it)"
    );
    let header = text::header("#", &what, policy, name, &lost);
    Emitted {
        text: header + &line(numbers(&policy.allowed(arch))),
        lost,
    }
}

/// The last number that golang's package syscall has a name for (src/syscall/zsysnum_linux_*.go, frozen).
fn golang_last(arch: Arch) -> u32 {
    match arch {
        Arch::X86_64 => 302,
        Arch::Aarch64 => 281,
    }
}

/// The list as dify-sandbox's own source: internal/static/python_syscall/syscalls_*.go, with the names of
/// golang's package syscall and numbers for the calls that it does not know.
///
/// Its second list, of calls that do nothing and return 0, says errno 0; other errnos, and conditions, are
/// lost as in [`dify`].
pub fn dify_go(policy: &Policy, arch: Arch, name: &str) -> Emitted {
    let silent: Vec<Syscall> = arch
        .calls()
        .filter(|call| policy.verdict(*call) == Verdict::Always(Action::Errno(0)))
        .collect();
    let said: Vec<String> = silent.iter().map(|call| format!("{call}: errno")).collect();
    let mut lost = lost::list(policy, arch);
    lost.retain(|sentence| !said.iter().any(|start| sentence.starts_with(start.as_str())));
    let allowed = policy.allowed(arch);
    let newer: Vec<&Syscall> = allowed
        .iter()
        .chain(&silent)
        .filter(|call| call.nr() > golang_last(arch))
        .collect();
    let what = format!("dify-sandbox internal/static/python_syscall/syscalls_{arch}.go");
    let mut out = text::header("//", &what, policy, name, &lost);
    out.push_str(&format!(
        "\n//go:build linux && {arch}\n\npackage python_syscall\n\nimport \"syscall\"\n\n"
    ));
    if !newer.is_empty() {
        let width = newer
            .iter()
            .map(|call| constant(arch, call).len())
            .max()
            .unwrap_or(0);
        let lines = newer
            .iter()
            .map(|call| format!("\t{:width$} = {}\n", constant(arch, call), call.nr()));
        out.push_str(&format!("const (\n{})\n\n", lines.collect::<String>()));
    }
    let words = |calls: &[Syscall]| -> Vec<String> {
        let word = |call: &Syscall| match call.nr() > golang_last(arch) {
            true => constant(arch, call),
            false => format!("syscall.{}", constant(arch, call)),
        };
        calls.iter().map(word).collect()
    };
    for (list, calls) in [
        ("ALLOW_SYSCALLS", &allowed[..]),
        ("ALLOW_ERROR_SYSCALLS", &silent),
        ("ALLOW_NETWORK_SYSCALLS", &[]),
    ] {
        let lines = text::wrapped("\t", &words(calls), ", ", ",");
        let open = if lines.is_empty() {
            String::new()
        } else {
            format!("\n{lines}")
        };
        out.push_str(&format!("var {list} = []int{{{open}}}\n\n"));
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    Emitted { text: out, lost }
}

/// golang's name, which for one call of arm64 is not the kernel's.
fn constant(arch: Arch, call: &Syscall) -> String {
    match (arch, call.name().as_ref()) {
        (Arch::Aarch64, "newfstatat") => "SYS_FSTATAT".to_owned(),
        (_, name) => format!("SYS_{}", name.to_ascii_uppercase()),
    }
}

#[cfg(test)]
mod tests {
    use callgate_abi::{ArgCondition, CompareOp};

    use super::*;
    use crate::Rule;

    fn policy() -> Policy {
        let mut policy = Policy::new(Action::KillProcess);
        policy.rules = vec![
            Rule::new(
                Action::Allow,
                ["write", "read", "exit_group", "newfstatat", "statx"],
            ),
            Rule::new(Action::Allow, ["socket"]).when([ArgCondition::new(0, CompareOp::Eq, 1).unwrap()]),
            Rule::new(Action::Errno(38), ["clone3"]),
            Rule::new(Action::Errno(0), ["mkdirat"]),
        ];
        policy
    }

    #[test]
    fn the_list_has_the_numbers_of_its_architecture_and_says_what_it_cannot_say() {
        let amd64 = dify(&policy(), Arch::X86_64, "p.json");
        assert!(
            amd64
                .text
                .ends_with("\nallowed_syscalls: [0, 1, 41, 231, 262, 332]\n"),
            "{}",
            amd64.text
        );
        assert!(
            dify_env(&policy(), Arch::X86_64, "p.json")
                .text
                .ends_with("\nALLOWED_SYSCALLS=0,1,41,231,262,332\n")
        );
        assert_eq!(
            amd64.lost,
            [
                "socket: allowed for some arguments; there for all",
                "mkdirat: errno(errno_0) becomes kill",
                "clone3: errno(ENOSYS) becomes kill"
            ]
        );
        assert!(
            amd64
                .text
                .contains("\n# lost: clone3: errno(ENOSYS) becomes kill\n")
        );
        let arm64 = dify(&policy(), Arch::Aarch64, "p.json");
        assert!(
            arm64
                .text
                .ends_with("\nallowed_syscalls: [63, 64, 79, 94, 198, 291]\n")
        );
    }

    #[test]
    fn golangs_names_have_constants_where_golang_has_none() {
        let go = dify_go(&policy(), Arch::Aarch64, "p.json");
        assert!(
            go.text.contains("\nconst (\n\tSYS_STATX = 291\n)\n"),
            "{}",
            go.text
        );
        assert!(
            go.text.contains(
                "\nvar ALLOW_SYSCALLS = []int{\n\tsyscall.SYS_READ, syscall.SYS_WRITE, syscall.SYS_FSTATAT, \
                 syscall.SYS_EXIT_GROUP,\n\tsyscall.SYS_SOCKET, SYS_STATX,\n}\n"
            ),
            "{}",
            go.text
        );
        assert!(
            go.text
                .contains("\nvar ALLOW_ERROR_SYSCALLS = []int{\n\tsyscall.SYS_MKDIRAT,\n}\n"),
            "{}",
            go.text
        );
        assert_eq!(go.lost.len(), 2);
    }
}
