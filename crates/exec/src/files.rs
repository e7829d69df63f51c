//! Files of the host that the code finds as copies in its work directory, and the names they may have.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use callgate_launch::Step;

use crate::limits::Limits;
use crate::setup::path;

/// Files that are copied into the code's work directory before it starts. They belong to the code, which may
/// change or remove its copies; the originals are only read.
#[derive(Clone, Debug, Default)]
pub struct Files(Vec<GivenFile>);

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct GivenFile {
    /// Below the work directory.
    pub(crate) name: String,
    pub(crate) source: Arc<File>,
    /// In bytes, when it was added: no more are copied.
    pub(crate) length: u64,
}

/// Why a file can't be brought in. Nothing has run.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The name would lead elsewhere, or could not be shown to people.
    #[error(
        "the name {name:?} {why}: expected a path below the work directory, such as data.csv or data/one.csv"
    )]
    Name {
        /// The name, as far as it is text.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Another file has this name, or one is a directory for the other.
    #[error("the names {0:?} and {1:?} can't both be files")]
    Clash(String, String),
    /// A directory, a device, a pipe or a socket.
    #[error("it is no regular file, but {0}")]
    Kind(&'static str),
    /// As those of `/proc`: nobody can tell how much is to be copied.
    #[error("its size can't be told, as with files of /proc: copy it first")]
    Endless,
    /// It can't be looked at.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Too many.
    #[error("more than {0} files: put them into an archive, which the code can unpack")]
    Many(usize),
    /// More than a limit allows.
    #[error("{what} {bytes} bytes, which is more than {flag} {limit} allows: raise {flag}")]
    Large {
        /// `the file "x" has` or `all files together have`.
        what: String,
        /// Its size.
        bytes: u64,
        /// The limit's name as `callgate exec` has it.
        flag: &'static str,
        /// The limit, in bytes.
        limit: u64,
    },
}

/// The longest name of one file or directory on Linux's file systems, in bytes (`NAME_MAX`).
const NAME_MAX: usize = 255;
/// The longest name with its directories, well below what a path may have (`PATH_MAX`).
const LONGEST: usize = 1024;

impl Files {
    /// The most files: each is an open descriptor until it has been copied.
    pub const MOST: usize = 256;

    /// Adds a file that is open for reading. `name` is where it goes: relative, without `..`, text without
    /// control characters.
    ///
    /// # Errors
    /// [`FileError`] for a name or a file that can't be taken.
    pub fn add(&mut self, name: &OsStr, source: File) -> Result<(), FileError> {
        let name = checked(name)?;
        for known in &self.0 {
            let (one, other) = (Path::new(&known.name), Path::new(name));
            if one.starts_with(other) || other.starts_with(one) {
                return Err(FileError::Clash(known.name.clone(), name.to_owned()));
            }
        }
        if self.0.len() == Self::MOST {
            return Err(FileError::Many(Self::MOST));
        }
        let data = source.metadata()?;
        if !data.is_file() {
            return Err(FileError::Kind(kind(data.file_type())));
        }
        if data.len() == 0 && source.read_at(&mut [0], 0)? != 0 {
            return Err(FileError::Endless);
        }
        self.0.push(GivenFile {
            name: name.to_owned(),
            source: Arc::new(source),
            length: data.len(),
        });
        Ok(())
    }

    /// Adds the file at this path of the host; links are followed.
    ///
    /// # Errors
    /// As [`Files::add`], and if it can't be opened.
    pub fn open(&mut self, name: &OsStr, path: &Path) -> Result<(), FileError> {
        // A pipe must not hold us up: it is refused when it is open.
        let source = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)?;
        self.add(name, source)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &GivenFile> {
        self.0.iter()
    }

    /// Checks that there is room for all of them.
    ///
    /// # Errors
    /// [`FileError::Large`]
    pub fn fit(&self, limits: &Limits) -> Result<(), FileError> {
        let large = |what, bytes, flag, limit| {
            Err(FileError::Large {
                what,
                bytes,
                flag,
                limit,
            })
        };
        for file in &self.0 {
            // The copy is written under the same limits as what the code writes.
            if file.length > limits.file_size {
                let what = format!("the file {:?} has", file.name);
                return large(what, file.length, "--file-size", limits.file_size);
            }
        }
        let all = self
            .0
            .iter()
            .fold(0_u64, |sum, file| sum.saturating_add(file.length));
        if all > limits.tmp_size {
            let what = "all files together have".to_owned();
            return large(what, all, "--tmp-size", limits.tmp_size);
        }
        Ok(())
    }

    /// The steps that make the copies below `directory`, for the child when it has become the code's user: so
    /// they are its own, at every tier.
    pub(crate) fn steps(&self, directory: &Path) -> Vec<Step> {
        let at = |name: &Path| path(&directory.join(name));
        // In order of their paths: a directory comes before what is in it.
        let directories: BTreeSet<&Path> = self
            .0
            .iter()
            .flat_map(|file| Path::new(&file.name).ancestors().skip(1))
            .filter(|directory| !directory.as_os_str().is_empty())
            .collect();
        let make = directories.into_iter().map(|directory| Step::Mkdir {
            path: at(directory),
            mode: 0o755,
        });
        let copy = self.0.iter().map(|file| Step::Copy {
            from: file.source.as_raw_fd(),
            length: file.length,
            path: at(Path::new(&file.name)),
            mode: 0o644,
        });
        make.chain(copy).collect()
    }
}

/// A name that stays below the work directory and can be shown as it is.
fn checked(name: &OsStr) -> Result<&str, FileError> {
    let refuse = |why| {
        Err(FileError::Name {
            name: name.to_string_lossy().into_owned(),
            why,
        })
    };
    let Some(text) = name.to_str() else {
        return refuse("is not UTF-8");
    };
    if text.is_empty() {
        return refuse("is empty");
    }
    if text.len() > LONGEST {
        return refuse("is longer than 1024 bytes");
    }
    if text.chars().any(char::is_control) {
        return refuse("has a control character");
    }
    if text.starts_with('/') {
        return refuse("is absolute");
    }
    for part in text.split('/') {
        match part {
            "" => return refuse("has an empty part"),
            "." | ".." => return refuse("has a part that is . or .."),
            part if part.len() > NAME_MAX => return refuse("has a part of more than 255 bytes"),
            _ => {}
        }
    }
    Ok(text)
}

/// What people call a kind of file that is no regular one.
pub(crate) fn kind(kind: std::fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_dir() {
        "a directory"
    } else if kind.is_symlink() {
        "a symlink"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        callgate_launch::memory_file(bytes).unwrap().into()
    }

    #[test]
    fn names_stay_below_the_work_directory() {
        let mut files = Files::default();
        for good in ["a", "a b", "-x", ".hidden", "ä/ö.csv", "a..b", "d/..."] {
            files.add(good.as_ref(), file(b"x")).unwrap();
        }
        let long = "x".repeat(256);
        let deep = "d/".repeat(520) + "x";
        for bad in [
            "",
            "/",
            "/etc/x",
            "..",
            "../x",
            "d2/../x",
            "./x",
            "d//x",
            "x/",
            "a\nb",
            "a\u{1b}[0m",
            "\u{9b}1m",
            &long,
            &deep,
        ] {
            let error = files.add(bad.as_ref(), file(b"x")).unwrap_err();
            assert!(matches!(error, FileError::Name { .. }), "{bad:?}: {error}");
        }
        let error = files.add(OsStr::from_bytes(b"\xff"), file(b"x")).unwrap_err();
        assert!(error.to_string().contains("is not UTF-8"), "{error}");
        for (name, other) in [("a", "a"), ("a/b", "a"), ("ä", "ä/ö.csv")] {
            let error = files.add(name.as_ref(), file(b"x")).unwrap_err().to_string();
            assert!(error.contains(&format!("{other:?}")), "{error}");
        }
    }

    #[test]
    fn only_regular_files_whose_size_is_known_and_that_fit() {
        let mut files = Files::default();
        let mut refused = |path: &str| {
            let opened = File::open(path).unwrap();
            files.add("x".as_ref(), opened).unwrap_err().to_string()
        };
        assert!(refused("/").contains("but a directory"));
        assert!(refused("/dev/null").contains("but a device"));
        assert!(refused("/proc/self/status").contains("copy it first"));

        files.add("one".as_ref(), file(&[0; 600])).unwrap();
        files.add("two".as_ref(), file(&[0; 600])).unwrap();
        let mut limits = Limits {
            tmp_size: 1200,
            ..Limits::default()
        };
        files.fit(&limits).unwrap();
        limits.tmp_size = 1199;
        let error = files.fit(&limits).unwrap_err().to_string();
        assert!(error.contains("--tmp-size 1199"), "{error}");
        limits.file_size = 599;
        let error = files.fit(&limits).unwrap_err().to_string();
        assert!(
            error.contains("\"one\"") && error.contains("--file-size 599"),
            "{error}"
        );
    }

    #[test]
    fn there_are_only_so_many() {
        let mut files = Files::default();
        for i in 0..Files::MOST {
            files.add(format!("{i}").as_ref(), file(b"")).unwrap();
        }
        let error = files.add("more".as_ref(), file(b"")).unwrap_err();
        assert!(matches!(error, FileError::Many(_)), "{error}");
    }
}
