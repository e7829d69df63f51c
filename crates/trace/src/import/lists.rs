//! Lists of numbers and of names.

use callgate_abi::{Abi, Syscall};

use super::{Import, ImportError, Problem};

/// The words of a line, without what separates them and without a comment.
pub(super) fn words(line: &str) -> impl Iterator<Item = &str> {
    let before_comment = line.split('#').next().unwrap_or_default();
    before_comment
        .split(|c: char| c.is_whitespace() || ",;|[](){}\"'".contains(c))
        .filter(|word| !word.is_empty() && *word != "-") // `- 5` is an entry of a YAML list
}

/// Whether a word could be the name of a call.
pub(super) fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && word
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Numbers, decimal or with 0x.
pub(super) fn numbers(import: &mut Import, text: &str) -> Result<(), ImportError> {
    let arch = import.arch();
    for (index, line) in text.lines().enumerate() {
        for word in words(line) {
            let nr = number(word).map_err(|problem| problem.at(index))?;
            // An x32 number carries its bit.
            let abi = Abi::of(arch.audit(), u64::from(nr)).unwrap_or(arch.abi());
            import.call(Syscall::new(abi, nr), 1);
        }
    }
    import.lower_bound("a list of numbers tells that a call was made, not how often");
    Ok(())
}

fn number(word: &str) -> Result<u32, Problem> {
    let parsed = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => word.parse(),
    };
    parsed.ok().filter(|_| !word.contains('+')).ok_or_else(|| {
        Problem::unreadable(
            word,
            "a system call number (0 to 4294967295, or 0x…)",
            "take it out, or put # before a comment; names are read with --format names",
        )
    })
}

/// Names; `syscall_999` is number 999.
pub(super) fn names(import: &mut Import, text: &str) -> Result<(), ImportError> {
    let arch = import.arch();
    for (index, line) in text.lines().enumerate() {
        for word in words(line) {
            let problem = |problem: Problem| problem.at(index);
            if !is_name(word) {
                return Err(problem(Problem::unreadable(
                    word,
                    "the name of a system call",
                    "take it out, or put # before a comment; numbers are read with --format numbers",
                )));
            }
            let call = arch.call(word).map_err(|unknown| problem(unknown.into()))?;
            import.call(call, 1);
        }
    }
    import.lower_bound("a list of names tells that a call was made, not how often");
    Ok(())
}

#[cfg(test)]
mod tests {
    use callgate_abi::Arch;

    use super::*;
    use crate::import::Format;
    use crate::{Counts, Trace};

    fn import(text: &str, format: Format) -> Result<Trace, ImportError> {
        let mut import = Import::new(Some(Arch::X86_64));
        import.add("it", text, Some(format))?;
        import.finish()
    }

    #[test]
    fn numbers_may_be_separated_by_anything_and_unknown_and_x32_ones_survive() {
        let text = "[0, 1;2]\n- 257\n 0x3e7 # 999\n\"12\"|'13' 0x40000208";
        let trace = import(text, Format::Numbers).unwrap();
        let names: Vec<&str> = trace.syscalls.iter().map(|call| call.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "read",
                "write",
                "open",
                "brk",
                "rt_sigaction",
                "openat",
                "syscall_999",
                "execve"
            ]
        );
        assert_eq!(trace.syscalls[7].abi, Abi::X32);
        assert_eq!(trace.counts, Counts::LowerBound);
    }

    #[test]
    fn what_is_no_number_is_named_with_its_line() {
        for bad in ["read", "1-9", "-5", "+5", "0x", "4294967296", "1.5"] {
            let told = import(&format!("0\n\n{bad}\n"), Format::Numbers)
                .unwrap_err()
                .to_string();
            assert!(told.starts_with("line 3: ") && told.contains(bad), "{told}");
        }
    }

    #[test]
    fn a_misspelt_name_is_answered_with_the_nearest() {
        let told = import("read\nopennat # x\n", Format::Names)
            .unwrap_err()
            .to_string();
        assert!(
            told.starts_with("line 2: ") && told.contains("did you mean \"openat\""),
            "{told}"
        );
        let told = import("12\n", Format::Names).unwrap_err().to_string();
        assert!(told.contains("--format numbers"), "{told}");
        let trace = import("clone3, syscall_999", Format::Names).unwrap();
        assert_eq!(trace.syscalls[1].nr, 999);
    }
}
