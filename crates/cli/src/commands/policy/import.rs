//! `callgate policy import`: makes a policy of another tool's file.

use std::path::{Path, PathBuf};

use callgate_policy::import::{self, DOCKER_CAPS, Imported, Kernel, Request};

use super::{warn, write};
use crate::args::PolicyImportArgs;
use crate::failure::Failure;
use crate::input;

pub(super) fn run(args: &PolicyImportArgs) -> Result<u8, Failure> {
    let (text, name) = input::text(&args.file)?;
    let kernel = match args.kernel {
        Some(kernel) => kernel,
        None => running()?,
    };
    let caps = capabilities(&args.caps)?;
    let folder: PathBuf = args.file.parent().unwrap_or(Path::new("")).to_owned();
    let include = |path: &str| {
        let path = folder.join(path);
        std::fs::read_to_string(&path).map_err(|error| format!("can't read {}: {error}", path.display()))
    };
    let request = Request {
        format: args.format.0,
        arch: args.arch,
        kernel,
        caps: &caps,
        part: args.part.as_deref(),
        include: &include,
    };
    let Imported { policy, notes, .. } =
        import::import(&text, &request).map_err(|error| Failure::input(format!("{name}: {error}")))?;
    notes.iter().chain(&policy.notes()).for_each(|note| warn(note));
    write(&policy, &args.output)
}

/// The running kernel's version.
fn running() -> Result<Kernel, Failure> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").map_err(|error| error.to_string());
    release.and_then(|release| release.parse()).map_err(|why| {
        Failure::input(format!("the running kernel's version is unknown: {why}"))
            .with_advice(Some("name it with --kernel".to_owned()))
    })
}

/// The capabilities as given, Docker's if none are.
fn capabilities(given: &[String]) -> Result<Vec<String>, Failure> {
    if given.is_empty() {
        return Ok(DOCKER_CAPS.map(str::to_owned).to_vec());
    }
    if given.iter().any(|word| word == "none") {
        return match given {
            [_] => Ok(Vec::new()),
            _ => Err(Failure::input("--cap none stands alone")),
        };
    }
    let known = |word: &String| {
        import::capability(word).map_err(|why| Failure::input(format!("--cap {word}: {why}")))
    };
    given.iter().map(known).collect()
}
