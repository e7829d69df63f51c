//! Refused calls: enforced by the kernel, and named with number, arguments, thread and Python line.

use serde_json::{Value, json};

use super::{exec, outcome, policy, rule};
use crate::support::scratch;

/// The outcome of code under "everything but these rules".
fn under(rules: Value, code: &str) -> Value {
    let dir = scratch();
    outcome(
        &["--timeout", "60", "--policy", &policy(dir.path(), &rules)],
        code,
    )
}

/// The part of a violation that does not change from run to run.
#[cfg(target_arch = "x86_64")]
fn what(outcome: &Value) -> Value {
    let violation = &outcome["violation"];
    json!([
        violation["syscall"],
        violation["nr"],
        violation["arch"],
        violation["site"]["line"]
    ])
}

#[test]
fn a_refused_call_is_named_with_its_arguments_line_and_remedy() {
    let dir = scratch();
    let policy = policy(dir.path(), &json!([rule("KILL_PROCESS", &["setpriority"])]));
    let outcome = outcome(
        &["--policy", &policy],
        "import os\n\ndef greedy():\n    os.setpriority(os.PRIO_PROCESS, 5, 7)\n\nprint('before', flush=True)\ngreedy()\n",
    );
    let violation = &outcome["violation"];
    assert_eq!(
        (&outcome["status"], &outcome["exit_code"]),
        (&json!("violation"), &json!(159)),
        "{outcome:#}"
    );
    assert_eq!(outcome["signal"], "SIGSYS");
    assert_eq!(outcome["stdout"], "before\n");
    assert_eq!(violation["syscall"], "setpriority");
    #[cfg(target_arch = "x86_64")]
    assert_eq!(
        (&violation["nr"], &violation["arch"]),
        (&json!(141), &json!("x86_64"))
    );
    assert_eq!(
        violation["args"].as_array().unwrap()[..3],
        [json!(0), json!(5), json!(7)]
    );
    assert_eq!(
        violation["site"],
        json!({"file": "<stdin>", "line": 4, "function": "greedy"})
    );
    assert_eq!(violation["pid"], violation["tid"]);
    let remedy = &violation["remedy"];
    let command = remedy["command"].as_str().unwrap();
    assert!(
        command.starts_with("callgate policy allow") && command.contains("setpriority"),
        "{command}"
    );
    assert!(
        remedy["dify"]
            .as_str()
            .unwrap()
            .starts_with("allowed_syscalls: ["),
        "{remedy}"
    );
    #[cfg(target_arch = "x86_64")]
    assert!(remedy["dify"].as_str().unwrap().contains(" 141,"), "{remedy}");
}

#[test]
fn the_report_for_people_says_the_same() {
    let dir = scratch();
    let policy = policy(dir.path(), &json!([rule("KILL_PROCESS", &["setpriority"])]));
    let output = exec(&["--policy", &policy], "import os\nos.setpriority(0, 0, 7)\n");
    let stderr = String::from_utf8_lossy(&output.stderr);
    for said in [
        "killed by SIGSYS",
        "refused: setpriority",
        "at <stdin>:2",
        "the main thread",
        "policy allow",
        "allowed_syscalls: [",
    ] {
        assert!(stderr.contains(said), "{said}: {stderr}");
    }
    assert_eq!(output.status.code(), Some(159));
}

#[test]
fn a_thread_is_told_from_the_main_thread() {
    let outcome = under(
        json!([rule("KILL_PROCESS", &["setpriority"])]),
        "import os, threading\n\
         def work():\n    os.setpriority(0, 0, 7)\n\
         threads = [threading.Thread(target=threading.Event().wait) for _ in range(3)]\n\
         threads.append(threading.Thread(target=work))\n\
         for thread in threads: thread.start()\n\
         for thread in threads: thread.join()\n",
    );
    assert_eq!(
        (&outcome["status"], &outcome["exit_code"]),
        (&json!("violation"), &json!(159)),
        "{outcome:#}"
    );
    assert_eq!(
        outcome["violation"]["site"],
        json!({"file": "<stdin>", "line": 3, "function": "work"})
    );
    assert_ne!(outcome["violation"]["pid"], outcome["violation"]["tid"]);
}

#[test]
fn a_child_that_is_killed_is_reported_and_the_main_process_ends_as_it_ends() {
    let outcome = under(
        json!([rule("KILL_PROCESS", &["setpriority"])]),
        "import os, signal\n\
         child = os.fork()\n\
         if child == 0:\n    os.setpriority(0, 0, 7)\n    print('not reached')\n    os._exit(0)\n\
         status = os.waitpid(child, 0)[1]\n\
         print(os.WTERMSIG(status) == signal.SIGSYS)\n",
    );
    assert_eq!(
        (&outcome["status"], &outcome["exit_code"]),
        (&json!("exited"), &json!(0)),
        "{outcome:#}"
    );
    assert_eq!(outcome["stdout"], "True\n");
    assert_eq!(outcome["violation"]["syscall"], "setpriority");
    assert_eq!(outcome["violation"]["site"]["line"], 4);
}

#[test]
fn the_kernel_enforces_so_a_refused_call_has_no_effect() {
    let outcome = under(
        json!([rule("KILL_PROCESS", &["mkdir", "mkdirat"])]),
        "import os\n\
         child = os.fork()\n\
         if child == 0:\n    os.mkdir('/tmp/made')\n    os._exit(0)\n\
         print(os.waitpid(child, 0)[1] & 127, os.path.exists('/tmp/made'))\n",
    );
    assert_eq!(
        outcome["stdout"],
        format!("{} False\n", libc::SIGSYS),
        "{outcome:#}"
    );
}

#[test]
fn a_call_that_gets_an_errno_is_answered_and_kills_nobody() {
    let mut refused = rule("ERRNO", &["setpriority"]);
    refused["errnoRet"] = json!(95);
    let outcome = under(
        json!([refused]),
        "import os\ntry:\n    os.setpriority(0, 0, 7)\nexcept OSError as error:\n    print(error.errno)\n",
    );
    assert_eq!(
        (&outcome["stdout"], &outcome["exit_code"]),
        (&json!("95\n"), &json!(0)),
        "{outcome:#}"
    );
    assert_eq!(outcome["violation"], Value::Null);
}

#[test]
fn a_trap_kills_unless_it_is_handled() {
    let rules = || json!([rule("TRAP", &["setpriority"])]);
    let killed = under(rules(), "import os\nos.setpriority(0, 0, 7)\n");
    assert_eq!(
        (&killed["status"], &killed["exit_code"]),
        (&json!("violation"), &json!(159)),
        "{killed:#}"
    );
    assert_eq!(killed["violation"]["site"]["line"], 2);
    let handled = under(
        rules(),
        "import os, signal\n\
         signal.signal(signal.SIGSYS, lambda *_: print('trapped'))\n\
         try:\n    os.setpriority(0, 0, 7)\nexcept OSError:\n    pass\n",
    );
    assert_eq!(
        (&handled["status"], &handled["exit_code"]),
        (&json!("exited"), &json!(0)),
        "{handled:#}"
    );
    assert_eq!(handled["stdout"], "trapped\n");
    assert_eq!(handled["violation"], Value::Null);
}

#[test]
fn kill_thread_ends_one_thread_and_is_reported() {
    let outcome = under(
        json!([rule("KILL_THREAD", &["setpriority"])]),
        "import ctypes, os, threading, time\n\
         libc = ctypes.CDLL(None)\n\
         tids = []\n\
         def work():\n\
         \x20   tids.append(threading.get_native_id())\n\
         \x20   libc.setpriority(0, 0, 7)\n\
         threading.Thread(target=work, daemon=True).start()\n\
         def alive(tid):\n\
         \x20   try:\n        signal_thread(tid)\n    except ProcessLookupError:\n        return False\n    return True\n\
         def signal_thread(tid):\n\
         \x20   ctypes.set_errno(0)\n\
         \x20   if tgkill(os.getpid(), tid, 0) != 0: raise ProcessLookupError\n\
         tgkill = libc.tgkill\n\
         while not tids or alive(tids[0]): time.sleep(0.01)\n\
         print('main goes on', flush=True)\n\
         os._exit(3)\n",
    );
    assert_eq!(
        (&outcome["status"], &outcome["exit_code"]),
        (&json!("exited"), &json!(3)),
        "{outcome:#}"
    );
    assert_eq!(outcome["stdout"], "main goes on\n");
    assert_eq!(outcome["violation"]["syscall"], "setpriority");
    assert_eq!(outcome["violation"]["site"]["function"], "work");
}

#[test]
fn a_logged_call_is_made() {
    let outcome = under(
        json!([rule("LOG", &["setpriority"])]),
        "import os\nos.setpriority(0, 0, 7)\nprint(os.getpriority(0, 0))\n",
    );
    assert_eq!(
        (&outcome["stdout"], &outcome["violation"]),
        (&json!("7\n"), &Value::Null),
        "{outcome:#}"
    );
}

#[test]
fn a_condition_on_arguments_is_kept() {
    let mut netlink = rule("KILL_PROCESS", &["socket"]);
    netlink["args"] = json!([{"index": 0, "value": libc::AF_NETLINK, "op": "SCMP_CMP_EQ"}]);
    let outcome = under(
        json!([netlink]),
        "import socket\nsocket.socket().close()\nprint('inet', flush=True)\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW)\n",
    );
    assert_eq!(
        (&outcome["stdout"], &outcome["status"]),
        (&json!("inet\n"), &json!("violation")),
        "{outcome:#}"
    );
    assert_eq!(outcome["violation"]["args"][0], libc::AF_NETLINK);
    assert_eq!(
        outcome["violation"]["site"]["line"].as_u64(),
        outcome["violation"]["site"]["line"].as_u64()
    );
}

#[test]
fn a_signal_that_the_code_sends_itself_is_no_violation() {
    let outcome = under(
        json!([]),
        "import os, signal\nos.kill(os.getpid(), signal.SIGSYS)\n",
    );
    assert_eq!(
        (&outcome["status"], &outcome["exit_code"]),
        (&json!("signaled"), &json!(159)),
        "{outcome:#}"
    );
    assert_eq!(outcome["violation"], Value::Null);
}

#[test]
fn a_refused_call_of_another_program_is_named_without_a_python_line() {
    let outcome = under(
        json!([rule("KILL_PROCESS", &["setpriority"])]),
        "import os\n\
         pid = os.posix_spawn('/usr/bin/env', ['env'], {}) if os.path.exists('/usr/bin/env') else 0\n\
         import ctypes\n\
         ctypes.CDLL(None).setpriority(0, 0, 7)\n",
    );
    assert_eq!(outcome["violation"]["site"]["line"], 4, "{outcome:#}");
}

/// Machine code on a page of its own, called from Python.
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
fn entries_that_a_policy_can_not_name_are_refused_and_told_apart() {
    // mov eax, 20; int 0x80; ret — getpid of i386, where the same number is writev natively.
    let i386 = under(json!([]), &machine_code("b814000000cd80c3"));
    assert_eq!(what(&i386), json!(["getpid", 20, "i386", 5]), "{i386:#}");
    assert_eq!((&i386["exit_code"], &i386["stdout"]), (&json!(159), &json!("")));
    // mov eax, 0x40000027; syscall; ret — getpid of x32.
    let x32 = under(json!([]), &machine_code("b8270000400f05c3"));
    assert_eq!(what(&x32), json!(["getpid", 0x4000_0027, "x32", 5]), "{x32:#}");
    for outcome in [i386, x32] {
        let notes = outcome["notes"].to_string();
        assert!(notes.contains("64-bit"), "{notes}");
    }
    // mov eax, 999; syscall; ret — under the shipped policy, whose default is to kill.
    let unknown = outcome(&[], &machine_code("b8e70300000f05c3"));
    assert_eq!(
        what(&unknown),
        json!(["syscall_999", 999, "x86_64", 5]),
        "{unknown:#}"
    );
    // And where the default is to allow, the kernel says that there is no such call.
    let allowed = under(json!([]), &machine_code("b8e70300000f05c3"));
    assert_eq!(allowed["stdout"], "-38\n", "{allowed:#}");
}
