//! Who made a call when it, or an argument of it, was seen for the first time.

use callgate_abi::{ArgKey, KeySet, Site};
use serde::{Deserialize, Serialize};

use crate::Phase;

/// The moment at which a call, or an argument key of it, was new in a phase.
///
/// The first sight of a phase is that of the call itself; each further one brings at least one new argument.
/// What the program says about itself (site, stack, thread name) explains, and decides nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// The phase in which it was new.
    pub phase: Phase,
    /// When, in whole milliseconds from the start of the probe, or of the recording where the probe was
    /// running already.
    pub ms: u64,
    /// The argument keys that were new here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<ArgKey>,
    /// The thread that made the call.
    pub thread: Thread,
    /// The Python line that made it: the innermost frame that is not the import system's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Site>,
    /// The mapped file that entered the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Object>,
    /// The native code that asked for it: the first function outside of the C library (and the loader) on the
    /// native stack; it is passed over if it belongs to the Python interpreter and an extension module
    /// called it directly or nearly so. Left out where the stack can't be read, and where it is `object`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Object>,
    /// The whole Python stack, innermost frame first, at most [`Sight::MOST_FRAMES`]; only where it was
    /// asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<Site>,
    /// How many frames are left out of `stack`: the outermost ones.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stack_omitted: u32,
    /// The whole native stack, innermost frame first: from where in its file each function had called the next. At
    /// most [`Sight::MOST_FRAMES`], and as far as the files' own tables allow; only where it was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub native: Vec<Object>,
}

/// A thread, as the tracer numbers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// Its process.
    pub pid: i32,
    /// Its own number.
    pub tid: i32,
    /// Whether it is the main thread of its process.
    pub main: bool,
    /// Its name (`/proc/TID/comm`, proc(5)): at most 15 bytes, set by the program.
    pub name: String,
}

/// The place in a mapped file from which the kernel was entered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// The path, as `/proc/PID/maps` shows it: `/usr/lib/libc.so.6`, or `[vdso]`. Empty for memory without a
    /// file: machine code that the program made itself.
    pub file: String,
    /// The offset in that file of the instruction after the one that entered the kernel; in memory without
    /// a file, its address.
    pub offset: u64,
}

impl Sight {
    /// The most frames that are kept of one stack.
    pub const MOST_FRAMES: usize = 64;

    /// The Python line, or else the native code that asked, or else the object, as a site without a line.
    pub fn place(&self) -> Option<Site> {
        self.site
            .clone()
            .or_else(|| self.caller.as_ref().map(Object::as_site))
            .or_else(|| self.object.as_ref().map(Object::as_site))
    }
}

impl Object {
    fn as_site(&self) -> Site {
        let file = if self.file.is_empty() {
            "memory without a file".to_owned()
        } else {
            self.file.clone()
        };
        Site {
            file,
            line: 0,
            function: String::new(),
        }
    }
}

/// Adds the sights of another recording of the same call: those that show something new in their phase.
/// Keys that are not among the `kept` ones are left out, as the bound on those is the bound on sights.
pub(crate) fn unite(sights: &mut Vec<Sight>, more: Vec<Sight>, kept: &KeySet) {
    for mut sight in more {
        sight
            .args
            .retain(|key| kept.of(key.index).any(|known| known == key));
        let mut same_phase = sights
            .iter()
            .filter(|known| known.phase == sight.phase)
            .peekable();
        if same_phase.peek().is_some() {
            let known: Vec<&ArgKey> = same_phase.flat_map(|known| &known.args).collect();
            sight.args.retain(|key| !known.contains(&key));
            if sight.args.is_empty() {
                continue;
            }
        }
        sights.push(sight);
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use callgate_abi::{Abi, Syscall, keys};

    use super::*;

    fn sight(phase: Phase, ms: u64, request: Option<u64>) -> Sight {
        let ioctl = Syscall::named(Abi::X86_64, "ioctl").unwrap();
        Sight {
            phase,
            ms,
            args: request.map_or_else(Vec::new, |request| keys(ioctl, &[0, request, 0, 0, 0, 0])),
            thread: Thread {
                pid: 1,
                tid: 1,
                main: true,
                name: "a".into(),
            },
            site: None,
            object: None,
            caller: None,
            stack: Vec::new(),
            stack_omitted: 0,
            native: Vec::new(),
        }
    }

    #[test]
    fn united_sights_have_each_phase_and_each_argument_once_and_the_first_stands() {
        let mut sights = vec![
            sight(Phase::Startup, 1, Some(1)),
            sight(Phase::Startup, 2, Some(2)),
        ];
        let more = vec![
            sight(Phase::Startup, 3, Some(2)),
            sight(Phase::Startup, 4, Some(3)),
            sight(Phase::Startup, 5, Some(3)),
            sight(Phase::Body, 6, Some(1)),
            sight(Phase::Body, 7, None),
        ];
        let mut kept = KeySet::default();
        for sight in sights.iter().chain(&more) {
            for key in &sight.args {
                kept.insert(key.clone());
            }
        }
        let mut less = sights.clone();
        unite(&mut less, more.clone(), &KeySet::default());
        assert_eq!(less.len(), 3, "the body's first, and no key that is not kept");
        unite(&mut sights, more, &kept);
        let times: Vec<u64> = sights.iter().map(|sight| sight.ms).collect();
        assert_eq!(times, [1, 2, 4, 6]);
    }

    #[test]
    fn a_place_is_the_line_or_else_the_caller_or_else_the_object() {
        let mut sight = sight(Phase::Body, 0, None);
        assert_eq!(sight.place(), None);
        sight.object = Some(Object {
            file: "/lib/libc.so.6".into(),
            offset: 9,
        });
        assert_eq!(sight.place().unwrap().to_string(), "/lib/libc.so.6");
        sight.caller = Some(Object {
            file: "/lib/x.so".into(),
            offset: 9,
        });
        assert_eq!(sight.place().unwrap().to_string(), "/lib/x.so");
        sight.site = Some(Site {
            file: "a.py".into(),
            line: 3,
            function: "f".into(),
        });
        assert_eq!(sight.place().unwrap().to_string(), "a.py:3 in f");
    }
}
