//! The way through an interpreter's threads and the frames of one.

use callgate_abi::Site;
use nix::errno::Errno;

use super::layout::{Innermost, Layout, Progress};
use super::lines::line;
use super::pages::Pages;

/// How many threads and frames are followed: a list that was changed while it was read, or made to mislead, may
/// have no end.
const MOST: usize = 4096;

/// The longest name in bytes, and the longest table of lines.
const LONGEST_NAME: u64 = 4096;
const LONGEST_TABLE: u64 = 1 << 16;

/// The bits of a reference to an object that are no part of its address (Include/internal/pycore_stackref.h).
const TAGS: u64 = 3;

/// From here on frames are the interpreter's own (`enum _frameowner`).
const INTERPRETERS_OWN: i32 = 3;

/// Where the interpreters of a process are found.
#[derive(Clone, Copy, Debug)]
pub(super) enum First {
    /// This one.
    Is(u64),
    /// The newest is told here: a program can make more.
    At(u64),
}

/// A thread of an interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thread {
    /// The number that it sees itself by, where the interpreter keeps it (from CPython 3.11 on).
    pub number: Option<u64>,
    /// Its innermost frame; 0 if it has none.
    pub frame: u64,
}

/// One look at a process.
pub(super) struct Walk {
    pages: Pages,
    layout: Layout,
}

/// A frame on the way, of which only the file is known yet.
struct Seen {
    frame: u64,
    code: u64,
    file: String,
}

impl Walk {
    pub fn new(pid: i32, layout: Layout) -> Self {
        Self {
            pages: Pages::new(pid),
            layout,
        }
    }

    /// The threads of the interpreters, the newest first.
    pub fn threads(&mut self, first: First) -> Result<Vec<Thread>, Errno> {
        let mut interpreter = match first {
            First::Is(interpreter) => interpreter,
            First::At(at) => self.pages.word(at)?,
        };
        let mut threads = Vec::new();
        for _ in 0..MOST {
            if interpreter == 0 {
                return Ok(threads);
            }
            self.threads_of(interpreter, &mut threads)?;
            interpreter = match self.layout.older {
                Some(older) => self.field(interpreter, older)?,
                None => 0,
            };
        }
        Err(Errno::EOVERFLOW)
    }

    fn threads_of(&mut self, interpreter: u64, threads: &mut Vec<Thread>) -> Result<(), Errno> {
        let mut at = self.field(interpreter, self.layout.threads)?;
        while at != 0 {
            if threads.len() == MOST {
                return Err(Errno::EOVERFLOW);
            }
            let number = match self.layout.number {
                Some(offset) => Some(self.field(at, offset)?),
                None => None,
            };
            let frame = match self.layout.frame {
                Innermost::At(offset) => self.field(at, offset)?,
                Innermost::Behind { at: place, offset } => match self.field(at, place)? {
                    0 => 0,
                    behind => self.field(behind, offset)?,
                },
            };
            let lowest = match self.layout.lowest {
                Some(offset) => self.field(at, offset)?,
                None => 0,
            };
            let frame = if frame == lowest { 0 } else { frame };
            threads.push(Thread { number, frame });
            at = self.field(at, self.layout.next)?;
        }
        Ok(())
    }

    /// The frames of a thread, innermost first.
    pub fn frames(&mut self, thread: Thread) -> Result<Vec<Site>, Errno> {
        let mut frames = Vec::new();
        for frame in self.chain(thread)? {
            if let Some(seen) = self.seen(frame)? {
                frames.extend(self.site(seen)?);
            }
        }
        Ok(frames)
    }

    /// The innermost frame that is `wanted` by its file, and the file of the outermost.
    pub fn glance(
        &mut self,
        thread: Thread,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<(Option<Site>, Option<String>), Errno> {
        let chain = self.chain(thread)?;
        let mut site = None;
        for frame in &chain {
            if let Some(seen) = self.seen(*frame)? {
                if wanted(&seen.file) {
                    site = self.site(seen)?;
                    if site.is_some() {
                        break;
                    }
                }
            }
        }
        for frame in chain.iter().rev() {
            if let Some(seen) = self.seen(*frame)? {
                return Ok((site, Some(seen.file)));
            }
        }
        Ok((site, None))
    }

    fn chain(&mut self, thread: Thread) -> Result<Vec<u64>, Errno> {
        let mut chain = Vec::new();
        let mut frame = thread.frame;
        while frame != 0 {
            if chain.len() == MOST {
                return Err(Errno::EOVERFLOW);
            }
            chain.push(frame);
            frame = self.field(frame, self.layout.back)?;
        }
        Ok(chain)
    }

    /// `None` for what is no frame of Python code: between those of 3.12 and later lie some of the interpreter's own.
    fn seen(&mut self, frame: u64) -> Result<Option<Seen>, Errno> {
        if let Some(owner) = self.layout.owner {
            if self.pages.int(add(frame, owner)?)? & 0xff >= INTERPRETERS_OWN {
                return Ok(None);
            }
        }
        let code = self.field(frame, self.layout.code)? & !TAGS;
        let file = self
            .field(code, self.layout.file)
            .and_then(|file| self.text(file));
        let seen = |file| Seen { frame, code, file };
        Ok(file
            .ok()
            .flatten()
            .filter(|file| !(file.is_empty() || file == "<shim>"))
            .map(seen))
    }

    fn site(&mut self, seen: Seen) -> Result<Option<Site>, Errno> {
        let Seen { frame, code, file } = seen;
        let function = self
            .field(code, self.layout.function)
            .and_then(|name| self.text(name));
        let Ok(Some(function)) = function else {
            return Ok(None);
        };
        let instruction = match self.layout.progress {
            Progress::Index { at, length } => i64::from(self.pages.int(add(frame, at)?)?) * length,
            Progress::Address { at, instructions } => {
                let begin = add(code, instructions)?;
                self.field(frame, at)?.wrapping_sub(begin) as i64
            }
        };
        let first = self.pages.int(add(code, self.layout.first_line)?)?;
        let table = self.field(code, self.layout.table)?;
        let table = self.bytes(table)?;
        let line = line(self.layout.lines, &table, first, instruction);
        Ok(Some(Site {
            file,
            line: u32::try_from(line).unwrap_or(0),
            function,
        }))
    }

    /// A `bytes` object.
    fn bytes(&mut self, object: u64) -> Result<Vec<u8>, Errno> {
        let len = self.field(object, self.layout.size)?;
        if len > LONGEST_TABLE {
            return Err(Errno::EOVERFLOW);
        }
        let mut bytes = vec![0; len as usize];
        self.pages.copy(add(object, self.layout.bytes)?, &mut bytes)?;
        Ok(bytes)
    }

    /// A `str` object; `None` if it is none.
    fn text(&mut self, object: u64) -> Result<Option<String>, Errno> {
        let len = self.field(object, self.layout.length)?;
        // PyASCIIObject.state: two bits for the way in which it is interned, three for its width, compact, ascii.
        let state = self.pages.int(add(object, self.layout.state)?)?;
        let (width, compact, ascii) = (state >> 2 & 7, state >> 5 & 1 == 1, state >> 6 & 1 == 1);
        let size = len.saturating_mul(width as u64);
        if !compact || !matches!(width, 1 | 2 | 4) || size > LONGEST_NAME {
            return Ok(None);
        }
        let head = if ascii {
            self.layout.ascii
        } else {
            self.layout.unicode
        };
        let mut bytes = vec![0; size as usize];
        self.pages.copy(add(object, head)?, &mut bytes)?;
        Ok(match width {
            1 if ascii => String::from_utf8(bytes).ok(),
            1 => Some(bytes.into_iter().map(char::from).collect()),
            2 => {
                let units: Vec<u16> = words(&bytes).map(u16::from_ne_bytes).collect();
                String::from_utf16(&units).ok()
            }
            _ => words(&bytes)
                .map(|word| char::from_u32(u32::from_ne_bytes(word)))
                .collect(),
        })
    }

    fn field(&mut self, object: u64, offset: u64) -> Result<u64, Errno> {
        self.pages.word(add(object, offset)?)
    }
}

fn add(address: u64, offset: u64) -> Result<u64, Errno> {
    address.checked_add(offset).ok_or(Errno::EFAULT)
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.chunks_exact(N).filter_map(|word| word.try_into().ok())
}
