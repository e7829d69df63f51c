//! Roots for Python: what is in them, what is not, and that Python runs in them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use callgate_rootfs::{Entry, Plan, PlanError, check_directory, check_plan};

use crate::{WHO, build, environment, home, inside, interpreter, is_root, said, system_python};

/// Ordinary programs' needs: C extensions with libraries of their own, TLS, time zones, the user's name.
const PROBE: &str = "
import json, ssl, sqlite3, ctypes, hashlib, zlib, bz2, decimal, pwd, os, tempfile, threading, multiprocessing
assert pwd.getpwuid(os.getuid()).pw_name == 'sandbox' and os.path.expanduser('~') == '/tmp'
sqlite3.connect(':memory:').execute('select 1').fetchall()
ssl.create_default_context()
with tempfile.NamedTemporaryFile() as file: file.write(b'x')
thread = threading.Thread(target=print, args=('in a thread',)); thread.start(); thread.join()
multiprocessing.Lock()
os.urandom(8); open('/dev/null', 'w').write('x'); open('/dev/urandom', 'rb').read(1)
try: import zoneinfo; print(zoneinfo.ZoneInfo('Europe/Paris'))
except ImportError: pass
for secret in ('/etc/shadow', '/root/.bashrc', '/home', '/usr/bin/env', '/bin/sh', '/var/lib', '/etc/ssl/private', '/etc/hostname'):
    assert not os.path.lexists(secret), secret
print('all well')
";

#[test]
fn python_runs_in_its_root_as_it_does_outside() {
    if !is_root() {
        return;
    }
    let home = home();
    let venv = environment(home.path(), &[]).unwrap();
    for python in [Some(interpreter()), system_python(), Some(venv)]
        .into_iter()
        .flatten()
    {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan::for_python(&python, &WHO).unwrap();
        let built = build(&plan, &dir.path().join("root"));
        let inner = built.root.python.clone().unwrap();
        assert_eq!(inner.executable, python.executable);
        let output = inside(&built.root.dir, &inner.executable, &["-I", "-c", PROBE]);
        let text = said(&output);
        assert!(
            output.status.success() && text.contains("all well"),
            "{}: {text}",
            python.executable.display()
        );
        let output = inside(
            &built.root.dir,
            &inner.executable,
            &["-c", "import sys; print(sys.prefix, sys.path)"],
        );
        assert!(
            said(&output).contains(&format!("{} ", python.prefix.display())),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn a_root_for_python_has_no_unresolved_object_that_its_host_has() {
    let python = interpreter();
    let plan = Plan::for_python(&python, &WHO).unwrap();
    let report = check_plan(&plan);
    assert!(report.objects > 30);
    for missing in &report.unresolved {
        assert_eq!(missing.on_host, Vec::<&Path>::new(), "{missing:?}");
    }
}

#[test]
fn the_chain_of_links_to_the_interpreter_is_kept() {
    let home = home();
    let python = environment(home.path(), &[]).unwrap();
    let link = home.path().canonicalize().unwrap().join("link");
    symlink(&python.prefix, &link).unwrap();
    let mut python = python;
    python.executable = link.join("bin/python");
    let plan = Plan::for_python(&python, &WHO).unwrap();
    assert_eq!(
        plan.get(&link),
        Some(&Entry::Symlink {
            target: python.prefix.clone()
        })
    );
    // The link in the environment is part of its tree; what it leads to is not.
    assert!(matches!(
        plan.get(python.prefix.canonicalize().unwrap()),
        Some(Entry::Tree { .. })
    ));
    let real = python.real_executable.clone();
    assert_eq!(plan.get(&real), Some(&Entry::File { source: real.clone() }));
}

#[test]
fn packages_that_an_environment_does_not_use_are_hidden() {
    let home = home();
    let python = environment(home.path(), &[]).unwrap();
    let plan = Plan::for_python(&python, &WHO).unwrap();
    let base = python.stdlib.canonicalize().unwrap().join("site-packages");
    if base.is_dir() {
        assert_eq!(plan.get(&base), Some(&Entry::Hidden));
    }
    let plan = Plan::for_python(&interpreter(), &WHO).unwrap();
    assert!(
        plan.iter()
            .all(|(path, entry)| !path.ends_with("site-packages") || *entry != Entry::Hidden)
    );
}

#[test]
fn a_search_path_that_names_a_system_directory_is_refused() {
    let mut python = interpreter();
    for wide in ["/usr", "/usr/lib", "/etc", "/home", "/"] {
        python.sys_path = vec![wide.into()];
        let error = Plan::for_python(&python, &WHO).unwrap_err();
        assert!(matches!(error, PlanError::TooWide { .. }), "{wide}: {error}");
    }
}

#[test]
fn a_link_in_a_package_does_not_open_what_the_host_closes() {
    use std::os::unix::fs::PermissionsExt;
    let home = home();
    let mut python = interpreter();
    let (package, outside) = (home.path().join("package"), home.path().join("outside"));
    fs::create_dir(&package).unwrap();
    fs::create_dir(&outside).unwrap();
    for (name, mode) in [("secret", 0o600), ("open", 0o644)] {
        fs::write(outside.join(name), name).unwrap();
        fs::set_permissions(outside.join(name), fs::Permissions::from_mode(mode)).unwrap();
        symlink(outside.join(name), package.join(name)).unwrap();
    }
    python.sys_path.push(package.clone());
    let plan = Plan::for_python(&python, &WHO).unwrap();
    let outside = outside.canonicalize().unwrap();
    assert!(plan.get(outside.join("open")).is_some());
    assert!(plan.get(outside.join("secret")).is_none());
    assert!(
        plan.notes().iter().any(|note| note.contains("secret")),
        "{:?}",
        plan.notes()
    );
}

#[test]
fn a_root_says_who_its_user_is_and_nobody_else() {
    let plan = Plan::base(WHO).unwrap();
    let Some(Entry::Text { bytes, .. }) = plan.get("/etc/passwd") else {
        panic!("no passwd")
    };
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.contains("sandbox:x:64123:64124:sandbox:/tmp:"), "{text}");
    assert_eq!(text.lines().count(), 3);
}

#[test]
fn a_built_root_resolves_what_its_plan_resolves() {
    let dir = tempfile::tempdir().unwrap();
    let home = home();
    let plan = Plan::for_python(&environment(home.path(), &[]).unwrap(), &WHO).unwrap();
    let built = build(&plan, &dir.path().join("root"));
    let (planned, there) = (check_plan(&plan), check_directory(&built.root.dir).unwrap());
    assert_eq!(planned.unresolved, there.unresolved);
    assert!(there.objects >= planned.objects);
    let json = serde_json::to_value(&there).unwrap();
    assert_eq!(json["schema"], "callgate.rootcheck/1");
}
