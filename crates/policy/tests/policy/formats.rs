//! For each format: what is emitted and imported again decides the same, wherever nothing was lost.

use callgate_abi::{Action, Arch, Syscall};
use callgate_policy::emit::{self, Emitted};
use callgate_policy::import::{Format, Imported, Kernel, Request, import};
use callgate_policy::{Policy, Rule, compare, edges, shipped};
use proptest::prelude::*;

use crate::random;

/// Imports without a host's part.
pub fn imported(text: &str, format: Option<Format>, arch: Option<Arch>) -> Imported {
    let request = Request {
        format,
        arch,
        kernel: Kernel {
            version: 6,
            patchlevel: 1,
        },
        caps: &[],
        part: None,
        include: &|path| Err(format!("no file {path}")),
    };
    let imported = import(text, &request);
    assert!(imported.is_ok(), "{imported:?}\n{text}");
    imported.unwrap()
}

/// Every format that can be imported, for one architecture.
fn emitted(policy: &Policy, arch: Arch) -> [(Format, Emitted); 8] {
    [
        (Format::Oci, emit::oci(policy, Some(arch)).unwrap()),
        (Format::Moby, emit::moby(policy, Some(arch), "p.json").unwrap()),
        (Format::K8s, emit::k8s(policy, arch, "p.json")),
        (Format::Dify, emit::dify(policy, arch, "p.json")),
        (Format::Dify, emit::dify_env(policy, arch, "p.json")),
        (Format::Minijail, emit::minijail(policy, arch, "p.json")),
        (Format::Seccompiler, emit::seccompiler(policy, arch).unwrap()),
        (Format::Numbers, emit::list_numbers(policy, arch)),
    ]
}

/// Whether both decide the same at every combination of the first policy's edges for a call.
fn agree(first: &Policy, second: &Policy, call: Syscall) -> bool {
    let arch = call.arch().unwrap();
    let mut points = vec![[0; 6]];
    for index in 0..6 {
        let own: Vec<u64> = edges(first, arch, call.nr())
            .into_iter()
            .filter(|(i, _)| *i == index)
            .map(|(_, value)| value)
            .collect();
        // All of them with what came before, as far as that stays small.
        let most = if points.len() * own.len() > 1 << 16 {
            1
        } else {
            points.len()
        };
        let grown: Vec<[u64; 6]> = points[..most]
            .iter()
            .flat_map(|point| own.iter().map(move |value| (*point, *value)))
            .map(|(mut point, value)| {
                point[usize::from(index)] = value;
                point
            })
            .collect();
        points.extend(grown);
    }
    points
        .iter()
        .all(|args| first.decide(call, args) == second.decide(call, args))
}

/// Returns in how many formats the policy could be said.
fn round(policy: &Policy, arch: Arch) -> usize {
    let mut whole = 0;
    for (format, Emitted { text, lost }) in emitted(policy, arch) {
        // What is lost may mend what contradicts; nothing lost must read back as the same.
        // x32's entry is refused here again, so that the loss of it is none on the way back.
        let lost = lost
            .iter()
            .any(|sentence| !sentence.contains("x32 calls get") && !sentence.contains("more than once"));
        if lost {
            continue;
        }
        let back = imported(&text, Some(format), Some(arch)).policy;
        let mut differing = compare(policy, &back, arch);
        // The negation of a mask has more conditions than can be tried together: the policy's own edges are.
        differing.retain(|found| found.example.is_some() || !agree(policy, &back, found.call));
        assert!(
            differing.is_empty(),
            "{format:?} {arch}: {differing:#?}\n{text}\n{policy:#?}"
        );
        whole += 1;
    }
    whole
}

/// The same policy, where no rule is void: files with such a rule are refused.
fn sound(policy: Policy) -> Option<Policy> {
    Policy::parse(&policy.to_json().ok()?).ok()
}

/// A policy that kills, with rules for what a format with conditions can say.
fn gentle() -> impl Strategy<Value = Policy> {
    (random::policy(&random::NAMES, 6), any::<bool>()).prop_filter_map("sound", |(policy, kill)| {
        let mut policy = policy;
        policy.unknown = callgate_policy::Unknown::Default;
        policy.default = if kill {
            Action::KillProcess
        } else {
            Action::Errno(1)
        };
        let refusal = policy.default;
        for rule in &mut policy.rules {
            rule.action = if rule.action.runs() {
                Action::Allow
            } else {
                refusal
            };
        }
        sound(policy)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn what_a_format_can_say_of_any_policy_comes_back(policy in random::policy(&random::NAMES, 6).prop_filter_map("sound", sound)) {
        for arch in Arch::ALL {
            round(&policy, arch);
        }
    }

    #[test]
    fn two_answers_are_said_by_the_formats_with_conditions(policy in gentle()) {
        for arch in Arch::ALL {
            // oci, moby and seccompiler at the least.
            prop_assert!(round(&policy, arch) >= 2);
        }
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in "[ -~\n]{0,120}", cut in 0..3000usize) {
        for format in [Format::Moby, Format::K8s, Format::Dify, Format::Minijail, Format::Seccompiler, Format::Names, Format::Numbers] {
            let request = |text: &str| {
                let _ = import(text, &Request {
                    format: Some(format),
                    arch: None,
                    kernel: Kernel { version: 6, patchlevel: 1 },
                    caps: &[],
                    part: None,
                    include: &|_| Ok(String::new()),
                });
            };
            request(&text);
            let python = shipped::load("python").unwrap().unwrap();
            for (_, emitted) in emitted(&python, Arch::X86_64) {
                request(emitted.text.get(..cut).unwrap_or(&emitted.text));
            }
        }
    }
}

#[test]
fn a_list_with_kill_is_said_by_every_format_and_told_by_its_looks() {
    let mut policy = Policy::new(Action::KillProcess);
    policy.rules = vec![
        Rule::new(
            Action::Allow,
            ["read", "write", "exit_group", "newfstatat", "statx"],
        )
        .because("two\nlines: 1\n# \\"),
    ];
    policy.comment = Some("what it is for\nread: 1\\".to_owned());
    for arch in Arch::ALL {
        assert_eq!(round(&policy, arch), 8);
        for (format, Emitted { text, .. }) in emitted(&policy, arch) {
            assert_eq!(imported(&text, None, Some(arch)).format, format, "{text}");
        }
    }
}

#[test]
fn the_shipped_policies_survive_the_formats_that_can_say_them() {
    for name in shipped::names() {
        let policy = shipped::load(name).unwrap().unwrap();
        for arch in Arch::ALL {
            // oci, moby and k8s know errnos and conditions.
            assert!(round(&policy, arch) >= 3, "{name}");
        }
        let whole = emit::moby(&policy, None, name).unwrap();
        let back = imported(&whole.text, None, None);
        assert_eq!(back.format, Format::Moby);
        assert_eq!(back.policy.rules, policy.rules);
    }
}
