//! Stacks are read of every supported interpreter, and as another user.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use callgate_abi::Site;
use callgate_python::interpreter::Interpreter;
use callgate_python::stacks::{Opening, StackError, Stacks, site};
use callgate_testing::available;

use crate::pythons;

/// A Python program that has said that it is where it should be, and now waits for its input to end.
struct Waiting {
    child: Child,
    pid: i32,
    /// What it said.
    said: String,
}

impl Waiting {
    /// Starts it; `depth` is how many parents lie between this process and the Python that prints.
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut said)
            .unwrap();
        assert!(!said.is_empty(), "the program ended at once");
        let mut pid = child.id() as i32;
        // Through wrappers that fork, such as unshare(1).
        while let Some(inner) = children(pid)
            .first()
            .filter(|_| !executable(pid).contains("python"))
        {
            pid = *inner;
        }
        Self { child, pid, said }
    }

    /// Waits until the thread sleeps in the kernel: from then on its stack holds still.
    fn at_rest(&self, tid: i32) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let stat = || std::fs::read_to_string(format!("/proc/{}/task/{tid}/stat", self.pid)).unwrap();
        while !stat().contains(") S ") {
            assert!(Instant::now() < deadline, "{}", stat());
            std::thread::yield_now();
        }
    }

    fn threads(&self) -> Vec<i32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid)).unwrap();
        let mut tids: Vec<i32> = tasks
            .map(|task| task.unwrap().file_name().to_str().unwrap().parse().unwrap())
            .collect();
        tids.sort_unstable();
        tids
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        for pid in children(self.pid) {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.pid),
            nix::sys::signal::Signal::SIGKILL,
        );
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn children(pid: i32) -> Vec<i32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn executable(pid: i32) -> String {
    std::fs::read_link(format!("/proc/{pid}/exe"))
        .map(|path| path.display().to_string())
        .unwrap_or_default()
}

/// Writes a program and gives the command that runs it.
fn program(directory: &Path, python: &Interpreter, text: &str) -> (PathBuf, Command) {
    let path = directory.join("program.py");
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(&python.executable);
    command.args(["-I", "-B"]).arg(&path);
    (path, command)
}

fn names(frames: &[Site]) -> Vec<(String, u32)> {
    frames
        .iter()
        .map(|frame| (frame.function.clone(), frame.line))
        .collect()
}

fn named(functions: &[(&str, u32)]) -> Vec<(String, u32)> {
    functions
        .iter()
        .map(|(name, line)| ((*name).to_owned(), *line))
        .collect()
}

const NESTED: &str = "import os\n\ndef inner():\n    print('ready', flush=True)\n    os.read(0, 1)\n\nclass Outer:\n    def method(self):\n        inner()\n\nOuter().method()\n";
const NESTED_STACK: [(&str, u32); 3] = [("inner", 5), ("method", 9), ("<module>", 11)];

#[test]
fn the_lines_of_a_stopped_thread_are_read() {
    let directory = tempfile::tempdir().unwrap();
    for python in pythons::all() {
        let (path, mut command) = program(directory.path(), python, NESTED);
        let waiting = Waiting::start(&mut command);
        waiting.at_rest(waiting.pid);
        let mut stacks = Stacks::open(waiting.pid).unwrap();
        assert_eq!(stacks.as_user(), None);
        let frames = stacks.frames(waiting.pid).unwrap().unwrap();
        assert_eq!(names(&frames), named(&NESTED_STACK), "{}", python.version);
        assert_eq!(site(&frames).unwrap().file, path.to_str().unwrap());
        // Reading has attached to nothing.
        let status = std::fs::read_to_string(format!("/proc/{}/status", waiting.pid)).unwrap();
        assert!(status.contains("TracerPid:\t0\n"));
    }
}

/// Prints its own stack as Python sees it and waits in the same expression, below code of many shapes: calls over
/// several lines, loops, handlers, generators, coroutines, comprehensions, names and a file that are no ASCII.
const SHAPES: &str = r#"import os, sys, json

def stack():
    frame, lines = sys._getframe(1), []
    while frame:
        lines.append([frame.f_code.co_name, frame.f_lineno])
        frame = frame.f_back
    return lines

def wait():
    x = 1
    if x:
        for y in range(3):
            x += (
                y
            )
    return os.read(0, len(print(json.dumps(stack()), flush=True) or "1"))

def grün():
    try:
        raise KeyError
    except KeyError:

        return wait()

def 数(n):
    """Deep."""
    if n:
        return max(
            0,
            len(
                数(n - 1)
            ),
        ) and b"1"
    return grün()

def generator():
    yield 1
    a = 2; b = [數 for 數 in (数(3),)]
    yield b

class 𝒞:
    @property
    def held(self):
        with open("/dev/null") as f:
            return sorted(generator(), key=lambda value: (
                str(value)
            ))

# A hundred lines on.

async def numbers():
    for n in range(1):
        yield (
            n
        )

async def awaited(n):
    return 𝒞().held

async def task():
    return [
        await awaited(n)
        async for n in numbers()
    ]

task().send(None)
"#;

#[test]
fn lines_are_those_that_python_itself_tells() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().join("grün 数 𝒞");
    std::fs::create_dir(&directory).unwrap();
    for python in pythons::all() {
        let (path, mut command) = program(&directory, python, SHAPES);
        let waiting = Waiting::start(&mut command);
        waiting.at_rest(waiting.pid);
        let mut stacks = Stacks::open(waiting.pid).unwrap();
        let frames = stacks.frames(waiting.pid).unwrap().unwrap();
        let told: Vec<(String, u32)> = serde_json::from_str(&waiting.said).unwrap();
        assert_eq!(names(&frames), told, "{}", python.version);
        assert!(frames.iter().all(|frame| frame.file == path.to_str().unwrap()));
        let glance = stacks.glance(waiting.pid).unwrap().unwrap();
        assert_eq!(glance.site.as_ref(), frames.first());
        assert_eq!(glance.outermost.as_ref(), frames.last().map(|frame| &frame.file));
    }
}

#[test]
fn each_thread_has_its_own_stack() {
    let directory = tempfile::tempdir().unwrap();
    let text = "import os, threading\n\ndef work(n):\n    barrier.wait()\n    os.read(0, 1)\n\nbarrier = threading.Barrier(3)\n\
                for n in range(2):\n    threading.Thread(target=work, args=(n,)).start()\nbarrier.wait()\nprint('ready', flush=True)\nos.read(0, 1)\n";
    for python in pythons::all() {
        let (_, mut command) = program(directory.path(), python, text);
        let waiting = Waiting::start(&mut command);
        let tids = waiting.threads();
        assert_eq!(tids.len(), 3);
        tids.iter().for_each(|tid| waiting.at_rest(*tid));
        let mut stacks = Stacks::open(waiting.pid).unwrap();
        for tid in tids {
            let frames = stacks.frames(tid).unwrap();
            if tid == waiting.pid {
                assert_eq!(
                    names(&frames.unwrap()),
                    named(&[("<module>", 12)]),
                    "{}",
                    python.version
                );
            } else if python.version.minor >= 11 {
                assert_eq!(
                    names(&frames.unwrap())[0],
                    ("work".to_owned(), 5),
                    "{}",
                    python.version
                );
            } else {
                assert_eq!(frames, None, "{}", python.version);
            }
        }
        assert_eq!(stacks.frames(1).unwrap(), None);
    }
}

#[test]
fn each_interpreter_of_a_process_has_its_threads() {
    let directory = tempfile::tempdir().unwrap();
    let text = "import os, threading, _interpreters\n\ninner = '''import os\n\ndef work():\n    os.write(1, b'ready\\\\n')\n    os.read(0, 1)\n\nwork()\n'''\n\n\
                def other():\n    _interpreters.exec(_interpreters.create(), inner)\n\n\
                threading.Thread(target=other).start()\nos.read(0, 1)\n";
    // Before 3.13 it is not told which come after the newest.
    for python in pythons::all().iter().filter(|python| python.version.minor >= 13) {
        let (_, mut command) = program(directory.path(), python, text);
        let waiting = Waiting::start(&mut command);
        let [main, other] = *waiting.threads() else {
            panic!("{}", python.version)
        };
        waiting.at_rest(main);
        waiting.at_rest(other);
        let mut stacks = Stacks::open(waiting.pid).unwrap();
        let mut names = |tid| names(&stacks.frames(tid).unwrap().unwrap());
        assert_eq!(names(main), named(&[("<module>", 16)]), "{}", python.version);
        assert_eq!(
            names(other),
            named(&[("work", 5), ("<module>", 7)]),
            "{}",
            python.version
        );
    }
}

#[test]
fn a_forked_child_has_a_stack_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let text = "import os\n\ndef child():\n    print('ready', flush=True)\n    os.read(0, 1)\n\nif not os.fork():\n    child()\nos.read(0, 1)\n";
    for python in pythons::all() {
        let (_, mut command) = program(directory.path(), python, text);
        let waiting = Waiting::start(&mut command);
        let child = children(waiting.pid)[0];
        waiting.at_rest(waiting.pid);
        while !std::fs::read_to_string(format!("/proc/{child}/stat"))
            .unwrap()
            .contains(") S ")
        {}
        let frames = |pid| Stacks::open(pid).unwrap().frames(pid).unwrap().unwrap();
        assert_eq!(
            names(&frames(child)),
            named(&[("child", 5), ("<module>", 8)]),
            "{}",
            python.version
        );
        assert_eq!(
            names(&frames(waiting.pid)),
            named(&[("<module>", 9)]),
            "{}",
            python.version
        );
    }
}

#[test]
fn an_import_shows_the_line_that_imports() {
    let directory = tempfile::tempdir().unwrap();
    // The main thread waits for another's import of the same module, in the import system itself.
    std::fs::write(
        directory.path().join("slow.py"),
        "import os\nevent.set()\nos.read(0, 1)\n",
    )
    .unwrap();
    let text = format!(
        "import builtins, sys, threading\nsys.path.insert(0, {:?})\nbuiltins.event = threading.Event()\n\
         threading.Thread(target=__import__, args=('slow',)).start()\nevent.wait()\nprint('ready', flush=True)\n\n\
         import slow\n",
        directory.path()
    );
    for python in pythons::all() {
        let (path, mut command) = program(directory.path(), python, &text);
        let waiting = Waiting::start(&mut command);
        let mut stacks = Stacks::open(waiting.pid).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let frames = loop {
            waiting.at_rest(waiting.pid);
            let frames = stacks.frames(waiting.pid).unwrap().unwrap();
            if frames.len() > 1 && frames[0].function == "acquire" {
                break frames;
            }
            assert!(Instant::now() < deadline, "{frames:?}");
        };
        assert!(frames[0].file.starts_with("<frozen importlib."), "{frames:?}");
        let site = site(&frames).unwrap();
        assert_eq!(
            (site.file.as_str(), site.line),
            (path.to_str().unwrap(), 8),
            "{}",
            python.version
        );
    }
}

#[test]
#[ignore = "a measurement, to be read"]
fn what_reading_costs() {
    let directory = tempfile::tempdir().unwrap();
    for python in pythons::all() {
        let (_, mut command) = program(directory.path(), python, NESTED);
        let waiting = Waiting::start(&mut command);
        waiting.at_rest(waiting.pid);
        let start = Instant::now();
        let mut stacks = Stacks::open(waiting.pid).unwrap();
        let open = start.elapsed();
        let start = Instant::now();
        for _ in 0..100 {
            stacks.frames(waiting.pid).unwrap();
        }
        println!(
            "{} open {open:?}, frames {:?}",
            python.version,
            start.elapsed() / 100
        );
    }
}

#[test]
fn an_interpreter_is_found_by_who_asks_from_the_start() {
    let directory = tempfile::tempdir().unwrap();
    for python in pythons::all() {
        let (_, mut command) = program(directory.path(), python, NESTED);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id() as i32;
        let mut opening = Opening::new(pid);
        let begun = Instant::now();
        let mut lines = Vec::new();
        while lines != named(&NESTED_STACK) {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{}: {lines:?}",
                python.version
            );
            match opening.open() {
                Ok(mut stacks) => lines = names(&stacks.frames(pid).unwrap_or_default().unwrap_or_default()),
                // Before the program is executed, before there is an interpreter, and while it is set up.
                Err(StackError::NotPython { .. } | StackError::NotYet { .. } | StackError::Open { .. }) => {}
                Err(error) => panic!("{}: {error}", python.version),
            }
        }
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}

#[test]
fn what_has_no_python_is_told_apart() {
    let sleeping = Waiting::start(Command::new("sh").args(["-c", "echo ready; read x"]));
    assert!(matches!(
        Stacks::open(sleeping.pid),
        Err(StackError::NotPython { .. })
    ));
    let gone = sleeping.pid;
    drop(sleeping);
    assert!(matches!(Stacks::open(gone), Err(StackError::Open { .. })));
}

#[test]
fn a_process_that_ends_meanwhile_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let (_, mut command) = program(directory.path(), &pythons::all()[0], NESTED);
    let waiting = Waiting::start(&mut command);
    let mut stacks = Stacks::open(waiting.pid).unwrap();
    let pid = waiting.pid;
    drop(waiting);
    assert!(matches!(stacks.frames(pid), Err(StackError::Read { .. })));
}

/// Runs one test of this binary again below a wrapper, and fails with it.
fn again_below(wrapper: &[&str], test: &str) {
    let output = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--ignored"])
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn another_users_process_is_read_without_the_capability() {
    if !available("root", callgate_testing::root()) {
        return;
    }
    again_below(
        &["setpriv", "--bounding-set=-sys_ptrace"],
        "stacks::without_cap_sys_ptrace",
    );
}

#[test]
#[ignore = "run by another_users_process_is_read_without_the_capability"]
fn without_cap_sys_ptrace() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:\t"))
        .unwrap();
    assert_eq!(
        u64::from_str_radix(effective, 16).unwrap() & (1 << 19),
        0,
        "CAP_SYS_PTRACE is still there"
    );
    // The system's interpreter: another user may not look into root's home.
    let python = Interpreter::inspect(Path::new("/usr/bin/python3")).unwrap();
    let run = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(words)
            .arg(&python.executable)
            .args(["-I", "-B", "-c", NESTED]);
        Waiting::start(&mut command)
    };
    let waiting = run(&["--reuid=65534", "--regid=65534", "--clear-groups"]);
    waiting.at_rest(waiting.pid);
    // What a plain reader gets here.
    assert!(std::fs::read_link(format!("/proc/{}/exe", waiting.pid)).is_err());
    let mut stacks = Stacks::open(waiting.pid).unwrap();
    assert_eq!(stacks.as_user(), Some((65534, 65534)));
    assert_eq!(
        names(&stacks.frames(waiting.pid).unwrap().unwrap()),
        named(&NESTED_STACK)
    );
    // This thread, and with it the process, is still what it was.
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    assert!(
        status.contains("Uid:\t0\t0\t0\t0\n") && status.contains("Gid:\t0\t0\t0\t0\n"),
        "{status}"
    );
    // Several identities at once can't be taken.
    let waiting = run(&["--reuid=65534", "--egid=65533", "--clear-groups"]);
    assert!(matches!(
        Stacks::open(waiting.pid),
        Err(StackError::Denied { .. })
    ));
}
