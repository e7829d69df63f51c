//! `--file NAME=PATH`: copies in the work directory, at every tier and in every form; bad ones are refused.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use super::places::Place;
use super::{exec, interpreter, outcome_of};
use crate::support::{callgate, expect, said, scratch};

/// `--file NAME=PATH`.
fn file(name: &str, path: &Path) -> String {
    format!("--file={name}={}", path.display())
}

#[test]
fn the_code_may_change_its_copy_and_never_the_original_at_every_tier() {
    let code = "import os\n\
                assert os.getcwd() == os.environ.get('TMPDIR', '/tmp')\n\
                assert open('one.txt').read() == 'one' and open('data/deep/two').read() == ''\n\
                open('one.txt', 'a').write(' more'); open('data/new', 'w').write('x')\n\
                os.rename('data/deep/two', 'three'); os.rmdir('data/deep')\n\
                print(open('one.txt').read(), os.stat('one.txt').st_uid == os.getuid(), oct(os.stat('one.txt').st_mode))";
    for place in Place::all() {
        let dir = scratch();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let (one, two) = (dir.path().join("source"), dir.path().join("two"));
        std::fs::write(&one, "one").unwrap();
        std::fs::write(&two, "").unwrap();
        let outcome = place.outcome(&[&file("one.txt", &one), &file("data/deep/two", &two)], code);
        assert_eq!(outcome["stdout"], "one more True 0o100644\n", "{outcome:#}");
        assert_eq!(std::fs::read(&one).unwrap(), b"one");
        // Nothing of it is there in the next run.
        let outcome = place.outcome(&[], "import os; print(os.listdir('.'))");
        assert_eq!(outcome["stdout"], "[]\n", "{outcome:#}");
    }
}

#[test]
fn what_the_caller_may_read_is_brought_in_whoever_the_code_is() {
    let dir = scratch();
    let secret = dir.path().join("only the owner's");
    std::fs::write(&secret, "s = 1").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let link = dir.path().join("link");
    symlink(&secret, &link).unwrap();
    let link = file("a=b", &link);
    // The first = ends the name.
    assert!(exec(&[&link], "").status.code() == Some(2));
    let link = link.replace("a=b", "a b.py");
    let output = exec(&["-q", &link], "print(open('a b.py').read())");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "s = 1\n",
        "{}",
        said(&output)
    );
}

#[test]
fn every_form_gets_its_files() {
    let dir = scratch();
    let given = dir.path().join("given");
    std::fs::write(&given, "given").unwrap();
    let code = "print(open('x').read())";
    let script = dir.path().join("script.py");
    std::fs::write(&script, code).unwrap();
    let given = file("x", &given);
    let good = |output: Output| {
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "given\n",
            "{}",
            said(&output)
        );
    };
    good(exec(&[&given], code));
    let python = ["exec", "--python", interpreter(), &given];
    good(callgate(python.iter().chain(&["-c", code])).output().unwrap());
    good(callgate(python).arg(&script).output().unwrap());
    let sh = "cat x; echo";
    let command = ["exec", "--policy", "docker-default", &given, "--", "sh", "-c", sh];
    let output = callgate(command).output().unwrap();
    // The root of a command has what it needs itself, and no cat.
    assert!(said(&output).contains("cat"), "{}", said(&output));
    let sh = "read -r line <x; echo \"$line\"";
    std::fs::write(dir.path().join("given"), "given\n").unwrap();
    good(
        callgate(["exec", "--policy", "docker-default", &given, "--", "sh", "-c", sh])
            .output()
            .unwrap(),
    );
}

/// Fails unless bad input is told with these words, and nothing has run.
fn refused(flags: &[&str], words: &[&str]) {
    let output = exec(flags, "print('ran')");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(2), "{flags:?}\n{text}");
    assert!(output.stdout.is_empty(), "{text}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(words.iter().all(|word| error.contains(word)), "{words:?}\n{text}");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let dir = scratch();
    let one = dir.path().join("one");
    std::fs::write(&one, "1").unwrap();
    for (name, why) in [
        ("", "is empty"),
        ("/etc/passwd", "is absolute"),
        ("../x", ". or .."),
        ("d/../../x", ". or .."),
        ("d//x", "an empty part"),
        ("d/", "an empty part"),
        ("a\nb", "a control character"),
    ] {
        refused(&[&file(name, &one)], &[why, "data/one.csv"]);
    }
    refused(&["--file", "x"], &["--file x", "NAME=PATH"]);
    refused(&[&file("x", &one), &file("x/y", &one)], &["\"x\" and \"x/y\""]);
}

#[test]
fn sources_that_are_no_plain_files_are_refused() {
    let dir = scratch();
    let pipe = dir.path().join("pipe");
    expect(0, Command::new("mkfifo").arg(&pipe));
    refused(&[&file("x", &pipe)], &["a named pipe", pipe.to_str().unwrap()]);
    refused(&[&file("x", dir.path())], &["a directory"]);
    refused(&["--file=x=/dev/zero"], &["a device"]);
    refused(&["--file=x=/proc/cpuinfo"], &["copy it first"]);
    refused(&["--file=x=/nonexistent"], &["No such file", "x=/nonexistent"]);
    let large = dir.path().join("large");
    std::fs::File::create(&large).unwrap().set_len(2 << 20).unwrap();
    let large = file("x", &large);
    refused(
        &[&large, "--tmp-size", "1M"],
        &["2097152 bytes", "--tmp-size 1048576", "raise"],
    );
    refused(&[&large, "--file-size", "1M"], &["\"x\"", "--file-size 1048576"]);
}

#[test]
fn what_does_not_fit_after_all_is_a_failed_set_up() {
    let dir = scratch();
    let one = dir.path().join("one");
    std::fs::write(&one, "1").unwrap();
    // Two bytes, but two pages.
    let files = [file("a", &one), file("b", &one)];
    let output = exec(&["--json", "--tmp-size=4K", &files[0], &files[1]], "print('ran')");
    let outcome = outcome_of(&output);
    assert_eq!(outcome["exit_code"], 125, "{outcome:#}");
    assert_eq!(outcome["setup"]["step"], "copy");
    let told = outcome["setup"].to_string();
    assert!(
        told.contains("/tmp/b: ENOSPC") && told.contains("raise --tmp-size"),
        "{told}"
    );
    assert_eq!(outcome["stdout"].as_str().unwrap_or_default(), "");
}
