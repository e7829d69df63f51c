//! Every status and shape of the API.

use serde_json::{Value, json};

use super::server::{KEY, Server, Setup};
use crate::support::{available, tool};

/// The four fields of dify-sandbox.
fn theirs(data: &Value) -> Value {
    json!([data["stdout"], data["stderr"], data["error"], data["exit_code"]])
}

#[test]
fn runs_end_as_with_dify_sandbox() {
    let server = Setup::new(&[]).env("WORKER_TIMEOUT", "1").ready();
    let one = server.run("print(1)");
    assert_eq!(theirs(&one), json!(["1\n", "", "", 0]));
    assert_eq!(one["violation"], Value::Null);
    assert_eq!(one["truncated"], json!([]));
    assert!(one["usage"]["wall_ms"].as_u64().unwrap() > 0, "{one:#}");

    let logged = server.run("import sys\nprint('log', file=sys.stderr)");
    assert_eq!(theirs(&logged), json!(["", "log\n", "", 0]));

    let three = server.run("import sys\nprint('so far')\nsys.exit(3)");
    assert_eq!(
        theirs(&three),
        json!(["so far\n", "", "process exited with code 3", 3])
    );

    let raised = server.run("def f():\n    return 1 / 0\n\nf()\n");
    let traceback = raised["stderr"].as_str().unwrap();
    assert!(traceback.starts_with(
        "Traceback (most recent call last):\n  File \"<code>\", line 4, in <module>\n    f()\n"
    ));
    assert!(
        traceback.ends_with("ZeroDivisionError: division by zero\n"),
        "{traceback}"
    );
    assert_eq!(traceback.matches("File ").count(), 2, "{traceback}");
    let error = format!("process exited with code 255\n{traceback}");
    assert_eq!(theirs(&raised), json!(["", traceback, error, 255]));

    let wrong = server.run("def f(:\n");
    assert_eq!(wrong["exit_code"], 255);
    assert!(
        wrong["stderr"]
            .as_str()
            .unwrap()
            .contains("File \"<code>\", line 1\n    def f(:\n"),
        "{wrong:#}"
    );

    let late = server.run("import time\nprint('on', flush=True)\ntime.sleep(60)");
    let error = "process exited with code -1\nerror: timeout\n";
    assert_eq!(theirs(&late), json!(["on\n", "", error, -1]));
    assert_eq!(
        late["limit"],
        json!({"name": "timeout", "value": 1000, "unit": "ms"})
    );

    let killed = server.run("import os\nos.kill(os.getpid(), 9)");
    assert_eq!(killed["exit_code"], -1);
    assert_eq!(
        killed["error"],
        "process exited with code -1\nerror: killed by SIGKILL\n"
    );
}

#[test]
fn a_refused_call_is_named_with_its_line_and_the_remedy() {
    let server = Server::start(&[]);
    let refused = server.run("import os\n\ndef pin():\n    os.sched_setaffinity(0, [0])\n\npin()\n");
    let error = refused["error"].as_str().unwrap();
    let (theirs, ours) =
        error.split_at("process exited with code -1\nerror: operation not permitted\n".len());
    assert_eq!(
        theirs,
        "process exited with code -1\nerror: operation not permitted\n"
    );
    assert_eq!(ours.lines().count(), 1, "{ours}");
    for part in [
        "refused: sched_setaffinity",
        "at <code>:4 in pin",
        "allowed_syscalls: [sched_setaffinity]",
        "callgate policy allow python sched_setaffinity",
    ] {
        assert!(ours.contains(part), "{part}: {ours}");
    }
    assert_eq!(refused["exit_code"], -1);
    let violation = &refused["violation"];
    assert_eq!(violation["syscall"], "sched_setaffinity");
    assert_eq!(violation["site"]["line"], 4);
    assert_eq!(
        violation["remedy"]["dify"],
        "allowed_syscalls: [sched_setaffinity]"
    );
}

#[test]
fn limits_are_told_from_refusals() {
    let server = Server::start(&["--memory", "64M", "--output-limit", "1000"]);
    let hungry = server.run("x = b'x' * (200 << 20)");
    assert_eq!(hungry["exit_code"], -1, "{hungry:#}");
    assert!(
        hungry["error"]
            .as_str()
            .unwrap()
            .contains("error: out of memory (the limit is 67108864 bytes)")
    );
    assert_eq!(hungry["limit"]["name"], "memory");
    let loud = server.run("print('x' * 5000)");
    assert_eq!(loud["stdout"].as_str().unwrap().len(), 1000);
    assert_eq!(
        (&loud["truncated"], &loud["exit_code"]),
        (&json!(["stdout"]), &json!(0))
    );
}

#[test]
fn requests_that_can_not_be_meant_are_refused() {
    let server = Server::start(&["--body-limit", "64K"]);
    let run = "/v1/sandbox/run";
    for (body, part) in [
        ("", "no JSON object"),
        ("{", "EOF"),
        ("[]", "no JSON object"),
        (r#"["python3", "print(1)"]"#, "no JSON object"),
        ("null", "no JSON object"),
        (r#"{"language": "python3"}"#, "code is missing"),
        (r#"{"language": "python3", "code": ""}"#, "code is missing"),
        (r#"{"code": "print(1)"}"#, "language is missing"),
        (r#"{"language": "python3", "code": 1}"#, "expected a string"),
    ] {
        let (status, answer) = server.post(run, body);
        assert_eq!(
            (status, &answer["code"], &answer["data"]),
            (400, &json!(-400), &Value::Null),
            "{body}"
        );
        assert!(answer["message"].as_str().unwrap().contains(part), "{answer}");
    }
    let (status, answer) = server.post(run, r#"{"language": "ruby", "code": "puts 1"}"#);
    assert_eq!(status, 400);
    assert_eq!(
        answer,
        json!({"code": -400, "message": "unsupported language", "data": null})
    );

    let long = json!({"language": "python3", "code": "#".repeat(1 << 20)}).to_string();
    let (status, answer) = server.post(run, &long);
    assert_eq!((status, &answer["code"]), (413, &json!(-413)), "{answer}");

    let (status, answer) = server.ask("print(1)", &json!({"enable_network": true}));
    let message = "network is disabled, please enable it in the configuration";
    assert_eq!(
        (status, answer),
        (200, json!({"code": -400, "message": message, "data": null}))
    );

    let (status, text) = server.get("/v1/sandbox/nothing");
    assert_eq!((status, text.contains("-404")), (404, true), "{text}");
    let (status, text) = server.get(run);
    assert_eq!((status, text.contains("-405")), (405, true), "{text}");
    assert_eq!(server.run("print('still here')")["stdout"], "still here\n");
}

#[test]
fn javascript_runs_where_there_is_a_node() {
    if !available("node", tool("node")) {
        return;
    }
    let server = Setup::new(&[]).env("ENABLE_PRELOAD", "true").ready();
    let ask = |code: &str, more: &Value| {
        let mut body = json!({"language": "nodejs", "code": code});
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        let (status, answer) = server.post("/v1/sandbox/run", &body.to_string());
        assert_eq!((status, &answer["code"]), (200, &json!(0)), "{answer:#}");
        answer["data"].clone()
    };
    let plain = json!({});
    assert_eq!(theirs(&ask("console.log(1)", &plain)), json!(["1\n", "", "", 0]));
    assert_eq!(
        ask("process.exit(3)", &plain)["error"],
        "process exited with code 3"
    );
    let thrown = ask("\nthrow new Error('mine')", &plain);
    assert_eq!(thrown["exit_code"], 1);
    assert!(
        thrown["stderr"].as_str().unwrap().contains("code.js:2"),
        "{thrown:#}"
    );
    let with = ask(
        "console.log(twice(21))",
        &json!({"preload": "const twice = (x) => 2 * x"}),
    );
    assert_eq!(with["stdout"], "42\n");
    let outside = ask(
        "console.log(require('fs').existsSync('/etc/shadow'), process.getuid() === 0)",
        &plain,
    );
    assert_eq!(outside["stdout"], "false false\n");
    assert_eq!(
        server.metric("callgate_runs_total{language=\"nodejs\",outcome=\"exited\"}"),
        5.0
    );
}

#[test]
fn a_form_is_read_and_json_that_says_it_is_one() {
    let server = Server::start(&[]);
    let headers = [
        ("X-Api-Key", KEY),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    let (status, answer) =
        server.post_with("/v1/sandbox/run", "language=python3&code=print%281%29", &headers);
    assert_eq!(
        (status, &answer["data"]["stdout"]),
        (200, &json!("1\n")),
        "{answer}"
    );
}

#[test]
fn nothing_but_health_is_answered_without_the_key() {
    let server = Server::start(&[]);
    let body = json!({"language": "python3", "code": "print(1)"}).to_string();
    let paths = ["/v1/sandbox/run", "/v1/sandbox/dependencies/update"];
    for path in paths {
        for headers in [
            &[][..],
            &[("X-Api-Key", "")],
            &[("X-Api-Key", "dify-sandbox")],
            &[("Authorization", "Bearer x")],
        ] {
            let (status, answer) = server.post_with(path, &body, headers);
            assert_eq!(
                (status, &answer["data"]),
                (401, &Value::Null),
                "{path} {headers:?}"
            );
        }
    }
    for path in [
        "/metrics",
        "/v1/sandbox/dependencies?language=python3",
        "/v1/sandbox/dependencies/refresh",
    ] {
        let open = ureq::get(server.url(path))
            .config()
            .http_status_as_error(false)
            .build()
            .call();
        assert_eq!(open.unwrap().status(), 401, "{path}");
    }
    let health = ureq::get(server.url("/health"))
        .call()
        .unwrap()
        .body_mut()
        .read_to_string();
    assert_eq!(health.unwrap(), "\"ok\"");
    let bearer = format!("Bearer {KEY}");
    let metrics = ureq::get(server.url("/metrics"))
        .header("Authorization", bearer)
        .call();
    assert_eq!(metrics.unwrap().status(), 200);
}

#[test]
fn the_code_finds_the_main_module_that_it_would_have_by_itself() {
    let server = Server::start(&[]);
    let told = server.run(
        "import __main__, sys\nx = 1\nassert __main__.x == 1 and __name__ == '__main__'\n\
         print(sorted(name for name in globals() if not name.startswith('__')), sys.argv)",
    );
    assert_eq!(told["stdout"], "['sys', 'x'] ['<code>']\n", "{told:#}");
    let odd = "print('\u{feff}\u{2028}\\\\ \"\u{1f600}')\r\nprint(2)";
    assert_eq!(server.run(odd)["stdout"], "\u{feff}\u{2028}\\ \"\u{1f600}\n2\n");
    let hook = server.run("import sys\nsys.excepthook = lambda *_: print('mine')\n1 / 0");
    assert_eq!(
        (&hook["stdout"], &hook["exit_code"]),
        (&json!("mine\n"), &json!(1)),
        "{hook:#}"
    );
}
