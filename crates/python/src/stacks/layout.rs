//! Where CPython keeps what a stack is made of, on 64-bit machines, by version.
//!
//! Those from 3.13 on [tell it themselves](super::offsets). The offsets of the others are those of the headers of each
//! version (Include/cpython/pystate.h, Include/internal/pycore_frame.h, Include/cpython/code.h,
//! Include/cpython/unicodeobject.h), as py-spy's bindings have them.

/// The offsets of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// In an interpreter: its newest thread, and the next interpreter, which is an older one.
    pub threads: u64,
    pub older: Option<u64>,
    /// In a thread: the next, the number that the kernel knows it by (from 3.11 on), and its innermost frame.
    pub next: u64,
    pub number: Option<u64>,
    pub frame: Innermost,
    /// In a thread: the frame that is there when no other is (from 3.15 on).
    pub lowest: Option<u64>,
    /// In a frame: its code, the frame that called it, how far it has come, and whose it is.
    pub code: u64,
    pub back: u64,
    pub progress: Progress,
    pub owner: Option<u64>,
    /// In code: the file, the function, the table of lines, and the first line.
    pub file: u64,
    pub function: u64,
    pub table: u64,
    pub first_line: u64,
    pub lines: Lines,
    /// In bytes: how many, and the first.
    pub size: u64,
    pub bytes: u64,
    /// In a string: how many characters, how it is kept, and the first one: of ASCII, and of others.
    pub length: u64,
    pub state: u64,
    pub ascii: u64,
    pub unicode: u64,
}

/// Where a thread tells of its innermost frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Innermost {
    /// Here.
    At(u64),
    /// In a structure whose address is `at`.
    Behind { at: u64, offset: u64 },
}

/// How a frame tells how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// As an index of instructions that are so long.
    Index { at: u64, length: i64 },
    /// As an address; the instructions begin at this offset of the code.
    Address { at: u64, instructions: u64 },
}

/// How lines are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lines {
    /// Objects/lnotab_notes.txt, to 3.9.
    Steps,
    /// The same of 3.10 (PEP 626).
    Ranges,
    /// Objects/locations.md, from 3.11 on.
    Locations,
}

const V3_9: Layout = Layout {
    threads: 8,
    older: None,
    next: 8,
    number: None,
    frame: Innermost::At(24),
    lowest: None,
    code: 32,
    back: 24,
    progress: Progress::Index { at: 104, length: 1 },
    owner: None,
    file: 104,
    function: 112,
    table: 120,
    first_line: 40,
    lines: Lines::Steps,
    size: 16,
    bytes: 32,
    length: 16,
    state: 32,
    ascii: 48,
    unicode: 72,
};

const V3_10: Layout = Layout {
    progress: Progress::Index { at: 96, length: 2 },
    lines: Lines::Ranges,
    ..V3_9
};

const V3_11: Layout = Layout {
    threads: 16,
    number: Some(160),
    frame: Innermost::Behind { at: 56, offset: 8 },
    code: 32,
    back: 48,
    progress: Progress::Address {
        at: 56,
        instructions: 184,
    },
    file: 112,
    function: 120,
    table: 136,
    first_line: 72,
    lines: Lines::Locations,
    ..V3_9
};

const V3_12: Layout = Layout {
    threads: 72,
    number: Some(144),
    frame: Innermost::Behind { at: 56, offset: 0 },
    code: 0,
    back: 8,
    progress: Progress::Address {
        at: 56,
        instructions: 192,
    },
    first_line: 68,
    ascii: 40,
    unicode: 56,
    ..V3_11
};

impl Layout {
    /// Of a 3.x that does not tell it; `None` if it is not known.
    pub fn of(minor: u64) -> Option<Self> {
        match minor {
            9 => Some(V3_9),
            10 => Some(V3_10),
            11 => Some(V3_11),
            12 => Some(V3_12),
            _ => None,
        }
    }
}
