//! Roots against the real thing: real interpreters and wheels, ldd and ldconfig as judges, chroot as proof.
//!
//! | module | promise |
//! |---|---|
//! | `oracle` | the loader's search is ld.so's: same cache as `ldconfig -p`, same files as `ldd` |
//! | `python` | a root for Python holds what Python needs and hides what it doesn't |
//! | `numpy` | wheels bring their libraries, and a lost one is named before anything runs |
//! | `build` | a root is written whole, again quickly, and never over somebody else's directory |
//! | `command` | programs and scripts that aren't Python |
//!
//! Tests that need root, the network or another program say "not run" without it, and fail when
//! `CALLGATE_REQUIRE` names it (`root`, `network`, `cc`, `ldd`, `ldconfig`, or `all`).

// Helpers beside the tests state what must hold, too, and say what didn't run.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod build;
mod command;
mod numpy;
mod oracle;
mod python;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use callgate_python::interpreter::Interpreter;
use callgate_rootfs::{BuildOptions, Built, Identity, Plan, materialise};
use callgate_testing::available;

const WHO: Identity = Identity {
    uid: 64123,
    gid: 64124,
};

/// A directory for what a root is to hold: not below /tmp, which is a root's own.
fn home() -> tempfile::TempDir {
    tempfile::tempdir_in("/var/tmp").unwrap()
}

/// Whether a test can run that needs `what`; fails when it has to.
fn has(what: &str, there: bool) -> bool {
    available(
        what,
        if there {
            Ok(())
        } else {
            Err(format!("needs {what}"))
        },
    )
}

fn is_root() -> bool {
    has("root", nix::unistd::geteuid().is_root())
}

/// A Python of this machine with a library of its own.
fn interpreter() -> Interpreter {
    let path = Interpreter::find().unwrap();
    let found = Interpreter::inspect(&path).unwrap();
    // A shim describes another executable than itself.
    Interpreter::inspect(&found.executable).unwrap()
}

/// The system's own Python, which lies below /usr.
fn system_python() -> Option<Interpreter> {
    Interpreter::inspect(Path::new("/usr/bin/python3")).ok()
}

/// A virtual environment with these packages, from the network unless there are none.
fn environment(dir: &Path, packages: &[&str]) -> Option<Interpreter> {
    let base = interpreter();
    let env = dir.join("env");
    let mut venv = Command::new(&base.executable);
    venv.args(["-m", "venv"])
        .args(packages.is_empty().then_some("--without-pip"))
        .arg(&env);
    assert!(venv.status().unwrap().success());
    let python = env.join("bin/python");
    if !packages.is_empty() {
        let pip = Command::new(&python)
            .args(["-m", "pip", "install", "-q"])
            .args(packages)
            .output()
            .unwrap();
        if !has("network", pip.status.success()) {
            println!("{}", String::from_utf8_lossy(&pip.stderr));
            return None;
        }
    }
    Some(Interpreter::inspect(&python).unwrap())
}

fn build(plan: &Plan, dir: &Path) -> Built {
    materialise(plan, dir, &BuildOptions::default(), &mut |_| {}).unwrap()
}

/// Runs a program inside a root, as the user of its passwd file, with no environment.
fn inside(root: &Path, program: &Path, args: &[&str]) -> Output {
    Command::new("chroot")
        .arg(format!("--userspec={}:{}", WHO.uid, WHO.gid))
        .arg(root)
        .arg(program)
        .args(args)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// All files below `dir` whose name has `.so` in it.
fn objects_below(dir: &Path) -> Vec<PathBuf> {
    let walk = walkdir::WalkDir::new(dir)
        .sort_by_file_name()
        .into_iter()
        .flatten();
    walk.filter(|entry| entry.file_type().is_file())
        .filter(|entry| entry.file_name().to_string_lossy().contains(".so"))
        .map(|entry| entry.into_path())
        .collect()
}
