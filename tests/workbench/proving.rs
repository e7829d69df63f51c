//! verify, disasm: programs against the policy's meaning, and as text.

use std::path::Path;

use callgate_testing::{available, tool};

use crate::support::{callgate, expect, json, said, scratch};
use crate::workbench::{ALLOW_READ, fails, policy, run, word};

#[test]
fn verify_proves_every_shipped_policy_on_both_architectures_and_says_what_was_tried() {
    let list: Vec<String> = run(0, &["policy", "list"])
        .lines()
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|name| name.starts_with("dify-") || name.starts_with("python"))
        .collect();
    assert!(list.len() >= 5, "{list:?}");
    for name in list {
        let text = run(0, &["policy", "verify", &name]);
        for part in [
            "amd64: proved with",
            "arm64: proved with",
            "numbers 0-1023",
            "instructions (of 4096",
        ] {
            assert!(text.contains(part), "{name}: {text}");
        }
    }
}

#[test]
fn verify_refutes_a_program_that_answers_otherwise_with_the_whole_call() {
    let dir = scratch();
    let strict = policy(dir.path(), "strict.json", ALLOW_READ);
    let loose = policy(
        dir.path(),
        "loose.json",
        r#"{"names": ["read", "exit_group", "ptrace"], "action": "SCMP_ACT_ALLOW"}"#,
    );
    let program = dir.path().join("loose.bpf");
    for arch in ["amd64", "arm64"] {
        let emit = [
            "policy",
            "emit",
            word(&loose),
            "--format",
            "bpf",
            "--arch",
            arch,
            "-o",
            word(&program),
        ];
        run(0, &emit);
        let verify = |policy: &Path, code| {
            let args = [
                "policy",
                "verify",
                word(policy),
                "--program",
                word(&program),
                "--arch",
                arch,
            ];
            expect(code, &mut callgate(args))
        };
        assert!(said(&verify(&loose, 0)).contains("proved"));
        let refuted = said(&verify(&strict, 1));
        for part in [
            "ptrace (number",
            "arguments 0x0",
            "answers allow",
            "the policy says kill",
        ] {
            assert!(refuted.contains(part), "{refuted}");
        }
    }
}

#[test]
fn verify_calls_bad_input_bad_input() {
    let dir = scratch();
    let odd = dir.path().join("odd.bpf");
    std::fs::write(&odd, [0; 9]).unwrap();
    let text = fails(2, &["policy", "verify", "python", "--program", word(&odd)]);
    assert!(text.contains("9 bytes are no BPF program"), "{text}");
    std::fs::write(&odd, [0; 8]).unwrap();
    let text = fails(2, &["policy", "verify", "python", "--program", word(&odd)]);
    assert!(
        text.contains("instruction 0: the program does not end with a return"),
        "{text}"
    );
    fails(2, &["policy", "verify", "no-such-policy"]);
    fails(2, &["policy", "verify", "python", "--arch", "sparc"]);
}

#[test]
fn disasm_names_the_calls_of_a_policy_and_of_the_same_program_as_a_raw_file() {
    let dir = scratch();
    let file = policy(dir.path(), "small.json", ALLOW_READ);
    let raw = dir.path().join("small.program");
    for (arch, read) in [("amd64", "jge write(1), "), ("arm64", "jge read(63), ")] {
        let of_policy = run(0, &["policy", "disasm", word(&file), "--arch", arch]);
        assert!(
            of_policy.contains(read) && of_policy.contains("ret KILL_PROCESS"),
            "{of_policy}"
        );
        assert!(of_policy.starts_with("   0  ld arch\n"), "{of_policy}");
        let emit = [
            "policy",
            "emit",
            word(&file),
            "--format",
            "bpf",
            "--arch",
            arch,
            "-o",
            word(&raw),
        ];
        run(0, &emit);
        assert_eq!(run(0, &["policy", "disasm", word(&raw)]), of_policy);
    }
}

#[test]
fn disasm_shows_a_foreign_program_and_says_if_the_kernel_would_not_load_it() {
    let dir = scratch();
    let raw = dir.path().join("broken.bpf");
    std::fs::write(&raw, [0x28, 0, 1, 2, 3, 0, 0, 0]).unwrap();
    let output = expect(1, &mut callgate(["policy", "disasm", word(&raw)]));
    assert!(
        said(&output).contains("not for seccomp: code 0x0028"),
        "{}",
        said(&output)
    );
    assert!(
        said(&output).contains("the kernel would not load it"),
        "{}",
        said(&output)
    );
    if !available("python3-seccomp", seccomp_bindings()) {
        return;
    }
    let raw = dir.path().join("theirs");
    let script = format!(
        "import seccomp as s\nf = s.SyscallFilter(s.ERRNO(38))\nf.add_rule(s.ALLOW, 'openat')\n\
         f.export_bpf(open({:?}, 'w'))",
        word(&raw)
    );
    assert!(python(&script).status().unwrap().success());
    let text = run(0, &["policy", "disasm", word(&raw)]);
    assert!(
        text.contains("openat(") && text.contains("ret ERRNO(ENOSYS)"),
        "{text}"
    );
}

#[test]
fn verify_prints_its_proofs_and_its_counterexample_as_json() {
    let proof = json(&expect(
        0,
        &mut callgate(["policy", "verify", "python", "--json"]),
    ));
    assert_eq!(
        (&proof["schema"], &proof["policy"]),
        (&"callgate.proof/1".into(), &"python".into())
    );
    let proofs = proof["proofs"].as_array().unwrap();
    assert_eq!(proofs.len(), 2);
    for proof in proofs {
        assert_eq!(
            (&proof["proved"], &proof["numbers"]),
            (&true.into(), &1024.into())
        );
        assert!(
            proof["programs"][0]["instructions"][0].as_u64().unwrap() < 200,
            "{proof}"
        );
        assert!(proof["edges"].as_u64().unwrap() > 50 && proof["calls"].as_u64().unwrap() > 16_000);
    }
    let dir = scratch();
    let (strict, loose) = (dir.path().join("strict.json"), dir.path().join("loose.bpf"));
    policy(dir.path(), "strict.json", ALLOW_READ);
    let file = policy(
        dir.path(),
        "loose.json",
        r#"{"names": ["read", "exit_group", "ptrace"], "action": "SCMP_ACT_ALLOW"}"#,
    );
    run(
        0,
        &[
            "policy",
            "emit",
            word(&file),
            "--format",
            "bpf",
            "--arch",
            "amd64",
            "-o",
            word(&loose),
        ],
    );
    let verify = [
        "policy",
        "verify",
        word(&strict),
        "--program",
        word(&loose),
        "--arch",
        "amd64",
        "--json",
    ];
    let found = json(&expect(1, &mut callgate(verify)));
    let found = &found["proofs"][0];
    assert_eq!(found["proved"], false);
    let call = &found["counterexample"];
    assert_eq!((&call["name"], &call["nr"]), (&"ptrace".into(), &101.into()));
    assert_eq!(
        (&call["answer"], &call["wanted"]),
        (&"allow".into(), &"kill".into())
    );
    assert_eq!(call["args"].as_array().unwrap().len(), 6);
}

#[test]
fn disasm_lists_what_a_foreign_program_answers_to_each_call() {
    let dir = scratch();
    let raw = dir.path().join("theirs");
    if !available("python3-seccomp", seccomp_bindings()) {
        return;
    }
    let script = format!(
        "import seccomp as s\nf = s.SyscallFilter(s.ERRNO(38))\nf.add_rule(s.ALLOW, 'openat')\n\
         f.add_rule(s.ALLOW, 'socket', s.Arg(0, s.EQ, 1))\nf.add_rule(s.KILL_PROCESS, 'ptrace')\n\
         f.add_rule(s.NOTIFY, 'mount')\nf.export_bpf(open({:?}, 'w'))",
        word(&raw)
    );
    assert!(python(&script).status().unwrap().success());
    let verdicts = ["policy", "disasm", word(&raw), "--verdicts"];
    let found = json(&expect(0, &mut callgate(verdicts.iter().chain(&["--json"]))));
    assert_eq!(found["schema"], "callgate.verdicts/1");
    let of = |name: &str| {
        let calls = found["calls"].as_array().unwrap();
        calls.iter().find(|call| call["name"] == name).unwrap()["answer"].clone()
    };
    assert_eq!(of("openat"), "allow");
    assert_eq!(of("socket"), "allow or errno(ENOSYS), by arg0");
    assert_eq!(of("ptrace"), "kill");
    assert_eq!(of("mount"), "notify");
    assert_eq!(of("read"), "errno(ENOSYS)");
    assert!(
        found["calls"]
            .as_array()
            .unwrap()
            .iter()
            .all(|call| call["sampled"] == false)
    );
    assert_eq!(found["unnamed"].as_array().unwrap().last().unwrap()["last"], 1023);
    // libseccomp's answer to other entries is to end the thread.
    assert_eq!(found["entries"][0]["answer"], "kill-thread");
    let table = run(0, &verdicts);
    for part in ["allow or errno(ENOSYS), by arg0", "calls by i386's entry"] {
        assert!(table.contains(part), "{table}");
    }
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    let odd = dir.path().join("odd.bpf");
    std::fs::write(&odd, [0; 8]).unwrap();
    assert!(fails(2, &["policy", "disasm", word(&odd), "--verdicts"]).contains("would not load"));
    fails(2, &["policy", "disasm", word(&raw), "--json"]);
}

fn python(script: &str) -> std::process::Command {
    let mut command = std::process::Command::new("/usr/bin/python3");
    command.args(["-I", "-c", script]);
    command
}

fn seccomp_bindings() -> Result<(), String> {
    tool("python3")?;
    let found = python("import seccomp")
        .output()
        .map_err(|error| error.to_string())?;
    found
        .status
        .success()
        .then_some(())
        .ok_or_else(|| "apt install python3-seccomp".to_owned())
}
