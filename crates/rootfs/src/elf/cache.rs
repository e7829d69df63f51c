//! `/etc/ld.so.cache`: where the loader looks libraries up that lie in none of its own directories.
//!
//! The format is `struct cache_file_new` of glibc's `sysdeps/generic/dl-cache.h` (2.32 and later write it alone;
//! before, it stood behind the libc5 one). The two crates for it are unmaintained or bring a command line along.

use std::path::PathBuf;

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
/// libc5's format, which glibc before 2.32 put in front of its own.
const OLD_MAGIC: &[u8] = b"ld.so-1.7.0\0";
const HEADER: usize = 48;
const ENTRY: usize = 24;
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;

/// One library of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// What programs ask for, e.g. `libz.so.1`.
    pub soname: String,
    /// The file.
    pub path: PathBuf,
    /// Kind and architecture, e.g. 0x0303: libc6, x86-64 (`FLAG_*` in `dl-cache.h`).
    pub flags: u32,
    /// Not 0 for a variant that only some processors may use.
    pub hwcap: u64,
}

/// All libraries of the cache, in its order, which is the order of preference for one name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cache {
    entries: Vec<CacheEntry>,
}

/// Why a cache can't be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("ld.so.cache: {what} at byte {at}: run ldconfig as root to write it anew")]
pub struct CacheError {
    what: &'static str,
    at: usize,
}

impl Cache {
    /// Reads the bytes of a cache file.
    ///
    /// # Errors
    /// [`CacheError`] for another format, or numbers that point out of the file.
    pub fn parse(bytes: &[u8]) -> Result<Self, CacheError> {
        let start = start(bytes)?;
        let count = number(bytes, start + MAGIC.len())? as usize;
        let mut entries = Vec::with_capacity(count.min(bytes.len() / ENTRY));
        for index in 0..count {
            let at = start + HEADER + index * ENTRY;
            // Offsets of names count from the new format's start.
            let name = |offset: u32| text(bytes, start + offset as usize);
            entries.push(CacheEntry {
                flags: number(bytes, at)?,
                soname: name(number(bytes, at + 4)?)?,
                path: PathBuf::from(name(number(bytes, at + 8)?)?),
                hwcap: u64::from(number(bytes, at + 16)?) | u64::from(number(bytes, at + 20)?) << 32,
            });
        }
        Ok(Cache { entries })
    }

    /// All entries.
    pub fn entries(&self) -> &[CacheEntry] {
        &self.entries
    }

    /// The entries for one name, best first.
    pub fn named<'a>(&'a self, soname: &'a str) -> impl Iterator<Item = &'a CacheEntry> {
        self.entries.iter().filter(move |entry| entry.soname == soname)
    }
}

fn start(bytes: &[u8]) -> Result<usize, CacheError> {
    if bytes.starts_with(MAGIC) {
        return Ok(0);
    }
    if bytes.starts_with(OLD_MAGIC) {
        let end = OLD_HEADER + number(bytes, OLD_MAGIC.len())? as usize * OLD_ENTRY;
        let aligned = end.next_multiple_of(8);
        if bytes.get(aligned..).is_some_and(|rest| rest.starts_with(MAGIC)) {
            return Ok(aligned);
        }
    }
    Err(CacheError {
        what: "neither glibc's format 1.1 nor libc5's before it",
        at: 0,
    })
}

/// The cache is written in the byte order of its machine, and read on it.
fn number(bytes: &[u8], at: usize) -> Result<u32, CacheError> {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    four.map(u32::from_ne_bytes).ok_or(CacheError {
        what: "the file ends inside a number",
        at,
    })
}

fn text(bytes: &[u8], at: usize) -> Result<String, CacheError> {
    let rest = bytes.get(at..).ok_or(CacheError {
        what: "a name lies behind the end",
        at,
    })?;
    let end = rest.iter().position(|byte| *byte == 0).ok_or(CacheError {
        what: "a name has no end",
        at,
    })?;
    String::from_utf8(rest[..end].to_vec()).map_err(|_| CacheError {
        what: "a name is not UTF-8",
        at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_and_a_cut_one_are_errors_never_empty_caches() {
        assert!(Cache::parse(b"").is_err());
        assert!(Cache::parse(b"hello").is_err());
        let whole = std::fs::read("/etc/ld.so.cache").unwrap();
        for length in [20, 60, whole.len() / 2] {
            let error = Cache::parse(&whole[..length]).unwrap_err();
            assert!(error.to_string().contains("run ldconfig"), "{error}");
        }
    }

    #[test]
    fn a_cache_behind_libc5s_is_found() {
        let new = std::fs::read("/etc/ld.so.cache").unwrap();
        let mut both = OLD_MAGIC.to_vec();
        both.extend(1u32.to_ne_bytes()); // one entry of 12 bytes, then padding to 8
        both.extend([0; OLD_ENTRY + 4]);
        both.extend(&new);
        assert_eq!(Cache::parse(&both), Cache::parse(&new));
    }
}
