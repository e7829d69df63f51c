//! The last judge: a forked child loads the linked program and makes the calls.

use callgate_abi::{Action, Arch, ArgCondition, CompareOp};
use callgate_policy::{Policy, Rule, compile};

use crate::not_run;
use crate::sys::{End, Entry, under};

const SIGSYS: i32 = 31;

fn nr(name: &str) -> i64 {
    i64::from(Arch::NATIVE.call(name).unwrap().nr())
}

fn call(name: &str, args: [i64; 3]) -> Entry {
    Entry::Native(nr(name), args)
}

/// How the call ends under the policy; nothing if filters can't be loaded here.
fn ends(policy: &Policy, entry: Entry) -> Option<End> {
    let linked = compile(policy, Arch::NATIVE).unwrap().link().unwrap();
    match under(&linked, entry) {
        End::NotLoaded => {
            not_run("seccomp", "the kernel did not load the filter");
            None
        }
        end => Some(end),
    }
}

fn expect(policy: &Policy, entry: Entry, want: End) {
    if let Some(end) = ends(policy, entry) {
        assert_eq!(end, want, "{entry:?}");
    }
}

#[test]
fn the_kernel_allows_refuses_and_kills_as_the_policy_says() {
    let wide = ArgCondition::new(1, CompareOp::Gt, u64::from(u32::MAX)).unwrap();
    let masked = ArgCondition::new(1, CompareOp::MaskedEq(0xff), 0x12).unwrap();
    let mut policy = Policy::new(Action::KillProcess);
    policy.rules = vec![
        Rule::new(Action::Allow, ["getppid", "lseek", "exit_group", "rt_sigreturn"]),
        Rule::new(Action::Errno(38), ["getuid"]),
        Rule::new(Action::Errno(77), ["lseek"]).when([wide]),
        Rule::new(Action::Errno(78), ["lseek"]).when([masked]),
    ];
    const EBADF: i32 = 9;
    expect(&policy, call("getppid", [0; 3]), End::Returned(0));
    expect(&policy, call("getuid", [0; 3]), End::Returned(38));
    expect(&policy, call("lseek", [-1, 5, 0]), End::Returned(EBADF));
    expect(&policy, call("lseek", [-1, 0x1_0000_0000, 0]), End::Returned(77));
    expect(&policy, call("lseek", [-1, 0x3412, 0]), End::Returned(78));
    expect(&policy, call("lseek", [-1, 0x1_0000_0012, 0]), End::Returned(78));
    expect(&policy, call("getgid", [0; 3]), End::Killed(SIGSYS));
    expect(&policy, Entry::Native(999, [0; 3]), End::Killed(SIGSYS));
}

#[test]
fn the_kernel_loads_every_shipped_policy_and_ends_a_process_that_leaves_it() {
    for name in callgate_policy::shipped::names() {
        let policy = crate::load(name);
        expect(&policy, call("getpid", [0; 3]), End::Returned(0));
        expect(&policy, call("ptrace", [0; 3]), End::Killed(SIGSYS));
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_kernel_kills_i386_and_x32_entries_even_where_the_default_allows() {
    const I386_GETPID: i64 = 20;
    let policy = Policy::new(Action::Allow);
    expect(&policy, call("getpid", [0; 3]), End::Returned(0));
    expect(&policy, Entry::Int80(I386_GETPID), End::Killed(SIGSYS));
    expect(
        &policy,
        Entry::Native(0x4000_0000 | nr("getpid"), [0; 3]),
        End::Killed(SIGSYS),
    );
}
