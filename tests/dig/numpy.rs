//! Who asked, where it matters: in numpy, whose import goes through the import system and loads BLAS.

use serde_json::Value;

use super::{call, dig};
use crate::support::{json, not_run, probe, said};

/// The first sight of a call in the body, or of one of its arguments.
fn sight<'a>(trace: &'a Value, name: &str, key: Option<&str>) -> &'a Value {
    let found = call(trace, name).unwrap()["sights"]
        .as_array()
        .unwrap()
        .iter()
        .find(|sight| {
            let mut args = sight["args"].as_array().into_iter().flatten();
            let new = key.is_none_or(|key| args.any(|arg| arg["name"] == key));
            new && sight["phase"] == "body"
        });
    found.unwrap_or_else(|| panic!("{name} {key:?}"))
}

#[test]
fn its_line_and_its_extension_module_are_named_and_not_the_import_system() {
    let output = dig([probe("with_numpy.py")]).output().unwrap();
    if output.status.code() == Some(2) {
        let why = said(&output);
        return not_run(
            "network",
            &format!("numpy's environment can't be prepared: {why}"),
        );
    }
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let trace = json(&output);
    // BLAS asks while numpy is imported; numpy itself when it has a large array.
    for (name, key, object) in [
        ("sched_getaffinity", None, "openblas"),
        ("madvise", Some("MADV_HUGEPAGE"), "_multiarray_umath."),
    ] {
        let sight = sight(&trace, name, key);
        let file = |place: &str| sight[place]["file"].as_str().unwrap_or_default();
        assert!(file("site").contains("/numpy/"), "{sight}");
        assert!(file("caller").contains(object), "{sight}");
    }
    let calls = trace["syscalls"].as_array().unwrap().iter();
    for sight in calls.flat_map(|call| call["sights"].as_array().into_iter().flatten()) {
        let file = sight["site"]["file"].as_str().unwrap_or_default();
        assert!(!file.starts_with("<frozen ") && file != "<string>", "{sight}");
    }
}
