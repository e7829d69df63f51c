//! Which names a policy may use: every call that Linux has somewhere.
//!
//! Real profiles (Docker's) list calls of machines that callgate has no tables for; those names are known
//! but absent. Anything else is a spelling mistake, which runc and crun would ignore in silence.

use callgate_abi::{Abi, Arch, Syscall};

/// Calls that have no number in `callgate-abi`'s tables of x86 and arm: those of other machines, and those
/// newer than the tables (`listns`, `rseq_slice_yield`). From the first column of libseccomp's
/// `src/syscalls.csv` at 90d3f7d (Linux 7.1-rc4), less the names that the tables have.
const ELSEWHERE: [&str; 31] = [
    "atomic_barrier",
    "atomic_cmpxchg_32",
    "breakpoint",
    "cachectl",
    "cacheflush",
    "get_tls",
    "getpagesize",
    "listns",
    "multiplexer",
    "riscv_flush_icache",
    "riscv_hwprobe",
    "rseq_slice_yield",
    "rtas",
    "s390_guarded_storage",
    "s390_pci_mmio_read",
    "s390_pci_mmio_write",
    "s390_runtime_instr",
    "s390_sthyi",
    "set_tls",
    "spu_create",
    "spu_run",
    "subpage_prot",
    "swapcontext",
    "switch_endian",
    "sync_file_range2",
    "sys_debug_setcontext",
    "syscall",
    "sysmips",
    "timerfd",
    "usr26",
    "usr32",
];

/// A name that no Linux machine has a call for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct UnknownCall {
    /// The name as it was written.
    pub name: String,
    /// The known name that is nearest in spelling, if one is near.
    pub nearest: Option<&'static str>,
}

impl UnknownCall {
    fn text(&self) -> String {
        match self.nearest {
            _ if is_number(&self.name) => {
                format!(
                    "{:?} is a number without a name: a policy file names its calls",
                    self.name
                )
            }
            Some(near) => format!("unknown system call {:?}; did you mean {near:?}?", self.name),
            None => format!("unknown system call {:?}", self.name),
        }
    }
}

/// `syscall_999`: how reports write a number that has no name. No policy tool reads that.
fn is_number(name: &str) -> bool {
    name.strip_prefix("syscall_")
        .is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The call of that name on this machine, if it has one.
pub(crate) fn on(arch: Arch, name: &str) -> Option<Syscall> {
    if is_number(name) {
        None
    } else {
        arch.call(name).ok()
    }
}

/// Accepts the name of any call that Linux has on some machine.
///
/// # Errors
/// [`UnknownCall`] for any other word, with the nearest known name.
pub fn check(name: &str) -> Result<(), UnknownCall> {
    let known = !is_number(name) && Abi::ALL.iter().any(|abi| Syscall::named(*abi, name).is_ok());
    if known || ELSEWHERE.contains(&name) {
        return Ok(());
    }
    let nearest = Arch::ALL
        .iter()
        .find_map(|arch| arch.call(name).err().and_then(|error| error.nearest));
    Err(UnknownCall {
        name: name.to_owned(),
        nearest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_machines_are_known_but_absent() {
        for name in [
            "_llseek",
            "ugetrlimit",
            "s390_sthyi",
            "riscv_flush_icache",
            "arm_fadvise64_64",
            "clock_gettime64",
        ] {
            assert_eq!(check(name), Ok(()), "{name}");
            assert!(Arch::ALL.iter().all(|arch| on(*arch, name).is_none()), "{name}");
        }
        assert!(on(Arch::X86_64, "open").is_some() && on(Arch::Aarch64, "open").is_none());
    }

    #[test]
    fn a_misspelt_name_and_a_bare_number_are_refused() {
        assert_eq!(check("opennat").unwrap_err().nearest, Some("openat"));
        assert!(
            check("syscall_999")
                .unwrap_err()
                .to_string()
                .contains("without a name")
        );
        assert!(check("syscall_0").is_err() && check("").is_err());
    }

    #[test]
    fn every_name_in_the_list_of_other_machines_is_absent_from_our_tables() {
        for name in ELSEWHERE {
            assert!(
                Abi::ALL.iter().all(|abi| Syscall::named(*abi, name).is_err()),
                "{name}"
            );
        }
        assert!(ELSEWHERE.is_sorted());
    }
}
