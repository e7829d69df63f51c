//! Refused calls that get an errno, told by `exec --explain`: the code sees the same, and nothing runs.

use std::io::Read;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::places::Place;
use super::{exec, interpreter, outcome, policy, rule};
use crate::support::{CALLGATE, callgate, expect, said, scratch};

/// A rule that answers these calls with this errno.
fn errno(number: i32, names: &[&str]) -> Value {
    let mut rule = rule("ERRNO", names);
    rule["errnoRet"] = json!(number);
    rule
}

/// Refused calls of the main thread, of another thread and of a child, some with other arguments.
const FAMILY: &str = "import ctypes, os, socket, threading
def make():
    for _ in range(3):
        try: os.mkdir('/tmp/made')
        except OSError as error: print(error.errno)
thread = threading.Thread(target=make)
thread.start()
thread.join()
for family in (socket.AF_INET, socket.AF_UNIX):
    try: socket.socket(family)
    except OSError as error: print(error.errno)
os.sys.stdout.flush()
child = os.fork()
if child == 0:
    libc = ctypes.CDLL(None, use_errno=True)
    print(libc.setpriority(0, 0, 7), ctypes.get_errno(), flush=True)
    os._exit(os.getpriority(0, 0))
print(os.waitpid(child, 0)[1], os.path.exists('/tmp/made'))
";

fn family_rules() -> Value {
    // An errno beyond those with names, and one of the kernel's greatest.
    json!([
        errno(13, &["mkdir", "mkdirat"]),
        errno(38, &["socket"]),
        errno(4095, &["setpriority"])
    ])
}

/// What a refusal says that does not change from run to run.
fn what(refusal: &Value) -> Value {
    json!([
        refusal["syscall"],
        refusal["answer"],
        refusal["count"],
        refusal["allowed"],
        refusal["pid"] == refusal["tid"],
        refusal["site"]["line"],
    ])
}

#[test]
fn softly_refused_calls_of_every_thread_and_child_are_told_and_the_code_sees_the_same_at_every_tier() {
    let places = Place::all();
    let dir = scratch();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let policy = policy(dir.path(), &family_rules());
    for place in places {
        let plain = place.outcome(&["--policy", &policy], FAMILY);
        let told = place.outcome(&["--policy", &policy, "--explain"], FAMILY);
        assert_eq!(
            plain["stdout"], "13\n13\n13\n38\n38\n-1 4095\n0 False\n",
            "{plain:#}"
        );
        assert_eq!(plain.get("refusals"), None);
        assert_eq!(
            (&told["stdout"], &told["status"], &told["exit_code"]),
            (&plain["stdout"], &plain["status"], &plain["exit_code"])
        );
        let refusals = told["refusals"].as_array().unwrap();
        let mut seen: Vec<Value> = refusals.iter().map(what).collect();
        // The line of the two sockets is in the standard library, whose lines differ.
        seen.iter_mut()
            .filter(|what| what[0] == "socket")
            .for_each(|what| what[5] = json!(0));
        let mkdir = refusals[0]["syscall"].clone();
        assert!(
            ["mkdir", "mkdirat"].contains(&mkdir.as_str().unwrap()),
            "{told:#}"
        );
        assert_eq!(
            seen,
            [
                json!([mkdir, "EACCES", 3, false, false, 4]),
                json!(["socket", "ENOSYS", 1, false, true, 0]),
                json!(["socket", "ENOSYS", 1, false, true, 0]),
                json!(["setpriority", "errno_4095", 1, false, true, 16]),
            ],
            "{told:#}"
        );
        assert_eq!(
            (&refusals[1]["args"][0], &refusals[2]["args"][0]),
            (&json!(2), &json!(1))
        );
        assert_ne!(refusals[3]["pid"], refusals[2]["pid"]);
        for refusal in refusals {
            let command = refusal["remedy"]["command"].as_str().unwrap();
            assert!(
                command.contains(refusal["syscall"].as_str().unwrap()),
                "{refusal:#}"
            );
            assert!(
                refusal["nr"].is_u64() && refusal["arch"].is_string(),
                "{refusal:#}"
            );
            assert_eq!(
                (&refusal["startup"], &refusal["by"]),
                (&json!(false), &json!("policy"))
            );
        }
        assert_eq!(told["violation"], Value::Null);
    }
}

#[test]
fn what_a_layer_of_the_tier_refuses_is_told_and_no_policy_is_said_to_allow_it() {
    let places = Place::all();
    let dir = scratch();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let open = policy(dir.path(), &json!([]));
    for place in places {
        let told = place.outcome(
            &["--policy", &open, "--explain"],
            "import socket\ntry: socket.socket(socket.AF_INET)\nexcept OSError as error: print(error.errno)\n",
        );
        if !["container", "landlock"].contains(&place.tier()) {
            assert_eq!(
                (&told["stdout"], &told["refusals"]),
                (&json!(""), &json!([])),
                "{told:#}"
            );
            continue;
        }
        assert_eq!(told["stdout"], "13\n", "{told:#}");
        let refusal = &told["refusals"][0];
        assert_eq!(
            (&refusal["by"], &refusal["got"], &refusal["remedy"]),
            (&json!("layer"), &json!("EACCES"), &Value::Null),
            "{told:#}"
        );
    }
}

#[test]
fn the_report_for_people_says_the_same() {
    let dir = scratch();
    let policy = policy(dir.path(), &family_rules());
    let output = exec(&["--explain", "--quiet", "--policy", &policy], FAMILY);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let stderr = String::from_utf8_lossy(&output.stderr);
    for word in [
        "it got EACCES, 3 times",
        "at <stdin>:4 in make",
        "by another thread",
        "refused: socket",
        "arg0 AF_INET",
        "it got errno_4095, once",
        "to allow it: callgate policy allow",
    ] {
        assert!(stderr.contains(word), "{word}: {stderr}");
    }
    let nothing = exec(&["--explain", "--policy", &policy], "print(1)");
    let stderr = String::from_utf8_lossy(&nothing.stderr);
    assert!(stderr.contains("no call was refused with an errno"), "{stderr}");
    let help = expect(0, &mut callgate(["exec", "--help"]));
    let help = String::from_utf8_lossy(&help.stdout).replace('\n', " ");
    for word in ["--explain", "20 µs", "256 in all"] {
        assert!(help.contains(word), "{word}: {help}");
    }
}

#[test]
fn a_call_that_waits_for_a_tracer_of_the_policys_never_runs() {
    let dir = scratch();
    let mut traced = rule("TRACE", &["mkdir", "mkdirat"]);
    for data in [0, 7, 0x8000, 0x4000, 0x6003] {
        traced["errnoRet"] = json!(data);
        let policy = policy(dir.path(), &json!([traced]));
        let code = "import os\ntry: os.mkdir('/tmp/made')\nexcept OSError as error: print(error.errno)\n\
                    print(os.path.exists('/tmp/made'))\n";
        for flags in [&["--policy", &policy][..], &["--policy", &policy, "--explain"]] {
            let outcome = outcome(flags, code);
            assert_eq!(outcome["stdout"], "38\nFalse\n", "{data}: {outcome:#}");
        }
    }
}

/// Machine code on a page of its own, called from Python, with what it returns printed.
#[cfg(target_arch = "x86_64")]
fn machine_code(code: &str) -> String {
    format!(
        "import ctypes, mmap\n\
         page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)\n\
         page.write(bytes.fromhex('{code}'))\n\
         address = ctypes.addressof(ctypes.c_char.from_buffer(page))\n\
         print(ctypes.CFUNCTYPE(ctypes.c_long)(address)(), flush=True)\n"
    )
}

#[test]
#[cfg(target_arch = "x86_64")]
fn unknown_numbers_are_told_and_foreign_entries_still_kill() {
    let dir = scratch();
    let path = dir.path().join("soft.json");
    let shipped: Value =
        serde_json::from_slice(&expect(0, &mut callgate(["policy", "show", "python"])).stdout).unwrap();
    let mut soft = shipped.clone();
    soft["defaultAction"] = json!("SCMP_ACT_ERRNO");
    soft["defaultErrnoRet"] = json!(1);
    std::fs::write(&path, soft.to_string()).unwrap();
    let flags = ["--explain", "--policy", path.to_str().unwrap()];
    // mov eax, 999; syscall; ret.
    let unknown = outcome(&flags, &machine_code("b8e70300000f05c3"));
    assert_eq!(unknown["stdout"], "-1\n", "{unknown:#}");
    let refusal = unknown["refusals"]
        .as_array()
        .unwrap()
        .iter()
        .find(|refusal| refusal["nr"] == 999)
        .unwrap();
    assert_eq!(
        (&refusal["syscall"], &refusal["answer"], &refusal["site"]["line"]),
        (&json!("syscall_999"), &json!("EPERM"), &json!(5)),
        "{unknown:#}"
    );
    assert!(unknown["notes"].to_string().contains("999"), "{unknown:#}");
    // The same with ENOSYS for what is newer than the tables.
    soft["x-callgate"] = json!({"unknown": "enosys"});
    std::fs::write(&path, soft.to_string()).unwrap();
    let newer = outcome(&flags, &machine_code("b8e70300000f05c3"));
    assert_eq!(newer["stdout"], "-38\n", "{newer:#}");
    // getpid through i386's entry and through x32's.
    for (code, abi) in [("b814000000cd80c3", "i386"), ("b8270000400f05c3", "x32")] {
        let foreign = outcome(&flags, &machine_code(code));
        assert_eq!(
            (
                &foreign["status"],
                &foreign["violation"]["arch"],
                &foreign["exit_code"]
            ),
            (&json!("violation"), &json!(abi), &json!(159)),
            "{foreign:#}"
        );
    }
}

#[test]
fn what_is_kept_is_bounded_and_the_rest_is_counted() {
    let dir = scratch();
    let policy = policy(dir.path(), &json!([errno(25, &["ioctl"]), errno(1, &["kill"])]));
    let told = outcome(
        &["--explain", "--policy", &policy],
        "import ctypes, os\n\
         libc = ctypes.CDLL(None)\n\
         for request in range(40): libc.ioctl(99, 0x5400 + request)\n\
         for _ in range(50):\n    try: os.kill(1, 0)\n    except OSError: pass\n",
    );
    let refusals = told["refusals"].as_array().unwrap();
    let of = |name: &str| {
        refusals
            .iter()
            .filter(|refusal| refusal["syscall"] == name)
            .count()
    };
    assert_eq!((of("ioctl"), of("kill")), (16, 1), "{told:#}");
    assert!(told["refusals_omitted"].as_u64().unwrap() >= 24, "{told:#}");
    let kill = refusals
        .iter()
        .find(|refusal| refusal["syscall"] == "kill")
        .unwrap();
    assert_eq!(kill["count"], 50);
}

/// Loads a filter with a listener: prints the errno, or that there is one.
const LISTEN: &str = "import ctypes, os, platform, struct
libc = ctypes.CDLL(None, use_errno=True)
allow = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0x7fff0000))
program = ctypes.create_string_buffer(struct.pack('HxxxxxxP', 1, ctypes.addressof(allow)))
libc.prctl(38, 1, 0, 0, 0)
seccomp = 317 if platform.machine() == 'x86_64' else 277
listener = libc.syscall(ctypes.c_long(seccomp), 1, 8, program)
";

#[test]
fn a_listener_which_would_answer_before_us_is_not_to_be_had_inside() {
    let dir = scratch();
    let open = policy(dir.path(), &json!([]));
    let code = format!("{LISTEN}print(ctypes.get_errno() if listener < 0 else 'listening')\n");
    let told = outcome(&["--explain", "--policy", &open], &code);
    assert_eq!(told["stdout"], format!("{}\n", libc::EBUSY), "{told:#}");
    let plain = outcome(&["--policy", &open], &code);
    assert_eq!(plain["stdout"], "listening\n", "{plain:#}");
    // What the policy refuses gets the policy's errno.
    let closed = policy(dir.path(), &json!([errno(11, &["seccomp"])]));
    let told = outcome(&["--explain", "--policy", &closed], &code);
    assert_eq!(told["stdout"], "11\n", "{told:#}");
    assert_eq!(told["refusals"][0]["syscall"], "seccomp", "{told:#}");
}

#[test]
fn under_a_listener_outside_nothing_runs() {
    let code = format!(
        "{LISTEN}assert listener >= 0\nimport sys\nos.set_inheritable(listener, True)\nos.execv(sys.argv[1], sys.argv[1:])\n"
    );
    let run = |flags: &[&str]| {
        let mut command = Command::new(interpreter());
        command.args(["-c", &code, CALLGATE, "exec", "--python", interpreter()]);
        command
            .args(flags)
            .args(["-c", "print('reached')"])
            .env("NO_COLOR", "1");
        command
    };
    let refused = expect(125, &mut run(&["--explain"]));
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.stdout.is_empty(), "{}", said(&refused));
    assert!(
        stderr.contains("an outer sandbox listens") && stderr.contains("without --explain"),
        "{stderr}"
    );
    let plain = expect(0, &mut run(&[]));
    assert_eq!(plain.stdout, b"reached\n");
}

#[test]
fn nothing_that_is_refused_runs_when_the_supervisor_is_killed() {
    let dir = scratch();
    let policy = policy(dir.path(), &json!([errno(1, &["writev"])]));
    let code = "import os, threading\n\
                os.write(1, b'started')\n\
                def ask():\n\
                \x20   while True:\n\
                \x20       try: os.writev(1, [b'ran'])\n\
                \x20       except OSError: pass\n\
                for _ in range(4): threading.Thread(target=ask).start()\n";
    for _ in 0..5 {
        let mut child = callgate([
            "exec",
            "--explain",
            "--python",
            interpreter(),
            "--policy",
            &policy,
        ])
        .args(["-c", code])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut first = [0; 7];
        stdout.read_exact(&mut first).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        // To the end: until nobody holds the pipe any more.
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).unwrap();
        assert_eq!((&first, rest.as_slice()), (b"started", &b""[..]));
    }
}

/// The kernel takes 4,096 instructions at once (BPF_MAXINSNS), and what is told takes the policy more than once.
#[test]
fn a_policy_that_is_too_long_to_be_told_of_runs_nothing_and_says_so() {
    let dir = scratch();
    // Conditions on both halves of two arguments, of which no two can be put together.
    let calls = "setpriority getpriority mkdirat unlinkat fchmod fchown umask times ptrace syslog setpgid getsid mlock \
                 munlock mlockall sync acct swapon reboot init_module delete_module quotactl sched_setparam \
                 sched_getparam sched_setscheduler sched_rr_get_interval mknodat personality statfs fstatfs linkat \
                 symlinkat renameat2 fchmodat fchownat munlockall capget adjtimex settimeofday";
    let calls: Vec<&str> = calls.split_whitespace().collect();
    let conditional = |(n, call): (usize, &&str)| -> Vec<Value> {
        let rule = |k: u64| {
            let mut rule = errno(13, &[*call]);
            rule["args"] = json!([
                {"index": k % 6, "value": (1000 + 64 * n as u64 + 2 * k) | k << 40, "op": "SCMP_CMP_EQ"},
                {"index": (k + 1) % 6, "value": (5 + k) << 33 | 7, "op": "SCMP_CMP_GT"},
            ]);
            rule
        };
        (0..7).map(rule).collect()
    };
    let rules: Vec<Value> = calls.iter().enumerate().flat_map(conditional).collect();
    let policy = policy(dir.path(), &json!(rules));
    let code = "import os\nos.setpriority(0, 0, 1)\nprint('reached')\n";
    let plain = outcome(&["--policy", &policy], code);
    assert_eq!(
        (&plain["exit_code"], &plain["stdout"]),
        (&json!(0), &json!("reached\n")),
        "{plain:#}"
    );
    for flags in [&["--explain"][..], &["--learn", "/dev/null"]] {
        let all = [&["--policy", &policy], flags].concat();
        let told = outcome(&all, code);
        assert_eq!(
            (&told["exit_code"], &told["setup"]["step"], &told["stdout"]),
            (&json!(125), &json!("seccomp"), &Value::Null),
            "{told:#}"
        );
        let error = told["setup"]["error"].as_str().unwrap();
        let advice = told["setup"]["advice"].as_str().unwrap();
        assert!(
            error.contains(" BPF instructions, the kernel takes at most 4096")
                && advice.contains("fewer conditions on arguments"),
            "{told:#}"
        );
    }
}

/// The default policy answers new processes with EPERM: "operation not permitted" by itself names no call.
#[test]
fn code_that_says_it_was_not_permitted_is_told_how_the_call_is_named() {
    let code = "import subprocess\nsubprocess.run(['/bin/true'])\n";
    let told = |args: &[&str]| {
        let outcome = outcome(args, code);
        assert_eq!(outcome["exit_code"], 1, "{outcome:#}");
        outcome
    };
    let notes = told(&[])["notes"].to_string();
    assert!(
        notes.contains("Operation not permitted") && notes.contains("--explain names the call"),
        "{notes}"
    );
    let explained = told(&["--explain"]);
    let refusals = explained["refusals"].as_array().unwrap();
    assert!(
        refusals.iter().any(|call| call["syscall"] == "clone"),
        "{explained:#}"
    );
    assert!(
        !explained["notes"].to_string().contains("--explain"),
        "{explained:#}"
    );
}
