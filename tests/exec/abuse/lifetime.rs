//! Programs that want to last longer than their run, or to end others.

use super::{As, Case, Says, everywhere};

pub const CASES: &[Case] = &[
    Case {
        name: "grandchildren that have left for a session of their own, deaf to signals",
        flags: &[],
        code: "
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        for number in range(1, 32):
            if number not in (signal.SIGKILL, signal.SIGSTOP): signal.signal(number, signal.SIG_IGN)
        if os.fork() == 0: time.sleep(600)
        os._exit(0)
for _ in range(3): os.wait()
os._exit(5)
",
        ends: everywhere!(As("exited", 5)),
    },
    Case {
        name: "daemons that hold the output",
        flags: &["--timeout", "60"],
        code: "
if os.fork() == 0:
    os.setsid()
    time.sleep(600)
print('said', flush=True)
os._exit(0)
",
        ends: everywhere!(Says("said")),
    },
    Case {
        name: "children that nobody waits for",
        flags: &[],
        code: "
for _ in range(100):
    if os.fork() == 0: os._exit(0)
os._exit(7)
",
        ends: everywhere!(As("exited", 7)),
    },
    Case {
        name: "a stop of itself",
        flags: &["--timeout", "0.5"],
        code: "os.kill(os.getpid(), signal.SIGSTOP)",
        ends: everywhere!(As("timeout", 124)),
    },
    Case {
        name: "a daemon that has stopped itself",
        flags: &[],
        code: "
child = os.fork()
if child == 0:
    os.setsid()
    os.kill(os.getpid(), signal.SIGSTOP)
os.waitpid(child, os.WUNTRACED)
os._exit(0)
",
        ends: everywhere!(As("exited", 0)),
    },
    Case {
        name: "the death of everybody",
        flags: &[],
        code: "
if os.fork() == 0:
    os.setsid()
    while True: attempt(os.kill, -1, signal.SIGKILL)
while True: time.sleep(600)
",
        ends: everywhere!(As("signaled", 137)),
    },
    Case {
        name: "the death of its parent",
        flags: &[],
        code: "
for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP): attempt(os.kill, os.getppid(), number)
time.sleep(0.2)
print('still')
",
        ends: everywhere!(Says("still")),
    },
    Case {
        name: "the death of its group",
        flags: &[],
        code: "os.killpg(0, signal.SIGKILL)",
        ends: everywhere!(As("signaled", 137)),
    },
    Case {
        name: "a thread that goes on when the first has ended",
        flags: &["--timeout", "1"],
        code: "
import platform, threading
threading.Thread(target=time.sleep, args=(600,)).start()
libc.syscall(60 if platform.machine() == 'x86_64' else 93, 0)
",
        ends: everywhere!(As("timeout", 124)),
    },
    Case {
        name: "another program in its place",
        flags: &[],
        code: "os.execv(sys.executable, [sys.executable, '-I', '-S', '-c', 'import os; os._exit(3)'])",
        ends: everywhere!(As("exited", 3)),
    },
    Case {
        name: "a child that no tracer is told of",
        flags: &[],
        code: "
import platform
CLONE_UNTRACED = 0x800000
child = libc.syscall(56 if platform.machine() == 'x86_64' else 220, CLONE_UNTRACED | signal.SIGCHLD, 0, 0, 0, 0)
if child == 0:
    os.setsid()
    while True: time.sleep(600)
os._exit(0)
",
        ends: everywhere!(As("exited", 0)),
    },
    Case {
        name: "orphans that it gathers itself",
        flags: &[],
        code: "
PR_SET_CHILD_SUBREAPER = 36
if os.fork() == 0:
    os.setsid()
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.fork() == 0:
        if os.fork() == 0: time.sleep(600)
        os._exit(0)
    while True: time.sleep(600)
time.sleep(0.1)
os._exit(0)
",
        ends: everywhere!(As("exited", 0)),
    },
    Case {
        name: "births without an end as the first ends",
        flags: &["--pids", "60"],
        code: "
for _ in range(4):
    if os.fork() == 0:
        os.setsid()
        while True:
            try:
                if os.fork() != 0: os._exit(0)
            except OSError: pass
time.sleep(0.2)
os._exit(9)
",
        ends: everywhere!(As("exited", 9)),
    },
];
