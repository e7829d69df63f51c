//! Tier landlock: an ordinary user who is refused namespaces.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::places::Ordinary;
use super::{feed, marked, outcome_of, policy, printed, rule, unique};
use crate::support::sys::{Refusal, refuse, refuse_user_namespaces};
use crate::support::{available, root, said, tool};

/// A user of its own, if this machine can have one.
fn user() -> Option<Ordinary> {
    available("root", root().and_then(|()| tool("setpriv"))).then(Ordinary::alone)
}

/// The outcome of `callgate exec --json FLAGS… -` as this user, without namespaces.
fn run(user: &Ordinary, flags: &[&str], code: &str) -> Value {
    let mut command = user.command(flags);
    refuse_user_namespaces(&mut command);
    outcome_of(&feed(&mut command, code.as_bytes()))
}

/// The scratch directories of this user's runs.
fn scratches(user: &Ordinary) -> Vec<PathBuf> {
    let own = format!("callgate-run-{}-", user.uid());
    let entries = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|at| at.file_name().unwrap().to_string_lossy().starts_with(&own))
        .collect()
}

#[test]
fn auto_takes_it_when_nothing_higher_works_and_says_what_is_missing() {
    let Some(user) = user() else { return };
    let seen = run(
        &user,
        &[],
        "import os\nprint(os.getcwd() == os.environ['TMPDIR'], os.listdir('.'))\n",
    );
    assert_eq!(
        (&seen["tier"], &seen["stdout"]),
        (&json!("landlock"), &json!("True []\n")),
        "{seen:#}"
    );
    let layers = seen["layers"].to_string();
    for layer in [
        "landlock (ABI",
        "on the host's own tree",
        "seccomp against what Landlock does not hold",
        "seccomp from the first line",
        "rlimits",
        "no_new_privs",
        "no capabilities",
    ] {
        assert!(layers.contains(layer), "{layer}: {layers}");
    }
    assert!(!layers.contains(" namespace"), "{layers}");
    let missing = seen["missing"].to_string();
    for layer in [
        "mount namespace",
        "pid namespace",
        "network and ipc",
        "uts",
        "a uid of its own",
        "a sized /tmp",
    ] {
        assert!(missing.contains(layer), "{layer}: {missing}");
    }
    let notes = seen["notes"].to_string();
    assert!(
        notes.contains("higher tiers can't be had here") && notes.contains("unprivileged: clone"),
        "{notes}"
    );
    assert_eq!(scratches(&user).len(), 0);
    // With namespaces it is not taken.
    let higher = outcome_of(&user.exec(&[], "print(1)\n"));
    assert_eq!(higher["tier"], "unprivileged", "{higher:#}");
}

#[test]
fn it_is_what_tier_unprivileged_is_without_user_namespaces_and_that_is_said() {
    let Some(user) = user() else { return };
    let code = "import os\nprint(os.getcwd() == os.environ['TMPDIR'])\n";
    let seen = run(&user, &["--tier", "unprivileged"], code);
    assert_eq!(
        (&seen["tier"], &seen["stdout"]),
        (&json!("landlock"), &json!("True\n")),
        "{seen:#}"
    );
    let (missing, notes) = (seen["missing"].to_string(), seen["notes"].to_string());
    assert!(
        missing.contains("mount namespace") && missing.contains("pid namespace"),
        "{missing}"
    );
    assert!(
        notes.contains("tier unprivileged takes its form without namespaces here, which is tier landlock")
            && notes.contains("(unprivileged: clone"),
        "{notes}"
    );
    // People see the same.
    let mut shown = user.shown(&["--tier", "unprivileged"]);
    refuse_user_namespaces(&mut shown);
    let shown = feed(&mut shown, b"print(1)\n");
    let text = said(&shown);
    assert!(shown.status.success(), "{text}");
    for words in [
        "tier landlock: ",
        "note: tier unprivileged takes its form",
        "missing layer: mount namespace",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    // With user namespaces it is not taken.
    let higher = outcome_of(&user.exec(&["--tier", "unprivileged"], "print(1)\n"));
    assert_eq!(higher["tier"], "unprivileged", "{higher:#}");
}

#[test]
fn it_is_never_taken_for_a_tier_that_is_more() {
    let Some(user) = user() else { return };
    for tier in ["full", "container"] {
        let refused = run(&user, &["--tier", tier], "print('reached')\n");
        assert_eq!(
            (
                &refused["exit_code"],
                &refused["setup"]["step"],
                &refused["stdout"]
            ),
            (&json!(125), &json!("tier"), &Value::Null),
            "{refused:#}"
        );
    }
    // Nor by a superuser, under either name.
    for tier in ["landlock", "unprivileged"] {
        let root = super::outcome(&["--tier", tier], "print('reached')\n");
        assert!(
            root["exit_code"] == 125 && root["setup"]["error"].as_str().unwrap().contains("superuser"),
            "{root:#}"
        );
    }
}

#[test]
fn without_landlock_nothing_runs() {
    let Some(user) = user() else { return };
    for (errno, words) in [
        (libc::ENOSYS, "this kernel lacks"),
        (libc::EPERM, "outer sandbox"),
    ] {
        for flags in [&[][..], &["--tier", "landlock"], &["--tier", "unprivileged"]] {
            let mut command = user.command(flags);
            refuse_user_namespaces(&mut command);
            refuse(
                &mut command,
                &Refusal {
                    nr: libc::SYS_landlock_create_ruleset,
                    args: &[],
                    errno,
                },
            );
            let seen = outcome_of(&feed(&mut command, b"print('reached')\n"));
            assert_eq!(
                (&seen["exit_code"], &seen["setup"]["step"]),
                (&json!(125), &json!("tier")),
                "{seen:#}"
            );
            let error = seen["setup"]["error"].as_str().unwrap();
            assert!(error.contains("landlock: ") && error.contains(words), "{error}");
            assert!(seen["setup"]["advice"].as_str().unwrap().contains("doctor"));
        }
    }
}

#[test]
fn what_the_user_owns_is_neither_read_nor_changed() {
    let Some(user) = user() else { return };
    let open = policy(user.dir(), &json!([]));
    let secret = user.home().join("secret");
    std::fs::write(&secret, "s").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o640)).unwrap();
    chown(&secret, Some(user.uid()), Some(user.uid())).unwrap();
    let before = std::fs::metadata(&secret).unwrap();
    let code = format!(
        "
import errno, json, os, socket
home, secret = {home:?}, {secret:?}
def attempt(do, *args, **named):
    try: do(*args, **named)
    except OSError as error: return errno.errorcode.get(error.errno, 'timeout')
    return 'done'
def opened(at, flags): os.close(os.open(at, flags))
tried = [
    attempt(opened, secret, os.O_RDONLY), attempt(opened, secret, os.O_WRONLY), attempt(opened, secret, os.O_RDONLY | os.O_TRUNC),
    attempt(os.truncate, secret, 0), attempt(os.unlink, secret), attempt(os.rename, secret, 'mine'), attempt(os.link, secret, 'mine'),
    attempt(os.chmod, secret, 0o777), attempt(os.chown, secret, os.getuid(), os.getgid()), attempt(os.utime, secret, (0, 0)),
    attempt(os.setxattr, secret, 'user.x', b'x'), attempt(os.listdir, home), attempt(os.mkdir, home + '/made'),
    attempt(os.symlink, secret, home + '/link'), attempt(os.listdir, '/tmp'), attempt(opened, '/etc/passwd', os.O_RDONLY),
    attempt(opened, '/proc/self/environ', os.O_RDONLY), attempt(os.execv, '/bin/ls', ['ls']), attempt(socket.socket),
    attempt(socket.socket, socket.AF_UNIX), attempt(socket.socketpair, socket.AF_UNIX, socket.SOCK_DGRAM),
]
with open('own', 'w') as file: file.write('own')
print(json.dumps([[i for i, how in enumerate(tried) if how == 'done'], open('own').read(), os.stat(secret).st_size]))
",
        home = user.home(),
    );
    let seen = run(&user, &["--policy", &open], &code);
    // The size is what a missing mount namespace leaves to be seen.
    assert_eq!(printed(&seen), json!([[], "own", 1]), "{seen:#}");
    let after = std::fs::metadata(&secret).unwrap();
    assert_eq!(
        (after.mode(), after.mtime_nsec(), after.ctime_nsec(), after.len()),
        (
            before.mode(),
            before.mtime_nsec(),
            before.ctime_nsec(),
            before.len()
        )
    );
}

#[test]
fn the_users_other_processes_are_out_of_reach() {
    let Some(user) = user() else { return };
    let open = policy(user.dir(), &json!([]));
    let id = user.uid().to_string();
    let mut other = Command::new("setpriv")
        .args(["--reuid", &id, "--regid", &id, "--clear-groups", "sleep", "600"])
        .spawn()
        .unwrap();
    let code = format!(
        "
import ctypes, errno, json, os, resource, signal
libc, other = ctypes.CDLL(None, use_errno=True), {}
def attempt(do, *args):
    try: do(*args)
    except OSError as error: return errno.errorcode[error.errno]
    return 'done'
tried = [
    attempt(os.kill, other, signal.SIGKILL), attempt(os.kill, -1, 0), attempt(lambda: signal.pidfd_send_signal(os.pidfd_open(other), 9)),
    attempt(os.setpriority, os.PRIO_PROCESS, other, 19), attempt(os.setpriority, os.PRIO_USER, os.getuid(), 19),
    attempt(os.sched_setaffinity, other, [0]), attempt(resource.prlimit, other, resource.RLIMIT_NOFILE, (1, 1)),
    attempt(open, f'/proc/{{other}}/environ'), attempt(open, f'/proc/{{other}}/mem', 'rb+'),
]
traced = libc.ptrace(0x4206, other, 0, 0), libc.process_vm_readv(other, 0, 0, 0, 0, 0) and -1
objects = libc.shmget(0, 4096, 0o1600), libc.semget(0, 1, 0o1600), libc.msgget(0, 0o1600)
# To itself it may do as ever.
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); os.setpriority(os.PRIO_PROCESS, 0, 5); os.kill(os.getpid(), 0)
print(json.dumps(['done' in tried, tried[0], traced[0], objects]))
",
        other.id()
    );
    let seen = run(&user, &["--policy", &open], &code);
    let alive = other.try_wait().unwrap().is_none();
    other.kill().unwrap();
    other.wait().unwrap();
    // kill(-1, 0) finds the process itself.
    assert!(alive, "{seen:#}");
    let printed = printed(&seen);
    assert_eq!(
        printed.as_array().unwrap()[1..],
        [json!("EPERM"), json!(-1), json!([-1, -1, -1])],
        "{seen:#}"
    );
}

#[test]
fn a_refused_call_is_told_with_its_line_there_too() {
    let Some(user) = user() else { return };
    let policy = policy(user.dir(), &json!([rule("KILL_PROCESS", &["setpriority"])]));
    let seen = run(
        &user,
        &["--policy", &policy],
        "import os\n\nos.setpriority(0, 0, 7)\n",
    );
    assert_eq!(
        (
            &seen["status"],
            &seen["violation"]["syscall"],
            &seen["violation"]["site"]["line"]
        ),
        (&json!("violation"), &json!("setpriority"), &json!(3)),
        "{seen:#}"
    );
}

#[test]
fn a_command_runs_there_as_well() {
    let Some(user) = user() else { return };
    let open = policy(user.dir(), &json!([]));
    let script = user.command(&["--policy", &open]);
    let mut words: Vec<_> = script.get_args().map(ToOwned::to_owned).collect();
    words.pop(); // the `-`
    let mut command = Command::new(script.get_program());
    command
        .args(words)
        .args(["--", "/bin/cat", "/etc/passwd"])
        .current_dir("/");
    refuse_user_namespaces(&mut command);
    let seen = outcome_of(&command.output().unwrap());
    assert_eq!(
        (&seen["tier"], &seen["exit_code"]),
        (&json!("landlock"), &json!(1)),
        "{seen:#}"
    );
    assert!(
        seen["stderr"].as_str().unwrap().contains("Permission denied"),
        "{seen:#}"
    );
}

#[test]
fn what_a_killed_supervisor_left_ends_with_it_and_its_directory_is_swept() {
    let Some(user) = user() else { return };
    let open = policy(user.dir(), &json!([]));
    let mark = unique("mark");
    let variable = format!("MARK={mark}");
    let script = user.dir().join("waits.py");
    std::fs::write(
        &script,
        "import os, sys, time\nopen('left', 'w').close()\nos.mkdir('deep')\nif os.fork() == 0: os.setsid()\nprint('ready', file=sys.stderr, flush=True)\ntime.sleep(600)\n",
    )
    .unwrap();
    let mut command = user.command(&["--policy", &open, "--env", &variable, "--stdin", "/dev/null"]);
    // Its output is our sign: captured, it would not come before the end.
    let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut waiting = Command::new(command.get_program());
    waiting
        .args(words.iter().filter(|word| *word != "--json" && *word != "-"))
        .arg(&script)
        .current_dir("/")
        .stderr(Stdio::piped());
    refuse_user_namespaces(&mut waiting);
    let mut child = waiting.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    assert_eq!(scratches(&user).len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !marked(&mark).is_empty() {
        assert!(std::time::Instant::now() < deadline, "{:?}", marked(&mark));
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(scratches(&user).len(), 1);
    refuse_user_namespaces(&mut command);
    let next = outcome_of(&feed(&mut command, b"print(1)\n"));
    assert_eq!(next["stdout"], "1\n", "{next:#}");
    assert_eq!(scratches(&user).len(), 0);
}

#[test]
fn doctor_tells_whether_it_works() {
    let Some(user) = user() else { return };
    let id = user.uid().to_string();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
        .arg(user.dir().join("callgate"))
        .args(["doctor", "--json"])
        .env("HOME", user.home())
        .current_dir("/");
    refuse_user_namespaces(&mut command);
    let told = crate::support::json(&command.output().unwrap());
    let of = |name: &str| {
        told["facilities"]
            .as_array()
            .unwrap()
            .iter()
            .find(|facility| facility["name"] == name)
            .unwrap_or_else(|| panic!("{name}: {told:#}"))
    };
    assert_eq!(of("tier unprivileged")["present"], false, "{told:#}");
    assert_eq!(of("tier landlock")["present"], true, "{told:#}");
    assert!(
        of("tier landlock")["found"]
            .as_str()
            .unwrap()
            .contains("without namespaces")
    );
}
