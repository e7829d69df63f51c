//! `callgate fit --minimise`: what is said to be needed is, and what is said to be refusable can be.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{can_install, names, read};
use crate::support::{CALLGATE, available, callgate, expect, json as parse, probe, root, said, scratch};

/// Its needs are known by construction.
const KNOWN: &str = "\
import os
try: os.sched_yield()
except OSError: pass
try: os.getpriority(os.PRIO_PROCESS, 0)
except PermissionError: pass
print('the parent is', os.getppid())
";

fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// The verdicts on a script, with these arguments besides.
fn minimise(dir: &Path, path: &Path, args: &[&str]) -> Value {
    let mut command = callgate(["fit", "--minimise", "--json", "--out-dir"]);
    let report = parse(&expect(0, command.arg(dir).args(args).arg(path)));
    assert_eq!(report["schema"], "callgate.minimised/1");
    report
}

fn verdict<'a>(report: &'a Value, name: &str) -> &'a Value {
    let calls = report["calls"].as_array().unwrap();
    calls
        .iter()
        .find(|call| call["name"] == name)
        .unwrap_or_else(|| panic!("{name} is not listed: {report:#}"))
}

/// What a script writes under a policy in which one call is refused, and its exit code.
fn alone(dir: &Path, policy: &Value, path: &Path, name: &str, errno: u16) -> (Option<i32>, Vec<u8>) {
    let mut policy = policy.clone();
    let rules = policy["syscalls"].as_array_mut().unwrap();
    for rule in rules.iter_mut() {
        rule["names"]
            .as_array_mut()
            .unwrap()
            .retain(|other| other != name);
    }
    rules.retain(|rule| rule["names"] != json!([]));
    rules.push(json!({"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": errno}));
    let file = dir.join("alone.json");
    std::fs::write(&file, policy.to_string()).unwrap();
    let mut exec = callgate(["exec", "--quiet", "--timeout", "20", "--policy"]);
    let output = exec.arg(&file).arg(path).stdin(Stdio::null()).output().unwrap();
    (output.status.code(), output.stdout)
}

#[test]
fn every_verdict_agrees_with_refusing_that_call_alone() {
    if !available("root", root()) {
        return;
    }
    let dir = scratch();
    let path = script(dir.path(), "known.py", KNOWN);
    let fitted = dir.path().join("fitted");
    std::fs::create_dir(&fitted).unwrap();
    expect(0, callgate(["fit", "--out-dir"]).arg(&fitted).arg(&path));
    let fitted = read(&fitted.join("known.policy.json"));
    let report = minimise(dir.path(), &path, &[]);
    assert_eq!(report["minimal"], true, "{report:#}");
    assert_eq!(
        report["comparison"],
        json!({"stdout": "exact", "stderr": "exact"})
    );

    let found = |name: &str| {
        let call = verdict(&report, name);
        (call["verdict"].as_str().unwrap(), call["errno"].clone())
    };
    assert_eq!(found("getppid"), ("required", Value::Null));
    assert_eq!(found("write"), ("required", Value::Null));
    assert_eq!(found("sched_yield"), ("refusable", json!("ENOSYS")));
    assert_eq!(found("getpriority"), ("refusable", json!("EPERM")));
    assert_eq!(found("exit_group").0, "kept");
    assert_eq!(found("execve"), ("refusable", json!("ENOSYS")));
    assert_eq!(verdict(&report, "execve")["phase"], "startup");

    let other = match cfg!(target_arch = "x86_64") {
        true => "arm64",
        false => "amd64",
    };
    let good = (Some(0), b"the parent is 1\n".to_vec());
    let policy = read(&dir.path().join("known.policy.json"));
    for call in report["calls"].as_array().unwrap() {
        let name = call["name"].as_str().unwrap();
        let rule = policy["syscalls"]
            .as_array()
            .unwrap()
            .iter()
            .find(|rule| {
                let elsewhere = rule["includes"]["arches"] == json!([other]);
                names(rule).any(|listed| listed == name) && !elsewhere
            })
            .unwrap_or_else(|| panic!("{name} is in no rule"));
        match call["verdict"].as_str().unwrap() {
            "required" => {
                assert_eq!(rule["action"], "SCMP_ACT_ALLOW", "{rule}");
                assert!(call["runs"].as_u64().unwrap() >= 2, "one for each errno: {call}");
                for errno in [38, 1] {
                    assert_ne!(
                        alone(dir.path(), &fitted, &path, name, errno),
                        good,
                        "{name} {errno}"
                    );
                }
            }
            "refusable" => {
                let errno = if call["errno"] == "ENOSYS" { 38 } else { 1 };
                assert_eq!(rule["action"], "SCMP_ACT_ERRNO", "{rule}");
                assert_eq!(rule["errnoRet"], errno, "{rule}");
                let runs = call["runs"].as_u64().unwrap();
                assert!(runs >= report["confirm"].as_u64().unwrap(), "{call}");
                let comment = rule["comment"].as_str().unwrap();
                assert!(comment.contains(&format!("verified in {runs} runs")), "{comment}");
                assert_eq!(alone(dir.path(), &fitted, &path, name, errno), good, "{name}");
            }
            "kept" => assert_eq!(rule["action"], "SCMP_ACT_ALLOW", "{rule}"),
            other => panic!("{name}: {other}"),
        }
    }
    // All at once, by the file.
    let mut exec = callgate(["exec", "--quiet", "--policy"]);
    let output = expect(
        0,
        exec.arg(dir.path().join("known.policy.json"))
            .arg(&path)
            .stdin(Stdio::null()),
    );
    assert_eq!(output.stdout, good.1);
    // On the other architecture nothing was tried, and nothing is refused.
    let shown = expect(
        0,
        callgate(["policy", "verify", "--arch", "all"]).arg(dir.path().join("known.policy.json")),
    );
    assert!(
        said(&shown).contains(&format!("{other}: proved")),
        "{}",
        said(&shown)
    );
}

#[test]
fn a_call_that_is_needed_by_chance_only_is_found_by_running_the_result_again() {
    if !available("root", root()) {
        return;
    }
    let dir = scratch();
    let text = "import os\nif os.getppid() < 0 and os.urandom(1)[0] < 128: os._exit(4)\nprint('well')\n";
    let path = script(dir.path(), "chance.py", text);
    let report = minimise(dir.path(), &path, &["--confirm", "16"]);
    assert_eq!(verdict(&report, "getppid")["verdict"], "required", "{report:#}");
    assert_eq!(report["minimal"], true);
    assert!(report["runs"]["confirm"].as_u64().unwrap() >= 16, "{report:#}");
}

/// Fails, after a while, in the runs that find bad luck in a file beside their interpreter.
const UNLUCKY: &str = "\
import os, sys, time
luck = open(os.path.join(sys.prefix, 'luck'))
if luck.read() == 'bad':
    time.sleep(1)
    os._exit(5)
time.sleep(.1)
print('the parent is', os.getppid())
";

/// How long any other run has the file open, and then some.
const LUCKY: Duration = Duration::from_millis(200);

#[test]
fn runs_that_fail_by_chance_make_no_call_required() {
    if !available("root", root()) {
        return;
    }
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let venv = dir.path().join("venv");
    let made = ["-m", "venv", "--without-pip"];
    expect(
        0,
        std::process::Command::new("/usr/bin/python3")
            .args(made)
            .arg(&venv),
    );
    let luck = venv.join("luck");
    // In place: another file would not be the one that is in the roots.
    let be = |word: &str| std::fs::write(&luck, word).unwrap();
    be("good");
    let path = script(dir.path(), "unlucky.py", UNLUCKY);
    let verdicts = |unlucky: bool| -> Vec<(String, String)> {
        let mut child = std::process::Command::new(CALLGATE)
            .args(["fit", "--minimise", "--json", "--out-dir"])
            .arg(dir.path())
            .arg("--python")
            .arg(venv.join("bin/python"))
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap())
            .lines()
            .map(Result::unwrap);
        let begun = lines.any(|line| line.contains("finding out which calls can be refused"));
        assert!(begun, "it ended early");
        if unlucky {
            // Two runs with nothing refused come first: were they unlike, that would be the end.
            let mut runs = BTreeSet::new();
            until("a search", || {
                runs.extend(holders(&luck));
                runs.len() > 3
            });
            be("bad");
            let mut since = BTreeMap::new();
            until("a run that fails", || {
                let now = holders(&luck);
                since.retain(|run, _| now.contains(run));
                now.into_iter()
                    .any(|run| since.entry(run).or_insert_with(Instant::now).elapsed() > LUCKY * 3)
            });
            be("good");
        }
        let rest = std::thread::spawn(move || lines.collect::<Vec<_>>());
        let output = child.wait_with_output().unwrap();
        let said = rest.join().unwrap();
        assert_eq!(output.status.code(), Some(0), "{said:#?}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["minimal"], true, "{report:#}");
        let text = |call: &Value, key: &str| call[key].as_str().unwrap().to_owned();
        let calls = report["calls"].as_array().unwrap();
        calls
            .iter()
            .map(|call| (text(call, "name"), text(call, "verdict")))
            .collect()
    };
    let lucky = verdicts(false);
    assert_eq!(verdicts(true), lucky);
}

/// The processes that have a file open.
fn holders(path: &Path) -> BTreeSet<PathBuf> {
    let holds = |process: &PathBuf| {
        let open = std::fs::read_dir(process.join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        open.into_iter()
            .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|leads| leads == path))
    };
    let all = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    all.filter(holds).collect()
}

/// Waits for something, looking again and again.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is() {
        assert!(Instant::now() < end, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_changes_by_itself_is_not_compared_and_that_is_said_and_a_hang_is_ended() {
    if !available("root", root()) {
        return;
    }
    let dir = scratch();
    let text = "import os, time\nwhile os.getppid() < 0: pass\nprint('at', time.time_ns(), 'parent', os.getppid())\n";
    let path = script(dir.path(), "times.py", text);
    let mut command = callgate(["fit", "--minimise", "--out-dir"]);
    let output = expect(0, command.arg(dir.path()).arg(&path));
    let text = said(&output);
    assert!(
        text.contains(
            "standard output differs between runs in which nothing is refused; words change in line 1:"
        ),
        "{text}"
    );
    assert!(
        text.contains("minimal:") && text.contains("runs with nothing refused"),
        "{text}"
    );
    // The last table is that of the verdicts.
    let row = |name: &str| {
        let line = text
            .lines()
            .rfind(|line| line.split_whitespace().next() == Some(name));
        line.unwrap_or_else(|| panic!("{name}: {text}")).to_owned()
    };
    assert!(row("getppid").contains("required"), "{text}");
    assert!(row("exit_group").contains("kept"), "{text}");
}

#[test]
fn a_probe_that_is_not_steady_is_refused_with_what_it_did() {
    if !available("root", root()) {
        return;
    }
    let dir = scratch();
    let path = script(
        dir.path(),
        "unsteady.py",
        "import os\nos._exit(os.urandom(1)[0] & 1)\n",
    );
    // Each time it gets as far as the comparison with a chance of one in four, and is then caught with three in four.
    let caught = (0..80).any(|_| {
        let mut command = callgate(["fit", "--minimise", "--json", "--out-dir"]);
        let output = command.arg(dir.path()).arg(&path).output().unwrap();
        let text = said(&output);
        let unsteady = text.contains("the probe exited with 0 in one run and exited with 1 in another");
        assert!(
            !unsteady || output.status.code() == Some(1) && output.stdout.is_empty(),
            "{text}"
        );
        unsteady
    });
    assert!(caught);
}

#[test]
fn an_interrupted_search_tells_what_it_has_and_calls_nothing_minimal() {
    if !available("root", root()) {
        return;
    }
    let dir = scratch();
    let path = script(
        dir.path(),
        "slow.py",
        "import os, time\ntime.sleep(0.5)\nprint(os.getppid())\n",
    );
    let mut child = std::process::Command::new(CALLGATE)
        .args(["fit", "--minimise", "--json", "--out-dir"])
        .arg(dir.path())
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("finding out which calls can be refused") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended early");
    }
    let kill = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{rest}");
    assert!(
        rest.contains("interrupted") && !rest.contains("minimal:"),
        "{rest}"
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = (&json!(true), &json!(false), &Value::Null);
    assert_eq!(
        (&report["interrupted"], &report["minimal"], &report["policy"]),
        expected
    );
    assert!(
        report["calls"]
            .as_array()
            .unwrap()
            .iter()
            .any(|call| call["verdict"] == "open")
    );
    let policy = std::fs::read_to_string(dir.path().join("slow.policy.json")).unwrap();
    assert!(!policy.contains("verified in"), "{policy}");
}

#[test]
fn numpy_takes_the_time_of_at_most_sixty_runs_and_required_calls_are_asked_twice() {
    if !available("root", root()) || !can_install() {
        return;
    }
    let dir = scratch();
    let path = probe("with_numpy.py");
    let report = minimise(dir.path(), &path, &[]);
    assert_eq!(report["minimal"], true, "{report:#}");
    let ms = |key: &str| report[key].as_u64().unwrap();
    assert!(ms("wall_ms") <= 60 * ms("baseline_ms"), "{report:#}");
    // One failing run for each errno, and one more for each call that there was time for.
    let required = || {
        let calls = report["calls"].as_array().unwrap().iter();
        calls.filter(|call| call["verdict"] == "required")
    };
    assert!(
        required().all(|call| call["runs"].as_u64().unwrap() >= 2),
        "{report:#}"
    );
    assert!(
        required().any(|call| call["runs"].as_u64().unwrap() >= 3),
        "{report:#}"
    );
    let twice = required().all(|call| call["runs"].as_u64().unwrap() >= 3);
    let told = report["notes"]
        .to_string()
        .contains("rest on one failing run with each errno");
    assert_eq!(twice, !told, "{report:#}");
    assert_eq!(verdict(&report, "sched_getaffinity")["verdict"], "refusable");
    assert_eq!(verdict(&report, "openat")["verdict"], "required");
    let mut exec = callgate(["exec", "--policy"]);
    let output = expect(0, exec.arg(dir.path().join("with_numpy.policy.json")).arg(&path));
    assert!(said(&output).contains("\nok: numpy works"), "{}", said(&output));
}

#[test]
fn the_report_has_every_key_of_its_schema() {
    if !available("root", root()) {
        return;
    }
    let dir = scratch();
    let path = script(dir.path(), "one.py", "print(1)\n");
    let report = minimise(dir.path(), &path, &["--jobs", "1", "--confirm", "2"]);
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        keys(&report),
        "schema probe arch minimal interrupted policy confirm runs total_runs wall_ms baseline_ms limit_ms comparison \
         calls notes"
    );
    assert_eq!(keys(&report["runs"]), "baseline search confirm");
    for call in report["calls"].as_array().unwrap() {
        assert!(keys(call).starts_with("name nr verdict errno runs "), "{call}");
    }
    // What belongs to --minimise is refused without it.
    for words in [
        &["--confirm", "3"][..],
        &["--jobs", "2"],
        &["--minimise", "--jobs", "0"],
    ] {
        expect(2, callgate(["fit"]).args(words).arg(&path));
    }
}
