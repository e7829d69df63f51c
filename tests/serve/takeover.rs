//! What lies around a dify-sandbox is taken as it is: its directory with `conf/config.yaml`, the lists that its users
//! have made, its packages.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::server::{Server, Setup};
use crate::exec::interpreter;
use crate::support::{CALLGATE, scratch};

/// As dify's example has it (docker/volumes/sandbox/conf/config.yaml.example), with an interpreter of this machine.
fn example(python: &str) -> String {
    format!(
        "app:
  port: 8194
  debug: True
  key: 0815
max_workers: 4
max_requests: 50
worker_timeout: 5
python_path: {python}
python_lib_path:
  - /usr/local/lib/python3.10
  - /usr/lib/python3.10
  - /usr/lib/python3
  - /usr/lib/x86_64-linux-gnu
  - /etc/ssl/certs/ca-certificates.crt
  - /etc/nsswitch.conf
  - /etc/hosts
  - /etc/resolv.conf
  - /run/systemd/resolve/stub-resolv.conf
  - /etc/localtime
  - /usr/share/zoneinfo
  - /etc/timezone
python_pip_mirror_url: https://pypi.example.org/simple
enable_network: yes
allowed_syscalls:
  - 1
  - 2
  - 0x3
proxy:
  socks5: ''
  http: ''
  https: ''
"
    )
}

/// A server that is started in this directory.
fn started_in(dir: &Path, flags: &[&str]) -> Server {
    let mut command = Command::new(CALLGATE);
    command.current_dir(dir);
    Setup::of(command, flags).env("API_KEY", "").ready()
}

fn put(dir: &Path, name: &str, text: &str) {
    let at = dir.join(name);
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    std::fs::write(at, text).unwrap();
}

fn warned(server: &Server, part: &str) -> bool {
    server.log().iter().any(|entry| {
        let text = entry["message"].as_str().unwrap_or_default();
        entry["level"] == "WARN" && text.contains(part)
    })
}

#[test]
fn the_example_that_dify_ships_serves_as_it_is() {
    let dir = scratch();
    put(dir.path(), "conf/config.yaml", &example(interpreter()));
    let server = started_in(dir.path(), &[]);
    // The key is the text that is written, and not the number.
    let ask = |key: &str, network: bool| {
        let code = "import json, os\nprint(os.path.exists('/usr/share/zoneinfo/UTC'), open('/etc/nsswitch.conf').read()[:7])";
        let body = json!({"language": "python3", "code": code, "enable_network": network});
        server.post_with("/v1/sandbox/run", &body.to_string(), &[("X-Api-Key", key)])
    };
    assert_eq!(ask("815", false).0, 401);
    for network in [false, true] {
        let (status, answer) = ask("0815", network);
        assert_eq!(
            (status, &answer["data"]["stdout"]),
            (200, &json!("True passwd:\n")),
            "{answer:#}"
        );
    }
    for part in [
        "/usr/lib/python3.10",
        "/etc/nsswitch.conf of its own",
        "python_pip_mirror_url is not used",
        "allowed_syscalls adds to the policy python:",
    ] {
        assert!(warned(&server, part), "{part}: {:#?}", server.log());
    }
}

#[test]
fn packages_that_dify_sandbox_would_install_are_told_not_to_be() {
    let told = |requirements: &str| {
        let dir = scratch();
        put(dir.path(), "dependencies/python-requirements.txt", requirements);
        let server = started_in(dir.path(), &["--fresh"]);
        warned(&server, "dependencies/python-requirements.txt is not used")
    };
    assert!(told("# mine\nscipy==1.11\n"));
    // dify's own is empty.
    assert!(!told("") && !told("\n# none\n"));
}

/// An interpreter behind the link that dify-sandbox's own configuration names, `/opt/python/bin/python3`.
#[test]
fn an_interpreter_is_found_through_a_link_elsewhere() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let link = dir.path().join("python3");
    std::os::unix::fs::symlink("/usr/bin/python3", &link).unwrap();
    let link = link.to_str().unwrap();
    for flags in [&["--python", link][..], &["--python", link, "--fresh"]] {
        let server = Server::start(flags);
        let data: Value = server.run("import json, ssl, sys\nprint(sys.executable, sys.prefix)");
        assert_eq!(data["stdout"], format!("{link} /usr\n"), "{data:#}");
    }
}
