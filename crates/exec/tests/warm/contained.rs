//! Warm runs at tier container: no namespaces, a uid for each run and one for the template.

use std::collections::BTreeSet;
use std::fs::File;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use callgate_exec::{Input, Job, Outcome, Root, Spec, Template, Tier, TierChoice};
use callgate_python::interpreter::Interpreter;
use callgate_testing::{available, root};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{number, printed, run, spec};

/// A template at tier container.
pub fn contained(modules: &[&str]) -> Spec {
    let mut spec = spec(modules);
    spec.tier = TierChoice::Exactly(Tier::Container);
    spec.beds = 3;
    spec
}

#[test]
fn a_run_without_namespaces_is_a_fork_of_the_template_under_a_uid_of_its_own() {
    if !available("root", root()) {
        return;
    }
    let template = Template::start(contained(&["json"])).unwrap();
    let code = "import os, pwd, sys\n\
                print('json' in sys.modules, os.getuid(), pwd.getpwuid(os.getuid()).pw_name, os.listdir('/tmp'), \
                os.getppid())\nopen('/tmp/left', 'x').close()";
    for _ in 0..5 {
        let outcome = run(&template, code);
        assert_eq!(
            (outcome.exit_code, outcome.tier),
            (0, Some(Tier::Container)),
            "{outcome:#?}"
        );
        let said = outcome.stdout.unwrap();
        let words: Vec<&str> = said.split_whitespace().collect();
        assert_eq!(
            (words[0], words[2], words[3]),
            ("True", "sandbox", "[]"),
            "{said}"
        );
        assert!(words[1].parse::<u32>().unwrap() > 0);
        assert_eq!(words[4].parse().ok(), template.process(), "{said}");
    }
    assert_eq!(printed(&template, "print(1)"), "1\n");
}

/// Says who it is, waits for the others, and tries what it can do to them, to its template and to its supervisor.
const MEETS: &str = "
import ctypes, json, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
shared = libc.shmget(0, 4096, 0o1600)
open('/tmp/canary', 'w').write(str(os.getpid()))
print(json.dumps([os.getpid(), os.getuid(), shared, os.getppid()]), flush=True)
others = json.loads(sys.stdin.readline())
def done(do, *args):
    try: do(*args)
    except OSError: return False
    return True
got = []
for pid, memory in others:
    if pid == os.getpid(): continue
    if done(os.kill, pid, 0): got.append(['kill', pid])
    if done(os.setpriority, os.PRIO_PROCESS, pid, 19): got.append(['setpriority', pid])
    for request in (0x4206, 16):
        if libc.ptrace(request, pid, 0, 0) != -1: got.append(['ptrace', pid])
    piece = (ctypes.c_void_p * 2)(ctypes.addressof(ctypes.create_string_buffer(8)), 8)
    if libc.process_vm_readv(pid, piece, 1, piece, 1, 0) != -1: got.append(['process_vm_readv', pid])
    if memory >= 0 and ctypes.c_long(libc.shmat(memory, None, 0)).value != -1: got.append(['shmat', pid])
sets = ctypes.create_string_buffer(24)
import struct
head = struct.pack('Ii', 0x20080522, 0)
raised = libc.capset(head, struct.pack('6I', 0xc0, 0xc0, 0, 0, 0, 0))
libc.capget(head, sets)
print(json.dumps([got, raised, sets.raw.hex().strip('0'), done(os.setuid, 0), done(os.chroot, '/'), os.listdir('/tmp')]))
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        os.fork()
        time.sleep(1000)
try: libc.syscall(56 if os.uname().machine == 'x86_64' else 220, 0x00800011, 0, 0, 0, 0)
except OSError: pass
os.kill(-1, 9)
";

#[test]
fn runs_without_namespaces_reach_neither_one_another_nor_the_template() {
    if !available("root", root()) {
        return;
    }
    let template = Template::start(contained(&[])).unwrap();
    let supervisor = std::process::id() as i32;
    let (tell, told) = mpsc::channel();
    let mut words = Vec::new();
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let mut runs = Vec::new();
        for _ in 0..3 {
            let (read, write) = nix::unistd::pipe().unwrap();
            words.push(File::from(write));
            let mut job = Job::new(MEETS.into(), "<code>".to_owned());
            job.input = Input::File(File::from(read).into());
            job.timeout = Some(Duration::from_secs(60));
            let tell = tell.clone();
            let template = &template;
            runs.push(scope.spawn(move || template.run(job, |stopper| tell.send(number(&stopper)).unwrap())));
        }
        // Their memory has the numbers that the kernel gives next; some are the others', all are tried.
        let mut known: Vec<(i32, i32)> = (0..3)
            .map(|_| (told.recv_timeout(Duration::from_secs(60)).unwrap(), -1))
            .collect();
        known.extend([(template.process().unwrap(), -1), (supervisor, -1)]);
        // Each has begun when its word is read; none ends before.
        let list: Vec<String> = known
            .iter()
            .map(|(pid, memory)| format!("[{pid}, {memory}]"))
            .collect();
        for mut word in words.drain(..) {
            use std::io::Write;
            writeln!(word, "[{}]", list.join(", ")).unwrap();
        }
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let mut uids = BTreeSet::new();
    for outcome in &outcomes {
        let said = outcome.stdout.as_deref().unwrap();
        let (first, second) = said.split_once('\n').unwrap();
        assert_eq!(
            second, "[[], -1, \"\", false, false, [\"canary\"]]\n",
            "{outcome:#?}"
        );
        uids.insert(first.split(", ").nth(1).unwrap().to_owned());
        // It has killed all that it could reach: what it had made, and nobody of the others.
        assert_eq!(outcome.exit_code, 0, "{outcome:#?}");
    }
    assert_eq!(uids.len(), 3, "{outcomes:#?}");
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let of = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))
            .unwrap_or_default();
        let runs = of.split_whitespace().any(|uid| uids.contains(uid));
        // What is dead is its parent's to wait for, which may be a first process that never does.
        let dead = status.contains("\nState:\tZ");
        // The next bed's fork waits under the same uid: the template is its parent, and it has no session's others.
        assert!(
            !runs || dead || status.contains(&format!("\nPPid:\t{}\n", template.process().unwrap())),
            "{status}"
        );
    }
    let shared = std::fs::read_to_string("/proc/sysvipc/shm").unwrap();
    assert!(
        !shared.split_whitespace().any(|word| uids.contains(word)),
        "{shared}"
    );
    assert_eq!(printed(&template, "import os; print(os.listdir('/tmp'))"), "[]\n");
}

#[test]
fn a_template_without_namespaces_that_is_killed_is_replaced_and_its_runs_go_on() {
    if !available("root", root()) {
        return;
    }
    let template = Template::start(contained(&[])).unwrap();
    let before = template.process().unwrap();
    let (tell, told) = mpsc::channel();
    let outcome = std::thread::scope(|scope| {
        let code = "import os, time\nif os.fork() == 0: time.sleep(1000)\ntime.sleep(2)\nprint('done')";
        let job = Job::new(code.into(), "<code>".to_owned());
        let run = scope.spawn(|| template.run(job, |_| tell.send(()).unwrap()));
        told.recv_timeout(Duration::from_secs(60)).unwrap();
        kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
        run.join().unwrap()
    });
    assert_eq!(outcome.stdout.as_deref(), Some("done\n"), "{outcome:#?}");
    for _ in 0..4 {
        assert_eq!(printed(&template, "print(1)"), "1\n");
    }
    assert_ne!(template.process(), Some(before));
}

/// A module that does what it can when it is imported, and in each fork.
const HOSTILE: &str = r#"
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
SELF, SERVER = struct.pack('Ii', 0x20080522, 0), os.getppid()
def tries():
    got = []
    sets = ctypes.create_string_buffer(24)
    libc.capget(SELF, sets)
    effective, permitted = struct.unpack('6I', sets.raw)[:2]
    if effective: got.append('effective')
    if libc.capset(SELF, struct.pack('6I', permitted, permitted, 0, 0, 0, 0)) == 0: got.append('capset')
    for name, call in (('setuid', lambda: os.setuid(0)), ('setgid', lambda: os.setgid(0)), ('chroot', lambda: os.chroot('/')),
                       ('groups', lambda: os.setgroups([0])), ('write', lambda: open('/usr/written', 'w')),
                       ('kill', lambda: os.kill(SERVER, 0)), ('host', lambda: os.listdir('/home')),
                       ('root', lambda: os.listdir('/proc/1'))):
        try: call()
        except OSError: continue
        got.append(name)
    if -1 != libc.ptrace(16, os.getppid(), 0, 0) or -1 != libc.ptrace(16, SERVER, 0, 0): got.append('ptrace')
    if libc.prctl(47, 2, 7, 0, 0) == 0: got.append('ambient')
    return got
SEEN = [tries()]
os.register_at_fork(after_in_child=lambda: SEEN.append(tries()))
WHO = [os.getuid(), os.getgid(), os.getgroups()]
"#;

#[test]
fn a_hostile_module_that_is_imported_ahead_has_no_privilege_without_namespaces() {
    if !available("root", root()) {
        return;
    }
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let venv = dir.path().join("env");
    let made = Command::new("/usr/bin/python3")
        .args(["-m", "venv", "--without-pip"])
        .arg(&venv)
        .status();
    assert!(made.unwrap().success());
    let python = Interpreter::inspect(&venv.join("bin/python")).unwrap();
    let packages = python
        .sys_path
        .iter()
        .find(|path| path.ends_with("site-packages"))
        .unwrap();
    std::fs::write(packages.join("hostile.py"), HOSTILE).unwrap();
    // One that Python's own start-up runs, before any import that is asked for.
    std::fs::write(packages.join("early.pth"), "import hostile\n").unwrap();
    let mut spec = contained(&["hostile"]);
    spec.executable.clone_from(&python.executable);
    spec.root = Root::ForPython(Box::new(python));
    let template = Template::start(spec).unwrap();
    let code = "import hostile, os\nprint(hostile.SEEN, hostile.WHO[0] not in (0, os.getuid()), 0 in hostile.WHO[1:])";
    assert_eq!(printed(&template, code), "[[], []] True False\n");
}
