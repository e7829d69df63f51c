//! Which native code asked for a call: the stack is unwound by the tables that the objects carry for
//! exceptions (`.eh_frame`), out of the C library.
//!
//! Only as far as the answer lies, some frames, unless the whole stack is wanted, and only at first sights. The tables are read from the memory
//! of the process, once for each object, so that its mount namespace does not matter and what it mapped is
//! what is read. What they say is the program's word: it explains, and decides nothing.

mod tables;

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::Path;

use callgate_trace::{Object, Sight};
use callgate_tracee::Stopped;
use framehop::{CacheNative, FrameAddress, MayAllocateDuringUnwind, Unwinder, UnwinderNative};

use crate::arch::registers;
use crate::maps::{Mapping, Maps};

/// How many frames are looked at. The C library's own are few: a lock, an allocation, the loader at work.
const MOST_FRAMES: usize = 32;

/// How many frames of the interpreter are passed over to find an extension module below them: what modules
/// call, as `PyMem_Malloc` or `PyEval_RestoreThread`, is no deeper. More are Python code at work, whose line
/// the site names.
const MOST_OF_INTERPRETER: usize = 4;

/// How much of the stack is read at once.
const PIECE: usize = 4096;

/// The objects of one process that can be unwound, and those that can't.
#[derive(Default)]
struct Process {
    unwinder: UnwinderNative<Vec<u8>, MayAllocateDuringUnwind>,
    known: HashSet<u64>,
    without: HashSet<u64>,
}

/// What is known of the native code of all processes.
pub(crate) struct Native {
    processes: HashMap<i32, Process>,
    cache: CacheNative<MayAllocateDuringUnwind>,
}

/// Whose code an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    CLibrary,
    Interpreter,
    Other,
}

impl Native {
    pub(crate) fn new() -> Self {
        Self {
            processes: HashMap::new(),
            cache: CacheNative::new(),
        }
    }

    /// The first function outside of the C library on the stack of a stopped thread. `None` if the call was
    /// made from there directly, or if the stack can't be unwound.
    pub(crate) fn caller(&mut self, tracee: &Stopped, pid: i32, maps: &mut Maps) -> Option<Object> {
        let mut found = None;
        let mut interpreter = None;
        let mut passed = 0;
        self.walk(tracee, pid, maps, MOST_FRAMES, &mut |depth, at, mapping| {
            match kind(&mapping.file) {
                Kind::CLibrary => {}
                _ if depth == 0 => return ControlFlow::Break(()),
                Kind::Other => {
                    found = Some(mapping.object(at));
                    return ControlFlow::Break(());
                }
                Kind::Interpreter if passed < MOST_OF_INTERPRETER => {
                    interpreter.get_or_insert_with(|| mapping.object(at));
                    passed += 1;
                }
                Kind::Interpreter => return ControlFlow::Break(()),
            }
            ControlFlow::Continue(())
        });
        found.or(interpreter)
    }

    /// The whole stack of a stopped thread, innermost frame first, as far as it can be unwound.
    pub(crate) fn stack(&mut self, tracee: &Stopped, pid: i32, maps: &mut Maps) -> Vec<Object> {
        let mut frames = Vec::new();
        self.walk(tracee, pid, maps, Sight::MOST_FRAMES, &mut |_, at, mapping| {
            frames.push(mapping.object(at));
            ControlFlow::Continue(())
        });
        frames
    }

    /// Goes from frame to frame, outwards: `visit` gets its depth, the instruction and where that lies.
    fn walk(
        &mut self,
        tracee: &Stopped,
        pid: i32,
        maps: &mut Maps,
        most: usize,
        visit: &mut dyn FnMut(usize, u64, &Mapping) -> ControlFlow<()>,
    ) {
        let Ok(frame) = tracee.frame() else { return };
        let mut registers = registers(&frame);
        let mut piece = Piece::default();
        let mut stack = |address| piece.word(tracee, address).ok_or(());
        let process = self.processes.entry(pid).or_default();
        let mut address = FrameAddress::from_instruction_pointer(frame.instruction);
        for depth in 0..most {
            let at = address.address_for_lookup();
            let Some(mapping) = maps.mapping(pid, at) else {
                return;
            };
            if visit(depth, at, mapping).is_break() || !process.can_unwind(tracee, mapping) {
                return;
            }
            let next = process
                .unwinder
                .unwind_frame(address, &mut registers, &mut self.cache, &mut stack);
            let Some(caller) = next.ok().flatten().and_then(FrameAddress::from_return_address) else {
                return;
            };
            address = caller;
        }
    }

    /// A process has become another program, or has ended.
    pub(crate) fn forget(&mut self, pid: i32) {
        self.processes.remove(&pid);
    }
}

impl Process {
    /// Reads an object's tables, if that was not tried before.
    fn can_unwind(&mut self, tracee: &Stopped, mapping: &Mapping) -> bool {
        let Some(base) = mapping.base else {
            return false;
        };
        if self.known.contains(&base) {
            return true;
        }
        if self.without.contains(&base) {
            return false;
        }
        let read = |address, len| {
            let mut bytes = vec![0; len];
            let read = tracee.read(address, &mut bytes).unwrap_or(0);
            bytes.truncate(read);
            bytes
        };
        match tables::module(mapping, base, read) {
            Some(module) => {
                self.unwinder.add_module(module);
                self.known.insert(base)
            }
            None => {
                self.without.insert(base);
                false
            }
        }
    }
}

/// A piece of a stack: frames lie close together.
#[derive(Default)]
struct Piece {
    from: u64,
    bytes: Vec<u8>,
}

impl Piece {
    fn word(&mut self, tracee: &Stopped, address: u64) -> Option<u64> {
        if let Some(word) = self.known(address) {
            return Some(word);
        }
        self.bytes.resize(PIECE, 0);
        let read = tracee.read(address, &mut self.bytes).ok()?;
        self.bytes.truncate(read);
        self.from = address;
        self.known(address)
    }

    fn known(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(self.from)?).ok()?;
        let word = self.bytes.get(at..at.checked_add(8)?)?;
        Some(u64::from_ne_bytes(word.try_into().ok()?))
    }
}

fn kind(file: &str) -> Kind {
    const C_LIBRARY: [&str; 9] = [
        "libc.so",
        "libc-",
        "libc.musl",
        "ld-linux",
        "ld-musl",
        "ld-2",
        "libpthread",
        "librt.so",
        "[vdso]",
    ];
    let name = Path::new(file)
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    if C_LIBRARY.iter().any(|prefix| name.starts_with(prefix)) {
        Kind::CLibrary
    } else if name.starts_with("libpython") || name.starts_with("python") {
        Kind::Interpreter
    } else {
        Kind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_name() {
        for (file, expected) in [
            ("/usr/lib/x86_64-linux-gnu/libc.so.6", Kind::CLibrary),
            ("/lib64/ld-linux-x86-64.so.2", Kind::CLibrary),
            ("/lib/ld-musl-x86_64.so.1", Kind::CLibrary),
            ("[vdso]", Kind::CLibrary),
            ("/opt/lib/libpython3.11.so.1.0", Kind::Interpreter),
            ("/usr/bin/python3.11", Kind::Interpreter),
            (
                "/opt/numpy/_multiarray_umath.cpython-311-x86_64-linux-gnu.so",
                Kind::Other,
            ),
            ("/usr/lib/libcrypto.so.3", Kind::Other),
            ("", Kind::Other),
        ] {
            assert_eq!(kind(file), expected, "{file}");
        }
    }
}
