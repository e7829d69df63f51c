//! Steps, failures, inits and descriptors, with real processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use callgate_launch::{Init, Launch, Reports, Step, memory_file};
use callgate_testing::{available, root};
use nix::fcntl::OFlag;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::pipe2;

/// Runs it to its end.
fn run(launch: Launch) -> (WaitStatus, Reports) {
    let mut started = launch.start().unwrap();
    started.go().unwrap();
    let status = waitpid(started.pid(), None).unwrap();
    (status, started.reports().unwrap())
}

fn shell(line: &str) -> Launch {
    Launch::new("/bin/sh", ["sh", "-c", line], ["PATH=/usr/bin:/bin"]).unwrap()
}

fn code(status: WaitStatus) -> i32 {
    match status {
        WaitStatus::Exited(_, code) => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_step_that_fails_is_named_and_ends_it() {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let launch = shell("echo the command ran")
        .step(Step::Dup {
            from: writer.as_raw_fd(),
            to: 1,
        })
        .step(Step::Chdir(CString::new("/nonexistent").unwrap()))
        .step(Step::Chdir(CString::new("/also-nonexistent").unwrap()));
    let mut started = launch.start().unwrap();
    drop(writer);
    started.go().unwrap();
    assert_eq!(code(waitpid(started.pid(), None).unwrap()), 125);
    let failure = started.reports().unwrap().failure.unwrap();
    assert_eq!(
        (failure.step, failure.errno, failure.exec),
        ("chdir", libc::ENOENT, false)
    );
    assert_eq!(failure.subject.as_deref(), Some("/nonexistent"));
    let mut said = String::new();
    File::from(reader).read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

#[test]
fn a_program_that_can_not_be_executed_is_told_from_a_step() {
    let none: [&str; 0] = [];
    let (_, reports) = run(Launch::new("/nonexistent", none, none).unwrap());
    let failure = reports.failure.unwrap();
    assert_eq!(
        (failure.step, failure.errno, failure.exec),
        ("execve", libc::ENOENT, true)
    );
}

#[test]
fn without_a_word_nothing_begins() {
    let dir = std::env::temp_dir().join(format!("callgate-launch-{}", std::process::id()));
    let started = shell(&format!("touch {}", dir.display())).start().unwrap();
    let pid = started.pid();
    drop(started);
    assert_eq!(code(waitpid(pid, None).unwrap()), 125);
    assert!(!dir.exists());
}

#[test]
fn only_the_named_descriptors_are_left() {
    let other = File::open("/dev/null").unwrap();
    nix::fcntl::fcntl(&other, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let kept: OwnedFd = File::open("/dev/null").unwrap().into();
    let (gone, here) = (other.as_raw_fd(), kept.as_raw_fd());
    let line = format!("[ -e /proc/self/fd/{here} ] && ! [ -e /proc/self/fd/{gone} ]");
    let launch = shell(&line)
        .step(Step::Dup { from: here, to: here })
        .step(Step::CloseExcept(vec![0, 1, 2, here]));
    let (status, reports) = run(launch);
    assert_eq!((code(status), reports.failure), (0, None));
}

#[test]
fn an_init_holds_nothing_open_that_is_not_its_business() {
    // As another run's pipe would be, in a supervisor that has several.
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let (input, _held) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let launch = shell("read line").step(Step::Dup {
        from: input.as_raw_fd(),
        to: 0,
    });
    let mut started = launch.init(Init::default()).start().unwrap();
    drop(writer);
    started.go().unwrap();
    // The init lives until its command ends, which waits for input that never comes; the pipe ends at
    // once all the same.
    let mut rest = Vec::new();
    let begun = Instant::now();
    File::from(reader).read_to_end(&mut rest).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10));
    let state = waitpid(started.pid(), Some(WaitPidFlag::WNOHANG));
    assert_eq!(state, Ok(WaitStatus::StillAlive));
    nix::sys::signal::kill(started.pid(), nix::sys::signal::Signal::SIGKILL).unwrap();
    waitpid(started.pid(), None).unwrap();
}

#[test]
fn an_init_reports_what_all_processes_used() {
    let line = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
    let (status, reports) = run(shell(&format!("sh -c '{line}' & wait")).init(Init::default()));
    let usage = reports.usage.unwrap();
    assert_eq!((code(status), reports.failure), (125, None)); // the init's own code; it tells of no other
    assert!(usage.cpu > Duration::from_millis(1), "{usage:?}");
    assert!(usage.max_rss_bytes > 100 << 10, "{usage:?}");
}

#[test]
fn an_init_does_its_eager_steps_at_once_and_the_others_when_it_has_the_word() {
    let dir = tempfile::tempdir().unwrap();
    let [early, late] = ["early", "late"].map(|name| dir.path().join(name));
    let make = |path: &Path| Step::Mkdir {
        path: CString::new(path.to_str().unwrap()).unwrap(),
        mode: 0o700,
    };
    let launch = |eager: Vec<Step>| {
        let init = Init {
            eager,
            steps: vec![make(&late)],
            ..Init::default()
        };
        shell("true").init(init).start().unwrap()
    };
    let mut started = launch(vec![make(&early)]);
    let begun = Instant::now();
    while !early.exists() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(50));
    assert!(!late.exists());
    started.go().unwrap();
    waitpid(started.pid(), None).unwrap();
    assert_eq!(started.reports().unwrap().failure, None);
    assert!(late.exists());

    // One that fails is told as any other, and nothing comes after it; so is nothing without the word.
    std::fs::remove_dir(&late).unwrap();
    let started = launch(vec![make(&early)]);
    assert_eq!(code(waitpid(started.pid(), None).unwrap()), 125);
    let failure = started.reports().unwrap().failure.unwrap();
    assert_eq!((failure.step, failure.errno), ("mkdir", libc::EEXIST));
    let started = launch(Vec::new());
    let pid = started.pid();
    drop(started);
    assert_eq!(code(waitpid(pid, None).unwrap()), 125);
    assert!(!late.exists());
}

#[test]
fn namespaces_of_a_thread_are_joined_and_no_others() {
    if !available("root", root()) {
        return;
    }
    let of = |path: String| std::fs::read_link(&path).unwrap().to_str().unwrap().to_owned();
    const NAMES: [&str; 4] = ["net", "ipc", "uts", "mnt"];
    let (tell, told) = std::sync::mpsc::channel();
    let (stay, until) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        use nix::sched::CloneFlags;
        let all = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
        nix::sched::unshare(all | CloneFlags::CLONE_NEWNS).unwrap();
        let own = NAMES.map(|name| of(format!("/proc/thread-self/ns/{name}")));
        tell.send((File::open("/proc/thread-self/ns").unwrap(), own))
            .unwrap();
        let _ = until.recv();
    });
    let (directory, theirs) = told.recv().unwrap();
    let ours = NAMES.map(|name| of(format!("/proc/self/ns/{name}")));
    let joined = |namespaces: i32| {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let init = Init {
            steps: vec![Step::Join {
                directory: directory.as_raw_fd(),
                namespaces: namespaces as u64,
            }],
            ..Init::default()
        };
        let line = "for name in net ipc uts mnt; do readlink /proc/self/ns/$name; done";
        let launch = shell(line).init(init).step(Step::Dup {
            from: writer.as_raw_fd(),
            to: 1,
        });
        let mut started = launch.start().unwrap();
        drop(writer);
        started.go().unwrap();
        waitpid(started.pid(), None).unwrap();
        let mut said = String::new();
        File::from(reader).read_to_string(&mut said).unwrap();
        let said: Vec<String> = said.lines().map(str::to_owned).collect();
        (said, started.reports().unwrap().failure)
    };
    let [net, ipc, uts, _] = theirs;
    let [_, _, ours_uts, mnt] = ours.clone();
    let (found, failure) = joined(libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS);
    assert_eq!(
        (found, failure),
        (vec![net.clone(), ipc.clone(), uts, mnt.clone()], None)
    );
    let (found, failure) = joined(libc::CLONE_NEWNET | libc::CLONE_NEWIPC);
    assert_eq!((found, failure), (vec![net, ipc, ours_uts, mnt], None));
    drop(stay);
    thread.join().unwrap();
    // They are gone with it.
    let failure = joined(libc::CLONE_NEWNET).1.unwrap();
    assert_eq!(failure.step, "setns");
}

#[test]
fn a_sweep_ends_the_processes_of_the_runs_uid_and_no_others() {
    if !available("root", root()) {
        return;
    }
    let ids = |uid: u32| [Step::NoGroups, Step::Gid(uid), Step::Uid(uid)];
    // Nobody else's, by the range that Debian reserves.
    let (run_uid, other_uid) = (65_432, 65_433);
    let sleeper = |uid| {
        let launch = Launch::new("/bin/sleep", ["sleep", "600"], ["PATH=/bin"])
            .unwrap()
            .steps(ids(uid));
        let mut started = launch.start().unwrap();
        started.go().unwrap();
        let pid = started.pid();
        assert_eq!(started.reports().unwrap().failure, None); // it has been executed, under its uid
        pid
    };
    let (bystander, root_bystander) = (sleeper(other_uid), sleeper(0));
    let init = Init {
        sweep: Some(run_uid),
        ..Init::default()
    };
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    // A daemon of its own session that holds the pipe and ignores what can be ignored.
    let line = "setsid sh -c 'trap \"\" HUP INT TERM; exec sleep 600' & exit 0";
    let launch = shell(line)
        .init(init)
        .step(Step::Dup {
            from: writer.as_raw_fd(),
            to: 1,
        })
        .steps(ids(run_uid));
    let mut started = launch.start().unwrap();
    drop(writer);
    started.go().unwrap();
    waitpid(started.pid(), None).unwrap();
    let reports = started.reports().unwrap();
    assert!(
        reports.usage.is_some() && reports.failure.is_none(),
        "{reports:?}"
    );
    // All that held the pipe are gone.
    let mut said = String::new();
    File::from(reader).read_to_string(&mut said).unwrap();
    for pid in [bystander, root_bystander] {
        assert_eq!(
            waitpid(pid, Some(WaitPidFlag::WNOHANG)),
            Ok(WaitStatus::StillAlive)
        );
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        waitpid(pid, None).unwrap();
    }
}

#[test]
fn capabilities_and_their_bounds_are_emptied() {
    if !available("root", root()) {
        return;
    }
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let launch = shell("cat /proc/self/status")
        .step(Step::Dup {
            from: writer.as_raw_fd(),
            to: 1,
        })
        .steps([
            Step::Umask(0o27),
            Step::NoCapabilityBounds,
            Step::NoGroups,
            Step::Gid(65_432),
            Step::Uid(65_432),
        ])
        .steps([Step::NoCapabilities, Step::NoNewPrivs]);
    let mut started = launch.start().unwrap();
    drop(writer);
    started.go().unwrap();
    waitpid(started.pid(), None).unwrap();
    assert_eq!(started.reports().unwrap().failure, None);
    let mut status = String::new();
    File::from(reader).read_to_string(&mut status).unwrap();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(
        (field("NoNewPrivs:"), field("Umask:")),
        ("1".into(), "0027".into())
    );
    assert_eq!(field("Uid:").split_whitespace().collect::<Vec<_>>(), ["65432"; 4]);
}

#[test]
fn a_file_is_copied_whole_and_over_nothing() {
    let source = memory_file(b"0123456789").unwrap();
    let copy = |name: &str, length| {
        let path = std::env::temp_dir().join(format!("callgate-launch-{}-{name}", std::process::id()));
        let launch = shell("true").step(Step::Copy {
            from: source.as_raw_fd(),
            length,
            path: CString::new(path.to_str().unwrap()).unwrap(),
            mode: 0o640,
        });
        (path, run(launch).1.failure)
    };
    // Twice, for the source's own position stays where it is.
    for name in ["one", "two"] {
        let (path, failure) = copy(name, 10);
        assert!(failure.is_none(), "{failure:?}");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o640
        );
        let (_, failure) = copy(name, 10);
        let copied = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(copied, b"0123456789");
        assert_eq!(failure.unwrap().errno, libc::EEXIST);
    }
    let (path, failure) = copy("shorter", 11);
    std::fs::remove_file(&path).unwrap();
    let failure = failure.unwrap();
    assert_eq!((failure.step, failure.errno), ("copy", libc::ENODATA));
    assert_eq!(failure.subject.as_deref(), path.to_str());
}
