//! Other tools' formats: each is accepted and enforced by its own tool, and comes back the same.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::{REFUSED, answered, asking, policy};
use crate::support::{available, expect, said, scratch, tool};

/// Writes the policy of `/asks` in a format, and the same without getsid.
fn both(dir: &Path, format: &str, more: &[&str]) {
    expect(
        0,
        &mut policy(dir, ["remove", "asks.policy.json", "getsid", "-o", "less.json"]),
    );
    for (name, to) in [("asks.policy.json", "whole"), ("less.json", "less")] {
        let mut command = policy(dir, ["emit", name, "--format", format, "-o", to]);
        expect(0, command.args(more));
    }
}

fn refused(output: &Output) {
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "asking\n",
        "{}",
        said(output)
    );
    assert_eq!(output.status.code(), Some(REFUSED), "{}", said(output));
}

/// nsjail with nothing but a filter: no namespaces, no limits.
fn nsjail(rules: &Path, program: &Path) -> Output {
    let mut command = Command::new("nsjail");
    command.args([
        "-Mo",
        "-Q",
        "--disable_clone_newcgroup",
        "--disable_rlimits",
        "--disable_proc",
    ]);
    for space in ["net", "user", "ns", "pid", "ipc", "uts"] {
        command.arg(format!("--disable_clone_new{space}"));
    }
    command
        .args(["--chroot", ""])
        .arg("-P")
        .arg(rules)
        .arg("--")
        .arg(program)
        .output()
        .unwrap()
}

#[test]
fn nsjail_enforces_the_emitted_kafel() {
    let dir = scratch();
    let dir = dir.path();
    let Some(root) = asking(dir) else { return };
    if !available("nsjail", tool("nsjail")) {
        return;
    }
    let program = root.join("asks");
    // nsjail executes the program by another call than the trace's launcher.
    expect(
        0,
        &mut policy(
            dir,
            [
                "allow",
                "asks.policy.json",
                "execveat",
                "execve",
                "-o",
                "asks.policy.json",
            ],
        ),
    );
    both(dir, "kafel", &[]);
    answered(&nsjail(&dir.join("whole"), &program));
    refused(&nsjail(&dir.join("less"), &program));
    // Every name that is written is one of its own: all calls of a policy that names them all.
    let all = String::from_utf8(expect(0, &mut policy(dir, ["numbers", "--json"])).stdout).unwrap();
    let all: Value = serde_json::from_str(&all).unwrap();
    let calls = all["calls"].as_array().unwrap();
    let names: Vec<&str> = calls.iter().filter_map(|call| call["name"].as_str()).collect();
    assert!(names.len() > 380);
    // Conditions are compared over all 64 bits: a lower half alone is another value.
    for (value, ends) in [(0u64, refused as fn(&Output)), (1 << 32, answered)] {
        let named = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["getsid"], "action": "SCMP_ACT_KILL_PROCESS",
             "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]},
            {"names": names.iter().filter(|name| **name != "getsid").collect::<Vec<_>>(), "action": "SCMP_ACT_LOG"}]});
        std::fs::write(dir.join("named.json"), named.to_string()).unwrap();
        expect(
            0,
            &mut policy(
                dir,
                [
                    "emit",
                    "named.json",
                    "--format",
                    "kafel",
                    "--lossy",
                    "-o",
                    "named",
                ],
            ),
        );
        ends(&nsjail(&dir.join("named"), &program));
    }
}

/// What systemd-analyze says of a service with this drop-in.
fn analyzed(dir: &Path, drop_in: &str) -> String {
    let own = dir.join("callgate-test.service.d");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("policy.conf"), drop_in).unwrap();
    let unit = dir.join("callgate-test.service");
    std::fs::write(&unit, "[Service]\nExecStart=/bin/true\n").unwrap();
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(unit)
        .output()
        .unwrap();
    let text = said(&output);
    // Debian 12's libseccomp is older than this call, which is taken back in case that systemd knows it.
    text.lines()
        .filter(|line| line.contains("policy.conf") && !line.ends_with(": uretprobe"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn systemd_reads_the_emitted_drop_in_without_a_complaint() {
    if !available("systemd-analyze", tool("systemd-analyze")) {
        return;
    }
    let dir = scratch();
    let dir = dir.path();
    for name in ["python", "dify-python"] {
        let refused = expect(2, &mut policy(dir, ["emit", name, "--format", "systemd"]));
        assert!(
            said(&refused).contains("numbers that systemd does not know"),
            "{}",
            said(&refused)
        );
        let output = expect(
            0,
            &mut policy(dir, ["emit", name, "--format", "systemd", "--lossy"]),
        );
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            text.starts_with("# systemd drop-in") && text.contains("\n[Service]\n"),
            "{text}"
        );
        assert_eq!(analyzed(dir, &text), "", "{text}");
        // It does complain, though it exits with 0.
        let bad = analyzed(
            dir,
            &text.replacen("SystemCallFilter=", "SystemCallFilter=raed ", 1),
        );
        assert!(bad.contains("raed"), "{bad}");
        let bad = analyzed(
            dir,
            &text.replacen("SystemCallFilter=", "SystemCallFilter=read:EPERM ", 1),
        );
        assert!(bad.contains("read:EPERM"), "{bad}");
    }
}

/// Loads the array beside it and executes its argument.
const LOADER: &str = r#"
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <linux/seccomp.h>
#include <unistd.h>
#include "filter.h"
int main(int argc, char **argv) {
    if (argc < 2 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return 9;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &callgate_program)) return 8;
    execve(argv[1], argv + 1, (char *[]){0});
    return 7;
}
"#;

#[test]
fn a_c_program_loads_the_emitted_array() {
    let dir = scratch();
    let dir = dir.path();
    let Some(root) = asking(dir) else { return };
    both(dir, "c", &[]);
    std::fs::write(dir.join("loader.c"), LOADER).unwrap();
    for name in ["whole", "less"] {
        std::fs::copy(dir.join(name), dir.join("filter.h")).unwrap();
        let mut cc = Command::new("cc");
        expect(
            0,
            cc.args(["-Wall", "-Werror", "-o", "loader", "loader.c"])
                .current_dir(dir),
        );
        // As a shell tells it: a signal is 128 and its number.
        let output = Command::new("sh")
            .args(["-c", "./loader root/asks; exit $?"])
            .current_dir(dir)
            .output()
            .unwrap();
        match name {
            "whole" => answered(&output),
            _ => refused(&output),
        }
    }
    drop(root);
}

#[test]
fn every_format_that_is_imported_comes_back_the_same_on_the_command_line() {
    let dir = scratch();
    let dir = dir.path();
    std::fs::write(
        dir.join("p.json"),
        r#"{"defaultAction": "SCMP_ACT_KILL_PROCESS", "comment": "why", "syscalls": [
            {"names": ["read", "write", "openat", "exit_group"], "action": "SCMP_ACT_ALLOW", "comment": "needed"}]}"#,
    )
    .unwrap();
    for format in [
        "oci",
        "moby",
        "k8s",
        "dify",
        "dify-env",
        "minijail",
        "seccompiler",
        "names",
        "numbers",
    ] {
        for arch in ["amd64", "arm64"] {
            expect(
                0,
                &mut policy(
                    dir,
                    ["emit", "p.json", "--format", format, "--arch", arch, "-o", "out"],
                ),
            );
            let twice = expect(
                0,
                &mut policy(dir, ["emit", "p.json", "--format", format, "--arch", arch]),
            );
            assert_eq!(twice.stdout, std::fs::read(dir.join("out")).unwrap(), "{format}");
            expect(
                0,
                &mut policy(dir, ["import", "out", "--arch", arch, "-o", "back.json"]),
            );
            let output = policy(dir, ["diff", "p.json", "--against", "back.json", "--arch", arch])
                .output()
                .unwrap();
            assert_eq!(
                output.status.code(),
                Some(0),
                "{format} {arch}: {}",
                said(&output)
            );
        }
    }
}

#[test]
fn an_import_says_what_it_decided_and_where_a_fault_is() {
    let dir = scratch();
    let dir = dir.path();
    std::fs::write(
        dir.join("docker.json"),
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "archMap": [], "syscalls": [
            {"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_CHROOT"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}}]}"#,
    )
    .unwrap();
    let import = |more: &[&str]| {
        let mut command = policy(dir, ["import", "docker.json"]);
        let output = expect(0, command.args(more));
        let file: Value = serde_json::from_slice(&output.stdout).unwrap();
        (file["syscalls"].as_array().unwrap().len(), said(&output))
    };
    let (rules, text) = import(&[]);
    assert_eq!(rules, 2, "{text}");
    assert!(
        text.contains("syscalls[0] kept: with CAP_SYS_CHROOT (chroot)"),
        "{text}"
    );
    assert_eq!(import(&["--cap", "none"]).0, 1);
    assert_eq!(import(&["--cap", "none", "--kernel", "4.4"]).0, 0);
    assert_eq!(import(&["--cap", "SYS_CHROOT", "--kernel", "4.4"]).0, 1);
    for (name, text, more, parts) in [
        (
            "bad.policy",
            "read: 1\nwriet: 1\n",
            &[][..],
            &["bad.policy: line 2", "did you mean \"write\""][..],
        ),
        (
            "bad.json",
            "{\"defaultAction\": \"SCMP_ACT_KILL\", \"archMap\": 3}",
            &[],
            &["bad.json", "archMap"],
        ),
        (
            "bad.yaml",
            "kind: SeccompProfile\napiVersion: v1\n",
            &[],
            &["bad.yaml", "apiVersion, line 2"],
        ),
        ("odd", "Hello, world!\n", &[], &["--format"]),
        (
            "docker.json",
            "{}",
            &["--cap", "CAP_NOPE"],
            &["--cap CAP_NOPE", "CAP_SYS_ADMIN"],
        ),
        ("docker.json", "{}", &["--kernel", "six"], &["--kernel", "6.1"]),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
        let mut command = policy(dir, ["import", name]);
        let told = said(&expect(2, command.args(more)));
        assert!(parts.iter().all(|part| told.contains(part)), "{name}: {told}");
    }
    // An included file stands beside the one that names it.
    std::fs::create_dir(dir.join("in")).unwrap();
    std::fs::write(dir.join("in/a.policy"), "@include ./b.policy\nread: 1\n").unwrap();
    std::fs::write(dir.join("in/b.policy"), "write: 1\n").unwrap();
    let output = expect(0, &mut policy(dir, ["import", "in/a.policy"]));
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("\"write\""),
        "{}",
        said(&output)
    );
}
