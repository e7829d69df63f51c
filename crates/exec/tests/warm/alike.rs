//! What a program does in a warm run, it does in a cold one.

use std::ffi::OsString;

use callgate_exec::{Input, Io, Job, Outcome, Program, Run, Spec, Template, run};
use callgate_testing::{available, root};

use crate::contained::contained;
use crate::support::{interpreter, spec};

/// How a program ends is its interpreter's affair: output, errors, exit code.
const ENDS: &[&str] = &[
    "print(1)",
    "import sys; sys.exit()",
    "import sys; sys.exit(3)",
    "import sys; sys.exit(-1)",
    "import sys; sys.exit(256)",
    "import sys; sys.exit(1 << 70)",
    "import sys; sys.exit(True)",
    "import sys; sys.exit('a word')",
    "import sys; sys.exit((1, 2))",
    "raise KeyboardInterrupt",
    "raise GeneratorExit",
    "1 / 0",
    "def f(:\n",
    "import os; os._exit(7)",
    "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "import os; os.abort()",
    // What is left is taken apart.
    "def say(word): print(word)\nclass A:\n  def __del__(self): say('gone')\na = A()\nb = A(); b.itself = b\n",
    "class A:\n  def __del__(self): print('gone')\na = A()\nraise ValueError\n",
    "class A:\n  def __del__(self): print('gone')\nimport json; json.main = __import__('__main__'); a = A()\n",
    "f = open('/tmp/f', 'w'); f.write('kept')\nimport atexit, os\n",
    "import atexit; atexit.register(print, 'last'); print('first')",
    "import atexit, sys; atexit.register(sys.exit, 5)",
    "import atexit; atexit._clear(); print('cleared')",
    "import threading, time\nthreading.Thread(target=lambda: (time.sleep(.1), print('thread'))).start()\nprint('main')",
    "import threading, time\nthreading.Thread(target=time.sleep, args=(9,), daemon=True).start()\nprint('main')",
    "import os\nif os.fork() == 0: print('child'); raise SystemExit(4)\nprint(os.waitstatus_to_exitcode(os.wait()[1]))",
    // Streams that fail at the end.
    "import os; print('lost'); os.close(1)",
    "import sys; sys.stdout.close()",
    "import sys; sys.stdout = None; sys.stderr.write('no out')",
    "import io, sys; sys.stdout = io.StringIO(); print('kept')",
    "import sys; sys.excepthook = lambda *a: print('hook', a[0].__name__); 1 / 0",
    "import sys\ndef hook(*a): raise SystemExit(9)\nsys.excepthook = hook; 1 / 0",
];

/// What a program finds.
const FINDS: &[&str] = &[
    "import sys; print(sys.argv, sys.flags, __name__, __file__, sorted(globals()), sys.path)",
    "import sys; print(sys.stdin.read())",
    "import sys\nfor s in (sys.stdin, sys.stdout, sys.stderr):\n  \
     print(s.name, s.mode, s.encoding, s.errors, s.newlines, s.line_buffering, s.write_through, s.fileno(), s.isatty(), \
     type(s.buffer).__name__, s.buffer.name, s.buffer.mode, s.buffer.raw.closefd, s is getattr(sys, '__%s__' % s.name[1:-1]))",
    "import os; print(sorted(os.environ.items()), os.getcwd(), os.umask(0), os.getgroups(), os.uname()[1])",
    "import os; print(os.getpid(), os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid(), os.getresuid()[0] > 0, os.listdir('/tmp'))",
    "import os, errno\nopen_ = []\nfor fd in range(256):\n  try: os.fstat(fd); open_.append(fd)\n  \
     except OSError: pass\nprint(open_)",
    "import signal; print([(s, signal.getsignal(s)) for s in signal.valid_signals()], signal.pthread_sigmask(0, []))",
    "import resource as r; print([(n, r.getrlimit(getattr(r, n))) for n in dir(r) if n.startswith('RLIMIT_') and n != 'RLIMIT_NPROC'])",
    "import os\nfor path in ('/', '/tmp', '/dev/shm', '/etc/passwd', '/etc', '/dev/null', '/proc'):\n  \
     print(path, os.path.exists(path) and (os.stat(path).st_mode, sorted(os.listdir(path)) if os.path.isdir(path) else 0))",
    "import pwd, os; print(pwd.getpwuid(os.getuid()).pw_name, pwd.getpwuid(os.getuid()).pw_dir)",
    "import ctypes; print(ctypes.CDLL(None).getpid() > 0, ctypes.sizeof(ctypes.c_long))",
    "import socket; s = socket.socketpair(); s[0].send(b'x'); print(s[1].recv(1)); import _socket, gc, atexit",
    "import sys; print(sorted(set(sys.modules)))",
    "import os\ntry: os.open('/usr/written', os.O_CREAT | os.O_WRONLY)\nexcept OSError as e: print(e)\n\
     try: os.setuid(0)\nexcept OSError as e: print(e)\ntry: os.chroot('/')\nexcept OSError as e: print(e)",
    "import socket\ntry: socket.create_connection(('127.0.0.1', 1), 1)\nexcept OSError as e: print(type(e), e)\nprint(socket.if_nameindex())",
];

fn both(template: &Template, code: &str) -> (Outcome, Outcome) {
    let args = [OsString::from("one"), OsString::from("two words")].to_vec();
    let input = || {
        use std::io::{Seek, Write};
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"given\nlines\n").unwrap();
        file.rewind().unwrap();
        Input::File(file.into())
    };
    let mut job = Job::new(code.as_bytes().to_vec(), "job.py".to_owned());
    job.args.clone_from(&args);
    job.input = input();
    let warm = template.run(job, |_| {});
    let spec = template.spec();
    let program = Program::Script {
        executable: interpreter().executable.clone(),
        code: code.as_bytes().to_vec(),
        name: "job.py".to_owned(),
        args,
    };
    let mut cold = Run::new(program, spec.root.clone(), spec.filter.clone());
    cold.tier = spec.tier;
    cold.io = Io::Capture;
    cold.input = input();
    (warm, run(&cold, |_| {}))
}

fn alike(programs: &[&str], spec: fn(&[&str]) -> Spec) {
    if !available("root", root()) {
        return;
    }
    let template = Template::start(spec(&[])).unwrap();
    let mut different = Vec::new();
    for code in programs {
        let (warm, cold) = both(&template, code);
        let told = |o: &Outcome| {
            let streams = (o.stdout.clone(), o.stderr.clone());
            (
                o.status,
                o.exit_code,
                o.signal.clone(),
                streams,
                o.layers.len(),
                o.notes.clone(),
            )
        };
        if told(&warm) != told(&cold) {
            different.push(format!(
                "{code}\n  warm {:?}\n  cold {:?}\n",
                told(&warm),
                told(&cold)
            ));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn programs_end_alike() {
    alike(ENDS, spec);
}

#[test]
fn programs_find_the_same() {
    alike(FINDS, spec);
}

#[test]
fn programs_end_alike_without_namespaces() {
    alike(&some(ENDS, 5), contained);
}

#[test]
fn programs_find_the_same_without_namespaces() {
    // Its number is one of the host's there.
    let finds: Vec<&str> = FINDS
        .iter()
        .copied()
        .filter(|code| !code.contains("os.getsid"))
        .collect();
    alike(&some(&finds, 3), contained);
}

/// Each so many-th, for a cold run takes its time where roots are copied; all of them with `CALLGATE_EVERY_PROGRAM`.
fn some<'a>(programs: &[&'a str], each: usize) -> Vec<&'a str> {
    let every = std::env::var_os("CALLGATE_EVERY_PROGRAM").is_some();
    programs
        .iter()
        .copied()
        .step_by(if every { 1 } else { each })
        .collect()
}
