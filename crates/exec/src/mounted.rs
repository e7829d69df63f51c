//! A root that stands only while a run lasts: read-only binds of the host's files in a tmpfs of its
//! own, in a mount namespace of its own. Nothing of it is ever on a disk.

mod standing;

use std::path::{Path, PathBuf};

use callgate_launch::Step;
use callgate_rootfs::{Entry, Plan};

pub(crate) use self::standing::Standing;
use crate::limits::Limits;
use crate::setup::{path, path_below, text};

/// Where the tree is put together: hidden from everybody else, for the mount is in our namespace only.
const STAGE: &str = "/tmp";
/// The host's root while the tree is put together.
const OLD: &str = "/old";
/// An empty file that nobody may open, to be mounted over what must not be seen.
const MASK: &str = "/mask";
/// The tree.
const NEW: &str = "/new";

/// `MOUNT_ATTR_*` (linux/mount.h).
const RDONLY: u64 = 0x1;
const NOSUID: u64 = 0x2;
const NODEV: u64 = 0x4;
const NOEXEC: u64 = 0x8;

/// The steps that put the tree of a plan together and make it `/`.
pub(crate) fn plan_steps(plan: &Plan, limits: &Limits) -> Vec<Step> {
    let mut steps = stage();
    if plan.iter().any(|(_, entry)| matches!(entry, Entry::Masked)) {
        steps.push(Step::File {
            path: text(MASK),
            mode: 0,
            bytes: Vec::new(),
        });
    }
    steps.push(tmpfs(Path::new(NEW), "mode=0755,size=16m,nr_inodes=65536"));
    // What stands in a scratch directory can only be made once that is mounted; and a scratch
    // directory is mounted after the tree has become read-only.
    let scratch: Vec<&Path> = plan
        .iter()
        .filter(|(_, e)| matches!(e, Entry::Tmp))
        .map(|(at, _)| at)
        .collect();
    let in_scratch = |at: &Path| scratch.iter().any(|tmp| at != *tmp && at.starts_with(tmp));
    for (at, entry) in plan.iter().filter(|(at, _)| !in_scratch(at)) {
        place(&mut steps, at, entry);
    }
    steps.push(Step::MountAttributes {
        path: path(Path::new(NEW)),
        set: RDONLY | NOSUID | NODEV,
    });
    for (at, entry) in plan.iter() {
        if let Entry::Device(_) = entry {
            steps.extend(bind(at, at));
            steps.push(Step::MountAttributes {
                path: path_below(NEW, at),
                set: NOSUID | NOEXEC,
            });
        }
    }
    for at in &scratch {
        steps.push(tmpfs(&below(NEW, at), &limits.scratch()));
    }
    for (at, entry) in plan.iter().filter(|(at, _)| in_scratch(at)) {
        place(&mut steps, at, entry);
        if matches!(entry, Entry::Tree { .. } | Entry::File { .. } | Entry::Masked) {
            steps.push(Step::MountAttributes {
                path: path_below(NEW, at),
                set: RDONLY | NOSUID | NODEV,
            });
        }
    }
    steps.extend(enter());
    steps
}

/// The steps that make a directory `/`, read-only but for its scratch directories.
pub(crate) fn directory_steps(directory: &Path, limits: &Limits) -> Vec<Step> {
    let mut steps = stage();
    steps.push(Step::Mount {
        source: Some(path_below(OLD, directory)),
        target: path(Path::new(NEW)),
        kind: None,
        flags: libc::MS_BIND,
        data: None,
    });
    steps.push(Step::MountAttributes {
        path: path(Path::new(NEW)),
        set: RDONLY | NOSUID | NODEV,
    });
    for device in callgate_rootfs::Device::ALL {
        let at = Path::new("/dev").join(device.name());
        if below(&directory.to_string_lossy(), &at).exists() {
            steps.extend(bind(&at, &at));
            steps.push(Step::MountAttributes {
                path: path_below(NEW, &at),
                set: NOSUID | NOEXEC,
            });
        }
    }
    for at in scratch_of(directory) {
        steps.push(tmpfs(&below(NEW, &at), &limits.scratch()));
    }
    steps.extend(enter());
    steps
}

/// The scratch directories that a built root has. No symlink leads to one: what is in them is removed.
pub(crate) fn scratch_of(directory: &Path) -> Vec<PathBuf> {
    let known = ["/tmp", "/dev/shm"].map(PathBuf::from);
    let there = |at: &PathBuf| {
        let inside = at.strip_prefix("/").unwrap_or(at).ancestors();
        let mut inside = inside.filter(|part| !part.as_os_str().is_empty());
        inside.all(|part| {
            let data = directory.join(part).symlink_metadata();
            data.is_ok_and(|data| data.is_dir())
        })
    };
    known.into_iter().filter(there).collect()
}

/// A tmpfs of our own as `/`, with the host's root at [`OLD`] and a place for the tree at [`NEW`].
fn stage() -> Vec<Step> {
    let at = |name: &str| path(&Path::new(STAGE).join(name.trim_start_matches('/')));
    vec![
        // First of all: no mount of ours may reach the host.
        Step::Mount {
            source: None,
            target: text("/"),
            kind: None,
            flags: libc::MS_REC | libc::MS_PRIVATE,
            data: None,
        },
        tmpfs(Path::new(STAGE), "mode=0755,size=1m"),
        Step::Mkdir {
            path: at(OLD),
            mode: 0o755,
        },
        Step::Mkdir {
            path: at(NEW),
            mode: 0o755,
        },
        Step::PivotRoot {
            new: text(STAGE),
            old: at(OLD),
        },
        Step::Chdir(text("/")),
    ]
}

/// Makes the tree `/` and lets go of everything else: afterwards no path leads back to the host.
fn enter() -> Vec<Step> {
    vec![
        Step::Chdir(text(NEW)),
        // Both at one place: the old root lies under the new one and is taken away from there
        // (pivot_root(2), "pivot_root(".", ".")").
        Step::PivotRoot {
            new: text("."),
            old: text("."),
        },
        Step::Detach(text(".")),
        Step::Chdir(text("/")),
    ]
}

/// The steps for one entry.
fn place(steps: &mut Vec<Step>, at: &Path, entry: &Entry) {
    let target = path_below(NEW, at);
    match entry {
        _ if at == Path::new("/") => {}
        Entry::Dir { mode } => steps.push(Step::Mkdir {
            path: target,
            mode: *mode,
        }),
        Entry::Tree { source } => {
            steps.push(Step::Mkdir {
                path: target,
                mode: 0o755,
            });
            steps.extend(bind(source, at));
        }
        Entry::File { source } => {
            steps.push(Step::File {
                path: target,
                mode: 0o444,
                bytes: Vec::new(),
            });
            steps.extend(bind(source, at));
        }
        Entry::Hidden => steps.push(tmpfs(&below(NEW, at), "mode=0755,size=4k,nr_inodes=2")),
        Entry::Masked => steps.push(Step::Mount {
            source: Some(text(MASK)),
            target,
            kind: None,
            flags: libc::MS_BIND,
            data: None,
        }),
        Entry::Symlink { target: to } => steps.push(Step::Symlink {
            target: path(to),
            path: target,
        }),
        Entry::Text { bytes, mode } => {
            steps.push(Step::File {
                path: target,
                mode: *mode,
                bytes: bytes.clone(),
            });
        }
        Entry::Device(_) => steps.push(Step::File {
            path: target,
            mode: 0o666,
            bytes: Vec::new(),
        }),
        Entry::Tmp => steps.push(Step::Mkdir {
            path: target,
            mode: 0o1777,
        }),
    }
}

/// Binds a host path to a place in the tree that exists.
fn bind(source: &Path, at: &Path) -> [Step; 1] {
    [Step::Mount {
        source: Some(path_below(OLD, source)),
        target: path_below(NEW, at),
        kind: None,
        flags: libc::MS_BIND,
        data: None,
    }]
}

fn tmpfs(at: &Path, options: &str) -> Step {
    Step::Mount {
        source: Some(text("tmpfs")),
        target: path(at),
        kind: Some(text("tmpfs")),
        flags: libc::MS_NOSUID | libc::MS_NODEV,
        data: Some(text(options)),
    }
}

fn below(base: &str, at: &Path) -> PathBuf {
    Path::new(base).join(at.strip_prefix("/").unwrap_or(at))
}
