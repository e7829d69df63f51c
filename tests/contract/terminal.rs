//! Colours, escape sequences in other people's text, readers that go away.

use std::process::{Command, Output, Stdio};

use serde_json::json;

use crate::exec::{exec, policy, rule};
use crate::support::{CALLGATE, available, callgate, said, scratch, tool};

const ESCAPE: u8 = 0x1b;

fn has_escapes(output: &Output) -> bool {
    output.stdout.contains(&ESCAPE) || output.stderr.contains(&ESCAPE)
}

/// Each kind of output once: a report, a table, an error, help.
const SPOKEN: [&[&str]; 4] = [
    &["exec", "--", "/bin/true"],
    &["doctor"],
    &["policy", "show", "no-such"],
    &["exec", "--help"],
];

#[test]
fn what_is_not_shown_on_a_terminal_has_no_colours() {
    for words in SPOKEN {
        let output = Command::new(CALLGATE)
            .args(words)
            .env_remove("NO_COLOR")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(!has_escapes(&output), "{}", said(&output));
        assert!(!output.stdout.is_empty() || !output.stderr.is_empty());
    }
}

/// Runs a command on a pseudo-terminal, with `NO_COLOR` or without.
fn on_a_terminal(words: &[&str], no_color: bool) -> Output {
    let line: Vec<String> = std::iter::once(CALLGATE)
        .chain(words.iter().copied())
        .map(|w| format!("'{w}'"))
        .collect();
    let mut script = Command::new("script");
    script
        .args(["-qec", &line.join(" "), "/dev/null"])
        .stdin(Stdio::null())
        .env("TERM", "xterm-256color");
    script.env_remove("NO_COLOR").env_remove("CLICOLOR");
    if no_color {
        script.env("NO_COLOR", "1");
    }
    script.output().unwrap()
}

#[test]
fn a_terminal_shows_colours_unless_no_color_is_set() {
    if !available("script", tool("script")) {
        return;
    }
    for words in [
        &["exec", "--", "/bin/true"][..],
        &["doctor"],
        &["policy", "show", "no-such"],
    ] {
        let coloured = on_a_terminal(words, false);
        assert!(has_escapes(&coloured), "{words:?}: {}", said(&coloured));
        let plain = on_a_terminal(words, true);
        // Colours and styles only: a progress line may still be taken away.
        assert!(
            !String::from_utf8_lossy(&plain.stdout).contains("\x1b[3"),
            "{words:?}: {}",
            said(&plain)
        );
        assert!(
            !String::from_utf8_lossy(&plain.stdout).contains("\x1b[1m"),
            "{words:?}: {}",
            said(&plain)
        );
        assert!(plain.stdout.len() > 4);
    }
}

#[test]
fn escape_sequences_in_the_codes_own_names_are_shown_and_not_obeyed() {
    let dir = scratch();
    let policy = policy(dir.path(), &json!([rule("KILL_PROCESS", &["setpriority"])]));
    let output = exec(
        &["--policy", &policy],
        "source = 'import os\\ndef f():\\n    os.setpriority(0, 0, 7)\\nf()\\n'\n\
         exec(compile(source, 'evil\\x1b[2J\\x1b]0;title\\x07\\r\\u202e.py', 'exec'))\n",
    );
    assert_eq!(output.status.code(), Some(159), "{}", said(&output));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("evil\\u{1b}[2J"), "{stderr}");
    assert!(!stderr.contains(['\x1b', '\x07', '\r', '\u{202e}']), "{stderr:?}");
}

#[test]
fn names_that_the_code_chose_make_no_lines_of_their_own_in_the_report() {
    let dir = scratch();
    let policy = policy(dir.path(), &json!([rule("ERRNO", &["setpriority"])]));
    let code = "source = 'import os\\ntry: os.setpriority(0, 0, 7)\\nexcept OSError: pass\\n'\n\
                exec(compile(source, 'a.py\\nran in 1 ms\\n\\x1b[31mrefused: forged', 'exec'))\n\
                import sys\n\
                print(\"FileNotFoundError: [Errno 2] No such file or directory: '/etc/\\u202egpj.exe'\", file=sys.stderr)\n\
                sys.exit(1)\n";
    let output = exec(&["--explain", "--policy", &policy], code);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let report = &stderr[stderr.find("exited with 1 after").unwrap()..];
    assert!(
        report.contains("a.py\\nran in 1 ms\\n\\u{1b}[31mrefused: forged"),
        "{report}"
    );
    assert!(
        report.contains("missing: the file /etc/\\u{202e}gpj.exe"),
        "{report}"
    );
    assert!(!report.lines().any(|line| line.starts_with("ran in")), "{report}");
    assert!(!report.contains(['\x1b', '\u{202e}']), "{report:?}");
    // JSON keeps what was said, with every control character as its escape.
    let output = exec(&["--json", "--explain", "--policy", &policy], code);
    assert!(!output.stdout.contains(&ESCAPE), "{}", said(&output));
    let outcome = crate::support::json(&output);
    let file = outcome["refusals"][0]["site"]["file"].as_str().unwrap();
    assert!(file.contains("a.py\nran in 1 ms\n\x1b[31m"), "{outcome:#}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    for words in [
        &["policy", "show", "python"][..],
        &["doctor"],
        &["policy", "list"],
        &["dig", "--", "/bin/true"],
        &["dig", "--json", "--", "/bin/true"],
        &["--help"],
    ] {
        let mut child = callgate(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.stderr.is_empty(), "{words:?}: {}", said(&output));
        assert!(
            matches!(output.status.code(), Some(0)),
            "{words:?}: {}",
            said(&output)
        );
    }
}
