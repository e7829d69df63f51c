//! The pages and files in `crates/serve/deploy`: what they say of settings, capabilities, profiles and metrics is so;
//! and in [`objects`], what is handed to Compose and Kubernetes is what they take.

mod objects;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::server::{Server, Setup};
use crate::exec::interpreter;
use crate::support::{
    CALLGATE, available, callgate, expect, repository, root, said, scratch, tool, without_cgroups,
};

fn deploy(name: &str) -> PathBuf {
    repository().join("crates/serve/deploy").join(name)
}

fn page(name: &str) -> String {
    std::fs::read_to_string(deploy(name)).unwrap()
}

/// The words in backticks of a table's cell.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The rows of the table of settings: nothing, key, variable, what it is here.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let all = page
        .lines()
        .skip_while(|line| *line != "| key in config.yaml | variable | here |");
    let rows = all.skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('|').collect()).collect()
}

/// What is said on the way to an error that is there by intent: no server is started.
fn warnings(configure: impl FnOnce(&mut Command)) -> String {
    let mut command = callgate(["serve", "--listen", "127.0.0.1:0", "--policy", "/no/such/policy"]);
    configure(&mut command);
    said(&expect(2, &mut command))
}

#[test]
fn the_table_of_settings_has_the_keys_and_variables_that_are_read_and_no_others() {
    let text = page("IN_PLACE_OF_DIFY_SANDBOX.md");
    let column =
        |i: usize| -> BTreeSet<String> { rows(&text).iter().flat_map(|row| quoted(row[i])).collect() };
    let (keys, variables) = (column(1), column(2));

    let dir = scratch();
    let file = dir.path().join("config.yaml");
    std::fs::write(&file, "no_such_key: 1\n").unwrap();
    let told = warnings(|command| {
        command.arg("--config").arg(&file);
    });
    let known = told
        .split("known are ")
        .nth(1)
        .unwrap_or_else(|| panic!("{told}"));
    let known: BTreeSet<String> = known
        .lines()
        .next()
        .unwrap()
        .split(", ")
        .map(|word| word.trim().to_owned())
        .collect();
    assert_eq!(keys, known);

    // A variable that is read says so when its value can't be meant, or when it is not used.
    let help = said(&expect(0, &mut callgate(["serve", "--help"])));
    for name in &variables {
        let warned = warnings(|command| {
            command.env(name, "\u{1}");
        });
        assert!(help.contains(name) || warned.contains(name), "{name}: {warned}");
    }
    // Every variable that dify-sandbox reads at a94a466.
    for name in [
        "DEBUG",
        "MAX_WORKERS",
        "MAX_REQUESTS",
        "SANDBOX_PORT",
        "WORKER_TIMEOUT",
        "API_KEY",
        "PYTHON_PATH",
        "PYTHON_LIB_PATH",
        "SYSTEM_LIB_REQUIREMENTS",
        "PIP_MIRROR_URL",
        "PYTHON_DEPS_UPDATE_INTERVAL",
        "NODEJS_PATH",
        "ENABLE_NETWORK",
        "ENABLE_PRELOAD",
        "ALLOWED_SYSCALLS",
        "SOCKS5_PROXY",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        // By its framework.
        "GIN_MODE",
    ] {
        assert!(variables.contains(name), "{name}");
    }
}

#[test]
fn rows_that_say_that_a_key_is_not_used_are_those_that_are_warned_of() {
    let text = page("IN_PLACE_OF_DIFY_SANDBOX.md");
    let dir = scratch();
    let file = dir.path().join("config.yaml");
    let probes = repository().join("probes").display().to_string();
    let mut unused = 0;
    for row in rows(&text) {
        let Some(key) = quoted(row[1]).pop() else { continue };
        let value = match key.as_str() {
            "enable_network" | "enable_preload" | "app.debug" => "true",
            "python_path" => interpreter(),
            "nodejs_path" | "python_lib_path" => probes.as_str(),
            _ => "1",
        };
        let line = match key.split_once('.') {
            Some((map, key)) => format!("{map}:\n  {key}: {value}\n"),
            None => format!("{key}: {value}\n"),
        };
        std::fs::write(&file, line).unwrap();
        let told = warnings(|command| {
            command.arg("--config").arg(&file);
        });
        let warned = told
            .lines()
            .any(|line| line.contains(" WARN ") && line.contains(&key));
        assert_eq!(row[3].contains("warned of"), warned, "{row:?}\n{told}");
        unused += usize::from(warned);
    }
    assert!(unused >= 3);
}

/// The commands that a page has, indented or not, that begin so.
fn commands(page: &str, start: &str) -> Vec<Vec<String>> {
    let lines = page.lines().map(str::trim).filter(|line| line.starts_with(start));
    lines
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

/// Runs a command of a page in a directory, up to its pipe.
fn follow(words: &[String], dir: &Path) -> String {
    let mine: Vec<&String> = words.iter().skip(1).take_while(|word| *word != "|").collect();
    let output = expect(0, callgate(mine).current_dir(dir));
    String::from_utf8(output.stdout).unwrap()
}

/// The capabilities that a file adds, as setpriv(1) has them.
fn capabilities(file: &str) -> String {
    let text = page(file);
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("add: ["))
        .unwrap();
    let words = line.trim_end_matches(']').split(", ");
    let added: String = words.map(|word| format!(",+{}", word.to_lowercase())).collect();
    format!("-all{added}")
}

/// Loads the raw filter in the file that is its first argument, and becomes the rest of them.
const UNDER: &str = "
import ctypes, os, struct, sys
program = open(sys.argv[1], 'rb').read()
lines = ctypes.create_string_buffer(program)
libc = ctypes.CDLL(None, use_errno=True)
given = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', len(program) // 8, ctypes.addressof(lines)))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, given):
    sys.exit('the filter is not loaded: ' + os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[2], sys.argv[2:])
";

/// A server in what a container is for it: these capabilities and no more, no cgroup to write to, and the filter
/// of a policy.
fn contained(capabilities: &str, policy: &str, dir: &Path) -> Server {
    let filter = dir.join("filter.bpf");
    let mut emit = callgate(["policy", "emit", policy, "--format", "bpf", "-o"]);
    expect(0, emit.arg(&filter).current_dir(dir));
    let mut command = without_cgroups();
    command
        .args(["setpriv", "--bounding-set", capabilities])
        .args(["python3", "-I", "-c", UNDER])
        .arg(&filter)
        .arg(CALLGATE)
        .env("XDG_CACHE_HOME", dir);
    Setup::of(command, &["--python", "/usr/bin/python3"]).ready()
}

fn tier(server: &Server) -> (String, String) {
    let text = |entry: &serde_json::Value, key: &str| Some(entry[key].as_str()?.to_owned());
    server.wait_for_log(|entry| Some((text(entry, "tier")?, text(entry, "layers")?)))
}

#[test]
fn the_capabilities_and_profiles_that_the_files_name_are_enough() {
    let needs = root()
        .and_then(|()| tool("setpriv"))
        .and_then(|()| tool("unshare"));
    if !available("root", needs) {
        return;
    }
    let dir = scratch();
    let dir = dir.path();
    std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let null = "import os\nopen('/dev/null', 'w').write('x')\nprint(os.getuid() != 0)";

    // The runtimes' default profile is Docker's in all that counts here.
    let plain = contained(&capabilities("kubernetes/deployment.yaml"), "docker-default", dir);
    assert_eq!(tier(&plain).0, "container");
    assert_eq!(plain.run(null)["stdout"], "True\n");
    drop(plain);

    let made = commands(&page("KUBERNETES.md"), "callgate policy allow");
    assert_eq!(
        made,
        commands(&page("IN_PLACE_OF_DIFY_SANDBOX.md"), "callgate policy allow")
    );
    follow(&made[0], dir);
    let full = contained(&capabilities("kubernetes/full.yaml"), "callgate-server.json", dir);
    let (name, layers) = tier(&full);
    assert_eq!(name, "full");
    for layer in [
        "mount namespace",
        "pid namespace",
        "network namespace",
        "pivot_root",
    ] {
        assert!(layers.contains(layer), "{layers}");
    }
    assert_eq!(full.run(null)["stdout"], "True\n");
}

#[test]
fn the_metrics_that_the_pages_name_are_there() {
    if !available("root", root()) {
        return;
    }
    let server = Server::start(&[]);
    server.run("import os\nos.chroot('/')");
    let (_, text) = server.get("/metrics");
    let mut named = 0;
    for file in ["KUBERNETES.md", "kubernetes/autoscaler.yaml"] {
        let page = page(file);
        for word in page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if word.starts_with("callgate_") {
                assert!(text.contains(word), "{word} is not in /metrics: {text}");
                named += 1;
            }
        }
    }
    assert!(named >= 8);
}

#[test]
fn the_dockerfile_copies_what_is_there_and_starts_a_server_with_words_that_it_knows() {
    let text = page("Dockerfile");
    let mut copied = 0;
    for line in text
        .lines()
        .filter(|line| line.starts_with("COPY ") && !line.contains("--from"))
    {
        let from = line.split(' ').nth(1).unwrap();
        assert!(repository().join(from).exists(), "{line}");
        copied += 1;
    }
    assert_eq!(copied, 2);
    let entry = text
        .lines()
        .find_map(|line| line.strip_prefix("ENTRYPOINT "))
        .unwrap();
    let words: Vec<String> = serde_json::from_str(entry).unwrap();
    let at = words.iter().position(|word| word == "callgate").unwrap();
    // Read, and then its help is printed.
    expect(0, callgate(&words[at + 1..]).arg("--help"));
    expect(2, callgate(&words[at + 1..]).args(["--no-such-word", "--help"]));
    // What the image of dify-sandbox has installed is there.
    let packages = page("requirements.txt");
    for name in ["httpx", "jinja2", "requests", "PySocks"] {
        assert!(
            packages.lines().any(|line| line.split('[').next() == Some(name)),
            "{name}"
        );
    }
    assert!(text.contains(" nodejs "));
    for path in ["/opt/python/bin/python3", "/usr/local/bin/node"] {
        assert!(text.contains(path), "{path}");
    }
}
