//! Who made a call: a sight for the call and for each new argument, in each phase.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{call, dig, trace_of, trace_of_script};
use crate::support::{available, callgate, compiled, expect, json as parsed, said, scratch, tool};

fn sights<'a>(trace: &'a Value, name: &str) -> &'a Vec<Value> {
    call(trace, name).unwrap()["sights"].as_array().unwrap()
}

#[test]
fn a_sight_has_line_object_thread_phase_time_and_the_new_arguments() {
    let dir = scratch();
    let text = "import os, socket, threading\n\ndef work():\n    os.getsid(0)\n    socket.socketpair()[0].close()\n\n\
                socket.socketpair(type=socket.SOCK_DGRAM)\nt = threading.Thread(target=work)\nt.start()\nt.join()\n";
    let (trace, script) = trace_of_script(dir.path(), text);
    let pairs = sights(&trace, "socketpair");
    assert_eq!(
        pairs.len(),
        2,
        "the call with three keys, then one more type: {pairs:#?}"
    );
    let keys = |sight: &Value| -> Vec<String> {
        let args = sight["args"].as_array().unwrap().iter();
        args.map(|key| key["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(keys(&pairs[0]).len(), 3);
    assert_eq!(keys(&pairs[1]), ["SOCK_STREAM|SOCK_CLOEXEC"]);
    let (first, second) = (&pairs[0]["thread"], &pairs[1]["thread"]);
    assert_eq!((&first["main"], &second["main"]), (&json!(true), &json!(false)));
    assert_eq!((&first["tid"], &second["pid"]), (&first["pid"], &first["pid"]));
    assert!(first["name"].as_str().unwrap().starts_with("python"), "{first}");

    let getsid = &sights(&trace, "getsid")[0];
    assert_eq!(
        getsid["site"],
        json!({"file": script.to_str().unwrap(), "line": 4, "function": "work"})
    );
    assert!(
        getsid["object"]["file"].as_str().unwrap().contains("libc"),
        "{getsid}"
    );
    assert!(getsid["object"]["offset"].as_u64().unwrap() > 0x1000, "{getsid}");
    assert_eq!((&getsid["phase"], getsid.get("stack")), (&json!("body"), None));
    assert!(getsid["ms"].as_u64().unwrap() < 60_000);
    let maker = sights(&trace, "clone3");
    assert!(
        maker[0]["site"]["file"]
            .as_str()
            .unwrap()
            .ends_with("threading.py"),
        "{maker:#?}"
    );
}

#[test]
fn startup_has_objects_and_the_body_its_own_first_sight() {
    let dir = scratch();
    let (trace, _) = trace_of_script(
        dir.path(),
        "import os\nos.close(os.open(__file__, os.O_RDONLY))\n",
    );
    let phases: Vec<&str> = sights(&trace, "openat")
        .iter()
        .map(|sight| sight["phase"].as_str().unwrap())
        .collect();
    assert!(
        phases.contains(&"startup") && phases.contains(&"body"),
        "{phases:?}"
    );
    let start = &sights(&trace, "arch_prctl")[0];
    assert!(
        start["object"]["file"].as_str().unwrap().contains("ld-linux"),
        "{start}"
    );
    assert_eq!(start.get("site"), None);
    assert!(
        call(&trace, "arch_prctl").unwrap()["site"]["file"]
            .as_str()
            .unwrap()
            .contains("ld-linux")
    );

    let file = dir.path().join("t.json");
    std::fs::write(&file, trace.to_string()).unwrap();
    let body = parsed(&expect(
        0,
        callgate(["dig", "show", "--json", "--since-main"]).arg(&file),
    ));
    assert!(
        sights(&body, "openat")
            .iter()
            .all(|sight| sight["phase"] == "body")
    );
    let policy = parsed(&expect(0, callgate(["policy", "new"]).arg(&file)));
    let comments = policy["syscalls"].to_string();
    assert!(comments.contains("observed (startup, ld-linux"), "{comments}");
}

#[test]
fn a_program_without_an_interpreter_has_its_object_alone() {
    let dir = scratch();
    let Some(program) = compiled("family", dir.path()) else {
        return;
    };
    let output = expect(0, dig(["--stacks", "--"]).arg(&program).arg("threads"));
    let trace = parsed(&output);
    let last = &sights(&trace, "exit_group")[0];
    assert_eq!(last["object"]["file"], program.to_str().unwrap(), "it is static");
    assert!(last.get("site").is_none() && last.get("stack").is_none());
    assert!(
        trace["notes"].to_string().contains("no Python stacks"),
        "{}",
        said(&output)
    );
    // Where the instruction lies, as the program's own symbols tell it.
    let text = trace_of(&program, &["threads"])["notes"].to_string();
    assert!(
        !text.contains("no Python"),
        "only where stacks were asked for: {text}"
    );
}

/// A library with a function that asks the C library for something, and a program that calls it.
fn library(dir: &Path) -> Option<(PathBuf, PathBuf)> {
    if !available("cc", tool("cc")) {
        return None;
    }
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let source = write(
        "asks.c",
        "#include <sys/resource.h>\nint ask(void) { return getpriority(PRIO_PROCESS, 0) + 1; }\n",
    );
    let main = write(
        "main.c",
        "#include <unistd.h>\nint ask(void);\nint main(void) { return ask() == 99 || getsid(0) < 0; }\n",
    );
    let (library, program) = (dir.join("libasks.so"), dir.join("program"));
    let run = |args: &[&OsStr]| expect(0, Command::new("cc").arg("-O2").args(args));
    let o = OsStr::new("-o");
    run(&[
        "-shared".as_ref(),
        "-fPIC".as_ref(),
        o,
        library.as_ref(),
        source.as_ref(),
    ]);
    run(&[o, program.as_ref(), main.as_ref(), library.as_ref()]);
    Some((library, program))
}

#[test]
fn the_library_that_asked_is_named_beside_the_c_library() {
    let dir = scratch();
    let Some((library, program)) = library(dir.path()) else {
        return;
    };
    let file = |place: &Value| place["file"].as_str().unwrap_or_default().to_owned();
    let trace = trace_of(&program, &[]);
    for (name, expected) in [("getpriority", &library), ("getsid", &program)] {
        let sight = &sights(&trace, name)[0];
        assert_eq!(file(&sight["caller"]), expected.to_str().unwrap(), "{sight}");
        assert!(file(&sight["object"]).contains("libc"), "{sight}");
        let site = &call(&trace, name).unwrap()["site"]["file"];
        assert_eq!(site, expected.to_str().unwrap(), "the table names it");
    }
    let start = &sights(&trace, "arch_prctl")[0];
    assert!(start.get("caller").is_none(), "the loader, by itself: {start}");

    // An extension module, and the interpreter's own modules.
    let text = format!(
        "import ctypes, os\nctypes.CDLL({:?}).ask()\nos.getsid(0)\n",
        library.to_str().unwrap()
    );
    let (trace, script) = trace_of_script(dir.path(), &text);
    let asked = &sights(&trace, "getpriority")[0];
    assert_eq!(file(&asked["caller"]), library.to_str().unwrap(), "{asked}");
    assert_eq!(
        (&asked["site"]["file"], &asked["site"]["line"]),
        (&json!(script.to_str().unwrap()), &json!(2))
    );
    let own = file(&sights(&trace, "getsid")[0]["caller"]);
    let own = own.rsplit('/').next().unwrap();
    assert!(own.starts_with("libpython") || own.starts_with("python"), "{own}");

    let path = dir.path().join("t.json");
    std::fs::write(&path, trace.to_string()).unwrap();
    let shown = expect(0, callgate(["dig", "show", "--call", "getpriority"]).arg(&path));
    assert!(said(&shown).contains("libasks.so+0x"), "{}", said(&shown));
}

#[test]
fn a_stack_is_kept_if_asked_for_innermost_first_and_bounded() {
    let dir = scratch();
    let text = "import os\n\ndef down(n):\n    if n: return down(n - 1)\n    os.getsid(0)\n\ndown(2)\n\n\
                def deep(n):\n    if n: return deep(n - 1)\n    os.getpgid(0)\n\ndeep(80)\n";
    std::fs::write(dir.path().join("p.py"), text).unwrap();
    let file = dir.path().join("t.json");
    let mut command = callgate(["dig", "--stacks", "-o"]);
    let table = expect(0, command.arg(&file).arg("p.py").current_dir(dir.path()));
    let trace: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let frames = |name: &str| -> Vec<(u64, String)> {
        let stack = sights(&trace, name)[0]["stack"].as_array().unwrap();
        stack
            .iter()
            .map(|frame| {
                (
                    frame["line"].as_u64().unwrap(),
                    frame["function"].as_str().unwrap().to_owned(),
                )
            })
            .collect()
    };
    let down = |line| (line, "down".to_owned());
    assert_eq!(
        frames("getsid"),
        [down(5), down(4), down(4), (7, "<module>".to_owned())]
    );
    let deep = &sights(&trace, "getpgid")[0];
    assert_eq!(
        (frames("getpgid").len(), &deep["stack_omitted"]),
        (64, &json!(18))
    );
    // The native stack goes from the C library through the interpreter to the program's start.
    let native = |name: &str| -> Vec<String> {
        let sight = &sights(&trace, name)[0];
        let frames = sight["native"].as_array().unwrap().iter();
        frames
            .map(|frame| frame["file"].as_str().unwrap().to_owned())
            .collect()
    };
    let files = native("getsid");
    assert!(
        files[0].contains("/libc.so") || files[0].contains("/ld-musl"),
        "{files:?}"
    );
    assert!(
        files.len() > 4 && files[1..].iter().any(|file| file.contains("python3")),
        "{files:?}"
    );
    assert!(native("getpgid").len() <= 64);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains(" further frames"), "{table}");
    assert!(
        table.contains("getsid\n  p.py:5 in down\n  p.py:4 in down\n"),
        "{table}"
    );
    assert!(table.contains("… 18 outer frames"), "{table}");
    let shown = expect(0, callgate(["dig", "show", "--stacks"]).arg(&file));
    assert_eq!(String::from_utf8(shown.stdout).unwrap(), table);
}

#[test]
fn show_tells_the_sights_of_one_call_and_the_files_alone_in_80_columns() {
    let dir = scratch();
    let (trace, script) = trace_of_script(
        dir.path(),
        "import socket\nsocket.socketpair()\nsocket.socket().close()\n",
    );
    let file = dir.path().join("t.json");
    std::fs::write(&file, trace.to_string()).unwrap();
    let shown = |args: &[&str]| {
        let mut command = callgate(["dig", "show"]);
        let output = expect(0, command.args(args).arg(&file).env("COLUMNS", "80"));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        text
    };
    let pair = shown(&["--call", "socketpair"]);
    for word in ["AF_UNIX", "body", "libc.so", "made once"] {
        assert!(pair.contains(word), "{word}: {pair}");
    }
    let files = shown(&["--files"]);
    assert!(
        files.contains("libc.so.6") && !files.contains("socketpair"),
        "{files}"
    );
    let told = expect(2, callgate(["dig", "show", "--call", "reboot"]).arg(&file));
    assert!(said(&told).contains("not observed"), "{}", said(&told));
    assert!(script.exists());
}

#[test]
fn a_trace_without_sights_still_reads_and_merges() {
    let dir = scratch();
    let old = dir.path().join("old.json");
    let (trace, _) = trace_of_script(dir.path(), "import os\nos.getsid(0)\n");
    let mut before = trace.clone();
    for call in before["syscalls"].as_array_mut().unwrap() {
        call.as_object_mut().unwrap().remove("sights");
    }
    std::fs::write(&old, before.to_string()).unwrap();
    let new = dir.path().join("new.json");
    std::fs::write(&new, trace.to_string()).unwrap();
    let shown = expect(0, callgate(["dig", "show", "--call", "getsid"]).arg(&old));
    assert!(said(&shown).contains("does not say who"), "{}", said(&shown));
    let merged = parsed(&expect(
        0,
        callgate(["dig", "merge", "--json"]).args([&old, &new, &new]),
    ));
    assert_eq!(sights(&merged, "mmap"), sights(&trace, "mmap"), "each news once");
}

#[test]
fn an_interpreter_that_can_t_be_read_is_told_with_the_reason() {
    let dir = scratch();
    // It calls itself Python and is none: its object stands alone.
    let false_python = dir.path().join("python3.99");
    expect(0, Command::new("cp").arg("/bin/true").arg(&false_python));
    let output = expect(0, dig(["--"]).arg(&false_python));
    let trace = parsed(&output);
    assert!(
        trace["notes"].to_string().contains("no Python lines"),
        "{}",
        said(&output)
    );
    let brk = &sights(&trace, "brk")[0];
    assert!(
        brk["object"]["file"].as_str().unwrap().contains("ld-linux"),
        "{brk}"
    );
}
