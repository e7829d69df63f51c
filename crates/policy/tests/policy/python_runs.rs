//! Ordinary programs under the shipped `python` policy, locked after start-up, on this kernel.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};

use callgate_abi::Arch;
use callgate_policy::emit;

use crate::{load, not_run};

/// Loads the filter that comes on standard input, then runs the program that follows.
const LOCK: &str = r#"
import ctypes, struct, sys
data = sys.stdin.buffer.read()
instructions = ctypes.create_string_buffer(data, len(data))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(data) // 8, ctypes.addressof(instructions)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(program)), 0, 0):
    sys.exit(f"the filter was not loaded: errno {ctypes.get_errno()}")
"#;

/// Each group uses something else of the standard library, imported under the filter.
const ORDINARY: &str = r#"
import asyncio, concurrent.futures, hashlib, json, lzma, os, pwd, random, re, select, shutil, signal, socket
import sqlite3, ssl, subprocess, tempfile, threading, time, uuid, zipfile, zoneinfo
with tempfile.TemporaryDirectory() as d:
    db = sqlite3.connect(os.path.join(d, "a.db"))
    db.execute("pragma journal_mode=wal")
    db.execute("create table t(a)")
    db.executemany("insert into t values(?)", [(i,) for i in range(1000)])
    db.commit()
    assert db.execute("select count(*) from t").fetchone() == (1000,)
    db.close()
    with lzma.open(os.path.join(d, "x"), "wb") as f:
        f.write(b"x" * 100000)
    shutil.copy2(os.path.join(d, "x"), os.path.join(d, "y"))
    shutil.make_archive(os.path.join(d, "z"), "zip", d)
    assert "y" in zipfile.ZipFile(os.path.join(d, "z.zip")).namelist()
    os.rename(os.path.join(d, "y"), os.path.join(d, "w"))
    assert len(os.listdir(d)) >= 4
ssl.create_default_context(), hashlib.sha256(b"x").hexdigest(), uuid.uuid4(), random.random(), json.dumps({"a": 1})
assert zoneinfo.available_timezones() is not None and re.match("a+", "aaa")
for uid in (os.getuid(), 54321):
    try: pwd.getpwuid(uid)
    except KeyError: pass
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    assert sum(pool.map(lambda i: i, range(100))) == 4950
lock = threading.Event()
threading.Timer(0.01, lock.set).start()
assert lock.wait(5)
async def main():
    await asyncio.sleep(0.01)
    assert sum(await asyncio.gather(*(asyncio.to_thread(lambda i=i: i) for i in range(5)))) == 10
asyncio.run(main())
heard = []
signal.signal(signal.SIGALRM, lambda *_: heard.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.01)
time.sleep(0.05)
assert heard
for refused in (lambda: subprocess.run(["/bin/true"]), os.fork, socket.socket, lambda: os.execv("/bin/true", ["true"])):
    try: refused()
    except PermissionError: continue
    raise SystemExit(f"{refused} was not refused")
print("done")
"#;

/// Runs a program behind the lock; nothing if there is no interpreter.
fn locked(program: &str) -> Option<Output> {
    let child = Command::new("/usr/bin/python3")
        .args([
            "-I",
            "-c",
            &format!("{LOCK}\nexec(compile({program:?}, 'program', 'exec'))"),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            not_run("python3", &error.to_string());
            return None;
        }
    };
    let filter = emit::bpf(&load("python"), Arch::NATIVE).unwrap();
    child.stdin.take().unwrap().write_all(&filter).unwrap();
    Some(child.wait_with_output().unwrap())
}

#[test]
fn ordinary_programs_run_under_the_python_policy_and_subprocesses_fail_cleanly() {
    let Some(output) = locked(ORDINARY) else { return };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "done\n",
        "{}: {errors}",
        output.status
    );
    assert!(output.status.success(), "{}: {errors}", output.status);
}

#[test]
fn a_program_that_leaves_the_python_policy_is_ended_by_the_kernel() {
    const SIGSYS: i32 = 31;
    for program in [
        "import os; os.setuid(0)",
        "import ctypes; ctypes.CDLL(None).ptrace(0, 0, 0, 0)",
        "import os; os.chroot('/')",
    ] {
        let Some(output) = locked(&format!("{program}\nprint('survived')")) else {
            return;
        };
        assert_eq!(
            output.status.signal(),
            Some(SIGSYS),
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.stdout.is_empty(), "{program}");
    }
}
