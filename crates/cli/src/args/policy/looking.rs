//! The words of the commands that tell something of a policy or a call: `diff`, `show`, `verify`, `disasm`, `lint`,
//! `numbers`, `explain`.

use std::path::PathBuf;

use callgate_abi::Arch;
use clap::Args;

use crate::args::Arches;

#[derive(Debug, Args)]
#[command(after_help = "\
Conditions of the policy are held against the arguments that the trace recorded: socket allowed for
AF_UNIX and observed with AF_INET is missing, with the argument. What a trace can't tell is shown as
depends and changes no exit code. At the end stands the change that leaves nothing missing: commands,
an OCI fragment and dify-sandbox's whole list, each ready to be used.
Two policies are compared by what they decide, whatever the order of their rules; JSON has that as
`different`.
Exit codes: 0 nothing is missing (two policies: they decide the same); 1 something is missing or refused
(two policies: they differ); 2 bad input.")]
pub(crate) struct DiffArgs {
    /// A trace that `callgate dig -o` wrote, or - for standard input; or a policy: a file or a shipped
    /// policy's name
    #[arg(value_name = "TRACE")]
    pub(crate) trace: PathBuf,
    /// Compare with this policy: a file or a shipped policy's name
    #[arg(long, value_name = "POLICY", default_value = "dify-python")]
    pub(crate) against: String,
    /// The architectures to compare on: amd64, arm64 or all
    #[arg(long, value_name = "ARCH", default_value = "all")]
    pub(crate) arch: Arches,
    /// Print JSON (callgate.diff/1): by architecture missing, refused, allowed, unobserved, each entry with
    /// name and nr, and change
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print the list (callgate.policies/1) as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The policy: a file or a shipped policy's name
    #[arg(value_name = "POLICY")]
    pub(crate) policy: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Tried are: the numbers 0 to 1023 and some far ones, through every architecture word and with the bit of
x32, and the boundary values of every condition on an argument, in both halves; and every number with
the arguments for which another call's rule holds.
Exit codes: 0 proved; 1 a call is answered otherwise (printed in full); 2 bad input.")]
pub(crate) struct VerifyArgs {
    /// The policy: a file or a shipped policy's name
    #[arg(value_name = "POLICY")]
    pub(crate) policy: String,
    /// The architectures: amd64, arm64 or all. By default all; with --program, this machine's
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<Arches>,
    /// Print JSON: {schema, policy, proofs: [{arch, proved, programs, calls, …, counterexample}]}
    #[arg(long)]
    pub(crate) json: bool,
    /// Prove this raw program instead of the policy's own: does it do what the policy says?
    #[arg(long, value_name = "FILE.bpf")]
    pub(crate) program: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
With --verdicts, every number below 1024 is followed through the program: what each call gets, and the
arguments that decide; also what calls through i386's, x32's or 32-bit arm's entry get. For what
seccompiler and libseccomp write that is exact; where a program computes, it says that it was only tried.
Jumps name their targets: `jge write(1), 7, 8` goes to 7 if the number is write's or greater, else to 8.
Exit codes: 0 shown; 1 shown, but the kernel would not load it; 2 bad input.")]
pub(crate) struct DisasmArgs {
    /// A policy (file or shipped name), or a raw program: 8 bytes per instruction
    #[arg(value_name = "POLICY|FILE.bpf")]
    pub(crate) source: String,
    /// Show what the program answers to every call instead of its instructions
    #[arg(long)]
    pub(crate) verdicts: bool,
    /// Print JSON: {schema, arch, calls: [{name, nr, answer, actions, args}], unnamed, entries}
    #[arg(long, requires = "verdicts")]
    pub(crate) json: bool,
    /// The architecture: amd64 or arm64. By default this machine's. In a raw program, names follow the
    /// architecture that the program itself checks
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<Arch>,
}

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 clean, or notes only; 1 warnings or errors; 2 bad input.")]
pub(crate) struct LintArgs {
    /// The policy: a file or a shipped policy's name
    #[arg(value_name = "POLICY")]
    pub(crate) policy: String,
    /// The architectures: amd64, arm64 or all
    #[arg(long, value_name = "ARCH", default_value = "all")]
    pub(crate) arch: Arches,
    /// Print JSON: {schema, policy, findings: [{severity, kind, call, rule, line, arches, reason, cve, mend}]}
    #[arg(long)]
    pub(crate) json: bool,
    /// Print SARIF 2.1.0, as code-scanning services read it
    #[arg(long, conflicts_with = "json")]
    pub(crate) sarif: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 printed; 2 a word is no call.")]
pub(crate) struct NumbersArgs {
    /// Names or numbers, also in lists with commas; by default every call
    #[arg(value_name = "CALL", value_delimiter = ',')]
    pub(crate) calls: Vec<String>,
    /// The architecture that numbers belong to: amd64, arm64 or all
    #[arg(long, value_name = "ARCH", default_value = "all")]
    pub(crate) arch: Arches,
    /// Print JSON: a list of objects with name, numbers (by architecture) and equivalents
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 explained; 2 there is no such call.")]
pub(crate) struct ExplainArgs {
    /// The name of a call, or its number
    #[arg(value_name = "NAME|NUMBER")]
    pub(crate) call: String,
    /// The architecture that a number belongs to: amd64, arm64 or all
    #[arg(long, value_name = "ARCH", default_value = "all")]
    pub(crate) arch: Arches,
    /// Print JSON: a list, as a number can be one call on amd64 and another on arm64
    #[arg(long)]
    pub(crate) json: bool,
}
