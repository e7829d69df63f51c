//! `policy new --args`, `allow --when`, `translate`: conditions on arguments, and programs that run under them.

use serde_json::Value;

use super::{policy, read, trace};
use crate::support::{callgate, expect, json, not_run, probe, said, scratch};

/// The rules of a name: their comments.
fn comments(policy: &Value, name: &str) -> Vec<String> {
    let rules = policy["syscalls"].as_array().unwrap().iter();
    let own = rules.filter(|rule| rule["names"].as_array().unwrap().iter().any(|n| n == name));
    own.map(|rule| rule["comment"].as_str().unwrap().to_owned())
        .collect()
}

/// Calls that get conditions from `--args`: a refusal of one of them would be its fault.
const CONDITIONED: [&str; 11] = [
    "socket",
    "socketpair",
    "ioctl",
    "fcntl",
    "prctl",
    "arch_prctl",
    "personality",
    "clone",
    "mmap",
    "mprotect",
    "prlimit64",
];

#[test]
fn probes_run_under_the_values_of_arguments_that_were_observed_of_them() {
    for name in ["with_threads", "stdlib", "with_numpy"] {
        let dir = scratch();
        let dug = callgate(["dig", "-o"])
            .arg(dir.path().join("t.json"))
            .arg(probe(&format!("{name}.py")))
            .output()
            .unwrap();
        if dug.status.code() == Some(2) {
            not_run(
                "network",
                &format!("{name}'s environment can't be prepared: {}", said(&dug)),
            );
            continue;
        }
        assert_eq!(dug.status.code(), Some(0), "{}", said(&dug));
        expect(
            0,
            &mut policy(dir.path(), ["new", "--args", "t.json", "-o", "p.json"]),
        );
        expect(0, &mut policy(dir.path(), ["verify", "p.json"]));
        let made = read(&dir.path().join("p.json"));
        assert!(
            comments(&made, "mmap")
                .iter()
                .any(|comment| comment.starts_with("PROT_READ")),
            "{made:#}"
        );
        assert!(
            comments(&made, "futex")[0].contains("for all arguments, as "),
            "{made:#}"
        );
        // The sandbox has no /proc: what is only called there is found there, as `fit` does it.
        for _ in 0..4 {
            let mut run = callgate(["exec", "--json", "--policy"]);
            run.arg(dir.path().join("p.json"))
                .arg(probe(&format!("{name}.py")));
            let output = run.output().unwrap();
            if output.status.success() {
                break;
            }
            let outcome = json(&output);
            let refused = outcome["violation"]["syscall"]
                .as_str()
                .unwrap_or_else(|| panic!("{outcome:#}"));
            assert!(!CONDITIONED.contains(&refused), "{name}: {outcome:#}");
            expect(
                0,
                &mut policy(dir.path(), ["allow", "p.json", refused, "-o", "p.json"]),
            );
        }
        let mut run = callgate(["exec", "--policy"]);
        expect(
            0,
            run.arg(dir.path().join("p.json"))
                .arg(probe(&format!("{name}.py"))),
        );
    }
}

#[test]
fn a_family_that_was_not_observed_is_refused_and_the_violation_tells_the_argument_and_the_mend() {
    let dir = scratch();
    trace(
        dir.path(),
        "unix",
        "import socket\nsocket.socket(socket.AF_UNIX)\n",
    );
    expect(
        0,
        &mut policy(dir.path(), ["new", "--args", "unix.json", "-o", "p.json"]),
    );
    let inet = dir.path().join("inet.py");
    std::fs::write(&inet, "import socket\nsocket.socket(socket.AF_INET)\n").unwrap();
    let run = |code: i32, json: bool| {
        let mut command = callgate(["exec", "--policy"]);
        command.arg(dir.path().join("p.json")).current_dir(dir.path());
        if json {
            command.arg("--json");
        }
        expect(code, command.arg(&inet))
    };
    let output = run(159, false);
    let told = said(&output);
    assert!(
        told.contains("refused: socket") && told.contains("arg0 AF_INET"),
        "{told}"
    );
    let outcome = json(&run(159, true));
    assert_eq!(outcome["violation"]["args"][0], 2, "{outcome:#}");
    let command = outcome["violation"]["remedy"]["command"].as_str().unwrap();
    assert!(
        command.contains("socket --when 'arg0=AF_INET,arg1=SOCK_STREAM"),
        "{command}"
    );
    let mut shell = std::process::Command::new("sh");
    let path = std::path::Path::new(crate::support::CALLGATE)
        .parent()
        .unwrap()
        .display()
        .to_string();
    shell.args(["-euc", command]).current_dir(dir.path());
    shell.env("PATH", format!("{path}:{}", std::env::var("PATH").unwrap()));
    expect(0, &mut shell);
    run(0, false);
}

#[test]
fn allow_takes_conditions_and_says_what_it_cannot() {
    let dir = scratch();
    let allow = |code: i32, words: &[&str]| {
        let output = expect(
            code,
            policy(dir.path(), ["allow"]).args(words).args(["-o", "p.json"]),
        );
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    allow(
        0,
        &[
            "python",
            "socket",
            "--when",
            "arg0=AF_INET",
            "--when",
            "arg0=AF_INET6",
        ],
    );
    let made = read(&dir.path().join("p.json"));
    let socket = comments(&made, "socket");
    assert_eq!(
        socket[..2],
        [
            "socket arg0=AF_INET: allowed by hand",
            "socket arg0=AF_INET6: allowed by hand"
        ]
    );
    assert!(
        socket[2..]
            .iter()
            .all(|comment| comment == "no network, and no socket that reaches another process")
    );
    expect(0, &mut policy(dir.path(), ["verify", "p.json"]));
    // A note, where an errno for the rest can't be said.
    let note = allow(
        0,
        &["python", "socket", "--when", "arg0=AF_INET,arg1=SOCK_STREAM"],
    );
    assert!(note.contains("other arguments get the default (kill)"), "{note}");
    for (condition, told) in [
        ("arg0=AF_NOPE", "AF_NOPE"),
        ("arg1!=TIOCSTI", "upper bits would pass"),
        ("request=1", "argN=VALUE"),
        ("arg6=1", "N from 0 to 5"),
    ] {
        let text = allow(2, &["python", "ioctl", "--when", condition]);
        assert!(
            text.contains("--when") && text.contains(told),
            "{condition}: {text}"
        );
    }
    let help = expect(0, &mut callgate(["policy", "allow", "--help"]));
    assert!(String::from_utf8_lossy(&help.stdout).contains("socket --when arg0=AF_UNIX"));
}

#[test]
fn several_bases_are_layers_and_one_that_decides_by_arguments_gets_the_observed_ones() {
    let dir = scratch();
    trace(dir.path(), "t", "import socket\nsocket.socket(socket.AF_UNIX)\n");
    let base = r#"{"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "comment": "mine", "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]}]}"#;
    std::fs::write(dir.path().join("inet.json"), base).unwrap();
    let other = r#"{"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [
        {"names": ["kcmp"], "action": "SCMP_ACT_ALLOW", "comment": "debugging"}]}"#;
    std::fs::write(dir.path().join("kcmp.json"), other).unwrap();
    let new = [
        "new",
        "t.json",
        "--base",
        "inet.json",
        "--base",
        "kcmp.json",
        "-o",
        "p.json",
    ];
    expect(0, &mut policy(dir.path(), new));
    let made = read(&dir.path().join("p.json"));
    assert_eq!(comments(&made, "kcmp"), ["debugging"]);
    let socket = comments(&made, "socket");
    assert!(
        socket.len() == 2 && socket[0] == "mine" && socket[1].starts_with("observed: "),
        "{socket:?}"
    );
    expect(
        0,
        &mut policy(dir.path(), ["diff", "t.json", "--against", "p.json"]),
    );
}

#[test]
fn comments_conditions_and_everything_else_survive_every_edit() {
    let dir = scratch();
    let before: Value = json(&expect(0, &mut policy(dir.path(), ["show", "python-network"])));
    std::fs::write(dir.path().join("p.json"), before.to_string()).unwrap();
    let edit = |words: &[&str]| {
        expect(0, policy(dir.path(), words).args(["-o", "p.json"]));
        read(&dir.path().join("p.json"))
    };
    for words in [
        &["allow", "p.json", "kcmp"][..],
        &["deny", "p.json", "keyctl", "--errno", "EPERM"],
        &["allow", "p.json", "msgget", "--when", "arg0=0"],
        &["remove", "p.json", "kcmp", "keyctl", "msgget"],
    ] {
        let after = edit(words);
        for rule in before["syscalls"].as_array().unwrap() {
            assert!(
                after["syscalls"].as_array().unwrap().contains(rule),
                "{words:?} lost {rule:#}"
            );
        }
        for key in ["comment", "defaultAction", "architectures"] {
            assert_eq!(after[key], before[key], "{words:?}");
        }
    }
    assert_eq!(
        read(&dir.path().join("p.json")),
        before,
        "what was added is gone again"
    );
    for how in ["merge", "intersect"] {
        let after = edit(&[how, "p.json", "python-network"]);
        for rule in before["syscalls"].as_array().unwrap() {
            for name in rule["names"].as_array().unwrap() {
                let comments = comments(&after, name.as_str().unwrap());
                assert!(
                    comments.iter().any(|comment| *comment == rule["comment"]),
                    "{how} lost the comment of {name}: {comments:?}"
                );
            }
        }
        expect(
            0,
            &mut policy(dir.path(), ["diff", "p.json", "--against", "python-network"]),
        );
        std::fs::write(dir.path().join("p.json"), before.to_string()).unwrap();
    }
}

#[test]
fn a_key_that_no_policy_has_is_an_error_and_never_dropped() {
    let dir = scratch();
    let text = r#"{"defaultAction": "SCMP_ACT_ERRNO", "note": "mine", "syscalls": []}"#;
    std::fs::write(dir.path().join("p.json"), text).unwrap();
    let output = expect(
        2,
        &mut policy(dir.path(), ["allow", "p.json", "read", "-o", "p.json"]),
    );
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("unknown field `note`") && told.contains("line 1"),
        "{told}"
    );
    assert_eq!(std::fs::read_to_string(dir.path().join("p.json")).unwrap(), text);
}

#[test]
fn a_policy_of_one_architecture_is_translated_with_a_note_for_each_guess() {
    let dir = scratch();
    let text = r#"{"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [
        {"names": ["read", "open", "fork", "arch_prctl"], "action": "SCMP_ACT_ALLOW", "comment": "traced"},
        {"names": ["poll"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 2, "value": 0, "op": "SCMP_CMP_EQ"}]}]}"#;
    std::fs::write(dir.path().join("p.json"), text).unwrap();
    let output = expect(
        0,
        &mut policy(
            dir.path(),
            ["translate", "p.json", "--from", "amd64", "-o", "q.json"],
        ),
    );
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in [
        "open: openat is allowed on arm64",
        "fork: clone is allowed on arm64",
        "arch_prctl: nothing on arm64; arm64 sets its thread register without a call",
        "poll: its condition arg2 == 0x0 has no place in ppoll",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let numbers = expect(
        0,
        &mut policy(
            dir.path(),
            [
                "emit", "q.json", "--format", "names", "--arch", "arm64", "--lossy",
            ],
        ),
    );
    assert_eq!(
        String::from_utf8(numbers.stdout).unwrap(),
        "openat\nread\nclone\n"
    );
    expect(0, &mut policy(dir.path(), ["verify", "q.json"]));
    let back = expect(
        0,
        &mut policy(
            dir.path(),
            ["translate", "q.json", "--from", "arm64", "-o", "r.json"],
        ),
    );
    assert!(
        String::from_utf8_lossy(&back.stderr).contains("a guess: on amd64"),
        "{}",
        said(&back)
    );
}

#[test]
fn a_program_on_the_network_runs_under_the_network_policy() {
    let dir = scratch();
    let script = dir.path().join("server.py");
    let text = "import errno, socket, ssl, asyncio\n\
        s = socket.socket()\n\
        try:\n    s.connect(('127.0.0.1', 9))\nexcept OSError as e:\n    print(errno.errorcode[e.errno])\n\
        try:\n    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)\nexcept OSError as e:\n    print(errno.errorcode[e.errno])\n\
        ssl.create_default_context()\n\
        async def main():\n    await asyncio.sleep(0)\n\
        asyncio.run(main())\n";
    std::fs::write(&script, text).unwrap();
    let output = expect(
        0,
        callgate(["exec", "--policy", "python-network", "--lock", "body"]).arg(&script),
    );
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = printed.lines().collect();
    // The socket is made; what keeps it from connecting are the other layers: the namespace, or Landlock.
    assert!(
        ["ECONNREFUSED", "ENETUNREACH", "EACCES"].contains(&lines[0]),
        "{printed}"
    );
    assert_eq!(lines[1], "EAFNOSUPPORT");
}

#[test]
fn probes_run_under_the_network_policy_and_under_docker_s_decisions() {
    for shipped in ["python-network", "docker-default"] {
        for name in ["stdlib.py", "with_requests.py"] {
            let mut run = callgate(["exec", "--lock", "body", "--policy", shipped]);
            let output = run.arg(probe(name)).output().unwrap();
            match output.status.code() {
                Some(2) => not_run("network", &format!("{name}'s environment: {}", said(&output))),
                code => assert_eq!(code, Some(0), "{shipped} {name}\n{}", said(&output)),
            }
            let done = String::from_utf8_lossy(&output.stdout).contains("ok: ");
            assert!(done || output.status.code() == Some(2), "{}", said(&output));
        }
    }
}
