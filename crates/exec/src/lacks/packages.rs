//! Modules of Python and Node.js on the host, and how they come in.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};

use super::found::{Found, add, is_readable};
use crate::run::{Root, Run};

/// So many places are told.
const MOST: usize = 4;

/// A Python module by its full name.
pub(super) fn python(run: &Run, name: &str) -> Found {
    let relative: PathBuf = name.split('.').collect();
    let mut on_host: Vec<PathBuf> = Vec::new();
    let mut interpreter = None;
    for dir in python_directories(run) {
        let Some(module) = module_in(&dir, &relative).filter(|module| is_readable(module)) else {
            continue;
        };
        if interpreter.is_none() {
            interpreter = interpreter_of(&dir).filter(|python| is_readable(python));
            if interpreter.is_some() {
                // That it can be had with an option makes it the likeliest.
                on_host.insert(0, module);
                continue;
            }
        }
        on_host.push(module);
    }
    on_host.truncate(MOST);
    let package = name.split('.').next().unwrap_or(name);
    let header = format!(
        "or name the package that has it in the script's header: # /// script, # dependencies = [\"{package}\"], # ///"
    );
    Found {
        on_host,
        options: interpreter
            .map(|python| vec!["--python".to_owned(), python.display().to_string()])
            .unwrap_or_default(),
        advice: match run.root {
            Root::Directory(_) => Some(format!(
                "build the root for an interpreter or a script that has it: callgate root build --script … ({package})"
            )),
            _ => Some(header),
        },
    }
}

/// The file or directory of a module, if it is in this directory.
fn module_in(dir: &Path, relative: &Path) -> Option<PathBuf> {
    let package = dir.join(relative);
    if package.is_dir() {
        return Some(package);
    }
    let (parent, name) = (
        package.parent()?,
        package.file_name()?.to_string_lossy().into_owned(),
    );
    let file = parent.join(format!("{name}.py"));
    if file.is_file() {
        return Some(file);
    }
    let extension = |entry: &std::fs::DirEntry| {
        let file = entry.file_name().to_string_lossy().into_owned();
        file.starts_with(&format!("{name}.")) && file.ends_with(".so")
    };
    let mut all = parent.read_dir().ok()?.flatten();
    all.find(extension).map(|entry| entry.path())
}

/// Where packages lie on this host: the run's own interpreter's installation, the system, environments.
fn python_directories(run: &Run) -> Vec<PathBuf> {
    let mut bases: Vec<PathBuf> = Vec::new();
    if let Root::ForPython(interpreter) = &run.root {
        bases.push(interpreter.base_prefix.clone());
    }
    bases.extend(env::var_os("VIRTUAL_ENV").map(PathBuf::from));
    bases.extend(["/usr", "/usr/local"].map(PathBuf::from));
    if let Some(home) = env::var_os("HOME").map(PathBuf::from) {
        bases.push(home.join(".local"));
        bases.extend(listed(&home.join(".pyenv/versions")));
    }
    if let Ok(cache) = callgate_python::environment::cache_dir() {
        bases.extend(listed(&cache.join("envs")));
    }
    let mut all = Vec::new();
    let mut seen = BTreeSet::new();
    for lib in bases.iter().map(|base| base.join("lib")) {
        let versions = listed(&lib).into_iter().filter(|dir| {
            dir.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("python"))
        });
        for dir in versions.flat_map(|dir| [dir.join("site-packages"), dir.join("dist-packages")]) {
            if dir.is_dir() && seen.insert(dir.canonicalize().unwrap_or_else(|_| dir.clone())) {
                all.push(dir);
            }
        }
    }
    all
}

/// The interpreter that has a directory of packages.
fn interpreter_of(dir: &Path) -> Option<PathBuf> {
    let base = dir.ancestors().nth(3)?;
    let version = dir.parent()?.file_name()?.to_string_lossy().into_owned();
    let names = [version, "python3".to_owned()];
    let mut all = names.iter().map(|name| base.join("bin").join(name));
    all.find(|python| python.is_file())
}

/// What is in a directory, in the order of the names.
fn listed(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = dir
        .read_dir()
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    all.sort();
    all
}

/// Where Debian's Node.js looks by itself.
const NODE_OWN: [&str; 2] = ["/usr/share/nodejs", "/usr/lib/nodejs"];
/// Where `npm install -g` puts packages.
const NODE_GLOBAL: [&str; 2] = ["/usr/local/lib/node_modules", "/usr/lib/node_modules"];

/// A module of Node.js by the name that the code asked for.
pub(super) fn node(name: &str) -> Found {
    let parts = if name.starts_with('@') { 2 } else { 1 };
    let package: PathBuf = name.split('/').take(parts).collect();
    let here = env::current_dir().unwrap_or_default();
    let mut dirs: Vec<PathBuf> = here.ancestors().map(|dir| dir.join("node_modules")).collect();
    if let Some(path) = env::var_os("NODE_PATH") {
        dirs.extend(env::split_paths(&path));
    }
    dirs.extend(NODE_GLOBAL.iter().chain(&NODE_OWN).map(PathBuf::from));
    let plain = package
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    let mut found: Vec<(PathBuf, PathBuf)> = Vec::new();
    for dir in dirs.into_iter().filter(|_| plain) {
        let at = dir.join(&package);
        let file = dir.join(format!("{}.js", package.display()));
        for at in [at, file] {
            if at.exists() && is_readable(&at) && !found.iter().any(|(_, known)| *known == at) {
                found.push((dir.clone(), at));
            }
        }
    }
    found.truncate(MOST);
    let Some((dir, at)) = found.first() else {
        return Found {
            advice: Some("install it beside the script (npm install), and call from there".to_owned()),
            ..Found::default()
        };
    };
    let options = if NODE_OWN.iter().any(|own| dir == Path::new(own)) {
        add(at)
    } else {
        // With its neighbours, which it may need.
        let mut options = add(dir);
        options.extend(["--env".to_owned(), format!("NODE_PATH={}", dir.display())]);
        options
    };
    Found {
        options,
        on_host: found.into_iter().map(|(_, at)| at).collect(),
        advice: None,
    }
}
