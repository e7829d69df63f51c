//! The fast way against `--counts`: the programs warm up until dig has put its filter in, and must be seen
//! and see the same as if every call were stopped on.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::alike::alike;
use super::{call, count, dig};
use crate::support::{CALLGATE, available, callgate, compiled, expect, json, root, said, scratch, tool};

/// A recording of a program that goes well, after it has warmed up.
fn warmed(program: &Path, how: &[&str], args: &[&str]) -> Value {
    let mut command = dig(how);
    json(&expect(
        0,
        command.arg("--").arg(program).args(args).env("WARM", "1"),
    ))
}

/// Both recordings: fast, and with `--counts`. The exit code names the check that failed.
fn both(program: &Path, args: &[&str]) -> [Value; 2] {
    let fast = warmed(program, &[], args);
    let exact = warmed(program, &["--counts"], args);
    assert_eq!(exact["counts"], "exact");
    assert!(
        count(&exact, "getppid") >= 4000,
        "every one is counted: {exact:#}"
    );
    [fast, exact]
}

/// Fails unless a program is let pass, and its telling call is seen so often both ways.
fn seen_both_ways(source: &str, which: &str, telling: &str, times: u64) {
    let dir = scratch();
    let Some(program) = compiled(source, dir.path()) else {
        return;
    };
    let [fast, exact] = both(&program, &[which]);
    assert_eq!(fast["counts"], "lower_bound", "it was let pass: {fast:#}");
    assert!(count(&fast, "getppid") < count(&exact, "getppid"));
    // What is not in the filter stops each time.
    assert_eq!(
        (count(&fast, telling), count(&exact, telling)),
        (times, times),
        "{which}"
    );
    alike(fast, exact, || both(&program, &[which]));
}

#[test]
fn relatives_are_followed_into_the_filter() {
    for (which, telling, times) in [
        ("threads", "sched_getscheduler", 4),
        ("fork", "getpriority", 1),
        ("vfork", "getresuid", 1),
        ("exec", "getresuid", 1),
        ("orphan", "getpriority", 1),
    ] {
        seen_both_ways("family", which, telling, times);
    }
}

#[test]
fn relatives_that_hide_from_tracers_are_followed_and_don_t_notice() {
    // CLONE_UNTRACED is refused by nobody and kept by the kernel from nobody but a tracer.
    for (which, times) in [("untraced", 1), ("untraced3", 2), ("sibling", 1), ("shared", 1)] {
        seen_both_ways("births", which, "getpriority", times);
    }
}

#[test]
fn nothing_is_missed_while_threads_and_processes_are_made_and_the_filter_comes() {
    for _ in 0..5 {
        seen_both_ways("births", "storm", "getpriority", 28);
    }
}

#[test]
fn signals_are_as_without_dig_also_when_let_pass() {
    seen_both_ways("signals", "", "kill", 2);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn other_entries_always_stop() {
    let dir = scratch();
    let Some(program) = compiled("entries", dir.path()) else {
        return;
    };
    if !available("ia32", works(&program)) {
        return;
    }
    let [fast, exact] = both(&program, &[]);
    assert_eq!(fast["counts"], "lower_bound");
    assert_eq!(calls_of_other_abis(&fast), ["i386", "x32"]);
    alike(fast, exact, || both(&program, &[]));
}

#[cfg(target_arch = "x86_64")]
fn works(program: &Path) -> Result<(), String> {
    let bare = Command::new(program).status().unwrap();
    if bare.success() {
        return Ok(());
    }
    Err(format!("int 0x80 without dig: {bare}"))
}

#[cfg(target_arch = "x86_64")]
fn calls_of_other_abis(trace: &Value) -> Vec<&str> {
    let all = trace["syscalls"].as_array().unwrap();
    all.iter()
        .filter_map(|call| call["abi"].as_str())
        .filter(|abi| *abi != "x86_64")
        .collect()
}

/// The notes as one text.
fn notes(trace: &Value) -> String {
    trace["notes"].to_string()
}

#[test]
fn a_probe_that_uses_seccomp_sees_what_it_would_see_alone() {
    let dir = scratch();
    let Some(program) = compiled("guarded", dir.path()) else {
        return;
    };
    for (which, refused) in [
        ("asks", 0),
        ("strict", 1),
        ("filter", 1),
        ("threads", 4),
        ("killed", 1),
        ("tracer", 1),
    ] {
        for by in [&[which][..], &[which, "by prctl"]] {
            expect(0, Command::new(&program).args(by).env("WARM", "1"));
            let [fast, exact] = both(&program, by);
            assert_eq!(fast["counts"], "lower_bound", "{by:?}");
            assert_eq!(
                count(&fast, "getpriority"),
                refused,
                "refused and seen all the same: {by:?}"
            );
            alike(fast, exact, || both(&program, by));
        }
    }
}

#[test]
fn a_probe_with_a_filter_of_its_own_is_stopped_on_every_call_and_that_is_said() {
    let dir = scratch();
    let Some(program) = compiled("guarded", dir.path()) else {
        return;
    };
    let [fast, exact] = both(&program, &["early"]);
    assert_eq!(fast["counts"], "exact");
    assert!(
        notes(&fast).contains("under a seccomp filter already"),
        "{fast:#}"
    );
    for what in ["count", "errors"] {
        let of = |trace: &Value| call(trace, "getsid").map(|call| call[what].clone());
        assert_eq!(of(&fast), of(&exact), "{what}");
    }
    alike(fast, exact, || both(&program, &["early"]));
}

#[test]
fn a_probe_that_uses_ptrace_is_told_eperm_and_the_reader_is_told() {
    let dir = scratch();
    let Some(program) = compiled("guarded", dir.path()) else {
        return;
    };
    for trace in both(&program, &["ptrace"]) {
        assert!(notes(&trace).contains("uses ptrace itself"), "{trace:#}");
    }
}

/// Without privileges the filter needs no_new_privs, which must not show either.
#[test]
fn an_unprivileged_probe_sees_no_new_privs_as_it_set_it() {
    if !available("root", root().and_then(|()| tool("setpriv"))) {
        return;
    }
    let dir = scratch();
    let Some(program) = compiled("guarded", dir.path()) else {
        return;
    };
    let binary = dir.path().join("callgate");
    std::fs::copy(CALLGATE, &binary).unwrap();
    expect(0, Command::new("chmod").arg("-R").arg("a+rX").arg(dir.path()));
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    for args in [&["asks"][..], &["unprivileged"], &["unprivileged", "by prctl"]] {
        expect(0, Command::new("setpriv").args(nobody).arg(&program).args(args));
        let mut command = Command::new("setpriv");
        command
            .args(nobody)
            .arg(&binary)
            .args(["dig", "--json", "--"])
            .arg(&program);
        command.args(args).env("WARM", "1").current_dir("/");
        let trace = json(&expect(0, &mut command));
        assert_eq!(trace["counts"], "lower_bound", "{trace:#}");
    }
    // Traced by root, a program of another user keeps the privileges that set-user-ID programs give.
    let mut command = callgate(["dig", "--json", "--", "setpriv"]);
    command.args(nobody).arg(&program).arg("asks").env("WARM", "1");
    let trace = json(&expect(0, &mut command));
    assert_eq!(trace["counts"], "exact", "{trace:#}");
    assert!(notes(&trace).contains("set-user-ID"), "{trace:#}");
}

#[test]
fn a_time_limit_and_an_end_by_a_signal_hold_when_let_pass() {
    let dir = scratch();
    let Some(program) = compiled("endings", dir.path()) else {
        return;
    };
    for (which, status) in [
        ("segv", "signaled"),
        ("three", "exited"),
        ("linger", "timeout"),
        ("leave", "timeout"),
    ] {
        let mut command = dig(["--timeout", "2", "--"]);
        let output = expect(1, command.arg(&program).arg(which).env("WARM", "1"));
        let trace = json(&output);
        assert_eq!(trace["outcome"]["status"], status, "{which}");
        assert_eq!(trace["counts"], "lower_bound", "{which}\n{}", said(&output));
    }
}

#[test]
fn the_table_says_that_counts_are_lower_bounds() {
    let dir = scratch();
    let Some(program) = compiled("family", dir.path()) else {
        return;
    };
    let mut command = callgate(["dig", "--"]);
    let output = expect(0, command.arg(&program).arg("fork").env("WARM", "1"));
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("lower bounds") && table.contains("≥ 1"), "{table}");
}

#[test]
fn a_python_command_without_a_file_is_let_pass_once_its_own_code_runs() {
    if !available("python3", tool("python3")) {
        return;
    }
    // What is on the PATH may be a script that looks for the interpreter, with many calls of its own.
    let which = "import sys; print(sys.executable)";
    let output = expect(0, Command::new("python3").args(["-I", "-c", which]));
    let python = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let code = "import os\nfor _ in range(3000): os.getppid()";
    let trace = json(&expect(0, &mut dig(["--", &python, "-I", "-c", code])));
    if trace["counts"] == "exact" {
        // Under a filter that was there before, none is put in.
        assert!(
            notes(&trace).contains("stopped on every call"),
            "{}",
            notes(&trace)
        );
        return;
    }
    // The loop is known for what it is at its first turn, and not only after as many calls as a start may take.
    let stops = count(&trace, "getppid");
    assert!((1..250).contains(&stops), "{stops}");
}

/// The most memory that a recording took, in KiB (getrusage(2) of the child, by time's standard format).
fn peak(how: &[&str], times: u64) -> u64 {
    let dir = scratch();
    let source = dir.path().join("loop.c");
    let text = format!(
        "#include <sys/syscall.h>\n#include <unistd.h>\n\
         int main(void) {{ for (long i = 0; i < {times}; i++) syscall(SYS_getppid); return 0; }}\n"
    );
    std::fs::write(&source, text).unwrap();
    let program = dir.path().join("loop");
    expect(0, Command::new("cc").arg("-o").arg(&program).arg(&source));
    let script = "import resource, subprocess, sys\n\
                  subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n\
                  print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
    let mut command = Command::new("python3");
    command
        .args(["-c", script, CALLGATE, "dig"])
        .args(how)
        .arg("--")
        .arg(&program);
    let output = expect(0, &mut command);
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
}

#[test]
fn memory_does_not_grow_with_the_length_of_the_run() {
    if !available("cc", tool("cc")) || !available("python3", tool("python3")) {
        return;
    }
    for (how, few, many) in [(&[][..], 10_000, 1_000_000), (&["--counts"], 1_000, 20_000)] {
        let (few, many) = (peak(how, few), peak(how, many));
        assert!(many < few + 1024, "{how:?}: {few} KiB, then {many} KiB");
    }
}
