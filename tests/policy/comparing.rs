//! `policy diff`: exit codes, the JSON that others build on, the table.

use serde_json::Value;

use super::{numpy, policy, trace};
use crate::support::{expect, json, names, scratch};

fn entry<'a>(list: &'a Value, name: &str) -> &'a Value {
    let found = list
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not in {list:#}"))
}

#[test]
fn the_json_has_four_lists_for_each_architecture_with_names_and_numbers() {
    let dir = scratch();
    trace(dir.path(), "t", "import os\nos.getcwd()\n");
    let diff = json(&expect(1, &mut policy(dir.path(), ["diff", "t.json", "--json"])));
    assert_eq!(
        diff.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["schema", "amd64", "arm64"]
    );
    for (arch, lists) in diff.as_object().unwrap().iter().skip(1) {
        for list in ["missing", "refused", "allowed", "unobserved"] {
            for entry in lists[list]
                .as_array()
                .unwrap_or_else(|| panic!("{arch} has no {list}"))
            {
                assert!(
                    entry["name"].is_string() && entry["nr"].is_u64(),
                    "{arch} {list}: {entry}"
                );
            }
        }
    }
    // The default is dify-python, which has no getcwd on either.
    assert_eq!(entry(&diff["amd64"]["missing"], "getcwd")["nr"], 79);
    assert_eq!(entry(&diff["arm64"]["missing"], "getcwd")["nr"], 17);
    assert_eq!(entry(&diff["amd64"]["allowed"], "read")["nr"], 0);
    assert_eq!(entry(&diff["arm64"]["allowed"], "read")["nr"], 63);
}

#[test]
fn a_missing_call_comes_with_the_line_that_made_it() {
    let dir = scratch();
    trace(dir.path(), "t", "import os\n\nos.getcwd()\n");
    let diff = json(&expect(
        1,
        &mut policy(dir.path(), ["diff", "t.json", "--json", "--arch", "amd64"]),
    ));
    assert_eq!(
        diff.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["schema", "amd64"]
    );
    let getcwd = entry(&diff["amd64"]["missing"], "getcwd");
    assert_eq!(getcwd["site"]["line"], 3);
    assert!(
        getcwd["site"]["file"].as_str().unwrap().ends_with("/t.py"),
        "{getcwd}"
    );
    let output = expect(1, &mut policy(dir.path(), ["diff", "t.json", "--arch", "amd64"]));
    let table = String::from_utf8(output.stdout).unwrap();
    let line = table.lines().find(|line| line.contains("getcwd")).unwrap();
    assert!(line.contains("79") && line.contains("killed"), "{line}");
}

#[test]
fn nothing_differs_from_the_policy_that_was_made_of_the_trace() {
    let dir = scratch();
    trace(dir.path(), "t", "import os\nos.getcwd()\n");
    expect(0, &mut policy(dir.path(), ["new", "t.json", "-o", "p.json"]));
    let output = expect(
        0,
        &mut policy(dir.path(), ["diff", "t.json", "--against", "p.json", "--json"]),
    );
    for (arch, lists) in json(&output).as_object().unwrap().iter().skip(1) {
        assert_eq!(
            names(&lists["missing"]).len() + names(&lists["refused"]).len(),
            0,
            "{arch}: {lists:#}"
        );
        assert!(names(&lists["allowed"]).len() > 20, "{arch}: {lists:#}");
    }
}

#[test]
fn numpy_needs_what_dify_s_list_lacks_and_nothing_that_its_own_policy_lacks() {
    let dir = scratch();
    if !numpy(dir.path()) {
        return;
    }
    let dify = json(&expect(
        1,
        &mut policy(
            dir.path(),
            ["diff", "numpy.json", "--against", "dify-python", "--json"],
        ),
    ));
    let getcwd = entry(&dify["amd64"]["missing"], "getcwd");
    assert!(getcwd["site"]["line"].as_u64().unwrap() > 0, "{getcwd}");
    expect(0, &mut policy(dir.path(), ["new", "numpy.json", "-o", "p.json"]));
    expect(
        0,
        &mut policy(dir.path(), ["diff", "numpy.json", "--against", "p.json"]),
    );
}

#[test]
fn a_refused_call_is_told_from_a_missing_one() {
    let dir = scratch();
    trace(dir.path(), "t", "import os\nos.getsid(0)\n");
    let base = r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls":
        [{"names": ["getsid"], "action": "SCMP_ACT_KILL_PROCESS"}, {"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}"#;
    std::fs::write(dir.path().join("p.json"), base).unwrap();
    let diff = json(&expect(
        1,
        &mut policy(dir.path(), ["diff", "t.json", "--against", "p.json", "--json"]),
    ));
    assert_eq!(names(&diff["amd64"]["missing"]), ["getsid"]);
    assert_eq!(
        entry(&diff["amd64"]["refused"], "mmap")["action"],
        "errno(ENOSYS)"
    );
    assert_eq!(names(&diff["amd64"]["allowed"]), ["read"]);
}
