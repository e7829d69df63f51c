//! Help, version, and words that are not understood.

use crate::support::{callgate, expect, said};

/// Every command, and whether its exit codes say more than that it worked.
const COMMANDS: [(&[&str], bool); 13] = [
    (&["fit"], true),
    (&["dig"], true),
    (&["exec"], true),
    (&["policy", "diff"], true),
    (&["policy", "new"], false),
    (&["policy", "allow"], false),
    (&["policy", "remove"], false),
    (&["policy", "emit"], true),
    (&["policy", "show"], false),
    (&["root", "build"], true),
    (&["root", "check"], true),
    (&["root", "prune"], true),
    (&["doctor"], false),
];

#[test]
fn every_command_has_help_on_standard_output() {
    for (words, codes) in COMMANDS {
        let output = expect(0, &mut callgate(words.iter().chain(&["--help"])));
        let help = String::from_utf8_lossy(&output.stdout);
        assert!(
            help.contains(&format!("Usage: callgate {}", words.join(" "))),
            "{help}"
        );
        assert!(!codes || help.contains("Exit codes:"), "{help}");
        assert!(output.stderr.is_empty(), "{}", said(&output));
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
    for group in ["policy", "root"] {
        let output = expect(0, &mut callgate([group, "--help"]));
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("Commands:"),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn the_help_of_exec_names_every_exit_code() {
    let output = expect(0, &mut callgate(["exec", "--help"]));
    let help = String::from_utf8_lossy(&output.stdout);
    let codes = help.split("Exit codes:").nth(1).unwrap();
    for code in ["124", "125", "126", "127", "128+N", "159", "2 bad input"] {
        assert!(codes.contains(code), "{code}: {codes}");
    }
}

#[test]
fn the_version_is_the_packages() {
    let output = expect(0, &mut callgate(["--version"]));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("callgate {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn words_that_are_not_understood_are_bad_input_and_named() {
    let none: [&str; 0] = [];
    let output = expect(2, &mut callgate(none));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("Usage:"),
        "{}",
        said(&output)
    );
    assert!(output.stdout.is_empty());
    let cases: [&[&str]; 6] = [
        &["--frobnicate"],
        &["frobnicate"],
        &["exec", "--frobnicate", "-"],
        &["dig", "--frobnicate", "-"],
        &["policy", "frobnicate"],
        &["root", "build", "--frobnicate"],
    ];
    for words in cases {
        let output = expect(2, &mut callgate(words));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("frobnicate"), "{stderr}");
        assert!(output.stdout.is_empty(), "{}", said(&output));
    }
    for words in [&["exec"][..], &["dig"], &["policy", "new"], &["fit"]] {
        expect(2, &mut callgate(words));
    }
}
