//! Audit records of type 1326 (`AUDIT_SECCOMP`, linux/audit.h): what a seccomp filter logged or refused.
//! They are read as dmesg, the journal, audit.log and `ausearch` (also `-i`) write them.

use callgate_abi::{Abi, Syscall};

use super::{Import, ImportError, Problem};

/// Whether a line is such a record.
pub(super) fn is_record(line: &str) -> bool {
    (line.contains("type=1326 ") || line.contains("type=SECCOMP ") || line.contains(": SECCOMP "))
        && line.contains("syscall=")
}

pub(super) fn read(import: &mut Import, text: &str) -> Result<(), ImportError> {
    let mut programs: Vec<String> = Vec::new();
    let mut others = 0_usize;
    for (index, line) in text.lines().enumerate() {
        if is_record(line) {
            record(import, line, &mut programs).map_err(|problem| problem.at(index))?;
        } else if is_other_record(line) {
            others += 1;
        } else if !line.trim().is_empty() {
            return Err(unreadable(line).at(index));
        }
    }
    if others > 0 {
        import
            .notes
            .push(format!("{others} audit lines of other types were left out"));
    }
    import.lower_bound("audit records show what a filter logged or refused, and may have been dropped");
    programs.sort();
    programs.dedup();
    if let ([program], None) = (programs.as_slice(), &import.command) {
        import.command = Some(vec![program.clone()]);
    } else if programs.len() > 1 {
        import.notes.push(format!(
            "the calls are of several programs: {}",
            programs.join(", ")
        ));
    }
    Ok(())
}

/// A record of another type, or what ausearch writes between records.
fn is_other_record(line: &str) -> bool {
    line.contains("audit(")
        || line.trim() == "----"
        || line.starts_with("time->")
        || line.starts_with("type=")
}

fn record(import: &mut Import, line: &str, programs: &mut Vec<String>) -> Result<(), Problem> {
    let nr = field(line, "syscall").ok_or_else(|| unreadable(line))?;
    let arch = field(line, "arch").ok_or_else(|| unreadable(line))?;
    let call = match nr.parse::<u32>() {
        Ok(nr) => Syscall::new(abi(arch, nr).ok_or_else(|| unknown_arch(arch))?, nr),
        Err(_) => Syscall::named(abi(arch, 0).ok_or_else(|| unknown_arch(arch))?, nr)?,
    };
    import.on(call.abi())?;
    import.call(call, 1);
    let program = field(line, "exe").or_else(|| field(line, "comm"));
    programs.extend(program.and_then(unquoted));
    Ok(())
}

/// The value of `NAME=VALUE`; the first, because ausearch repeats some in words at the end.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let starts = line.match_indices(name).find_map(|(at, _)| {
        let free = at == 0 || line[..at].ends_with([' ', '\u{1d}']);
        free.then(|| line[at + name.len()..].strip_prefix('=')).flatten()
    })?;
    match starts.strip_prefix('"') {
        Some(quoted) => quoted.find('"').map(|end| &starts[..end + 2]),
        None => starts.split(' ').next().filter(|value| !value.is_empty()),
    }
}

/// `arch=` in hexadecimal, or as `ausearch -i` writes it.
fn abi(arch: &str, nr: u32) -> Option<Abi> {
    let audit = match arch {
        "x86_64" => Abi::X86_64.audit(),
        "i386" | "i486" | "i586" | "i686" => Abi::I386.audit(),
        "aarch64" => Abi::Aarch64.audit(),
        "arm" | "armeb" | "armv5tejl" | "armv7l" => Abi::Arm.audit(),
        hex => u32::from_str_radix(hex, 16).ok()?,
    };
    Abi::of(audit, u64::from(nr))
}

/// Strings are quoted, or in hexadecimal if they have unusual characters (audit.log(5), "encoded").
fn unquoted(value: &str) -> Option<String> {
    if let Some(quoted) = value.strip_prefix('"') {
        return Some(quoted.trim_end_matches('"').to_owned());
    }
    let digits = value.as_bytes();
    let bytes: Option<Vec<u8>> = (digits.len() % 2 == 0)
        .then(|| {
            let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            digits.chunks(2).map(pair).collect()
        })
        .flatten();
    match bytes {
        Some(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        None => (value != "(null)").then(|| value.to_owned()), // ausearch -i writes it plain
    }
}

fn unreadable(line: &str) -> Problem {
    Problem::unreadable(
        line,
        "an audit record with arch= and syscall=",
        "keep the records alone: `ausearch -m SECCOMP --raw`, or `grep type=1326`",
    )
}

fn unknown_arch(arch: &str) -> Problem {
    Problem::unreadable(
        arch,
        "an architecture that callgate knows",
        "expected c000003e (x86_64), 40000003 (i386), c00000b7 (aarch64) or 40000028 (arm)",
    )
}

#[cfg(test)]
mod tests {
    use callgate_abi::Arch;

    use super::*;
    use crate::Trace;
    use crate::import::Format;

    const DMESG: &str = "[ 3253.067729] audit: type=1326 audit(1795418502.727:2): auid=4294967295 uid=0 gid=0 \
        ses=4294967295 pid=14045 comm=\"kernel::the ker\" exe=\"/usr/bin/a b\" sig=31 arch=40000003 syscall=20 compat=1 \
        ip=0x55c4a60ce3a7 code=0x80000000\n";
    const RAW: &str = "type=SECCOMP msg=audit(1.2:3): auid=0 uid=0 pid=1 comm=\"p\" exe=2F7573722F62696E2F612062 sig=31 \
        arch=c000003e syscall=1073741863 compat=0 ip=0x7f code=0x80000000\u{1d}AUID=\"root\" ARCH=x86_64 SYSCALL=unknown\n";
    const WORDS: &str = "Nov 23 07:54:36 host audit[14052]: SECCOMP auid=0 pid=14052 comm=\"p\" exe=/usr/bin/a sig=SIGSYS \
        arch=x86_64 syscall=openat compat=0 ip=0x7f code=kill\n";

    fn import(text: &str, arch: Option<Arch>) -> Result<Trace, ImportError> {
        let mut import = Import::new(arch);
        import.add("it", text, Some(Format::Audit))?;
        import.finish()
    }

    #[test]
    fn records_are_read_as_every_tool_writes_them_with_their_abi() {
        let trace = import(
            &format!("{DMESG}----\n{RAW}type=SYSCALL msg=audit(1.2:4): x\n{WORDS}"),
            None,
        )
        .unwrap();
        let found: Vec<(&str, Abi)> = trace.syscalls.iter().map(|c| (c.name.as_str(), c.abi)).collect();
        assert_eq!(
            found,
            [
                ("openat", Abi::X86_64),
                ("getpid", Abi::I386),
                ("getpid", Abi::X32)
            ]
        );
        assert_eq!(trace.arch, Arch::X86_64);
        let notes = trace.notes.join("\n");
        assert!(
            notes.contains("several programs: /usr/bin/a, /usr/bin/a b"),
            "{notes}"
        );
        assert!(notes.contains("2 audit lines of other types"), "{notes}");
        assert_eq!(import(DMESG, None).unwrap().command, ["/usr/bin/a b"]);
    }

    #[test]
    fn a_record_of_another_architecture_or_none_is_named_with_its_line() {
        let fault = |text: &str, arch| import(text, arch).unwrap_err().to_string();
        let arm = RAW.replace("c000003e", "c00000b7");
        assert!(fault(&format!("{DMESG}{arm}"), None).starts_with("line 2: this call was made on arm64"));
        assert!(fault(DMESG, Some(Arch::Aarch64)).contains("the import is for arm64"));
        assert!(fault(&DMESG.replace("40000003", "c0000015"), None).contains("\"c0000015\""));
        assert!(fault("usb 1-1: new device\n", None).contains("ausearch -m SECCOMP"));
        assert!(fault(&DMESG.replace("arch=40000003 ", ""), None).starts_with("line 1: "));
    }
}
