//! The words of `callgate policy`.

mod formats;
mod looking;
mod making;

use clap::Subcommand;

pub(crate) use formats::{EmitArgs, Format, PolicyImportArgs};
pub(crate) use looking::{
    DiffArgs, DisasmArgs, ExplainArgs, LintArgs, ListArgs, NumbersArgs, ShowArgs, VerifyArgs,
};
pub(crate) use making::{
    AllowArgs, CombineArgs, DefaultArg, DenyArgs, EditArgs, NewArgs, TranslateArgs, UnknownArg,
};

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum PolicyCommand {
    /// Compare what a trace needs with what a policy allows
    Diff(DiffArgs),
    /// Make a policy from traces
    New(NewArgs),
    /// Allow calls in a policy, for all arguments or for some
    Allow(AllowArgs),
    /// Refuse calls in a policy, whatever its rules and its default say of them
    Deny(DenyArgs),
    /// Take calls out of a policy: its default action applies to them
    Remove(EditArgs),
    /// Make a policy that lets run what any of the given ones does
    Merge(CombineArgs),
    /// Make a policy that lets run what all of the given ones do
    Intersect(CombineArgs),
    /// Make a policy for one architecture hold on the other: other names, other argument positions
    Translate(TranslateArgs),
    /// Write a policy in another format
    Emit(EmitArgs),
    /// Make a policy of another tool's file
    Import(PolicyImportArgs),
    /// Prove that the compiled filters do what the policy says
    Verify(VerifyArgs),
    /// Show the BPF program of a policy or of a raw file, with names
    Disasm(DisasmArgs),
    /// Look for what is dangerous or broken in a policy
    Lint(LintArgs),
    /// Convert between the names and the numbers of calls
    Numbers(NumbersArgs),
    /// Say what a call does, why it is dangerous, and what the shipped policies do with it
    Explain(ExplainArgs),
    /// List the policies that callgate ships
    List(ListArgs),
    /// Print a policy as OCI seccomp JSON
    Show(ShowArgs),
}
