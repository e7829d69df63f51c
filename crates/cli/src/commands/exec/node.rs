//! What is run for `--lang node`, and where.

use std::path::{Path, PathBuf};

use callgate_cache::Cache;
use callgate_exec::{Node, Program, Root};

use super::NOT_FOUND;
use super::asked::{Asked, Text};
use crate::args::ExecArgs;
use crate::failure::Failure;
use crate::input;

/// The JavaScript, with Node.js in its root.
pub(super) fn asked(args: &ExecArgs, text: Option<&Text>, cache: &Cache) -> Result<Asked, Failure> {
    let text = text.ok_or_else(|| {
        Failure::input("--lang node is for code: SCRIPT.js, - or -c CODE")
            .with_advice(Some("a command after -- needs no --lang".to_owned()))
    })?;
    let (executable, root) = match &args.root {
        Some(dir) => (inside(dir)?, Root::Directory(dir.clone())),
        None => {
            let node = found(cache)?;
            (node.executable.clone(), Root::ForNode(node))
        }
    };
    let program = Program::Node {
        executable,
        code: text.code.clone(),
        name: text.name.clone(),
        args: args.rest.clone(),
    };
    Ok(Asked { program, root })
}

/// The Node.js on the PATH.
fn found(cache: &Cache) -> Result<Node, Failure> {
    // Debian once called it nodejs.
    let path = ["node", "nodejs"]
        .iter()
        .find_map(|name| input::program(name.as_ref(), NOT_FOUND).ok());
    let path = path.ok_or_else(|| {
        Failure::new(NOT_FOUND, "there is no node on the PATH")
            .with_advice(Some("install Node.js (on Debian: apt install nodejs)".to_owned()))
    })?;
    Node::recall(&path, cache).map_err(Failure::input)
}

/// The Node.js that a built root was made for.
fn inside(dir: &Path) -> Result<PathBuf, Failure> {
    let built = callgate_rootfs::open(dir).map_err(Failure::input)?;
    let is_node = |program: &PathBuf| {
        program
            .file_name()
            .is_some_and(|name| name == "node" || name == "nodejs")
    };
    built.program.filter(is_node).ok_or_else(|| {
        Failure::input(format!("there is no Node.js in {}", dir.display())).with_advice(Some(
            "build a root from a trace of it: callgate dig -o TRACE -- node SCRIPT.js; callgate root build DIR --from TRACE"
                .to_owned(),
        ))
    })
}

/// The Node.js that a command is, if it is one: it needs its own files in the root.
pub(super) fn of(program: &Path, cache: &Cache) -> Option<Node> {
    match program.file_name()?.to_str()? {
        "node" | "nodejs" => Node::recall(program, cache).ok(),
        _ => None,
    }
}
