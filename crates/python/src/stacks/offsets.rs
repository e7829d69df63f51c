//! What an interpreter tells of its own layout, from CPython 3.13 on: its runtime begins with a table of offsets that is
//! meant for those who read it from outside (`_Py_DebugOffsets`, Include/internal/pycore_debug_offsets.h).
//!
//! The table is one of 64-bit words in sections, one for each structure. Each feature release has put some words more
//! into it; the order within a section stays.

use nix::errno::Errno;

use super::layout::{Innermost, Layout, Lines, Progress};
use super::pages::Pages;

/// What the table begins with.
const COOKIE: &[u8; 8] = b"xdebugpy";

/// As many words as the longest table that is known has up to what is wanted of it.
const WORDS: usize = 96;

/// The first release that has a table, and the newest whose table is known.
pub(super) const OLDEST: u64 = 13;
pub(super) const NEWEST: u64 = 15;

/// Places that are the same in all tables.
const VERSION: usize = 1;
const FREE_THREADED: usize = 2;
const FIRST: usize = 5;
const INTERPRETER: usize = 6;

/// From this release level on nothing changes any more (`PY_RELEASE_LEVEL_GAMMA`: a release candidate).
const CANDIDATE: u64 = 0xc;

/// Where the other sections begin in the table of one release, and in that of a thread the place of its number.
struct Places {
    thread: usize,
    number: usize,
    /// The frame that a thread has when it has no other.
    lowest: Option<usize>,
    frame: usize,
    code: usize,
    bytes: usize,
    text: usize,
}

const V3_13: Places = Places {
    thread: 19,
    number: 25,
    lowest: None,
    frame: 28,
    code: 34,
    bytes: 64,
    text: 67,
};

const V3_14: Places = Places {
    thread: 22,
    number: 28,
    lowest: None,
    frame: 31,
    code: 39,
    bytes: 74,
    text: 77,
};

const V3_15: Places = Places {
    thread: 22,
    number: 31,
    lowest: Some(27),
    frame: 39,
    code: 47,
    bytes: 86,
    text: 89,
};

/// The table of a process.
pub(super) struct Table([u64; WORDS]);

impl Table {
    /// That of the runtime at this address; `None` if it has none.
    pub fn read(pages: &mut Pages, runtime: u64) -> Result<Option<Self>, Errno> {
        if pages.word(runtime)?.to_ne_bytes() != *COOKIE {
            return Ok(None);
        }
        let mut bytes = [0; WORDS * 8];
        pages.copy(runtime, &mut bytes)?;
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
        }
        Ok(Some(Self(words)))
    }

    /// The place of the newest interpreter's address, from the start of the runtime.
    pub fn first(&self) -> u64 {
        self.0[FIRST]
    }

    /// # Errors
    /// Why it can't be told: of a layout that is not known nothing may be read, lest it give wrong lines.
    pub fn layout(&self) -> Result<Layout, String> {
        let word = |place: usize| self.0[place];
        let [major, minor, micro] = [24, 16, 8].map(|shift| word(VERSION) >> shift & 0xff);
        let level = word(VERSION) >> 4 & 0xf;
        let places = match minor {
            13 => Some(V3_13),
            14 => Some(V3_14),
            15 => Some(V3_15),
            _ => None,
        };
        let Some(places) = places.filter(|_| major == 3 && level >= CANDIDATE) else {
            let early = if level < CANDIDATE {
                " before its release"
            } else {
                ""
            };
            return Err(format!(
                "the layout of CPython {major}.{minor}.{micro}{early} is not known"
            ));
        };
        if word(FREE_THREADED) != 0 {
            return Err(format!(
                "the layout of CPython {major}.{minor}.{micro} without a global lock (free-threaded) is not known"
            ));
        }
        Ok(Layout {
            threads: word(INTERPRETER + 3),
            older: Some(word(INTERPRETER + 2)),
            next: word(places.thread + 2),
            number: Some(word(places.number)),
            frame: Innermost::At(word(places.thread + 4)),
            lowest: places.lowest.map(word),
            code: word(places.frame + 2),
            back: word(places.frame + 1),
            progress: Progress::Address {
                at: word(places.frame + 3),
                instructions: word(places.code + 9),
            },
            owner: Some(word(places.frame + 5)),
            file: word(places.code + 1),
            function: word(places.code + 2),
            table: word(places.code + 4),
            first_line: word(places.code + 5),
            lines: Lines::Locations,
            size: word(places.bytes + 1),
            bytes: word(places.bytes + 2),
            length: word(places.text + 2),
            state: word(places.text + 1),
            ascii: word(places.text + 3),
            // What is told is the length of a string whose characters lie elsewhere: by one address more.
            unicode: word(places.text).saturating_sub(8),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of that version, in this process's own memory.
    fn table(version: u64, free_threaded: u64) -> Table {
        let mut words = vec![0; WORDS];
        words[0] = u64::from_ne_bytes(*COOKIE);
        (words[VERSION], words[FREE_THREADED]) = (version, free_threaded);
        let mut pages = Pages::new(std::process::id() as i32);
        Table::read(&mut pages, words.as_ptr() as u64).unwrap().unwrap()
    }

    #[test]
    fn only_layouts_that_are_known_are_told() {
        for known in [0x030d_00f0, 0x030e_08f0, 0x030f_00c1] {
            assert!(table(known, 0).layout().is_ok(), "{known:x}");
        }
        for (version, free_threaded, refused) in [
            (0x0310_00f0, 0, "CPython 3.16.0 is"),
            (0x030f_00b1, 0, "CPython 3.15.0 before its release is"),
            (0x040e_00f0, 0, "CPython 4.14.0 is"),
            (0x030e_08f0, 1, "CPython 3.14.8 without a global lock"),
        ] {
            let error = table(version, free_threaded).layout().unwrap_err();
            assert!(error.contains(refused), "{error}");
        }
    }

    #[test]
    fn what_has_no_table_is_older() {
        let words = [0_u64; WORDS];
        let mut pages = Pages::new(std::process::id() as i32);
        assert!(Table::read(&mut pages, words.as_ptr() as u64).unwrap().is_none());
        assert!(Table::read(&mut pages, 8).is_err());
    }
}
