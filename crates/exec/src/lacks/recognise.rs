//! The sentences by which loaders and interpreters say that something is missing.

use super::LackKind;

/// What a sentence says is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) kind: LackKind,
    pub(super) name: String,
}

/// A name that is longer is none.
const LONGEST: usize = 4096;

/// What a text says is missing, in its order; with `closed`, also what may not be opened.
pub(super) fn recognise(text: &str, closed: bool) -> Vec<Wanted> {
    let known = [module, node, object, musl, file];
    let refused = |line: &str| if closed { denied(line) } else { None };
    text.lines()
        .map(str::trim)
        .filter_map(|line| known.iter().find_map(|read| read(line)).or_else(|| refused(line)))
        .filter(|wanted| !wanted.name.is_empty() && wanted.name.len() <= LONGEST)
        .filter(|wanted| !wanted.name.chars().any(char::is_control))
        .collect()
}

fn wanted(kind: LackKind, name: &str) -> Option<Wanted> {
    Some(Wanted {
        kind,
        name: name.to_owned(),
    })
}

/// The text in the first quotes, as Python and Node.js print it.
fn quoted(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| ['\'', '"'].contains(c))?;
    text[1..].split(quote).next()
}

/// `ModuleNotFoundError: No module named 'a.b'`; `/usr/bin/python3: No module named a`.
fn module(line: &str) -> Option<Wanted> {
    let (before, name) = line.split_once("No module named ")?;
    let name = match before {
        "ModuleNotFoundError: " | "ImportError: " => quoted(name)?,
        // What a module is part of is no package: nothing can be added.
        _ if before.ends_with(": ") && before.contains("python") => name,
        _ => return None,
    };
    let plain = name
        .split('.')
        .all(|part| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_'));
    if !plain || line.contains("is not a package") {
        return None;
    }
    wanted(LackKind::PythonModule, name)
}

/// `libfoo.so.1: cannot open shared object file: No such file or directory`, behind whatever says so.
fn object(line: &str) -> Option<Wanted> {
    let (before, reason) = line.split_once(": cannot open shared object file")?;
    if !reason.contains("No such file") {
        return None;
    }
    let name = before.rsplit(": ").next()?;
    match name.starts_with('/') {
        true => wanted(LackKind::File, name),
        false if name.contains('/') => None,
        false => wanted(LackKind::SharedObject, name),
    }
}

/// `Error loading shared library libfoo.so.1: No such file or directory (needed by /bin/foo)`: musl's words.
fn musl(line: &str) -> Option<Wanted> {
    let (_, rest) = line.split_once("Error loading shared library ")?;
    let (name, _) = rest.split_once(": No such file")?;
    (!name.contains('/')).then(|| wanted(LackKind::SharedObject, name))?
}

/// `FileNotFoundError: [Errno 2] No such file or directory: 'name'`; `Error: ENOENT: no such file or directory,
/// open 'name'`.
fn file(line: &str) -> Option<Wanted> {
    let python = line
        .strip_prefix("FileNotFoundError: ")
        .and_then(|rest| rest.split_once("No such file or directory: "));
    let node = line
        .split_once("ENOENT: no such file or directory, ")
        .and_then(|(_, rest)| rest.split_once(' '));
    let (_, name) = python.or(node)?;
    wanted(LackKind::File, quoted(name)?)
}

/// `PermissionError: [Errno 13] Permission denied: 'name'`; `Error: EACCES: permission denied, open 'name'`.
fn denied(line: &str) -> Option<Wanted> {
    let python = line
        .strip_prefix("PermissionError: ")
        .and_then(|rest| rest.split_once("Permission denied: "));
    let node = line
        .split_once("EACCES: permission denied, ")
        .and_then(|(_, rest)| rest.split_once(' '));
    let (_, name) = python.or(node)?;
    wanted(LackKind::File, quoted(name)?)
}

/// `Error: Cannot find module 'name'`; `Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'name' imported from …`.
fn node(line: &str) -> Option<Wanted> {
    let (before, rest) = line
        .split_once("Cannot find module ")
        .or_else(|| line.split_once("Cannot find package "))?;
    if !before.contains("Error") {
        return None;
    }
    let name = quoted(rest)?;
    match name.starts_with('/') {
        true => wanted(LackKind::File, name),
        // Beside the file that asks, wherever that is.
        false if name.starts_with('.') => None,
        false => wanted(LackKind::NodeModule, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_of_loaders_and_interpreters_are_recognised_and_others_are_not() {
        let cases = [
            (
                "ModuleNotFoundError: No module named 'numpy.linalg'",
                LackKind::PythonModule,
                "numpy.linalg",
            ),
            (
                "/usr/bin/python3: No module named pip",
                LackKind::PythonModule,
                "pip",
            ),
            (
                "ImportError: libgfortran.so.5: cannot open shared object file: No such file or directory",
                LackKind::SharedObject,
                "libgfortran.so.5",
            ),
            (
                "OSError: /opt/x/libx.so: cannot open shared object file: No such file or directory",
                LackKind::File,
                "/opt/x/libx.so",
            ),
            (
                "/bin/a: error while loading shared libraries: libz.so.1: cannot open shared object file: No such \
                 file or directory",
                LackKind::SharedObject,
                "libz.so.1",
            ),
            (
                "Error loading shared library libz.so.1: No such file or directory (needed by /bin/a)",
                LackKind::SharedObject,
                "libz.so.1",
            ),
            (
                "FileNotFoundError: [Errno 2] No such file or directory: '/etc/it\"s'",
                LackKind::File,
                "/etc/it\"s",
            ),
            (
                "Error: ENOENT: no such file or directory, open '/data/a b'",
                LackKind::File,
                "/data/a b",
            ),
            (
                "Error: Cannot find module 'express'",
                LackKind::NodeModule,
                "express",
            ),
            (
                "  Error: Cannot find module '/tmp/a.js'",
                LackKind::File,
                "/tmp/a.js",
            ),
            (
                "Error [ERR_MODULE_NOT_FOUND]: Cannot find package '@a/b' imported from /tmp/x.mjs",
                LackKind::NodeModule,
                "@a/b",
            ),
        ];
        for (line, kind, name) in cases {
            let name = name.to_owned();
            assert_eq!(
                recognise(&format!("before\n{line}\nafter"), false),
                [Wanted { kind, name }],
                "{line}"
            );
        }
        for other in [
            "ModuleNotFoundError: No module named 'a.b'; 'a' is not a package",
            "ModuleNotFoundError: No module named '../../etc'",
            "No module named 'a'",
            "libx.so: cannot open shared object file: Permission denied",
            "FileNotFoundError: [Errno 2] No such file or directory: ",
            "FileNotFoundError: [Errno 2] No such file or directory: 'a\u{1b}[2J'",
            "Cannot find module 'x'",
            "Error: Cannot find module './x'",
            "",
        ] {
            assert_eq!(recognise(other, false), [], "{other}");
        }
        let denied = "PermissionError: [Errno 13] Permission denied: '/etc/a'";
        assert_eq!(
            (recognise(denied, false).len(), recognise(denied, true).len()),
            (0, 1)
        );
        assert_eq!(
            recognise(
                &format!("Error: Cannot find module '{}'", "a".repeat(5000)),
                false
            ),
            []
        );
    }
}
