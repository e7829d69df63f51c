//! `callgate policy disasm`: a BPF program as text.

use std::path::Path;

use callgate_abi::{Arch, Filter};
use callgate_policy::{bpf, compile, disassemble, shipped};

use super::{program, verdicts, warn};
use crate::args::DisasmArgs;
use crate::commands::dig::paint;
use crate::failure::Failure;
use crate::terminal::DIM;
use crate::{input, output};

/// The kernel would not load it.
const REFUSED: u8 = 1;

pub(crate) fn run(args: &DisasmArgs) -> Result<u8, Failure> {
    let arch = args.arch.unwrap_or(Arch::NATIVE);
    let filter = filter(&args.source, arch)?;
    if args.verdicts {
        return verdicts::run(&filter, arch, args);
    }
    let mut text = String::new();
    for line in disassemble(&filter, arch) {
        text.push_str(&paint(&format!("{DIM}{:4}{DIM:#}  {}\n", line.at, line.text)));
    }
    output::stdout(text.as_bytes())?;
    match bpf::Program::new(&filter) {
        Ok(_) => Ok(0),
        Err(error) => {
            warn(&format!("the kernel would not load it: {error}"));
            Ok(REFUSED)
        }
    }
}

/// The program that is meant: what a policy compiles to, or the file itself. Programs have zero bytes,
/// which no JSON text has.
fn filter(source: &str, arch: Arch) -> Result<Filter, Failure> {
    let path = Path::new(source);
    if shipped::get(source).is_none() && path.exists() {
        let (bytes, name) = input::bytes(path)?;
        if bytes.contains(&0) || path.extension().is_some_and(|extension| extension == "bpf") {
            return program(&bytes, &name);
        }
    }
    let policy = input::policy(source)?;
    let compiled = compile(&policy, arch).and_then(|compiled| compiled.link());
    compiled.map_err(|error| Failure::input(format!("{source}: {error}")))
}
