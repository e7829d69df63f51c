//! Empties a directory that hostile code could write to, whatever it has made there.

use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Removes everything in a directory. Nobody may change it meanwhile.
///
/// Deep trees are taken apart from the top: what is two levels down is moved up before its parent is
/// removed, so that neither descriptors nor the length of a path run out, as they do in a recursion. Links
/// are not followed.
pub(crate) fn empty(dir: &Path) -> io::Result<()> {
    let mut next = 0_u64;
    loop {
        let mut found = false;
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            found = true;
            if entry.file_type()?.is_dir() {
                take_apart(dir, &entry.path(), &mut next)?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        if !found {
            return Ok(());
        }
    }
}

/// Removes a directory in `top`; the directories in it are moved to `top`.
fn take_apart(top: &Path, dir: &Path, next: &mut u64) -> io::Result<()> {
    std::fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            // A directory can only be moved by who may write to it: its own `..` changes (rename(2)).
            std::fs::set_permissions(entry.path(), Permissions::from_mode(0o700))?;
            move_up(&entry.path(), top, next)?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    std::fs::remove_dir(dir)
}

fn move_up(from: &Path, top: &Path, next: &mut u64) -> io::Result<()> {
    loop {
        let to: PathBuf = top.join(format!("callgate-{next}"));
        *next += 1;
        // An empty directory of that name would be replaced, which is as well.
        match std::fs::rename(from, &to) {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory
                ) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_hard_to_remove_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "x").unwrap();
        let at = dir.path().join("scratch");
        std::fs::create_dir(&at).unwrap();
        symlink(&outside, at.join("link")).unwrap();
        for i in 0..3 {
            // The names that are given to what is moved up are taken.
            std::fs::create_dir_all(at.join(format!("callgate-{i}/x/y"))).unwrap();
        }
        std::fs::write(at.join("callgate-3"), "x").unwrap();
        // A path that is longer than the kernel takes at once, and deeper than descriptors reach.
        let code = "import os, sys\n\
                    os.chdir(sys.argv[1])\n\
                    for _ in range(3000): os.mkdir('deep'); os.chdir('deep')\n\
                    os.chdir(sys.argv[1]); os.makedirs('no/way'); os.chmod('no/way', 0); os.chmod('no', 0); os.mkfifo('fifo')";
        let done = std::process::Command::new("python3")
            .args(["-I", "-c", code])
            .arg(&at)
            .status()
            .unwrap();
        assert!(done.success());
        empty(&at).unwrap();
        assert_eq!(std::fs::read_dir(&at).unwrap().count(), 0);
        assert!(outside.join("kept").exists());
    }
}
