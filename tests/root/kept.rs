//! What is kept between runs of interpreters and roots: it saves the work, is never older than the host, and never
//! comes from somebody else.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::elsewhere;
use crate::exec::feed;
use crate::support::{available, callgate, expect, root, said, scratch, tool};

/// A virtual environment without packages, and a cache of its own.
struct Place {
    dir: tempfile::TempDir,
    cache: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            dir: elsewhere(),
            cache: scratch(),
        };
        let venv = place.dir.path().join("venv");
        let mut made = Command::new("/usr/bin/python3");
        expect(0, made.args(["-m", "venv", "--without-pip"]).arg(venv));
        place
    }

    fn python(&self) -> PathBuf {
        self.dir.path().join("venv/bin/python")
    }

    fn packages(&self) -> PathBuf {
        let lib = self.dir.path().join("venv/lib");
        let version = lib.read_dir().unwrap().next().unwrap().unwrap().path();
        version.join("site-packages")
    }

    fn found(&self) -> PathBuf {
        self.cache.path().join("callgate/found")
    }

    /// A call with this interpreter and this cache.
    fn call(&self, args: &[&str]) -> Command {
        let mut command = callgate(args);
        command
            .arg("--python")
            .arg(self.python())
            .env("XDG_CACHE_HOME", self.cache.path());
        command
    }

    fn exec(&self, code: &str) -> Command {
        self.call(&["exec", "--quiet", "-c", code])
    }

    /// The kept file of this kind; checks the root until there is one, for what has just changed is not kept.
    fn kept(&self, kind: &str) -> PathBuf {
        let begun = Instant::now();
        loop {
            expect(0, &mut self.call(&["root", "check"]));
            let files = self.found().read_dir().unwrap();
            let all: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
            let named = |path: &&PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(kind);
            if let Some(path) = all.iter().find(named) {
                return path.clone();
            }
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "nothing is kept: {all:?}"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// A kept finding, with what it rests on.
pub fn content(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str(line).unwrap());
    let mut content: Value = lines.next().unwrap();
    content["rests_on"] = lines.next().unwrap();
    content
}

/// Writes a kept file as callgate does, with the hashes that belong to it.
pub fn forge(path: &Path, content: &Value) {
    let mut content = content.clone();
    let rests_on = content.as_object_mut().unwrap().remove("rests_on").unwrap();
    let (finding, rests_on) = (format!("{content}\n"), rests_on.to_string());
    let hash = |text: &str| -> String {
        let bytes = Sha256::digest(text);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let head = format!(
        "callgate.found/3 {} {} {}\n",
        finding.len(),
        hash(&finding),
        hash(&rests_on)
    );
    std::fs::write(path, head + &finding + &rests_on).unwrap();
}

/// Which file it is and when it was written.
fn stamp(path: &Path) -> (u64, i64, i64) {
    let data = path.metadata().unwrap();
    (data.ino(), data.mtime(), data.mtime_nsec())
}

#[test]
fn the_second_time_neither_the_interpreter_is_asked_nor_its_objects_are_read() {
    if !available("strace", tool("strace")) {
        return;
    }
    let place = Place::new();
    place.kept("interpreter");
    let plan = place.kept("python-root");
    let before = stamp(&plan);
    let log = place.dir.path().join("log");
    let trace = |more: &[&str]| {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-e", "trace=execve", "-o"]).arg(&log);
        let call = place.call(&[&["root", "check"], more].concat());
        strace.arg(call.get_program()).args(call.get_args());
        expect(0, strace.env("XDG_CACHE_HOME", place.cache.path()));
        std::fs::read_to_string(&log).unwrap().matches("execve(").count()
    };
    // Itself; and with the interpreter.
    assert_eq!(trace(&[]), 1);
    assert_eq!(trace(&["--no-cache"]), 2);
    assert_eq!(stamp(&plan), before);
}

#[test]
fn what_is_installed_between_two_runs_is_there_in_the_second() {
    if !available("root", root()) || !available("cc", tool("cc")) {
        return;
    }
    let place = Place::new();
    let before = stamp(&place.kept("python-root"));
    expect(0, &mut place.exec("print(1)"));
    let (packages, far) = (place.packages(), elsewhere());
    std::fs::write(packages.join("near.py"), "").unwrap();
    std::fs::write(
        packages.join("far.pth"),
        format!("{}\n", far.path().join("later").display()),
    )
    .unwrap();
    // A library in none of the usual places, and a module that needs it.
    let lib = far.path().join("lib");
    std::fs::create_dir(&lib).unwrap();
    std::fs::write(far.path().join("one.c"), "int one(void) { return 1; }").unwrap();
    std::fs::write(
        far.path().join("two.c"),
        "int one(void); int two(void) { return 1 + one(); }",
    )
    .unwrap();
    let cc = |args: &[String]| {
        expect(
            0,
            Command::new("cc")
                .args(["-shared", "-fPIC"])
                .args(args)
                .current_dir(far.path()),
        );
    };
    cc(&["one.c", "-o", "lib/libone.so"].map(String::from));
    cc(&[
        "two.c".to_owned(),
        format!("-L{}", lib.display()),
        "-lone".to_owned(),
        format!("-Wl,-rpath,{}", lib.display()),
        "-o".to_owned(),
        packages.join("two.so").display().to_string(),
    ]);
    let two = packages.join("two.so").display().to_string();
    let code = format!("import near, ctypes; print(ctypes.CDLL({two:?}).two())");
    let output = expect(0, &mut place.exec(&code));
    assert_eq!(output.stdout, b"2\n", "{}", said(&output));
    // A directory that a .pth file named before it was there.
    expect(1, &mut place.exec("import faraway"));
    let begun = Instant::now();
    while stamp(&place.kept("python-root")) == before {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "the new plan is not kept"
        );
    }
    expect(1, &mut place.exec("import faraway"));
    std::fs::create_dir(far.path().join("later")).unwrap();
    std::fs::write(far.path().join("later/faraway.py"), "").unwrap();
    expect(0, &mut place.exec("import faraway"));
    // What is gone is gone.
    std::fs::remove_file(packages.join("near.py")).unwrap();
    expect(1, &mut place.exec("import near"));
}

/// A secret of the host, and a plan that shows it.
fn forged(place: &Place, secret: &Path) -> (PathBuf, Value) {
    let plan = place.kept("python-root");
    let mut kept = content(&plan);
    let entries = kept["finding"]["entries"].as_object_mut().unwrap();
    entries.insert("/srv".to_owned(), serde_json::json!({"Dir": {"mode": 0o755}}));
    entries.insert(
        "/srv/secret".to_owned(),
        serde_json::json!({"Tree": {"source": secret}}),
    );
    (plan, kept)
}

#[test]
fn a_run_that_begins_with_a_root_of_before_begins_again_and_the_code_is_not_lost() {
    if !available("root", root()) {
        return;
    }
    let place = Place::new();
    for (number, tier) in ["full", "container"].into_iter().enumerate() {
        place.kept("python-root");
        expect(0, &mut place.exec("print(1)"));
        let module = format!("near{number}");
        // With a directory in it, of which the plan says something; all of it is newer than what is kept.
        std::fs::create_dir(place.packages().join(&module)).unwrap();
        std::fs::write(
            place.packages().join(&module).join("__init__.py"),
            "word = 'seen'",
        )
        .unwrap();
        let mut command = place.call(&["exec", "--quiet", "--tier", tier, "-"]);
        let code = format!("import {module}\nprint({module}.word)\n");
        let output = feed(&mut command, code.as_bytes());
        let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(
            (words(&output.stdout), words(&output.stderr), output.status.code()),
            ("seen\n".to_owned(), String::new(), Some(0)),
            "{tier}"
        );
    }
}

#[test]
fn an_interpreter_that_has_moved_since_it_was_kept_is_found_where_it_is_and_the_code_runs_once() {
    if !available("root", root()) {
        return;
    }
    let place = Place::new();
    let far = elsewhere();
    for tier in ["full", "container"] {
        place.kept("python-root");
        expect(0, &mut place.exec("print(1)"));
        // The root of before has nothing at that path: the run of before can't even be begun.
        let moved = far.path().join(tier);
        expect(0, Command::new("cp").arg("/usr/bin/python3").arg(&moved));
        std::fs::remove_file(place.python()).unwrap();
        std::os::unix::fs::symlink(&moved, place.python()).unwrap();
        let mut command = place.call(&["exec", "--quiet", "--tier", tier, "-"]);
        let output = feed(&mut command, b"print('once')\n");
        let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(
            (words(&output.stdout), words(&output.stderr), output.status.code()),
            ("once\n".to_owned(), String::new(), Some(0)),
            "{tier}"
        );
    }
}

#[test]
fn a_strangers_plan_is_passed_over_with_a_note() {
    if !available("root", root()) {
        return;
    }
    let place = Place::new();
    let secret = elsewhere();
    std::fs::write(secret.path().join("text"), "secret").unwrap();
    let (plan, kept) = forged(&place, secret.path());
    let read = "print(open('/srv/secret/text').read())";
    // Ours is believed: what holds a stranger's back is whose it is, and nothing else.
    forge(&plan, &kept);
    assert_eq!(expect(0, &mut place.exec(read)).stdout, b"secret\n");
    let refused = |why: &str| {
        let output = expect(1, &mut place.call(&["exec", "-c", read]));
        let text = said(&output);
        assert!(
            text.contains("is not used") && text.contains(why),
            "{why}: {text}"
        );
        // It was put right, where it could be.
        text
    };
    chown(&plan, Some(65_534), None).unwrap();
    refused("belongs to uid 65534");
    expect(1, &mut place.exec(read));
    forge(&plan, &kept);
    std::fs::set_permissions(&plan, PermissionsExt::from_mode(0o666)).unwrap();
    refused("others may write to");
    forge(&plan, &kept);
    std::fs::hard_link(&plan, place.cache.path().join("second")).unwrap();
    refused("is not what it should be");
    forge(&plan, &kept);
    let real = place.cache.path().join("real");
    std::fs::rename(&plan, &real).unwrap();
    std::os::unix::fs::symlink(&real, &plan).unwrap();
    refused("can't be read");
    // Directories: of somebody else, or open to others, at any height.
    for dir in [place.found(), place.cache.path().to_owned()] {
        forge(&plan, &kept);
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o777)).unwrap();
        refused("others may write to");
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o700)).unwrap();
        chown(&dir, Some(65_534), None).unwrap();
        refused("belongs to uid 65534");
        chown(&dir, Some(0), None).unwrap();
        assert_eq!(expect(0, &mut place.exec(read)).stdout, b"secret\n");
    }
}

#[test]
fn a_damaged_plan_is_passed_over_with_a_note_and_written_anew() {
    if !available("root", root()) {
        return;
    }
    let place = Place::new();
    for kind in ["python-root", "interpreter"] {
        let path = place.kept(kind);
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        let middle = whole.len() / 2;
        flipped[middle] ^= 1;
        let cut = whole[..middle].to_vec();
        for damaged in [Vec::new(), b"\n".to_vec(), b"{}".to_vec(), cut, flipped] {
            std::fs::write(&path, &damaged).unwrap();
            let output = expect(0, &mut place.call(&["exec", "-c", "print(1)"]));
            let text = said(&output);
            assert!(text.contains("is not used: it is damaged"), "{kind}: {text}");
            assert!(std::fs::read(&path).unwrap() == whole, "{kind} is not as it was");
            let output = expect(0, &mut place.call(&["exec", "-c", "print(1)"]));
            assert!(!said(&output).contains("is not used"), "{}", said(&output));
        }
    }
    // Another build's file is no damage, and is replaced.
    let path = place.kept("python-root");
    let mut other = content(&path);
    other["finder"] = "another".into();
    other["finding"] = "what this one can't read".into();
    forge(&path, &other);
    let output = expect(0, &mut place.call(&["exec", "-c", "print(1)"]));
    assert!(!said(&output).contains("is not used"), "{}", said(&output));
    assert_ne!(content(&path)["finder"], "another");
}

#[test]
fn runs_that_begin_at_once_find_the_same_and_each_has_its_own_name() {
    if !available("root", root()) {
        return;
    }
    let place = Place::new();
    let code = "import os, pwd, time; time.sleep(0.3); print(os.getuid(), pwd.getpwuid(os.getuid()).pw_name)";
    for round in ["cold", "kept"] {
        let runs: Vec<_> = (0..6)
            .map(|_| {
                let mut command = place.exec(code);
                command
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let mut uids: Vec<String> = Vec::new();
        for run in runs {
            let output = run.wait_with_output().unwrap();
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{round}: {}",
                said(&output)
            );
            let text = String::from_utf8(output.stdout).unwrap();
            let (uid, name) = text.trim().split_once(' ').unwrap();
            assert_eq!(name, "sandbox");
            uids.push(uid.to_owned());
        }
        uids.sort();
        uids.dedup();
        assert_eq!(uids.len(), 6, "{round}");
        place.kept("python-root");
    }
}

#[test]
fn without_the_cache_nothing_is_read_or_written() {
    if !available("root", root()) {
        return;
    }
    let place = Place::new();
    let output = expect(0, &mut place.call(&["exec", "--no-cache", "-c", "print(1)"]));
    assert_eq!(output.stdout, b"1\n");
    expect(0, &mut place.call(&["root", "check", "--no-cache"]));
    assert!(!place.found().exists());
}

#[test]
fn a_plan_rests_on_every_path_that_planning_asks_the_kernel_about() {
    if !available("strace", tool("strace")) {
        return;
    }
    let place = Place::new();
    let (plan, interpreter) = (place.kept("python-root"), place.kept("interpreter"));
    let mut rests_on = BTreeMap::new();
    for path in [&plan, &interpreter] {
        for directory in content(path)["rests_on"].as_array().unwrap() {
            let path = PathBuf::from(directory[0].as_str().unwrap());
            for name in directory[1].as_array().unwrap() {
                let whole = name[1].get("s").is_some();
                *rests_on
                    .entry(path.join(name[0].as_str().unwrap()))
                    .or_insert(false) |= whole;
            }
        }
    }
    let log = place.dir.path().join("log");
    let mut strace = Command::new("strace");
    strace
        .args(["-ff", "-qq", "-s", "4096", "-e", "trace=%file", "-o"])
        .arg(&log);
    let call = place.call(&["root", "check", "--no-cache"]);
    strace.arg(call.get_program()).args(call.get_args());
    expect(0, strace.env("XDG_CACHE_HOME", place.cache.path()));
    let mut asked = 0;
    for entry in place.dir.path().read_dir().unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if !path.file_name().unwrap().to_str().unwrap().starts_with("log.")
            || text.contains("/venv/bin/python\", [")
        {
            continue;
        }
        // Of callgate itself, what comes after its own start: from the interpreter on.
        let ours = text.starts_with("execve(");
        let looks = |line: &str| line.starts_with("open") && line.contains("/venv/bin/python\"");
        for line in text.lines().skip_while(|line| ours && !looks(line)) {
            let Some(at) = line.split('"').nth(1).filter(|path| path.starts_with('/')) else {
                continue;
            };
            let at = Path::new(at);
            if at.starts_with("/proc") || at.starts_with("/sys") || at.starts_with("/dev") {
                continue;
            }
            asked += 1;
            // A directory that is a witness as a whole tells of each name in it.
            let told =
                rests_on.contains_key(at) || at.parent().is_some_and(|dir| rests_on.get(dir) == Some(&true));
            assert!(told, "{} was asked about and is no witness: {line}", at.display());
        }
    }
    assert!(asked > 500, "only {asked} paths were seen");
}
