//! System calls of the set-up that are refused.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

use super::{CALLGATE, CANARY, nothing_ran};
use crate::exec::{feed, interpreter, marked, unique};
use crate::support::sys::{Refusal, refuse};
use crate::support::{available, json as parse, root, said};

/// `callgate exec FLAGS -` with the canary as code, under a filter that refuses a call.
fn under(refusal: &Refusal<'_>, flags: &[&str]) -> (std::process::Output, String) {
    let mark = unique("mark");
    let mut command = Command::new(CALLGATE);
    command
        .args([
            "exec",
            "--timeout",
            "60",
            "--python",
            interpreter(),
            "--env",
            &format!("MARK={mark}"),
        ])
        .args(flags)
        .arg("-");
    command.env("NO_COLOR", "1").current_dir("/");
    refuse(&mut command, refusal);
    (
        feed(&mut command, format!("print('{CANARY}')\n").as_bytes()),
        mark,
    )
}

/// One case: the call (with the arguments that tell it from other uses), and the words that are said.
struct Case {
    nr: i64,
    args: &'static [(u32, u32)],
    errno: i32,
    flags: &'static [&'static str],
    words: &'static [&'static str],
}

const fn case(nr: i64, args: &'static [(u32, u32)], words: &'static [&'static str]) -> Case {
    Case {
        nr,
        args,
        errno: libc::EPERM,
        flags: &["--tier", "full"],
        words,
    }
}

const PTRACE_SEIZE: u32 = 0x4206;
const PTRACE_GET_SYSCALL_INFO: u32 = 0x420e;
const TSYNC: u32 = 1;

fn cases() -> Vec<Case> {
    vec![
        // The tier's own trial.
        case(
            libc::SYS_mount,
            &[],
            &["tier:", "full: mount: EPERM", "callgate doctor"],
        ),
        // The init.
        case(
            libc::SYS_prctl,
            &[(0, libc::PR_SET_CHILD_SUBREAPER as u32)],
            &["prctl(PR_SET_CHILD_SUBREAPER)", "EPERM"],
        ),
        case(libc::SYS_unshare, &[], &["unshare: EPERM", "CAP_SYS_ADMIN"]),
        case(
            libc::SYS_setns,
            &[(1, libc::CLONE_NEWNET as u32)],
            &["setns: EPERM", "CAP_SYS_ADMIN"],
        ),
        case(libc::SYS_setsid, &[], &["setsid: EPERM"]),
        case(
            libc::SYS_pivot_root,
            &[],
            &["pivot_root: /tmp: EPERM", "CAP_SYS_ADMIN", "--tier container"],
        ),
        case(
            libc::SYS_mount_setattr,
            &[],
            &["mount_setattr: /new: EPERM", "CAP_SYS_ADMIN"],
        ),
        Case {
            errno: libc::ENOSYS,
            ..case(
                libc::SYS_mount_setattr,
                &[],
                &["mount_setattr: /new: ENOSYS", "Linux 5.12", "--tier container"],
            )
        },
        case(libc::SYS_umount2, &[], &["umount2: .: EPERM"]),
        case(libc::SYS_sethostname, &[], &["sethostname: callgate: EPERM"]),
        // The child.
        // It goes with what is made without a mask.
        case(libc::SYS_umask, &[], &["mkdir: ", "EPERM"]),
        case(
            libc::SYS_prlimit64,
            &[(1, libc::RLIMIT_CORE)],
            &["prlimit(RLIMIT_CORE): 1: EPERM", "outer sandbox"],
        ),
        case(
            libc::SYS_prctl,
            &[(0, libc::PR_CAPBSET_READ as u32)],
            &["prctl(PR_CAPBSET_DROP): EPERM", "CAP_SETPCAP"],
        ),
        case(
            libc::SYS_prctl,
            &[(0, libc::PR_CAPBSET_DROP as u32)],
            &["prctl(PR_CAPBSET_DROP): EPERM", "CAP_SETPCAP"],
        ),
        case(libc::SYS_setgroups, &[], &["setgroups: EPERM", "CAP_SETGID"]),
        case(
            libc::SYS_setresgid,
            &[],
            &["setresgid: 65", "EPERM", "CAP_SETGID"],
        ),
        case(
            libc::SYS_setresuid,
            &[],
            &["setresuid: 65", "EPERM", "CAP_SETUID"],
        ),
        Case {
            errno: libc::EINVAL,
            ..case(
                libc::SYS_setresuid,
                &[],
                &["setresuid: 65", "EINVAL", "/etc/subuid"],
            )
        },
        case(libc::SYS_capset, &[], &["capset: EPERM"]),
        case(
            libc::SYS_prctl,
            &[(0, libc::PR_SET_PDEATHSIG as u32)],
            &["prctl(PR_SET_PDEATHSIG): EPERM"],
        ),
        Case {
            flags: &["--tier", "full", "--file", "in=/etc/passwd"],
            ..case(libc::SYS_sendfile, &[], &["copy: /tmp/in: EPERM"])
        },
        case(
            libc::SYS_prctl,
            &[(0, libc::PR_SET_NO_NEW_PRIVS as u32)],
            &["prctl(PR_SET_NO_NEW_PRIVS): EPERM", "outer sandbox"],
        ),
        case(
            libc::SYS_landlock_create_ruleset,
            &[],
            &["landlock_create_ruleset", "EPERM", "outer sandbox"],
        ),
        case(
            libc::SYS_landlock_add_rule,
            &[],
            &["landlock_add_rule: /: EPERM", "outer sandbox"],
        ),
        case(
            libc::SYS_landlock_restrict_self,
            &[],
            &["landlock_restrict_self: EPERM", "outer sandbox"],
        ),
        case(libc::SYS_close_range, &[], &["close_range: EPERM"]),
        // The filter of the child, which stops at the marker; then the policy, which is injected.
        case(
            libc::SYS_seccomp,
            &[(0, 1), (1, 0)],
            &["seccomp: EPERM", "outer sandbox"],
        ),
        case(
            libc::SYS_seccomp,
            &[(0, 1), (1, TSYNC)],
            &["lock: seccomp failed", "EPERM", "outer sandbox"],
        ),
        Case {
            errno: libc::ENOSYS,
            ..case(
                libc::SYS_seccomp,
                &[(0, 1), (1, TSYNC)],
                &["lock: seccomp failed", "ENOSYS", "CONFIG_SECCOMP_FILTER"],
            )
        },
        // The supervisor.
        case(libc::SYS_memfd_create, &[], &["memfd_create: "]),
        case(
            libc::SYS_ptrace,
            &[(0, PTRACE_SEIZE)],
            &["ptrace: ", "EPERM", "--cap-add SYS_PTRACE"],
        ),
        case(
            libc::SYS_ptrace,
            &[(0, PTRACE_GET_SYSCALL_INFO)],
            &["lock: PTRACE_GET_SYSCALL_INFO", "EPERM"],
        ),
        case(
            libc::SYS_pidfd_open,
            &[],
            &["pidfd_open: ", "EPERM", "time limit"],
        ),
        // Without mounts.
        Case {
            flags: &["--tier", "container"],
            ..case(libc::SYS_chroot, &[], &["chroot: ", "EPERM", "CAP_SYS_CHROOT"])
        },
    ]
}

#[test]
fn a_step_that_is_refused_leaves_the_code_unrun_and_says_which_why_and_what_to_do() {
    if !available("root", root()) {
        return;
    }
    let mut failed = BTreeMap::new();
    for (i, case) in cases().into_iter().enumerate() {
        let refusal = Refusal {
            nr: case.nr,
            args: case.args,
            errno: case.errno,
        };
        let (output, mark) = under(&refusal, case.flags);
        let result = std::panic::catch_unwind(|| {
            nothing_ran(&output, 125, case.words);
            assert_eq!(marked(&mark), [""; 0]);
        });
        if result.is_err() {
            failed.insert(i, format!("{:?}: {}", case.words, said(&output)));
        }
    }
    assert!(
        failed.is_empty(),
        "{} failed:\n{}",
        failed.len(),
        failed.into_values().collect::<Vec<_>>().join("\n\n")
    );
}

#[test]
fn without_a_refusal_the_same_command_runs() {
    if !available("root", root()) {
        return;
    }
    // No call has this number: the filter is there and refuses nothing.
    let harmless = Refusal {
        nr: 0xffff,
        args: &[],
        errno: libc::EPERM,
    };
    for tier in ["full", "container"] {
        let (output, _) = under(&harmless, &["--tier", tier]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{CANARY}\n"));
    }
}

#[test]
fn a_command_is_locked_or_not_run() {
    if !available("root", root()) {
        return;
    }
    let mut command = Command::new(CALLGATE);
    command
        .args([
            "exec",
            "--tier",
            "full",
            "--policy",
            "dify-python",
            "--",
            "/bin/echo",
            CANARY,
        ])
        .env("NO_COLOR", "1");
    refuse(
        &mut command,
        &Refusal {
            nr: libc::SYS_seccomp,
            args: &[(0, 1), (1, TSYNC)],
            errno: libc::EPERM,
        },
    );
    nothing_ran(
        &command.output().unwrap(),
        125,
        &["lock: seccomp failed", "EPERM"],
    );
}

#[test]
fn a_failed_set_up_is_an_outcome_in_json() {
    if !available("root", root()) {
        return;
    }
    let refusal = Refusal {
        nr: libc::SYS_setresuid,
        args: &[],
        errno: libc::EPERM,
    };
    let (output, _) = under(&refusal, &["--tier", "full", "--json"]);
    let outcome = parse(&output);
    assert_eq!(
        (&outcome["status"], &outcome["exit_code"]),
        (&json!("setup_failed"), &json!(125)),
        "{outcome:#}"
    );
    assert_eq!(
        (&outcome["stdout"], &outcome["tier"], &outcome["layers"]),
        (&Value::Null, &Value::Null, &json!([]))
    );
    assert_eq!(outcome["setup"]["step"], "setresuid");
    assert!(outcome["setup"]["error"].as_str().unwrap().contains("EPERM"));
    assert!(
        outcome["setup"]["advice"]
            .as_str()
            .unwrap()
            .contains("CAP_SETUID")
    );
}

#[test]
fn memory_that_can_not_be_read_directly_is_read_by_ptrace() {
    if !available("root", root()) {
        return;
    }
    // As in a container, where the code's uid is another and CAP_SYS_PTRACE is missing.
    for nr in [libc::SYS_process_vm_readv, libc::SYS_process_vm_writev] {
        let mut command = Command::new(CALLGATE);
        command
            .args(["exec", "-q", "--policy", "dify-python", "--", "/bin/true"])
            .env("NO_COLOR", "1");
        refuse(
            &mut command,
            &Refusal {
                nr,
                args: &[],
                errno: libc::EPERM,
            },
        );
        let output = command.output().unwrap();
        assert_ne!(output.status.code(), Some(125), "{}", said(&output));
    }
}
