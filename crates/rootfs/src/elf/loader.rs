//! What the loader (ld.so) itself brings to the search: its own directories, its `$LIB`, its cache.

use std::path::{Path, PathBuf};

use crate::elf::cache::Cache;
use crate::elf::object::Machine;
use crate::resolve::Resolver;

/// One loader of a file system.
#[derive(Debug, Clone)]
pub(crate) struct Loader {
    /// Searched last, in this order.
    pub(crate) directories: Vec<PathBuf>,
    /// What `$LIB` stands for, e.g. `lib/x86_64-linux-gnu`.
    pub(crate) lib: String,
    /// What `$PLATFORM` stands for.
    pub(crate) platform: &'static str,
    pub(crate) cache: Cache,
}

pub(crate) const CACHE: &str = "/etc/ld.so.cache";

impl Loader {
    /// The loader at `path`, or `None` when it isn't there. Oddities are added to `notes`.
    pub(crate) fn open(
        resolver: &mut Resolver<'_>,
        path: &Path,
        machine: Machine,
        notes: &mut Vec<String>,
    ) -> Option<Loader> {
        let (_, open_at) = resolver.file(path)?;
        let bytes = match std::fs::read(&open_at) {
            Ok(bytes) => bytes,
            Err(error) => {
                notes.push(format!("the loader {} can't be read: {error}", path.display()));
                Vec::new()
            }
        };
        let mut directories = system_directories(&bytes);
        if directories.is_empty() {
            directories = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"]
                .map(PathBuf::from)
                .to_vec();
            notes.push(format!(
                "the loader {} doesn't tell its directories (not glibc's?): looked in /lib64, /usr/lib64, /lib \
                 and /usr/lib, by glibc's rules",
                path.display()
            ));
        }
        let lib = directories[0].to_string_lossy().trim_matches('/').to_owned();
        let cache = match resolver
            .file(Path::new(CACHE))
            .map(|(_, open_at)| std::fs::read(open_at))
        {
            None => Cache::default(),
            Some(bytes) => bytes
                .map_err(|error| error.to_string())
                .and_then(|bytes| Cache::parse(&bytes).map_err(|error| error.to_string()))
                .unwrap_or_else(|error| {
                    notes.push(format!("{CACHE} is not used: {error}"));
                    Cache::default()
                }),
        };
        Some(Loader {
            directories,
            lib,
            platform: platform(machine),
            cache,
        })
    }
}

/// Where the loader of a kind of machine lies by its ABI, for objects that no program has loaded.
pub(crate) fn usual_path(machine: Machine) -> Option<&'static str> {
    match (machine.number, machine.wide) {
        (62, true) => Some("/lib64/ld-linux-x86-64.so.2"),
        (62, false) => Some("/libx32/ld-linux-x32.so.2"),
        (183, true) => Some("/lib/ld-linux-aarch64.so.1"),
        (3, false) => Some("/lib/ld-linux.so.2"),
        (40, false) => Some("/lib/ld-linux-armhf.so.3"),
        _ => None,
    }
}

fn platform(machine: Machine) -> &'static str {
    match machine.number {
        62 => "x86_64",
        183 => "aarch64",
        3 => "i686",
        40 => "v7l",
        _ => "",
    }
}

/// The list is a constant in the loader (`SYSTEM_DIRS`): strings that begin and end with a slash, one after the
/// other. `ld.so --list-diagnostics` shows the same, at the price of a process and only since glibc 2.33.
fn system_directories(loader: &[u8]) -> Vec<PathBuf> {
    let mut run: Vec<PathBuf> = Vec::new();
    for text in loader.split(|byte| *byte == 0) {
        let is_directory = text.len() > 2
            && text.starts_with(b"/")
            && text.ends_with(b"/")
            && text.iter().all(|byte| byte.is_ascii_graphic());
        if is_directory {
            let text = String::from_utf8_lossy(&text[..text.len() - 1]);
            run.push(PathBuf::from(text.as_ref()));
        } else if run.len() > 1 {
            break;
        } else {
            run.clear();
        }
    }
    if run.len() > 1 { run } else { Vec::new() }
}
