//! From when the policy is in force, and what comes before it.

use std::process::Command;

use serde_json::{Value, json};

use super::{exec, marked, outcome, policy, printed, rule, unique};
use crate::support::{callgate, expect, said, scratch};

#[test]
fn the_policy_is_in_force_at_the_first_statement() {
    let dir = scratch();
    let policy = policy(dir.path(), &json!([rule("KILL_PROCESS", &["setpriority"])]));
    let outcome = outcome(
        &["--policy", &policy],
        "__import__('posix').setpriority(0, 0, 7)\nprint('reached')\n",
    );
    assert_eq!(
        (&outcome["status"], &outcome["stdout"]),
        (&json!("violation"), &json!("")),
        "{outcome:#}"
    );
    assert_eq!(outcome["violation"]["site"]["line"], 1);
    assert!(
        outcome["layers"]
            .to_string()
            .contains("seccomp from the first line"),
        "{outcome:#}"
    );
}

#[test]
fn the_code_may_run_on_every_cpu_as_soon_as_it_is_locked() {
    // While the filter is installed it stands still on the supervisor's.
    let code = "import json, os, threading\n\
                found = [sorted(os.sched_getaffinity(0))]\n\
                thread = threading.Thread(target=lambda: found.append(sorted(os.sched_getaffinity(0))))\n\
                thread.start(); thread.join()\n\
                print(json.dumps(found))\n";
    let mut bare = Command::new("python3");
    let bare = String::from_utf8(expect(0, bare.args(["-I", "-c", code])).stdout).unwrap();
    let bare: Value = serde_json::from_str(&bare).unwrap();
    for lock in ["body", "exec"] {
        for _ in 0..10 {
            let outcome = outcome(&["--lock", lock], code);
            assert_eq!(printed(&outcome), bare, "{outcome:#}");
        }
    }
}

#[test]
fn nothing_of_a_script_that_does_not_compile_is_run() {
    let output = exec(&[], "print('reached')\nimport os\nos._exit(0)\ndef broken(:\n");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(output.stdout.is_empty(), "{}", said(&output));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("SyntaxError") && stderr.contains("line 4"),
        "{stderr}"
    );
}

#[test]
fn variables_that_change_an_interpreter_have_no_effect_on_it() {
    let outcome = outcome(
        &[
            "--env",
            "PYTHONPATH=/tmp",
            "--env",
            "PYTHONSTARTUP=/tmp/x.py",
            "--env",
            "PYTHONOPTIMIZE=2",
            "--env",
            "PYTHONINSPECT=1",
            "--env",
            "PYTHONHOME=/nowhere",
        ],
        "import json, os, sys\n\
         print(json.dumps(['/tmp' in sys.path, sys.flags.optimize, sys.flags.inspect, sys.flags.isolated, os.environ['PYTHONPATH']]))\n",
    );
    assert_eq!(printed(&outcome), json!([false, 0, 0, 1, "/tmp"]), "{outcome:#}");
}

#[test]
fn a_lock_at_the_exec_is_in_force_during_the_interpreters_start() {
    let dir = scratch();
    let open = policy(dir.path(), &json!([]));
    let ran = outcome(&["--lock", "exec", "--policy", &open], "print('reached')\n");
    assert_eq!(
        (&ran["stdout"], &ran["exit_code"]),
        (&json!("reached\n"), &json!(0)),
        "{ran:#}"
    );
    assert!(
        ran["layers"].to_string().contains("seccomp from the exec"),
        "{ran:#}"
    );
    // getrandom is made while an interpreter starts (its hash seed), and by no code here.
    let closed = policy(dir.path(), &json!([rule("KILL_PROCESS", &["getrandom"])]));
    let early = outcome(&["--lock", "exec", "--policy", &closed], "print('reached')\n");
    assert_eq!(
        (&early["status"], &early["stdout"]),
        (&json!("violation"), &json!("")),
        "{early:#}"
    );
    assert_eq!(
        (&early["violation"]["syscall"], &early["violation"]["site"]),
        (&json!("getrandom"), &Value::Null)
    );
    let late = outcome(&["--lock", "body", "--policy", &closed], "print('reached')\n");
    assert_eq!(
        (&late["status"], &late["stdout"]),
        (&json!("exited"), &json!("reached\n")),
        "{late:#}"
    );
}

#[test]
fn a_process_that_start_up_leaves_behind_is_not_let_past_the_filter() {
    let dir = scratch();
    let venv = dir.path().join("venv");
    let made = Command::new("/usr/bin/python3")
        .args(["-m", "venv", "--without-pip"])
        .arg(&venv)
        .status()
        .unwrap();
    assert!(made.success());
    let python = venv.join("bin/python");
    let asked = Command::new(&python)
        .args(["-c", "import site; print(site.getsitepackages()[0])"])
        .output()
        .unwrap();
    let site = String::from_utf8(asked.stdout).unwrap();
    // Only below the supervisor: the interpreter is also started to describe itself.
    let daemon = "import os; os.environ.get('MARK') and (os.fork() or __import__('time').sleep(600))\n";
    std::fs::write(format!("{}/daemon.pth", site.trim()), daemon).unwrap();
    let (mark, python) = (unique("mark"), python.to_str().unwrap().to_owned());
    let variable = format!("MARK={mark}");
    let outcome = outcome(
        &["--timeout", "20", "--python", &python, "--env", &variable],
        "print('reached')\n",
    );
    assert_eq!(
        (&outcome["status"], &outcome["exit_code"]),
        (&json!("setup_failed"), &json!(125)),
        "{outcome:#}"
    );
    assert!(
        outcome["setup"]["error"]
            .as_str()
            .unwrap()
            .contains("left process"),
        "{outcome:#}"
    );
    assert!(
        outcome["setup"]["advice"]
            .as_str()
            .unwrap()
            .contains("--lock exec"),
        "{outcome:#}"
    );
    assert_eq!(marked(&mark), [""; 0]);
}

#[test]
fn an_ordinary_command_runs_under_the_policy_that_dig_made_and_not_with_one_call_less() {
    let dir = scratch();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (trace, fits, less) = (file("trace.json"), file("fits.json"), file("less.json"));
    // The language that a run has: another one opens other files, by other calls.
    let mut dig = callgate(["dig", "-o", &trace, "--", "/bin/ls", "/"]);
    expect(0, dig.env("LANG", "C.UTF-8").env_remove("LC_ALL"));
    expect(0, &mut callgate(["policy", "new", &trace, "-o", &fits]));
    let ran = expect(
        0,
        &mut callgate(["exec", "--policy", &fits, "--", "/bin/ls", "/"]),
    );
    assert!(
        String::from_utf8_lossy(&ran.stdout)
            .lines()
            .any(|line| line == "tmp"),
        "{}",
        said(&ran)
    );
    expect(
        0,
        &mut callgate(["policy", "remove", &fits, "getdents64", "-o", &less]),
    );
    let refused = callgate(["exec", "--json", "--policy", &less, "--", "/bin/ls", "/"])
        .output()
        .unwrap();
    let refused = super::outcome_of(&refused);
    assert_eq!(
        (&refused["exit_code"], &refused["violation"]["syscall"]),
        (&json!(159), &json!("getdents64")),
        "{refused:#}"
    );
    assert_eq!(refused["violation"]["site"], Value::Null);
}

#[test]
fn the_body_of_what_is_no_script_can_not_be_told() {
    let output = expect(2, &mut callgate(["exec", "--lock", "body", "--", "/bin/true"]));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("--lock body"),
        "{}",
        said(&output)
    );
}
