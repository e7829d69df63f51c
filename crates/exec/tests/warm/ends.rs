//! A warm run ends as a cold one does, and whatever is killed, nothing is left.

use std::time::{Duration, Instant};

use callgate_abi::{Action, Arch, Filter, Instruction};
use callgate_exec::{Job, Status, Template, Word};
use callgate_testing::{available, root};

use crate::support::{open, printed, run, spec};

/// Kills for one call, and lets everything else pass.
fn refuse(name: &str) -> Filter {
    let call = Arch::NATIVE.call(name).unwrap();
    let one = |code, jt, jf, k| Instruction { code, jt, jf, k };
    Filter(vec![
        one(0x20, 0, 0, 0),
        one(0x15, 0, 1, call.nr()),
        one(0x06, 0, 0, Action::KillProcess.ret()),
        open().0[0],
    ])
}

#[test]
fn ends_are_told_as_of_cold_runs() {
    if !available("root", root()) {
        return;
    }
    let template = Template::start(spec(&["json"])).unwrap();
    assert_eq!(printed(&template, "import json; print(json.dumps([1]))"), "[1]\n");
    let outcome = run(&template, "import sys\nsys.exit(3)\n");
    assert_eq!(
        (outcome.status, outcome.exit_code),
        (Status::Exited, 3),
        "{outcome:#?}"
    );
    let named = Job::new(b"def f():\n    1 / 0\nf()\n".to_vec(), "job.py".to_owned());
    let outcome = template.run(named, |_| {});
    assert_eq!(outcome.exit_code, 1);
    assert_eq!(
        outcome.stderr.unwrap(),
        "Traceback (most recent call last):\n  File \"job.py\", line 3, in <module>\n    f()\n  \
         File \"job.py\", line 2, in f\n    1 / 0\n    ~~^~~\nZeroDivisionError: division by zero\n"
    );
    let mut job = Job::new(
        b"import time\nprint(1, flush=True)\ntime.sleep(60)\n".to_vec(),
        "<code>".to_owned(),
    );
    job.timeout = Some(Duration::from_millis(300));
    let begun = Instant::now();
    let outcome = template.run(job.clone(), |_| {});
    assert_eq!(
        (outcome.status, outcome.exit_code),
        (Status::Timeout, 124),
        "{outcome:#?}"
    );
    assert_eq!(outcome.stdout.as_deref(), Some("1\n"));
    assert!(begun.elapsed() < Duration::from_secs(20));
    job.timeout = None;
    let outcome = template.run(job, |stopper| {
        // Not before the code is reached, which would be another end.
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            stopper.stop(Word::Interrupt as u32);
        });
    });
    assert_eq!(
        (outcome.status, outcome.exit_code),
        (Status::Signaled, 137),
        "{outcome:#?}"
    );
    let mut job = Job::new(b"print(1)".to_vec(), "<code>".to_owned());
    job.args = vec!["one\0two".into()];
    let outcome = template.run(job, |_| {});
    assert_eq!(
        (outcome.status, outcome.exit_code),
        (Status::SetupFailed, 125),
        "{outcome:#?}"
    );
    // What it leaves ends with it.
    let outcome = run(
        &template,
        "import os, time\nif os.fork() == 0:\n    time.sleep(60)\n",
    );
    assert_eq!(
        (outcome.status, outcome.exit_code),
        (Status::Exited, 0),
        "{outcome:#?}"
    );
}

#[test]
fn a_refused_call_is_named_with_its_line() {
    if !available("root", root()) {
        return;
    }
    let mut spec = spec(&[]);
    spec.filter = refuse("sched_setaffinity");
    let template = Template::start(spec).unwrap();
    for _ in 0..3 {
        let outcome = run(&template, "import os\n\n\nos.sched_setaffinity(0, [0])\n");
        assert_eq!(
            (outcome.status, outcome.exit_code),
            (Status::Violation, 159),
            "{outcome:#?}"
        );
        let violation = outcome.violation.unwrap();
        assert_eq!(violation.syscall, "sched_setaffinity");
        let site = violation.site.unwrap();
        assert_eq!((site.file.as_str(), site.line), ("<code>", 4));
    }
}

#[test]
fn what_can_not_be_imported_ahead_is_named() {
    if !available("root", root()) {
        return;
    }
    let failure = Template::start(spec(&["json", "no_such_module"])).unwrap_err();
    assert_eq!(failure.step, "template");
    assert_eq!(
        failure.error,
        "importing no_such_module: ModuleNotFoundError: No module named 'no_such_module'"
    );
}
