//! The prelude: fails closed without its supervisor, and with it is as good as `python FILE`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use callgate_cache::Cache;
use callgate_python::interpreter::Interpreter;
use callgate_python::prelude::{self, Bytecode, Marker, UNANSWERED};

use crate::pythons;
use crate::supervisor::{Ended, alone, answered};
use crate::sys;

/// The command for a program in `code`, which is told that it is `name`.
fn command(python: &Interpreter, code: &File, name: &Path, args: &[&str]) -> Command {
    command_by(python, None, code, name, args)
}

fn command_by(
    python: &Interpreter,
    compiled: Option<&Bytecode>,
    code: &File,
    name: &Path,
    args: &[&str],
) -> Command {
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    let argv = prelude::command(
        &python.executable,
        compiled,
        code.as_raw_fd(),
        name.to_str().unwrap(),
        &args,
    );
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]);
    command
}

/// What `python -I -B FILE` does with the program, and what the prelude does with it when the file isn't there:
/// as text and compiled ahead the same.
fn both(python: &Interpreter, program: &[u8]) -> (Ended, Ended) {
    let directory = tempfile::tempdir().unwrap();
    let args = ["--first", "second argument", ""];
    let name = directory.path().join("program.py");
    std::fs::write(&name, program).unwrap();
    let plain = alone(
        Command::new(&python.executable)
            .args(["-I", "-B"])
            .arg(&name)
            .args(args),
    );
    let moved = directory.path().join("elsewhere");
    std::fs::rename(&name, &moved).unwrap();
    let code = File::open(&moved).unwrap();
    let (supervised, markers) = answered(&mut command(python, &code, &name, &args), &code, Marker::ACK);
    assert_eq!(markers, 1, "{}: one marker", python.version);
    let compiled = ahead(python);
    std::fs::write(&moved, compiled.and(program)).unwrap();
    let code = File::open(&moved).unwrap();
    let mut command = command_by(python, Some(&compiled), &code, &name, &args);
    let (ended, markers) = answered(&mut command, &code, Marker::ACK);
    assert_eq!(markers, 1, "{}: one marker", python.version);
    assert_eq!(ended, supervised, "{}: compiled ahead", python.version);
    (plain, supervised)
}

/// The prelude as this interpreter compiles it, kept in this directory.
fn compiled(python: &Interpreter, cache: &Path) -> Option<Bytecode> {
    Bytecode::recall(python, &Cache::open(cache))
}

/// The same, once for all tests.
fn ahead(python: &Interpreter) -> Bytecode {
    static COMPILED: Mutex<BTreeMap<PathBuf, Bytecode>> = Mutex::new(BTreeMap::new());
    let mut all = COMPILED.lock().unwrap();
    let compile = || compiled(python, &tempfile::tempdir().unwrap().path().join("found")).unwrap();
    all.entry(python.executable.clone())
        .or_insert_with(compile)
        .clone()
}

#[test]
fn it_is_compiled_once_for_each_interpreter_and_not_where_nothing_is_kept() {
    for python in pythons::all() {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("found");
        let first = compiled(python, &cache).unwrap();
        let kept: Vec<_> = std::fs::read_dir(&cache)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        let [kept] = kept.as_slice() else {
            panic!("{kept:?}")
        };
        let written = std::fs::metadata(kept).unwrap().modified().unwrap();
        assert_eq!(compiled(python, &cache), Some(first));
        assert_eq!(std::fs::metadata(kept).unwrap().modified().unwrap(), written);
        assert_eq!(Bytecode::recall(python, &Cache::none()), None);
    }
}

#[test]
fn a_compiled_prelude_without_a_supervisor_does_not_run_the_program_either() {
    let directory = tempfile::tempdir().unwrap();
    let touched = directory.path().join("touched");
    let source = directory.path().join("source");
    for python in pythons::all() {
        let compiled = compiled(python, &directory.path().join("found")).unwrap();
        let program = format!("open({touched:?}, 'w')\n");
        std::fs::write(&source, compiled.and(program.as_bytes())).unwrap();
        let code = File::open(&source).unwrap();
        let mut command = command_by(python, Some(&compiled), &code, Path::new("program.py"), &[]);
        sys::keeping(&mut command, code.as_raw_fd());
        assert_eq!(alone(&mut command).code, UNANSWERED);
        assert!(!touched.exists());
    }
}

#[test]
fn an_unsupervised_prelude_does_not_run_the_program() {
    let directory = tempfile::tempdir().unwrap();
    let touched = directory.path().join("touched");
    let source = directory.path().join("source");
    std::fs::write(&source, format!("open({touched:?}, 'w')\n")).unwrap();
    for python in pythons::all() {
        let code = File::open(&source).unwrap();
        let mut command = command(python, &code, Path::new("program.py"), &[]);
        sys::keeping(&mut command, code.as_raw_fd());
        let ended = alone(&mut command);
        assert_eq!((ended.code, ended.stdout.as_str()), (UNANSWERED, ""));
        assert_eq!(
            ended.stderr,
            "callgate: the program was not run: no supervisor answered the prelude's marker call\n"
        );
        assert!(!touched.exists());
        // Any other answer than the right one is none.
        for wrong in [0, 1, Marker::ACK + 1, 0x6361_6c6c_6761_7465] {
            let code = File::open(&source).unwrap();
            let mut command = self::command(python, &code, Path::new("program.py"), &[]);
            assert_eq!(answered(&mut command, &code, wrong).0.code, UNANSWERED);
            assert!(!touched.exists());
        }
    }
}

#[test]
fn a_program_that_cannot_be_read_is_not_run() {
    for python in pythons::all() {
        let code = tempfile::tempfile().unwrap();
        for (fd, message) in [("99", "[Errno 9]"), ("x", "invalid literal")] {
            let mut argv = prelude::command(&python.executable, None, 99, "program.py", &[]);
            argv[5] = fd.into();
            let (ended, markers) = answered(Command::new(&argv[0]).args(&argv[1..]), &code, Marker::ACK);
            assert_eq!((ended.code, markers), (UNANSWERED, 0));
            assert!(
                ended
                    .stderr
                    .starts_with("callgate: the program was not run: cannot read it from"),
                "{ended:?}"
            );
            assert!(ended.stderr.contains(message), "{ended:?}");
        }
    }
}

#[test]
fn no_byte_of_the_program_is_looked_at_before_the_answer() {
    // Its encoding can't be found, its bytes mean nothing: only someone who decodes it would complain.
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("source");
    std::fs::write(&source, b"# coding: no-such-codec\n\0\xff\xfe(\n").unwrap();
    for python in pythons::all() {
        let code = File::open(&source).unwrap();
        let mut command = command(python, &code, Path::new("program.py"), &[]);
        sys::keeping(&mut command, code.as_raw_fd());
        assert_eq!(alone(&mut command).code, UNANSWERED);
    }
}

#[test]
fn programs_run_as_under_plain_python() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/programs");
    let mut paths: Vec<_> = std::fs::read_dir(programs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() > 40);
    let mut different = Vec::new();
    for python in pythons::all() {
        for path in &paths {
            let (plain, supervised) = both(python, &std::fs::read(path).unwrap());
            // 3.9 tells a file from a string when it shows where the input ended.
            // From 3.13 on it prints with its own traceback module, which fails without builtins.compile; what it
            // then falls back to looks for the source in a file.
            let excepted = match python.version.minor {
                9 => path.ends_with("syntax_unclosed.py"),
                13.. => path.ends_with("rebinds.py"),
                _ => false,
            };
            if plain != supervised && !excepted {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                different.push(format!("{} {name}:\n{plain:#?}\n{supervised:#?}", python.version));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn every_encoding_of_a_source_file_is_read() {
    let mut different = Vec::new();
    for python in pythons::all() {
        for program in [
            &b"# -*- coding: latin-1 -*-\nprint(ascii('\xe9'))\nraise ValueError('\xe9')\n"[..],
            b"\xef\xbb\xbfprint(ascii('\xc3\xa9'))\n1 / 0  # \xc3\xa9\n",
            b"#!/usr/bin/env python\n# vim: set fileencoding=cp1252 :\nprint(ascii('\x80'))\n1 / 0  # \x80\n",
            b"print('a')\r\nprint('b')\r\n1 / 0\r\n",
            b"print('no newline at the end')",
        ] {
            let (plain, supervised) = both(python, program);
            if plain != supervised {
                let program = program.escape_ascii();
                different.push(format!(
                    "{} {program}:\n{plain:#?}\n{supervised:#?}",
                    python.version
                ));
            }
        }
        // The words differ, and are compile's.
        for program in [&b"# coding: no-such-codec\nprint(1)\n"[..], b"print('\xff')\n"] {
            let (plain, supervised) = both(python, program);
            assert_eq!((plain.code, plain.stdout), (1, String::new()));
            assert_eq!((supervised.code, supervised.stdout), (1, String::new()));
            assert!(
                supervised.stderr.contains("SyntaxError: "),
                "{}",
                supervised.stderr
            );
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn a_large_program_is_read_whole() {
    let program = "#".repeat(3 << 20) + "\nprint('the end')\n";
    let python = &pythons::all()[0];
    let (_, supervised) = both(python, program.as_bytes());
    assert_eq!((supervised.code, supervised.stdout.as_str()), (0, "the end\n"));
}
