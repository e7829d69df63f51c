//! The last judge: a forked child loads the linked program and makes the calls.

use callgate_abi::{Action, Arch, ArgCondition, CompareOp};
use callgate_policy::{Policy, Rule, compile};

use proptest::prelude::*;

use crate::sys::{End, Entry, under};
use crate::{not_run, random};

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

const EPERM: i32 = 1;

#[test]
fn the_kernel_loads_every_shipped_policy_and_refuses_what_leaves_it() {
    for name in callgate_policy::shipped::names() {
        let policy = crate::load(name);
        expect(&policy, call("getpid", [0; 3]), End::Returned(0));
        // Docker's profile lets calls fail; the others end the process.
        let end = match name {
            "docker-default" => End::Returned(EPERM),
            _ => End::Killed(SIGSYS),
        };
        expect(&policy, call("keyctl", [0; 3]), end);
    }
}

/// Calls that take no arguments, so that any can be given to them.
const ARGLESS: [&str; 6] = ["getppid", "getuid", "getgid", "geteuid", "gettid", "sched_yield"];

/// How a call of the list ends that gets this action.
fn end(action: Action) -> End {
    const ENOSYS: i32 = 38;
    match action {
        Action::Allow | Action::Log => End::Returned(0),
        Action::Errno(errno) => End::Returned(i32::from(errno)),
        // Nobody traces the child.
        Action::Trace(_) => End::Returned(ENOSYS),
        Action::Trap | Action::KillThread | Action::KillProcess => End::Killed(SIGSYS),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_kernel_does_what_a_random_policy_says(
        mut policy in random::policy(&ARGLESS, 3),
        values in prop::collection::vec(prop::array::uniform3(random::value()), 3),
    ) {
        policy.rules.push(Rule::new(Action::Allow, ["exit_group"]));
        let filter = compile(&policy, Arch::NATIVE).unwrap().link().unwrap();
        for name in ARGLESS {
            let call = Arch::NATIVE.call(name).unwrap();
            let edges = callgate_policy::edges(&policy, Arch::NATIVE, call.nr());
            let edges = edges.into_iter().step_by(7).map(|(index, value)| {
                let mut args = [0; 3];
                args[usize::from(index)] = value;
                args
            });
            for [a, b, c] in values.iter().copied().chain(edges) {
                let wanted = end(policy.decide(call, &[a, b, c, 0, 0, 0]));
                let entry = Entry::Native(i64::from(call.nr()), [a, b, c].map(|arg| arg as i64));
                match under(&filter, entry) {
                    End::NotLoaded => not_run("seccomp", "the kernel did not load the filter"),
                    found => prop_assert_eq!(found, wanted, "{} {:x?}", name, [a, b, c]),
                }
            }
        }
        let newer = Entry::Native(9999, [0; 3]);
        let wanted = end(policy.unknown.action(policy.default));
        // Allowed, there is no such call; refused with 0, it has succeeded.
        let wanted = if policy.unknown.action(policy.default).runs() { End::Returned(38) } else { wanted };
        prop_assert!(matches!(under(&filter, newer), End::NotLoaded) || under(&filter, newer) == wanted);
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
