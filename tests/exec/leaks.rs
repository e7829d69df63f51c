//! Runs leave nothing: neither many in a row, nor one whose supervisor was killed, nor several at once.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::places::Place;
use super::{interpreter, marked, outcome, policy, unique};
use crate::support::{available, callgate, root, scratch};

/// Cgroups of ours, in every hierarchy.
pub fn cgroups() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut left = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let at = entry.path();
                if entry.file_name().to_string_lossy().starts_with("callgate-") {
                    found.insert(at);
                } else {
                    left.push(at);
                }
            }
        }
    }
    found
}

/// Whether a cgroup is there whose supervisor has ended: nobody holds its lock.
fn nobodys(at: &Path) -> bool {
    let unlocked = || {
        std::process::Command::new("flock")
            .arg("-n")
            .arg(at)
            .arg("true")
            .status()
            .unwrap()
            .success()
    };
    // One that is just made is not locked yet.
    unlocked()
        && {
            std::thread::sleep(Duration::from_millis(50));
            unlocked()
        }
        && at.exists()
}

/// The System V IPC objects of uids that runs have.
fn ipc() -> usize {
    let of = |kind: &str| std::fs::read_to_string(format!("/proc/sysvipc/{kind}")).unwrap();
    let ours = |line: &&str| {
        line.split_whitespace()
            .any(|word| word.starts_with("653") || word.starts_with("650"))
    };
    ["shm", "sem", "msg"]
        .iter()
        .map(|kind| of(kind).lines().skip(1).filter(ours).count())
        .sum()
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Leaves what can be left: processes, files, IPC objects, and ends in several ways.
const LEAVES: &str = "
import ctypes, os, sys, time
libc = ctypes.CDLL(None)
libc.shmget(0, 4096, 0o1600); libc.semget(0, 1, 0o1600); libc.msgget(0, 0o1600)
open('left', 'w').close()
if 'TMPDIR' not in os.environ: open('/dev/shm/left', 'w').close()
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
way = int(sys.argv[1]) % 4
if way == 1: os.abort()
if way == 2: os.kill(os.getpid(), 9)
if way == 3: block = b'x' * (200 << 20)
os._exit(0)
";

#[test]
fn many_runs_leave_nothing() {
    let dir = scratch();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let open = policy(dir.path(), &json!([]));
    let mark = unique("mark");
    let variable = format!("MARK={mark}");
    let temporary = dir.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    std::fs::set_permissions(&temporary, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let mounts = || {
        std::fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .lines()
            .count()
    };
    let (mounted, run) = (mounts(), names(Path::new("/run/callgate")));
    // What was left in others' cgroups before, by killed supervisors, only those that start there sweep.
    let abandoned = || cgroups().into_iter().filter(|at| nobodys(at));
    let before: BTreeSet<PathBuf> = abandoned().collect();
    for place in Place::all() {
        for i in 0..17 {
            let way = i.to_string();
            let flags = [
                "--policy",
                &open,
                "--memory",
                "96M",
                "--timeout",
                "20",
                "--env",
                &variable,
            ];
            let mut command = place.command(&flags);
            command.env("TMPDIR", &temporary).args(["--", &way]);
            super::feed(&mut command, LEAVES.as_bytes());
        }
    }
    assert_eq!(marked(&mark), [""; 0]);
    assert_eq!(mounts(), mounted);
    assert_eq!(names(&temporary), BTreeSet::new());
    // Other tests' runs have objects and killed supervisors, too, which come and go. What stays is a leak.
    let stays = || {
        let kept = abandoned().filter(|at| !before.contains(at));
        (ipc(), kept.collect::<Vec<PathBuf>>())
    };
    let begun = Instant::now();
    while stays() != (0, Vec::new()) && begun.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(stays(), (0, Vec::new()));
    assert!(names(Path::new("/run/callgate")).is_superset(&run));
}

/// A run that says its uid and waits for its end.
fn waiting(flags: &[&str], mark: &str) -> (Child, String) {
    let mut child = callgate([
        "exec",
        "-q",
        "--python",
        interpreter(),
        "--env",
        &format!("MARK={mark}"),
    ])
    .args(flags)
    .args([
        "-c",
        "import os, sys\nprint(os.getuid(), flush=True)\nsys.stdin.read()",
    ])
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    (child, line.trim().to_owned())
}

/// The cgroups of the run that a supervisor has.
fn cgroups_of(supervisor: u32) -> Vec<PathBuf> {
    let own = format!("-{supervisor}-");
    let ours = |at: &PathBuf| at.to_string_lossy().contains(&own);
    cgroups().into_iter().filter(ours).collect()
}

#[test]
fn what_a_killed_supervisor_left_is_swept_at_the_next_start_and_what_others_have_is_not() {
    if !available("root", root()) {
        return;
    }
    let mark = unique("mark");
    let (mut killed, _) = waiting(&["--tier", "full"], &mark);
    let (mut other, _) = waiting(&["--tier", "full"], &unique("mark"));
    let left = cgroups_of(killed.id());
    assert!(!left.is_empty(), "the run has a cgroup");
    killed.kill().unwrap();
    killed.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !marked(&mark).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", marked(&mark));
        std::thread::sleep(Duration::from_millis(5));
    }
    let next = outcome(&["--tier", "full"], "print(1)\n");
    assert_eq!(next["stdout"], "1\n", "{next:#}");
    assert!(left.iter().all(|at| !at.exists()), "{left:?}");
    assert!(
        !cgroups_of(other.id()).is_empty(),
        "a run that goes on keeps its own"
    );
    drop(other.stdin.take());
    assert!(other.wait().unwrap().success());
    assert!(cgroups_of(other.id()).is_empty());
}

#[test]
fn files_and_ipc_objects_of_a_killed_supervisor_are_swept_without_namespaces_too() {
    if !available("root", root()) {
        return;
    }
    let dir = scratch();
    let open = policy(dir.path(), &json!([]));
    let mark = unique("mark");
    let variable = format!("MARK={mark}");
    let code = "import ctypes, os, time\nctypes.CDLL(None).shmget(0, 4096, 0o1600)\nopen('/tmp/left', 'w').close()\n\
                print(os.getuid(), flush=True)\ntime.sleep(600)";
    let mut child = callgate(["exec", "--tier", "container", "--python", interpreter()])
        .args(["--policy", &open, "--env", &variable, "-c", code])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let uid: u32 = line.trim().parse().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    // It goes with its supervisor, a moment later.
    let deadline = Instant::now() + Duration::from_secs(20);
    while !marked(&mark).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", marked(&mark));
        std::thread::sleep(Duration::from_millis(5));
    }
    let look = "import os\nprint(os.listdir('/tmp'))\n";
    let next = outcome(&["--tier", "container"], look);
    assert_eq!(next["stdout"], "[]\n", "{next:#}");
    let shared = std::fs::read_to_string("/proc/sysvipc/shm").unwrap();
    assert!(!shared.contains(&format!(" {uid} ")), "{shared}");
}

#[test]
fn runs_side_by_side_neither_see_nor_signal_nor_trace_one_another() {
    if !available("root", root()) {
        return;
    }
    let dir = scratch();
    let open = policy(dir.path(), &json!([]));
    let (mut first, uid) = waiting(&["--tier", "full"], &unique("mark"));
    let pid = host_pid(first.id());
    let code = format!(
        "import ctypes, os, signal\n\
         libc = ctypes.CDLL(None)\n\
         def fails(do, *args):\n\
         \x20   try: do(*args)\n    except OSError: return True\n    return False\n\
         print(os.getuid() not in (0, {uid}), fails(os.kill, {pid}, 0), fails(os.pidfd_open, {pid}), \
               libc.ptrace(0x4206, {pid}, 0, 0), os.path.exists('/proc/1'), fails(os.setpriority, 2, {uid}, 19))\n"
    );
    let second = outcome(&["--tier", "full", "--policy", &open], &code);
    assert_eq!(
        second["stdout"],
        "True True True -1 False True
",
        "{second:#}"
    );
    drop(first.stdin.take());
    assert!(first.wait().unwrap().success());
}

/// The number, on the host, of a process whose supervisor is this.
fn host_pid(supervisor: u32) -> u32 {
    let child = |of: u32| -> u32 {
        let text = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
        text.split_whitespace()
            .next()
            .unwrap_or_default()
            .parse()
            .unwrap()
    };
    child(child(supervisor))
}

/// What looks for a run's processes must find them all, and nobody else's: words are counted up, and the tenth
/// run's must not be taken for the first's.
#[test]
fn a_mark_is_found_where_it_is_and_not_in_a_longer_one() {
    let word = unique("mark");
    let sleeper = |mark: &str| {
        let mut sleep = std::process::Command::new("sleep");
        sleep.arg("60").env("MARK", mark).spawn().unwrap()
    };
    let mut other = sleeper(&format!("{word}0"));
    let without = marked(&word);
    let mut own = sleeper(&word);
    let with = marked(&word);
    for child in [&mut other, &mut own] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(without, [""; 0]);
    assert_eq!(with.len(), 1, "{with:?}");
    assert!(!unique("mark").starts_with(&word) && marked(&word).is_empty());
    let many: Vec<String> = (0..12).map(|_| unique("mark")).collect();
    for (i, one) in many.iter().enumerate() {
        assert!(
            !many.iter().skip(i + 1).any(|next| next.starts_with(one.as_str())),
            "{many:?}"
        );
    }
}
