//! Decisions of the shipped policies `docker-default` and `python-network`, call by call.

use callgate_abi::{Action, Arch};
use callgate_policy::{Verdict, compile};

use crate::load;

fn says(policy: &str, arch: Arch, name: &str, args: [u64; 6]) -> Action {
    load(policy).decide(arch.call(name).unwrap(), &args)
}

const EPERM: Action = Action::Errno(1);

/// From Docker's documentation of its profile (docs.docker.com/engine/security/seccomp), which lists what it
/// blocks and why.
#[test]
fn docker_refuses_what_its_documentation_lists_and_allows_the_rest() {
    let blocked = "acct add_key bpf clock_settime delete_module finit_module get_mempolicy init_module kcmp \
        kexec_file_load kexec_load keyctl lookup_dcookie mbind mount move_pages open_by_handle_at perf_event_open \
        pivot_root quotactl reboot request_key set_mempolicy setns settimeofday swapon swapoff umount2 unshare \
        userfaultfd io_uring_setup io_uring_enter io_uring_register iopl ioperm _sysctl create_module uselib ustat \
        sysfs nfsservctl query_module get_kernel_syms";
    let allowed = "read openat execve fork chroot setuid capset ptrace process_vm_readv seccomp mknod kill bind \
        memfd_create pidfd_open shmget sched_setscheduler chown fchmodat2 cachestat";
    for arch in Arch::ALL {
        for name in blocked.split_whitespace() {
            let Ok(call) = arch.call(name) else { continue };
            assert_eq!(
                load("docker-default").verdict(call),
                Verdict::Always(EPERM),
                "{arch} {name}"
            );
        }
        for name in allowed.split_whitespace() {
            let Ok(call) = arch.call(name) else { continue };
            assert_eq!(
                load("docker-default").verdict(call),
                Verdict::Always(Action::Allow),
                "{arch} {name}"
            );
        }
        let namespaces = |flags| says("docker-default", arch, "clone", [flags, 0, 0, 0, 0, 0]);
        assert_eq!(
            (namespaces(0x3d_0f00), namespaces(0x1000_0011)),
            (Action::Allow, EPERM)
        );
        assert_eq!(says("docker-default", arch, "clone3", [0; 6]), Action::Errno(38));
        let family = |family| says("docker-default", arch, "socket", [family, 1, 0, 0, 0, 0]);
        assert_eq!([1, 2, 10, 16, 39].map(family), [Action::Allow; 5]);
        assert_eq!([38, 40].map(family), [EPERM; 2], "AF_ALG and AF_VSOCK");
        let persona = |value| says("docker-default", arch, "personality", [value, 0, 0, 0, 0, 0]);
        assert_eq!([0, 8, 0x20000, 0xffff_ffff].map(persona), [Action::Allow; 4]);
        assert_eq!(persona(0x4_0000), EPERM, "no ADDR_NO_RANDOMIZE");
    }
    assert_eq!(
        says("docker-default", Arch::X86_64, "modify_ldt", [0; 6]),
        Action::Allow
    );
}

#[test]
fn the_network_policies_are_the_others_with_sockets_of_three_families() {
    for name in ["node", "python"] {
        opens_three_families(name, &format!("{name}-network"));
    }
}

fn opens_three_families(closed: &str, open: &str) {
    let (closed, network) = (load(closed), load(open));
    let opened = [
        "connect", "bind", "listen", "accept", "accept4", "sendmmsg", "recvmmsg",
    ];
    for arch in Arch::ALL {
        for call in arch.calls() {
            let name = call.name();
            if opened.contains(&&*name) {
                assert_eq!(network.verdict(call), Verdict::Always(Action::Allow), "{call}");
            } else if name != "socket" {
                assert_eq!(network.verdict(call), closed.verdict(call), "{call}");
            }
        }
        let socket = |family, kind| says(open, arch, "socket", [family, kind, 0, 0, 0, 0]);
        for family in [1, 2, 10] {
            for kind in [1, 2, 1 | 0o2_000_000, 2 | 0o4000] {
                assert_eq!(socket(family, kind), Action::Allow, "{family} {kind}");
            }
            for raw in [3, 10, 3 | 0o2_000_000] {
                assert_eq!(socket(family, raw), EPERM, "{family} {raw}");
            }
        }
        for family in [0, 3, 9, 11, 16, 17, 38, 40, 44, 1 << 32 | 2, u64::MAX] {
            assert_eq!(socket(family, 1), Action::Errno(97), "{family}");
        }
    }
}

#[test]
fn every_shipped_policy_compiles_for_both_architectures_within_the_kernel_s_limit() {
    for name in callgate_policy::shipped::names() {
        for arch in Arch::ALL {
            let program = compile(&load(name), arch).unwrap().link().unwrap();
            assert!(program.0.len() < 2048, "{name} on {arch}: {}", program.0.len());
            callgate_policy::verify(&load(name), arch).unwrap();
        }
    }
}
