//! Programs that aren't Python.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use callgate_rootfs::{Entry, Plan, PlanError, check_plan};

use crate::{WHO, build, home, inside, is_root, said};

#[test]
fn a_program_runs_in_its_root() {
    if !is_root() {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let plan = Plan::for_command(Path::new("/bin/sh"), &[], &WHO).unwrap();
    assert!(check_plan(&plan).is_complete());
    let built = build(&plan, out.path());
    let output = inside(
        &built.root.dir,
        Path::new("/bin/sh"),
        &["-c", "echo /*; echo hello > /tmp/x && echo wrote"],
    );
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("wrote"), "{}", said(&output));
    assert!(!said(&output).contains("/home"), "{}", said(&output));
}

#[test]
fn a_script_brings_the_interpreters_that_its_first_line_asks_for() {
    let dir = home();
    let script = dir.path().canonicalize().unwrap().join("script");
    fs::write(&script, "#!/usr/bin/env -S sh -e\necho from a script\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let plan = Plan::for_command(&script, &[], &WHO).unwrap();
    for name in ["/usr/bin/env", "/bin/sh"] {
        let real = Path::new(name).canonicalize().unwrap();
        assert_eq!(
            plan.get(&real),
            Some(&Entry::File { source: real.clone() }),
            "{name}"
        );
    }
    if is_root() {
        let built = build(&plan, &dir.path().join("root"));
        let output = inside(&built.root.dir, &script, &[]);
        assert!(said(&output).contains("from a script"), "{}", said(&output));
    }
}

#[test]
fn scripts_without_an_end_or_an_interpreter_are_errors_that_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().canonicalize().unwrap().join("script");
    fs::write(&script, format!("#!{}\n", script.display())).unwrap();
    let plan = |path: &Path| Plan::for_command(path, &[], &WHO).unwrap_err();
    let error = plan(&script);
    assert!(matches!(error, PlanError::ScriptLoop { .. }));
    assert!(error.to_string().contains("let one name a program"), "{error}");
    fs::write(&script, "#!/usr/bin/env no-such-interpreter\n").unwrap();
    let error = plan(&script);
    let text = error.to_string();
    assert!(
        text.contains("no-such-interpreter") && text.contains("install it"),
        "{text}"
    );
    fs::write(&script, "just text\n").unwrap();
    assert!(matches!(plan(&script), PlanError::NotAProgram { .. }));
    assert!(matches!(
        plan(&script.with_extension("none")),
        PlanError::NotFound { .. }
    ));
}
