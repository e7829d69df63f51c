//! What is read as a policy, what is refused, and where the fault is.

use callgate_abi::{Action, Arch, CompareOp};
use callgate_policy::{MAX_BYTES, Policy};

const SMALL: &str = r#"{
  "comment": "a test",
  "defaultAction": "SCMP_ACT_ERRNO",
  "defaultErrnoRet": 38,
  "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64"],
  "flags": ["SECCOMP_FILTER_FLAG_LOG"],
  "listenerPath": "/run/x", "listenerMetadata": "m",
  "syscalls": [
    {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "comment": "files"},
    {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
     "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
    {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
     "args": [{"index": 0, "value": 18446744073709551615, "op": "SCMP_CMP_EQ"}], "includes": {"arches": ["amd64", "s390x"]}}
  ]
}"#;

fn fault(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "{from}");
    Policy::parse(&SMALL.replacen(from, to, 1))
        .unwrap_err()
        .to_string()
}

#[test]
fn a_policy_survives_being_written_and_read_with_its_order_and_comments() {
    let policy = Policy::parse(SMALL).unwrap();
    assert_eq!(policy.default, Action::Errno(38));
    assert_eq!(policy.rules[0].comment.as_deref(), Some("files"));
    assert_eq!(policy.rules[1].args[0].op(), CompareOp::MaskedEq(0x7e02_0000));
    assert_eq!(policy.rules[2].args[0].value(), u64::MAX);
    assert!(policy.rules[2].applies_to(Arch::X86_64) && !policy.rules[2].applies_to(Arch::Aarch64));
    let text = policy.to_json().unwrap();
    assert_eq!(Policy::parse(&text).unwrap(), policy);
    assert_eq!(Policy::parse(&text).unwrap().to_json().unwrap(), text);
}

#[test]
fn a_fault_is_named_with_its_path_its_line_and_the_nearest_name() {
    let name = fault("\"write\"", "\"opennat\"");
    for part in [
        "syscalls[0].names[1]",
        "opennat",
        "did you mean \"openat\"",
        "line 9",
    ] {
        assert!(name.contains(part), "{name}");
    }
    assert!(fault("\"write\"", "\"syscall_999\"").contains("number without a name"));
    assert!(fault("SCMP_ACT_ALLOW", "SCMP_ACT_ALOW").contains("syscalls[0].action"));
    assert!(fault("SCMP_ARCH_X86\"", "SCMP_ARCH_X87\"").contains("architectures[1]"));
    assert!(fault("\"index\": 0", "\"index\": 6").contains("syscalls[1].args[0]"));
    assert!(fault("\"valueTwo\": 0", "\"valueTwo\": 1").contains("never hold"));
    assert!(fault("SCMP_CMP_EQ", "SCMP_CMP_ABOUT").contains("syscalls[2].args[0].op"));
    assert!(fault("\"errnoRet\": 1", "\"errnoRet\": 4096").contains("0 to 4095"));
    assert!(fault("\"errnoRet\": 1", "\"errnoRet\": \"EPERM\"").contains("syscalls[2].errnoRet"));
    assert!(fault("\"s390x\"", "\"s390y\"").contains("syscalls[2].includes.arches[1]"));
    assert!(fault("\"comment\": \"files\"", "\"comments\": \"files\"").contains("unknown field `comments`"));
    assert!(fault("\"flags\"", "\"flag\"").contains("unknown field `flag`"));
    assert!(fault("\"defaultErrnoRet\": 38", "\"defaultErrnoRet\": 5000").contains("defaultErrnoRet"));
    let beside = fault(
        "\"SCMP_ACT_ERRNO\",\n  \"defaultErrnoRet\"",
        "\"SCMP_ACT_KILL\",\n  \"defaultErrnoRet\"",
    );
    assert!(
        beside.contains("at defaultErrnoRet: an errno beside SCMP_ACT_KILL") && beside.contains("at line 4"),
        "{beside}"
    );
    assert!(fault("\"comment\": \"files\"", "\"errnoRet\": 1").contains("only SCMP_ACT_ERRNO"));
    assert!(fault("[\"read\", \"write\"]", "[]").contains("without names"));
    assert!(Policy::parse("").unwrap_err().to_string().contains("line 1"));
    assert!(Policy::parse("{} x").is_err() && Policy::parse(&format!("{SMALL} x")).is_err());
}

#[test]
fn conditions_on_the_host_are_refused_and_not_ignored() {
    let with = |condition: &str| fault("\"comment\": \"files\"", condition);
    assert!(with(r#""includes": {"caps": ["CAP_SYS_ADMIN"]}"#).contains("includes.caps"));
    assert!(with(r#""includes": {"minKernel": "4.8"}"#).contains("includes.minKernel"));
    assert!(with(r#""excludes": {"caps": ["CAP_SYS_ADMIN"]}"#).contains("excludes"));
    assert!(with(r#""excludes": {"arches": ["s390x"]}"#).contains("excludes"));
}

#[test]
fn what_docker_has_written_over_the_years_is_read() {
    let policy = Policy::parse(
        r#"{"defaultAction": "SCMP_ACT_KILL",
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
                        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": null}],
            "syscalls": [
              {"name": "read", "action": "SCMP_ACT_ALLOW", "args": []},
              {"names": ["_llseek", "ugetrlimit", "s390_pci_mmio_read", "riscv_flush_icache", "statx"],
               "action": "SCMP_ACT_ALLOW", "args": null, "comment": "", "includes": {}, "excludes": {}}]}"#,
    )
    .unwrap();
    assert_eq!(policy.default, Action::KillThread);
    assert_eq!(
        policy.architectures,
        [
            "SCMP_ARCH_X86_64",
            "SCMP_ARCH_X86",
            "SCMP_ARCH_X32",
            "SCMP_ARCH_AARCH64"
        ]
    );
    let notes = policy.notes().join("\n");
    assert!(
        notes.contains("SCMP_ARCH_X86, SCMP_ARCH_X32 are refused here"),
        "{notes}"
    );
    assert!(
        notes.contains("_llseek, ugetrlimit, s390_pci_mmio_read, riscv_flush_icache"),
        "{notes}"
    );
}

#[test]
fn a_rule_that_another_one_always_overrules_is_an_error_that_names_both() {
    let with = |rules: &str| {
        Policy::parse(&format!(
            r#"{{"defaultAction": "SCMP_ACT_KILL", "syscalls": [{rules}]}}"#
        ))
    };
    let allow_if = r#"{"names": ["read", "socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}"#;
    let refuse = r#"{"names": ["socket"], "action": "SCMP_ACT_ERRNO"}"#;
    let error = with(&format!("{allow_if}, {refuse}")).unwrap_err().to_string();
    assert!(
        error.contains("syscalls[0] gives socket allow, but syscalls[1] gives it errno(EPERM)"),
        "{error}"
    );
    let error = with(&format!("\n{allow_if},\n\n{refuse}"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("(lines 2 and 4)"), "{error}");
    let allow = r#"{"names": ["socket"], "action": "SCMP_ACT_ALLOW"}"#;
    assert!(with(&format!("{allow}, {refuse}")).is_err());
    let elsewhere = r#"{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "includes": {"arches": ["arm64"]}}"#;
    let here = r#"{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}}"#;
    assert!(with(&format!("{here}, {elsewhere}")).is_ok());
    let refuse_if = allow_if.replace("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO");
    assert!(with(&format!("{allow}, {refuse_if}")).is_ok());
}

#[test]
fn comparing_one_argument_twice_is_noted_because_runtimes_read_it_otherwise() {
    let text = r#"{"defaultAction": "SCMP_ACT_KILL", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [
          {"index": 0, "value": 1, "op": "SCMP_CMP_GE"}, {"index": 0, "value": 9, "op": "SCMP_CMP_LE"}]}]}"#;
    let notes = Policy::parse(text).unwrap().notes().join("\n");
    assert!(notes.contains("argument 0 more than once"), "{notes}");
    assert!(notes.contains("does not list SCMP_ARCH_AARCH64"), "{notes}");
}

#[test]
fn huge_and_deeply_nested_texts_are_errors() {
    let deep = "[".repeat(1_000_000);
    assert!(
        Policy::parse(&format!(
            r#"{{"defaultAction": "SCMP_ACT_KILL", "syscalls": {deep}"#
        ))
        .is_err()
    );
    let names = vec!["\"read\""; MAX_BYTES / 7 + 1].join(",");
    let long = format!(r#"{{"defaultAction": "SCMP_ACT_KILL", "syscalls": [{{"names": [{names}]}}]}}"#);
    assert!(Policy::parse(&long).unwrap_err().to_string().contains("too many"));
}
