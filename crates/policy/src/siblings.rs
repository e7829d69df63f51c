//! Calls of which libc makes one or the other, by its version and by the kernel.
//!
//! A program that was traced with one needs the other under another libc: glibc 2.34 made clone3 out of
//! clone, 2.33 faccessat2 out of faccessat and the stat family out of newfstatat and fstat.

/// Each family does one job; the order is from old to new.
const FAMILIES: [&[&str]; 28] = [
    &["accept", "accept4"],
    &["access", "faccessat", "faccessat2"],
    &["chmod", "fchmodat", "fchmodat2"],
    &["clone", "clone3"],
    &["creat", "open", "openat", "openat2"],
    &["dup2", "dup3"],
    &["epoll_create", "epoll_create1"],
    &["epoll_wait", "epoll_pwait", "epoll_pwait2"],
    &["eventfd", "eventfd2"],
    &["fork", "vfork"],
    &["futimesat", "utimes", "utimensat"],
    &["getdents", "getdents64"],
    &["getrlimit", "prlimit64"],
    &["inotify_init", "inotify_init1"],
    &["link", "linkat"],
    &["mkdir", "mkdirat"],
    &["mknod", "mknodat"],
    &["nanosleep", "clock_nanosleep"],
    &["pipe", "pipe2"],
    &["poll", "ppoll"],
    &["readlink", "readlinkat"],
    &["rename", "renameat", "renameat2"],
    &["select", "pselect6"],
    &["signalfd", "signalfd4"],
    &["stat", "lstat", "fstat", "newfstatat", "statx"],
    &["symlink", "symlinkat"],
    &["time", "gettimeofday", "clock_gettime"],
    &["unlink", "unlinkat"],
];

/// The calls that libc may make in the place of this one, without itself; from old to new.
pub fn siblings(name: &str) -> Vec<&'static str> {
    let family = FAMILIES.iter().find(|family| family.contains(&name));
    family
        .into_iter()
        .flat_map(|family| family.iter())
        .copied()
        .filter(|other| *other != name)
        .collect()
}

#[cfg(test)]
mod tests {
    use callgate_abi::Arch;

    use super::*;

    #[test]
    fn families_name_calls_that_linux_has_and_no_call_is_in_two() {
        let mut seen = std::collections::BTreeSet::new();
        for name in FAMILIES.iter().flat_map(|family| family.iter()) {
            assert!(Arch::X86_64.call(name).is_ok(), "{name}");
            assert!(seen.insert(name), "{name}");
        }
        assert_eq!(siblings("clone3"), ["clone"]);
        assert_eq!(siblings("newfstatat"), ["stat", "lstat", "fstat", "statx"]);
        assert!(siblings("read").is_empty());
    }
}
