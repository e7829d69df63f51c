//! Tracing real processes: injecting, group-stops, forks, execs by threads, deaths at bad moments.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

use std::collections::BTreeSet;

use callgate_abi::{Action, Filter, Instruction};
use callgate_launch::{Launch, Step};
use callgate_testing::{available, tool};
use callgate_tracee::{Event, Injector, Load, Moment, Options, Reason, Resume, Stopped, Stopper, Tracer};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn traced(program: &str, argv: &[&str], options: Options) -> (Tracer, i32) {
    let launch = Launch::new(program, argv, ["PATH=/usr/bin:/bin"])
        .unwrap()
        .step(Step::NoNewPrivs);
    let mut started = launch.start().unwrap();
    let pid = started.pid().as_raw();
    let tracer = Tracer::seize(pid, options).unwrap();
    started.go().unwrap();
    // Not read: the reports come when all is over.
    std::mem::forget(started);
    (tracer, pid)
}

fn next(tracer: &mut Tracer) -> Event {
    tracer.wait().unwrap().expect("nothing is left")
}

/// Goes on to the exit of the exec, where nothing of the program has run.
fn at_exec(tracer: &mut Tracer) -> Stopped {
    let mut executed = false;
    loop {
        let Event::Stopped(tracee) = next(tracer) else {
            panic!("it ended")
        };
        executed |= tracee.reason() == Reason::Exec;
        let exit = tracee.reason() == Reason::Syscall
            && matches!(tracee.syscall().unwrap().moment, Moment::Exit { .. });
        if executed && exit {
            return tracee;
        }
        let how = if executed {
            Resume::ToNextSyscall
        } else {
            Resume::Freely
        };
        tracee.resume(how).unwrap();
    }
}

/// Lets everything go on; returns how each tracee ended.
fn to_the_end(tracer: &mut Tracer) -> Vec<Event> {
    let mut ends = Vec::new();
    while let Some(event) = tracer.wait().unwrap() {
        match event {
            Event::Stopped(tracee) => tracee.resume(Resume::Freely).unwrap(),
            end => ends.push(end),
        }
    }
    ends
}

fn exit_code(ends: &[Event], pid: i32) -> Option<i32> {
    ends.iter().find_map(|end| match end {
        Event::Exited { tid, code } if *tid == pid => Some(*code),
        _ => None,
    })
}

#[test]
fn injected_calls_return_what_they_return_and_leave_no_trace() {
    let (mut tracer, pid) = traced("/bin/sh", &["sh", "-c", "exit 7"], Options::SUPERVISE);
    let mut injector = Injector::new(at_exec(&mut tracer), true).unwrap();
    assert_eq!(injector.call(libc::SYS_getpid, [0; 6]).unwrap(), Ok(pid as u64));
    assert_eq!(
        injector.call(libc::SYS_close, [u64::MAX, 0, 0, 0, 0, 0]).unwrap(),
        Err(Errno::EBADF)
    );
    injector.resume(None, Resume::Freely).unwrap();
    assert_eq!(exit_code(&to_the_end(&mut tracer), pid), Some(7));
}

#[test]
fn many_calls_in_a_row_stop_at_the_first_that_fails() {
    let (mut tracer, pid) = traced("/bin/sh", &["sh", "-c", "umask"], Options::SUPERVISE);
    let mut injector = Injector::new(at_exec(&mut tracer), true).unwrap();
    let close = |fd: u64| (libc::SYS_close, [fd, 0, 0, 0, 0, 0]);
    let limit = |at: u64| {
        let resource = u64::from(libc::RLIMIT_NOFILE);
        (libc::SYS_prlimit64, [0, resource, at, 0, 0, 0])
    };
    let text = |injector: &Injector| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let line = line
            .lines()
            .find(|line| line.contains("r-xp") && line.contains("/ld-linux"))
            .unwrap()
            .to_owned();
        let bounds: Vec<u64> = line
            .split([' ', '-'])
            .take(2)
            .map(|word| u64::from_str_radix(word, 16).unwrap())
            .collect();
        let mut bytes = vec![0; (bounds[1] - bounds[0]) as usize];
        assert_eq!(
            injector.tracee().read(bounds[0], &mut bytes).unwrap(),
            bytes.len()
        );
        bytes
    };
    let before = text(&injector);
    let at = injector.below_stack(8192);
    assert_eq!(at % 16, 0);
    let memory: Vec<u8> = [64_u64, 64].into_iter().flat_map(u64::to_ne_bytes).collect();
    let calls = [limit(at), (libc::SYS_umask, [0o27, 0, 0, 0, 0, 0]), close(2)];
    assert_eq!(injector.run((at, 8192), &memory, &calls).unwrap(), Ok(()));
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("64"), "{limits}");
    assert!(!std::path::Path::new(&format!("/proc/{pid}/fd/2")).exists());

    let calls = [close(0), close(99), close(1)];
    assert_eq!(
        injector.run((at, 8192), &[], &calls).unwrap(),
        Err((1, Errno::EBADF))
    );
    // The third was not made.
    assert!(std::path::Path::new(&format!("/proc/{pid}/fd/1")).exists());
    assert!(injector.run((at, 64), &[], &calls).is_err());
    assert!(text(&injector) == before, "its code is what it was");
    injector.resume(None, Resume::Freely).unwrap();
    let ends = to_the_end(&mut tracer);
    assert_eq!(exit_code(&ends, pid), Some(0), "{ends:?}");
}

#[test]
fn an_injected_filter_is_in_force_from_then_on() {
    // uname is answered with ENOSYS, all else passes.
    let line = |code, jf, k| Instruction { code, jt: 0, jf, k };
    let filter = Filter(vec![
        line(0x20, 0, 0),
        line(0x15, 1, libc::SYS_uname as u32),
        line(0x06, 0, Action::Errno(libc::ENOSYS as u16).ret()),
        line(0x06, 0, Action::Allow.ret()),
    ]);
    let (mut tracer, pid) = traced("/bin/uname", &["uname"], Options::SUPERVISE);
    let mut injector = Injector::new(at_exec(&mut tracer), true).unwrap();
    injector.load_filter(&filter, Load::LOCK).unwrap();
    injector.resume(None, Resume::Freely).unwrap();
    assert_eq!(exit_code(&to_the_end(&mut tracer), pid), Some(1));
}

#[test]
fn a_filter_that_the_kernel_refuses_is_an_error() {
    let (mut tracer, pid) = traced("/bin/true", &["true"], Options::SUPERVISE);
    let mut injector = Injector::new(at_exec(&mut tracer), true).unwrap();
    let error = injector.load_filter(&Filter(vec![]), Load::LOCK).unwrap_err();
    assert!(
        !error.is_gone() && error.to_string().contains("seccomp"),
        "{error}"
    );
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    to_the_end(&mut tracer);
}

#[test]
fn a_tracee_that_is_killed_while_we_inject_is_gone_and_its_end_is_seen() {
    for options in [Options::FOLLOW, Options::SUPERVISE] {
        let (mut tracer, pid) = traced("/bin/sleep", &["sleep", "600"], options);
        let mut injector = Injector::new(at_exec(&mut tracer), true).unwrap();
        let stopper = Stopper::new(pid).unwrap();
        let killer = std::thread::spawn(move || stopper.stop(1));
        let error = loop {
            // A call that sleeps, so that the signal meets it there or at a stop.
            match injector.call(libc::SYS_ppoll, [0; 6]) {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        killer.join().unwrap();
        assert!(error.is_gone(), "{error}");
        let ends = to_the_end(&mut tracer);
        assert!(
            matches!(ends[..], [Event::Killed { tid, signal: libc::SIGKILL }] if tid == pid),
            "{ends:?}"
        );
    }
}

#[test]
fn a_process_that_stops_itself_stands_still_until_it_is_continued() {
    let (mut tracer, pid) = traced("/bin/sh", &["sh", "-c", "kill -STOP $$; exit 3"], Options::FOLLOW);
    loop {
        match next(&mut tracer) {
            Event::Stopped(tracee) if tracee.reason() == Reason::GroupStop(libc::SIGSTOP) => {
                tracee.resume(Resume::Freely).unwrap();
                break;
            }
            Event::Stopped(tracee) => tracee.resume(Resume::Freely).unwrap(),
            end => panic!("it was not stopped: {end:?}"),
        }
    }
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    assert!(state.contains(") t ") || state.contains(") T "), "{state}");
    kill(Pid::from_raw(pid), Signal::SIGCONT).unwrap();
    assert_eq!(exit_code(&to_the_end(&mut tracer), pid), Some(3));
}

#[test]
fn every_process_that_is_forked_is_followed_to_its_end() {
    let line = "for i in 1 2 3 4 5 6 7 8; do (exit $i) & done; wait; exit 9";
    let (mut tracer, pid) = traced("/bin/sh", &["sh", "-c", line], Options::SUPERVISE);
    let ends = to_the_end(&mut tracer);
    let codes: BTreeSet<i32> = ends
        .iter()
        .filter_map(|end| match end {
            Event::Exited { code, .. } => Some(*code),
            _ => None,
        })
        .collect();
    assert_eq!(codes, (1..=9).collect());
    assert_eq!((ends.len(), exit_code(&ends, pid)), (9, Some(9)));
}

#[test]
fn a_program_that_a_thread_executes_goes_on_under_the_processes_number() {
    if !available("python3", tool("python3")) {
        return;
    }
    let code = "import os, threading\n\
                threading.Thread(target=lambda: os.execv('/bin/sh', ['sh', '-c', 'exit 6'])).start()\n\
                threading.Event().wait()";
    let (mut tracer, pid) = traced(
        "/usr/bin/env",
        &["env", "python3", "-c", code],
        Options::SUPERVISE,
    );
    let (mut former, mut ends) = (None, Vec::new());
    while let Some(event) = tracer.wait().unwrap() {
        match event {
            Event::Stopped(tracee) => {
                if tracee.reason() == Reason::Exec {
                    assert_eq!(tracee.tid(), pid);
                    former = Some(tracee.event_message().unwrap() as i32);
                }
                tracee.resume(Resume::Freely).unwrap();
            }
            end => ends.push(end),
        }
    }
    // The last exec was asked for by another thread, whose own number reports no end.
    let former = former.unwrap();
    assert_ne!(former, pid);
    assert_eq!(
        (exit_code(&ends, pid), exit_code(&ends, former)),
        (Some(6), None),
        "{ends:?}"
    );
}

#[test]
fn who_stops_a_process_leaves_the_first_word() {
    let (mut tracer, pid) = traced("/bin/sleep", &["sleep", "600"], Options::FOLLOW);
    let stopper = Stopper::new(pid).unwrap();
    assert_eq!(stopper.word(), None);
    let other = stopper.clone();
    std::thread::spawn(move || other.stop(2)).join().unwrap();
    stopper.stop(1);
    assert_eq!(stopper.word(), Some(2));
    let ends = to_the_end(&mut tracer);
    assert!(
        matches!(
            ends[..],
            [Event::Killed {
                signal: libc::SIGKILL,
                ..
            }]
        ),
        "{ends:?}"
    );
}
