//! What stands in a root besides the program: names, certificates, time zones; and what of the host's trees does not.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::places::{DOCKER, Place};
use super::{outcome_of, printed, unique};
use crate::support::{CALLGATE, available, callgate, expect, root, tool};

#[test]
fn names_certificates_and_time_zones_are_there_at_every_tier_that_has_a_root() {
    let code = "import grp, json, os, pwd, ssl, time, zoneinfo, datetime\n\
                me = pwd.getpwuid(os.getuid())\n\
                os.environ['TZ'] = 'Asia/Tokyo'; time.tzset()\n\
                print(json.dumps({\n\
                \x20 'me': [me.pw_name, me.pw_dir, grp.getgrgid(os.getgid()).gr_name],\n\
                \x20 'users': sorted(p.pw_name for p in pwd.getpwall()), 'groups': sorted(g.gr_name for g in grp.getgrall()),\n\
                \x20 'order': [l.split()[1:] for l in open('/etc/nsswitch.conf') if l.startswith(('passwd:', 'hosts:'))],\n\
                \x20 'network': [f for f in ('resolv.conf', 'hosts') if os.path.lexists('/etc/' + f)],\n\
                \x20 'authorities': len(ssl.create_default_context().get_ca_certs()) > 20,\n\
                \x20 'zones': [len(zoneinfo.available_timezones()) > 300, time.tzname[0],\n\
                \x20           str(datetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Berlin')).utcoffset())],\n\
                \x20 'closed': [os.path.lexists('/etc/' + f) for f in ('shadow', 'ssl/private', 'machine-id', 'hostname')],\n\
                }))";
    for place in Place::all() {
        // Without a root of its own the code sees the host's files.
        if place.tier() == "landlock" {
            continue;
        }
        let outcome = place.outcome(&[], code);
        assert_eq!(
            printed(&outcome),
            json!({
                "me": ["sandbox", "/tmp", "sandbox"],
                "users": ["nobody", "root", "sandbox"], "groups": ["nogroup", "root", "sandbox"],
                "order": [["files"], ["files", "dns"]], "network": [], "authorities": true,
                "zones": [true, "JST", "2:00:00"], "closed": [false, false, false, false],
            }),
            "{}",
            place.tier()
        );
    }
}

/// A virtual environment whose packages hold a fifo, a device and links that go round.
fn environment(dir: &Path) -> (PathBuf, PathBuf) {
    let at = dir.join("env");
    expect(
        0,
        Command::new("/usr/bin/python3")
            .args(["-m", "venv", "--without-pip"])
            .arg(&at),
    );
    let python = at.join("bin/python3");
    let code = "import sysconfig; print(sysconfig.get_path('purelib'), end='')";
    let output = expect(0, Command::new(&python).args(["-c", code]));
    let packages = PathBuf::from(String::from_utf8(output.stdout).unwrap());
    expect(0, Command::new("mkfifo").arg(packages.join("fifo")));
    expect(
        0,
        Command::new("mknod")
            .arg(packages.join("device"))
            .args(["c", "1", "9"]),
    );
    symlink("round", packages.join("about")).unwrap();
    symlink("about", packages.join("round")).unwrap();
    symlink("..", packages.join("up")).unwrap();
    std::fs::write(packages.join("module.py"), "x = 1").unwrap();
    (python, packages)
}

#[test]
fn devices_sockets_and_fifos_of_a_tree_are_out_of_reach_and_cycles_do_no_harm() {
    let needs = root().and_then(|()| tool("mknod")).and_then(|()| tool("setpriv"));
    if !available("root", needs) {
        return;
    }
    // Not in /tmp, which is scratch space in a built root.
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (python, packages) = environment(dir.path());
    let listener = UnixListener::bind(packages.join("socket")).unwrap();
    listener.set_nonblocking(true).unwrap();
    expect(
        0,
        Command::new("chmod")
            .arg("0666")
            .args(["socket", "fifo", "device"].map(|name| packages.join(name))),
    );
    let code = "import errno, json, module, os, socket, sysconfig\n\
                os.chdir(sysconfig.get_path('purelib'))\n\
                def what(call):\n\
                \x20   try: call(); return 'reached'\n\
                \x20   except OSError as error: return 'refused'\n\
                def connect(): socket.socket(socket.AF_UNIX).connect('socket')\n\
                tries = [connect] + [lambda n=n, f=f: os.open(n, f | os.O_NONBLOCK)\n\
                \x20        for n in ('fifo', 'device', 'about') for f in (os.O_RDONLY, os.O_WRONLY)]\n\
                print(json.dumps([[what(t) for t in tries], os.readlink('round'), os.path.isdir('up')]))";
    let expected = json!([vec!["refused"; 7], "about", true]);
    let python = python.to_str().unwrap();
    let flags = ["--policy", "python-network"];
    let check = |outcome: &Value, how: &str| {
        assert_eq!(printed(outcome), expected, "{how}: {outcome:#}");
        let notes = outcome["notes"].to_string();
        for (name, word) in [("fifo", "fifo"), ("device", "device"), ("socket", "socket")] {
            assert!(
                notes.contains(&format!("{name} is a {word}, which is left out")),
                "{how}: {notes}"
            );
        }
        assert!(listener.accept().is_err(), "{how}");
    };
    let full = |root: &[&str]| {
        let args = [&["exec", "--json"][..], root, &flags, &["-c", code]].concat();
        outcome_of(&callgate(args).output().unwrap())
    };
    check(&full(&["--tier=full", "--python", python]), "mounted");
    let built = dir.path().join(unique("root"));
    let built = built.to_str().unwrap();
    expect(0, &mut callgate(["root", "build", "--python", python, built]));
    check(&full(&["--root", built]), "built");
    // Copied, without mounts.
    let flags = ["--tier=container", "--root", built, flags[0], flags[1]];
    let mut command = Command::new("setpriv");
    command
        .args(["--bounding-set", DOCKER, CALLGATE, "exec", "--json"])
        .args(flags);
    check(
        &outcome_of(&command.args(["-c", code]).output().unwrap()),
        "container",
    );
}

/// Neither a read-only mount nor Landlock refuses to connect to a socket by its path: what is there when the root is
/// planned is masked, and of what comes later the policy decides.
#[test]
fn a_socket_that_is_made_in_a_tree_during_a_run_is_shut_by_the_shipped_policy_and_not_there_in_a_copy() {
    if !available("root", root().and_then(|()| tool("setpriv"))) {
        return;
    }
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let venv = dir.path().join("venv");
    expect(
        0,
        Command::new("/usr/bin/python3")
            .args(["-m", "venv", "--without-pip"])
            .arg(&venv),
    );
    let python = venv.join("bin/python");
    let at = venv.join("lib/socket");
    let code = format!(
        "import os, socket\n\
         print('ready', flush=True)\n\
         input()\n\
         def attempt():\n\
         \x20   try: socket.socket(socket.AF_UNIX).connect('{at}')\n\
         \x20   except OSError as error: return error.errno\n\
         print(os.path.exists('{at}'), attempt())\n",
        at = at.display()
    );
    for (tier, answer) in [
        ("full", format!("True {}\n", libc::EPERM)),
        ("container", format!("False {}\n", libc::EPERM)),
    ] {
        let mut command = callgate(["exec", "--quiet", "--tier", tier, "--python"]);
        let mut run = command
            .arg(&python)
            .args(["-c", &code])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(run.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "{tier}");
        let listener = UnixListener::bind(&at).unwrap();
        std::fs::set_permissions(&at, PermissionsExt::from_mode(0o777)).unwrap();
        listener.set_nonblocking(true).unwrap();
        run.stdin.take().unwrap().write_all(b"go\n").unwrap();
        line.clear();
        out.read_to_string(&mut line).unwrap();
        run.wait().unwrap();
        std::fs::remove_file(&at).unwrap();
        assert_eq!(line, answer, "{tier}");
        assert!(listener.accept().is_err(), "{tier}");
    }
}
