//! Programs under the shipped policies `python`, `python-network` and `docker-default`, locked after start-up,
//! on this kernel.

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
fn locked(policy: &str, program: &str) -> Option<Output> {
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
    let filter = emit::bpf(&load(policy), Arch::NATIVE).unwrap();
    child.stdin.take().unwrap().write_all(&filter).unwrap();
    Some(child.wait_with_output().unwrap())
}

/// Servers and clients of every kind on loopback, in one process; names; TLS as far as a context goes.
const NETWORK: &str = r#"
import asyncio, errno, http.server, select, socket, ssl, tempfile, threading, urllib.error, urllib.request
class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"hello")
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
threading.Thread(target=server.serve_forever, daemon=True).start()
port = server.server_address[1]
assert urllib.request.urlopen(f"http://127.0.0.1:{port}/").read() == b"hello"
assert socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)
try: socket.getaddrinfo("no-such-host.invalid", 80)
except socket.gaierror: pass
server.shutdown()
free = socket.socket(); free.bind(("127.0.0.1", 0)); closed = free.getsockname()[1]; free.close()
try: urllib.request.urlopen(f"http://127.0.0.1:{closed}/"); raise SystemExit("something listens")
except urllib.error.URLError as error: assert error.reason.errno == errno.ECONNREFUSED, error
async def main():
    async def echo(reader, writer):
        writer.write(await reader.readline()); await writer.drain(); writer.close()
    there = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", there.sockets[0].getsockname()[1])
    writer.write(b"line\n"); assert await reader.readline() == b"line\n"
    writer.close(); await writer.wait_closed(); there.close()
asyncio.run(main())
one, two = socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM)
one.bind(("127.0.0.1", 0)); two.sendto(b"datagram", one.getsockname()); assert one.recv(99) == b"datagram"
try:
    six = socket.socket(socket.AF_INET6); six.bind(("::1", 0))
except OSError as error: assert error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT), error
with tempfile.TemporaryDirectory() as d:
    local = socket.socket(socket.AF_UNIX); local.bind(d + "/s"); local.listen()
    near = socket.socket(socket.AF_UNIX); near.connect(d + "/s"); near.sendall(b"x")
    far, _ = local.accept(); assert far.recv(1) == b"x"
ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="a")
for family, kind, wanted in [(16, 3, errno.EAFNOSUPPORT), (17, 3, errno.EAFNOSUPPORT), (38, 5, errno.EAFNOSUPPORT),
                             (40, 1, errno.EAFNOSUPPORT), (2, 3, errno.EPERM)]:
    try: socket.socket(family, kind); raise SystemExit(f"{family} {kind} was not refused")
    except OSError as error: assert error.errno == wanted, (family, error)
print("done")
"#;

/// What a container's program does: other programs, threads, files; what Docker refuses fails with an errno.
const CONTAINED: &str = r#"
import ctypes, errno, multiprocessing.pool, os, subprocess, threading
assert subprocess.run(["/bin/echo", "hi"], capture_output=True).stdout == b"hi\n"
assert multiprocessing.pool.ThreadPool(2).map(abs, [-1, -2]) == [1, 2]
libc = ctypes.CDLL(None, use_errno=True)
for name, args in [("unshare", (0x10000000,)), ("mount", (0, 0, 0, 0, 0)), ("swapoff", (0,)), ("setns", (-1, 0))]:
    assert getattr(libc, name)(*args) == -1 and ctypes.get_errno() == errno.EPERM, name
assert libc.syscall(435, 0, 0) == -1 and ctypes.get_errno() == errno.ENOSYS
assert libc.personality(0x0040000) == -1 and libc.personality(ctypes.c_ulong(0xffffffff)) >= 0
print("done")
"#;

fn ends_well(policy: &str, program: &str) {
    let Some(output) = locked(policy, program) else {
        return;
    };
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
fn clients_servers_and_names_work_under_the_network_policy_and_other_families_fail_cleanly() {
    ends_well("python-network", NETWORK);
}

#[test]
fn what_runs_under_the_python_policy_runs_under_the_network_policy_too() {
    ends_well("python-network", &ORDINARY.replace("socket.socket, ", ""));
}

#[test]
fn a_container_s_program_runs_under_docker_s_decisions() {
    ends_well("docker-default", CONTAINED);
}

#[test]
fn ordinary_programs_run_under_the_python_policy_and_subprocesses_fail_cleanly() {
    ends_well("python", ORDINARY);
}

#[test]
fn a_program_that_leaves_the_python_policy_is_ended_by_the_kernel() {
    const SIGSYS: i32 = 31;
    for program in [
        "import os; os.setuid(0)",
        "import ctypes; ctypes.CDLL(None).ptrace(0, 0, 0, 0)",
        "import os; os.chroot('/')",
    ] {
        let Some(output) = locked("python", &format!("{program}\nprint('survived')")) else {
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
