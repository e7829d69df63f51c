//! What every crate's tests share: capabilities and oracles that may be missing.
//!
//! A test that needs root, the network or an outside tool says so by name. Where `CALLGATE_REQUIRE`
//! lists that name (separated by commas; `all` lists every one), a missing thing fails the test, so
//! that nothing is skipped in silence in CI; elsewhere the test says that it was not run.
//!
//! ```
//! use callgate_testing::available;
//!
//! if available("sh", callgate_testing::tool("sh")) {
//!     assert!(std::process::Command::new("sh").args(["-c", "true"]).status().unwrap().success());
//! }
//! ```
//!
//! Limits: the names are conventions of the tests; nothing checks that a listed name exists.
#![allow(clippy::print_stderr)] // it speaks to the reader of a test run

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Whether `CALLGATE_REQUIRE` demands what goes by this name.
pub fn required(what: &str) -> bool {
    let list = env::var("CALLGATE_REQUIRE").unwrap_or_default();
    list.split(',')
        .map(str::trim)
        .any(|word| word == what || word == "all")
}

/// For a test that can't be run here: says so, or fails if it is required.
///
/// # Panics
/// If `CALLGATE_REQUIRE` demands `what`.
pub fn not_run(what: &str, why: &str) {
    assert!(!required(what), "CALLGATE_REQUIRE demands {what}: {why}");
    eprintln!("not run: {why}");
}

/// Whether a test that needs `what` can be run: `Err` says why not.
///
/// # Panics
/// If it can't and `CALLGATE_REQUIRE` demands it.
pub fn available(what: &str, found: Result<(), String>) -> bool {
    match found {
        Ok(()) => true,
        Err(why) => {
            not_run(what, &why);
            false
        }
    }
}

/// Whether a program is on the PATH.
///
/// # Errors
/// If it is not.
pub fn tool(name: &str) -> Result<(), String> {
    let path = env::var_os("PATH").unwrap_or_default();
    if env::split_paths(&path).any(|dir| dir.join(name).is_file()) {
        return Ok(());
    }
    Err(format!("{name} is not on the PATH"))
}

/// The python3.`minor` on the PATH. A script of that name that finds none to start, as pyenv has them, is passed over.
///
/// # Errors
/// If there is none.
pub fn python(minor: u32) -> Result<PathBuf, String> {
    let name = format!("python3.{minor}");
    let path = env::var_os("PATH").unwrap_or_default();
    let starts = |python: &PathBuf| {
        let mut command = Command::new(python);
        command.args(["-I", "-c", ""]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    env::split_paths(&path)
        .map(|dir| dir.join(&name))
        .find(starts)
        .ok_or_else(|| format!("{name} is not on the PATH: .ci/pythons makes it"))
}

/// Whether this process is the superuser.
///
/// # Errors
/// If it is not, or can't be told.
pub fn root() -> Result<(), String> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let uids = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .unwrap_or_default();
    match uids.split_whitespace().nth(1) {
        Some("0") => Ok(()),
        _ => Err("needs root".to_owned()),
    }
}
