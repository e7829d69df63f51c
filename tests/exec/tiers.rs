//! The tiers: which layers a run has, by what its supervisor may do; never lowered silently.

use std::process::Command;

use serde_json::{Value, json};

use super::lifetime::CLINGING;
use super::places::{DOCKER, Ordinary, UID, confined};
use super::{feed, interpreter, marked, outcome, outcome_of, policy, printed, rule, small_root, unique};
use crate::support::sys::{Refusal, refuse};
use crate::support::{CALLGATE, available, root, said, scratch, tool};

/// As an outer sandbox may have it: the run makes all of them itself then.
#[test]
fn tier_full_has_its_namespaces_also_where_none_can_be_joined() {
    if !available("root", root()) {
        return;
    }
    let code = "import os, socket\n\
                print(os.uname().nodename, [name for _, name in socket.if_nameindex()], os.getpid())\n";
    let dir = scratch();
    let open = policy(dir.path(), &json!([]));
    let plain = outcome(&["--tier", "full", "--policy", &open], code);
    assert_eq!(plain["stdout"], "callgate ['lo'] 2\n", "{plain:#}");
    for errno in [libc::EPERM, libc::ENOSYS] {
        let mut command = Command::new(CALLGATE);
        command.args(["exec", "--json", "--python", interpreter()]);
        command.args(["--tier", "full", "--policy", &open, "-"]);
        let setns = Refusal {
            nr: libc::SYS_setns,
            args: &[],
            errno,
        };
        refuse(&mut command, &setns);
        let outcome = outcome_of(&feed(&mut command, code.as_bytes()));
        assert_eq!(
            (&outcome["stdout"], &outcome["layers"]),
            (&plain["stdout"], &plain["layers"]),
            "{outcome:#}"
        );
    }
}

#[test]
fn tier_full_has_every_layer() {
    if !available("root", root()) {
        return;
    }
    let outcome = outcome(&["--tier", "full"], "print(1)\n");
    assert_eq!(
        (&outcome["tier"], &outcome["stdout"]),
        (&json!("full"), &json!("1\n")),
        "{outcome:#}"
    );
    let layers = outcome["layers"].to_string();
    for layer in [
        "mount",
        "pid",
        "network",
        "ipc",
        "uts",
        "pivot_root",
        "cgroup (v",
        "rlimits",
        "uid 65",
        "no capabilities",
        "no_new_privs",
        "landlock",
        "seccomp",
    ] {
        assert!(layers.contains(layer), "{layer}: {layers}");
    }
}

#[test]
fn a_tier_that_can_not_be_had_is_refused_and_not_lowered() {
    if !available("root", root().and_then(|()| tool("setpriv"))) {
        return;
    }
    for tier in ["full", "unprivileged"] {
        let outcome = outcome_of(&confined(DOCKER, &["--tier", tier], "print('reached')\n"));
        assert_eq!(
            (&outcome["status"], &outcome["exit_code"]),
            (&json!("setup_failed"), &json!(125)),
            "{outcome:#}"
        );
        assert_eq!(
            (&outcome["stdout"], &outcome["tier"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(outcome["setup"]["step"], "tier");
        assert!(
            outcome["setup"]["advice"].as_str().unwrap().contains("doctor"),
            "{outcome:#}"
        );
    }
    let full = outcome_of(&confined(DOCKER, &["--tier", "full"], ""));
    assert!(
        full["setup"]["error"].as_str().unwrap().contains("EPERM"),
        "{full:#}"
    );
    let container = outcome_of(&confined("-all,+setuid,+setgid", &["--tier", "container"], ""));
    assert!(
        container["setup"]["error"]
            .as_str()
            .unwrap()
            .contains("CAP_SYS_CHROOT"),
        "{container:#}"
    );
    let none = outcome_of(&confined("-all", &[], "print('reached')\n"));
    let error = none["setup"]["error"].as_str().unwrap();
    for tier in ["full:", "container:", "unprivileged:"] {
        assert!(error.contains(tier), "{error}");
    }
}

#[test]
fn with_what_a_plain_container_grants_the_tier_is_container() {
    if !available("root", root().and_then(|()| tool("setpriv"))) {
        return;
    }
    let dir = scratch();
    let policy = policy(dir.path(), &json!([rule("KILL_PROCESS", &["setpriority"])]));
    let code = "
import json, os, pwd
def creates(at):
    try: os.close(os.open(os.path.join(at, 'created'), os.O_CREAT | os.O_WRONLY))
    except OSError: return False
    return True
before = os.listdir('/tmp')
print(json.dumps([os.getuid(), pwd.getpwuid(os.getuid()).pw_name, before, [at for at in ['/', '/usr', '/etc', '/tmp', '/dev'] if creates(at)],
    [at for at in ['/etc/shadow', '/root/.ssh', '/home', '/var'] if os.path.lexists(at)]]), flush=True)
os.setpriority(0, 0, 7)
";
    // Twice: the second finds nothing of the first.
    for _ in 0..2 {
        let outcome = outcome_of(&confined(DOCKER, &["--policy", &policy], code));
        assert_eq!(
            (&outcome["tier"], &outcome["exit_code"]),
            (&json!("container"), &json!(159)),
            "{outcome:#}"
        );
        let seen = printed(&outcome);
        assert_ne!(seen[0], 0);
        assert_eq!(
            seen.as_array().unwrap()[1..],
            [json!("sandbox"), json!([]), json!(["/tmp"]), json!([])],
            "{outcome:#}"
        );
        // Read as the other uid, for want of CAP_SYS_PTRACE.
        assert_eq!(outcome["violation"]["site"]["line"], 10, "{outcome:#}");
        let layers = outcome["layers"].to_string();
        assert!(
            layers.contains("chroot") && !layers.contains("namespace"),
            "{layers}"
        );
    }
}

#[test]
fn a_time_limit_ends_every_process_without_a_pid_namespace_too() {
    if !available("root", root().and_then(|()| tool("setpriv"))) {
        return;
    }
    let dir = scratch();
    let policy = policy(dir.path(), &json!([]));
    let mark = unique("mark");
    let variable = format!("MARK={mark}");
    let code = format!("{CLINGING}\nwhile True: time.sleep(600)\n");
    let outcome = outcome_of(&confined(
        DOCKER,
        &["--timeout", "3", "--policy", &policy, "--env", &variable],
        &code,
    ));
    assert_eq!(
        (&outcome["status"], &outcome["tier"]),
        (&json!("timeout"), &json!("container")),
        "{outcome:#}"
    );
    assert_eq!(outcome["stdout"], "ready\n");
    assert_eq!(marked(&mark), [""; 0]);
}

#[test]
fn an_ordinary_user_gets_the_tier_unprivileged() {
    if !available("root", root().and_then(|()| tool("setpriv"))) {
        return;
    }
    let user = Ordinary::new();
    let policy = policy(user.dir(), &json!([rule("KILL_PROCESS", &["setpriority"])]));
    let mark = unique("mark");
    let variable = format!("MARK={mark}");
    let code = "
import ctypes, json, os, pwd, struct
libc, sets = ctypes.CDLL(None), ctypes.create_string_buffer(24)
libc.capget(struct.pack('Ii', 0x20080522, 0), sets)
print(json.dumps([os.getuid(), pwd.getpwuid(os.getuid()).pw_name, sets.raw.hex(), libc.prctl(39, 0, 0, 0, 0), os.listdir('/tmp'), os.path.lexists('/etc/shadow')]), flush=True)
os.setpriority(0, 0, 7)
";
    let output = user.exec(&["--policy", &policy], code);
    let seen = outcome_of(&output);
    assert_eq!(
        (&seen["tier"], &seen["exit_code"]),
        (&json!("unprivileged"), &json!(159)),
        "{}",
        said(&output)
    );
    assert_eq!(
        printed(&seen),
        json!([UID, "sandbox", "0".repeat(48), 1, [], false]),
        "{seen:#}"
    );
    assert_eq!(seen["violation"]["site"]["line"], 6, "{seen:#}");

    let ended = user.exec(
        &["--timeout", "2", "--policy", &policy, "--env", &variable],
        &format!("{CLINGING}\nwhile True: time.sleep(600)\n"),
    );
    let ended = outcome_of(&ended);
    assert_eq!(
        (&ended["status"], &ended["stdout"]),
        (&json!("timeout"), &json!("ready\n")),
        "{ended:#}"
    );
    assert_eq!(marked(&mark), [""; 0]);

    let full = outcome_of(&user.exec(&["--tier", "full"], "print('reached')\n"));
    assert_eq!((&full["exit_code"], &full["stdout"]), (&json!(125), &Value::Null));
    assert!(
        full["setup"]["error"].as_str().unwrap().contains("superuser"),
        "{full:#}"
    );
}

#[test]
fn a_uid_that_others_use_is_not_swept() {
    if !available("root", root().and_then(|()| tool("setpriv"))) {
        return;
    }
    let dir = scratch();
    let uid = "61235";
    let at = &*small_root(&dir.path().join("root"), &["--uid", uid]);
    let mut bystander = Command::new("setpriv")
        .args(["--reuid", uid, "--clear-groups", "sleep", "600"])
        .spawn()
        .unwrap();
    let outcome = outcome(&["--tier", "container", "--root", at], "print('reached')\n");
    let alive = bystander.try_wait().unwrap().is_none();
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    assert!(alive, "{outcome:#}");
    assert_eq!(
        (&outcome["setup"]["step"], &outcome["stdout"]),
        (&json!("uid"), &Value::Null),
        "{outcome:#}"
    );
}

#[test]
fn what_a_run_leaves_in_a_built_root_is_gone_for_the_next() {
    if !available("root", root()) {
        return;
    }
    let dir = scratch();
    let at = &*small_root(&dir.path().join("root"), &[]);
    for tier in ["container", "full"] {
        let run = |code: &str| outcome(&["--tier", tier, "--root", at], code);
        let first = run("import os\nos.mkdir('/tmp/d')\nopen('/tmp/d/left', 'w').close()\n");
        assert_eq!(first["exit_code"], 0, "{first:#}");
        let second = run("import os\nprint(os.listdir('/tmp'))\n");
        assert_eq!(second["stdout"], "[]\n", "{second:#}");
    }
}
