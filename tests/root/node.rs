//! What Node.js says of itself is kept between runs, and never older than Node.js.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::elsewhere;
use super::kept::{content, forge};
use crate::support::{available, callgate, expect, scratch, tool};

/// `callgate exec --lang node` with the Node.js in this directory and this cache.
fn exec(dir: &Path, cache: &Path, more: &[&str]) -> Command {
    let mut command = callgate(["exec", "--quiet", "--lang", "node"]);
    command.args(more).args(["-c", "console.log(6 * 7)"]);
    let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap());
    command.env("XDG_CACHE_HOME", cache).env("PATH", path);
    command
}

/// What is kept of Node.js.
fn kept(cache: &Path) -> Option<PathBuf> {
    let files = cache.join("callgate/found").read_dir().unwrap();
    let mut paths = files.map(|entry| entry.unwrap().path());
    paths.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("node-"))
}

#[test]
fn node_is_asked_once_and_again_when_it_has_changed() {
    if !available("node", tool("node")) {
        return;
    }
    let (dir, cache) = (elsewhere(), scratch());
    let asked = "process.stdout.write(require('fs').realpathSync(process.execPath))";
    let real = expect(0, Command::new("node").args(["-e", asked])).stdout;
    let node = dir.path().join("node");
    std::fs::copy(String::from_utf8(real).unwrap(), &node).unwrap();
    let answers = |more: &[&str]| {
        let output = expect(0, &mut exec(dir.path(), cache.path(), more));
        assert_eq!(output.stdout, b"42\n");
    };
    // What has just changed is not kept.
    let begun = Instant::now();
    let file = loop {
        answers(&[]);
        match kept(cache.path()) {
            Some(file) => break file,
            None => assert!(begun.elapsed() < Duration::from_secs(30), "nothing is kept"),
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    // That it is gone by, what it says is shown by saying something else.
    let mut other = content(&file);
    assert_eq!(other["finding"]["executable"], json!(node));
    other["finding"]["executable"] = json!("/bin/false");
    forge(&file, &other);
    expect(1, &mut exec(dir.path(), cache.path(), &[]));
    answers(&["--no-cache"]);
    // Another one of the same size in its place.
    let copy = dir.path().join("copy");
    std::fs::copy(&node, &copy).unwrap();
    std::fs::rename(&copy, &node).unwrap();
    answers(&[]);
}

#[test]
fn what_starts_another_node_is_asked_each_time() {
    if !available("node", tool("node")) {
        return;
    }
    let (dir, cache) = (elsewhere(), scratch());
    let real = which("node");
    let shim = dir.path().join("node");
    std::fs::write(&shim, format!("#!/bin/sh\nexec {} \"$@\"\n", real.display())).unwrap();
    std::fs::set_permissions(&shim, PermissionsExt::from_mode(0o755)).unwrap();
    // Long enough for anything to be kept.
    std::thread::sleep(Duration::from_millis(2500));
    for _ in 0..2 {
        expect(0, &mut exec(dir.path(), cache.path(), &[]));
        assert_eq!(kept(cache.path()), None);
    }
}

/// Where a program is.
fn which(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let mut found = std::env::split_paths(&path).map(|dir| dir.join(name));
    found.find(|path| path.is_file()).unwrap()
}
