//! What a snippet needs beyond the policy; and that the sandbox holds while it is learned.

use serde_json::{Value, json};

use super::server::{Server, Setup};
use crate::support::scratch;

const PATH: &str = "/v1/sandbox/diagnose";

fn diagnosed(server: &Server, code: &str) -> Value {
    let body = json!({"language": "python3", "code": code}).to_string();
    let (status, answer) = server.post(PATH, &body);
    assert_eq!((status, &answer["code"]), (200, &json!(0)), "{answer:#}");
    assert_eq!(answer["data"]["schema"], "callgate.diagnosis/1");
    answer["data"].clone()
}

fn called(list: &Value) -> Vec<&str> {
    let all = list.as_array().unwrap().iter();
    all.map(|need| need["syscall"].as_str().unwrap()).collect()
}

#[test]
fn it_is_off_unless_the_operator_switches_it_on() {
    let server = Server::start(&[]);
    let body = json!({"language": "python3", "code": "print(1)"}).to_string();
    let (status, answer) = server.post(PATH, &body);
    assert_eq!(
        (status, &answer["code"], &answer["data"]),
        (403, &json!(-403), &Value::Null)
    );
    assert!(
        answer["message"].as_str().unwrap().contains("--diagnose"),
        "{answer}"
    );
    assert!(server.audit().is_empty());
}

#[test]
fn what_is_needed_is_listed_and_the_suggested_policy_allows_it() {
    let server = Setup::new(&["--diagnose"])
        .env("ALLOWED_SYSCALLS", "mount")
        .ready();
    let code = "import os\n\ndef pin():\n    os.sched_setaffinity(0, os.sched_getaffinity(0))\n\npin()\n\
                os.mkfifo('/tmp/pipe')\nprint('done')\n";
    let found = diagnosed(&server, code);
    assert_eq!(
        (&found["run"]["stdout"], &found["run"]["exit_code"]),
        (&json!("done\n"), &json!(0)),
        "{found:#}"
    );
    let needs = called(&found["needs"]);
    assert!(needs.contains(&"sched_setaffinity"), "{found:#}");
    let pinned = found["needs"]
        .as_array()
        .unwrap()
        .iter()
        .find(|need| need["syscall"] == "sched_setaffinity")
        .unwrap();
    assert_eq!(
        (&pinned["site"]["line"], &pinned["answer"]),
        (&json!(4), &json!("kill")),
        "{pinned:#}"
    );
    let line = found["suggestion"]["allowed_syscalls"].as_str().unwrap();
    assert!(
        line.starts_with("allowed_syscalls: [mount, ") && line.contains("sched_setaffinity"),
        "{line}"
    );
    assert!(
        server.audit().iter().any(|entry| entry["learn"] == true),
        "{:#?}",
        server.audit()
    );

    // Both forms of the suggestion let the code run; without them it does not.
    assert_ne!(server.run(code)["exit_code"], 0);
    let dir = scratch();
    let policy = dir.path().join("suggested.json");
    std::fs::write(&policy, found["suggestion"]["policy"].to_string()).unwrap();
    let by_policy = Server::start(&["--policy", policy.to_str().unwrap()]);
    assert_eq!(by_policy.run(code)["stdout"], "done\n");
    let config = dir.path().join("config.yaml");
    std::fs::write(&config, line).unwrap();
    let by_list = Server::start(&["--config", config.to_str().unwrap()]);
    assert_eq!(by_list.run(code)["stdout"], "done\n");
}

#[test]
fn what_needs_nothing_has_no_suggestion() {
    let server = Server::start(&["--diagnose"]);
    let found = diagnosed(&server, "print(1)");
    assert_eq!(
        json!([
            found["needs"],
            found["refused"],
            found["suggestion"],
            found["run"]["stdout"],
            found["policy"]
        ]),
        json!([[], [], null, "1\n", "python"])
    );
}

#[test]
fn the_sandbox_holds_while_code_is_diagnosed() {
    let server = Server::start(&["--diagnose"]);
    let marker = std::env::temp_dir().join(crate::exec::unique("escaped"));
    let marker = marker.to_str().unwrap();
    let code = format!(
        "import os\nprint(os.getuid() == 0, os.path.exists('/etc/shadow'))\nopen('{marker}', 'w').write('x')"
    );
    let found = diagnosed(&server, &code);
    assert_eq!(found["run"]["stdout"], "False False\n", "{found:#}");
    assert!(!std::path::Path::new(marker).exists(), "{found:#}");
    // What would open other layers ends it, as under the policy.
    for (call, code) in [
        ("unshare", "unshare(0x10000000)"),
        ("ptrace", "ptrace(16, 1, 0, 0)"),
    ] {
        let found = diagnosed(&server, &format!("import ctypes\nctypes.CDLL(None).{code}"));
        assert_eq!(found["run"]["violation"]["syscall"], call, "{found:#}");
        assert!(!called(&found["needs"]).contains(&call), "{found:#}");
    }
    // The next run is under the policy again.
    assert_eq!(
        server.run("import os\nos.chroot('/')")["violation"]["syscall"],
        "chroot"
    );
}

#[test]
fn what_can_not_be_meant_is_refused_as_for_a_run() {
    let server = Server::start(&["--diagnose"]);
    for body in [
        "{",
        r#"{"language": "ruby", "code": "1"}"#,
        r#"{"language": "python3"}"#,
    ] {
        let (status, answer) = server.post(PATH, body);
        assert_eq!((status, &answer["code"]), (400, &json!(-400)), "{answer}");
    }
    let (status, _) = server.post_with(PATH, "{}", &[]);
    assert_eq!(status, 401);
}
