//! The limits that callgate was started with, where they are lower than a run's own.

use std::process::Command;

use serde_json::{Value, json};

use super::places::Ordinary;
use super::{feed, outcome_of};
use crate::support::{available, root, tool};

/// Whether this machine can be an ordinary user's with other limits.
fn possible() -> bool {
    let needs = root()
        .and_then(|()| tool("setpriv"))
        .and_then(|()| tool("prlimit"));
    available("root", needs)
}

/// An ordinary user's run whose supervisor is started with these hard limits (setpriv keeps them).
fn held(user: &Ordinary, limits: &[&str], flags: &[&str], code: &str) -> Value {
    let command = user.command(flags);
    let mut prlimit = Command::new("prlimit");
    prlimit
        .args(limits)
        .arg(command.get_program())
        .args(command.get_args());
    prlimit.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    prlimit.current_dir("/");
    outcome_of(&feed(&mut prlimit, code.as_bytes()))
}

#[test]
fn a_hard_limit_below_what_is_asked_for_is_told_with_who_set_it_and_what_to_do() {
    if !possible() {
        return;
    }
    let user = Ordinary::new();
    for (limit, flags, step, words) in [
        (
            "--nofile=512:512",
            &[][..],
            "prlimit(RLIMIT_NOFILE)",
            &["--files 512", "ulimit -Hn", "LimitNOFILE="][..],
        ),
        (
            "--fsize=1000000:1000000",
            &["--file-size", "1M"],
            "prlimit(RLIMIT_FSIZE)",
            &["--file-size 1000000", "fsize"],
        ),
        (
            "--data=500000000:500000000",
            &[],
            "prlimit(RLIMIT_DATA)",
            &["--memory 500000000", "limits.conf"],
        ),
        (
            "--cpu=60:60",
            &["--cpu", "90"],
            "prlimit(RLIMIT_CPU)",
            &["--cpu", "LimitCPU="],
        ),
        (
            "--nproc=300:300",
            &[],
            "prlimit(RLIMIT_NPROC)",
            &["--pids", "ulimit -Hu"],
        ),
    ] {
        let outcome = held(&user, &[limit], flags, "print('reached')\n");
        assert_eq!(
            (
                &outcome["exit_code"],
                &outcome["stdout"],
                &outcome["setup"]["step"]
            ),
            (&json!(125), &Value::Null, &json!(step)),
            "{outcome:#}"
        );
        let advice = outcome["setup"]["advice"].as_str().unwrap();
        let there = |word: &&&str| advice.contains(**word);
        assert_eq!(words.iter().filter(there).count(), words.len(), "{advice}");
        assert!(
            advice.contains("hard limit of") && advice.contains("CAP_SYS_RESOURCE"),
            "{advice}"
        );
    }
    // The mend that is told holds.
    let mended = held(&user, &["--nofile=512:512"], &["--files", "512"], "print(1)\n");
    assert_eq!(mended["stdout"], "1\n", "{mended:#}");
}

#[test]
fn limits_that_are_stricter_than_ours_are_left_as_they_are() {
    if !possible() {
        return;
    }
    let code = "import resource as r\n\
                print([r.getrlimit(x) for x in (r.RLIMIT_CORE, r.RLIMIT_MEMLOCK)])\n";
    let user = Ordinary::new();
    let seen = held(&user, &["--core=0:0", "--memlock=4096:4096"], &[], code);
    assert_eq!(seen["stdout"], "[(0, 0), (4096, 4096)]\n", "{seen:#}");
    // 0 keeps files from being written, and not the handler from being started, if there is one.
    let handled = std::fs::read_to_string("/proc/sys/kernel/core_pattern")
        .unwrap()
        .starts_with('|');
    let told = seen["notes"].to_string().contains("handler of core dumps");
    assert_eq!(told, handled, "{seen:#}");
    let seen = held(&user, &["--core=9:9", "--memlock=100000:100000"], &[], code);
    assert_eq!(seen["stdout"], "[(1, 1), (65536, 65536)]\n", "{seen:#}");
}

#[test]
fn where_files_may_not_grow_callgate_says_so_instead_of_ending_by_a_signal() {
    if !available("prlimit", tool("prlimit")) {
        return;
    }
    let mut prlimit = Command::new("prlimit");
    let command = crate::support::callgate(["exec", "--no-cache", "--json", "-c", "print('reached')"]);
    prlimit
        .arg("--fsize=0")
        .arg(command.get_program())
        .args(command.get_args());
    let outcome = outcome_of(&feed(&mut prlimit, b""));
    assert_eq!(
        (
            &outcome["exit_code"],
            &outcome["stdout"],
            &outcome["setup"]["step"]
        ),
        (&json!(125), &json!(null), &json!("memfd_create")),
        "{outcome}"
    );
    let advice = outcome["setup"]["advice"].as_str().unwrap_or_default();
    assert!(advice.contains("ulimit -f"), "{outcome}");
}

#[test]
fn a_program_that_writes_beyond_its_limit_has_the_signal_that_any_other_has() {
    if !available("root", root()) {
        return;
    }
    // Not Python, which ignores it by itself.
    let mut command = crate::support::callgate(["exec", "--json", "--policy", "docker-default"]);
    command.args([
        "--file-size",
        "4K",
        "--",
        "/bin/dd",
        "if=/dev/zero",
        "of=/tmp/long",
        "bs=8K",
        "count=2",
    ]);
    let outcome = outcome_of(&feed(&mut command, b""));
    assert_eq!(outcome["exit_code"], json!(153), "{outcome}");
}
