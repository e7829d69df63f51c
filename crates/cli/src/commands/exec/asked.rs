//! What is run, and where, as the words say.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use callgate_cache::Cache;
use callgate_exec::{Program, Root};
use callgate_python::interpreter::Interpreter;

use super::{NOT_FOUND, node};
use crate::args::{ExecArgs, LangArg};
use crate::failure::Failure;
use crate::input;

/// What is run and where.
pub(super) struct Asked {
    pub(super) program: Program,
    pub(super) root: Root,
}

/// The code that is run, which is read once.
pub(super) struct Text {
    pub(super) code: Vec<u8>,
    /// The name that it goes by.
    pub(super) name: String,
    /// Whether it came by standard input.
    pub(super) from_stdin: bool,
}

impl Text {
    /// None for a command.
    pub(super) fn of(args: &ExecArgs) -> Result<Option<Self>, Failure> {
        let (code, name) = match (&args.script, &args.code) {
            (Some(path), _) => input::bytes(path)?,
            (None, Some(code)) => (code.as_bytes().to_vec(), "<code>".to_owned()),
            (None, None) => return Ok(None),
        };
        Ok(Some(Self {
            code,
            name,
            from_stdin: args.script.as_deref() == Some(Path::new("-")),
        }))
    }
}

/// What the words ask for, with what the cache knows of it.
pub(super) fn asked(args: &ExecArgs, text: Option<&Text>, cache: &Arc<Cache>) -> Result<Asked, Failure> {
    match (args.lang, text) {
        (LangArg::Node, text) => node::asked(args, text, cache),
        (LangArg::Python, Some(text)) => script(args, text, cache),
        (LangArg::Python, None) => command(args, cache),
    }
}

/// A Python script.
fn script(args: &ExecArgs, text: &Text, cache: &Arc<Cache>) -> Result<Asked, Failure> {
    let (executable, root) = match &args.root {
        Some(dir) => {
            let built = callgate_rootfs::open(dir).map_err(Failure::input)?;
            let python = built.python.ok_or_else(|| {
                Failure::input(format!("there is no Python in {}", dir.display())).with_advice(Some(
                    "build a root with one: callgate root build DIR --python PATH".to_owned(),
                ))
            })?;
            (python.executable, Root::Directory(dir.clone()))
        }
        None => {
            let script = Some((text.code.as_slice(), text.name.as_str()));
            let interpreter = input::interpreter(script, args.python.python.as_deref(), cache)?;
            (
                interpreter.executable.clone(),
                Root::ForPython(Box::new(interpreter)),
            )
        }
    };
    let program = Program::Script {
        executable,
        code: text.code.clone(),
        name: text.name.clone(),
        args: args.rest.clone(),
    };
    Ok(Asked { program, root })
}

/// Any other command.
fn command(args: &ExecArgs, cache: &Arc<Cache>) -> Result<Asked, Failure> {
    let name = args
        .rest
        .first()
        .ok_or_else(|| Failure::input("nothing to run"))?;
    let argv = args.rest.clone();
    if let Some(dir) = &args.root {
        // What is there to be run is the root's business, not the host's.
        return Ok(Asked {
            program: Program::Command {
                program: PathBuf::from(name),
                argv,
            },
            root: Root::Directory(dir.clone()),
        });
    }
    let program = input::program(name, NOT_FOUND)?;
    let root = match (python(&program, cache), node::of(&program, cache)) {
        (Some(interpreter), _) => Root::ForPython(Box::new(interpreter)),
        (None, Some(node)) => Root::ForNode(node),
        (None, None) => Root::ForCommand(program.clone()),
    };
    Ok(Asked {
        program: Program::Command { program, argv },
        root,
    })
}

/// The interpreter that a command is, if it is one: it needs its library in the root.
fn python(program: &Path, cache: &Cache) -> Option<Interpreter> {
    let name = program.file_name()?.to_string_lossy();
    if name.starts_with("python") {
        Interpreter::recall(program, cache).ok()
    } else {
        None
    }
}
