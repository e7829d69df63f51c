//! Which arguments of which calls are paths, and how the call uses them.

use callgate_trace::How;

/// One path argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PathArg {
    /// Which argument holds its address.
    pub(crate) path: usize,
    /// Which argument holds the directory descriptor that a relative path starts from.
    pub(crate) dirfd: Option<usize>,
    /// How it is used.
    pub(crate) how: Use,
}

/// How a path argument is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Always so.
    As(How),
    /// As the open flags in this argument say.
    OpenFlags(usize),
    /// As the flags in `struct open_how`, at this argument's address, say.
    OpenHow(usize),
}

const fn at(path: usize, how: How) -> PathArg {
    PathArg {
        path,
        dirfd: None,
        how: Use::As(how),
    }
}

const fn below(dirfd: usize, path: usize, how: How) -> PathArg {
    PathArg {
        path,
        dirfd: Some(dirfd),
        how: Use::As(how),
    }
}

/// The path arguments of a call, by its name: positions are the same under every ABI.
pub(crate) fn path_args(name: &str) -> &'static [PathArg] {
    use How::{Enter, Exec, Link, Read, Stat, Write};
    const OPEN: &[PathArg] = &[PathArg {
        path: 0,
        dirfd: None,
        how: Use::OpenFlags(1),
    }];
    const OPENAT: &[PathArg] = &[PathArg {
        path: 1,
        dirfd: Some(0),
        how: Use::OpenFlags(2),
    }];
    const OPENAT2: &[PathArg] = &[PathArg {
        path: 1,
        dirfd: Some(0),
        how: Use::OpenHow(2),
    }];
    match name {
        "open" => OPEN,
        "openat" => OPENAT,
        "openat2" => OPENAT2,
        "creat" | "truncate" | "truncate64" | "mkdir" | "rmdir" | "unlink" | "mknod" | "chmod" | "chown"
        | "lchown" | "utime" | "utimes" | "setxattr" | "lsetxattr" | "removexattr" | "lremovexattr" => {
            const { &[at(0, Write)] }
        }
        "mkdirat" | "unlinkat" | "mknodat" | "fchmodat" | "fchmodat2" | "fchownat" | "utimensat"
        | "futimesat" => const { &[below(0, 1, Write)] },
        "rename" | "link" => const { &[at(0, Write), at(1, Write)] },
        "renameat" | "renameat2" | "linkat" => const { &[below(0, 1, Write), below(2, 3, Write)] },
        "symlink" => const { &[at(1, Write)] },
        "symlinkat" => const { &[below(1, 2, Write)] },
        "stat" | "lstat" | "stat64" | "lstat64" | "access" | "statfs" | "statfs64" | "getxattr"
        | "lgetxattr" | "listxattr" | "llistxattr" => const { &[at(0, Stat)] },
        "newfstatat" | "fstatat64" | "statx" | "faccessat" | "faccessat2" | "name_to_handle_at" => {
            const { &[below(0, 1, Stat)] }
        }
        "inotify_add_watch" => const { &[at(1, Stat)] },
        "readlink" => const { &[at(0, Link)] },
        "readlinkat" => const { &[below(0, 1, Link)] },
        "execve" => const { &[at(0, Exec)] },
        "execveat" => const { &[below(0, 1, Exec)] },
        "uselib" => const { &[at(0, Read)] },
        "chdir" | "chroot" => const { &[at(0, Enter)] },
        _ => &[],
    }
}

/// How a file is used that is opened with these flags (open(2)).
pub(crate) fn how_opened(flags: u64) -> How {
    let writing = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC) as u64;
    if flags & libc::O_PATH as u64 != 0 {
        How::Stat
    } else if flags & writing != 0 {
        How::Write
    } else {
        How::Read
    }
}

#[cfg(test)]
mod tests {
    use callgate_abi::{Abi, Syscall};

    use super::*;

    #[test]
    fn every_name_in_the_table_is_a_call_of_some_abi() {
        // Names are matched as text: a misspelt one would never match and its paths would be lost.
        let source = include_str!("paths.rs");
        let table = &source[source.find("match name").unwrap()..source.find("_ => &[]").unwrap()];
        let names: Vec<&str> = table.split('"').skip(1).step_by(2).collect();
        assert!(names.len() > 50);
        for name in names {
            assert!(
                Abi::ALL.iter().any(|abi| Syscall::named(*abi, name).is_ok()),
                "{name}"
            );
        }
    }

    #[test]
    fn open_flags_tell_reading_from_writing() {
        assert_eq!(how_opened(libc::O_CLOEXEC as u64), How::Read);
        assert_eq!(how_opened((libc::O_RDONLY | libc::O_CREAT) as u64), How::Write);
        assert_eq!(how_opened((libc::O_RDWR) as u64), How::Write);
        assert_eq!(how_opened((libc::O_PATH | libc::O_DIRECTORY) as u64), How::Stat);
    }
}
