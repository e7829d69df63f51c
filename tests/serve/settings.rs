//! dify-sandbox's configuration, its warnings and errors, the key, allowed calls, preload.

use serde_json::{Value, json};

use super::server::{KEY, Server, Setup};
use crate::support::{callgate, expect, said, scratch};

/// A configuration file; the directory goes with the test.
fn config(text: &str) -> (tempfile::TempDir, String) {
    let dir = scratch();
    let path = dir.path().join("config.yaml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

fn warned(server: &Server, parts: &[&str]) -> bool {
    let all = |entry: &Value| {
        let text = entry["message"].as_str().unwrap_or_default();
        entry["level"] == "WARN" && parts.iter().all(|part| text.contains(part))
    };
    server.log().iter().any(all)
}

#[test]
fn the_file_is_read_and_variables_come_before_it() {
    let (_dir, path) = config(
        "app:\n  port: 1\n  key: of-the-file\nmax_workers: 3\nmax_requests: 7\nworker_timeout: 2\nlog_path: ./logs\n\
         max_worker: 9\n",
    );
    let server = Setup::new(&["--config", &path]).env("MAX_WORKERS", "2").ready();
    assert_eq!(server.metric("callgate_max_workers"), 2.0);
    assert_eq!(server.metric("callgate_max_requests"), 7.0);
    assert!(
        warned(&server, &["line 8", "max_worker is not known"]),
        "{:#?}",
        server.log()
    );
    assert!(
        warned(&server, &["line 7", "log_path is not used"]),
        "{:#?}",
        server.log()
    );
    let (status, _) = server.post_with("/v1/sandbox/run", "{}", &[("X-Api-Key", "of-the-file")]);
    assert_eq!(status, 401);
    let (status, _) = server.post_with("/v1/sandbox/run", "{}", &[("X-Api-Key", KEY)]);
    assert_eq!(status, 400);
    assert_eq!(server.run("import time; time.sleep(30)")["limit"]["value"], 2000);
}

#[test]
fn what_can_not_be_meant_ends_the_start() {
    for (text, part) in [
        (
            "max_workers: many\n",
            "config.yaml line 1: max_workers: expected a whole number",
        ),
        ("app:\n  port: 99999\n", "line 2: app.port"),
        ("a: [1\n", "not YAML"),
        ("allowed_syscalls: [no_such_call]\n", "no_such_call"),
        ("python_path: /no/such/python\n", "/no/such/python"),
        ("nodejs_path: /no/such/node\n", "nodejs_path: /no/such/node"),
    ] {
        let (_dir, path) = config(text);
        let output = expect(
            2,
            &mut callgate(["serve", "--listen", "127.0.0.1:0", "--config", &path]),
        );
        assert!(
            String::from_utf8_lossy(&output.stderr).contains(part),
            "{part}: {}",
            said(&output)
        );
    }
    let wrong = expect(
        2,
        callgate(["serve", "--listen", "127.0.0.1:0"]).env("MAX_REQUESTS", "none"),
    );
    assert!(said(&wrong).contains("MAX_REQUESTS=none"), "{}", said(&wrong));
    let nothing = expect(2, &mut callgate(["serve", "--replace-allowed"]));
    assert!(
        said(&nothing).contains("allowed_syscalls lists nothing"),
        "{}",
        said(&nothing)
    );
    let missing = expect(2, &mut callgate(["serve", "--config", "/no/such/config.yaml"]));
    assert!(
        said(&missing).contains("/no/such/config.yaml"),
        "{}",
        said(&missing)
    );
}

#[test]
fn the_well_known_key_is_taken_on_loopback_only() {
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1"] {
        let output = expect(2, callgate(["serve", "--listen", listen]).env_remove("API_KEY"));
        let told = said(&output);
        assert!(told.contains("well-known") && told.contains("API_KEY"), "{told}");
        expect(
            2,
            callgate(["serve", "--listen", listen]).env("API_KEY", "dify-sandbox"),
        );
    }
    let server = Setup::new(&[]).env("API_KEY", "").ready();
    let body = json!({"language": "python3", "code": "print(1)"}).to_string();
    let (status, _) = server.post_with("/v1/sandbox/run", &body, &[("X-Api-Key", "dify-sandbox")]);
    assert_eq!(status, 200);
    // With a key of its own it may listen everywhere.
    let open = Setup::new(&["--listen", "0.0.0.0:0"]);
    assert!(open.listening().address.ip().is_unspecified());
}

#[test]
fn a_port_that_is_taken_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = expect(125, &mut callgate(["serve", "--listen", &address]));
    assert!(said(&output).contains(&address), "{}", said(&output));
}

#[test]
fn allowed_calls_add_to_the_policy_or_take_its_place() {
    let code = "import os\nos.sched_setaffinity(0, [0])\nprint('pinned')";
    // By its number here, and by its name.
    let number = libc::SYS_sched_setaffinity;
    let adding = Setup::new(&[])
        .env("ALLOWED_SYSCALLS", &format!("{number},9999,mount"))
        .ready();
    assert_eq!(adding.run(code)["stdout"], "pinned\n");
    assert!(
        warned(
            &adding,
            &["adds to the policy python: ", "sched_setaffinity", "mount"]
        ),
        "{:#?}",
        adding.log()
    );
    assert!(warned(&adding, &["9999"]), "{:#?}", adding.log());
    let refused = adding.run("import os\nos.chroot('/')");
    assert_eq!(
        refused["violation"]["remedy"]["dify"],
        format!("allowed_syscalls: [{number}, 9999, mount, chroot]")
    );

    let (_dir, path) = config(
        "allowed_syscalls: [read, write, close, lseek, brk, mmap, munmap, exit_group, rt_sigaction, futex]\n",
    );
    let alone = Server::start(&["--config", &path, "--replace-allowed"]);
    assert!(
        warned(&alone, &["takes the place", "--replace-allowed"]),
        "{:#?}",
        alone.log()
    );
    assert_eq!(alone.run("print(1)")["stdout"], "1\n");
    let opened = alone.run("open('/etc/passwd')");
    assert_eq!(opened["violation"]["syscall"], "openat", "{opened:#}");
}

#[test]
fn a_policy_can_be_named_where_calls_are_listed() {
    let dir = scratch();
    let path = dir.path().join("more.json");
    let more = json!({"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [{"names": ["sched_setaffinity"], "action": "SCMP_ACT_ALLOW"}]});
    std::fs::write(&path, more.to_string()).unwrap();
    let server = Setup::new(&[])
        .env("ALLOWED_SYSCALLS", path.to_str().unwrap())
        .ready();
    assert_eq!(
        server.run("import os\nos.sched_setaffinity(0, [0])\nprint('pinned')")["stdout"],
        "pinned\n"
    );
    assert!(
        warned(&server, &["adds what the policy", "more.json"]),
        "{:#?}",
        server.log()
    );
    drop(server);
    // Or it is all that there is: here nothing but that call, and the interpreter does not even end.
    let mut alone = callgate(["serve", "--listen", "127.0.0.1:0", "--replace-allowed"]);
    let output = expect(125, alone.env("ALLOWED_SYSCALLS", path.to_str().unwrap()));
    let told = said(&output);
    assert!(
        told.contains("takes the place of the policy python") && told.contains("no code can be run here"),
        "{told}"
    );
}

#[test]
fn a_preload_runs_in_the_sandbox_or_not_at_all() {
    let pinning = "import os\nos.sched_setaffinity(0, [0])";
    let off = Server::start(&[]);
    let (_, answer) = off.ask("print('on')", &json!({"preload": pinning}));
    assert_eq!(answer["data"]["stdout"], "on\n");
    assert!(
        answer["data"]["notes"][0]
            .as_str()
            .unwrap()
            .contains("preload was not run"),
        "{answer:#}"
    );

    let on = Setup::new(&[]).env("ENABLE_PRELOAD", "true").ready();
    let (_, answer) = on.ask(
        "print(base64.b64encode(b'x').decode())",
        &json!({"preload": "import base64"}),
    );
    assert_eq!(
        (&answer["data"]["stdout"], &answer["data"]["notes"]),
        (&json!("eA==\n"), &json!([]))
    );
    let (_, answer) = on.ask("print('on')", &json!({"preload": pinning}));
    assert_eq!(
        answer["data"]["violation"]["syscall"], "sched_setaffinity",
        "{answer:#}"
    );
    assert_eq!(answer["data"]["violation"]["site"]["file"], "<preload>");
    assert_eq!(answer["data"]["stdout"], "");
    // What a preload does can't change what comes after it outside: uid, filter and root are the run's.
    let hoisted = "def compile(*a): raise SystemExit(7)\nexec = eval = compile\nlseek = None";
    let (_, answer) = on.ask("import os\nprint(os.getuid() != 0)", &json!({"preload": hoisted}));
    assert_eq!(answer["data"]["stdout"], "True\n", "{answer:#}");
}

#[test]
fn the_network_is_open_where_configuration_and_request_say_so() {
    use std::io::Write;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(b"reached");
        }
    });
    let code =
        format!("import socket\nprint(socket.create_connection(('127.0.0.1', {port}), 5).recv(99).decode())");
    let server = Setup::new(&[])
        .env("ENABLE_NETWORK", "true")
        .env("HTTPS_PROXY", "http://proxy:1")
        .ready();
    assert!(
        warned(&server, &["enable_network", "host's network"]),
        "{:#?}",
        server.log()
    );
    let (_, open) = server.ask(&code, &json!({"enable_network": true}));
    assert_eq!(open["data"]["stdout"], "reached\n", "{open:#}");
    let (_, closed) = server.ask(&code, &json!({"enable_network": false}));
    assert_ne!(closed["data"]["exit_code"], 0, "{closed:#}");
    assert_ne!(server.run(&code)["exit_code"], 0);
    let proxies = "import os\nprint(os.environ.get('HTTPS_PROXY'), os.environ.get('HTTP_PROXY'))";
    let (_, with) = server.ask(proxies, &json!({"enable_network": true}));
    assert_eq!(with["data"]["stdout"], "http://proxy:1 None\n");
    assert_eq!(server.run(proxies)["stdout"], "None None\n");
    let (_, refused) = server.ask("import os\nos.chroot('/')", &json!({"enable_network": true}));
    let command = refused["data"]["violation"]["remedy"]["command"]
        .as_str()
        .unwrap();
    assert!(command.contains("policy allow python-network"), "{command}");
}

#[test]
fn paths_are_shown_besides_what_the_interpreter_needs() {
    let licences = "/usr/share/common-licenses";
    let code = format!("print(open('{licences}/GPL-3').read().split()[0])");
    let without = Server::start(&[]);
    assert!(
        without.run(&code)["stderr"]
            .as_str()
            .unwrap()
            .contains("FileNotFoundError")
    );
    let (_dir, path) = config(&format!(
        "python_lib_path:\n  - {licences}\n  - /usr/lib\n  - /no/such\n  - var/lib\n"
    ));
    let server = Server::start(&["--config", &path]);
    assert_eq!(server.run(&code)["stdout"], "GNU\n");
    for path in ["/usr/lib", "/no/such", "var/lib"] {
        assert!(
            warned(&server, &["python_lib_path", path, "does not see it"]),
            "{path}: {:#?}",
            server.log()
        );
    }
    let inside = server.run(&format!("open('{licences}/mine', 'w')"));
    assert!(
        inside["stderr"]
            .as_str()
            .unwrap()
            .contains("Read-only file system"),
        "{inside:#}"
    );
}
