//! What others can have the superuser do elsewhere, by symlinks where it makes and empties roots: nothing.

use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::Path;
use std::process::Command;

use super::places::{DOCKER, UID};
use super::{feed, outcome_of};
use crate::support::{CALLGATE, available, callgate, expect, root, scratch, tool};

/// A run at tier container whose cache is this.
fn run(cache: &Path, flags: &[&str]) -> serde_json::Value {
    let mut command = Command::new("setpriv");
    command
        .args([
            "--bounding-set",
            DOCKER,
            CALLGATE,
            "exec",
            "--json",
            "--tier",
            "container",
        ])
        .args(["--python", "/usr/bin/python3"])
        .args(flags)
        .arg("-")
        .env("XDG_CACHE_HOME", cache);
    outcome_of(&feed(&mut command, b"print(1)\n"))
}

/// A directory with something in it that is to stay.
fn precious(at: &Path) -> bool {
    at.join("kept").exists()
}

#[test]
fn a_cache_that_others_can_write_to_is_no_place_for_roots() {
    if !available("root", root().and_then(|()| tool("setpriv"))) {
        return;
    }
    let dir = scratch();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let victim = dir.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    std::fs::write(victim.join("kept"), "x").unwrap();

    // A first run shows what the base is called.
    let cache = dir.path().join("cache");
    std::fs::create_dir(&cache).unwrap();
    assert_eq!(run(&cache, &[])["stdout"], "1\n");
    let roots = cache.join("callgate/roots");
    let names = roots.read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    let base = names
        .map(|name| name.into_string().unwrap())
        .find(|name| !name.contains('.'))
        .unwrap();

    let trap = roots.join(format!("{base}.65010"));
    std::fs::create_dir(&trap).unwrap();
    symlink(&victim, trap.join("tmp")).unwrap();
    // Even where it is ours, no symlink is followed.
    assert_eq!(run(&cache, &[])["stdout"], "1\n");
    assert!(precious(&victim));

    for theirs in [roots.clone(), cache.join("callgate")] {
        lchown(&theirs, Some(UID), Some(UID)).unwrap();
        let refused = run(&cache, &[]);
        assert_eq!(refused["status"], "setup_failed", "{refused:#}");
        let said = refused["setup"].to_string();
        assert!(
            said.contains("belongs to uid") && said.contains("XDG_CACHE_HOME"),
            "{said}"
        );
        lchown(&theirs, Some(0), Some(0)).unwrap();
    }
    std::fs::set_permissions(&roots, PermissionsExt::from_mode(0o777)).unwrap();
    let refused = run(&cache, &[])["setup"].to_string();
    assert!(refused.contains("others may write to"), "{refused}");
    std::fs::set_permissions(&roots, PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(run(&cache, &[])["stdout"], "1\n");
    assert!(precious(&victim));
}

#[test]
fn a_root_whose_scratch_directory_is_a_symlink_is_not_emptied_through_it() {
    if !available("root", root().and_then(|()| tool("setpriv"))) {
        return;
    }
    let dir = scratch();
    let victim = dir.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    std::fs::write(victim.join("kept"), "x").unwrap();
    let at = dir.path().join("root");
    let at = at.to_str().unwrap();
    expect(
        0,
        &mut callgate(["root", "build", at, "--python", "/usr/bin/python3"]),
    );
    std::fs::remove_dir(Path::new(at).join("tmp")).unwrap();
    symlink(&victim, Path::new(at).join("tmp")).unwrap();
    run(&dir.path().join("cache"), &["--root", at]);
    assert!(precious(&victim));
}
