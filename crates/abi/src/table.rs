//! Names and numbers per ABI, from the `syscalls` crate (0.6.18, Linux 6.8), with its faults mended and
//! what Linux has got since.
//!
//! Its arm64 table calls number 79 `fstatat` where the kernel says `newfstatat`
//! (`__NR3264_fstatat` in asm-generic/unistd.h) and 84 `sync_file_range2` where it says
//! `sync_file_range` (the other order of arguments is 32-bit arm's), and lists 403 to 423 (`clock_gettime64` …), which
//! exist on 32-bit machines only. x32 has no table there: it shares x86-64's numbers below 512 and
//! has 512 to 547 of its own (arch/x86/entry/syscalls/syscall_64.tbl).

use syscalls::{aarch64, arm, x86, x86_64};

use crate::Abi;

/// The calls that have a number of their own under x32, from 512 upwards.
const X32_OWN: [&str; 36] = [
    "rt_sigaction",
    "rt_sigreturn",
    "ioctl",
    "readv",
    "writev",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "execve",
    "ptrace",
    "rt_sigpending",
    "rt_sigtimedwait",
    "rt_sigqueueinfo",
    "sigaltstack",
    "timer_create",
    "mq_notify",
    "kexec_load",
    "waitid",
    "set_robust_list",
    "get_robust_list",
    "vmsplice",
    "move_pages",
    "preadv",
    "pwritev",
    "rt_tgsigqueueinfo",
    "recvmmsg",
    "sendmmsg",
    "process_vm_readv",
    "process_vm_writev",
    "setsockopt",
    "getsockopt",
    "io_setup",
    "io_submit",
    "execveat",
    "preadv2",
    "pwritev2",
];

const X32_OWN_FIRST: u32 = 512;

/// Calls that are newer than the crate's tables; they have the same number everywhere.
/// Linux 6.10 (462), 6.13 (463 to 466), 6.15 (467), 6.17 (468, 469).
const NEWER: [(u32, &str); 8] = [
    (462, "mseal"),
    (463, "setxattrat"),
    (464, "getxattrat"),
    (465, "listxattrat"),
    (466, "removexattrat"),
    (467, "open_tree_attr"),
    (468, "file_getattr"),
    (469, "file_setattr"),
];

/// The same for 64-bit x86-64 alone: Linux 6.11 and 6.18.
const NEWER_X86_64: [(u32, &str); 2] = [(335, "uretprobe"), (336, "uprobe")];

/// What is newer than the crate's table of an ABI; x32 has what x86-64 has.
fn newer(abi: Abi) -> impl Iterator<Item = (u32, &'static str)> {
    let (common, own): (&[_], &[_]) = match abi {
        Abi::X86_64 => (&NEWER, &NEWER_X86_64),
        Abi::X32 => (&[], &[]),
        Abi::I386 | Abi::Aarch64 | Abi::Arm => (&NEWER, &[]),
    };
    common.iter().chain(own).copied()
}

/// Numbers that the arm64 table lists but a 64-bit kernel does not have.
const AARCH64_ABSENT: std::ops::RangeInclusive<u32> = 403..=423;

/// The name of a number, if it has one.
pub(crate) fn name(abi: Abi, nr: u32) -> Option<&'static str> {
    let newer = newer(abi).find(|(new, _)| *new == nr).map(|(_, name)| name);
    newer.or_else(|| crate_name(abi, nr))
}

fn crate_name(abi: Abi, nr: u32) -> Option<&'static str> {
    match abi {
        Abi::X86_64 => x86_64::Sysno::new(nr as usize).map(|s| s.name()),
        Abi::I386 => x86::Sysno::new(nr as usize).map(|s| s.name()),
        Abi::Arm => arm::Sysno::new(nr as usize).map(|s| s.name()),
        Abi::Aarch64 if AARCH64_ABSENT.contains(&nr) => None,
        Abi::Aarch64 => aarch64::Sysno::new(nr as usize).map(|s| match s {
            aarch64::Sysno::fstatat => "newfstatat",
            aarch64::Sysno::sync_file_range2 => "sync_file_range",
            other => other.name(),
        }),
        Abi::X32 => {
            let low = nr.checked_sub(Abi::X32_BIT)?;
            match low.checked_sub(X32_OWN_FIRST) {
                Some(own) => X32_OWN.get(own as usize).copied(),
                None => name(Abi::X86_64, low),
            }
        }
    }
}

/// The number of a name, if the ABI has such a call.
pub(crate) fn number(abi: Abi, wanted: &str) -> Option<u32> {
    let id = |id: i32| u32::try_from(id).ok();
    if let Some((nr, _)) = newer(abi).find(|(_, name)| *name == wanted) {
        return Some(nr);
    }
    match abi {
        Abi::X86_64 => wanted.parse::<x86_64::Sysno>().ok().and_then(|s| id(s.id())),
        Abi::I386 => wanted.parse::<x86::Sysno>().ok().and_then(|s| id(s.id())),
        Abi::Arm => wanted.parse::<arm::Sysno>().ok().and_then(|s| id(s.id())),
        Abi::Aarch64 => match wanted {
            "newfstatat" => id(aarch64::Sysno::fstatat.id()),
            "sync_file_range" => id(aarch64::Sysno::sync_file_range2.id()),
            "fstatat" | "sync_file_range2" => None,
            _ => wanted
                .parse::<aarch64::Sysno>()
                .ok()
                .and_then(|s| id(s.id()))
                .filter(|nr| !AARCH64_ABSENT.contains(nr)),
        },
        Abi::X32 => {
            let own = X32_OWN
                .iter()
                .position(|n| *n == wanted)
                .and_then(|i| u32::try_from(i).ok());
            match own {
                Some(i) => Some(Abi::X32_BIT + X32_OWN_FIRST + i),
                None => number(Abi::X86_64, wanted).map(|nr| Abi::X32_BIT + nr),
            }
        }
    }
}

/// Every number that has a name, ascending.
pub(crate) fn numbers(abi: Abi) -> Vec<u32> {
    let range = match abi {
        Abi::X32 => Abi::X32_BIT..Abi::X32_BIT + 1024,
        _ => 0..1024,
    };
    range.filter(|nr| name(abi, *nr).is_some()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_its_number_lead_to_each_other_under_every_abi() {
        for abi in Abi::ALL {
            let numbers = numbers(abi);
            assert!(numbers.len() > 300, "{abi}: {}", numbers.len());
            for nr in numbers {
                let name = name(abi, nr).unwrap();
                // x32 hides x86-64's own number of the calls that it renumbers.
                if abi == Abi::X32 && nr < Abi::X32_BIT + X32_OWN_FIRST && X32_OWN.contains(&name) {
                    continue;
                }
                assert_eq!(number(abi, name), Some(nr), "{abi} {name}");
            }
        }
    }

    #[test]
    fn arm64_uses_the_kernels_name_for_79_and_has_no_time64_calls() {
        assert_eq!(name(Abi::Aarch64, 79), Some("newfstatat"));
        assert_eq!(number(Abi::Aarch64, "fstatat"), None);
        assert_eq!(number(Abi::Aarch64, "sync_file_range"), Some(84));
        assert_eq!(number(Abi::Aarch64, "clock_gettime64"), None);
        assert_eq!(name(Abi::Aarch64, 403), None);
        assert_eq!(name(Abi::Aarch64, 424), Some("pidfd_send_signal"));
    }

    #[test]
    fn calls_newer_than_the_crates_tables_are_known() {
        for abi in Abi::ALL {
            let bit = if abi == Abi::X32 { Abi::X32_BIT } else { 0 };
            assert_eq!(number(abi, "mseal"), Some(bit + 462), "{abi}");
            assert_eq!(name(abi, bit + 469), Some("file_setattr"), "{abi}");
        }
        assert_eq!(number(Abi::X86_64, "uretprobe"), Some(335));
        assert_eq!(number(Abi::Aarch64, "uretprobe"), None);
    }

    #[test]
    fn x32_has_its_own_numbers_where_the_kernel_gives_it_some() {
        assert_eq!(number(Abi::X32, "execve"), Some(Abi::X32_BIT + 520));
        assert_eq!(number(Abi::X32, "read"), Some(Abi::X32_BIT));
        assert_eq!(name(Abi::X32, Abi::X32_BIT + 547), Some("pwritev2"));
        assert_eq!(name(Abi::X32, 0), None);
    }
}
