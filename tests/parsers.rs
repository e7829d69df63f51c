//! Every parser, with random bytes, with its seeds, and with its seeds spoilt: none panics, and an error
//! names a place. The same functions are `cargo fuzz`'s targets.

#[path = "fuzz/targets.rs"]
mod targets;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::support::repository;
use targets::TARGETS;

/// The seeds of each target, read once.
static SEEDS: LazyLock<Vec<Vec<Vec<u8>>>> =
    LazyLock::new(|| TARGETS.iter().map(|(name, _)| seeds(name)).collect());

/// The files of a target's corpus: seeds, and what once broke something.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let dir = repository().join("tests/fuzz/corpus").join(target);
    let files = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{target} has no seed");
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn every_seed_is_parsed_and_every_target_is_a_fuzz_target() {
    let dir = repository().join("tests/fuzz");
    let manifest = std::fs::read_to_string(dir.join("Cargo.toml")).unwrap();
    for ((name, target), all) in TARGETS.iter().zip(SEEDS.iter()) {
        all.iter().for_each(|seed| target(seed));
        let file = format!("fuzz_targets/{name}.rs");
        assert!(
            manifest.contains(&file) && Path::new(&dir).join(&file).is_file(),
            "{file}"
        );
    }
}

/// One way to spoil a file.
#[derive(Clone, Debug)]
enum Spoil {
    Byte(Index, u8),
    Cut(Index),
    Leave(Index, Index),
    Repeat(Index, Index),
    Word(Index, &'static str),
}

fn spoil() -> impl Strategy<Value = Spoil> {
    let words = [
        "null",
        "-1",
        "18446744073709551616",
        "\"\"",
        "[",
        "}",
        "syscall_999",
        "\u{0}",
        "é",
        "\n",
        "# ///",
        "1e999",
    ];
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Spoil::Byte(at, byte)),
        1 => any::<Index>().prop_map(Spoil::Cut),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Spoil::Leave(from, to)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Spoil::Repeat(from, to)),
        3 => (any::<Index>(), prop::sample::select(words.to_vec())).prop_map(|(at, word)| Spoil::Word(at, word)),
    ]
}

fn spoilt(mut bytes: Vec<u8>, ways: &[Spoil]) -> Vec<u8> {
    for way in ways {
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len();
        let range = |from: &Index, to: &Index| {
            let (from, to) = (from.index(length), to.index(length));
            from.min(to)..from.max(to)
        };
        match way {
            Spoil::Byte(at, byte) => bytes[at.index(length)] = *byte,
            Spoil::Cut(at) => bytes.truncate(at.index(length)),
            Spoil::Leave(from, to) => drop(bytes.drain(range(from, to))),
            Spoil::Repeat(from, to) => {
                let part = bytes[range(from, to)].to_vec();
                bytes.extend(part);
            }
            Spoil::Word(at, word) => {
                let at = at.index(length);
                drop(bytes.splice(at..at, word.bytes()));
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_break_no_parser(bytes in vec(any::<u8>(), 0..400), text in "\\PC{0,200}") {
        for (_, target) in TARGETS {
            target(&bytes);
            target(text.as_bytes());
        }
    }

    #[test]
    fn spoilt_files_break_no_parser(seed in any::<Index>(), ways in vec(spoil(), 1..6)) {
        for ((_, target), all) in TARGETS.iter().zip(SEEDS.iter()) {
            target(&spoilt(all[seed.index(all.len())].clone(), &ways));
        }
    }
}
