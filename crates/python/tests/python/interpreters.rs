//! Interpreters describe themselves truly, and what is none is told from them.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use callgate_python::interpreter::{Interpreter, InterpreterError};

use crate::pythons;

fn script(directory: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn an_interpreter_is_described_as_it_is() {
    for python in pythons::all() {
        let version = Command::new(&python.executable)
            .arg("--version")
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&version.stdout).trim(),
            format!("Python {}", python.version)
        );
        assert!(python.stdlib.join("os.py").is_file());
        assert!(python.sys_path.contains(&python.stdlib));
        assert!(
            python
                .sys_path
                .iter()
                .all(|path| path.is_absolute() && path.exists())
        );
        assert!(python.extension_suffix.ends_with(".so"));
        assert_eq!(python.real_executable, python.executable.canonicalize().unwrap());
        assert_eq!(python.prefix, python.base_prefix);
    }
}

#[test]
fn the_link_of_a_virtual_environment_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let base = Interpreter::inspect(&Interpreter::find().unwrap()).unwrap();
    let venv = directory.path().join("venv");
    let made = Command::new(&base.executable)
        .args(["-m", "venv", "--without-pip"])
        .arg(&venv)
        .status()
        .unwrap();
    assert!(made.success());
    let python = Interpreter::inspect(&venv.join("bin/python")).unwrap();
    assert_eq!(python.executable, venv.join("bin/python"));
    assert_eq!(python.real_executable, base.real_executable);
    assert_eq!(python.prefix, venv);
    assert_eq!(python.base_prefix, base.base_prefix);
    assert_eq!(python.stdlib, base.stdlib);
    assert!(python.sys_path.iter().any(|path| path.starts_with(&venv)));
}

#[test]
fn the_users_variables_and_directory_do_not_show() {
    let directory = tempfile::tempdir().unwrap();
    let found = Interpreter::find().unwrap();
    let real = Interpreter::inspect(&found).unwrap();
    let wrapper = script(
        directory.path(),
        "python",
        &format!(
            "#!/bin/sh\nPYTHONPATH=/usr PYTHONHOME=/nowhere exec {} \"$@\"\n",
            real.executable.display()
        ),
    );
    assert_eq!(Interpreter::inspect(&wrapper).unwrap(), real);
}

#[test]
fn what_is_no_usable_interpreter_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let error = |path: &Path| Interpreter::inspect(path).unwrap_err();
    let missing = directory.path().join("missing");
    assert!(
        matches!(error(&missing), InterpreterError::Run { .. }),
        "{}",
        error(&missing)
    );
    assert!(matches!(error(directory.path()), InterpreterError::Run { .. }));
    let echo = error(Path::new("/bin/echo"));
    assert!(matches!(echo, InterpreterError::NotPython { .. }), "{echo}");
    let failing = script(
        directory.path(),
        "failing",
        "#!/bin/sh\necho broken libpython >&2\nexit 127\n",
    );
    assert!(
        error(&failing).to_string().contains("broken libpython"),
        "{}",
        error(&failing)
    );
    let old = script(
        directory.path(),
        "old",
        "#!/bin/sh\necho '{\"version\": {\"major\": 3, \"minor\": 8, \"micro\": 20}}'\n",
    );
    let old = error(&old).to_string();
    assert!(
        old.ends_with("is Python 3.8.20: callgate needs 3.9.0 or later"),
        "{old}"
    );
}

#[test]
fn a_hanging_interpreter_is_killed_with_all_that_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    // It closes its streams, so that only its not ending gives it away.
    let text = format!(
        "#!/bin/sh\nexec >&- 2>&-\nsleep 600 &\necho $$ $! > {}\nwait\n",
        pids.display()
    );
    let hanging = script(directory.path(), "hanging", &text);
    let start = Instant::now();
    assert!(matches!(
        Interpreter::inspect(&hanging),
        Err(InterpreterError::TimedOut { .. })
    ));
    assert!(start.elapsed() < Duration::from_secs(40));
    for pid in std::fs::read_to_string(&pids).unwrap().split_whitespace() {
        // Killed; whoever inherits it may not have reaped it yet.
        let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        while !state().is_empty() && !state().contains(") Z ") {
            assert!(start.elapsed() < Duration::from_secs(40), "{}", state());
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_link_to_an_interpreter_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let real = Interpreter::inspect(&Interpreter::find().unwrap()).unwrap();
    let link = directory.path().join("snake");
    symlink(&real.executable, &link).unwrap();
    assert_eq!(
        Interpreter::inspect(&link).unwrap().real_executable,
        real.real_executable
    );
}
