//! A log of strace, line by line: which call each thread is in, and what is missing at the end.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use callgate_abi::{Abi, Syscall};

use super::line::{self, Event, Line, Outcome, event};
use super::{argv, named};
use crate::Ending;
use crate::import::{Import, Problem, summary};

/// What is known of one thread.
#[derive(Clone, Copy)]
struct Thread {
    abi: Abi,
    /// The call that another thread's line interrupted.
    open: Option<Syscall>,
}

/// A log that is being read. Threads are known by number; lines of a log without `-f` have none.
pub(super) struct Log {
    threads: HashMap<Option<u32>, Thread>,
    /// The thread of the line before: a new thread has been started by it, as far as is known.
    last: Abi,
    /// The thread that executed the probe, if the log begins with that.
    main: Option<Option<u32>>,
    begun_before: BTreeMap<Syscall, u64>,
    unnamed: u64,
    first: bool,
}
impl Log {
    /// A log whose first thread makes the calls of that ABI.
    pub(super) fn new(abi: Abi) -> Self {
        Self {
            threads: HashMap::new(),
            last: abi,
            main: None,
            begun_before: BTreeMap::new(),
            unnamed: 0,
            first: true,
        }
    }

    pub(super) fn line(&mut self, import: &mut Import, line: &Line<'_>) -> Result<(), Problem> {
        let abi = self.last;
        let thread = self
            .threads
            .entry(line.thread)
            .or_insert(Thread { abi, open: None });
        match event(line.event)? {
            Event::Nothing => {}
            Event::Mode(words) => {
                thread.abi =
                    summary::abi_of_mode(import.arch(), words).ok_or_else(|| line::unreadable(line.event))?;
            }
            Event::Superseded(by) => {
                // The thread that executed a program goes on under the number of its process.
                let heir = self.threads.remove(&Some(by)).and_then(|other| other.open);
                if let Some(thread) = self.threads.get_mut(&line.thread) {
                    thread.open = heir;
                }
            }
            Event::Ended(ending) => self.ended(import, line.thread, ending),
            Event::Call { name: "???", .. } => self.unnamed += 1,
            Event::Call {
                name,
                arguments,
                outcome,
            } => {
                let call = named(thread.abi, name)?;
                thread.open = (outcome == Outcome::Unfinished).then_some(call);
                import.call(call, 1);
                let failed = matches!(outcome, Outcome::Failed(_));
                if std::mem::take(&mut self.first) && name == "execve" && !failed {
                    self.main = Some(line.thread);
                    import.command = import.command.take().or_else(|| argv::argv(arguments));
                }
                fail(import, call, &outcome);
            }
            // The beginning has been counted above, under `Call`.
            Event::Resumed { name: "???", .. } => {}
            Event::Resumed { name, outcome } => {
                let call = named(thread.abi, name)?;
                if thread.open != Some(call) {
                    import.call(call, 1);
                    *self.begun_before.entry(call).or_default() += 1;
                }
                thread.open = (outcome == Outcome::Unfinished).then_some(call);
                fail(import, call, &outcome);
            }
        }
        self.last = self.threads.get(&line.thread).map_or(abi, |thread| thread.abi);
        Ok(())
    }

    fn ended(&mut self, import: &mut Import, thread: Option<u32>, ending: Ending) {
        self.threads.remove(&thread);
        // Of several programs (`strace -ff`), the one whose command is known.
        if self.main == Some(thread) && import.ending.is_none() {
            import.ending = Some(ending);
        }
    }

    /// Tells what is missing in it.
    pub(super) fn end(self, import: &mut Import) {
        if !self.begun_before.is_empty() {
            let list: Vec<Cow<'_, str>> = self.begun_before.keys().map(|call| call.name()).collect();
            import.lower_bound(&format!(
                "calls were resumed whose beginning is not in the log: {}",
                list.join(", ")
            ));
        }
        if self.unnamed > 0 {
            import.lower_bound(&format!(
                "calls that strace could not name (`???`) were left out: {}",
                self.unnamed
            ));
        }
        if self.main.is_some() && import.ending.is_none() {
            import.lower_bound("the log ends before the program does");
        }
        if import.command.is_none() {
            import.lower_bound(
                "the log does not begin with execve, so it may lack calls before its first line",
            );
        }
    }
}

fn fail(import: &mut Import, call: Syscall, outcome: &Outcome<'_>) {
    if let Outcome::Failed(errno) = outcome {
        import.failed(call, errno, 1);
    }
}
