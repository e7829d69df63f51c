//! What the shipped `python` policy must not open, and what it must.

use callgate_abi::{Action, Arch, Syscall};
use callgate_policy::Verdict;

use crate::load;

fn verdict(arch: Arch, name: &str) -> Verdict {
    load("python").verdict(arch.call(name).unwrap())
}

#[test]
fn the_python_policy_kills_on_calls_that_open_a_sandbox() {
    let dangerous = "ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd bpf perf_event_open \
        userfaultfd io_uring_setup io_uring_enter io_uring_register add_key request_key keyctl mount umount2 \
        move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr pivot_root chroot unshare setns \
        personality init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff \
        open_by_handle_at name_to_handle_at fanotify_init setuid setgid setgroups setresuid setresgid capset seccomp \
        acct quotactl syslog settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname vhangup \
        landlock_restrict_self shmget msgget semget migrate_pages move_pages connect bind listen accept accept4 \
        iopl ioperm modify_ldt uselib";
    for arch in Arch::ALL {
        for name in dangerous.split_whitespace() {
            let Ok(call) = arch.call(name) else { continue };
            assert_eq!(
                load("python").verdict(call),
                Verdict::Always(Action::KillProcess),
                "{arch} {name}"
            );
        }
    }
}

#[test]
fn other_programs_and_sockets_fail_with_an_errno_under_the_python_policy() {
    for arch in Arch::ALL {
        for name in ["execve", "execveat", "socket"] {
            assert_eq!(
                verdict(arch, name),
                Verdict::Always(Action::Errno(1)),
                "{arch} {name}"
            );
        }
        for name in ["clone3", "openat2", "memfd_create", "mbind", "set_mempolicy"] {
            assert_eq!(
                verdict(arch, name),
                Verdict::Always(Action::Errno(38)),
                "{arch} {name}"
            );
        }
    }
    assert_eq!(verdict(Arch::X86_64, "fork"), Verdict::Always(Action::Errno(1)));
    assert_eq!(verdict(Arch::X86_64, "vfork"), Verdict::Always(Action::Errno(1)));
}

#[test]
fn clone_makes_threads_but_neither_processes_nor_namespaces_under_the_python_policy() {
    const PTHREAD: u64 = 0x3d_0f00;
    const FORK: u64 = 0x0120_0011;
    const CLONE_NEWUSER: u64 = 0x1000_0000;
    let policy = load("python");
    for arch in Arch::ALL {
        let clone = |flags| policy.decide(arch.call("clone").unwrap(), &[flags, 0, 0, 0, 0, 0]);
        assert_eq!(clone(PTHREAD), Action::Allow);
        assert_eq!(clone(FORK), Action::Errno(1));
        assert_eq!(clone(FORK | CLONE_NEWUSER), Action::Errno(1));
        assert_eq!(clone(PTHREAD | CLONE_NEWUSER), Action::KillProcess);
    }
}

#[test]
fn input_cannot_be_put_into_a_terminal_with_bits_above_the_request() {
    let policy = load("python");
    let ioctl = |request| policy.decide(Arch::X86_64.call("ioctl").unwrap(), &[0, request, 0, 0, 0, 0]);
    assert_eq!(ioctl(0x5401), Action::Allow);
    for request in [0x5412, 0x541c, 0x1_0000_5412, 0xffff_ffff_0000_541c] {
        assert_eq!(ioctl(request), Action::Errno(1), "{request:#x}");
    }
}

#[test]
fn what_amd64_may_call_under_the_python_policy_its_libc_may_call_on_arm64() {
    let policy = load("python");
    for call in policy.allowed(Arch::X86_64) {
        let there = callgate_policy::equivalents(call, Arch::Aarch64);
        let open = |call: &Syscall| policy.verdict(*call).may_run();
        assert!(there.calls.iter().all(open), "{call}: {there:?}");
    }
}
