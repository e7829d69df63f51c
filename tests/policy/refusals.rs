//! Bad input is code 2 and names the file, the place and the mend; a file is written whole or not at all.

use std::fs;
use std::process::Command;

use super::policy;
use crate::support::{CALLGATE, expect, said, scratch};

#[test]
fn bad_input_names_the_file_the_place_in_it_and_the_mend() {
    let dir = scratch();
    let files = [
        (
            "good.json",
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}"#,
        ),
        ("cut.json", "{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\",\n"),
        (
            "typed.json",
            "{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\",\n  \"syscalls\": [{\"names\": 3}]\n}",
        ),
        (
            "misspelt.json",
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["opne"], "action": "SCMP_ACT_ALLOW"}]}"#,
        ),
        (
            "action.json",
            r#"{"defaultAction": "SCMP_ACT_MAYBE", "syscalls": []}"#,
        ),
        (
            "key.json",
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscals": []}"#,
        ),
        ("trace.json", r#"{"schema": "callgate.trace/9", "arch": "amd64"}"#),
    ];
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let cases: [(&[&str], &[&str]); 15] = [
        (
            &["show", "nothing"],
            &["\"nothing\"", "dify-python", "dify-nodejs-network", "python"],
        ),
        (&["show", "."], &["can't read ."]),
        (&["show", "cut.json"], &["cut.json", "line 3"]),
        (
            &["show", "typed.json"],
            &["typed.json", "syscalls[0].names", "line 3"],
        ),
        (
            &["show", "misspelt.json"],
            &["misspelt.json", "syscalls[0]", "opne", "\"open\""],
        ),
        (
            &["show", "action.json"],
            &["action.json", "SCMP_ACT_MAYBE", "SCMP_ACT_ALLOW"],
        ),
        (&["show", "key.json"], &["key.json", "syscals", "syscalls"]),
        (&["diff", "missing.json"], &["missing.json"]),
        (
            &["new", "good.json"],
            &["good.json", "not a trace", "callgate dig -o"],
        ),
        (&["diff", "trace.json"], &["trace.json"]),
        (&["new"], &["TRACE", "Usage"]),
        (
            &["allow", "good.json", "sched_getafinity"],
            &["sched_getafinity", "sched_getaffinity"],
        ),
        (
            &["remove", "good.json", "sched_getafinity"],
            &["sched_getafinity", "sched_getaffinity"],
        ),
        (
            &["emit", "good.json", "--format", "yaml"],
            &["yaml", "oci", "dify", "bpf"],
        ),
        (
            &["emit", "good.json", "--format", "bpf", "--arch", "mips"],
            &["mips", "amd64", "arm64"],
        ),
    ];
    for (args, words) in cases {
        let output = expect(2, &mut policy(dir.path(), args));
        let told = String::from_utf8_lossy(&output.stderr);
        for word in words {
            assert!(told.contains(word), "{args:?} should say {word:?}: {told}");
        }
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn a_write_that_fails_half_way_leaves_the_old_file_whole() {
    let dir = scratch();
    let file = dir.path().join("p.json");
    fs::write(&file, "precious").unwrap();
    // No file may grow beyond a few blocks of 512 bytes; the policy is longer.
    let script = "trap '' XFSZ; ulimit -f 4; exec \"$0\" policy allow python kcmp -o p.json";
    let output = expect(
        2,
        Command::new("sh")
            .args(["-c", script, CALLGATE])
            .current_dir(dir.path()),
    );
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("p.json"),
        "{}",
        said(&output)
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["p.json"], "no temporary file is left");
}

#[test]
fn a_file_that_cannot_be_written_is_an_error() {
    let dir = scratch();
    for target in ["not/there.json", ".", "/dev/full"] {
        let output = expect(
            2,
            &mut policy(dir.path(), ["allow", "python", "kcmp", "-o", target]),
        );
        assert!(
            String::from_utf8_lossy(&output.stderr).contains(target),
            "{}",
            said(&output)
        );
    }
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = policy(dir.path(), ["show", "python"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}

#[test]
fn a_file_that_is_far_too_long_or_has_no_end_is_refused_at_once_with_the_limit() {
    let dir = scratch();
    let dir = dir.path();
    let long = std::fs::File::create(dir.join("long.json")).unwrap();
    long.set_len(50_000_000).unwrap();
    let fifo = dir.join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let writer = std::thread::spawn({
        let fifo = fifo.clone();
        move || {
            // The reader goes away before all is written.
            let zeros = vec![b' '; 1 << 20];
            let mut to = std::fs::File::options().write(true).open(fifo).unwrap();
            while std::io::Write::write_all(&mut to, &zeros).is_ok() {}
        }
    });
    for (file, length) in [
        ("long.json", "50000000 bytes are too many"),
        ("/dev/zero", "more than 16777216 bytes"),
        ("fifo", "more than 16777216 bytes"),
    ] {
        let begun = std::time::Instant::now();
        let output = said(&expect(2, &mut policy(dir, ["show", file])));
        assert!(output.contains(file) && output.contains(length), "{output}");
        assert!(output.contains("at most 16777216"), "{output}");
        assert!(begun.elapsed().as_secs() < 20, "{file}: {:?}", begun.elapsed());
    }
    writer.join().unwrap();
    // Long, but a policy: comments may be as long as they like.
    let text = format!(
        r#"{{"comment": "{}", "defaultAction": "SCMP_ACT_KILL"}}"#,
        "x".repeat(10_000_000)
    );
    std::fs::write(dir.join("comment.json"), text).unwrap();
    expect(0, &mut policy(dir, ["verify", "comment.json"]));
}

#[test]
fn deep_nesting_is_an_error_with_its_line_and_no_crash() {
    let dir = scratch();
    let dir = dir.path();
    for (name, open) in [("lists.json", "["), ("objects.json", "{\"names\":")] {
        let text = format!(
            "{{\"defaultAction\": \"SCMP_ACT_KILL\",\n\"syscalls\": {}",
            open.repeat(1_000_000)
        );
        std::fs::write(dir.join(name), text).unwrap();
        let output = said(&expect(2, &mut policy(dir, ["lint", name])));
        for part in [name, "syscalls", "line 2"] {
            assert!(output.contains(part), "{output}");
        }
    }
}
