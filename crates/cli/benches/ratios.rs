//! Ratios against native runs and peers, measured side by side in one run: `cargo bench`.
//!
//! Every figure is a median of whole commands, and every ratio is against another command of the same round, of
//! which the median is taken: it travels between machines, and what disturbs one round does not disturb it. Peers that
//! are not installed are left out by name.
//! `cargo bench -- exec` runs only what has that word in its name.
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[path = "ratios/memory.rs"]
mod memory;
#[path = "ratios/minimise.rs"]
mod minimise;
#[path = "ratios/roots.rs"]
mod roots;
#[path = "ratios/serve.rs"]
mod serve;
#[path = "ratios/warm.rs"]
mod warm;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Where the interpreter of the system is.
const SYSTEM: &str = "/usr/bin";

const CALLGATE: &str = env!("CARGO_BIN_EXE_callgate");

/// A loop of cheap calls: the worst case for a recorder that stops on each.
const LOOP: &str = "import os\nfor _ in range(200_000): os.getppid()\n";

/// Who takes so many times as long as the base is timed in this many rounds only, the first: a figure of several times the
/// base needs no more, and what takes so long leaves the others nothing in the processor's caches.
const SLOW: f64 = 2.5;
const FEW: usize = 5;

/// One thing to time.
struct Contender {
    name: &'static str,
    command: Vec<String>,
}

fn contender(name: &'static str, command: &[&str]) -> Contender {
    Contender {
        name,
        command: command.iter().map(ToString::to_string).collect(),
    }
}

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    let dir = tempfile::tempdir().unwrap_or_else(|error| stop(&format!("no temporary directory: {error}")));
    let environments = |path: Option<&str>| {
        ["with_numpy.py", "with_pandas.py"].map(|name| environment(&probe(name), dir.path(), path))
    };
    let [numpy, pandas] = environments(None);
    record(&wanted, "", dir.path(), [&numpy, &pandas, &interpreter(None)]);
    // The fastest to start has the least to hide a recorder's costs behind.
    let debian = interpreter(Some(SYSTEM));
    if debian != interpreter(None) {
        let [numpy, pandas] = environments(Some(SYSTEM));
        record(
            &wanted,
            " by the system's Python",
            dir.path(),
            [&numpy, &pandas, &debian],
        );
    }
    memory::run(&wanted, dir.path());
    roots::run(&wanted, dir.path());
    minimise::run(&wanted, &probe("with_numpy.py"), dir.path());
    serve::run(&wanted, dir.path());
    warm::run(&wanted, &interpreter(None), &numpy, &pandas);
}

/// Measures all that record, with one interpreter: that of numpy's environment, that of pandas's, and itself.
fn record(wanted: &[String], by: &str, dir: &Path, pythons: [&str; 3]) {
    for (name, runs, contenders) in groups(dir, pythons) {
        let name = format!("{name}{by}");
        if wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str())) {
            measure(&name, runs, &contenders);
        }
    }
}

/// The path of a probe of ours.
fn probe(name: &str) -> String {
    let probes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../probes");
    probes.join(name).display().to_string()
}

/// What is compared with what; the first of each group is the base of its ratios.
fn groups(
    dir: &Path,
    [with_numpy, with_pandas, python]: [&str; 3],
) -> Vec<(&'static str, usize, Vec<Contender>)> {
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap_or_else(|error| stop(&format!("{}: {error}", path.display())));
        path.display().to_string()
    };
    let numpy = probe("with_numpy.py");
    let calls = write("loop.py", LOOP);
    let pandas = write("pandas.py", "import pandas\n");
    vec![
        ("dig: import pandas", 31, recorders(dir, with_pandas, &pandas)),
        ("dig: the numpy probe", 31, recorders(dir, with_numpy, &numpy)),
        ("dig: 200,000 getppid", 31, recorders(dir, python, &calls)),
    ]
}

/// A script alone, and under all that record it.
///
/// `dig PROBE.py` also looks at the interpreter and runs the prelude. `strace --seccomp-bpf` lets pass what
/// its `-e trace=` does not name: with `%file` it stops where dig stops in the long run, but counts the
/// calls with paths alone.
fn recorders(dir: &Path, python: &str, script: &str) -> Vec<Contender> {
    let path = |name: &str| dir.join(name).display().to_string();
    let (trace, log) = (path("trace"), path("log"));
    let run = [python, "-I", "-B", script];
    let with = |name: &'static str, recorder: &[&str]| contender(name, &[recorder, &run[..]].concat());
    vec![
        with("native", &[]),
        with("callgate dig -- CMD", &[CALLGATE, "dig", "-o", &trace, "--"]),
        contender(
            "callgate dig PROBE.py",
            &[CALLGATE, "dig", "-o", &trace, "--python", python, script],
        ),
        with(
            "callgate dig --counts",
            &[CALLGATE, "dig", "--counts", "-o", &trace, "--"],
        ),
        with("strace -f -c", &["strace", "-f", "-c", "-o", &log]),
        with(
            "strace -f --seccomp-bpf -c -e %file",
            &[
                "strace",
                "-f",
                "--seccomp-bpf",
                "-c",
                "-e",
                "trace=%file",
                "-o",
                &log,
            ],
        ),
    ]
}

/// A command that looks for programs in this directory first.
fn first_in(path: Option<&str>, program: &str) -> Command {
    let mut command = Command::new(program);
    if let Some(first) = path {
        let others = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{first}:{others}"));
    }
    command
}

/// The interpreter itself: what is on the PATH may be a script that looks for it.
fn interpreter(path: Option<&str>) -> String {
    let output = first_in(path, "env")
        .args(["python3", "-I", "-c", "import sys; print(sys.executable)"])
        .output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        other => stop(&format!("python3 does not run: {other:?}")),
    }
}

/// The interpreter that has a probe's dependencies, as dig finds it.
fn environment(probe: &str, dir: &Path, path: Option<&str>) -> String {
    let trace = dir.join("environment.json");
    let status = first_in(path, CALLGATE)
        .args(["dig", "-o"])
        .arg(&trace)
        .arg(probe)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let text = std::fs::read_to_string(&trace).unwrap_or_default();
    let trace: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    match trace["python"]["executable"].as_str() {
        Some(path) => path.to_owned(),
        None => stop(&format!("no environment for {probe}: {status:?}")),
    }
}

/// Times every contender in turn, round by round, so that a disturbance meets all alike.
fn measure(name: &str, runs: usize, contenders: &[Contender]) {
    println!("\n{name} (median of {runs})");
    let there: Vec<&Contender> = contenders.iter().filter(|c| installed(c)).collect();
    // The first round warms the caches, and tells who is too slow to be timed as often.
    let warm: Vec<Duration> = there.iter().map(|contender| time(contender)).collect();
    let mut times: Vec<Vec<Duration>> = there.iter().map(|_| Vec::new()).collect();
    for round in 0..runs {
        for (index, contender) in there.iter().enumerate() {
            if round < FEW || warm[index] < warm[0].mul_f64(SLOW) {
                times[index].push(time(contender));
            }
        }
    }
    let ms = |time: &Duration| time.as_secs_f64() * 1e3;
    for (contender, own) in there.iter().zip(&times) {
        let rounds = || own.iter().map(ms).zip(times[0].iter().map(ms));
        println!(
            "  {:<36} {:>9.1} ms  {:>7.2} ×  {:>+8.1} ms{}",
            contender.name,
            middle(own.iter().map(ms)),
            middle(rounds().map(|(own, base)| own / base)),
            middle(rounds().map(|(own, base)| own - base)),
            if own.len() < runs {
                format!("  (of {})", own.len())
            } else {
                String::new()
            },
        );
    }
}

/// The median of some numbers.
fn middle(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn installed(contender: &Contender) -> bool {
    let program = &contender.command[0];
    let there = program.contains('/') || which(program).is_some();
    if !there {
        println!("  {:<36} not installed", contender.name);
    }
    there
}

fn time(contender: &Contender) -> Duration {
    let begun = Instant::now();
    let output = Command::new(&contender.command[0])
        .args(&contender.command[1..])
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| stop(&format!("{}: {error}", contender.name)));
    let time = begun.elapsed();
    if !output.status.success() {
        stop(&format!(
            "{} failed: {}",
            contender.name,
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    time
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

fn stop(why: &str) -> ! {
    eprintln!("bench: {why}");
    std::process::exit(1)
}
