//! Programs that try the kernel's doors, under the shipped policy `python`: each is shut, at every tier.

use super::{Case, Refused, Says, everywhere};

/// A call, by its number here, with arguments.
struct Door {
    name: &'static str,
    /// How `call` makes it.
    call: String,
    /// `None` where it is refused by killing.
    errno: Option<&'static str>,
}

fn killed(name: &'static str, nr: i64, args: &str) -> Door {
    Door {
        name,
        call: format!("{nr}, {args}"),
        errno: None,
    }
}

fn answered(name: &'static str, nr: i64, args: &str, errno: &'static str) -> Door {
    Door {
        errno: Some(errno),
        ..killed(name, nr, args)
    }
}

fn doors() -> Vec<Door> {
    let mut doors = vec![
        // Other processes.
        killed("ptrace", libc::SYS_ptrace, "16, 1, 0, 0"),
        killed("process_vm_readv", libc::SYS_process_vm_readv, "1, 0, 0, 0, 0, 0"),
        killed(
            "process_vm_writev",
            libc::SYS_process_vm_writev,
            "1, 0, 0, 0, 0, 0",
        ),
        killed("pidfd_getfd", libc::SYS_pidfd_getfd, "0, 0, 0"),
        killed("kcmp", libc::SYS_kcmp, "1, 1, 0, 0, 0"),
        // Namespaces and mounts.
        killed("unshare", libc::SYS_unshare, "0x10000000"),
        killed("setns", libc::SYS_setns, "0, 0"),
        killed("mount", libc::SYS_mount, "0, 0, 0, 0, 0"),
        killed("pivot_root", libc::SYS_pivot_root, "0, 0"),
        killed("open_by_handle_at", libc::SYS_open_by_handle_at, "0, 0, 0"),
        // The kernel's attack surface.
        killed("io_uring_setup", libc::SYS_io_uring_setup, "1, 0"),
        killed("bpf", libc::SYS_bpf, "0, 0, 0"),
        killed("userfaultfd", libc::SYS_userfaultfd, "0"),
        killed("perf_event_open", libc::SYS_perf_event_open, "0, 0, 0, 0, 0"),
        killed("add_key", libc::SYS_add_key, "0, 0, 0, 0, 0"),
        killed("keyctl", libc::SYS_keyctl, "0, 0, 0"),
        killed("personality", libc::SYS_personality, "0x40000"),
        killed("init_module", libc::SYS_init_module, "0, 0, 0"),
        killed("reboot", libc::SYS_reboot, "0, 0, 0"),
        killed("seccomp", libc::SYS_seccomp, "1, 0, 0"),
        killed("shmget", libc::SYS_shmget, "0, 4096, 0o1600"),
        // Programs from memory, and namespaces by clone.
        answered("execveat", libc::SYS_execveat, "0, 0, 0, 0, 0x1000", "EPERM"),
        answered("clone", libc::SYS_clone, "0x10000011, 0, 0, 0, 0", "EPERM"),
        answered("clone3", libc::SYS_clone3, "0, 0", "ENOSYS"),
        answered("memfd_create", libc::SYS_memfd_create, "0, 0", "ENOSYS"),
        // A terminal's input, also in an argument whose upper half a filter could overlook.
        answered("ioctl", libc::SYS_ioctl, "0, 0x5412, 0", "EPERM"),
        answered("ioctl", libc::SYS_ioctl, "0, 0x100005412, 0", "EPERM"),
    ];
    // The network: local, the internet's, netlink, packet, the kernel's cryptography, the hypervisor.
    doors.extend(
        [
            "1, 1", "2, 1", "2, 2", "10, 1", "16, 3", "17, 3", "38, 5", "40, 1",
        ]
        .map(|kind| answered("socket", libc::SYS_socket, &format!("{kind}, 0"), "EPERM")),
    );
    doors
}

/// The calls that are tried.
pub fn names() -> Vec<&'static str> {
    doors().into_iter().map(|door| door.name).collect()
}

/// The programs that try them: one for each that kills, and one for all that are answered with an errno.
pub fn cases() -> Vec<Case> {
    let (answered, killed): (Vec<Door>, Vec<Door>) =
        doors().into_iter().partition(|door| door.errno.is_some());
    let tries: Vec<String> = answered
        .iter()
        .map(|door| format!("call({})", door.call))
        .collect();
    let errnos: Vec<&str> = answered.iter().filter_map(|door| door.errno).collect();
    let errnos: &str = errnos.join(" ").leak();
    let mut cases = vec![Case {
        name: "all doors that are answered",
        flags: &[],
        code: format!("print({})\n", tries.join(", ")).leak(),
        ends: everywhere!(Says(errnos)),
    }];
    cases.extend(killed.into_iter().map(|door| Case {
        name: door.name,
        flags: &[],
        code: format!("print(call({}))\n", door.call).leak(),
        ends: everywhere!(Refused(door.name)),
    }));
    cases
}
