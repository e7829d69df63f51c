//! A template that is worn, or whose modules have changed, gives way to a fresh one.

use std::time::{Duration, Instant};

use callgate_exec::Template;
use callgate_testing::{available, root};

use crate::support::{printed, spec};

/// Runs until the template's process is another.
fn until_renewed(template: &Template, first: i32) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while template.process() == Some(first) {
        assert!(Instant::now() < deadline);
        assert_eq!(printed(template, "print(1)"), "1\n");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(printed(template, "print(1)"), "1\n");
}

#[test]
fn after_so_many_runs() {
    if !available("root", root()) {
        return;
    }
    let mut spec = spec(&[]);
    (spec.renew_after, spec.beds) = (5, 1);
    let template = Template::start(spec).unwrap();
    let first = template.process().unwrap();
    until_renewed(&template, first);
    assert!(!std::path::Path::new(&format!("/proc/{first}")).exists() || template.process() != Some(first));
}

#[test]
fn a_thread_that_an_import_leaves_is_named() {
    if !available("root", root()) {
        return;
    }
    // In a virtual environment of its own, whose packages can be changed.
    let dir = tempfile::tempdir().unwrap();
    let made = std::process::Command::new(&crate::support::interpreter().executable)
        .args(["-m", "venv", "--without-pip"])
        .arg(dir.path())
        .status()
        .unwrap();
    assert!(made.success());
    let python = callgate_python::interpreter::Interpreter::inspect(&dir.path().join("bin/python")).unwrap();
    let packages = python
        .sys_path
        .iter()
        .find(|path| path.ends_with("site-packages"))
        .unwrap();
    let threads =
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n";
    std::fs::write(packages.join("threaded.py"), threads).unwrap();
    std::fs::write(
        packages.join("leaving.py"),
        "import os, time\nif os.fork() == 0: time.sleep(600)\n",
    )
    .unwrap();
    std::fs::write(packages.join("changing.py"), "value = 1\n").unwrap();
    let with = |module: &str| {
        let mut spec = spec(&["json", module]);
        spec.executable.clone_from(&python.executable);
        spec.root = callgate_exec::Root::ForPython(Box::new(python.clone()));
        spec.beds = 1;
        spec
    };
    let failure = Template::start(with("threaded")).unwrap_err();
    assert!(
        failure
            .error
            .starts_with("importing threaded left 2 threads running"),
        "{failure:?}"
    );
    let failure = Template::start(with("leaving")).unwrap_err();
    assert!(
        failure.error.starts_with("importing leaving left process "),
        "{failure:?}"
    );

    // And what is installed is noticed.
    let template = Template::start(with("changing")).unwrap();
    let code = "import changing; print(changing.value)";
    assert_eq!(printed(&template, code), "1\n");
    let first = template.process().unwrap();
    std::fs::write(packages.join("changing.py"), "value = 2\n").unwrap();
    std::fs::write(packages.join("installed.py"), "").unwrap();
    until_renewed(&template, first);
    assert_eq!(printed(&template, code), "2\n");
}
