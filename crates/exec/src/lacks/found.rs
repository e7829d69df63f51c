//! Files of the host, and how they come in.

use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use callgate_rootfs::Identity;

/// Where something is, and what brings it in.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) on_host: Vec<PathBuf>,
    pub(super) options: Vec<String>,
    pub(super) advice: Option<String>,
}

/// Whether its mode lets everyone on the host read it.
pub(super) fn is_readable(path: &Path) -> bool {
    let Ok(meta) = path.metadata() else {
        return false;
    };
    let wanted = if meta.is_dir() { 0o005 } else { 0o004 };
    meta.permissions().mode() & wanted == wanted
}

/// Whether everyone on the host may read it, and reach it: what the code names may be anything.
pub(super) fn is_open(path: &Path) -> bool {
    let passes = |dir: &Path| {
        dir.metadata()
            .is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0)
    };
    is_readable(path)
        && path
            .canonicalize()
            .is_ok_and(|real| real.ancestors().skip(1).all(passes))
}

/// The same of what is below our own directory, whose way to it is ours to tell.
fn is_open_beside_us(path: &Path) -> bool {
    let dirs = path.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty());
    is_readable(path) && dirs.into_iter().all(passes)
}

fn passes(dir: &Path) -> bool {
    dir.metadata()
        .is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0)
}

/// `--add` and a path of the host.
pub(super) fn add(path: &Path) -> Vec<String> {
    vec!["--add".to_owned(), path.display().to_string()]
}

/// `--file` and a pair of its name and a path of the host.
fn copy(name: &Path, path: &Path) -> Vec<String> {
    vec![
        "--file".to_owned(),
        format!("{}={}", name.display(), path.display()),
    ]
}

/// What the kernel makes up, or would show others.
const NOT_FILES: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// A file by the path that the code used.
pub(super) fn file(name: &str) -> Found {
    let path = Path::new(name);
    if NOT_FILES.iter().any(|dir| path.starts_with(dir)) {
        return Found {
            advice: Some(
                "no run has it: it is not a file of the host, but of the kernel or of its services"
                    .to_owned(),
            ),
            ..Found::default()
        };
    }
    // What is looked for in the work directory is beside us, mostly.
    let work = match path.strip_prefix(Identity::HOME) {
        Ok(inside) => Some(inside),
        Err(_) if path.is_relative() => Some(path),
        Err(_) => None,
    };
    if let Some(inside) = work {
        let plain = inside
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        let ours = std::path::absolute(inside).ok();
        if let Some(ours) = ours.filter(|ours| plain && is_open_beside_us(inside) && ours.is_file()) {
            return Found {
                options: copy(inside, &ours),
                on_host: vec![ours],
                advice: None,
            };
        }
        return program(path);
    }
    if !is_open(path) {
        return Found::default();
    }
    Found {
        options: add(path),
        on_host: vec![path.to_owned()],
        advice: None,
    }
}

/// A program that was looked for by its name.
fn program(name: &Path) -> Found {
    if name.components().count() != 1 {
        return Found::default();
    }
    let dirs = ["/usr/local/bin", "/usr/bin", "/bin"];
    let found = dirs
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.is_file() && is_open(path));
    match found {
        Some(path) => Found {
            options: add(&path),
            on_host: vec![path],
            advice: Some("the policy must allow execve, too".to_owned()),
        },
        None => Found::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everyone_may_read_is_found_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "s").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let set = |mode| std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(mode)).unwrap();
        set(0o755);
        assert!(!is_open(&path));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(is_open(&path));
        set(0o700);
        assert!(!is_open(&path), "the way to it is closed");
        set(0o755);
        for (name, options) in [
            ("/etc/passwd", vec!["--add", "/etc/passwd"]),
            ("/etc/shadow", vec![]),
            ("/proc/self/status", vec![]),
            ("../etc/passwd", vec![]),
            ("/tmp/../etc/passwd", vec![]),
            ("/nonexistent", vec![]),
        ] {
            assert_eq!(file(name).options, options, "{name}");
        }
    }
}
