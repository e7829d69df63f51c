//! Writing roots out.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use callgate_rootfs::{
    BuildError, BuildOptions, Device, Entry, Identity, MARKER, OpenError, Plan, current, materialise, open,
    replica_of, replicate,
};

use crate::{WHO, build, is_root};

/// A tree of the host with one of everything.
fn host_tree(dir: &Path) -> PathBuf {
    let tree = dir.canonicalize().unwrap().join("tree");
    fs::create_dir_all(tree.join("sub")).unwrap();
    for (name, mode) in [
        ("plain", 0o644),
        ("program", 0o711),
        ("setuid", 0o6755),
        ("secret", 0o600),
        ("group", 0o750),
    ] {
        fs::write(tree.join(name), name).unwrap();
        fs::set_permissions(tree.join(name), Permissions::from_mode(mode)).unwrap();
    }
    symlink("plain", tree.join("sub/link")).unwrap();
    fs::create_dir(tree.join("private")).unwrap();
    fs::write(tree.join("private/readable"), "").unwrap();
    fs::set_permissions(tree.join("private"), Permissions::from_mode(0o700)).unwrap();
    symlink("nowhere", tree.join("dangling")).unwrap();
    symlink("..", tree.join("sub/up")).unwrap(); // a cycle, if links were followed
    nix::unistd::mkfifo(
        &tree.join("fifo"),
        nix::sys::stat::Mode::from_bits_truncate(0o644),
    )
    .unwrap();
    std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    tree
}

fn plan_of(tree: &Path) -> Plan {
    let mut plan = Plan::base(WHO).unwrap();
    plan.insert(
        "/data",
        Entry::Tree {
            source: tree.to_owned(),
        },
    )
    .unwrap();
    plan
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().mode() & 0o7777
}

#[test]
fn a_tree_is_copied_with_plain_modes_and_without_what_is_no_file() {
    let (host, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tree = host_tree(host.path());
    let root = out.path().join("root");
    let built = build(&plan_of(&tree), &root);
    assert_eq!(mode(&root), 0o755);
    assert_eq!(mode(&root.join("data/plain")), 0o644);
    assert_eq!(mode(&root.join("data/program")), 0o711);
    assert_eq!(mode(&root.join("data/setuid")), 0o755, "set-uid bits are dropped");
    assert_eq!(mode(&root.join("tmp")), 0o1777);
    assert_eq!(mode(&root.join(MARKER)), 0o600);
    assert_eq!(
        root.join("data/sub/link").read_link().unwrap(),
        Path::new("plain")
    );
    assert_eq!(
        root.join("data/dangling").read_link().unwrap(),
        Path::new("nowhere")
    );
    assert_eq!(fs::read(root.join("data/plain")).unwrap(), b"plain");
    // What the host closes to others, the code is not to see: it is one of the others.
    for closed in ["secret", "group", "private"] {
        assert!(!root.join("data").join(closed).exists(), "{closed}");
        let named = |note: &String| {
            note.contains("only their owner or group") && note.contains(&format!("/{closed}"))
        };
        assert!(built.root.notes.iter().any(named), "{:?}", built.root.notes);
    }
    for odd in ["fifo", "socket"] {
        assert!(!root.join("data").join(odd).exists());
        let notes = &built.root.notes;
        assert!(
            notes
                .iter()
                .any(|note| note.contains(&format!("{odd} is a {odd}"))),
            "{notes:?}"
        );
    }
    // Never a hard link: whoever writes to the root must not write to the host.
    let inode = |path: PathBuf| path.metadata().unwrap().ino();
    assert_ne!(inode(root.join("data/plain")), inode(tree.join("plain")));
    assert_eq!(tree.join("plain").metadata().unwrap().nlink(), 1);
}

#[test]
fn devices_are_devices_when_root_builds() {
    if !is_root() {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    build(&Plan::base(WHO).unwrap(), out.path());
    for device in Device::ALL {
        let (ours, theirs) = (
            out.path().join("dev").join(device.name()),
            Path::new("/dev").join(device.name()),
        );
        assert_eq!(ours.metadata().unwrap().rdev(), theirs.metadata().unwrap().rdev());
        assert_eq!(mode(&ours), 0o666);
    }
}

#[test]
fn a_second_build_writes_only_what_changed_and_removes_what_went() {
    let (host, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tree = host_tree(host.path());
    let first = build(&plan_of(&tree), out.path());
    assert!(first.written > 3);
    let again = build(&plan_of(&tree), out.path());
    assert_eq!((again.written, again.removed), (0, 0));
    assert_eq!(again.root.key, first.root.key);

    fs::write(tree.join("plain"), "changed").unwrap();
    fs::remove_file(tree.join("program")).unwrap();
    fs::write(out.path().join("tmp/left-by-a-run"), "").unwrap();
    fs::write(out.path().join("data/intruder"), "").unwrap();
    let third = build(&plan_of(&tree), out.path());
    assert_eq!((third.written, third.removed), (1, 2));
    assert_ne!(third.root.key, first.root.key);
    assert_eq!(fs::read(out.path().join("data/plain")).unwrap(), b"changed");
    assert!(!out.path().join("data/program").exists() && !out.path().join("data/intruder").exists());
    assert!(out.path().join("tmp/left-by-a-run").exists());
}

#[test]
fn an_overlay_replaces_what_its_tree_has() {
    let (host, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut plan = plan_of(&host_tree(host.path()));
    plan.insert("/data/sub", Entry::Hidden).unwrap();
    plan.insert(
        "/data/plain",
        Entry::Text {
            bytes: b"ours".to_vec(),
            mode: 0o444,
        },
    )
    .unwrap();
    build(&plan, out.path());
    assert_eq!(fs::read(out.path().join("data/plain")).unwrap(), b"ours");
    assert_eq!(out.path().join("data/sub").read_dir().unwrap().count(), 0);
}

#[test]
fn a_directory_that_is_not_ours_is_refused_and_left_as_it_is() {
    let out = tempfile::tempdir().unwrap();
    fs::write(out.path().join("thesis.tex"), "years").unwrap();
    let error = materialise(
        &Plan::base(WHO).unwrap(),
        out.path(),
        &BuildOptions::default(),
        &mut |_| {},
    )
    .unwrap_err();
    assert!(matches!(error, BuildError::Foreign { .. }), "{error}");
    assert_eq!(out.path().read_dir().unwrap().count(), 1);
    assert!(matches!(open(out.path()), Err(OpenError::NotOurs { .. })));
    fs::write(out.path().join(MARKER), "{\"schema\": \"other/9\"}").unwrap();
    assert!(matches!(open(out.path()), Err(OpenError::Marker { .. })));
}

#[test]
fn a_build_that_did_not_reach_its_end_is_no_root_until_it_is_built_again() {
    let (host, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tree = host_tree(host.path());
    let plan = plan_of(&tree);
    let root = out.path();
    build(&plan, root);
    // Stopped in the middle, as by SIGKILL: the callback never returns, so nothing of the end is written.
    fs::write(tree.join("plain"), "changed").unwrap();
    let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = materialise(&plan, root, &BuildOptions::default(), &mut |_| panic!("stopped"));
    }));
    assert!(stopped.is_err());
    let error = open(root).unwrap_err();
    assert!(matches!(error, OpenError::Incomplete { .. }), "{error}");
    build(&plan, root);
    assert!(open(root).is_ok());
    assert_eq!(fs::read(root.join("data/plain")).unwrap(), b"changed");
}

#[test]
fn a_file_lost_between_planning_and_building_is_named_and_leaves_no_root() {
    let (host, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut plan = plan_of(&host_tree(host.path()));
    let gone = host.path().join("gone");
    fs::write(&gone, "x").unwrap();
    plan.insert("/gone", Entry::File { source: gone.clone() })
        .unwrap();
    fs::remove_file(&gone).unwrap();
    let root = out.path().join("root");
    let error = materialise(&plan, &root, &BuildOptions::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains(gone.to_str().unwrap()), "{error}");
    assert!(open(&root).is_err());
}

#[test]
fn two_builds_in_one_directory_do_not_mix() {
    let out = tempfile::tempdir().unwrap();
    let root = out.path().join("root");
    let plan = Plan::base(WHO).unwrap();
    let mut seen = None;
    materialise(&plan, &root, &BuildOptions::default(), &mut |_| {
        seen.get_or_insert_with(|| materialise(&plan, &root, &BuildOptions::default(), &mut |_| {}));
    })
    .unwrap();
    assert!(matches!(seen, Some(Err(BuildError::Busy { .. }))), "{seen:?}");
}

#[test]
fn a_directory_with_something_mounted_in_it_is_refused() {
    use nix::mount::{MsFlags, mount};
    if !is_root() {
        return;
    }
    let (host, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(host.path().join("precious"), "years").unwrap();
    let plan = Plan::base(WHO).unwrap();
    build(&plan, out.path());
    let none: Option<&str> = None;
    // A thread's own mount namespace: it goes with the thread, and nothing of it reaches the host.
    let error = std::thread::scope(|scope| {
        let builder = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            mount(
                Some(host.path()),
                &out.path().join("proc"),
                none,
                MsFlags::MS_BIND,
                none,
            )
            .unwrap();
            materialise(&plan, out.path(), &BuildOptions::default(), &mut |_| {}).unwrap_err()
        });
        builder.join().unwrap()
    });
    assert!(
        matches!(&error, BuildError::Mounted { mount, .. } if mount.ends_with("proc")),
        "{error}"
    );
    assert!(host.path().join("precious").exists());
}

#[test]
fn a_replica_is_the_same_for_somebody_else_and_follows_its_base() {
    let (host, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tree = host_tree(host.path());
    let (base, dir) = (out.path().join("base"), out.path().join("replica"));
    let plan = plan_of(&tree);
    assert_eq!(current(&plan, &base).unwrap(), None);
    let built = build(&plan, &base).root;
    assert_eq!(current(&plan, &base).unwrap(), Some(built.clone()));
    fs::write(base.join("tmp/left"), "by somebody").unwrap();
    let other = Identity {
        uid: 64125,
        gid: 64126,
    };
    let replica = replicate(&built, &dir, other).unwrap();
    assert_eq!((replica.identity, &replica.key), (Some(other), &built.key));
    assert_eq!(
        fs::read_to_string(dir.join("etc/passwd")).unwrap(),
        other.passwd()
    );
    assert_eq!(fs::read_to_string(base.join("etc/passwd")).unwrap(), WHO.passwd());
    let number = |at: &Path| at.symlink_metadata().unwrap().ino();
    assert_eq!(number(&dir.join("data/plain")), number(&base.join("data/plain")));
    assert_eq!(
        fs::read_link(dir.join("data/sub/link")).unwrap(),
        Path::new("plain")
    );
    for at in ["tmp", "data", "data/sub", "data/program", "proc", "etc/passwd"] {
        assert_eq!(mode(&dir.join(at)), mode(&base.join(at)), "{at}");
    }
    assert_eq!(dir.join("tmp").read_dir().unwrap().count(), 0);
    // What is whole already is left alone; it is not whole for another, nor when the base has changed.
    assert_eq!(replica_of(&built, &dir, other), Some(replica));
    assert_eq!(replica_of(&built, &dir, WHO), None);
    fs::write(tree.join("plain"), "longer than before").unwrap();
    assert_eq!(current(&plan, &base).unwrap(), None);
    let built = build(&plan, &base).root;
    assert_eq!(replica_of(&built, &dir, other), None);
    replicate(&built, &dir, other).unwrap();
    assert_eq!(
        fs::read_to_string(dir.join("data/plain")).unwrap(),
        "longer than before"
    );
}
