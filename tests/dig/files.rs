//! The paths that a probe used: absolute, with how they were used and whether they were there.

use std::path::Path;

use serde_json::{Value, json};

use super::trace_of_script;
use crate::support::scratch;

/// What a trace says of a path.
fn file<'a>(trace: &'a Value, path: &Path) -> Option<&'a Value> {
    let path = path.to_str().unwrap();
    trace["files"]
        .as_array()
        .unwrap()
        .iter()
        .find(|file| file["path"] == path)
}

/// Runs a script whose `here` is a fresh directory with `a file`, `sub/inner` and `link`.
fn traced(body: &str) -> (Value, tempfile::TempDir) {
    let dir = scratch();
    std::fs::write(dir.path().join("a file"), "text").unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    std::fs::write(dir.path().join("sub/inner"), "text").unwrap();
    std::os::unix::fs::symlink("a file", dir.path().join("link")).unwrap();
    let text = format!("import os\nhere = {:?}\n{body}\n", dir.path().to_str().unwrap());
    let (trace, _) = trace_of_script(dir.path(), &text);
    (trace, dir)
}

#[test]
fn reading_writing_asking_and_missing_are_told_apart() {
    let (trace, dir) = traced(
        "open(here + '/a file').close()
open(here + '/written', 'w').close()
os.readlink(here + '/link')
os.path.exists(here + '/missing')
try: open(here + '/nothing')
except OSError: pass
os.rename(here + '/written', here + '/renamed')
os.mkdir(here + '/made')",
    );
    let at = |name: &str| {
        file(&trace, &dir.path().join(name))
            .unwrap_or_else(|| panic!("{name} is not listed"))
            .clone()
    };
    let using = |name: &str| (at(name)["how"].clone(), at(name)["found"].clone());
    assert_eq!(using("a file"), (json!(["read"]), json!(true)));
    assert_eq!(using("written"), (json!(["write"]), json!(true)));
    assert_eq!(using("renamed"), (json!(["write"]), json!(true)));
    assert_eq!(using("made"), (json!(["write"]), json!(true)));
    assert_eq!(using("link"), (json!(["link"]), json!(true)));
    assert_eq!(using("missing"), (json!(["stat"]), json!(false)));
    assert_eq!(using("nothing"), (json!(["read"]), json!(false)));
}

#[test]
fn a_relative_path_starts_where_the_probe_is_at_that_moment() {
    let (trace, dir) = traced("os.chdir(here + '/sub')\nos.stat('inner')\nos.chdir('..')\nos.stat('./link')");
    assert_eq!(
        file(&trace, &dir.path().join("sub/inner")).unwrap()["found"],
        true
    );
    assert_eq!(file(&trace, &dir.path().join("link")).unwrap()["found"], true);
    let entered = &file(&trace, &dir.path().join("sub")).unwrap()["how"];
    assert!(entered.as_array().unwrap().contains(&json!("enter")), "{entered}");
}

#[test]
fn a_path_below_a_descriptor_starts_at_that_directory() {
    let (trace, dir) = traced(
        "at = os.open(here + '/sub', os.O_RDONLY | os.O_DIRECTORY)
os.stat('inner', dir_fd=at)
os.close(os.open('new', os.O_CREAT | os.O_WRONLY, dir_fd=at))",
    );
    assert_eq!(
        file(&trace, &dir.path().join("sub/inner")).unwrap()["found"],
        true
    );
    assert_eq!(
        file(&trace, &dir.path().join("sub/new")).unwrap()["how"],
        json!(["write"])
    );
}

#[test]
fn parent_steps_are_kept_because_links_change_their_meaning() {
    let (trace, dir) = traced("os.chdir(here + '/sub')\nos.stat('../a file')");
    assert!(
        file(&trace, &dir.path().join("sub/../a file")).is_some(),
        "{:#}",
        trace["files"]
    );
}

#[test]
fn programs_that_were_executed_are_listed_as_such() {
    let trace = super::trace(["--", "/bin/sh", "-c", "/bin/true; /nothing/there; exit 0"]);
    let of = |path: &str| {
        file(&trace, Path::new(path))
            .unwrap_or_else(|| panic!("{path}: {:#}", trace["files"]))
            .clone()
    };
    assert_eq!(of("/bin/sh")["how"], json!(["exec"]));
    assert_eq!(of("/bin/sh")["found"], true);
    let child = of("/bin/true");
    assert!(
        child["how"].as_array().unwrap().contains(&json!("exec")),
        "{child}"
    );
    assert_eq!(of("/nothing/there")["found"], false);
}
