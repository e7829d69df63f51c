//! What the code misses by its own words is answered with where the host has it and the option that brings it in.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::places::Place;
use super::{exec, interpreter, outcome, outcome_of, policy, small_root};
use crate::support::{CALLGATE, available, callgate, expect, json as parse, root, said, scratch, tool};

/// The options of what was missed, as words for the next call.
fn options(outcome: &Value) -> Vec<String> {
    let options = outcome["lacks"][0]["options"].as_array();
    let options = options.unwrap_or_else(|| panic!("{outcome:#}"));
    options
        .iter()
        .map(|word| word.as_str().unwrap().to_owned())
        .collect()
}

/// A shared object that exports nothing, in this directory.
fn shared_object(dir: &Path, name: &str) {
    expect(
        0,
        Command::new("cc")
            .args(["-shared", "-nostdlib", "-x", "c", "/dev/null", "-o"])
            .arg(dir.join(name)),
    );
}

#[test]
fn a_missing_file_is_found_on_the_host_and_the_option_brings_it_in_at_every_tier() {
    for place in Place::all() {
        let code = "print(len(open('/etc/os-release').read()) > 1)\n";
        let missed = place.outcome(&[], code);
        assert_eq!(
            missed["lacks"],
            json!([{"kind": "file", "name": "/etc/os-release", "on_host": ["/etc/os-release"],
                    "options": ["--add", "/etc/os-release"]}]),
            "{missed:#}"
        );
        let options = options(&missed);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let found = place.outcome(&options, code);
        assert_eq!(
            (&found["stdout"], found.get("lacks")),
            (&json!("True\n"), None),
            "{found:#}"
        );
        // It can't be written there.
        let written = place.outcome(&options, "open('/etc/os-release', 'a')\n");
        assert_eq!(written["exit_code"], 1, "{written:#}");
        let stderr = written["stderr"].as_str().unwrap();
        assert!(
            stderr.contains("Read-only") || stderr.contains("Permission"),
            "{stderr}"
        );
    }
}

#[test]
fn the_report_for_people_says_it_below_the_codes_own_words_which_pass_through() {
    let output = exec(&[], "open('/etc/os-release')\n");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    let place = |word: &str| stderr.find(word).unwrap_or_else(|| panic!("{word}: {stderr}"));
    assert!(place("FileNotFoundError: [Errno 2]") < place("exited with 1"));
    assert!(place("missing: the file /etc/os-release") < place("on this host: /etc/os-release"));
    place("to have it in the run: --add /etc/os-release");
    let help = expect(0, &mut callgate(["exec", "--help"]));
    let help = String::from_utf8_lossy(&help.stdout).replace('\n', " ");
    for word in ["--add <PATH>", "objects that it needs", "what it missed"] {
        assert!(help.contains(word), "{word}: {help}");
    }
}

#[test]
fn what_not_everyone_may_read_is_not_told_of_and_code_can_not_ask_for_it() {
    let dir = scratch();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "s").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let secret = secret.to_str().unwrap();
    for path in [
        "/etc/shadow",
        "/proc/1/environ",
        "/dev/mem",
        secret,
        "/nonexistent",
    ] {
        let missed = outcome(&[], &format!("open({path:?})\n"));
        assert_eq!(missed["lacks"][0]["name"], path, "{missed:#}");
        assert_eq!(
            (&missed["lacks"][0]["on_host"], options(&missed).len()),
            (&json!([]), 0),
            "{missed:#}"
        );
    }
    // Its words, not what happened: forged ones are no more than that; escapes never reach a terminal.
    let forged = exec(
        &[],
        "import sys\nprint('FileNotFoundError: [Errno 2] No such file or directory: \\'/etc/shadow\\'', file=sys.stderr)\n\
         print('FileNotFoundError: [Errno 2] No such file or directory: \\'/etc/\\x1b[2J\\'', file=sys.stderr)\nsys.exit(3)\n",
    );
    let stderr = String::from_utf8_lossy(&forged.stderr);
    assert!(!stderr.contains("--add"), "{stderr}");
    assert_eq!(stderr.matches("missing:").count(), 1, "{stderr}");
    // What went well is not looked at.
    let well = outcome(
        &[],
        "import sys\nprint('ModuleNotFoundError: No module named \\'numpy\\'', file=sys.stderr)\n",
    );
    assert_eq!(well.get("lacks"), None, "{well:#}");
}

#[test]
fn a_file_beside_us_is_copied_in_by_its_name() {
    let dir = scratch();
    std::fs::write(dir.path().join("data.csv"), "1,2").unwrap();
    let run = |extra: &[String]| {
        let mut command = callgate(["exec", "--json", "--python", interpreter()]);
        command
            .args(extra)
            .args(["-c", "print(open('data.csv').read())"])
            .current_dir(dir.path());
        outcome_of(&command.output().unwrap())
    };
    let missed = run(&[]);
    let options = options(&missed);
    assert_eq!(options[0], "--file", "{missed:#}");
    assert_eq!(run(&options)["stdout"], "1,2\n");
}

#[test]
fn a_missing_shared_object_is_found_by_its_name_wherever_the_host_has_it() {
    if !available("root", root()) || !available("cc", tool("cc")) {
        return;
    }
    // By ctypes, which no planner can foresee.
    let dir = tempfile::Builder::new()
        .prefix("callgate-lib")
        .tempdir_in("/usr/local")
        .unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let name = format!("lib{}.so.7", super::unique("callgate-test"));
    shared_object(dir.path(), &name);
    let code = format!("import ctypes\nctypes.CDLL({name:?})\nprint('loaded')\n");
    let missed = outcome(&[], &code);
    let lack = &missed["lacks"][0];
    assert_eq!(
        (&lack["kind"], &lack["on_host"]),
        (&json!("shared_object"), &json!([dir.path().join(&name)])),
        "{missed:#}"
    );
    let options = options(&missed);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    assert_eq!(outcome(&options, &code)["stdout"], "loaded\n");
    let none = outcome(&[], "import ctypes\nctypes.CDLL('libnowhere.so.9')\n");
    assert_eq!(none["lacks"][0]["on_host"], json!([]), "{none:#}");
    assert!(none["lacks"][0]["advice"].is_string(), "{none:#}");
}

#[test]
fn a_program_whose_objects_are_missing_says_so_through_its_loader() {
    if !available("cc", tool("cc")) {
        return;
    }
    let dir = scratch();
    let at = |name: &str| dir.path().join(name);
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let name = format!("lib{}.so", super::unique("callgate-needed"));
    shared_object(dir.path(), &name);
    std::fs::write(at("main.c"), "int main(void) { return 0; }\n").unwrap();
    expect(
        0,
        Command::new("cc")
            .arg(at("main.c"))
            .arg("-Wl,--no-as-needed")
            .arg(at(&name))
            .arg("-Wl,-soname,x")
            .arg("-o")
            .arg(at("main")),
    );
    std::fs::remove_file(at(&name)).unwrap();
    let open = policy(dir.path(), &json!([]));
    let mut command = callgate(["exec", "--json", "--policy", &open, "--"]);
    let output = outcome_of(&command.arg(at("main")).output().unwrap());
    assert_eq!(output["exit_code"], 127, "{output:#}");
    assert!(
        output["lacks"][0]["name"].as_str().unwrap().contains(&name),
        "{output:#}"
    );
}

#[test]
fn a_missing_module_is_found_in_another_environment_and_an_interpreter_brings_it_in() {
    let home = scratch();
    // An environment that has it, where environments are looked for.
    let env = home.path().join(".pyenv/versions/other");
    expect(
        0,
        Command::new(interpreter())
            .args(["-m", "venv", "--without-pip"])
            .arg(&env),
    );
    let lib = env
        .join("lib")
        .read_dir()
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let name = super::unique("only_there").replace('-', "_");
    let package = lib.join("site-packages").join(&name);
    std::fs::create_dir(&package).unwrap();
    std::fs::write(package.join("__init__.py"), "word = 'found'\n").unwrap();
    let run = |python: &[String]| {
        let code = format!("from {name} import word\nprint(word)\n");
        let mut command = callgate(["exec", "--json"]);
        command
            .args(python)
            .args(["-c", &code])
            .env("HOME", home.path())
            .env_remove("XDG_CACHE_HOME");
        outcome_of(&command.output().unwrap())
    };
    let missed = run(&["--python".to_owned(), interpreter().to_owned()]);
    let lack = &missed["lacks"][0];
    assert_eq!(
        (&lack["kind"], &lack["name"], &lack["on_host"]),
        (&json!("python_module"), &json!(name), &json!([package])),
        "{missed:#}"
    );
    assert!(
        lack["advice"].as_str().unwrap().contains("dependencies"),
        "{missed:#}"
    );
    let options = options(&missed);
    assert_eq!(options[0], "--python");
    assert_eq!(run(&options)["stdout"], "found\n");
}

#[test]
fn a_missing_module_of_node_is_found_beside_us() {
    if !available("node", tool("node")) {
        return;
    }
    let dir = scratch();
    let package = dir.path().join("node_modules/there");
    std::fs::create_dir_all(&package).unwrap();
    std::fs::write(package.join("index.js"), "module.exports = 'found'\n").unwrap();
    std::fs::write(dir.path().join("a.js"), "console.log(require('there'))\n").unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let open = policy(dir.path(), &json!([]));
    let run = |extra: &[String]| {
        let mut command = callgate(["exec", "--json", "--memory", "none", "--policy", &open]);
        command
            .args(extra)
            .args(["--", "node", "a.js"])
            .current_dir(dir.path());
        outcome_of(&command.output().unwrap())
    };
    // First the script itself, then what it asks for.
    let missed = run(&[]);
    assert_eq!(missed["lacks"][0]["name"], "/tmp/a.js", "{missed:#}");
    let mut all = options(&missed);
    assert_eq!(all[0], "--file", "{missed:#}");
    let missed = run(&all);
    assert_eq!(
        (&missed["lacks"][0]["kind"], &missed["lacks"][0]["on_host"]),
        (&json!("node_module"), &json!([package])),
        "{missed:#}"
    );
    all.extend(options(&missed));
    assert_eq!(run(&all)["stdout"], "found\n");
}

#[test]
fn a_root_that_is_built_is_built_anew_with_it() {
    let dir = scratch();
    let at = dir.path().join("root");
    let root = &*small_root(&at, &[]);
    let code = "print(len(open('/etc/os-release').read()) > 1)\n";
    let missed = outcome(&["--root", root], code);
    assert_eq!(options(&missed).len(), 0, "{missed:#}");
    let advice = missed["lacks"][0]["advice"].as_str().unwrap();
    assert!(
        advice.contains("root build") && advice.contains("--add /etc/os-release"),
        "{advice}"
    );
    small_root(&at, &["--add", "/etc/os-release"]);
    assert_eq!(outcome(&["--root", root], code)["stdout"], "True\n");
}

#[test]
fn what_can_not_be_added_is_bad_input_or_a_failed_set_up_and_nothing_runs() {
    for (path, code, word) in [
        ("/nonexistent", 2, "--add /nonexistent"),
        ("/etc", 125, "/etc"),
        ("/dev/null", 125, "/dev/null"),
    ] {
        let output = expect(
            code,
            &mut callgate([
                "exec",
                "--python",
                interpreter(),
                "--add",
                path,
                "-c",
                "print('reached')",
            ]),
        );
        assert!(output.stdout.is_empty(), "{}", said(&output));
        assert!(
            String::from_utf8_lossy(&output.stderr).contains(word),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn streams_that_are_listened_to_are_as_they_were() {
    // Two streams to one place keep their order.
    let code = "import os\nfor i in range(200): os.write(1 + i % 2, b'%d\\n' % i)\n";
    let line = format!(
        "exec {CALLGATE} exec --quiet --python {} -c \"$0\" 2>&1",
        interpreter()
    );
    let both = expect(0, Command::new("sh").args(["-c", &line, code]));
    let lines: Vec<String> = (0..200).map(|i| i.to_string()).collect();
    assert_eq!(
        String::from_utf8_lossy(&both.stdout),
        format!("{}\n", lines.join("\n"))
    );
    // Who writes on when nobody reads is told so, and does not run for ever.
    let code =
        "import os\ntry:\n    while True: os.write(2, b'x' * 1000)\nexcept BrokenPipeError: os._exit(7)\n";
    let mut child = callgate([
        "exec",
        "--quiet",
        "--timeout",
        "60",
        "--python",
        interpreter(),
        "-c",
        code,
    ])
    .stdout(std::process::Stdio::null())
    .stderr(std::process::Stdio::piped())
    .spawn()
    .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let mut first = [0; 10];
    std::io::Read::read_exact(&mut stderr, &mut first).unwrap();
    drop(stderr);
    assert_eq!(child.wait().unwrap().code(), Some(7));
}

#[test]
fn a_terminal_stays_one_for_the_code() {
    if !available("script", tool("script")) {
        return;
    }
    let code = "import os, sys\nprint(os.isatty(2), os.get_terminal_size(2), file=sys.stderr)\nopen('/etc/os-release')\n";
    let line = format!(
        "stty cols 123 rows 45; {CALLGATE} exec --python {} -c \"$CODE\"",
        interpreter()
    );
    let output = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("CODE", code)
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let seen = String::from_utf8_lossy(&output.stdout);
    for word in [
        "True os.terminal_size(columns=123, lines=45)\r\n",
        "FileNotFoundError",
        "--add /etc/os-release",
    ] {
        assert!(seen.contains(word), "{word}: {seen}");
    }
    assert!(!seen.contains("\r\r"), "{seen:?}");
}

#[test]
fn json_has_what_people_are_told() {
    let output = exec(&["--json"], "import no_such_module_anywhere\n");
    let outcome = parse(&output);
    assert_eq!(outcome["lacks"][0]["kind"], "python_module", "{outcome:#}");
    assert_eq!(outcome["lacks"][0]["on_host"], json!([]));
    assert!(
        outcome["lacks"][0]["advice"]
            .as_str()
            .unwrap()
            .contains("dependencies")
    );
}
