//! Which directories of the host are too wide to be shown whole.

use std::path::{Path, PathBuf};

/// Directories that no tree of a root may contain or be: they hold other people's things, secrets, or programs.
const PROTECTED: &[&str] = &[
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/local/bin",
    "/usr/local/lib",
    "/usr/local/share",
    "/usr/sbin",
    "/usr/share",
    "/var/lib",
    "/var/log",
    "/var/tmp",
];

/// Kernel interfaces: nothing below them belongs into a root.
const KERNEL: &[&str] = &["/dev", "/proc", "/run", "/sys"];

/// The kernel interface that a path (without symlinks) is in.
pub(crate) fn kernel_interface(path: &Path) -> Option<&'static str> {
    KERNEL.iter().copied().find(|kernel| path.starts_with(kernel))
}

/// What of the host a tree at `dir` (without symlinks) would show that it must not; `None` when it may be shown.
///
/// ```
/// use callgate_rootfs::shows_too_much;
/// use std::path::Path;
///
/// assert!(shows_too_much(Path::new("/usr")).is_some());
/// assert!(shows_too_much(Path::new("/usr/lib/python3.11")).is_none());
/// ```
pub fn shows_too_much(dir: &Path) -> Option<PathBuf> {
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .filter(|home| home.is_absolute());
    if let Some(kernel) = kernel_interface(dir) {
        return Some(PathBuf::from(kernel));
    }
    let in_home = dir.parent() == Some(Path::new("/home"));
    let multiarch = matches!(dir.parent().and_then(Path::to_str), Some("/usr/lib" | "/lib"))
        && dir
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.contains("-linux-gnu"));
    if in_home || multiarch {
        return Some(dir.to_owned());
    }
    PROTECTED
        .iter()
        .map(PathBuf::from)
        .chain(home.filter(|home| home != Path::new("/")))
        .find(|protected| protected.starts_with(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_and_home_directories_are_never_shown_whole() {
        for wide in [
            "/",
            "/usr",
            "/usr/lib",
            "/usr/local",
            "/usr/local/lib",
            "/usr/lib/x86_64-linux-gnu",
            "/etc",
            "/root",
            "/home",
            "/home/alice",
            "/opt",
            "/var",
            "/tmp",
            "/proc/self",
            "/run/secrets",
            "/dev/shm",
        ] {
            assert!(shows_too_much(Path::new(wide)).is_some(), "{wide}");
        }
    }

    #[test]
    fn directories_of_python_are_shown() {
        for fine in [
            "/usr/lib/python3.11",
            "/usr/lib/python3/dist-packages",
            "/usr/local/lib/python3.11/dist-packages",
            "/root/.pyenv/versions/3.11.7/lib/python3.11",
            "/home/alice/venv",
            "/opt/conda",
            "/etc/ssl/certs",
            "/usr/share/zoneinfo",
            "/tmp/venv",
        ] {
            assert!(shows_too_much(Path::new(fine)).is_none(), "{fine}");
        }
    }
}
