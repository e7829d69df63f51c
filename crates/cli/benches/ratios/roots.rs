//! Roots: a run in a mounted one against bare Python and bubblewrap with the same binds, and a materialised one
//! against a shell loop that forks `dirname`, `mkdir` and `ln` for each file, as dify-sandbox's does.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{CALLGATE, contender, environment, interpreter, measure, probe, stop};

/// The shell loop is measured on one file in so many.
const EACH: usize = 20;

/// A line as `python3 -c` takes it.
const ONE: &str = "print(1)";

pub fn run(wanted: &[String], dir: &Path) {
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
    if is_wanted("exec: print(1)") {
        mounted(dir);
    }
    if is_wanted("root: mounted") {
        mounted_alone(dir);
    }
    if is_wanted("root: materialise") {
        materialised(dir);
    }
}

/// `exec` and bubblewrap in the same root.
fn mounted(dir: &Path) {
    let pythons = [interpreter(None), "/usr/bin/python3".to_owned()];
    for python in pythons.iter().filter(|python| Path::new(python).exists()) {
        let cache = dir.join("cache");
        let exec = [
            CALLGATE, "exec", "--tier", "full", "--quiet", "--python", python, "-c", ONE,
        ];
        let plan = kept(&cache, &exec);
        let mut bwrap = vec!["bwrap".to_owned(), "--unshare-all".to_owned()];
        bwrap.extend(binds(&plan, dir));
        bwrap.extend([python, "-I", "-c", ONE].map(str::to_owned));
        let bwrap: Vec<&str> = bwrap.iter().map(String::as_str).collect();
        let variable = format!("XDG_CACHE_HOME={}", cache.display());
        let with_cache: Vec<&str> = ["env", variable.as_str()].into_iter().chain(exec).collect();
        let mut without: Vec<&str> = exec.to_vec();
        without.insert(2, "--no-cache");
        let python_alone = [python.as_str(), "-I", "-c", ONE];
        // `env` stands before each, so that all pay for it.
        let through_env = |command: &[&str]| {
            ["env", "A=1"]
                .iter()
                .chain(command)
                .map(|s| s.to_string())
                .collect::<Vec<_>>()
        };
        let contenders = [
            ("bare python3 -I -c", through_env(&python_alone)),
            (
                "callgate exec --tier full",
                with_cache.iter().map(|s| s.to_string()).collect(),
            ),
            ("callgate exec --no-cache", through_env(&without)),
            ("bwrap --unshare-all, the same binds", through_env(&bwrap)),
        ]
        .map(|(name, command)| contender(name, &command.iter().map(String::as_str).collect::<Vec<_>>()));
        measure(&format!("exec: print(1), {python}"), 51, &contenders);
    }
}

/// What the root alone takes of a run, by `--timings`: the plan recalled, and the mounts made.
fn mounted_alone(dir: &Path) {
    const RUNS: usize = 25;
    let (cache, python) = (dir.join("cache-mounted"), interpreter(None));
    let exec = [
        CALLGATE,
        "exec",
        "--tier",
        "full",
        "--json",
        "--timings",
        "--python",
        &python,
        "-c",
        ONE,
    ];
    kept(&cache, &exec);
    let timings: Vec<Value> = (0..RUNS)
        .map(|_| {
            let output = Command::new(exec[0])
                .args(&exec[1..])
                .env("XDG_CACHE_HOME", &cache)
                .output();
            let output = output.unwrap_or_else(|error| stop(&format!("callgate exec: {error}")));
            let outcome: Value = serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|error| stop(&format!("callgate exec: {error}")));
            outcome["timings"].clone()
        })
        .collect();
    println!("\nroot: mounted, {python} (median and least of {RUNS})");
    for (name, key) in [
        ("the plan, from the cache (plan_us)", "plan_us"),
        ("cgroup joined and root mounted (root_us)", "root_us"),
        ("taken apart (teardown_us)", "teardown_us"),
        ("the whole run (total_us)", "total_us"),
    ] {
        let mut all: Vec<f64> = timings.iter().filter_map(|run| run[key].as_f64()).collect();
        all.sort_by(f64::total_cmp);
        match (all.get(all.len() / 2), all.first()) {
            (Some(median), Some(least)) => {
                println!("  {name:<42} {:>7.2} ms  {:>7.2} ms", median / 1e3, least / 1e3);
            }
            _ => stop(&format!("callgate exec tells no {key}")),
        }
    }
}

/// The plan that is kept for a command, once nothing that it rests on is too new to be kept.
fn kept(cache: &Path, command: &[&str]) -> Value {
    let begun = Instant::now();
    let _ = std::fs::remove_dir_all(cache);
    loop {
        let done = Command::new(command[0])
            .args(&command[1..])
            .env("XDG_CACHE_HOME", cache)
            .stdout(Stdio::null())
            .status();
        if !done.is_ok_and(|status| status.success()) {
            stop("callgate exec --tier full does not run here");
        }
        let files = std::fs::read_dir(cache.join("callgate/found"));
        let plan = files.into_iter().flatten().flatten().map(|entry| entry.path());
        let plan = plan
            .into_iter()
            .find(|path| path.to_string_lossy().contains("python-root-"));
        if let Some(text) = plan.and_then(|path| std::fs::read_to_string(path).ok()) {
            // Behind the hash, and before what it rests on.
            let finding = text.lines().nth(1).unwrap_or_default();
            return serde_json::from_str(finding)
                .unwrap_or_else(|error| stop(&format!("the kept plan: {error}")));
        }
        if begun.elapsed() > Duration::from_secs(30) {
            stop("no plan is kept");
        }
    }
}

/// A plan as bubblewrap's options: the same trees, files, links and scratch directories.
fn binds(kept: &Value, dir: &Path) -> Vec<String> {
    let mut out = Vec::new();
    let entries = kept["finding"]["entries"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    let empty = dir.join("text");
    let _ = std::fs::write(&empty, "");
    let mut add = |words: &[&str]| out.extend(words.iter().map(ToString::to_string));
    for (path, entry) in &entries {
        if entry == "Tmp" || entry == "Hidden" {
            add(&["--tmpfs", path]);
        } else if entry["Dir"].is_object() {
            add(&["--dir", path]);
        } else if let Some(source) = entry["Tree"]["source"]
            .as_str()
            .or(entry["File"]["source"].as_str())
        {
            add(&["--ro-bind", source, path]);
        } else if let Some(target) = entry["Symlink"]["target"].as_str() {
            add(&["--symlink", target, path]);
        } else if entry["Text"].is_object() {
            add(&["--ro-bind", &empty.display().to_string(), path]);
        } else if entry["Device"].is_string() {
            add(&["--dev-bind", path, path]);
        }
    }
    out
}

/// The root of the environment with pandas and numpy, in each way.
fn materialised(dir: &Path) {
    let python = environment(&probe("with_pandas.py"), dir, None);
    println!("\nroot: materialise the environment with numpy and pandas (once each)");
    let place = PathBuf::from(&python);
    // Beside the environment (whose python is in bin), and not in it: hard links don't reach other file systems.
    let beside = tempfile::tempdir_in(place.ancestors().nth(3).unwrap_or(dir))
        .unwrap_or_else(|error| stop(&format!("no directory beside {python}: {error}")));
    let at = |name: &str| beside.path().join(name).display().to_string();
    let build = |name: &str, more: &[&str]| {
        let mut command = Command::new(CALLGATE);
        command
            .args(["root", "build", "--python", &python])
            .args(more)
            .arg(at(name));
        timed(&mut command)
    };
    let store = at("store");
    let copied = build("copied", &[]);
    let same = build("copied", &[]);
    let first = build("first", &["--store", &store]);
    let second = build("second", &["--store", &store]);
    // The same list of files for the loop, by their paths on the host.
    let (list, part) = (at("list"), at("part"));
    let find = format!(
        "cd '{}' && find . -type f | sed 's/^\\.//' | while IFS= read -r f; do [ -f \"$f\" ] && echo \"$f\"; done > '{list}'; \
         wc -l < '{list}'; awk 'NR % {EACH} == 1' '{list}' > '{part}'; wc -l < '{part}'",
        at("copied")
    );
    let counted = Command::new("sh").args(["-c", &find]).output();
    let counted: Vec<f64> = counted
        .map(|out| String::from_utf8_lossy(&out.stdout).into_owned())
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect();
    let &[files, some] = counted.as_slice() else {
        stop("the files of the built root could not be counted");
    };
    let forks = format!(
        "while IFS= read -r f; do mkdir -p '{root}'\"$(dirname \"$f\")\"; ln -f \"$f\" '{root}'\"$f\" 2>/dev/null || cp \"$f\" '{root}'\"$f\"; done < '{part}'",
        root = at("loop")
    );
    // The loop takes a minute for all of them, and each file as long as the next.
    let shell = timed(Command::new("sh").args(["-c", &forks])).mul_f64(files / some);
    println!(
        "  {files} files; the loop is measured on {some} of them, one in {EACH}, and its time is that times {EACH}"
    );
    for (name, time) in [
        ("sh: dirname, mkdir, ln for each file", shell),
        ("root build (copies)", copied),
        ("root build again, same directory", same),
        ("root build --store, new store", first),
        ("root build --store, second root", second),
    ] {
        let ratio = shell.as_secs_f64() / time.as_secs_f64();
        println!(
            "  {name:<38} {:>8.2} s  {ratio:>7.1} × faster than the loop",
            time.as_secs_f64()
        );
    }
}

fn timed(command: &mut Command) -> Duration {
    let begun = Instant::now();
    let output = command.stdin(Stdio::null()).output();
    let time = begun.elapsed();
    match output {
        Ok(output) if output.status.success() => time,
        Ok(output) => stop(&format!(
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
        Err(error) => stop(&format!("{command:?}: {error}")),
    }
}
