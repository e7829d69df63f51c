//! What of the host the code can see, reach or change: nothing. The policy here allows every call, so
//! that it is the other layers that are tried.

use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{feed, interpreter, outcome, outcome_of, policy, printed, unique};
use crate::support::{available, callgate, root, scratch};

/// Prints what a process can tell of itself.
const FACTS: &str = "
import ctypes, errno, json, os, pwd, resource, socket, struct, sys, tempfile
libc = ctypes.CDLL(None, use_errno=True)
def open_fd(fd):
    try: os.fstat(fd)
    except OSError: return False
    return True
facts = {'descriptors': [fd for fd in range(256) if open_fd(fd)]}
def fails(do, *args):
    try: do(*args)
    except OSError as error: return errno.errorcode[error.errno]
    return 'done'
def creates(at):
    return fails(lambda: os.close(os.open(os.path.join(at, 'created'), os.O_CREAT | os.O_EXCL | os.O_WRONLY))) == 'done'
header, sets = struct.pack('Ii', 0x20080522, 0), ctypes.create_string_buffer(24)
facts.update(
    uids=sorted(set(os.getresuid())), gids=sorted(set(os.getresgid())), groups=os.getgroups(),
    name=pwd.getpwuid(os.getuid()).pw_name, cwd=os.getcwd(), variables=sorted(os.environ),
    no_new_privs=libc.prctl(39, 0, 0, 0, 0),
    capget=libc.capget(header, sets), capabilities=sets.raw.hex(),
    bounding=[c for c in range(64) if libc.prctl(23, c, 0, 0, 0) == 1],
    core=resource.getrlimit(resource.RLIMIT_CORE), umask=os.umask(0o22),
    session=os.getsid(0) == os.getpid(), terminal=fails(os.open, '/dev/tty', os.O_RDWR),
    writable=sorted(at for at, _, _ in os.walk('/') if creates(at)),
    interfaces=[name for _, name in socket.if_nameindex()], host=os.uname().nodename,
    pids=[pid for pid in range(1, 2000) if fails(os.kill, pid, 0) != 'ESRCH'],
    processes=fails(os.listdir, '/proc/1'),
)
with tempfile.NamedTemporaryFile() as file:
    file.write(b'x')
    facts['temporary'] = file.name.startswith('/tmp/')
print(json.dumps(facts))
";

#[test]
fn the_process_has_no_privileges_and_nothing_of_ours() {
    let dir = scratch();
    let policy = policy(dir.path(), &json!([]));
    // A descriptor that nobody closes for us, and a variable.
    let leaked = std::fs::File::open("/dev/null").unwrap();
    let mut command = callgate(["exec", "--json", "--policy", &policy, "--env", "GIVEN=1", "-"]);
    crate::support::sys::inherit(&mut command, leaked.as_raw_fd(), 77);
    let outcome = outcome_of(&feed(command.env("SECRET", "1"), FACTS.as_bytes()));
    let facts = printed(&outcome);
    let uid = facts["uids"][0].as_u64().unwrap();
    assert_ne!(uid, 0);
    assert_eq!(
        (&facts["uids"], &facts["gids"]),
        (&json!([uid]), &json!([uid])),
        "{facts:#}"
    );
    let expected = json!({
        "descriptors": [0, 1, 2],
        "groups": [],
        "name": "sandbox",
        "cwd": "/tmp",
        "variables": ["GIVEN", "HOME", "LANG", "PATH", "USER"],
        "no_new_privs": 1,
        "capget": 0,
        "capabilities": "0".repeat(48),
        "bounding": [],
        "core": [1, 1], // the kernel's word for no dump at all, not even into a pipe
        "umask": 0o22,
        "session": true,
        "writable": ["/dev/shm", "/tmp"],
        "interfaces": ["lo"],
        "host": "callgate",
        "temporary": true,
        "processes": "ENOENT",
    });
    for (name, value) in expected.as_object().unwrap() {
        if name == "variables" {
            // The locale's coercion is the interpreter's own.
            let mut seen = facts[name].as_array().unwrap().clone();
            seen.retain(|variable| variable != "LC_CTYPE");
            assert_eq!(&Value::Array(seen), value);
            continue;
        }
        assert_eq!(&facts[name], value, "{name}");
    }
    assert!(
        ["ENOENT", "ENXIO"].contains(&facts["terminal"].as_str().unwrap()),
        "{facts:#}"
    );
    // Its init and itself.
    assert_eq!(facts["pids"].as_array().unwrap().len(), 2, "{facts:#}");
}

#[test]
fn nothing_of_the_host_is_there() {
    let dir = scratch();
    let policy = policy(dir.path(), &json!([]));
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "s").unwrap();
    let repository = crate::support::repository();
    let code = format!(
        "import json, os\n\
         asked = ['/etc/shadow', '/root/.ssh', '/root/.cache', '/home', '/var', '/sys', '/boot', '/mnt', '/run', '/old', '/new', {secret:?}, {repository:?}]\n\
         above = os.path.join('/tmp', *['..'] * 20, 'etc', 'shadow')\n\
         print(json.dumps([[at for at in asked + [above] if os.path.lexists(at)], os.listdir('/tmp'), os.listdir('/proc')]))\n"
    );
    let outcome = outcome(&["--policy", &policy], &code);
    assert_eq!(printed(&outcome), json!([[], [], []]), "{outcome:#}");
}

#[test]
fn the_hosts_sockets_are_out_of_reach() {
    let dir = scratch();
    let policy = policy(dir.path(), &json!([]));
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = unique("callgate-test");
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let port = tcp.local_addr().unwrap().port();
    let code = format!(
        "import socket\n\
         for family, address in [(socket.AF_INET, ('127.0.0.1', {port})), (socket.AF_UNIX, '\\0{name}'), (socket.AF_INET, ('192.0.2.1', 80))]:\n\
         \x20   try:\n        socket.socket(family).connect(address)\n        print('connected', address)\n    except OSError as error:\n        print('refused')\n"
    );
    let outcome = outcome(&["--timeout", "20", "--policy", &policy], &code);
    assert_eq!(outcome["stdout"], "refused\n".repeat(3), "{outcome:#}");
    // The listener works: what is on the host gets through.
    std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
}

#[test]
fn killing_every_process_hurts_nobody_else() {
    let dir = scratch();
    let policy = policy(dir.path(), &json!([]));
    let mut bystander = Command::new("sleep")
        .arg("600")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let code = format!(
        "import os, signal\n\
         assert os.getuid() >= 1000 and os.getpid() < 100\n\
         def kill(pid):\n\
         \x20   try: os.kill(pid, signal.SIGKILL)\n\
         \x20   except OSError as error: return error.strerror\n\
         \x20   return 'sent'\n\
         print(kill(-1), kill({}), kill(os.getppid()), flush=True)\n",
        bystander.id()
    );
    let outcome = outcome(&["--policy", &policy], &code);
    let alive = bystander.try_wait().unwrap().is_none();
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    assert!(alive, "{outcome:#}");
    assert_eq!(
        outcome["stdout"], "No such process No such process Operation not permitted\n",
        "{outcome:#}"
    );
    assert_eq!(outcome["exit_code"], 0);
}

#[test]
fn the_code_is_on_no_disk() {
    let dir = scratch();
    let (cache, temporary) = (dir.path().join("cache"), dir.path().join("tmp"));
    for made in [&cache, &temporary] {
        std::fs::create_dir(made).unwrap();
    }
    let open = policy(dir.path(), &json!([]));
    let word = unique("nowhere-else");
    // From inside: no file that was made for this run holds it. From outside: below.
    let code = format!(
        "import os, time\n\
         word = b'{word}'\n\
         found = []\n\
         for at, _, names in os.walk('/'):\n\
         \x20   for name in names:\n\
         \x20       path = os.path.join(at, name)\n\
         \x20       about = os.lstat(path)\n\
         \x20       if (about.st_mode >> 12) == 8 and about.st_mtime > time.time() - 3600:\n\
         \x20           with open(path, 'rb') as file:\n\
         \x20               if word in file.read(): found.append(path)\n\
         print(found)\n"
    );
    let mut command = callgate([
        "exec",
        "--json",
        "--python",
        interpreter(),
        "--policy",
        &open,
        "-",
    ]);
    let output = feed(
        command.env("XDG_CACHE_HOME", &cache).env("TMPDIR", &temporary),
        code.as_bytes(),
    );
    assert_eq!(outcome_of(&output)["stdout"], "[]\n");
    assert!(!holds(&cache, &word) && !holds(&temporary, &word));
    std::fs::write(temporary.join("canary"), &word).unwrap();
    assert!(holds(&temporary, &word), "the search finds what is there");
    for shared in ["/run/callgate", "/dev/shm"] {
        assert!(!holds(Path::new(shared), &word), "{shared}");
    }
}

/// Whether a file below a directory holds a word.
fn holds(dir: &Path, word: &str) -> bool {
    let found = Command::new("grep")
        .args(["-rlF", "-D", "skip", word])
        .arg(dir)
        .output()
        .unwrap();
    !found.stdout.is_empty()
}

#[test]
fn a_root_for_the_superuser_is_refused() {
    if !available("root", root()) {
        return;
    }
    let dir = scratch();
    let at = dir.path().join("root");
    let at = at.to_str().unwrap();
    let built = callgate(["root", "build", at, "--uid", "0", "--python", "/usr/bin/python3"])
        .output()
        .unwrap();
    if built.status.success() {
        let refused = outcome(&["--root", at], "print('reached')\n");
        assert_eq!(
            (&refused["exit_code"], &refused["stdout"]),
            (&json!(125), &Value::Null),
            "{refused:#}"
        );
    }
}
