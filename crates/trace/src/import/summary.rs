//! The table of `strace -c` (strace(1), "Statistics"), also with columns chosen by `-U`. strace adds a call
//! to it when the call returns, so `exit` and `exit_group` are never in it.

use callgate_abi::{Abi, Arch};

use super::{Import, ImportError, Problem, UNNAMED, strace};

/// Whether a line is the beginning of such a table.
pub(super) fn begins(line: &str) -> bool {
    mode(line).is_some() || Columns::read(line).is_some()
}

/// Where the parts of a row stand.
struct Columns {
    width: usize,
    calls: Option<usize>,
    errors: Option<usize>,
    name: usize,
}

/// The heads that `-U` can ask for, in the words of strace's table.
const HEADS: [&str; 11] = [
    "%time",
    "seconds",
    "total-time",
    "usecs/call",
    "min-time",
    "max-time",
    "avg-time",
    "calls",
    "errors",
    "syscall",
    "name",
];

impl Columns {
    /// Reads the head of a table.
    fn read(line: &str) -> Option<Self> {
        let line = line.replace("% time", "%time");
        let heads: Vec<&str> = line.split_whitespace().collect();
        let at = |wanted: &str| heads.iter().position(|head| *head == wanted);
        if heads.len() < 2 || !heads.iter().all(|head| HEADS.contains(head)) {
            return None;
        }
        Some(Self {
            width: heads.len(),
            calls: at("calls"),
            errors: at("errors"),
            name: at("syscall").or(at("name"))?,
        })
    }

    /// The name, the number of calls and of errors in a row; a row without errors has a gap there.
    fn row<'a>(&self, line: &'a str) -> Option<(&'a str, Option<u64>, u64)> {
        let mut cells: Vec<&str> = line.split_whitespace().collect();
        if let Some(at) = self.errors.filter(|_| cells.len() + 1 == self.width) {
            cells.insert(at, "0");
        }
        if cells.len() != self.width {
            return None;
        }
        let number = |at: Option<usize>| at.map(|at| cells[at].parse::<u64>()).transpose().ok();
        Some((
            cells[self.name],
            number(self.calls)?,
            number(self.errors)?.unwrap_or(0),
        ))
    }
}

pub(super) fn read(import: &mut Import, text: &str) -> Result<(), ImportError> {
    let arch = import.arch();
    let mut abi = arch.abi();
    let mut columns: Option<Columns> = None;
    let (mut uncounted, mut unnamed) = (false, false);
    for (index, line) in text.lines().enumerate() {
        let fail = |problem: Problem| problem.at(index);
        if line.trim().is_empty() || is_rule(line) || strace::is_chatter(line) {
            continue;
        }
        if let Some(words) = mode(line) {
            abi = abi_of_mode(arch, words).ok_or_else(|| fail(unreadable(line)))?;
            continue;
        }
        if let Some(head) = Columns::read(line) {
            columns = Some(head);
            continue;
        }
        let (name, calls, errors) = columns
            .as_ref()
            .and_then(|columns| columns.row(line))
            .ok_or_else(|| fail(unreadable(line)))?;
        if name == "total" {
            columns = None;
            continue;
        }
        let call = strace::named(abi, name).map_err(fail)?;
        import.call(call, calls.unwrap_or(1));
        uncounted |= calls.is_none();
        if errors > 0 {
            import.failed(call, UNNAMED, errors);
            unnamed = true;
        }
    }
    if uncounted {
        import.lower_bound("the table has no column of calls");
    }
    import.lower_bound("the table of `strace -c` lacks calls that do not return: exit, exit_group");
    if unnamed {
        import
            .notes
            .push("the table counts errors without naming them: they stand under `?`".to_owned());
    }
    Ok(())
}

/// The line above and below the rows.
fn is_rule(line: &str) -> bool {
    line.chars().all(|c| c == '-' || c == ' ')
}

/// `System call usage summary for 32 bit mode:` stands above a table where there are several.
fn mode(line: &str) -> Option<&str> {
    line.trim()
        .strip_prefix("System call usage summary for ")?
        .strip_suffix(" mode:")
}

fn unreadable(line: &str) -> Problem {
    Problem::unreadable(
        line,
        "a row of `strace -c`",
        "leave out what is not strace's (`strace -c -o FILE` keeps the program's output apart)",
    )
}

/// The ABI of a mode that strace names.
pub(super) fn abi_of_mode(arch: Arch, words: &str) -> Option<Abi> {
    match (arch, words) {
        (_, "64 bit") => Some(arch.abi()),
        (Arch::X86_64, "32 bit") => Some(Abi::I386),
        (Arch::X86_64, "x32") => Some(Abi::X32),
        (Arch::Aarch64, "32 bit") => Some(Abi::Arm),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::Format;
    use crate::{Counts, Trace};

    fn import(text: &str) -> Result<Trace, ImportError> {
        let mut import = Import::new(Some(Arch::X86_64));
        import.add("it", text, Some(Format::StraceSummary))?;
        import.finish()
    }

    const TABLE: &str = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 15.85    0.000087          43         2           getdents64
 13.48    0.000074           2        34        13 openat
  0.00    0.000000           0         1         1 syscall_0x3e7
------ ----------- ----------- --------- --------- ----------------
100.00    0.000549           3        37        14 total
System call usage summary for 32 bit mode:
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
  0.00    0.000000           0         1           getpid
------ ----------- ----------- --------- --------- ----------------
100.00    0.000000           0         1           total
";

    #[test]
    fn calls_and_errors_are_counted_and_each_table_is_of_its_abi() {
        let trace = import(TABLE).unwrap();
        let found: Vec<(&str, Abi, u64, u64)> = trace
            .syscalls
            .iter()
            .map(|call| {
                (
                    call.name.as_str(),
                    call.abi,
                    call.count,
                    call.errors.values().sum(),
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ("getdents64", Abi::X86_64, 2, 0),
                ("openat", Abi::X86_64, 34, 13),
                ("syscall_999", Abi::X86_64, 1, 1),
                ("getpid", Abi::I386, 1, 0)
            ]
        );
        assert_eq!(trace.counts, Counts::LowerBound);
        assert!(
            trace.notes.iter().any(|note| note.contains("exit_group")),
            "{:?}",
            trace.notes
        );
        assert!(trace.syscalls[1].errors.contains_key("?"));
    }

    #[test]
    fn columns_may_be_others_and_in_another_order() {
        let trace = import("         syscall     calls\n---- ----\nread 5\nwrite 6\ntotal 11\n").unwrap();
        assert_eq!(
            trace.syscalls.iter().map(|call| call.count).collect::<Vec<_>>(),
            [5, 6]
        );
        let trace = import("% time syscall\n---- ----\n1.00 read\n").unwrap();
        assert!(
            trace.notes.iter().any(|note| note.contains("no column of calls")),
            "{:?}",
            trace.notes
        );
    }

    #[test]
    fn a_row_that_can_not_be_read_is_named_with_its_line() {
        let told = import(&TABLE.replace("        34        13 openat", " many 13 openat")).unwrap_err();
        assert!(told.to_string().starts_with("line 4: "), "{told}");
        let told = import(&TABLE.replace("openat", "opennat")).unwrap_err();
        assert!(told.to_string().contains("did you mean \"openat\""), "{told}");
        let told = import(&format!("hello\n{TABLE}")).unwrap_err().to_string();
        assert!(told.starts_with("line 1: \"hello\""), "{told}");
    }
}
