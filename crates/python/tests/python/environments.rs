//! Environments are built once, found again, never half-built, and errors say what helps.

use std::path::Path;
use std::process::Command;

use callgate_python::environment::{Environment, EnvironmentError, Request, Tool, prepare};
use callgate_python::interpreter::Interpreter;
use callgate_python::metadata::ScriptMetadata;

use crate::pythons;

fn base() -> Interpreter {
    Interpreter::inspect(&Interpreter::find().unwrap()).unwrap()
}

fn asking(dependencies: &[&str], requires_python: Option<&str>) -> ScriptMetadata {
    ScriptMetadata {
        requires_python: requires_python.map(str::to_owned),
        dependencies: dependencies.iter().map(|&text| text.to_owned()).collect(),
    }
}

/// Prepares, and notes the steps by their first word.
fn steps(
    base: &Interpreter,
    metadata: &ScriptMetadata,
    cache: &Path,
) -> (Result<Environment, EnvironmentError>, Vec<String>) {
    let mut steps = Vec::new();
    let request = Request {
        base,
        metadata: Some(metadata),
        found: &callgate_cache::Cache::none(),
        cache,
    };
    let result = prepare(&request, &mut |step| {
        let text = format!("{step:?}");
        steps.push(text.split_once(' ').unwrap().0.to_owned());
    });
    (result, steps)
}

/// The one environment directory in the cache.
fn directory(cache: &Path) -> std::path::PathBuf {
    let mut found: Vec<_> = std::fs::read_dir(cache.join("envs"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[test]
fn a_script_without_dependencies_runs_on_the_base_itself() {
    let cache = tempfile::tempdir().unwrap();
    let base = base();
    for metadata in [None, Some(&asking(&[], Some(">=3.9")))] {
        let request = Request {
            base: &base,
            metadata,
            cache: cache.path(),
            found: &callgate_cache::Cache::none(),
        };
        let environment = prepare(&request, &mut |step| panic!("{step:?}")).unwrap();
        assert_eq!(
            (environment.interpreter, environment.built, environment.tool),
            (base.clone(), false, None)
        );
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
    }
}

#[test]
fn requires_python_is_checked_as_pep_440_says() {
    let cache = tempfile::tempdir().unwrap();
    for python in pythons::all() {
        let minor = python.version.minor;
        let result = |specifier: &str| steps(python, &asking(&[], Some(specifier)), cache.path()).0;
        for accepted in [
            ">=3.9",
            &format!("==3.{minor}.*"),
            ">=3.9,<4,!=3.8.1",
            "~=3.9",
            &format!("=={}", python.version),
            "",
        ] {
            result(accepted).unwrap();
        }
        for refused in ["<3.9", ">=4", &format!("!=3.{minor}.*"), "~=3.9,<3"] {
            let error = result(refused).unwrap_err();
            assert!(
                matches!(error, EnvironmentError::RequiresPython { .. }),
                "{error}"
            );
            assert!(error.to_string().contains("--python"), "{error}");
        }
        assert!(matches!(
            result("three").unwrap_err(),
            EnvironmentError::Specifier { .. }
        ));
    }
}

#[test]
fn an_environment_is_built_once_and_found_again() {
    let cache = tempfile::tempdir().unwrap();
    let base = base();
    let (first, said) = steps(
        &base,
        &asking(&["six==1.16.0", " packaging==24.0"], None),
        cache.path(),
    );
    let first = first.unwrap();
    assert!(first.built);
    assert_eq!(said, ["Creating", "Installing"]);
    assert!(
        first.packages.contains(&"six==1.16.0".to_owned()),
        "{:?}",
        first.packages
    );
    assert!(first.interpreter.executable.starts_with(cache.path()));
    assert_eq!(first.interpreter.base_prefix, base.base_prefix);
    let imports = Command::new(&first.interpreter.executable)
        .args(["-I", "-B", "-c", "import six, packaging; print(six.__cached__)"])
        .output()
        .unwrap();
    // Bytecode is there, and names the file where it is.
    let cached = String::from_utf8(imports.stdout).unwrap();
    assert!(Path::new(cached.trim()).is_file(), "{cached}");
    let named = format!(
        "import six; print(six.add_move.__code__.co_filename.startswith({:?}))",
        cache.path()
    );
    let named = Command::new(&first.interpreter.executable)
        .args(["-I", "-B", "-c", &named])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&named.stdout), "True\n");

    let (again, said) = steps(
        &base,
        &asking(&["packaging==24.0", "six==1.16.0", "six==1.16.0"], None),
        cache.path(),
    );
    let again = again.unwrap();
    assert_eq!((again.built, said), (false, vec![]));
    assert_eq!(
        (again.interpreter, again.packages, again.tool),
        (first.interpreter, first.packages, first.tool)
    );

    // An interrupted build has no record: it is made anew, without what lay there.
    let directory = directory(cache.path());
    std::fs::remove_file(directory.join("callgate-environment.json")).unwrap();
    std::fs::write(directory.join("half"), "").unwrap();
    let (rebuilt, _) = steps(
        &base,
        &asking(&["packaging==24.0", "six==1.16.0"], None),
        cache.path(),
    );
    assert!(rebuilt.unwrap().built);
    assert!(!directory.join("half").exists());

    // So is one whose interpreter is gone.
    std::fs::remove_file(directory.join("bin/python")).unwrap();
    let (rebuilt, _) = steps(
        &base,
        &asking(&["packaging==24.0", "six==1.16.0"], None),
        cache.path(),
    );
    assert!(rebuilt.unwrap().built);
}

#[test]
fn of_concurrent_requests_one_builds_and_the_others_wait() {
    let cache = tempfile::tempdir().unwrap();
    let base = base();
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| steps(&base, &asking(&["six==1.16.0"], None), cache.path())))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(
        results
            .iter()
            .filter(|(result, _)| result.as_ref().unwrap().built)
            .count(),
        1
    );
    for (result, said) in &results {
        assert!(
            result.as_ref().unwrap().built || said.is_empty() || said == &["Waiting"],
            "{said:?}"
        );
    }
}

#[test]
fn an_installation_that_fails_says_so_and_leaves_nothing_to_be_found() {
    let cache = tempfile::tempdir().unwrap();
    let base = base();
    let metadata = asking(&["six==0.0.0.dev999"], None);
    for _ in 0..2 {
        let (result, said) = steps(&base, &metadata, cache.path());
        let error = result.unwrap_err();
        assert!(matches!(error, EnvironmentError::Install { .. }), "{error}");
        assert!(error.to_string().contains("six==0.0.0.dev999"), "{error}");
        assert_eq!(said, ["Creating", "Installing"]);
    }
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let cache = tempfile::NamedTempFile::new().unwrap();
    let error = steps(&base(), &asking(&["six"], None), cache.path())
        .0
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("cannot create ") && error.contains(cache.path().to_str().unwrap()),
        "{error}"
    );
}

#[test]
fn without_ensurepip_the_error_says_what_to_install() {
    // Debian's python3 without python3-venv is one whose ensurepip is missing: here it is hidden.
    let directory = tempfile::tempdir().unwrap();
    let real = base();
    let hidden = directory.path().join("python3");
    let wrapper = format!(
        "#!/bin/sh\ncase \"$*\" in *'-m venv'*) echo 'The virtual environment was not created successfully because \
         ensurepip is not available.'; exit 1;; esac\nexec {} \"$@\"\n",
        real.executable.display()
    );
    std::fs::write(&hidden, wrapper).unwrap();
    Command::new("chmod").arg("755").arg(&hidden).status().unwrap();
    let broken = Interpreter {
        executable: hidden,
        ..real
    };
    let (result, _) = steps(&broken, &asking(&["six"], None), directory.path());
    match result {
        Err(error @ EnvironmentError::Create { tool: Tool::Venv, .. }) => {
            assert!(error.to_string().contains("apt install python3-venv"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}
