//! `callgate policy verify`: proves that filters do what the policy says.

use callgate_abi::{Arch, BPF_MAXINSNS};
use callgate_policy::{Policy, Proof, Verifier, VerifyError};

use super::program;
use crate::args::VerifyArgs;
use crate::commands::dig::paint;
use crate::failure::{BAD_INPUT, Failure};
use crate::terminal::{BOLD, GREEN, escape};
use crate::{input, output};

/// A counterexample was found.
const REFUTED: u8 = 1;

pub(crate) fn run(args: &VerifyArgs) -> Result<u8, Failure> {
    let policy = input::policy(&args.policy)?;
    let arches = args.arch.as_ref().map(|arches| arches.0.clone());
    let arches = arches.unwrap_or_else(|| match args.program {
        None => Arch::ALL.to_vec(),
        Some(_) => vec![Arch::NATIVE],
    });
    for arch in arches {
        let proof = prove(args, &policy, arch)?;
        output::stdout(render(&proof).as_bytes())?;
    }
    Ok(0)
}

fn prove(args: &VerifyArgs, policy: &Policy, arch: Arch) -> Result<Proof, Failure> {
    let proof = match &args.program {
        None => callgate_policy::verify(policy, arch),
        Some(path) => {
            let (bytes, name) = input::bytes(path)?;
            let filter = program(&bytes, &name)?;
            Verifier::of(policy, arch, &name, &[filter]).and_then(Verifier::check_all)
        }
    };
    proof.map_err(|error| {
        let code = if matches!(error, VerifyError::Wrong(_)) {
            REFUTED
        } else {
            BAD_INPUT
        };
        Failure::new(code, format!("{}: {error}", args.policy))
    })
}

fn render(proof: &Proof) -> String {
    let Proof {
        arch,
        programs,
        numbers,
        far,
        words,
        conditioned,
        edges,
        calls,
    } = proof;
    let mut text = paint(&format!(
        "{BOLD}{arch}{BOLD:#}: {GREEN}proved{GREEN:#} with {calls} calls\n"
    ));
    for program in programs {
        let lengths: Vec<String> = program.instructions.iter().map(usize::to_string).collect();
        text.push_str(&format!(
            "  {}: {} instructions (of {BPF_MAXINSNS} at the most)\n",
            escape(&program.name),
            lengths.join(" + ")
        ));
    }
    text.push_str(&format!(
        "  numbers 0-{} and {far} far ones, each through {words} architecture words, with and without x32's bit\n",
        numbers - 1
    ));
    text.push_str(&format!(
        "  {edges} boundary values of the conditions on {conditioned} calls\n"
    ));
    text
}
