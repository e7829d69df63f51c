//! Where CPython keeps what a stack is made of, on 64-bit machines, by version.
//!
//! The offsets are those of the headers of each version (Include/cpython/pystate.h, Include/internal/pycore_frame.h,
//! Include/cpython/code.h, Include/cpython/unicodeobject.h), as py-spy's bindings have them.

/// The offsets of one version.
#[derive(Debug)]
pub(super) struct Layout {
    /// In the interpreter: its newest thread.
    pub threads: u64,
    /// In a thread: the next, the number that the kernel knows it by (from 3.11 on), and its innermost frame.
    pub next: u64,
    pub number: Option<u64>,
    pub frame: Innermost,
    /// In a frame: its code, the frame that called it, and how far it has come.
    pub code: u64,
    pub back: u64,
    pub progress: Progress,
    /// In code: the file, the function, the table of lines, and the first line.
    pub file: u64,
    pub function: u64,
    pub table: u64,
    pub first_line: u64,
    pub lines: Lines,
    /// How long the head of a string is: of ASCII, and of others.
    pub ascii: u64,
    pub unicode: u64,
}

/// Where a thread tells of its innermost frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Innermost {
    /// Here.
    At(u64),
    /// In a structure whose address is `at`.
    Behind { at: u64, offset: u64 },
}

/// How a frame tells how far it has come.
#[derive(Clone, Copy, Debug)]
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
    next: 8,
    number: None,
    frame: Innermost::At(24),
    code: 32,
    back: 24,
    progress: Progress::Index { at: 104, length: 1 },
    file: 104,
    function: 112,
    table: 120,
    first_line: 40,
    lines: Lines::Steps,
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
    next: 8,
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
    ascii: 48,
    unicode: 72,
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

const V3_13: Layout = Layout {
    threads: 7344,
    number: Some(160),
    frame: Innermost::At(72),
    progress: Progress::Address {
        at: 56,
        instructions: 200,
    },
    ..V3_12
};

impl Layout {
    /// Of a 3.x; `None` if it is not known.
    pub fn of(minor: u64) -> Option<&'static Self> {
        match minor {
            9 => Some(&V3_9),
            10 => Some(&V3_10),
            11 => Some(&V3_11),
            12 => Some(&V3_12),
            13 => Some(&V3_13),
            _ => None,
        }
    }
}
