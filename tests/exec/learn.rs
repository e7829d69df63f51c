//! `exec --learn`: what the policy refuses is allowed and recorded, so that the policy can grow.

use std::path::Path;

use serde_json::{Value, json};

use super::places::Place;
use super::{exec, outcome, policy, rule};
use crate::support::{callgate, expect, json as parse, names, probe, said, scratch};

/// A policy that kills on all but what it names.
fn narrow(dir: &Path, allowed: &[&str]) -> String {
    let path = dir.join("narrow.json");
    let text = json!({
        "defaultAction": "SCMP_ACT_KILL_PROCESS",
        "syscalls": [rule("ALLOW", allowed)],
    });
    std::fs::write(&path, text.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn read(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_policy_grows_by_what_a_run_of_numpy_needed_until_the_run_passes() {
    let dir = scratch();
    let narrow = narrow(dir.path(), &["read", "write", "mmap", "exit_group"]);
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (trace, grown) = (at("learned.trace.json"), at("grown.json"));
    let numpy = probe("with_numpy.py");
    let numpy = numpy.to_str().unwrap();
    let refused = expect(159, &mut callgate(["exec", "--policy", &narrow, numpy]));
    assert!(refused.stdout.is_empty(), "{}", said(&refused));

    let learned = expect(
        0,
        &mut callgate(["exec", "--quiet", "--policy", &narrow, "--learn", &trace, numpy]),
    );
    assert!(
        String::from_utf8_lossy(&learned.stdout).contains("ok: numpy works"),
        "{}",
        said(&learned)
    );
    let stderr = String::from_utf8_lossy(&learned.stderr);
    for word in [
        "learning: ",
        "the filter holds nobody",
        "policy new --base",
        "learned.trace.json",
    ] {
        assert!(stderr.contains(word), "{word}: {stderr}");
    }
    let seen = read(&trace);
    let calls = names(&seen["syscalls"]);
    for name in ["openat", "close", "munmap", "futex"] {
        assert!(calls.iter().any(|call| call == name), "{name}: {calls:?}");
    }
    for name in ["read", "write", "mmap", "clone3"] {
        assert!(!calls.iter().any(|call| call == name), "{name}: {calls:?}");
    }
    assert!(
        seen["notes"][0].as_str().unwrap().contains("exec --learn"),
        "{}",
        seen["notes"]
    );
    let openat = &seen["syscalls"].as_array().unwrap()[calls.iter().position(|c| c == "openat").unwrap()];
    assert_eq!(openat["phases"], json!(["body"]), "{openat:#}");
    assert!(openat["count"].as_u64().unwrap() > 50 && openat["site"]["line"].as_u64().unwrap() > 0);
    assert_eq!(openat["sights"][0]["thread"]["main"], json!(true), "{openat:#}");

    // What reads traces reads it.
    let shown = expect(0, &mut callgate(["dig", "show", &trace]));
    assert!(
        String::from_utf8_lossy(&shown.stderr).contains("exec --learn"),
        "{}",
        said(&shown)
    );
    let merged = at("merged.json");
    expect(0, &mut callgate(["dig", "merge", &trace, &trace, "-o", &merged]));
    let arch = seen["arch"].as_str().unwrap();
    let diff = |against: &str, code| {
        let mut command = callgate([
            "policy",
            "diff",
            &merged,
            "--against",
            against,
            "--arch",
            arch,
            "--json",
        ]);
        parse(&expect(code, &mut command))[arch]["missing"].clone()
    };
    assert_eq!(names(&diff(&narrow, 1)).len(), calls.len());

    expect(
        0,
        &mut callgate(["policy", "new", "--base", &narrow, &trace, "-o", &grown]),
    );
    assert_eq!(diff(&grown, 0), json!([]));
    let passed = expect(0, &mut callgate(["exec", "--policy", &grown, numpy]));
    assert!(String::from_utf8_lossy(&passed.stdout).contains("ok: numpy works"));
    let json = exec(&["--json", "--policy", &grown], "print(1)");
    assert_eq!(parse(&json).get("refusals"), None);
}

/// Tries what opens other layers, and what does not.
const TRIES: &str = "import ctypes, os, platform, socket
libc = ctypes.CDLL(None, use_errno=True)
def tried(name, got):
    print(name, ctypes.get_errno() if got == -1 else 'ran', flush=True)
    ctypes.set_errno(0)
tried('unshare', libc.unshare(0x10000000))
tried('mount', libc.mount(None, b'/tmp', b'tmpfs', 0, None))
tried('ptrace', libc.ptrace(0, 0, 0, 0))
tried('setns', libc.setns(99, 0))
tried('clone', libc.syscall(56 if platform.machine() == 'x86_64' else 220, 0x10000000 | 17, 0, 0, 0, 0))
tried('terminal', libc.ioctl(0, 0x5412, b'x'))
tried('vsock', libc.socket(40, 1, 0))
tried('setpriority', libc.setpriority(0, 0, 7))
tried('mkdir', libc.mkdir(b'made', 0o755))
tried('inet', libc.socket(2, 1, 0))
";

#[test]
fn what_would_open_other_layers_stays_refused_at_every_tier() {
    let places = Place::all();
    let dir = scratch();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // Everything refused that the trial makes, with an errno that none of these calls gives by itself.
    let mut soft = rule(
        "ERRNO",
        &[
            "unshare",
            "mount",
            "ptrace",
            "setns",
            "clone",
            "ioctl",
            "socket",
            "setpriority",
            "mkdir",
            "mkdirat",
        ],
    );
    soft["errnoRet"] = json!(95);
    let policy = policy(dir.path(), &json!([soft]));
    for place in places {
        if place.tier() == "landlock" {
            // There the filter holds what no other layer does.
            let refused = place.outcome(
                &["--policy", &policy, "--learn", "/tmp/never.json"],
                "print('reached')\n",
            );
            assert_eq!(
                (&refused["status"], &refused["exit_code"]),
                (&json!("setup_failed"), &json!(125)),
                "{refused:#}"
            );
            assert!(
                refused["setup"]["error"]
                    .as_str()
                    .unwrap()
                    .contains("tier landlock"),
                "{refused:#}"
            );
            assert!(!Path::new("/tmp/never.json").exists());
            continue;
        }
        let home = match &place {
            Place::Unprivileged(user) | Place::Landlock(user) => user.dir().join("home"),
            _ => dir.path().to_owned(),
        };
        let file = home.join("trace.json");
        let trace = file.to_str().unwrap();
        let learned = place.outcome(&["--policy", &policy, "--learn", trace], TRIES);
        let separate = !["container", "landlock"].contains(&place.tier());
        // There another layer refuses it.
        let (vsock, inet) = if separate { ("95", "ran") } else { ("13", "13") };
        let spaces = if place.tier() == "landlock" { 1 } else { 95 };
        assert_eq!(
            learned["stdout"].as_str().unwrap(),
            format!(
                "unshare {spaces}\nmount 95\nptrace 95\nsetns {spaces}\nclone {spaces}\nterminal 95\nvsock {vsock}\nsetpriority ran\nmkdir ran\n\
                 inet {inet}\n"
            ),
            "{learned:#}"
        );
        let layers = learned["layers"].to_string();
        assert!(layers.contains("only records"), "{layers}");
        let calls = names(&read(trace)["syscalls"]);
        assert_eq!(calls.contains(&"socket".to_owned()), separate, "{calls:?}");
        assert!(calls.contains(&"setpriority".to_owned()), "{calls:?}");
        for name in ["unshare", "mount", "ptrace", "setns", "clone"] {
            assert!(!calls.contains(&name.to_owned()), "{name}: {calls:?}");
        }
        let refusals = learned["refusals"].as_array().unwrap();
        for (name, allowed) in [("ptrace", false), ("setpriority", true)] {
            let refusal = refusals
                .iter()
                .find(|refusal| refusal["syscall"] == name)
                .unwrap();
            assert_eq!(
                (&refusal["allowed"], &refusal["answer"], refusal["got"].is_null()),
                (&json!(allowed), &json!("EOPNOTSUPP"), allowed),
                "{refusal:#}"
            );
        }
    }
}

#[test]
fn a_hard_refusal_that_stays_still_kills_and_the_trace_says_so() {
    let dir = scratch();
    let policy = policy(
        dir.path(),
        &json!([rule("KILL_PROCESS", &["unshare", "setpriority"])]),
    );
    let file = dir.path().join("trace.json");
    let trace = file.to_str().unwrap();
    let learned = outcome(
        &["--policy", &policy, "--learn", trace],
        "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.setpriority(0, 0, 7)\nlibc.unshare(0)\nprint('reached')\n",
    );
    assert_eq!(
        (
            &learned["status"],
            &learned["violation"]["syscall"],
            &learned["stdout"]
        ),
        (&json!("violation"), &json!("unshare"), &json!("")),
        "{learned:#}"
    );
    let seen = read(trace);
    assert_eq!(names(&seen["syscalls"]), ["setpriority"]);
    assert_eq!(seen["outcome"]["signal"], "SIGSYS");
    assert!(seen["notes"].to_string().contains("unshare"), "{}", seen["notes"]);
}

#[test]
fn start_up_is_told_from_the_body_when_the_lock_is_at_the_exec() {
    let dir = scratch();
    let narrow = narrow(dir.path(), &["read", "exit_group"]);
    let file = dir.path().join("trace.json");
    let trace = file.to_str().unwrap();
    let output = exec(
        &["--lock", "exec", "--policy", &narrow, "--learn", trace],
        "import os\nos.setpriority(0, 0, 7)\nprint('reached')\n",
    );
    assert_eq!(output.stdout, b"reached\n", "{}", said(&output));
    let seen = read(trace);
    let call = |name: &str| {
        let calls = seen["syscalls"].as_array().unwrap();
        calls.iter().find(|call| call["name"] == name).unwrap().clone()
    };
    assert_eq!(call("setpriority")["phases"], json!(["body"]));
    assert_eq!(call("write")["phases"], json!(["body"]));
    assert_eq!(call("set_tid_address")["phases"], json!(["startup"]));
    // A command is its body from its exec on.
    let output = expect(
        0,
        &mut callgate([
            "exec",
            "--policy",
            &narrow,
            "--learn",
            trace,
            "--",
            "/bin/echo",
            "said",
        ]),
    );
    assert_eq!(output.stdout, b"said\n");
    let echo = read(trace);
    assert_eq!(echo["command"], json!(["/bin/echo", "said"]));
    assert!(
        names(&echo["syscalls"]).contains(&"openat".to_owned()),
        "{echo:#}"
    );
    assert!(
        echo["syscalls"]
            .as_array()
            .unwrap()
            .iter()
            .all(|call| call["phases"] == json!(["body"]))
    );
}

#[test]
fn a_file_that_can_not_be_written_is_refused_before_anything_runs() {
    for (file, word) in [
        ("-", "name a file"),
        ("/nonexistent/t.json", "no directory"),
        ("/", "directory"),
    ] {
        let output = expect(
            2,
            &mut callgate(["exec", "--learn", file, "-c", "print('reached')"]),
        );
        assert!(output.stdout.is_empty(), "{}", said(&output));
        assert!(
            String::from_utf8_lossy(&output.stderr).contains(word),
            "{}",
            said(&output)
        );
    }
    expect(
        2,
        &mut callgate(["exec", "--learn", "t.json", "--explain", "-c", "print(1)"]),
    );
    let help = expect(0, &mut callgate(["exec", "--help"]));
    let help = String::from_utf8_lossy(&help.stdout).replace('\n', " ");
    for word in ["--learn <FILE>", "policy new --base", "holds nobody", "ENOSYS"] {
        assert!(help.contains(word), "{word}: {help}");
    }
}
