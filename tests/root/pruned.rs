//! `callgate root prune`: what no root holds goes out of a store, and nothing else.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::elsewhere;
use crate::exec::places::Ordinary;
use crate::support::{available, callgate, expect, json as parse, root, said, tool};

/// Two roots of one store, the second with some files more.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: elsewhere() };
        let extra = place.dir.path().join("extra");
        std::fs::create_dir(&extra).unwrap();
        for (name, bytes) in [("small", 10), ("large", 3 << 20)] {
            std::fs::write(extra.join(name), vec![b'x'; bytes]).unwrap();
        }
        place.build("one", false);
        place.build("two", true);
        place
    }

    fn at(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn build(&self, name: &str, extra: bool) {
        let (store, more) = (self.at("store"), self.at("extra"));
        let mut command = callgate(["root", "build", "--python", "/usr/bin/python3", "--store", &store]);
        if extra {
            command.args(["--add", &more]);
        }
        expect(0, command.arg(self.at(name)));
    }

    fn prune(&self, flags: &[&str]) -> Value {
        let store = self.at("store");
        let all = ["root", "prune", "--json", &store];
        let report = parse(&expect(0, &mut callgate(all.iter().chain(flags))));
        assert_eq!(report["schema"], "callgate.pruned/1");
        assert_eq!(report["dry_run"], json!(flags.contains(&"--dry-run")));
        report
    }

    /// The contents of the store.
    fn objects(&self) -> usize {
        let objects = Path::new(&self.at("store")).join("objects");
        objects.read_dir().unwrap().count()
    }
}

#[test]
fn what_no_root_holds_goes_and_what_one_holds_stays() {
    if !available("root", root()) {
        return;
    }
    let place = Place::new();
    let whole = place.objects();
    let nothing = place.prune(&[]);
    assert_eq!(nothing["removed"], json!({"files": 0, "bytes": 0}));
    assert_eq!(nothing["used"]["files"], whole);
    std::fs::remove_dir_all(place.at("two")).unwrap();
    let two = json!({"files": 2, "bytes": (3 << 20) + 10});
    let told = place.prune(&["--dry-run"]);
    assert_eq!((&told["removed"], place.objects()), (&two, whole));
    let done = place.prune(&[]);
    assert_eq!((&done["removed"], &done["kept"]["files"]), (&two, &json!(0)));
    assert_eq!(place.objects(), whole - 2);
    // The other root is whole, and a build with what is gone goes as ever.
    let one = place.at("one");
    expect(0, &mut callgate(["root", "check", &one]));
    place.build("two", true);
    assert_eq!(place.objects(), whole);
    let large = Path::new(&place.at("two")).join(place.at("extra").trim_start_matches('/'));
    assert_eq!(large.join("large").metadata().unwrap().len(), 3 << 20);
    for name in ["one", "two"] {
        std::fs::remove_dir_all(place.at(name)).unwrap();
    }
    let all = place.prune(&[]);
    assert_eq!(
        (all["removed"]["files"].as_u64(), place.objects()),
        (Some(whole as u64), 0)
    );
    let seen = Path::new(&place.at("store")).join("seen");
    assert_eq!(seen.read_dir().unwrap().count(), 0);
}

#[test]
fn by_age_and_by_size_only_so_much_goes() {
    if !available("root", root()) {
        return;
    }
    let place = Place::new();
    let whole = place.objects();
    std::fs::remove_dir_all(place.at("two")).unwrap();
    assert_eq!(place.prune(&["--older-than", "1h"])["kept"]["files"], 2);
    assert_eq!(place.prune(&["--keep", "4M"])["kept"]["files"], 2);
    // What has been unused longest goes first; a name more and less makes the large one the younger.
    let kept = Path::new(&place.at("store")).join("objects");
    let mut objects = kept.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let large = objects
        .find(|path| path.metadata().unwrap().size() == 3 << 20)
        .unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let name = place.at("name");
    std::fs::hard_link(&large, &name).unwrap();
    std::fs::remove_file(&name).unwrap();
    let some = place.prune(&["--keep", "3M"]);
    assert_eq!(
        (&some["removed"], &some["kept"]["files"]),
        (&json!({"files": 1, "bytes": 10}), &json!(1)),
        "{some}"
    );
    let rest = place.prune(&["--keep", "3M", "--older-than", "0s"]);
    assert_eq!(rest["removed"]["files"], 0);
    assert_eq!(place.prune(&["--older-than", "0s"])["removed"]["files"], 1);
    assert_eq!(place.objects(), whole - 2);
}

#[test]
fn what_is_no_store_is_left_alone_and_a_build_is_waited_for() {
    if !available(
        "root",
        root().and_then(|()| tool("flock")).and_then(|()| tool("setpriv")),
    ) {
        return;
    }
    let place = Place::new();
    let (one, store, none) = (place.at("one"), place.at("store"), place.at("none"));
    for dir in [&one, &none] {
        let refused = said(&expect(2, &mut callgate(["root", "prune", dir])));
        assert!(refused.contains("is not a store"), "{refused}");
    }
    assert!(!Path::new(&none).exists());
    let whole = place.objects();
    let user = Ordinary::new();
    let uid = user.uid().to_string();
    let mut other = Command::new("setpriv");
    other.args(["--reuid", &uid, "--regid", &uid, "--clear-groups"]);
    other
        .arg(user.dir().join("callgate"))
        .args(["root", "prune", &store]);
    let refused = said(&expect(2, &mut other));
    assert!(refused.contains("a store is for the superuser"), "{refused}");
    assert_eq!(place.objects(), whole);
    for bad in ["30", "1.5d", "-1d"] {
        let flag = format!("--older-than={bad}");
        let refused = said(&expect(2, &mut callgate(["root", "prune", &store, &flag])));
        assert!(refused.contains("such as 12h or 30d"), "{refused}");
    }
    // The lock that a build holds.
    let lock = format!("{store}/lock");
    let mut build = Command::new("flock")
        .args(["--shared", &lock, "sh", "-c", "echo held; read line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(build.stdout.as_mut().unwrap()),
        &mut String::new(),
    )
    .unwrap();
    std::fs::remove_dir_all(place.at("two")).unwrap();
    let mut waits = callgate(["root", "prune", &store])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(waits.try_wait().unwrap().is_none());
    assert_eq!(place.objects(), whole);
    drop(build.stdin.take());
    build.wait().unwrap();
    let done = waits.wait_with_output().unwrap();
    let text = said(&done);
    assert!(
        done.status.success()
            && text.contains("removed 2 files (3.0 MiB) from ")
            && text.contains("0 files (0.0 MiB) unused kept"),
        "{text}"
    );
    assert_eq!(place.objects(), whole - 2);
}
