//! Whoever is killed, the next run is a good one, and nothing is left.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use callgate_exec::{Job, Outcome, Status, Template};
use callgate_testing::{available, root};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::support::{number, printed, run, spec};

fn end(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

/// Processes whose command line or environment has this word; a template's forks have its.
fn marked(word: &str) -> BTreeSet<i32> {
    let has = |name: &str, file: &str| {
        let bytes = fs::read(format!("/proc/{name}/{file}")).unwrap_or_default();
        bytes.windows(word.len()).any(|window| window == word.as_bytes())
    };
    let numbers = fs::read_dir("/proc").unwrap().flatten();
    numbers
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.parse::<i32>().is_ok() && has(name, "environ"))
        .map(|name| name.parse().unwrap())
        .collect()
}

fn namespace(pid: i32) -> Option<String> {
    Some(
        fs::read_link(format!("/proc/{pid}/ns/pid"))
            .ok()?
            .display()
            .to_string(),
    )
}

/// The first process of the pid namespace that this one is in.
fn init_of(pid: i32) -> i32 {
    let place = namespace(pid).unwrap();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(other) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let status = fs::read_to_string(format!("/proc/{other}/status")).unwrap_or_default();
        let first = status
            .lines()
            .any(|line| line.starts_with("NSpid:") && line.split_whitespace().last() == Some("1"));
        if first && namespace(other).as_ref() == Some(&place) {
            return other;
        }
    }
    panic!("no init of {pid}")
}

fn gone(what: &str, still: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while still() {
        assert!(Instant::now() < deadline, "{what} is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs this code, and does something to it after a while.
fn disturbed(template: &Template, code: &str, what: impl Fn(i32) + Send + 'static) -> Outcome {
    template.run(Job::new(code.into(), "<code>".to_owned()), |stopper| {
        let fork = number(&stopper);
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            what(fork);
            drop(stopper);
        });
    })
}

const FAMILY: &str =
    "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(600)\ntime.sleep(600)\n";

#[test]
fn whoever_is_killed_in_mid_run() {
    if !available("root", root()) {
        return;
    }
    let mark = format!("mark-{}-deaths", std::process::id());
    let mut spec = spec(&["colorsys"]);
    spec.env.push(("MARK".into(), mark.clone().into()));
    spec.beds = 2;
    let template = Template::start(spec).unwrap();

    // The fork.
    let outcome = disturbed(&template, FAMILY, end);
    assert_eq!(
        (outcome.status, outcome.exit_code),
        (Status::Signaled, 137),
        "{outcome:#?}"
    );
    assert_eq!(printed(&template, "print(1)"), "1\n");
    // Its init.
    let outcome = disturbed(&template, FAMILY, |fork| end(init_of(fork)));
    assert_eq!(
        (outcome.status, outcome.exit_code),
        (Status::Signaled, 137),
        "{outcome:#?}"
    );
    assert_eq!(printed(&template, "print(2)"), "2\n");
    // What made its init: who runs goes on, and the next ones have another.
    let outcome = disturbed(&template, "import time; time.sleep(1); print('on')", |fork| {
        end(parent(init_of(fork)));
    });
    assert_eq!(outcome.stdout.as_deref(), Some("on\n"), "{outcome:#?}");
    for _ in 0..4 {
        assert_eq!(printed(&template, "print(2)"), "2\n");
    }
    // The template: who runs goes on, and the next ones are forks of another.
    let first = template.process().unwrap();
    let outcome = disturbed(&template, "import time; time.sleep(1); print('on')", move |_| {
        end(first)
    });
    assert_eq!(outcome.stdout.as_deref(), Some("on\n"), "{outcome:#?}");
    for _ in 0..4 {
        assert_eq!(printed(&template, "import colorsys; print(3)"), "3\n");
    }
    assert_ne!(template.process(), Some(first));
    // Forks that wait for their jobs.
    gone("a bed that is being made", || template.ready() < 2);
    let waiting: Vec<i32> = marked(&mark)
        .into_iter()
        .filter(|pid| Some(*pid) != template.process())
        .collect();
    assert_eq!(waiting.len(), 2);
    waiting.into_iter().for_each(end);
    for _ in 0..4 {
        assert_eq!(printed(&template, "print(4)"), "4\n");
    }
    drop(template);
    gone("a process of the template", || !marked(&mark).is_empty());
}

/// The parent of a process.
fn parent(pid: i32) -> i32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn runs_begin_and_end_whenever_what_makes_inits_is_killed() {
    if !available("root", root()) {
        return;
    }
    // A run that began within some milliseconds of that ended with it.
    let mut spec = spec(&[]);
    spec.beds = 1;
    let template = Template::start(spec).unwrap();
    let mut killed = 0;
    for round in 0..24 {
        let job = Job::new("import time; time.sleep(0.3)".into(), "<code>".to_owned());
        let mut maker = 0;
        let outcome = template.run(job, |stopper| maker = parent(init_of(number(&stopper))));
        assert_eq!(outcome.exit_code, 0, "{round}: {outcome:#?}");
        // While the next bed is made, and when it is at rest.
        if round % 2 == 1 {
            gone("a bed that is being made", || template.ready() < 1);
        }
        // An init whose maker has been killed is ours.
        if maker != Pid::this().as_raw() {
            end(maker);
            killed += 1;
        }
        assert_eq!(printed(&template, "print(1)"), "1\n", "{round}");
    }
    assert!(killed > 3, "{killed}");
}

#[test]
fn a_run_is_told_that_nothing_ran_for_troubles_of_its_own_only() {
    if !available("root", root()) {
        return;
    }
    let mark = format!("mark-{}-troubles", std::process::id());
    let mut spec = spec(&[]);
    spec.env.push(("MARK".into(), mark.clone().into()));
    spec.beds = 2;
    let template = Template::start(spec).unwrap();
    for round in 0..12 {
        gone("a bed that is being made", || template.ready() < 2);
        // Both beds and what makes them: the one that is given the run first loses it, and can't be made at once. That
        // it had happened to it before counted, too.
        let forks = marked(&mark)
            .into_iter()
            .filter(|pid| Some(*pid) != template.process());
        let all: Vec<[i32; 2]> = forks.map(|fork| [fork, parent(init_of(fork))]).collect();
        assert_eq!(all.len(), 2);
        all.into_iter().flatten().for_each(end);
        assert_eq!(printed(&template, "print(1)"), "1\n", "{round}");
    }
}

#[test]
fn every_bed_of_a_template_that_is_killed_at_rest_is_made_anew() {
    if !available("root", root()) {
        return;
    }
    let mut spec = spec(&[]);
    spec.beds = 4;
    let template = Template::start(spec).unwrap();
    // Whose waits for them meet one another now and then only.
    for round in 0..12 {
        let before = template.process().unwrap();
        end(before);
        assert_eq!(printed(&template, "print(1)"), "1\n", "{round}");
        gone("a bed of the template before", || match template.process() {
            Some(now) => now == before || children(now) < 4,
            None => true,
        });
    }
}

/// How many children a process has.
fn children(of: i32) -> usize {
    let listed = fs::read_to_string(format!("/proc/{of}/task/{of}/children"));
    listed.unwrap_or_default().split_whitespace().count()
}

#[test]
#[ignore = "it is started by the next test, to be killed"]
fn a_supervisor() {
    let mut spec = spec(&[]);
    spec.env
        .push(("MARK".into(), std::env::var("WARM_MARK").unwrap().into()));
    let template = Template::start(spec).unwrap();
    let job = Job::new(FAMILY.into(), "<code>".to_owned());
    template.run(job, |stopper| {
        let fork = number(&stopper);
        std::thread::sleep(Duration::from_millis(500));
        // On a line of its own, whatever the harness has begun.
        println!("\nfork and init {fork} {}", init_of(fork));
        std::mem::forget(stopper);
    });
}

#[test]
fn a_supervisor_that_is_killed_takes_all_of_it_along() {
    if !available("root", root()) {
        return;
    }
    let mark = format!("mark-{}-supervisor", std::process::id());
    // Whose first process waits for no orphans has them as zombies, for which the inits wait: we wait for them.
    prctl::set_child_subreaper(true).unwrap();
    let mut supervisor = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "deaths::a_supervisor", "--ignored", "--nocapture"])
        .env("WARM_MARK", &mark)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(supervisor.stdout.take().unwrap()).lines();
    let told = lines.map_while(Result::ok).find_map(|line| {
        line.strip_prefix("fork and init ")
            .map(str::to_owned)
            .filter(|rest| rest.contains(' '))
    });
    let told = told
        .filter(|rest| rest.split(' ').all(|word| word.parse::<i32>().is_ok()))
        .unwrap();
    let pids: Vec<i32> = told.split(' ').map(|word| word.parse().unwrap()).collect();
    // The template, beds that wait, the fork and its child.
    assert!(marked(&mark).len() >= 3, "{:?}", marked(&mark));
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    gone("a process of the template", || !marked(&mark).is_empty());
    for pid in pids {
        gone("a process of a bed", || {
            let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
            std::path::Path::new(&format!("/proc/{pid}")).exists()
        });
    }
    // The next start sweeps what was left of cgroups.
    let template = Template::start(spec(&[])).unwrap();
    assert_eq!(run(&template, "print(1)").exit_code, 0);
    let left = format!("-{}-", supervisor.id());
    let cgroup = |at: &str| {
        let entries = fs::read_dir(at).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_name().to_string_lossy().contains(&left))
            .count()
    };
    for line in fs::read_to_string("/proc/self/cgroup").unwrap().lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (kind, path) = (parts.next().unwrap(), parts.next().unwrap());
        let hierarchy = if kind.is_empty() { "unified" } else { kind };
        let at = format!("/sys/fs/cgroup/{hierarchy}{path}");
        gone("a cgroup", || cgroup(&at) > 0);
    }
}
