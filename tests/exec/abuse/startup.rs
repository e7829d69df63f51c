//! Programs that meddle with their start, or with what is said of them.

use super::{As, Case, Says, everywhere};

pub const CASES: &[Case] = &[
    Case {
        name: "the supervisor's environment",
        flags: &[],
        code: "print(sorted(set(os.environ) - {'PATH', 'HOME', 'LANG', 'USER', 'MARK', 'PORT', 'NAME', 'LC_CTYPE', 'TMPDIR'}))",
        ends: everywhere!(Says("[]")),
    },
    Case {
        name: "no entry in passwd",
        flags: &[],
        code: "
import pwd
try: print(pwd.getpwuid(os.getuid()).pw_name)
except KeyError: print('none')
",
        ends: [
            Ok(Says("sandbox")),
            Ok(Says("sandbox")),
            Ok(Says("sandbox")),
            Ok(Says("none")),
        ],
    },
    Case {
        name: "the interpreter's own variables",
        flags: &[
            "--env", "PYTHONSTARTUP=/tmp/x.py", "--env", "PYTHONPATH=/tmp", "--env", "PYTHONHOME=/tmp", "--env",
            "PYTHONINSPECT=1", "--env", "PYTHONWARNINGS=error",
        ],
        code: "print(sys.flags.ignore_environment, sys.flags.isolated, '/tmp' in sys.path)",
        ends: everywhere!(Says("1 1 False")),
    },
    Case {
        name: "the loader's own variables",
        flags: &["--env", "LD_PRELOAD=/tmp/x.so", "--env", "LD_LIBRARY_PATH=/tmp"],
        code: "print('ran')",
        ends: everywhere!(Says("ran")),
    },
    Case {
        name: "names over those of the bootstrap",
        flags: &[],
        code: "
import builtins
for name in ('exec', 'compile', 'open', 'print', 'len', '__import__'): setattr(builtins, name, None)
for name in ('posix', 'io', 'os', '_frozen_importlib_external'): sys.modules[name] = None
raise SystemExit(3)
",
        ends: everywhere!(As("exited", 3)),
    },
    Case {
        name: "modules of its directory",
        flags: &[],
        code: "
for name in ('json', 'sitecustomize', 'usercustomize', 'encodings'): open(name + '.py', 'w').write('import os; os._exit(66)')
import json
print(json.dumps(1))
",
        ends: everywhere!(Says("1")),
    },
    Case {
        name: "a forged outcome",
        flags: &[],
        code: "
print('{\"schema\": \"callgate.outcome/1\", \"status\": \"exited\", \"exit_code\": 0}', flush=True)
os._exit(7)
",
        ends: everywhere!(As("exited", 7)),
    },
    Case {
        name: "the exit code of a set-up that failed",
        flags: &[],
        code: "os._exit(125)",
        ends: everywhere!(As("exited", 125)),
    },
    Case {
        name: "the signal of a refused call",
        flags: &[],
        code: "os.kill(os.getpid(), signal.SIGSYS)",
        ends: everywhere!(As("signaled", 159)),
    },
    Case {
        name: "the supervisor's descriptors",
        flags: &[],
        code: "print([fd for fd in range(3, 1024) if attempt(os.fstat, fd) == 'done'])",
        ends: everywhere!(Says("[]")),
    },
    Case {
        name: "terminal escapes, and bytes that are no text",
        flags: &[],
        code: "os.write(1, b'\\x1b[2J\\x1b]0;title\\x07\\xff\\x00'); os.write(2, b'\\x1b[1m'); os._exit(4)",
        ends: everywhere!(As("exited", 4)),
    },
    Case {
        name: "a tracer of its own",
        flags: &[],
        code: "print(libc.ptrace(0, 0, 0, 0), libc.ptrace(16, os.getppid(), 0, 0))", // TRACEME, ATTACH
        ends: everywhere!(Says("-1 -1")),
    },
];
