//! `--net`: nothing can be reached without it at any tier; with it servers, names and certificates work.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;

use serde_json::{Value, json};

use super::places::Place;
use super::{exec, interpreter, outcome, printed, small_root, unique};
use crate::support::{CALLGATE, available, callgate, expect, not_run, root, said, scratch, tool};

/// What of the host listens: a TCP and a UDP port on the loopback, and an abstract socket.
struct Host {
    tcp: TcpListener,
    udp: UdpSocket,
    local: UnixListener,
    name: String,
}

impl Host {
    fn new() -> Self {
        let name = unique("callgate-test");
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let host = Self {
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
            udp: UdpSocket::bind("127.0.0.1:0").unwrap(),
            local: UnixListener::bind_addr(&address).unwrap(),
            name,
        };
        host.tcp.set_nonblocking(true).unwrap();
        host.udp.set_nonblocking(true).unwrap();
        host.local.set_nonblocking(true).unwrap();
        host
    }

    /// A program that tries all three, and prints what came of it.
    fn tries(&self) -> String {
        let (tcp, udp) = (
            self.tcp.local_addr().unwrap().port(),
            self.udp.local_addr().unwrap().port(),
        );
        format!(
            "import errno, json, socket as s\n\
             def what(call):\n\
             \x20   try: call(); return 'reached'\n\
             \x20   except OSError as error: return errno.errorcode[error.errno]\n\
             def tcp(): s.create_connection(('127.0.0.1', {tcp})).sendall(b'hello')\n\
             def udp(): s.socket(s.AF_INET, s.SOCK_DGRAM).sendto(b'hello', ('127.0.0.1', {udp}))\n\
             def local(): s.socket(s.AF_UNIX).connect('\\0{name}')\n\
             print(json.dumps([what(tcp), what(udp), what(local)]))\n",
            name = self.name
        )
    }

    /// Whether each of them was reached.
    fn reached(&self) -> [bool; 3] {
        [
            self.tcp.accept().is_ok(),
            self.udp.recv(&mut [0; 8]).is_ok(),
            self.local.accept().is_ok(),
        ]
    }
}

#[test]
fn without_a_network_nothing_of_the_host_is_reached_at_any_tier_even_if_the_policy_allows_sockets() {
    for place in Place::all() {
        let host = Host::new();
        for flags in [&[][..], &["--net", "none"]] {
            let flags = [flags, &["--policy", "python-network"]].concat();
            let outcome = place.outcome(&flags, &host.tries());
            assert_eq!(outcome["exit_code"], 0, "{outcome:#}");
            let tries = printed(&outcome);
            assert!(
                tries.as_array().unwrap().iter().all(|tried| tried != "reached"),
                "{}: {tries}",
                place.tier()
            );
            assert_eq!(host.reached(), [false; 3], "{}: {outcome:#}", place.tier());
            assert_eq!(outcome.get("network"), None);
            let layers = outcome["layers"].to_string();
            let closed = layers.contains("network namespace") || layers.contains("no sockets (seccomp)");
            assert!(closed, "{layers}");
        }
    }
}

#[test]
fn the_hosts_network_is_asked_for_told_and_reached_at_every_tier() {
    for place in Place::all() {
        let host = Host::new();
        let outcome = place.outcome(&["--net", "host"], &host.tries());
        let tries = printed(&outcome);
        assert_eq!(
            (&tries[0], &tries[1]),
            (&json!("reached"), &json!("reached")),
            "{outcome:#}"
        );
        let [tcp, udp, local] = host.reached();
        assert!(tcp && udp, "{outcome:#}");
        assert_eq!(outcome["network"], "host");
        let layers = outcome["layers"].to_string();
        assert!(
            !layers.contains("network namespace") && !layers.contains("no sockets"),
            "{layers}"
        );
        assert!(layers.contains("TCP open"), "{layers}");
        let notes = outcome["notes"].to_string();
        assert!(notes.contains("the host's network"), "{notes}");
        assert!(notes.contains("policy is python-network"), "{notes}");
        // Landlock's scope, since version 6.
        let version: i32 = layers
            .split("ABI ")
            .nth(1)
            .and_then(|rest| rest.split([',', ')']).next())
            .and_then(|version| version.parse().ok())
            .unwrap();
        if version >= 6 {
            assert_eq!((&tries[2], local), (&json!("EPERM"), false), "{}", place.tier());
        } else {
            not_run("landlock-6", "Landlock can't scope abstract sockets here");
            assert!(notes.contains("abstract sockets"), "{notes}");
        }
    }
}

#[test]
fn a_policy_that_is_given_stays_as_it_is() {
    let code = "import socket; socket.socket()";
    let outcome = outcome(&["--net", "host", "--policy", "python"], code);
    assert_eq!(outcome["exit_code"], 1);
    assert!(
        outcome["stderr"].as_str().unwrap().contains("PermissionError"),
        "{outcome:#}"
    );
    assert!(
        !outcome["notes"].to_string().contains("the policy is"),
        "{outcome:#}"
    );
    let output = exec(&["--net", "some"], "");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}

/// A program that is a host of its own, in namespaces of mounts and network: a name server on port 53, a server
/// for HTTP and one for HTTPS, and a resolv.conf that is a link out of /etc, as systemd makes it. Then it runs its
/// arguments.
const BOX: &str = r#"
import http.server, os, shutil, socket, ssl, struct, subprocess, sys, threading
work, command = sys.argv[1], sys.argv[2:]
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
etc = work + "/etc"
shutil.copytree("/etc", etc, symlinks=True, ignore_dangling_symlinks=True)
for name in ("resolv.conf", "hosts"):
    if os.path.lexists(f"{etc}/{name}"): os.unlink(f"{etc}/{name}")
os.makedirs(work + "/mnt/resolve")
open(work + "/mnt/resolve/stub.conf", "w").write("nameserver 127.0.0.1\n")
open(work + "/mnt/hosts", "w").write("127.0.0.1 localhost\n127.0.0.2 by-hosts.test\n")
os.symlink("../mnt/resolve/stub.conf", etc + "/resolv.conf")
os.symlink("../mnt/hosts", etc + "/hosts")
# Not /run, where the uids of all runs are claimed.
subprocess.run(["mount", "--bind", work + "/mnt", "/mnt"], check=True)
subprocess.run(["mount", "--bind", etc, "/etc"], check=True)

def names():
    asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asked.bind(("127.0.0.1", 53))
    def answer():
        while True:
            query, who = asked.recvfrom(512)
            end = query.index(b"\0", 12) + 5
            kind, = struct.unpack(">H", query[end - 4:end - 2])
            known = query[12:end - 4] == b"\x06by-dns\x04test\0"
            found = known and kind == 1
            header = query[:2] + struct.pack(">HHHHH", 0x8580 | (0 if known else 3), 1, int(found), 0, 0)
            record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton("127.0.0.1")
            asked.sendto(header + query[12:end] + (record if found else b""), who)
    threading.Thread(target=answer, daemon=True).start()

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"answered")
    def log_message(self, *_): pass

def serve(port, certificate=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()

names(); serve(80); serve(443, work + "/server.pem")
sys.exit(subprocess.run(command).returncode)
"#;

/// A certificate of its own for the name `by-dns.test`: the chain with the key, and what to trust.
fn certificate(dir: &std::path::Path) {
    let line = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=by-dns.test \
                -addext subjectAltName=DNS:by-dns.test -keyout key.pem -out trusted.pem 2>/dev/null && \
                cat key.pem trusted.pem >server.pem";
    expect(0, Command::new("sh").args(["-ec", line]).current_dir(dir));
}

#[test]
fn names_are_looked_up_and_servers_verified_with_what_the_root_has() {
    let needs = root()
        .and_then(|()| tool("unshare"))
        .and_then(|()| tool("ip"))
        .and_then(|()| tool("openssl"));
    if !available("openssl", needs) {
        return;
    }
    let code = "import json, os, socket, ssl, urllib.error, urllib.request as u\n\
                said = {}\n\
                said['hosts'] = socket.gethostbyname('by-hosts.test')\n\
                said['dns'] = sorted({a[4][0] for a in socket.getaddrinfo('by-dns.test', 443)})\n\
                try: socket.getaddrinfo('unknown.test', 443)\n\
                except socket.gaierror as error: said['unknown'] = error.errno == socket.EAI_NONAME\n\
                said['http'] = u.urlopen('http://by-dns.test/').read().decode()\n\
                trusting = ssl.create_default_context(cafile='trusted.pem')\n\
                said['https'] = u.urlopen('https://by-dns.test/', context=trusting).read().decode()\n\
                try: u.urlopen('https://by-dns.test/')\n\
                except urllib.error.URLError as error: said['untrusted'] = 'CERTIFICATE_VERIFY_FAILED' in str(error)\n\
                said['authorities'] = len(ssl.create_default_context().get_ca_certs()) > 20\n\
                said['resolv.conf'] = [open('/etc/resolv.conf').read(), os.path.islink('/etc/resolv.conf')]\n\
                said['http port'] = socket.getservbyname('http')\n\
                print(json.dumps(said))";
    let expected = json!({
        "hosts": "127.0.0.2",
        "dns": ["127.0.0.1"],
        "unknown": true,
        "http": "answered",
        "https": "answered",
        "untrusted": true,
        "authorities": true,
        "resolv.conf": ["nameserver 127.0.0.1\n", false],
        "http port": 80,
    });
    let dir = scratch();
    let built = dir.path().join("root");
    for (tier, built_root) in [("full", false), ("container", false), ("full", true)] {
        let work = scratch();
        certificate(work.path());
        let trusted = format!("--file=trusted.pem={}", work.path().join("trusted.pem").display());
        let inside = |args: &[&str]| {
            let mut command = Command::new("unshare");
            command
                .args(["--mount", "--net", "/usr/bin/python3", "-I", "-c", BOX])
                .arg(work.path())
                .arg(CALLGATE)
                .args(args);
            command
        };
        let mut flags = vec!["exec", "--json", "--tier", tier, "--net", "host", &trusted];
        let at = built.to_str().unwrap();
        if built_root {
            // In the same world, so that it gets that world's resolv.conf.
            let flags = [
                "root",
                "build",
                "--net",
                "host",
                "--python",
                "/usr/bin/python3",
                at,
            ];
            expect(0, &mut inside(&flags));
            std::fs::remove_dir_all(work.path().join("etc")).unwrap();
            std::fs::remove_dir_all(work.path().join("mnt")).unwrap();
        }
        if built_root {
            flags.extend(["--root", at]);
        } else {
            flags.extend(["--python", "/usr/bin/python3"]);
        }
        flags.extend(["-c", code]);
        let outcome = super::outcome_of(&inside(&flags).output().unwrap());
        assert_eq!(outcome["exit_code"], 0, "{tier}: {outcome:#}");
        assert_eq!(printed(&outcome), expected, "{tier}: {outcome:#}");
    }
}

#[test]
fn a_built_root_without_what_the_network_needs_says_so() {
    let dir = scratch();
    let flag = format!("--root={}", small_root(&dir.path().join("root"), &[]));
    let noted = |outcome: &Value| outcome["notes"].to_string().contains("root build --net host");
    assert!(noted(&outcome(&[&flag, "--net=host"], "")));
    assert!(!noted(&outcome(&[&flag], "")));
}

#[test]
fn the_root_of_a_command_has_certificates_and_names_on_the_network_only() {
    let list = "for f in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do test -s $f && echo $f; done; :";
    let command = |net: &str| {
        let args = [
            "exec",
            "-q",
            "--policy=docker-default",
            "--net",
            net,
            "--",
            "sh",
            "-c",
            list,
        ];
        let output = expect(0, &mut callgate(args));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(command("none"), "");
    if std::path::Path::new("/etc/ssl/certs/ca-certificates.crt").exists() {
        assert_eq!(command("host").lines().count(), 3);
    } else {
        not_run(
            "certificates",
            "this host has no /etc/ssl/certs/ca-certificates.crt",
        );
    }
}

#[test]
fn a_server_of_the_code_is_reached_from_the_host() {
    let dir = scratch();
    let (at, flag) = (
        dir.path().join("out"),
        format!("--out={}", dir.path().join("out").display()),
    );
    let code = "import socket\n\
                server = socket.create_server(('127.0.0.1', 0)); print(server.getsockname()[1], flush=True)\n\
                peer, _ = server.accept(); open('got', 'wb').write(peer.recv(100))";
    let mut child = callgate([
        "exec",
        "--python",
        interpreter(),
        "--net=host",
        "--timeout=60",
        &flag,
        "-c",
        code,
    ])
    .stdout(std::process::Stdio::piped())
    .stderr(std::process::Stdio::null())
    .spawn()
    .unwrap();
    let mut port = String::new();
    let mut stdout = child.stdout.take().unwrap();
    let mut byte = [0];
    while stdout.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        port.push(byte[0] as char);
    }
    let mut stream = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    stream.write_all(b"hello").unwrap();
    drop(stream);
    assert!(child.wait().unwrap().success());
    assert_eq!(std::fs::read(at.join("got")).unwrap(), b"hello");
}
