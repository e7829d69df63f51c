//! Start-up and body, and the line that made a call first.

use std::process::Command;

use serde_json::json;

use super::{call, dig, trace_of_script};
use crate::support::{available, expect, json as parsed, repository, said, scratch};

fn phases(call: &serde_json::Value) -> Vec<&str> {
    call["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|phase| phase.as_str().unwrap())
        .collect()
}

#[test]
fn startup_ends_at_the_first_line_of_the_script() {
    let dir = scratch();
    let (trace, _) = trace_of_script(dir.path(), "import os\nos.getppid()\nopen(__file__).close()\n");
    assert_eq!(phases(call(&trace, "execve").unwrap()), ["startup"]);
    assert_eq!(phases(call(&trace, "getppid").unwrap()), ["body"]);
    assert_eq!(phases(call(&trace, "openat").unwrap()), ["startup", "body"]);
    assert!(
        call(&trace, "execve").unwrap().get("site").is_none(),
        "start-up has no line"
    );
}

#[test]
fn a_command_is_all_body_after_its_exec() {
    let trace = super::trace(["--", "/bin/true"]);
    assert_eq!(phases(call(&trace, "execve").unwrap()), ["startup"]);
    assert_eq!(phases(call(&trace, "mmap").unwrap()), ["body"]);
    let site = &call(&trace, "mmap").unwrap()["site"];
    assert!(
        site["file"].as_str().unwrap().contains("ld-linux"),
        "the object that made the call: {site}"
    );
}

#[test]
fn a_site_is_the_file_the_line_and_the_function_that_made_the_call_first() {
    let dir = scratch();
    let text = "import os\n\nos.getppid()\n\ndef ask():\n    return os.getsid(0)\n\nask()\nos.getppid()\n";
    let (trace, script) = trace_of_script(dir.path(), text);
    let here = |line: u32, function: &str| serde_json::json!({"file": script.to_str().unwrap(), "line": line, "function": function});
    assert_eq!(call(&trace, "getppid").unwrap()["site"], here(3, "<module>"));
    assert_eq!(call(&trace, "getsid").unwrap()["site"], here(6, "ask"));
    assert_eq!(call(&trace, "getppid").unwrap()["count"], 2);
}

#[test]
fn a_call_of_an_imported_module_has_the_module_s_line_and_not_the_importer_s() {
    let dir = scratch();
    std::fs::write(dir.path().join("helper.py"), "import os\n\n\nos.getsid(0)\n").unwrap();
    let text = "import os, sys\nsys.path.insert(0, os.path.dirname(__file__))\nimport helper\nos.getppid()\n";
    let (trace, script) = trace_of_script(dir.path(), text);
    let site = &call(&trace, "getsid").unwrap()["site"];
    assert_eq!(site["file"], dir.path().join("helper.py").to_str().unwrap());
    assert_eq!(site["line"], 4);
    for call in trace["syscalls"].as_array().unwrap() {
        let file = call["site"]["file"].as_str().unwrap_or_default();
        assert!(
            !file.contains("importlib"),
            "the import system is nobody's place: {call}"
        );
    }
    assert_eq!(
        call(&trace, "getppid").unwrap()["site"]["file"],
        script.to_str().unwrap()
    );
}

#[test]
fn a_program_that_has_python_in_it_has_lines_too() {
    let dir = scratch();
    let script = dir.path().join("p.py");
    std::fs::write(&script, "import os\n\ndef f():\n    os.getsid(0)\n\nf()\n").unwrap();
    let program = dir.path().join("embeds");
    // The system's: its library is where the linker looks.
    let version = "import sysconfig; print(sysconfig.get_config_var('LDVERSION'))";
    let version = expect(0, Command::new("/usr/bin/python3").args(["-c", version]));
    let library = format!("-lpython{}", String::from_utf8(version.stdout).unwrap().trim());
    let mut cc = Command::new("cc");
    cc.args(["-Wall", "-o"])
        .arg(&program)
        .arg(repository().join("tests/programs/embeds.c"));
    let linked = cc.arg(library).output().unwrap();
    let found = linked.status.success().then_some(()).ok_or_else(|| said(&linked));
    if !available("libpython3-dev", found) {
        return;
    }
    for flags in [&["--"][..], &["--stacks", "--"]] {
        let mut command = dig(flags);
        let trace = parsed(&expect(0, command.arg(&program).arg(&script)));
        let site = &call(&trace, "getsid").unwrap()["sights"][0]["site"];
        let place = (&site["file"], &site["line"], &site["function"]);
        assert_eq!(
            place,
            (&json!(script.to_str().unwrap()), &json!(4), &json!("f")),
            "{trace:#}"
        );
    }
}

#[test]
fn a_thread_s_call_has_the_thread_s_line() {
    let dir = scratch();
    let text = "import os, threading\n\ndef work():\n    os.getsid(0)\n\nt = threading.Thread(target=work)\nt.start()\nt.join()\n";
    let (trace, script) = trace_of_script(dir.path(), text);
    let site = &call(&trace, "getsid").unwrap()["site"];
    assert_eq!((&site["line"], &site["function"]), (&4.into(), &"work".into()));
    assert_eq!(site["file"], script.to_str().unwrap());
}

#[test]
fn a_forked_child_s_call_has_the_child_s_line() {
    let dir = scratch();
    let text =
        "import os\n\npid = os.fork()\nif pid == 0:\n    os.getsid(0)\n    os._exit(0)\nos.waitpid(pid, 0)\n";
    let (trace, script) = trace_of_script(dir.path(), text);
    let site = &call(&trace, "getsid").unwrap()["site"];
    assert_eq!(site["line"], 5);
    assert_eq!(site["file"], script.to_str().unwrap());
}

#[test]
fn a_script_that_does_not_compile_is_recorded_and_its_failure_is_told() {
    let dir = scratch();
    let script = dir.path().join("broken.py");
    std::fs::write(&script, "def (:\n").unwrap();
    let output = crate::support::expect(1, &mut super::dig([&script]));
    assert_eq!(crate::support::json(&output)["outcome"]["exit_code"], 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("SyntaxError"));
}

#[test]
fn the_arguments_that_choose_what_a_call_does_are_named_as_the_headers_name_them() {
    let dir = scratch();
    let text = "import fcntl, socket\n\
                socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
                fcntl.fcntl(0, fcntl.F_GETFL)\n";
    let (trace, _) = trace_of_script(dir.path(), text);
    let named = |name: &str, index: u64, key: &str| {
        let seen = &call(&trace, name).unwrap()["args"]["seen"];
        let there = |entry: &serde_json::Value| entry["index"] == index && entry["name"] == key;
        assert!(
            seen.as_array().unwrap().iter().any(there),
            "{name}: no {key} in {seen}"
        );
    };
    named("socketpair", 0, "AF_UNIX");
    named("fcntl", 1, "F_GETFL");
    named("mmap", 2, "PROT_READ|PROT_WRITE");
}
