//! `callgate policy verify`: proves that filters do what the policy says.

use callgate_abi::{Abi, Action, Arch, BPF_MAXINSNS, Syscall};
use callgate_policy::{Counterexample, Policy, Proof, ProvedProgram, Verifier, VerifyError};
use serde_json::{Value, json};

use super::program;
use crate::args::VerifyArgs;
use crate::commands::dig::paint;
use crate::failure::Failure;
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
    let mut proofs = Vec::new();
    for arch in arches {
        match prove(args, &policy, arch)? {
            Ok(proof) if args.json => proofs.push(proved(&proof)),
            Ok(proof) => output::stdout(render(&proof).as_bytes())?,
            Err(found) if args.json => proofs.push(refuted(&found)),
            Err(found) => return Err(Failure::new(REFUTED, format!("{}: {found}", args.policy))),
        }
    }
    if args.json {
        let all = proofs.iter().all(|proof| proof["proved"] == true);
        output::json(&json!({"schema": "callgate.proof/1", "policy": args.policy, "proofs": proofs}))?;
        return Ok(if all { 0 } else { REFUTED });
    }
    Ok(0)
}

/// The proof, or the counterexample.
fn prove(args: &VerifyArgs, policy: &Policy, arch: Arch) -> Result<Result<Proof, Counterexample>, Failure> {
    let proof = match &args.program {
        None => callgate_policy::verify(policy, arch),
        Some(path) => {
            let (bytes, name) = input::bytes(path)?;
            let filter = program(&bytes, &name)?;
            Verifier::of(policy, arch, &name, &[filter]).and_then(Verifier::check_all)
        }
    };
    match proof {
        Ok(proof) => Ok(Ok(proof)),
        Err(VerifyError::Wrong(found)) => Ok(Err(*found)),
        Err(error) => Err(Failure::input(format!("{}: {error}", args.policy))),
    }
}

fn proved(proof: &Proof) -> Value {
    let program =
        |program: &ProvedProgram| json!({"name": program.name, "instructions": program.instructions});
    json!({
        "arch": proof.arch,
        "proved": true,
        "programs": proof.programs.iter().map(program).collect::<Vec<_>>(),
        "numbers": proof.numbers,
        "far": proof.far,
        "words": proof.words,
        "conditioned": proof.conditioned,
        "edges": proof.edges,
        "calls": proof.calls,
    })
}

fn refuted(found: &Counterexample) -> Value {
    let abi = Abi::of(found.audit, u64::from(found.nr));
    let answer = Action::from_ret(found.answer).map_or("notify".to_owned(), |action| action.to_string());
    json!({
        "arch": found.arch,
        "proved": false,
        "counterexample": {
            "program": found.program,
            "name": abi.map(|abi| Syscall::new(abi, found.nr).name().into_owned()),
            "nr": found.nr,
            "audit_arch": found.audit,
            "args": found.args,
            "answer": answer,
            "answer_value": found.answer,
            "wanted": found.wanted.to_string(),
            "text": found.to_string(),
        },
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
