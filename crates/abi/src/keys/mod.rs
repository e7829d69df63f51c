//! What a policy could condition on: arguments that choose what a call does, named as the kernel's headers
//! name them.
//!
//! [`keys`] are those that a filter can read. The flags of clone3 and openat2 lie in memory: a tracer that has
//! read them gets their keys from [`keys_in_memory`]. The calls behind i386's socketcall have none.

mod memory;
mod names;
mod objects;
mod process;
mod set;
mod sockets;
mod tables;
mod values;

#[cfg(test)]
mod agreement;

pub use set::KeySet;
pub use values::{argument_value, is_key};

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::{Abi, Syscall};

/// The value of one argument of a call, with its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ArgKey {
    /// Which argument, from 0.
    pub index: u8,
    /// The value as the kernel reads it: without the upper half where the argument is 32 bits wide. For the
    /// target of kill, which is any number, a value of its kind: 1, 0, -1 or -2 (as 64 bits).
    pub value: u64,
    /// The name in the kernel's headers (`F_DUPFD`, `PROT_READ|PROT_EXEC`); hexadecimal where it has none.
    pub name: String,
}

impl ArgKey {
    /// The values that the lower half of the argument can have where a call has this key: the value itself,
    /// or all that are of the kind (the target of kill).
    pub fn lower_half(&self, call: Syscall) -> RangeInclusive<u32> {
        let value = self.value as u32;
        if call.known_name() == Some("kill") {
            return process::targets(value as i32);
        }
        value..=value
    }

    fn new(index: u8, value: u64, name: String) -> Self {
        Self { index, value, name }
    }
}

/// The keys of a call with these arguments, by argument; none for a call whose arguments choose nothing that
/// is known here.
///
/// ```
/// use callgate_abi::{Abi, Syscall, keys};
///
/// let mmap = Syscall::named(Abi::X86_64, "mmap").unwrap();
/// let names: Vec<String> = keys(mmap, &[0, 4096, 3, 0x22, 0, 0]).into_iter().map(|key| key.name).collect();
/// assert_eq!(names, ["PROT_READ|PROT_WRITE", "MAP_PRIVATE|MAP_ANONYMOUS"]);
/// ```
pub fn keys(call: Syscall, args: &[u64; 6]) -> Vec<ArgKey> {
    let Some(name) = call.known_name() else {
        return Vec::new();
    };
    let abi = call.abi();
    let compat = matches!(abi, Abi::I386 | Abi::Arm);
    match name {
        "open" => vec![objects::open_flags(abi, 1, args)],
        "openat" | "open_by_handle_at" => vec![objects::open_flags(abi, 2, args)],
        "fcntl" | "fcntl64" => vec![objects::fcntl(abi, args)],
        "ioctl" => vec![objects::ioctl(args)],
        // The old calls of 32-bit ABIs take their arguments in memory.
        "mmap" if compat => Vec::new(),
        "mmap" | "mmap2" => memory::mmap(abi, args),
        "mprotect" | "pkey_mprotect" => vec![memory::protection(abi, 2, args)],
        "madvise" => vec![memory::advice(2, args)],
        "process_madvise" => vec![memory::advice(3, args)],
        "socket" | "socketpair" => sockets::socket(args),
        "setsockopt" | "getsockopt" => sockets::option(args),
        "clone" => vec![process::clone(args)],
        "futex" | "futex_time64" => vec![process::futex(args)],
        "kill" => vec![process::kill(args)],
        "prctl" => vec![process::prctl(args)],
        "arch_prctl" => vec![process::arch_prctl(args)],
        "personality" => vec![process::personality(args)],
        "prlimit64" => vec![process::resource(1, args)],
        "getrlimit" | "setrlimit" | "ugetrlimit" => vec![process::resource(0, args)],
        _ => Vec::new(),
    }
}

/// Where the flags of a call lie that has them in memory: clone3 in `struct clone_args` (clone(2)), openat2 in
/// `struct open_how` (openat2(2)). All fields are 64 bits wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlagsInMemory {
    /// The argument that holds the address of the structure.
    pub pointer: usize,
    /// How many fields are to be read.
    pub fields: usize,
}

/// Where the flags of this call lie, if it is one of those.
pub fn flags_in_memory(call: Syscall) -> Option<FlagsInMemory> {
    match call.known_name()? {
        // flags, pidfd, child_tid, parent_tid, exit_signal
        "clone3" => Some(FlagsInMemory {
            pointer: 0,
            fields: 5,
        }),
        "openat2" => Some(FlagsInMemory {
            pointer: 2,
            fields: 1,
        }),
        _ => None,
    }
}

/// The key of a call whose flags lie in memory, from the fields that [`flags_in_memory`] asks for. It has the
/// name that the flags of clone or openat would have. No filter can compare it: fewer fields than asked for
/// give no key.
///
/// ```
/// use callgate_abi::{Abi, Syscall, keys_in_memory};
///
/// let openat2 = Syscall::named(Abi::X86_64, "openat2").unwrap();
/// assert_eq!(keys_in_memory(openat2, &[0o2_000_000]).unwrap().name, "O_RDONLY|O_CLOEXEC");
/// ```
pub fn keys_in_memory(call: Syscall, fields: &[u64]) -> Option<ArgKey> {
    let place = flags_in_memory(call)?;
    let fields = fields.get(..place.fields)?;
    match (call.known_name()?, fields) {
        ("clone3", [flags, .., signal]) => Some(process::clone3(*flags, *signal)),
        ("openat2", [flags]) => {
            let mut args = [0; 6];
            args[place.pointer] = *flags;
            Some(objects::open_flags(call.abi(), place.pointer as u8, &args))
        }
        _ => None,
    }
}

/// An argument of 32 bits: filters compare all 64, the kernel reads the lower half.
fn word(args: &[u64; 6], index: u8) -> u64 {
    args[usize::from(index)] & u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of a call as `index name value`.
    fn told(abi: Abi, name: &str, args: [i64; 6]) -> Vec<(u8, String, u64)> {
        let found = keys(Syscall::named(abi, name).unwrap(), &args.map(|arg| arg as u64));
        found
            .into_iter()
            .map(|key| (key.index, key.name, key.value))
            .collect()
    }

    fn one(abi: Abi, name: &str, args: [i64; 6]) -> (u8, String, u64) {
        let mut all = told(abi, name, args);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    #[test]
    fn constants_are_named_by_the_argument_that_they_stand_in() {
        for (call, args, index, name) in [
            ("ioctl", [1, 0x5413, 0, 0, 0, 0], 1, "TIOCGWINSZ"),
            ("ioctl", [1, 0x5412, 0, 0, 0, 0], 1, "TIOCSTI"),
            ("ioctl", [1, 0xabcd, 0, 0, 0, 0], 1, "0xabcd"),
            ("fcntl", [1, 1030, 0, 0, 0, 0], 1, "F_DUPFD_CLOEXEC"),
            ("prctl", [38, 1, 0, 0, 0, 0], 0, "PR_SET_NO_NEW_PRIVS"),
            ("madvise", [0, 0, 4, 0, 0, 0], 2, "MADV_DONTNEED"),
            ("process_madvise", [0, 0, 0, 20, 0, 0], 3, "MADV_COLD"),
            ("prlimit64", [0, 7, 0, 0, 0, 0], 1, "RLIMIT_NOFILE"),
            ("setrlimit", [9, 0, 0, 0, 0, 0], 0, "RLIMIT_AS"),
            ("arch_prctl", [0x1002, 0, 0, 0, 0, 0], 0, "ARCH_SET_FS"),
        ] {
            let found = one(Abi::X86_64, call, args);
            assert_eq!((found.0, found.1.as_str()), (index, name), "{call}");
        }
    }

    #[test]
    fn a_value_is_what_the_kernel_reads_of_the_argument() {
        // 64-bit ioctl arguments whose lower half is TIOCSTI passed filters that compared all of it
        // (CVE-2019-10063).
        let found = one(Abi::X86_64, "ioctl", [1, 0x1_0000_5412, 0, 0, 0, 0]);
        assert_eq!(found, (1, "TIOCSTI".to_owned(), 0x5412));
    }

    #[test]
    fn open_flags_are_read_by_the_abi_that_they_are_for() {
        let name = |abi, flags| one(abi, "openat", [0, 0, flags, 0, 0, 0]).1;
        assert_eq!(name(Abi::X86_64, 0o200_000), "O_RDONLY|O_DIRECTORY");
        assert_eq!(name(Abi::Aarch64, 0o200_000), "O_RDONLY|O_DIRECT");
        assert_eq!(name(Abi::Aarch64, 0o40_000), "O_RDONLY|O_DIRECTORY");
        assert_eq!(
            one(Abi::X86_64, "open", [0, 0o1102, 0, 0, 0, 0]).1,
            "O_RDWR|O_CREAT|O_TRUNC"
        );
        let protection = |abi| one(abi, "mprotect", [0, 0, 0x11, 0, 0, 0]).1;
        assert_eq!(protection(Abi::X86_64), "PROT_READ|0x10");
        assert_eq!(protection(Abi::Aarch64), "PROT_READ|PROT_BTI");
    }

    #[test]
    fn a_socket_s_protocol_and_an_option_s_name_depend_on_what_stands_before() {
        let names = |call, args| -> Vec<String> {
            told(Abi::X86_64, call, args)
                .into_iter()
                .map(|(_, name, _)| name)
                .collect()
        };
        assert_eq!(
            names("socket", [10, 0o2_000_001, 6, 0, 0, 0]),
            ["AF_INET6", "SOCK_STREAM|SOCK_CLOEXEC", "IPPROTO_TCP"]
        );
        assert_eq!(
            names("socket", [16, 3, 0, 0, 0, 0]),
            ["AF_NETLINK", "SOCK_RAW", "NETLINK_ROUTE"]
        );
        assert_eq!(
            names("socketpair", [1, 1, 0, 0, 0, 0]),
            ["AF_UNIX", "SOCK_STREAM", "0x0"]
        );
        assert_eq!(
            names("setsockopt", [3, 6, 1, 0, 0, 0]),
            ["SOL_TCP", "TCP_NODELAY"]
        );
        assert_eq!(
            names("getsockopt", [3, 1, 1, 0, 0, 0]),
            ["SOL_SOCKET", "SO_DEBUG"]
        );
    }

    #[test]
    fn the_target_of_kill_is_its_kind() {
        for (pid, kind, name) in [
            (4242, 1, "one process"),
            (0, 0, "own process group"),
            (-1, -1, "every process"),
            (0xffff_ffff, -1, "every process"),
            (-4242, -2, "another process group"),
        ] {
            let expected = (0, name.to_owned(), i64::from(kind) as u64);
            assert_eq!(one(Abi::X86_64, "kill", [pid, 9, 0, 0, 0, 0]), expected);
        }
    }

    #[test]
    fn arguments_in_memory_and_unknown_calls_have_no_keys() {
        assert!(told(Abi::X86_64, "clone3", [1; 6]).is_empty());
        assert!(told(Abi::I386, "mmap", [1; 6]).is_empty());
        assert!(told(Abi::X86_64, "syscall_999", [1; 6]).is_empty());
        assert_eq!(told(Abi::I386, "mmap2", [0, 0, 1, 2, 0, 0]).len(), 2);
        assert_eq!(one(Abi::I386, "fcntl64", [0, 14, 0, 0, 0, 0]).1, "F_SETLKW64");
    }

    #[test]
    fn flags_in_memory_are_named_as_those_of_clone_and_openat() {
        let call = |name| Syscall::named(Abi::X86_64, name).unwrap();
        let thread = keys_in_memory(call("clone3"), &[0x1_0000_0100, 0, 0, 0, 17]).unwrap();
        assert_eq!(
            (thread.index, thread.name.as_str()),
            (0, "CLONE_VM|CLONE_CLEAR_SIGHAND|SIGCHLD")
        );
        assert_eq!(keys_in_memory(call("clone3"), &[0; 4]), None);
        assert_eq!(keys_in_memory(call("openat"), &[0; 6]), None);
    }

    #[test]
    fn the_lower_half_of_an_argument_is_in_the_range_of_its_key_and_of_no_other() {
        let values = [0, 1, 2, 9, 4242, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1, u32::MAX];
        for name in ["kill", "ioctl", "clone", "futex", "personality"] {
            let call = Syscall::named(Abi::X86_64, name).unwrap();
            let key = |value: u32| keys(call, &[value.into(); 6]).remove(0);
            for value in values {
                for other in values {
                    let same = key(value) == key(other);
                    assert_eq!(
                        key(value).lower_half(call).contains(&other),
                        same,
                        "{name} {value} {other}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_table_has_each_value_and_each_name_once() {
        for table in tables::ALL {
            let names: std::collections::BTreeSet<&str> = table.iter().map(|(name, _)| *name).collect();
            let values: std::collections::BTreeSet<u64> = table.iter().map(|(_, value)| *value).collect();
            assert_eq!(
                (names.len(), values.len()),
                (table.len(), table.len()),
                "{:?}",
                table[0]
            );
        }
    }
}
