//! Programs that want more of the machine than they may have.

use super::{As, Case, Says, everywhere};

const NO_CGROUP: &str = "without a cgroup memory is limited per process";
const ON_DISK: &str = "the scratch directory is on a disk, where files are limited one by one";

pub const CASES: &[Case] = &[
    Case {
        name: "a bomb of processes",
        flags: &["--timeout", "1", "--pids", "40"],
        code: "
def bomb():
    while True:
        try:
            if os.fork() == 0: continue
        except OSError: time.sleep(0.02)
for _ in range(2):
    try: child = os.fork()
    except OSError: break  # the first has taken all that there are
    if child == 0: bomb()
time.sleep(600)
",
        ends: everywhere!(As("timeout", 124)),
    },
    Case {
        name: "a bomb of processes whose parents end",
        flags: &["--timeout", "1", "--pids", "40"],
        code: "
while True:
    try:
        if os.fork() != 0 and os.getppid() == 1 and os.getpid() != 2: os._exit(0)
    except OSError: time.sleep(0.02)
",
        ends: everywhere!(As("timeout", 124)),
    },
    Case {
        name: "a bomb of threads",
        flags: &["--pids", "40"],
        code: "
import threading
count = 1
try:
    while count < 400:
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        count += 1
except RuntimeError: pass
# Without a cgroup, what of the uid is still on its way out counts too.
print('bounded' if 30 <= count <= 40 else count, flush=True)
os._exit(0)
",
        ends: everywhere!(Says("bounded")),
    },
    Case {
        name: "memory in one process",
        flags: &["--memory", "96M"],
        code: "
try: block = b'x' * (300 << 20)
except MemoryError: print('refused')
",
        ends: [
            Ok(As("oom", 137)),
            Ok(Says("refused")),
            Ok(Says("refused")),
            Ok(Says("refused")),
        ],
    },
    Case {
        name: "memory in many processes",
        flags: &["--memory", "96M"],
        code: "
children = []
for _ in range(8):
    child = os.fork()
    if child == 0:
        block = b'x' * (40 << 20)
        time.sleep(600)
    children.append(child)
killed = os.wait()[1]
print(os.WIFSIGNALED(killed) and os.WTERMSIG(killed) == signal.SIGKILL)
",
        ends: [Ok(Says("True")), Err(NO_CGROUP), Err(NO_CGROUP), Err(NO_CGROUP)],
    },
    Case {
        name: "memory that is shared and no file",
        flags: &["--memory", "96M"],
        code: "
import mmap
block = mmap.mmap(-1, 300 << 20)
for at in range(0, 300 << 20, 4096): block[at] = 1
print('held')
",
        ends: [Ok(As("oom", 137)), Err(NO_CGROUP), Err(NO_CGROUP), Err(NO_CGROUP)],
    },
    Case {
        name: "memory in a memory file",
        flags: &["--memory", "96M"],
        code: "
file = os.memfd_create('x')
for _ in range(300): os.write(file, b'x' * (1 << 20))
print('held')
",
        ends: [Ok(As("oom", 137)), Err(NO_CGROUP), Err(NO_CGROUP), Err(NO_CGROUP)],
    },
    Case {
        name: "memory in /tmp",
        flags: &["--memory", "96M", "--tmp-size", "512M"],
        code: "
with open('x', 'wb') as file:
    for _ in range(300): file.write(b'x' * (1 << 20))
print('held')
",
        ends: [Ok(As("oom", 137)), Err(ON_DISK), Err(NO_CGROUP), Err(ON_DISK)],
    },
    Case {
        name: "a memory file that is too large",
        flags: &["--file-size", "8M"],
        code: "
file = os.memfd_create('x')
def fill():
    for _ in range(20): os.write(file, b'x' * (1 << 20))
print(attempt(fill), attempt(os.ftruncate, file, 1 << 40))
",
        ends: everywhere!(Says("EFBIG EFBIG")),
    },
    Case {
        name: "locked memory",
        flags: &[],
        code: "print(libc.mlockall(3), libc.mmap(None, 1 << 20, 3, 0x2022, -1, 0))", // MAP_LOCKED
        ends: everywhere!(Says("-1 -1")),
    },
    Case {
        name: "a flood of /tmp and of /dev/shm",
        flags: &["--tmp-size", "8M"],
        code: "
def fill(at):
    with open(at, 'wb', buffering=0) as file:
        for _ in range(20): file.write(b'x' * (1 << 20))
print(attempt(fill, 'x'), attempt(fill, '/dev/shm/x'))
",
        ends: [Ok(Says("ENOSPC ENOSPC")), Err(ON_DISK), Ok(Says("ENOSPC ENOSPC")), Err(ON_DISK)],
    },
    Case {
        name: "many files",
        flags: &["--tmp-size", "1M"],
        code: "
def fill():
    for i in range(5000): os.close(os.open(f'{i}', os.O_CREAT))
print(attempt(fill), len(os.listdir('.')) < 256)
",
        ends: [Ok(Says("ENOSPC True")), Err(ON_DISK), Ok(Says("ENOSPC True")), Err(ON_DISK)],
    },
    Case {
        name: "a sparse giant",
        flags: &[],
        code: "
file = os.open('x', os.O_CREAT | os.O_RDWR)
print(attempt(os.truncate, 'x', 1 << 40), attempt(os.posix_fallocate, file, 0, 1 << 40), attempt(os.pwrite, file, b'x', 1 << 40))
",
        ends: everywhere!(Says("EFBIG EFBIG EFBIG")),
    },
    Case {
        name: "more descriptors than it may have",
        flags: &["--files", "50"],
        code: "
held = []
def fill():
    while True: held.append(os.dup(0))
print(attempt(fill), len(held) + 3)
",
        ends: everywhere!(Says("EMFILE 50")),
    },
    Case {
        name: "more descriptors by raising its limit",
        flags: &["--files", "50"],
        code: "
import resource
def refused(what):
    try: resource.setrlimit(what, (1 << 20, 1 << 20))
    except (OSError, ValueError): return True
print(all(refused(what) for what in [resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_MEMLOCK, resource.RLIMIT_CORE]))
",
        ends: everywhere!(Says("True")),
    },
    Case {
        name: "a flood of both streams at once",
        flags: &["--output-limit", "10"],
        code: "
if os.fork() == 0:
    for _ in range(50): os.write(2, b'e' * (1 << 20))
    os._exit(0)
for _ in range(50): os.write(1, b'o' * (1 << 20))
os.wait()
os._exit(7)
",
        ends: everywhere!(As("exited", 7)),
    },
    Case {
        name: "a flood without an end",
        flags: &["--timeout", "1"],
        code: "while True: os.write(1, b'o' * (1 << 20)); os.write(2, b'e' * (1 << 20))",
        ends: everywhere!(As("timeout", 124)),
    },
    Case {
        name: "a spin",
        flags: &["--cpu", "1"],
        code: "
signal.signal(signal.SIGXCPU, signal.SIG_IGN)
while True: pass
",
        ends: everywhere!(As("cpu", 137)),
    },
    Case {
        name: "a spin in many processes, each for a moment",
        flags: &["--cpu", "0.5"],
        code: "
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    if os.fork() == 0:
        while time.process_time() < 0.1: pass
        os._exit(0)
    time.sleep(0.02)
",
        ends: [
            Ok(As("cpu", 137)),
            Err("without a cgroup CPU time is limited per process"),
            Err("without a cgroup CPU time is limited per process"),
            Err("without a cgroup CPU time is limited per process"),
        ],
    },
    Case {
        name: "a sleep for ever, deaf to signals",
        flags: &["--timeout", "0.5"],
        code: "
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
while True: time.sleep(600)
",
        ends: everywhere!(As("timeout", 124)),
    },
    Case {
        name: "a stack without an end",
        flags: &[],
        code: "
import faulthandler
faulthandler._stack_overflow()
",
        ends: everywhere!(As("signaled", 139)),
    },
    Case {
        name: "a core dump",
        flags: &[],
        code: "
child = os.fork()
if child == 0: os.abort()
print(os.WCOREDUMP(os.waitpid(child, 0)[1]), os.listdir('.'))
",
        ends: everywhere!(Says("False []")),
    },
    Case {
        name: "a place before all others",
        flags: &[],
        code: "print(attempt(os.setpriority, 0, 0, -20), attempt(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(1)))",
        ends: everywhere!(Says("EACCES EPERM")),
    },
    Case {
        name: "IPC objects that outlive it",
        flags: &[],
        code: "
made = {make(*args) != -1 for make, *args in [(libc.shmget, 0x6361, 4096, 0o1600), (libc.semget, 0x6361, 1, 0o1600), (libc.msgget, 0x6361, 0o1600)]}
print(made)
",
        ends: [
            Ok(Says("{True}")),
            Ok(Says("{True}")),
            Ok(Says("{True}")),
            Ok(Says("{False}")),
        ],
    },
    Case {
        name: "IPC objects of the one before",
        flags: &[],
        code: "print([make(0x6361, 1, 0) for make in (libc.shmget, libc.semget)], libc.msgget(0x6361, 0))",
        ends: everywhere!(Says("[-1, -1] -1")),
    },
    Case {
        name: "message queues",
        flags: &[],
        code: "
print(libc.mq_open(b'/callgate', os.O_CREAT | os.O_RDWR, 0o600, None))
",
        ends: everywhere!(Says("-1")),
    },
];
