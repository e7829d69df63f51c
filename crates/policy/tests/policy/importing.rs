//! Other tools' files as they are written by people.

use callgate_abi::{Action, Arch};
use callgate_policy::Policy;
use callgate_policy::import::{DOCKER_CAPS, Format, ImportError, Imported, Kernel, Request, import};

fn read(text: &str, kernel: &str, caps: &[&str], part: Option<&str>) -> Result<Imported, ImportError> {
    let caps: Vec<String> = caps.iter().map(|cap| (*cap).to_owned()).collect();
    let request = Request {
        format: None,
        arch: None,
        kernel: kernel.parse().unwrap(),
        caps: &caps,
        part,
        include: &|path| match path {
            "./more.policy" => Ok("write: 1\n".to_owned()),
            "./bad.policy" => Ok("write: 1\nwriet: 1\n".to_owned()),
            _ => Err(format!("can't read {path}")),
        },
    };
    import(text, &request)
}

fn fault(text: &str) -> String {
    read(text, "6.1", &[], None)
        .map(|imported| imported.policy)
        .unwrap_err()
        .to_string()
}

fn decide(policy: &Policy, name: &str, args: [u64; 6]) -> Action {
    policy.decide(Arch::NATIVE.call(name).unwrap(), &args)
}

const PROFILE: &str = r#"{
  "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
  "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
              {"architecture": "SCMP_ARCH_S390X", "subArchitectures": null}],
  "syscalls": [
    {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
    {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
    {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
    {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 2114060288, "op": "SCMP_CMP_MASKED_EQ"}],
     "excludes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["s390", "s390x"]}},
    {"names": ["swapoff"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN", "CAP_SYS_CHROOT"]}},
    {"names": ["kexec_load"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "5.0"}},
    {"names": ["acct"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}}
  ]}"#;

#[test]
fn mobys_conditions_are_resolved_for_the_host_and_each_is_told() {
    let plain = read(PROFILE, "6.1.0-13-amd64", &DOCKER_CAPS, None).unwrap();
    assert_eq!(plain.format, Format::Moby);
    let names = |imported: &Imported| {
        imported
            .policy
            .rules
            .iter()
            .flat_map(|rule| rule.names.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&plain), ["read", "ptrace", "clone", "acct"]);
    assert_eq!(
        plain.policy.architectures,
        ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_S390X"]
    );
    assert_eq!(plain.policy.rules[3].arches, Some(vec!["arm64".to_owned()]));
    assert_eq!(
        plain.notes[1..],
        [
            "syscalls[1] kept: from Linux 4.8 on (ptrace)",
            "syscalls[2] dropped: only with CAP_SYS_ADMIN (mount)",
            "syscalls[3] kept: without CAP_SYS_ADMIN, not on s390, s390x (clone)",
            "syscalls[4] dropped: only with CAP_SYS_ADMIN (swapoff)",
            "syscalls[5] dropped: not from Linux 5.0 on (kexec_load)",
            "syscalls[6] kept: not on amd64 (acct)",
        ]
    );
    assert!(plain.notes[0].starts_with("resolved for Linux 6.1 and these capabilities: CAP_AUDIT_WRITE, "));
    let old = read(PROFILE, "4.4", &["CAP_SYS_ADMIN"], None).unwrap();
    assert_eq!(names(&old), ["read", "mount", "kexec_load", "acct"]);
    // includes.caps: all of them.
    let both = read(PROFILE, "4.4", &["CAP_SYS_ADMIN", "CAP_SYS_CHROOT"], None).unwrap();
    assert_eq!(names(&both), ["read", "mount", "swapoff", "kexec_load", "acct"]);
    // A policy on disk has no such conditions, and says where they are resolved.
    assert!(
        Policy::parse(PROFILE)
            .unwrap_err()
            .to_string()
            .contains("callgate policy import")
    );
    let bad = fault(&PROFILE.replace("CAP_SYS_CHROOT", "CAP_SYS_CHROOTS"));
    assert!(
        bad.contains("syscalls[4].includes.caps[1]") && bad.contains("CAP_SYS_CHROOTS"),
        "{bad}"
    );
    let named = PROFILE.replace("\"defaultErrnoRet\": 1", "\"defaultErrno\": \"ENOSYS\"");
    assert_eq!(
        read(&named, "6.1", &[], None).unwrap().policy.default,
        Action::Errno(38)
    );
    let twice = PROFILE.replace(
        "\"defaultErrnoRet\": 1",
        "\"defaultErrnoRet\": 1, \"defaultErrno\": \"ENOSYS\"",
    );
    assert!(fault(&twice).contains("1 by number and 38 by name"));
    assert!(fault(&PROFILE.replace("4.8", "four")).contains("syscalls[1].includes.minKernel"));
}

#[test]
fn the_profile_of_containers_common_is_resolved() {
    // Debian's golang-github-containers-common; Podman reads it.
    let Ok(text) = std::fs::read_to_string("/usr/share/containers/seccomp.json") else {
        crate::not_run(
            "containers-common",
            "on Debian: apt install golang-github-containers-common",
        );
        return;
    };
    // Without the capability, it allows setns in one rule and refuses it in another.
    let told = read(&text, "6.1", &DOCKER_CAPS, None).unwrap_err().to_string();
    assert!(
        told.contains("gives setns allow") && told.contains("errno(EPERM)") && told.contains("lines "),
        "{told}"
    );
    let host = read(&text, "6.1", &["CAP_SYS_ADMIN"], None).unwrap();
    assert_eq!(host.format, Format::Moby);
    for (name, action) in [
        ("read", Action::Allow),
        ("setns", Action::Allow),
        ("chroot", Action::Errno(1)),
        ("kexec_load", Action::Errno(1)),
        ("cachestat", Action::Errno(38)),
    ] {
        assert_eq!(decide(&host.policy, name, [0; 6]), action, "{name}");
    }
    assert!(host.notes.len() > 10, "{:?}", host.notes);
}

#[test]
fn minijails_expressions_decide_as_its_manual_says() {
    let text = "# c\n@default trap\n@include ./more.policy\nread: 1\nclose: return EBADF\n\
                ioctl: arg1 == 0x5401 || arg1 & 6 && arg2 in ~1\n\
                fcntl: arg1 == 1; return EINVAL\n\
                { getpid, getppid }: { arg0 == 1; return 5, arg0 == 2; kill-process, allow }\n\
                mprotect: arg2 in ~(PROT_WRITE|PROT_EXEC) || arg2 == PROT_READ|PROT_EXEC\n\
                lseek: arg0 >= 010 && \\\n arg0 < -1\n";
    let imported = read(text, "6.1", &[], None).unwrap();
    assert_eq!(imported.format, Format::Minijail);
    assert!(
        imported.notes[0].starts_with("fcntl: `conditions; return ERRNO` is read as minijail0"),
        "{:?}",
        imported.notes
    );
    let policy = imported.policy;
    for (name, args, action) in [
        ("read", [0; 6], Action::Allow),
        ("write", [0; 6], Action::Allow),
        ("openat", [0; 6], Action::Trap),
        ("close", [0; 6], Action::Errno(9)),
        ("ioctl", [0, 0x5401, 1, 0, 0, 0], Action::Allow),
        ("ioctl", [0, 4, 6, 0, 0, 0], Action::Allow),
        ("ioctl", [0, 4, 7, 0, 0, 0], Action::Trap),
        ("ioctl", [0, 8, 6, 0, 0, 0], Action::Trap),
        ("fcntl", [0, 1, 0, 0, 0, 0], Action::Allow),
        ("fcntl", [0, 2, 0, 0, 0, 0], Action::Errno(22)),
        ("getpid", [1, 0, 0, 0, 0, 0], Action::Errno(5)),
        ("getppid", [2, 0, 0, 0, 0, 0], Action::KillProcess),
        ("getppid", [3, 0, 0, 0, 0, 0], Action::Allow),
        ("mprotect", [0, 0, 5, 0, 0, 0], Action::Allow),
        ("mprotect", [0, 0, 1, 0, 0, 0], Action::Allow),
        ("mprotect", [0, 0, 6, 0, 0, 0], Action::Trap),
        ("lseek", [8, 0, 0, 0, 0, 0], Action::Allow),
        ("lseek", [7, 0, 0, 0, 0, 0], Action::Trap),
        ("lseek", [u64::MAX, 0, 0, 0, 0, 0], Action::Trap),
    ] {
        assert_eq!(decide(&policy, name, args), action, "{name} {args:?}");
    }
}

#[test]
fn a_fault_names_its_line_and_the_mend() {
    for (text, parts) in [
        ("read: 1\nwriet: 1\n", &["line 2", "did you mean \"write\""][..]),
        (
            "read: 1\n@include ./bad.policy\n",
            &["in ./bad.policy, line 2", "write"],
        ),
        ("@include /gone\nread: 1\n", &["line 1", "can't read /gone"]),
        (
            "read: 1\nread: 1\n",
            &["line 2", "read already has an action", "line 1"],
        ),
        (
            "read: arg0 == O_RDWRX\n",
            &["line 1", "O_RDWRX is not known", "number"],
        ),
        ("read: arg6 == 1\n", &["line 1", "arg0 to arg5"]),
        ("read: return ENOPE\n", &["line 1", "ENOPE"]),
        ("read: 1 2\n", &["line 1", "nothing more"]),
        ("read: user-notify\n", &["line 1", "user-notify"]),
        ("read: arg0 ==\n", &["line 1", "expected a number at the end"]),
        ("0, 1, x\n2", &["the format can't be told", "--format"]),
        (
            "ALLOWED_SYSCALLS=0,x",
            &["line 1", "\"x\" is no system call number"],
        ),
        (
            "a: 1\nallowed_syscalls: [0, -1]\n",
            &["allowed_syscalls[1], line 2", "-1"],
        ),
        ("allowed_syscalls:\n", &["list is empty", "dify-python"]),
        ("allowed_syscalls: &a [0]\n", &["line 1", "anchors"]),
    ] {
        let told = fault(text);
        assert!(parts.iter().all(|part| told.contains(part)), "{text:?}: {told}");
    }
}

const CLUSTER: &str = "apiVersion: security-profiles-operator.x-k8s.io/v1beta1
kind: SeccompProfile
metadata:
  name: one
spec:
  defaultAction: SCMP_ACT_ERRNO
  architectures: [SCMP_ARCH_NATIVE]
  syscalls:
  - names: [read, \"write\"]
    action: SCMP_ACT_ALLOW
  - names:
    - socket
    action: SCMP_ACT_ALLOW
    args:
    - {index: 0, value: 1, op: SCMP_CMP_EQ}
";

#[test]
fn a_clusters_profile_is_read_by_its_schema_with_lines() {
    let one = read(CLUSTER, "6.1", &[], None).unwrap();
    assert_eq!((one.format, one.policy.default), (Format::K8s, Action::Errno(1)));
    assert_eq!(decide(&one.policy, "socket", [1, 0, 0, 0, 0, 0]), Action::Allow);
    assert_eq!(
        decide(&one.policy, "socket", [2, 0, 0, 0, 0, 0]),
        Action::Errno(1)
    );
    for (from, to, parts) in [
        (
            "read,",
            "raed,",
            &["spec.syscalls[0].names[0], line 9", "did you mean \"read\""][..],
        ),
        (
            "SCMP_CMP_EQ",
            "SCMP_CMP_IS",
            &["spec.syscalls[1].args[0]", "line 15"],
        ),
        (
            "    action: SCMP_ACT_ALLOW\n  -",
            "    action: SCMP_ACT_ALLOW\n    comment: x\n  -",
            &["spec.syscalls[0].comment, line 11"],
        ),
        (
            "spec:",
            "spec:\n  baseProfileName: b",
            &["spec.baseProfileName, line 6", "policy merge"],
        ),
        (
            "spec:",
            "spec:\n  defaultErrnoRet: 38",
            &["spec.defaultErrnoRet, line 6", "unknown field"],
        ),
        (
            "security-profiles-operator.x-k8s.io",
            "v1",
            &["apiVersion, line 1"],
        ),
    ] {
        let told = fault(&CLUSTER.replacen(from, to, 1));
        assert!(parts.iter().all(|part| told.contains(part)), "{to}: {told}");
    }
    let two = format!(
        "{CLUSTER}---\n{}",
        CLUSTER
            .replace("name: one", "name: two")
            .replace("read", "openat")
    );
    let told = read(&two, "6.1", &[], None).unwrap_err().to_string();
    assert!(told.contains("one, two") && told.contains("--part"), "{told}");
    let second = read(&two, "6.1", &[], Some("two")).unwrap().policy;
    assert_eq!(decide(&second, "openat", [0; 6]), Action::Allow);
}

#[test]
fn numbers_without_a_name_are_told_and_left_out() {
    let imported = read(
        "app:\n  port: 8194\nallowed_syscalls: [0, 1, 9999]\n",
        "6.1",
        &[],
        None,
    )
    .unwrap();
    assert_eq!(imported.policy.allowed(Arch::NATIVE).len(), 2);
    let notes = imported.notes.join("\n");
    for part in [
        "left out: 9999",
        "setgroups",
        "the whole one",
        "--arch names another",
    ] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
}

#[test]
fn a_filter_is_chosen_by_its_thread_and_halves_of_arguments_are_compared() {
    let text = r#"{"main": {"mismatch_action": {"errno": 38}, "match_action": "allow", "filter": [
        {"syscall": "read"},
        {"syscall": "ioctl", "args": [{"index": 1, "type": "dword", "op": "lt", "val": 6}]}]},
      "vcpu": {"mismatch_action": "trap", "match_action": "allow", "filter": []}}"#;
    assert!(
        read(text, "6.1", &[], None)
            .unwrap_err()
            .to_string()
            .contains("main, vcpu")
    );
    assert!(
        read(text, "6.1", &[], Some("x"))
            .unwrap_err()
            .to_string()
            .contains("main, vcpu")
    );
    let main = read(text, "6.1", &[], Some("main")).unwrap();
    for (value, runs) in [
        (5, true),
        (6, false),
        (1 << 32, true),
        (1 << 32 | 6, false),
        (u64::MAX, false),
    ] {
        assert_eq!(
            decide(&main.policy, "ioctl", [0, value, 0, 0, 0, 0]).runs(),
            runs,
            "{value:#x}"
        );
    }
    assert_eq!(
        read(text, "6.1", &[], Some("vcpu")).unwrap().policy.default,
        Action::Trap
    );
    let told = read(&text.replace("\"read\"", "\"raed\""), "6.1", &[], Some("main"))
        .unwrap_err()
        .to_string();
    assert!(
        told.contains("main.filter[0].syscall") && told.contains("did you mean \"read\""),
        "{told}"
    );
}

#[test]
fn kernels_are_ordered_by_number() {
    let kernel = |word: &str| word.parse::<Kernel>().unwrap();
    assert!(kernel("4.8") < kernel("4.18") && kernel("4.18") < kernel("6.1"));
    assert!("6".parse::<Kernel>().is_err());
}
