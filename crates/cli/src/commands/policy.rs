//! `callgate policy …`: makes, changes and prints policies; the workbench is in the modules.

mod author;
mod disasm;
mod emit;
mod explain;
mod import;
mod lint;
mod numbers;
mod sarif;
mod verdicts;
mod verify;

use callgate_abi::{Arch, Filter};
use callgate_policy::{Combination, Policy, shipped};
use serde_json::json;

use crate::args::{ListArgs, PolicyCommand, ShowArgs};
use crate::commands::dig::paint;
use crate::failure::Failure;
use crate::terminal::{DIM, YELLOW, escape};
use crate::{commands, input, output, table};

pub(crate) fn run(command: &PolicyCommand) -> Result<u8, Failure> {
    match command {
        PolicyCommand::Diff(args) => commands::diff::run(args),
        PolicyCommand::New(args) => author::new(args),
        PolicyCommand::Allow(args) => author::allow(args),
        PolicyCommand::Deny(args) => author::deny(args),
        PolicyCommand::Remove(args) => author::remove(args),
        PolicyCommand::Merge(args) => author::combined(args, Combination::Merge),
        PolicyCommand::Intersect(args) => author::combined(args, Combination::Intersect),
        PolicyCommand::Translate(args) => author::translate(args),
        PolicyCommand::Emit(args) => emit::run(args),
        PolicyCommand::Import(args) => import::run(args),
        PolicyCommand::Verify(args) => verify::run(args),
        PolicyCommand::Disasm(args) => disasm::run(args),
        PolicyCommand::Lint(args) => lint::run(args),
        PolicyCommand::Numbers(args) => numbers::run(args),
        PolicyCommand::Explain(args) => explain::run(args),
        PolicyCommand::List(args) => list(args),
        PolicyCommand::Show(args) => show(args),
    }
}

fn list(args: &ListArgs) -> Result<u8, Failure> {
    let mut table = table::table(&["policy", "default", "amd64", "arm64", "what it is for"]);
    let mut policies = Vec::new();
    for name in shipped::names() {
        let policy = input::policy(name)?;
        let [amd64, arm64] = [Arch::X86_64, Arch::Aarch64].map(|arch| policy.allowed(arch).len());
        let (default, purpose) = (
            policy.default.to_string(),
            gist(policy.comment.as_deref().unwrap_or_default()),
        );
        policies.push(json!({
            "name": name,
            "default": default,
            "allowed": {"amd64": amd64, "arm64": arm64},
            "purpose": purpose,
        }));
        table.add_row([
            table::text(name),
            table::text(default),
            table::number(amd64),
            table::number(arm64),
            table::text(purpose),
        ]);
    }
    if args.json {
        output::json(&json!({"schema": "callgate.policies/1", "policies": policies}))?;
        return Ok(0);
    }
    output::stdout(format!("{table}\n").as_bytes())?;
    output::stdout(paint(&format!("{DIM}amd64, arm64: how many calls it allows{DIM:#}\n")).as_bytes())?;
    Ok(0)
}

fn show(args: &ShowArgs) -> Result<u8, Failure> {
    let policy = input::policy(&args.policy)?;
    write(&policy, "-".as_ref())
}

fn write(policy: &Policy, to: &std::path::Path) -> Result<u8, Failure> {
    let text = policy.to_json().map_err(|error| Failure::new(1, error))?;
    output::file(to, text.as_bytes())?;
    Ok(0)
}

fn warn(text: &str) {
    say!("{YELLOW}note:{YELLOW:#} {}", escape(text));
}

/// A raw program: 8 bytes per instruction.
fn program(bytes: &[u8], name: &str) -> Result<Filter, Failure> {
    Filter::from_bytes(bytes).ok_or_else(|| {
        Failure::input(format!(
            "{name}: {} bytes are no BPF program, which has 8 per instruction",
            bytes.len()
        ))
    })
}

/// What a comment says first: up to its first colon or full stop; `policy show` has the rest.
fn gist(comment: &str) -> &str {
    let end = [": ", ". "].iter().filter_map(|mark| comment.find(mark)).min();
    &comment[..end.unwrap_or(comment.len())]
}
