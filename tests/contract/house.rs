//! How the workspace is built: which crate may know which, where `unsafe` and printing are allowed, what is locked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::{expect, json, repository, sources};

/// The floors of the house, from the ground up. A crate knows crates of lower floors only.
const FLOORS: [&[&str]; 7] = [
    &["abi", "testing"],
    &["trace", "tracee", "launch", "cache"],
    &["python"],
    &["dig", "policy", "rootfs"],
    &["exec"],
    &["fit", "serve"],
    &["cli"],
];

/// What a crate must not know of all that is below it, as each answers a question of its own: who runs code is
/// given a filter and not a policy, who records it is given nothing, and neither knows the other.
const STRANGERS: [(&str, &[&str]); 4] = [
    ("exec", &["dig", "policy", "trace"]),
    ("serve", &["dig", "trace"]),
    ("policy", &["tracee", "launch", "cache", "python"]),
    ("rootfs", &["tracee", "launch"]),
];

/// The crates by the names of their directories, each with the names of what it depends on besides tests.
fn crates() -> BTreeMap<String, BTreeSet<String>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(repository())
        .args(["metadata", "--no-deps", "--offline", "--locked"])
        .args(["--format-version", "1"]);
    let metadata = json(&expect(0, &mut cargo));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let manifest = PathBuf::from(text(&package["manifest_path"]));
            let name = manifest.parent().unwrap().file_name().unwrap();
            let needs = package["dependencies"].as_array().unwrap().iter();
            let needs = needs
                .filter(|need| need["kind"] != "dev")
                .map(|need| text(&need["name"]));
            (name.to_str().unwrap().to_owned(), needs.collect())
        })
        .collect()
}

#[test]
fn arrows_between_crates_point_down_only() {
    let floor = |name: &str| {
        FLOORS
            .iter()
            .position(|rooms| rooms.contains(&name))
            .unwrap_or_else(|| panic!("crates/{name} is on no floor: say here what may know it"))
    };
    let crates = crates();
    assert_eq!(
        crates.len(),
        FLOORS.iter().map(|rooms| rooms.len()).sum::<usize>()
    );
    for (name, needs) in &crates {
        let ours = needs.iter().filter_map(|need| need.strip_prefix("callgate-"));
        for need in ours {
            assert!(
                floor(need) < floor(name),
                "{name} knows {need}, which is not below it"
            );
            let strange = STRANGERS
                .iter()
                .any(|(who, strangers)| who == name && strangers.contains(&need));
            assert!(!strange, "{name} must not know {need}");
            assert_ne!(need, "testing", "{name} needs it outside its tests");
        }
    }
}

#[test]
fn unsafe_code_is_in_sys_alone_and_only_the_binary_prints() {
    for name in crates().into_keys() {
        let dir = repository().join("crates").join(&name).join("src");
        let all = sources(&dir);
        let raw = std::fs::read_to_string(dir.join("sys.rs")).unwrap_or_default();
        for (lint, allowed) in [
            ("unsafe_code", raw.matches("allow(unsafe_code)").count()),
            ("clippy::print_stdout", 0),
            ("clippy::print_stderr", usize::from(name == "testing")),
        ] {
            let found = all.matches(&format!("allow({lint}")).count();
            assert_eq!(found, allowed, "{name}: allow({lint})");
        }
        // Only attributes of a whole module are counted above; none is given to a part of one.
        assert!(!all.contains("#[allow(unsafe_code"), "{name}");
        assert!(!all.contains("#[allow(clippy::print"), "{name}");
    }
}

/// The fuzz targets are a workspace of their own, whose lock file cargo brings up to date for nobody.
#[test]
fn the_fuzz_targets_lock_file_knows_what_the_crates_need() {
    let lock = std::fs::read_to_string(repository().join("tests/fuzz/Cargo.lock")).unwrap();
    let mut crates = crates();
    let mut seen = 0;
    for package in lock.split("[[package]]").skip(1) {
        let quoted = |line: &str| line.split('"').nth(1).unwrap_or_default().to_owned();
        let field = |key: &str| package.lines().find(|line| line.starts_with(key)).map(quoted);
        let name = field("name").unwrap();
        let Some(needs) = name
            .strip_prefix("callgate-")
            .and_then(|name| crates.remove(name))
        else {
            continue;
        };
        seen += 1;
        let locked: BTreeSet<String> = package
            .lines()
            .filter(|line| line.starts_with(" \""))
            // `name`, or `name version` where there are several.
            .map(|line| quoted(line).split(' ').next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(
            locked, needs,
            "{name} in tests/fuzz/Cargo.lock: bring it up to date with `cargo metadata --manifest-path \
             tests/fuzz/Cargo.toml --format-version 1`"
        );
    }
    assert!(seen >= 6, "{seen}");
}

/// What a program is linked with is loaded, and begun, at each of its starts.
#[test]
fn the_program_needs_no_library_but_libc_and_its_loader() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_callgate")).unwrap();
    let needed = goblin::elf::Elf::parse(&program).unwrap().libraries;
    assert!(
        needed.iter().any(|name| name.starts_with("libc.so")),
        "{needed:?}"
    );
    let own = ["libc.so", "libm.so", "ld-linux"];
    for name in &needed {
        assert!(own.iter().any(|own| name.starts_with(own)), "{needed:?}");
    }
}
