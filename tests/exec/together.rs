//! Runs at tier container go side by side, and have nothing of one another.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::places::DOCKER;
use super::{interpreter, policy};
use crate::support::{CALLGATE, available, root, scratch, tool};

/// Says who it is, hears who the others are, and tries what it can do to them.
const MEETS: &str = "
import ctypes, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
me = sys.argv[1]
with open('/tmp/canary', 'w') as file: file.write(me)
with open('/dev/shm/canary', 'w') as file: file.write(me)
shared = libc.shmget(0, 4096, 0o1600)
print(json.dumps([os.getpid(), os.getuid(), shared]), flush=True)
def done(do, *args):
    try: do(*args)
    except OSError: return False
    return True
got = []
for pid, uid, memory in json.loads(sys.stdin.readline()):
    if pid == os.getpid(): continue
    if done(os.kill, pid, 0): got.append('kill')
    if done(os.setpriority, os.PRIO_PROCESS, pid, 19): got.append('setpriority')
    if done(os.sched_setaffinity, pid, [0]): got.append('sched_setaffinity')
    for request in (0x4206, 16):
        if libc.ptrace(request, pid, 0, 0) != -1: got.append('ptrace')
    piece = (ctypes.c_void_p * 2)(ctypes.addressof(ctypes.create_string_buffer(8)), 8)
    if libc.process_vm_readv(pid, piece, 1, piece, 1, 0) != -1: got.append('process_vm_readv')
    if ctypes.c_long(libc.shmat(memory, None, 0)).value != -1: got.append('shmat')
    if libc.shmctl(memory, 0, None) != -1: got.append('shmctl')
files = [os.listdir('/tmp'), os.listdir('/dev/shm'), open('/tmp/canary').read() == me, os.path.exists('/proc/1')]
print(json.dumps([got, files]), flush=True)
sys.stdin.readline()
";

struct Meeting {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Meeting {
    fn new(name: &str, policy: &str) -> Self {
        let mut child = Command::new("setpriv")
            .args([
                "--bounding-set",
                DOCKER,
                CALLGATE,
                "exec",
                "-q",
                "--tier",
                "container",
            ])
            .args([
                "--python",
                interpreter(),
                "--policy",
                policy,
                "-c",
                MEETS,
                "--",
                name,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn says(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    fn hears(&mut self, what: &Value) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{what}").unwrap();
    }
}

/// The uids that own something, as the kernel lists it.
fn owners(list: &str) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/sysvipc/{list}")).unwrap();
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn runs_without_namespaces_go_side_by_side_and_reach_nothing_of_one_another() {
    if !available("root", root().and_then(|()| tool("setpriv"))) {
        return;
    }
    let dir = scratch();
    let open = policy(dir.path(), &json!([]));
    let mut all: Vec<Meeting> = (0..3).map(|i| Meeting::new(&format!("run {i}"), &open)).collect();
    // All are there at once: each has begun, and none goes on before it has heard of all.
    let known: Vec<Value> = all.iter_mut().map(Meeting::says).collect();
    let mut uids: Vec<u64> = known.iter().map(|run| run[1].as_u64().unwrap()).collect();
    for run in &mut all {
        run.hears(&json!(known));
    }
    for run in &mut all {
        assert_eq!(run.says(), json!([[], [["canary"], ["canary"], true, false]]));
    }
    uids.sort_unstable();
    uids.dedup();
    assert_eq!(uids.len(), 3, "{known:?}");
    assert!(uids.iter().all(|uid| *uid != 0), "{known:?}");
    // The end of one is not the end of another.
    let mut first = all.remove(0);
    first.hears(&json!([]));
    assert!(first.child.wait().unwrap().success());
    for run in &mut all {
        assert!(run.child.try_wait().unwrap().is_none());
        run.hears(&json!([]));
        assert!(run.child.wait().unwrap().success());
    }
    let left = owners("shm");
    for run in &known {
        let (uid, memory) = (run[1].to_string(), run[2].to_string());
        assert!(
            !(left.contains(&uid) && left.contains(&memory)),
            "{run}: {left:?}"
        );
    }
}
