//! `callgate root build`: whole after a SIGKILL at any moment, from a store in no time, shared blocks where the file
//! system has them; and nothing that code does in a root reaches another one.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::elsewhere;
use crate::exec::small_root;
use crate::support::{available, callgate, expect, root, said, tool};

/// What a file is: content, permission bits, time.
type What = (String, u32, (i64, i64));

/// What a root has of its own, with the time at which it was built.
const OWN: &[&str] = &[
    "etc/passwd",
    "etc/group",
    "etc/nsswitch.conf",
    ".callgate-root.json",
];

/// All regular files below a directory that a root has from the host.
fn files(top: &Path) -> BTreeMap<PathBuf, What> {
    let mut sums = Command::new("sh");
    sums.args(["-c", "find . -type f -print0 | xargs -0 -r sha256sum"])
        .current_dir(top);
    let output = expect(0, &mut sums);
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| {
        let (hash, name) = line.split_once("  ./").unwrap();
        let data = top.join(name).metadata().unwrap();
        let what = (
            hash.to_owned(),
            data.mode() & 0o777,
            (data.mtime(), data.mtime_nsec()),
        );
        (PathBuf::from(name), what)
    };
    let mut all: BTreeMap<PathBuf, What> = text.lines().map(line).collect();
    all.retain(|path, _| !OWN.iter().any(|own| path == Path::new(own)));
    all
}

fn build(dir: &Path, more: &[&str]) -> Command {
    let mut command = callgate(["root", "build", "--python", "/usr/bin/python3"]);
    command.args(more).arg(dir);
    command
}

#[test]
fn the_second_root_from_a_store_is_made_of_links_and_equals_the_hosts_files() {
    if !available("root", root()) {
        return;
    }
    let place = elsewhere();
    let [store, one, two, copied] = ["store", "one", "two", "copied"].map(|name| place.path().join(name));
    let option = store.to_str().unwrap();
    expect(0, &mut build(&one, &["--store", option]));
    let second = said(&expect(0, &mut build(&two, &["--store", option])));
    assert!(
        second.contains(" as links, 0 of them new in the store"),
        "{second}"
    );
    expect(0, &mut build(&copied, &[]));
    let (one_has, two_has) = (files(&one), files(&two));
    assert!(one_has.len() > 1000);
    assert_eq!(one_has, two_has);
    for (path, (hash, mode, time)) in files(&copied) {
        let (linked_hash, linked_mode, linked_time) = &one_has[&path];
        assert_eq!((linked_hash, linked_time), (&hash, &time), "{}", path.display());
        let (here, there) = (
            one.join(&path).metadata().unwrap(),
            two.join(&path).metadata().unwrap(),
        );
        assert_eq!(*linked_mode, mode & 0o555, "{}", path.display());
        assert_eq!((here.ino(), here.uid()), (there.ino(), 0), "{}", path.display());
        // Never the host's own file.
        if let Ok(host) = Path::new("/").join(&path).metadata() {
            assert_ne!(
                (host.dev(), host.ino()),
                (here.dev(), here.ino()),
                "{}",
                path.display()
            );
        }
    }
    // In the same directory without the store: copies again, and the other root keeps its links.
    let again = said(&expect(0, &mut build(&one, &[])));
    assert!(!again.contains(" 0 written"), "{again}");
    assert_eq!(files(&one), files(&copied));
    assert_eq!(files(&two), two_has);
}

/// Tries to change a file in every way that a name gives.
const ATTACK: &str = "
import os, sys
path, done = os.__file__, []
def attempt(what, call):
    try:
        call()
    except OSError as error:
        # EPERM, EACCES, EXDEV, EROFS
        assert error.errno in (1, 13, 18, 30), (what, error)
    else:
        done.append(what)
attempt('write', lambda: os.open(path, os.O_WRONLY))
attempt('both', lambda: os.open(path, os.O_RDWR))
attempt('truncate', lambda: os.truncate(path, 0))
attempt('chmod', lambda: os.chmod(path, 0o666))
attempt('chown', lambda: os.chown(path, os.getuid(), -1))
attempt('times', lambda: os.utime(path, (1, 1)))
attempt('unlink', lambda: os.unlink(path))
attempt('rename', lambda: os.rename(path, path + '.old'))
attempt('link', lambda: os.link(path, '/tmp/link'))
attempt('attribute', lambda: os.setxattr(path, 'user.x', b'1'))
print('done:', done)
";

/// Everything that is asked about above is tried for real: no call is refused by a filter.
const OPEN: &str = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": [], "syscalls": []}"#;

#[test]
fn code_in_a_root_of_links_cannot_change_what_others_share() {
    if !available("root", root()) {
        return;
    }
    let place = elsewhere();
    let [store, dir, policy] = ["store", "root", "policy.json"].map(|name| place.path().join(name));
    small_root(&dir, &["--store", store.to_str().unwrap()]);
    std::fs::write(&policy, OPEN).unwrap();
    let before = (files(&dir), files(&store));
    for tier in ["full", "container"] {
        let mut exec = callgate(["exec", "--quiet", "--tier", tier, "--root"]);
        exec.arg(&dir).arg("--policy").arg(&policy).args(["-c", ATTACK]);
        let output = expect(0, &mut exec);
        assert_eq!(output.stdout, b"done: []\n", "{tier}: {}", said(&output));
        assert!(
            (files(&dir), files(&store)) == before,
            "tier {tier} changed a file"
        );
    }
}

#[test]
fn a_store_is_refused_to_ordinary_users_and_when_others_can_write_to_it() {
    if !available("root", root()) {
        return;
    }
    let place = elsewhere();
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let [store, dir] = ["store", "root"].map(|name| place.path().join(name));
    let option = store.to_str().unwrap();
    let others = said(&expect(2, &mut build(&dir, &["--store", option])));
    assert!(others.contains("others may write to"), "{others}");
    assert!(!dir.exists());
    let binary = place.path().join("callgate");
    std::fs::copy(crate::support::CALLGATE, &binary).unwrap();
    std::fs::set_permissions(&binary, PermissionsExt::from_mode(0o755)).unwrap();
    let mut ordinary = Command::new(binary);
    ordinary
        .args(["root", "build", "--python", "/usr/bin/python3", "--store", option])
        .arg(&dir)
        .uid(65_533)
        .env_remove("HOME")
        .current_dir("/");
    let refused = said(&expect(2, &mut ordinary));
    assert!(refused.contains("a store is for the superuser"), "{refused}");
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
    // One in the other: the next build would remove it.
    let inside = dir.join("store");
    let nested = said(&expect(
        2,
        &mut build(&dir, &["--store", inside.to_str().unwrap()]),
    ));
    assert!(nested.contains("lie in each other"), "{nested}");
}

#[test]
fn a_build_that_is_killed_at_any_moment_goes_on_and_is_no_root_before() {
    if !available("root", root()) {
        return;
    }
    let place = elsewhere();
    let [store, whole] = ["store", "whole"].map(|name| place.path().join(name));
    let with_store = ["--store", store.to_str().unwrap()];
    expect(0, &mut build(&whole, &[]));
    let wanted = files(&whole);
    for more in [&[][..], &with_store[..]] {
        let dir = place.path().join(format!("killed-{}", more.len()));
        let mut killed = 0;
        for delay in [5, 20, 60, 120, 200, 300, 450] {
            let mut command = build(&dir, more);
            let mut child = command.stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(delay));
            child.kill().unwrap();
            if child.wait().unwrap().success() {
                break;
            }
            killed += 1;
            if dir.join(".callgate-root.json").exists() {
                let output = callgate(["exec", "--root"])
                    .arg(&dir)
                    .args(["-c", "print(1)"])
                    .output()
                    .unwrap();
                if output.status.success() {
                    // It was killed when nothing but its own end was left.
                    assert_eq!(files(&dir).len(), wanted.len());
                    break;
                }
                assert!(said(&output).contains("interrupted"), "{}", said(&output));
            }
        }
        assert!(killed > 1, "no build was killed");
        expect(0, &mut build(&dir, more));
        let built = files(&dir);
        let differ = |(path, what): &(&PathBuf, &What)| {
            wanted
                .get(*path)
                .is_none_or(|wanted| (&wanted.0, wanted.2) != (&what.0, what.2))
        };
        assert_eq!(built.len(), wanted.len());
        assert_eq!(built.iter().find(differ), None);
        expect(
            0,
            callgate(["exec", "--quiet", "--root"])
                .arg(&dir)
                .args(["-c", "print(1)"]),
        );
    }
    assert_eq!(store.join("tmp").read_dir().unwrap().count(), 0);
}

#[test]
fn blocks_are_shared_where_the_file_system_can_and_the_rest_is_told() {
    if !available("root", root()) || !available("mkfs.btrfs", tool("mkfs.btrfs")) {
        return;
    }
    let place = elsewhere();
    // On a file system that can't: everything is copied, and said to be.
    let plain = said(&expect(
        0,
        &mut build(&place.path().join("plain"), &["--reflink"]),
    ));
    let here = Command::new("stat")
        .args(["-f", "-c", "%T"])
        .arg(place.path())
        .output()
        .unwrap();
    if String::from_utf8_lossy(&here.stdout).contains("ext") {
        assert!(
            plain.contains("files were copied, as their file systems can't share"),
            "{plain}"
        );
        assert!(plain.contains(", 0 reflinked"), "{plain}");
    }
    // On btrfs, in a mount namespace that ends with the script.
    let script = r#"
        set -e
        cd "$1"; truncate -s 300M image; mkfs.btrfs -q image; mkdir mount; mount -o loop image mount
        /usr/bin/python3 -m venv --without-pip mount/venv
        head -c 4000000 /dev/urandom > mount/venv/lib/big.bin
        "$2" root build --reflink --python mount/venv/bin/python mount/root
        cmp mount/venv/lib/big.bin "mount/root$1/mount/venv/lib/big.bin"
        sync
        filefrag -v "mount/root$1/mount/venv/lib/big.bin"
        echo changed > "mount/root$1/mount/venv/lib/big.bin"
        test "$(stat -c %s mount/venv/lib/big.bin)" = 4000000
        umount mount
    "#;
    let mut btrfs = Command::new("unshare");
    btrfs
        .args(["-m", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(place.path())
        .arg(crate::support::CALLGATE)
        .env("NO_COLOR", "1");
    let text = said(&expect(0, &mut btrfs));
    assert!(text.contains("shared"), "{text}");
    assert!(
        text.contains(" reflinked") && !text.contains(", 0 reflinked"),
        "{text}"
    );
}

#[test]
fn an_environment_in_tmp_works_where_it_is_mounted_and_is_told_of_where_it_can_not() {
    if !available("root", root().and_then(|()| tool("setpriv"))) {
        return;
    }
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let venv = dir.path().join("venv");
    let mut made = Command::new("/usr/bin/python3");
    expect(0, made.args(["-m", "venv", "--without-pip"]).arg(&venv));
    let python = venv.join("bin/python");
    let python = python.to_str().unwrap();
    let exec = |tier: &str| {
        let code = "import sys; print(sys.prefix)";
        callgate(["exec", "--quiet", "--tier", tier, "--python", python, "-c", code])
    };
    let mounted = expect(0, &mut exec("full"));
    assert_eq!(
        String::from_utf8_lossy(&mounted.stdout).trim(),
        venv.to_str().unwrap()
    );
    let at = elsewhere();
    let root = at.path().join("root");
    let mut build = callgate(["root", "build", "--python", python]);
    for (code, command) in [(125, &mut exec("container")), (2, build.arg(&root))] {
        let output = expect(code, command);
        let text = said(&output);
        for words in [
            dir.path().to_str().unwrap(),
            "is emptied for each run",
            "have it elsewhere",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(output.stdout.is_empty(), "{text}");
    }
    assert!(!root.exists());
}
