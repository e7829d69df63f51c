//! Warm runs against bare Python, in turn and side by side; and how long a template takes to be ready.
//!
//! Bare Python does nothing but start, run and end: no isolation, no limits, no policy. A run with a template has
//! all the layers of tier full and the shipped policy `python`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use callgate_exec::{Job, Root, Spec, Template};
use callgate_python::interpreter::Interpreter;

use super::{median, stop};

const CLIENTS: usize = 4;

/// Runs what is wanted, or all if nothing in particular is.
pub(super) fn run(wanted: &[String], plain: &str, with_numpy: &str, with_pandas: &str) {
    let asked = |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
    if asked("warm: print(1)") {
        compare("warm: print(1)", plain, &[], "print(1)", 60);
    }
    if asked("warm: numpy") {
        let code = "import numpy\nprint(numpy.arange(3).sum())";
        compare("warm: numpy", with_numpy, &["numpy"], code, 20);
    }
    if asked("warm: 4 clients") {
        clients(plain, &[], "print(1)");
        clients(
            with_numpy,
            &["numpy"],
            "import numpy\nprint(numpy.arange(3).sum())",
        );
    }
    if asked("warm: ready") {
        ready(with_pandas, &["numpy", "pandas"]);
    }
}

fn template(python: &str, modules: &[&str]) -> Template {
    let interpreter =
        Interpreter::inspect(Path::new(python)).unwrap_or_else(|error| stop(&error.to_string()));
    let policy = match callgate_policy::shipped::load("python") {
        Some(Ok(policy)) => policy,
        other => stop(&format!("no policy: {other:?}")),
    };
    let filter = callgate_policy::compile(&policy, callgate_abi::Arch::NATIVE)
        .and_then(|compiled| compiled.link())
        .unwrap_or_else(|error| stop(&error.to_string()));
    let mut spec = Spec::new(
        interpreter.executable.clone(),
        Root::ForPython(Box::new(interpreter)),
        filter,
    );
    spec.preimport = modules.iter().map(ToString::to_string).collect();
    spec.beds = CLIENTS + 2;
    Template::start(spec).unwrap_or_else(|failure| stop(&format!("no template: {failure}")))
}

fn warm(template: &Template, code: &str) {
    let outcome = template.run(Job::new(code.into(), "<code>".to_owned()), |_| {});
    if outcome.exit_code != 0 {
        stop(&format!("a warm run failed: {outcome:#?}"));
    }
}

fn bare(python: &str, code: &str) {
    let output = Command::new(python)
        .args(["-I", "-c", code])
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => {}
        other => stop(&format!("python failed: {other:?}")),
    }
}

fn time(run: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    run();
    begun.elapsed()
}

/// One after the other, in turn.
fn compare(name: &str, python: &str, modules: &[&str], code: &str, runs: usize) {
    let template = template(python, modules);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=runs {
        let (bare, warm) = (time(|| bare(python, code)), time(|| warm(&template, code)));
        // The first round warms the caches.
        if round > 0 {
            theirs.push(bare);
            ours.push(warm);
        }
    }
    println!("\n{name} (median of {runs})");
    let (base, ours) = (median(theirs), median(ours));
    line("bare python3 -I -c", base, base);
    line("template.run", ours, base);
}

/// Several at once for a while: how many in a second, and how long one of them takes.
fn clients(python: &str, modules: &[&str], code: &str) {
    const WHILE: Duration = Duration::from_secs(4);
    let template = template(python, modules);
    println!(
        "\nwarm: {CLIENTS} clients, {} ({} s each)",
        code.lines().next().unwrap_or_default(),
        WHILE.as_secs()
    );
    let (base, _) = side_by_side(WHILE, &|| bare(python, code));
    println!("  {:<36} {base:>9.1} runs/s", "bare python3 -I -c");
    let (ours, times) = side_by_side(WHILE, &|| warm(&template, code));
    let at = |part: f64| {
        times
            .get((times.len() as f64 * part) as usize)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "  {:<36} {ours:>9.1} runs/s  {:>7.2} ×  p50 {:.1} ms, p99 {:.1} ms",
        "template.run",
        ours / base,
        at(0.5).as_secs_f64() * 1e3,
        at(0.99).as_secs_f64() * 1e3
    );
}

fn side_by_side(time_for: Duration, run: &(dyn Fn() + Sync)) -> (f64, Vec<Duration>) {
    let done = AtomicUsize::new(0);
    let begun = Instant::now();
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut times = Vec::new();
                    while begun.elapsed() < time_for {
                        times.push(time(run));
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    times
                })
            })
            .collect();
        clients
            .into_iter()
            .flat_map(|client| client.join().unwrap_or_default())
            .collect()
    });
    let rate = done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    times.sort();
    (rate, times)
}

/// From nothing to a bed that waits for its first job.
fn ready(python: &str, modules: &[&str]) {
    let bare = format!("import {}", modules.join(", "));
    let base = median((0..5).map(|_| time(|| self::bare(python, &bare))).collect());
    let ours = median((0..5).map(|_| time(|| drop(template(python, modules)))).collect());
    println!("\nwarm: ready with {} (median of 5)", modules.join(", "));
    line("bare python3 -I -c 'import …'", base, base);
    line("Template::start", ours, base);
}

fn line(name: &str, time: Duration, base: Duration) {
    println!(
        "  {name:<36} {:>9.1} ms  {:>7.2} ×",
        time.as_secs_f64() * 1e3,
        time.as_secs_f64() / base.as_secs_f64()
    );
}
