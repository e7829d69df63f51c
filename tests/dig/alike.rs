//! Whether recordings of the same program, made in two ways, have the same content.

use std::collections::BTreeSet;

use serde_json::Value;

/// Two runs, and so many more while a difference may be chance.
pub const MOST_RUNS: usize = 6;

/// Made by the kernel in the program's name: whether it comes up is chance.
pub const INJECTED: &str = "restart_syscall";

/// What a trace says apart from numbers: calls by ABI, their argument keys, and the files.
fn content(trace: &Value) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for call in trace["syscalls"].as_array().unwrap() {
        let name = format!("{} {}", call["abi"], call["name"]);
        for key in call["args"]["seen"].as_array().into_iter().flatten() {
            all.insert(format!("{name} {} {}", key["index"], key["name"]));
        }
        if !call["args"]["many"].is_null() {
            all.insert(format!("{name} many {}", call["args"]["many"]));
        }
        all.insert(name);
    }
    for file in trace["files"].as_array().unwrap() {
        all.insert(format!("{} {} {}", file["path"], file["how"], file["found"]));
    }
    // Names that are made up anew in each run, and what the kernel injects.
    all.retain(|line| {
        let passing = ["/tmp/", "/proc/", INJECTED]
            .iter()
            .any(|word| line.contains(word));
        !passing
    });
    all
}

/// Fails unless what is in every recording of one kind is in some of the other: run-to-run variation is in
/// both alike.
pub fn alike(fast: Value, exact: Value, again: impl Fn() -> [Value; 2]) {
    let (mut fast, mut exact) = (vec![content(&fast)], vec![content(&exact)]);
    let always = |runs: &[BTreeSet<String>]| runs.iter().skip(1).fold(runs[0].clone(), |all, run| &all & run);
    let ever = |runs: &[BTreeSet<String>]| runs.iter().flatten().cloned().collect::<BTreeSet<_>>();
    loop {
        let missed = &always(&exact) - &ever(&fast);
        let extra = &always(&fast) - &ever(&exact);
        if missed.is_empty() && extra.is_empty() {
            return;
        }
        assert!(
            fast.len() < MOST_RUNS,
            "the fast way and --counts see other things, {} times each\n  only --counts: {missed:?}\n  only fast: {extra:?}",
            fast.len()
        );
        let [one, other] = again();
        fast.push(content(&one));
        exact.push(content(&other));
    }
}
