//! The end of a server: it waits for what is in hand, but not for long.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::holds::processes::descendants;
use super::server::{LONG, Server, Setup, eventually};
use crate::support::{available, expect, root, scratch};

#[test]
fn sigterm_waits_for_what_is_in_hand() {
    let mut server = Setup::new(&[]).env("WORKER_TIMEOUT", "60").ready();
    let mut stream = server.connect(&Server::request("import time\ntime.sleep(1.5)\nprint('done')"));
    eventually("a run", || server.metric("callgate_workers_busy") == 1.0);
    server.signal(libc::SIGTERM);
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains(r#""stdout":"done\n""#), "{text}");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn what_takes_too_long_is_ended_and_its_client_told() {
    let mut server = Setup::new(&["--grace", "0.5"])
        .env("WORKER_TIMEOUT", "600")
        .ready();
    let mut stream = server.connect(&Server::request(
        "import time\nprint('on', flush=True)\ntime.sleep(500)",
    ));
    eventually("a run", || server.metric("callgate_workers_busy") == 1.0);
    let begun = Instant::now();
    server.signal(libc::SIGTERM);
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("ended by the server"), "{text}");
    assert_eq!(server.ended().code(), Some(0));
    assert!(begun.elapsed() < LONG);
    assert!(std::net::TcpStream::connect(server.address).is_err());
}

#[test]
fn an_idle_server_ends_at_once() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut server = Server::start(&[]);
        // A client that keeps its connection open and asks nothing holds nothing up.
        let _idle = server.connect(b"");
        server.signal(signal);
        assert_eq!(server.ended().code(), Some(0));
    }
}

#[test]
fn a_second_signal_ends_what_still_runs_at_once() {
    let mut server = Setup::new(&["--grace", "600"])
        .env("WORKER_TIMEOUT", "600")
        .ready();
    let mut stream = server.connect(&Server::request("import time\ntime.sleep(500)"));
    eventually("a run", || server.metric("callgate_workers_busy") == 1.0);
    server.signal(libc::SIGTERM);
    server.wait_for_log(|entry| (entry["message"] == "stopping").then_some(()));
    // It waits, as it was told to.
    std::thread::sleep(Duration::from_millis(300));
    assert!(server.runs());
    server.signal(libc::SIGTERM);
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("ended by the server"), "{text}");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_server_that_is_not_ready_yet_ends_as_well() {
    if !available("root", root()) {
        return;
    }
    let dir = scratch();
    let python = with_a_slow_module(dir.path(), 20);
    let flags = [
        "--python",
        &python,
        "--tier",
        "full",
        "--preimport",
        "takes_a_while",
    ];
    let mut server = Setup::new(&flags).listening();
    assert_eq!(server.get("/health").0, 503);
    let begun = Instant::now();
    server.signal(libc::SIGTERM);
    assert_eq!(server.ended().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

/// Goes into the namespace of a process's children with one of its own, for which it never waits.
const STRANGER: &str = "
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
if libc.setns(os.open(f'/proc/{sys.argv[1]}/ns/pid', os.O_RDONLY), 0x20000000):
    sys.exit(os.strerror(ctypes.get_errno()))
if os.fork() == 0:
    time.sleep(600)
print('in', flush=True)
time.sleep(600)
";

#[test]
fn a_namespace_that_can_not_end_holds_no_end_up() {
    if !available("root", root()) {
        return;
    }
    let mut server = Server::start(&["--tier", "full", "--python", "/usr/bin/python3"]);
    let own = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let elsewhere = |pid: &i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|ns| ns != own);
    let mut bed = None;
    eventually("a bed", || {
        bed = descendants(server.pid()).into_iter().find(elsewhere);
        bed.is_some()
    });
    let mut stranger = Command::new("/usr/bin/python3")
        .args(["-I", "-c", STRANGER, &bed.unwrap().to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 2];
    stranger.stdout.take().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"in");
    let begun = Instant::now();
    server.signal(libc::SIGTERM);
    assert_eq!(server.ended().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert!(server.log().iter().any(|entry| {
        let text = entry["message"].as_str().unwrap_or_default();
        text.contains("not all warm interpreters have ended")
    }));
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

/// An interpreter with a module `takes_a_while`, whose import takes so many seconds.
pub(super) fn with_a_slow_module(dir: &Path, seconds: u32) -> String {
    std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let venv = dir.join("slow");
    let made = ["-m", "venv", "--without-pip"];
    expect(0, Command::new("/usr/bin/python3").args(made).arg(&venv));
    let python = venv.join("bin/python");
    let asked = ["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"];
    let packages = expect(0, Command::new(&python).args(asked)).stdout;
    let module = Path::new(String::from_utf8_lossy(&packages).trim()).join("takes_a_while.py");
    std::fs::write(module, format!("import time\ntime.sleep({seconds})\n")).unwrap();
    python.to_str().unwrap().to_owned()
}
