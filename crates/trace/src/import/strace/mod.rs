//! Logs of `strace -f -o FILE` (strace(1)): calls, interrupted and resumed ones, signals, ends.

mod argv;
mod line;
mod log;

use callgate_abi::{Abi, Syscall};

pub(super) use line::{is_call, is_chatter};
use log::Log;

use super::{Import, ImportError, Problem, summary};

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
pub(super) fn read(import: &mut Import, text: &str) -> Result<(), ImportError> {
    let mut log = Log::new(import.arch().abi());
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
#[cfg(test)]
mod tests {
    use callgate_abi::Arch;

    use super::*;
    use crate::import::Format;
    use crate::{Counts, Ending, EndingKind, Trace};

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
