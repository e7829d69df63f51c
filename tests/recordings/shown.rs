//! `dig show`, and the table for people.

use super::*;

#[test]
fn show_prints_what_dig_printed_as_table_and_as_json() {
    let dir = scratch();
    let file = dir.path().join("t.json");
    let dug = expect(0, callgate(["dig", "-o"]).arg(&file).args(["--", "/bin/ls", "/"]));
    let shown = expect(0, callgate(["dig", "show"]).arg(&file));
    assert_eq!(shown.stdout, dug.stdout);
    let shown = expect(0, callgate(["dig", "show", "--json"]).arg(&file));
    assert_eq!(shown.stdout, fs::read(&file).unwrap());
}

#[test]
fn since_main_leaves_the_interpreters_start_out_and_says_so() {
    let dir = scratch();
    fs::write(dir.path().join("p.py"), "import os\nos.getppid()\n").unwrap();
    let file = recorded(dir.path(), "t.json", &["p.py"]);
    let whole = json(&expect(0, callgate(["dig", "show", "--json"]).arg(&file)));
    let body = json(&expect(
        0,
        callgate(["dig", "show", "--json", "--since-main"]).arg(&file),
    ));
    assert!(set(&whole).contains("execve") && !set(&body).contains("execve"));
    assert!(set(&body).contains("getppid"));
    let wanted: BTreeSet<String> = whole["syscalls"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|call| call["phases"].as_array().unwrap().contains(&"body".into()))
        .map(|call| call["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(set(&body), wanted);
    assert!(body["notes"].to_string().contains("body phase"), "{body}");
}

#[test]
fn scripts_that_are_called_like_a_subcommand_can_be_traced() {
    let dir = scratch();
    for name in ["show", "merge", "import"] {
        fs::write(dir.path().join(name), "import os\nos.getppid()\n").unwrap();
        let path = format!("./{name}");
        let trace = json(&expect(
            0,
            callgate(["dig", "--json", &path]).current_dir(dir.path()),
        ));
        assert!(set(&trace).contains("getppid"));
    }
    let help = expect(0, &mut callgate(["dig", "--help"]));
    assert!(String::from_utf8_lossy(&help.stdout).contains("./show"));
    let told = refused(&mut callgate(["dig", "--json", "show", "t.json"]));
    assert!(told.contains("unexpected argument 't.json'"), "{told}");
}

#[test]
fn the_table_is_grouped_by_purpose_with_risks_and_fits_80_columns() {
    let dir = scratch();
    let script = "import ctypes, os\nlibc = ctypes.CDLL(None)\nlibc.ptrace(0x4200, 0, 0, 0)\nlibc.syscall(999)\n\
                  os.path.exists('flag') or open('flag', 'w').close() or os.getppid()\n";
    fs::write(
        dir.path().join("a-probe-with-a-rather-long-name-for-a-table.py"),
        script,
    )
    .unwrap();
    let output = expect(
        0,
        callgate([
            "dig",
            "--runs",
            "2",
            "a-probe-with-a-rather-long-name-for-a-table.py",
        ])
        .current_dir(dir.path())
        .env("COLUMNS", "80"),
    );
    let table = String::from_utf8(output.stdout).unwrap();
    for line in table.lines() {
        assert!(line.chars().count() <= 80, "{}: {line}", line.chars().count());
    }
    let at = |words: &str| {
        table
            .find(words)
            .unwrap_or_else(|| panic!("no {words:?} in\n{table}"))
    };
    let heads = [
        "\n files ",
        "\n memory ",
        "\n process ",
        "\n signals ",
        "\n inspection ",
        "\n other ",
    ];
    assert!(heads.map(at).is_sorted(), "{table}");
    assert!(at("\n files ") < at("   openat ") && at("   openat ") < at("\n memory "));
    assert!(at("   syscall_999 ") > at("\n other "));
    let risks = &table[at("risky to allow")..];
    let ptrace = risks
        .lines()
        .find(|line| line.trim_start().starts_with("ptrace "))
        .unwrap();
    assert!(
        ptrace.contains("error") && ptrace.contains("other processes"),
        "{ptrace}"
    );
    let seldom = &table[at("not in every run")..at("risky to allow")];
    assert!(
        seldom.contains("getppid") && seldom.contains("1 of 2 runs"),
        "{seldom}"
    );
}
