//! `callgate policy verify|disasm|numbers|explain|lint …`: the workbench, from the command line.

// The helpers fail as the tests do.
#![allow(clippy::unwrap_used)]

mod authoring;
mod knowing;
mod proving;

use std::path::{Path, PathBuf};

use crate::support::{callgate, expect};

/// A policy file in a fresh directory.
fn policy(dir: &Path, name: &str, rules: &str) -> PathBuf {
    let path = dir.join(name);
    let text = format!(r#"{{"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [{rules}]}}"#);
    std::fs::write(&path, text).unwrap();
    path
}

const ALLOW_READ: &str = r#"{"names": ["read", "exit_group"], "action": "SCMP_ACT_ALLOW"}"#;

fn run(code: i32, args: &[&str]) -> String {
    let output = expect(code, &mut callgate(args));
    String::from_utf8(output.stdout).unwrap()
}

fn fails(code: i32, args: &[&str]) -> String {
    let output = expect(code, &mut callgate(args));
    String::from_utf8(output.stderr).unwrap()
}

fn word(path: &Path) -> &str {
    path.to_str().unwrap()
}
