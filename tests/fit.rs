//! `callgate fit`: every probe in `probes/` runs under the policy that its trace made.

mod fitted;
mod minimise;

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

pub(crate) use fitted::fitted;

use crate::support::{self, available, callgate, expect, probe, probes, root, said, scratch};

/// What building the probes' environments needs.
pub(crate) fn can_install() -> bool {
    static REACHED: OnceLock<Result<(), String>> = OnceLock::new();
    let reached = REACHED.get_or_init(|| {
        // The package index is reached by pip itself, however it is configured: ask it for a small package.
        Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"])
            .arg(scratch().path())
            .arg("six")
            .output()
            .map_err(|error| error.to_string())
            .and_then(|output| match output.status.success() {
                true => Ok(()),
                false => Err(said(&output)),
            })
    });
    available("network", reached.clone())
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn read(path: &Path) -> Value {
    parsed(&std::fs::read_to_string(path).unwrap())
}

/// The calls that a rule names.
fn names(rule: &Value) -> impl Iterator<Item = &str> {
    rule["names"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
}

#[test]
fn every_probe_fits_and_leaves_its_policy_and_trace() {
    if !available("root", root()) || !can_install() {
        return;
    }
    for path in probes() {
        let fitted = fitted(&path);
        let text = said(&fitted.output);
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            text.contains("\nok: "),
            "{stem}: the probe's own last line is missing: {text}"
        );
        assert!(text.contains("tier full: mount namespace"), "{text}");

        let trace = parsed(&fitted.trace);
        assert_eq!(trace["schema"], "callgate.trace/1");
        assert_eq!(trace["outcome"]["exit_code"], 0);
        let policy = parsed(&fitted.policy);
        assert_eq!(policy["defaultAction"], "SCMP_ACT_KILL_PROCESS");
        let rules = policy["syscalls"].as_array().unwrap();
        assert!(rules.iter().flat_map(names).count() > 30, "{stem}: {policy}");
        for rule in rules {
            assert!(
                rule["comment"].is_string(),
                "{stem}: a rule without provenance: {rule}"
            );
        }
    }
}

#[test]
fn the_diff_shows_both_architectures_and_the_line_in_numpy_that_asked() {
    if !available("root", root()) || !can_install() {
        return;
    }
    let fitted = fitted(&probe("with_numpy.py"));
    let table = String::from_utf8_lossy(&fitted.output.stdout);
    let row = |name: &str| {
        table
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name))
            .unwrap_or_else(|| panic!("no row for {name} in\n{table}"))
            .split_whitespace()
            .collect::<Vec<_>>()
    };
    assert_eq!(row("getcwd")[..5], ["getcwd", "79", "killed", "17", "killed"]);
    assert_eq!(row("mkdir")[..5], ["mkdir", "83", "refused", "EPERM", "-"]);
    assert_eq!(row("mkdirat")[..4], ["mkdirat", "-", "34", "refused"]);
    let affinity = row("sched_getaffinity");
    assert_eq!(
        affinity[..5],
        ["sched_getaffinity", "204", "allowed", "123", "allowed"]
    );
    assert!(affinity[6].starts_with("numpy/"), "{affinity:?}");
}

/// Behaves differently in the sandbox, where there is no /proc/self: a call that no trace can have.
const DIFFERS: &str = "\
import os
if not os.path.exists('/proc/self/status'):
    os.sched_setaffinity(0, os.sched_getaffinity(0))
print('done')
";

#[test]
fn a_call_that_only_the_sandbox_meets_is_added_with_its_provenance_and_the_run_repeated() {
    if !available("root", root()) {
        return;
    }
    let dir = scratch();
    let path = dir.path().join("differs.py");
    std::fs::write(&path, DIFFERS).unwrap();
    let output = expect(0, callgate(["fit", "--out-dir"]).arg(dir.path()).arg(&path));
    let text = said(&output);
    assert!(
        text.contains("added sched_getaffinity: found at enforcement"),
        "{text}"
    );
    assert!(
        text.contains("added sched_setaffinity: found at enforcement"),
        "{text}"
    );
    assert!(text.contains("differs.py:3"), "{text}");
    assert!(text.contains("after 3 runs"), "{text}");
    let policy = read(&dir.path().join("differs.policy.json"));
    let rules = policy["syscalls"].as_array().unwrap();
    let rule = rules
        .iter()
        .find(|rule| names(rule).any(|name| name == "sched_setaffinity"))
        .unwrap();
    assert!(
        rule["comment"]
            .as_str()
            .unwrap()
            .starts_with("found at enforcement"),
        "{rule}"
    );

    // Bounded: with one run less it does not fit, and says so.
    let output = expect(
        1,
        callgate(["fit", "--attempts", "2", "--out-dir"])
            .arg(dir.path())
            .arg(&path),
    );
    assert!(
        said(&output).contains("does not fit after 2 runs"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_probe_that_fails_leaves_a_marked_trace_and_is_not_run() {
    let dir = scratch();
    let path = dir.path().join("fails.py");
    std::fs::write(&path, "import os\nos.getppid()\nraise SystemExit(3)\n").unwrap();
    let output = expect(1, callgate(["fit", "--out-dir"]).arg(dir.path()).arg(&path));
    let text = said(&output);
    assert!(
        text.contains("failed while it was traced: it exited with 3"),
        "{text}"
    );
    assert!(!text.contains("run 1 under"), "{text}");
    let trace = read(&dir.path().join("fails.trace.json"));
    assert_eq!(trace["outcome"]["exit_code"], 3);
}

#[test]
fn bad_input_is_refused_before_anything_runs() {
    let dir = scratch();
    let script = dir.path().join("one.py");
    std::fs::write(&script, "print(1)\n").unwrap();
    let cases: [(&[&str], &str); 4] = [
        (&["--against", "no-such-policy"], "no policy \"no-such-policy\""),
        (&["--out-dir", "/nonexistent"], "no such directory"),
        (&["--python", "/bin/true"], "/bin/true"),
        (&["--tier", "fortress"], "unknown tier"),
    ];
    for (args, expected) in cases {
        let output = expect(2, callgate(["fit"]).args(args).arg(&script));
        assert!(said(&output).contains(expected), "{args:?}: {}", said(&output));
        assert!(!said(&output).contains("tracing"), "{args:?}");
    }
    std::fs::write(&script, "# /// script\n# dependencies = [\"numpy\"\n# ///\n").unwrap();
    let output = expect(2, callgate(["fit"]).arg(&script));
    assert!(said(&output).contains("one.py"), "{}", said(&output));
}

#[test]
fn uv_prepares_the_environment_where_it_is_on_the_path() {
    if !can_install() {
        return;
    }
    // uv itself comes from the package index, as on any machine.
    let dir = scratch();
    let venv = dir.path().join("uv");
    let made = Command::new("python3")
        .args(["-m", "venv"])
        .arg(&venv)
        .status()
        .unwrap();
    let installed = Command::new(venv.join("bin/pip"))
        .args(["install", "--quiet", "uv"])
        .output()
        .unwrap();
    if !available(
        "network",
        if made.success() && installed.status.success() {
            Ok(())
        } else {
            Err(said(&installed))
        },
    ) {
        return;
    }
    let script = dir.path().join("six_there.py");
    std::fs::write(
        &script,
        "# /// script\n# dependencies = [\"six\"]\n# ///\nimport six\nprint(six.__name__)\n",
    )
    .unwrap();
    let path = format!(
        "{}:{}",
        venv.join("bin").display(),
        std::env::var("PATH").unwrap()
    );
    let dig = |path: &str| {
        let cache = dir.path().join("cache");
        let mut command = callgate(["dig", "--json"]);
        expect(
            0,
            command
                .arg(&script)
                .env("PATH", path)
                .env("XDG_CACHE_HOME", cache),
        )
    };
    let first = said(&dig(&path));
    assert!(first.contains("installing six with uv"), "{first}");
    assert!(first.contains("\nsix\n"), "{first}");
    let again = said(&dig(&path));
    assert!(
        !again.contains("installing"),
        "the environment was not found again: {again}"
    );
}

#[test]
fn fit_prints_its_result_as_json_also_when_the_probe_does_not_fit() {
    let dir = scratch();
    let fit = |code: &str, exit: i32| {
        std::fs::write(dir.path().join("p.py"), code).unwrap();
        let mut command = callgate(["fit", "--json", "p.py"]);
        support::json(&expect(exit, command.current_dir(dir.path())))
    };
    let fitted = fit("import socket\nsocket.socketpair()\n", 0);
    assert_eq!(fitted["schema"], "callgate.fit/1");
    assert_eq!(
        (&fitted["fits"], &fitted["against"]),
        (&json!(true), &json!("dify-python"))
    );
    assert!(
        dir.path().join(fitted["policy"].as_str().unwrap()).exists(),
        "{fitted:#}"
    );
    let runs = fitted["runs"].as_array().unwrap();
    assert_eq!(runs.last().unwrap()["outcome"]["exit_code"], 0);
    let missing = support::names(&fitted["diff"]["amd64"]["missing"]);
    assert!(missing.iter().any(|name| name == "socketpair"), "{missing:?}");
    // It fails already while it is traced: there is a policy of what was seen, and no run under it.
    let failed = fit("raise SystemExit(3)\n", 1);
    assert_eq!((&failed["fits"], &failed["runs"]), (&json!(false), &json!([])));
    for file in ["policy", "trace"] {
        assert!(dir.path().join(failed[file].as_str().unwrap()).exists(), "{file}");
    }
}
