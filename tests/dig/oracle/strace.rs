//! Reads what `strace -f -o FILE` writes (strace(1)).

use std::collections::{BTreeMap, BTreeSet};

/// The calls of one run.
#[derive(Debug, Default)]
pub struct Log {
    /// How often each call was made.
    pub counts: BTreeMap<String, u64>,
    /// How often it failed, by the name of the error.
    pub errors: BTreeMap<String, BTreeMap<String, u64>>,
    /// The same, in order: the name and its error.
    calls: Vec<(String, Option<String>)>,
}

impl Log {
    /// Reads a log. Each line begins with a thread's number; a call that another thread's line
    /// interrupts ends in `<unfinished ...>` and comes again as `<... NAME resumed>`.
    pub fn parse(text: &str) -> Self {
        let mut open: BTreeMap<&str, usize> = BTreeMap::new();
        let mut calls: Vec<(String, Option<String>)> = Vec::new();
        for line in text.lines() {
            let Some((thread, event)) = line.split_once(' ') else {
                continue;
            };
            let event = event.trim_start();
            // Signals, ends, and a change to another ABI.
            if ["---", "+++", "["].iter().any(|mark| event.starts_with(mark)) {
                continue;
            }
            if event.starts_with("<... ") {
                // Without a beginning it is one that began before strace attached, or that strace
                // could not name (`???`).
                if let Some(at) = open.remove(thread) {
                    calls[at].1 = error(event);
                }
                continue;
            }
            let Some((name, _)) = event.split_once('(') else {
                panic!("not a line of strace: {line}")
            };
            if name == "???" {
                continue;
            }
            open.remove(thread);
            if event.ends_with("<unfinished ...>") {
                open.insert(thread, calls.len());
                calls.push((known(name), None));
            } else {
                calls.push((known(name), error(event)));
            }
        }
        Self::of(calls)
    }

    fn of(calls: Vec<(String, Option<String>)>) -> Self {
        let mut log = Self {
            calls,
            ..Self::default()
        };
        for (name, error) in &log.calls {
            *log.counts.entry(name.clone()).or_default() += 1;
            if let Some(error) = error {
                *log.errors
                    .entry(name.clone())
                    .or_default()
                    .entry(error.clone())
                    .or_default() += 1;
            }
        }
        log
    }

    /// Without the calls of a program (`setarch`) that executed the one that is meant.
    pub fn without_first_program(self) -> Self {
        let second = |(at, (name, error)): (usize, &(String, Option<String>))| {
            (at > 0 && name == "execve" && error.is_none()).then_some(at)
        };
        let at = self
            .calls
            .iter()
            .enumerate()
            .find_map(second)
            .expect("it executes another program");
        Self::of(self.calls[at..].to_vec())
    }

    /// The calls, each once.
    pub fn names(&self) -> BTreeSet<String> {
        self.counts.keys().cloned().collect()
    }
}

/// strace writes `syscall_0x3e7` where a number has no name.
fn known(name: &str) -> String {
    match name
        .strip_prefix("syscall_0x")
        .map(|digits| u64::from_str_radix(digits, 16))
    {
        Some(Ok(nr)) => format!("syscall_{nr}"),
        _ => name.to_owned(),
    }
}

/// `= -1 ENOENT (No such file or directory)`. A call that the kernel is to restart has `= ?` and has
/// not failed.
fn error(event: &str) -> Option<String> {
    let (_, result) = event.rsplit_once(" = ")?;
    let name = result.strip_prefix("-1 ")?.split(' ').next()?;
    name.starts_with('E').then(|| name.to_owned())
}

#[test]
fn a_log_with_interrupted_calls_signals_and_strangers_is_read() {
    let log = Log::parse(
        "\
7  execve(\"/bin/x\", [\"x\", \" = -1 EPERM (\"], 0x7ffe /* 3 vars */) = 0
7  futex(0x7f, FUTEX_WAIT, 2, NULL <unfinished ...>
12345 openat(AT_FDCWD, \"/a(b\", O_RDONLY <unfinished ...>
7  <... futex resumed>)            = -1 EAGAIN (Resource temporarily unavailable)
12345 <... openat resumed>)        = 3
12345 --- SIGCHLD {si_signo=SIGCHLD} ---
7  pause()                         = ? ERESTARTNOHAND (To be restarted if no handler)
7  syscall_0x3e7(0, 0)             = -1 ENOSYS (Function not implemented)
7  [ Process PID=7 runs in 32 bit mode. ]
7  ???( <unfinished ...>
7  +++ exited with 0 +++
",
    );
    let counts: Vec<(&str, u64)> = log.counts.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(
        counts,
        [
            ("execve", 1),
            ("futex", 1),
            ("openat", 1),
            ("pause", 1),
            ("syscall_999", 1)
        ]
    );
    assert_eq!(log.errors.keys().collect::<Vec<_>>(), ["futex", "syscall_999"]);
    assert_eq!(log.errors["futex"]["EAGAIN"], 1);
}
