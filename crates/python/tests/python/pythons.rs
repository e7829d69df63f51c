//! The interpreters that there are to test with.

use std::path::PathBuf;
use std::sync::OnceLock;

use callgate_python::interpreter::Interpreter;
use callgate_testing::available;

/// The one on the PATH, there also by its version, the system's, and pyenv's from 3.9 on; by version, each once.
pub fn all() -> &'static [Interpreter] {
    static ALL: OnceLock<Vec<Interpreter>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut paths = vec![Interpreter::find().unwrap(), "/usr/bin/python3".into()];
        paths.extend((9..=15).filter_map(|minor| callgate_testing::python(minor).ok()));
        let pyenv = std::env::var_os("PYENV_ROOT")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv")));
        if let Some(versions) = pyenv.and_then(|root| std::fs::read_dir(root.join("versions")).ok()) {
            paths.extend(versions.map(|version| version.unwrap().path().join("bin/python")));
        }
        let mut found: Vec<Interpreter> = paths
            .iter()
            .filter_map(|path| Interpreter::inspect(path).ok())
            .filter(|python| python.implementation == "cpython")
            .collect();
        found.sort_by_key(|python| (python.version, python.real_executable.clone()));
        found.dedup_by_key(|python| python.real_executable.clone());
        assert!(!found.is_empty());
        for minor in 9..=15 {
            let there = found.iter().any(|python| python.version.minor == minor);
            if there {
                continue;
            }
            if minor < 13 {
                // A machine has the old Pythons that it has: which ones were tested is told, not demanded.
                eprintln!("not tested: there is no Python 3.{minor} here");
            } else {
                // The newer ones tell their own layout: only a real one shows that it is understood.
                let python = callgate_testing::python(minor);
                available(&format!("python3.{minor}"), python.map(drop));
            }
        }
        found
    })
}
