//! Logs of `strace -f -o FILE` (strace(1)): calls, interrupted and resumed ones, signals, ends.

mod argv;
mod line;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use callgate_abi::{Abi, Syscall};

use line::{Event, Line, Outcome, event};
pub(super) use line::{is_call, is_chatter};

use super::{Import, ImportError, Problem, summary};
use crate::Ending;

/// A call as strace names it: a number without a name is written in hexadecimal.
pub(super) fn named(abi: Abi, name: &str) -> Result<Syscall, Problem> {
    let hex = name
        .strip_prefix("syscall_0x")
        .and_then(|digits| u32::from_str_radix(digits, 16).ok());
    match hex {
        Some(nr) if abi == Abi::X32 => Ok(Syscall::new(abi, nr | Abi::X32_BIT)),
        Some(nr) => Ok(Syscall::new(abi, nr)),
        None => Ok(Syscall::named(abi, name)?),
    }
}

/// What is known of one thread.
#[derive(Clone, Copy)]
struct Thread {
    abi: Abi,
    /// The call that another thread's line interrupted.
    open: Option<Syscall>,
}

/// A log that is being read. Threads are known by number; lines of a log without `-f` have none.
struct Log {
    threads: HashMap<Option<u32>, Thread>,
    /// The thread of the line before: a new thread has been started by it, as far as is known.
    last: Abi,
    /// The thread that executed the probe, if the log begins with that.
    main: Option<Option<u32>>,
    begun_before: BTreeMap<Syscall, u64>,
    unnamed: u64,
    first: bool,
}

pub(super) fn read(import: &mut Import, text: &str) -> Result<(), ImportError> {
    let mut log = Log {
        threads: HashMap::new(),
        last: import.arch().abi(),
        main: None,
        begun_before: BTreeMap::new(),
        unnamed: 0,
        first: true,
    };
    for (index, text) in text.lines().enumerate() {
        if summary::begins(text) {
            // `strace -C` puts the table below the log.
            import.notes.push(format!(
                "the table from line {} on was left out: it counts the calls of the log",
                index + 1
            ));
            break;
        }
        let read = line::split(text).and_then(|line| log.line(import, &line));
        read.map_err(|problem| problem.at(index))?;
    }
    log.end(import);
    Ok(())
}

impl Log {
    fn line(&mut self, import: &mut Import, line: &Line<'_>) -> Result<(), Problem> {
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

    fn end(self, import: &mut Import) {
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

#[cfg(test)]
mod tests {
    use callgate_abi::Arch;

    use super::*;
    use crate::import::Format;
    use crate::{Counts, EndingKind, Trace};

    fn import_for(arch: Arch, text: &str) -> Result<Trace, ImportError> {
        let mut import = Import::new(Some(arch));
        import.add("log", text, Some(Format::Strace))?;
        import.finish()
    }

    fn import(text: &str) -> Result<Trace, ImportError> {
        import_for(Arch::X86_64, text)
    }

    fn counts(trace: &Trace) -> Vec<(&str, u64)> {
        trace
            .syscalls
            .iter()
            .map(|call| (call.name.as_str(), call.count))
            .collect()
    }

    const LOG: &str = "\
7  execve(\"/bin/x\", [\"x\", \" = -1 EPERM (\", \"a\\\"\\303\\244\"...], 0x7ffe /* 3 vars */) = 0
7  futex(0x7f, FUTEX_WAIT, 2, NULL <unfinished ...>
12345 openat(AT_FDCWD, \"/a(b) = 3\", O_RDONLY <unfinished ...>
7  <... futex resumed>)            = -1 EAGAIN (Resource temporarily unavailable)
12345 <... openat resumed>)        = 3
12345 --- SIGCHLD {si_signo=SIGCHLD} ---
7  pause()                         = ? ERESTARTNOHAND (To be restarted if no handler)
7  syscall_0x3e7(0, 0)             = -1 ENOSYS (Function not implemented)
7  ???( <unfinished ...>
7  <... ??? resumed>)              = ?
12345 exit(0)                      = ?
12345 +++ exited with 0 +++
7  exit_group(3)                   = ?
7  +++ exited with 3 +++
";

    #[test]
    fn calls_are_counted_once_with_their_errors_also_if_they_were_interrupted() {
        let trace = import(LOG).unwrap();
        assert_eq!(
            counts(&trace),
            [
                ("pause", 1),
                ("execve", 1),
                ("exit", 1),
                ("futex", 1),
                ("exit_group", 1),
                ("openat", 1),
                ("syscall_999", 1)
            ]
        );
        let failed: Vec<_> = trace
            .syscalls
            .iter()
            .filter(|call| !call.errors.is_empty())
            .collect();
        assert_eq!(failed.len(), 2);
        assert_eq!((failed[0].errors["EAGAIN"], failed[1].errors["ENOSYS"]), (1, 1));
        assert_eq!(trace.command, ["x", " = -1 EPERM (", "a\"ä…"]);
        assert_eq!(trace.outcome, Ending::exited(3));
        assert!(
            trace
                .notes
                .iter()
                .any(|note| note.contains("(`???`) were left out: 1"))
        );
    }

    #[test]
    fn prefixes_of_every_option_are_understood() {
        let body = "read(3, \"\", 1) = 0";
        for prefix in [
            "",
            "9 ",
            "[pid   9] ",
            "9<a program> ",
            "[pid 9<x>] ",
            "9 12:34:56 ",
            "9 12:34:56.123456 ",
            "[pid 9] 1795420761.531759 ",
            "     0.000168 ",
            "12:34:56 (+     0.000012) ",
            "9 07:59:21.486796 [  59] [00007f3fee987ad7] ",
            "[????????????????] ",
        ] {
            let trace = import(&format!(
                "{prefix}{body}\n{prefix}{body} <0.000012>\n > /lib/x.so(f+0x1) [0x2]\n"
            ));
            assert_eq!(counts(&trace.unwrap()), [("read", 2)], "{prefix:?}");
        }
    }

    #[test]
    fn a_log_from_the_beginning_to_the_end_is_exact_and_one_of_an_attached_program_is_not() {
        assert_eq!(
            import(&LOG.replace("???", "getpid")).unwrap().counts,
            Counts::Exact
        );
        let trace =
            import("9 <... read resumed>\"\", 1) = 0\n9 getpid() = 9\n9 write(1, \"a\", 1 <detached ...>\n")
                .unwrap();
        assert_eq!(counts(&trace), [("read", 1), ("write", 1), ("getpid", 1)]);
        assert_eq!(
            (trace.counts, trace.outcome.status),
            (Counts::LowerBound, EndingKind::Unknown)
        );
        assert!(
            trace
                .notes
                .iter()
                .any(|note| note.contains("not in the log: read")),
            "{:?}",
            trace.notes
        );
    }

    #[test]
    fn a_log_that_was_cut_off_between_lines_is_not_taken_for_exact() {
        let whole = LOG.replace("???", "getpid");
        let (cut, _) = whole.split_once("7  exit_group").unwrap();
        let trace = import(cut).unwrap();
        assert_eq!(
            (trace.counts, trace.outcome.status),
            (Counts::LowerBound, EndingKind::Unknown)
        );
        assert!(
            trace.notes.iter().any(|note| note.contains("ends before")),
            "{:?}",
            trace.notes
        );
    }

    #[test]
    fn a_thread_that_executes_a_program_goes_on_under_the_number_of_its_process() {
        let trace = import(
            "5 execve(\"/a\", [\"a\"], 0) = 0\n5 futex(0x1, FUTEX_WAIT <unfinished ...>\n\
             6 execve(\"/b\", [\"b\"], 0 <pid changed to 5 ...>\n5 +++ superseded by execve in pid 6 +++\n\
             5 <... execve resumed>) = 0\n5 +++ killed by SIGSEGV (core dumped) +++\n",
        )
        .unwrap();
        assert_eq!(counts(&trace), [("execve", 2), ("futex", 1)]);
        assert_eq!(trace.counts, Counts::Exact);
        assert_eq!(trace.outcome, Ending::signaled("SIGSEGV"));
    }

    #[test]
    fn a_change_of_mode_changes_the_numbers_and_children_inherit_it() {
        let log = "5 getpid() = 5\n5 [ Process PID=5 runs in 32 bit mode. ]\n5 getpid() = 5\n6 getpid() = 6\n\
                   5 [ Process PID=5 runs in x32 mode. ]\n5 getpid() = 5\n5 [ Process PID=5 runs in 64 bit mode. ]\n5 getpid() = 5\n";
        let abis = |trace: &Trace| {
            trace
                .syscalls
                .iter()
                .map(|c| (c.abi, c.nr, c.count))
                .collect::<Vec<_>>()
        };
        let trace = import(log).unwrap();
        assert_eq!(
            abis(&trace),
            [
                (Abi::X86_64, 39, 2),
                (Abi::I386, 20, 2),
                (Abi::X32, Abi::X32_BIT + 39, 1)
            ]
        );
        let arm = import_for(
            Arch::Aarch64,
            "5 getpid() = 5\n5 [ Process PID=5 runs in 32 bit mode. ]\n5 getpid() = 5\n",
        );
        assert_eq!(abis(&arm.unwrap()), [(Abi::Aarch64, 172, 1), (Abi::Arm, 20, 1)]);
    }

    #[test]
    fn a_line_that_can_not_be_read_is_named_with_the_mend() {
        for (bad, words) in [
            ("hello", "strace -f -o"),
            ("9 read(3, \"\", 1)", "cut"),
            ("9 read(3, \"", "cut"),
            ("9 opennat(3) = 0", "did you mean \"openat\""),
            ("9 [ Process PID=9 runs in 16 bit mode. ]", "16 bit"),
            ("9 +++ went away +++", "went away"),
            ("9 <... read resumed>", "cut"),
        ] {
            let told = import(&format!("9 getpid() = 9\n\n{bad}\n"))
                .unwrap_err()
                .to_string();
            assert!(told.starts_with("line 3: ") && told.contains(words), "{told}");
        }
    }

    #[test]
    fn the_table_below_a_log_is_not_counted_again() {
        let trace = import(
            "getpid() = 5\n% time     seconds  usecs/call     calls    errors syscall\n1 1 1 1 read\n",
        )
        .unwrap();
        assert_eq!(counts(&trace), [("getpid", 1)]);
        assert!(trace.notes.iter().any(|note| note.contains("line 2")));
    }
}
