//! What a process hands down to its children without being asked, and code must not get from its supervisor.

use std::fs::File;
use std::process::Command;

use serde_json::json;

use super::places::{Ordinary, Place};
use super::{feed, outcome_of, policy};
use crate::support::{available, callgate, not_run, root, said, scratch, tool};

/// Calls by number, in Python.
const CALL: &str = "
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(*args): return libc.syscall(*[arg if isinstance(arg, bytes) else ctypes.c_long(arg) for arg in args])
";

/// The same command, started by a Python that does this first. What would be done before the exec is not: tier
/// landlock is asked for by name.
fn after(first: &str, command: &Command) -> Command {
    let mut wrapped = Command::new("/usr/bin/python3");
    wrapped
        .args(["-I", "-c"])
        .arg(format!("{CALL}{first}\nos.execvp(sys.argv[1], sys.argv[1:])"));
    wrapped.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        wrapped.current_dir(dir);
    }
    wrapped
}

#[test]
fn no_key_of_the_supervisor_is_there_and_none_is_left_at_every_tier() {
    let (add_key, keyctl) = (libc::SYS_add_key, libc::SYS_keyctl);
    // A session keyring of its own (KEYCTL_JOIN_SESSION_KEYRING), and a secret in it (KEY_SPEC_SESSION_KEYRING).
    let login = format!(
        "if call({keyctl}, 1, 0) < 0: sys.exit(77)\n\
         assert call({add_key}, b'user', b'callgate-secret', b'of the login', 12, -3) > 0"
    );
    let tried = Command::new("/usr/bin/python3")
        .args(["-I", "-c", &format!("{CALL}{login}")])
        .status()
        .unwrap();
    if tried.code() == Some(77) {
        return not_run(
            "keyrings",
            "this kernel has none, or an outer sandbox refuses them",
        );
    }
    let dir = scratch();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let open = policy(dir.path(), &json!([]));
    // KEYCTL_SEARCH in the session's and the user's keyrings, and a key of its own in the user's.
    let code = format!(
        "{CALL}\nfor ring in (-3, -4):\n    for name in (b'callgate-secret', b'callgate-left'):\n        \
         if call({keyctl}, 10, ring, b'user', name, 0) >= 0: print('found', ring, name)\n\
         print(call({add_key}, b'user', b'callgate-left', b'x', 1, -4) > 0)\n"
    );
    for place in Place::all() {
        let command = place.command(&["--policy", &open]);
        let outcome = outcome_of(&feed(&mut after(&login, &command), code.as_bytes()));
        assert_eq!(outcome["stdout"], "False\n", "{}: {outcome:#}", place.tier());
    }
}

#[test]
fn no_signal_is_ignored_because_the_supervisor_ignores_it_at_every_tier() {
    let ignore = "
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}: signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())";
    // Python itself ignores two.
    let code = "import signal\n\
                print([int(n) for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN], \
                signal.pthread_sigmask(signal.SIG_BLOCK, []))\n";
    for place in Place::all() {
        let command = place.command(&[]);
        let outcome = outcome_of(&feed(&mut after(ignore, &command), code.as_bytes()));
        assert_eq!(
            outcome["stdout"],
            "[13, 25] set()\n",
            "{}: {outcome:#}",
            place.tier()
        );
    }
}

#[test]
fn a_stream_that_is_a_directory_is_no_way_out_of_the_root() {
    if !available("root", root()) {
        return;
    }
    let code = ["exec", "--", "/bin/true"];
    let streams: [fn(&mut Command, File) -> &mut Command; 3] = [
        |command, file| command.stdin(file),
        |command, file| command.stdout(file),
        |command, file| command.stderr(file),
    ];
    for (stream, name) in streams.into_iter().zip(["stdin", "stdout", "stderr"]) {
        let mut command = callgate(code);
        command.stdin(File::open("/dev/null").unwrap());
        let output = stream(&mut command, File::open("/").unwrap()).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{name}: {}", said(&output));
        assert!(
            name == "stderr" || said(&output).contains(&format!("nothing ran: {name}: it is a directory")),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn a_user_who_may_have_few_processes_is_told_so_and_nothing_panics() {
    let needs = root().and_then(|()| tool("setpriv"));
    if !available("root", needs) {
        return;
    }
    let user = Ordinary::alone();
    for number in 1..=6 {
        let few = format!("import resource; resource.setrlimit(resource.RLIMIT_NPROC, ({number}, {number}))");
        let output = feed(&mut after(&few, &user.command(&[])), b"print(1)\n");
        let said = said(&output);
        assert!(
            matches!(output.status.code(), Some(2 | 125)) || said.contains("\"status\": \"exited\""),
            "{number}: {said}"
        );
        assert!(!said.contains("panicked"), "{number}: {said}");
    }
}
