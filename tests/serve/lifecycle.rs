//! Readiness, warmth, counters, and the log.

use serde_json::{Value, json};

use super::ending::with_a_slow_module;
use super::server::{Server, Setup, eventually};
use crate::exec::places::{DOCKER, Ordinary};
use crate::support::{CALLGATE, available, callgate, expect, root, said as said_of, scratch, tool};

#[test]
fn a_server_that_can_run_nothing_does_not_start() {
    // A policy under which not even a program that does nothing ends.
    let dir = scratch();
    let path = dir.path().join("none.json");
    std::fs::write(
        &path,
        json!({"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": []}).to_string(),
    )
    .unwrap();
    let python = crate::exec::interpreter();
    let policy = path.to_str().unwrap();
    let output = expect(
        125,
        &mut callgate([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--python",
            python,
            "--policy",
            policy,
        ]),
    );
    assert!(
        said_of(&output).contains("no code can be run here"),
        "{}",
        said_of(&output)
    );
}

#[test]
fn until_it_is_ready_health_says_so_and_no_run_is_taken() {
    if !available("root", root()) {
        return;
    }
    let dir = scratch();
    let python = with_a_slow_module(dir.path(), 4);
    let flags = ["--python", &python, "--tier", "full"];
    let server = Setup::new(&[&flags[..], &["--preimport", "takes_a_while"]].concat()).listening();
    assert_eq!(server.get("/health"), (503, "\"starting\"".to_owned()));
    let (status, answer) = server.ask("print(1)", &json!({}));
    assert_eq!(
        (status, answer),
        (
            503,
            json!({"code": -503, "message": "the server is starting", "data": null})
        )
    );
    eventually("ready", || server.get("/health") == (200, "\"ok\"".to_owned()));
    assert_eq!(server.run("print(1)")["stdout"], "1\n");
}

#[test]
fn runs_are_forks_of_an_interpreter_that_has_its_modules() {
    if !available("root", root()) {
        return;
    }
    let code = "import sys\nprint([name for name in ('json', 'decimal') if name in sys.modules], len(sys.orig_argv) > 0)";
    let said = |flags: &[&str]| {
        let server = Server::start(flags);
        let warm = server.metric("callgate_beds_ready");
        (
            server.run(code)["stdout"].as_str().unwrap().to_owned(),
            warm > 0.0,
        )
    };
    assert_eq!(
        said(&["--tier", "full", "--fresh"]),
        ("[] True\n".to_owned(), false)
    );
    assert!(said(&["--tier", "full"]).0.starts_with("['json'] "));
    assert!(
        said(&["--tier", "full", "--preimport", "decimal,json"])
            .0
            .starts_with("['json', 'decimal'] ")
    );
    let wrong = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--tier",
        "full",
        "--preimport",
        "no_such_module",
    ];
    let output = expect(
        125,
        callgate(wrong).args(["--python", crate::exec::interpreter()]),
    );
    assert!(
        said_of(&output).contains("no_such_module"),
        "{}",
        said_of(&output)
    );
    // What one run does, the next does not see.
    let server = Server::start(&["--tier", "full"]);
    server.run(
        "import json, builtins\njson.dumps = None\nbuiltins.print = None\nopen('/tmp/left', 'w').write('x')",
    );
    let next = server.run("import json, os\nprint(json.dumps(1), os.listdir('/tmp'))");
    assert_eq!(next["stdout"], "1 []\n", "{next:#}");
    // After so many runs a fresh one takes over, and nobody notices.
    let server = Server::start(&["--tier", "full", "--renew-after", "2"]);
    for _ in 0..6 {
        assert_eq!(server.run("print(1)")["stdout"], "1\n");
    }
    let (status, answer) = server.post("/v1/sandbox/dependencies/update", r#"{"language": "python3"}"#);
    assert_eq!((status, &answer["code"]), (200, &json!(0)), "{answer}");
    assert_eq!(server.run("print(1)")["stdout"], "1\n");
}

#[test]
fn in_a_plain_container_runs_are_forks_of_a_warm_interpreter() {
    if !available("root", root().and_then(|()| tool("setpriv"))) {
        return;
    }
    let confined = ["setpriv", "--bounding-set", DOCKER];
    let server = Setup::through(&confined, &["--tier", "container", "--preimport", "decimal"]).ready();
    let code = "import os, sys\nprint('decimal' in sys.modules, os.getuid() > 0, os.listdir('/tmp'))\nopen('/tmp/left', 'x')";
    for _ in 0..3 {
        let data = server.run(code);
        assert_eq!(data["stdout"], "True True []\n", "{data:#}");
    }
    // As the other uid, for want of CAP_SYS_PTRACE.
    let refused = server.run("import os\nos.sched_setaffinity(0, [0])");
    assert_eq!(refused["violation"]["site"]["line"], 2, "{refused:#}");
    let warm = |entry: &Value| {
        entry["message"]
            .as_str()
            .unwrap_or_default()
            .contains("forks of a warm")
    };
    assert!(server.log().iter().any(warm), "{:#?}", server.log());
}

#[test]
fn where_no_interpreter_can_be_warm_runs_have_new_ones() {
    if !available("root", root().and_then(|()| tool("setpriv"))) {
        return;
    }
    let user = Ordinary::new();
    let home = user.home();
    let home = home.to_str().unwrap();
    let server = Setup::of(
        user.callgate(),
        &["--tier", "unprivileged", "--python", "/usr/bin/python3"],
    )
    .env("HOME", home)
    .env("XDG_CACHE_HOME", home)
    .ready();
    let told = server.log().iter().any(|entry| {
        let text = entry["message"].as_str().unwrap_or_default();
        entry["level"] == "WARN" && text.contains("no warm interpreters")
    });
    assert!(told, "{:#?}", server.log());
    assert_eq!(server.run("print(1)")["stdout"], "1\n");
}

#[test]
fn counters_tell_runs_refusals_and_requests() {
    let server = Server::start(&[]);
    server.run("print(1)");
    server.run("import os\nos.chroot('/')");
    server.run("import ctypes\nctypes.CDLL(None).syscall(99999)");
    let runs = |outcome: &str| {
        server.metric(&format!(
            "callgate_runs_total{{language=\"python3\",outcome=\"{outcome}\"}}"
        ))
    };
    assert_eq!((runs("exited"), runs("violation")), (1.0, 2.0));
    assert_eq!(
        server.metric("callgate_refused_calls_total{call=\"chroot\"}"),
        1.0
    );
    assert_eq!(
        server.metric("callgate_refused_calls_total{call=\"unknown\"}"),
        1.0
    );
    assert_eq!(server.metric("callgate_run_duration_seconds_count"), 3.0);
    assert!(server.metric("callgate_run_duration_seconds_bucket{le=\"60.0\"}") == 3.0);
    let ok = "callgate_http_requests_total{path=\"/v1/sandbox/run\",status=\"200\"}";
    assert_eq!(server.metric(ok), 3.0);
}

#[test]
fn each_run_has_one_line_in_the_log_without_its_code() {
    let server = Server::start(&[]);
    let secret = "print('a secret of the client')";
    let body = json!({"language": "python3", "code": secret}).to_string();
    let headers = [
        ("X-Api-Key", super::server::KEY),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        ("X-User-ID", "somebody"),
    ];
    server.post_with("/v1/sandbox/run", &body, &headers);
    eventually("the log", || server.audit().len() == 1);
    let entry = &server.audit()[0];
    assert_eq!(
        json!([
            entry["language"],
            entry["outcome"],
            entry["exit_code"],
            entry["bytes"],
            entry["user"],
            entry["trace"]
        ]),
        json!(["python3", "exited", 0, secret.len(), "somebody", headers[1].1])
    );
    // The oracle: sha256sum's first 16 bytes.
    let mut sum = std::process::Command::new("sha256sum");
    let told = crate::exec::feed(&mut sum, secret.as_bytes());
    let told = String::from_utf8_lossy(&told.stdout)[..32].to_owned();
    assert_eq!(entry["sha256"], Value::from(told));
    server.run("import os\n\nos.chroot('/')");
    eventually("the log", || server.audit().len() == 2);
    let entry = &server.audit()[1];
    assert_eq!(
        json!([entry["outcome"], entry["refused"], entry["site"]]),
        json!(["violation", "chroot", "<code>:3 in <module>"]),
        "{entry:#}"
    );
    assert!(
        !server
            .log()
            .iter()
            .any(|entry| entry.to_string().contains("a secret"))
    );
}

#[test]
fn the_allocator_of_a_server_keeps_nothing_for_each_thread_and_runs_see_none_of_it() {
    let server = Setup::new(&[])
        .env("GLIBC_TUNABLES", "glibc.malloc.arena_max=3")
        .ready();
    let environment = std::fs::read_to_string(format!("/proc/{}/environ", server.pid())).unwrap();
    // The loader takes it apart in place.
    let set = format!(":{}:", environment.replace('\0', ":"));
    let ours = ":GLIBC_TUNABLES=glibc.malloc.arena_max=3:glibc.malloc.tcache_count=0:";
    assert!(set.contains(ours), "{set}");
    // Its words are what they were.
    let words = std::fs::read_to_string(format!("/proc/{}/cmdline", server.pid())).unwrap();
    assert!(
        words.starts_with(&format!("{CALLGATE}\0serve\0--log\0json\0")),
        "{words:?}"
    );
    let code = "import os\nprint([name for name in os.environ if 'GLIBC' in name or 'CALLGATE' in name])";
    assert_eq!(server.run(code)["stdout"], "[]\n");
}
