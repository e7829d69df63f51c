//! A Python that is newer than what its stacks can be read of: the native code stands alone.

use super::{call, dig};
use crate::support::{expect, json, scratch};

#[test]
#[ignore = "needs python3.14 on the PATH, which Debian's stable releases have not: cargo test -- --ignored python_3_14"]
fn python_3_14_is_recorded_with_its_native_code_and_a_note_about_its_lines() {
    let dir = scratch();
    let script = dir.path().join("p.py");
    std::fs::write(&script, "import os\nos.getsid(0)\n").unwrap();
    let mut command = dig(["--", "python3.14", "-I", "-B"]);
    let trace = json(&expect(0, command.arg(&script)));
    let sight = &call(&trace, "getsid").unwrap()["sights"][0];
    let file = |place: &str| sight[place]["file"].as_str().unwrap_or_default().to_owned();
    let own = file("caller");
    let own = if own.is_empty() { file("object") } else { own };
    let own = own.rsplit('/').next().unwrap();
    assert!(
        own.starts_with("libpython3.14") || own.starts_with("python3.14"),
        "{sight}"
    );
    assert!(sight.get("site").is_none(), "{sight}");
    let notes = trace["notes"].to_string();
    assert!(notes.contains("no Python lines"), "{notes}");

    // As a script of ours, by the prelude.
    let trace = json(&expect(0, dig(["--python", "python3.14"]).arg(&script)));
    let getsid = call(&trace, "getsid").unwrap();
    assert_eq!(getsid["phases"], serde_json::json!(["body"]), "{getsid}");
}
