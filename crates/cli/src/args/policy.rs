//! The words of `callgate policy`.

use std::path::PathBuf;

use callgate_abi::Arch;
use callgate_policy::import::Kernel;
use clap::{Args, Subcommand, ValueEnum};

use super::Arches;

#[derive(Debug, Subcommand)]
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
    List,
    /// Print a policy as OCI seccomp JSON
    Show(ShowArgs),
}

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
pub(crate) struct NewArgs {
    /// Traces that `callgate dig -o` wrote; - is standard input
    #[arg(value_name = "TRACE", required = true)]
    pub(crate) traces: Vec<PathBuf>,
    /// Start from this policy; what it already allows is not added again. Given again, the policies are
    /// merged first: what any of them lets run, runs
    #[arg(long, value_name = "POLICY")]
    pub(crate) base: Vec<String>,
    /// Take the calls of the body alone: for a policy that comes into force after start-up
    #[arg(long, value_enum, value_name = "PHASE")]
    pub(crate) phase: Option<PhaseArg>,
    /// Add calls that other runs make: libc's siblings of what was seen, vDSO fallbacks, abort, load
    #[arg(long)]
    pub(crate) portable: bool,
    /// Allow calls for the observed values of their arguments alone, where that is safe: socket, ioctl, fcntl,
    /// prctl, arch_prctl, personality, clone, rlimits, and writable or executable memory. clone3, whose
    /// flags no filter can read, gets ENOSYS, on which libc calls clone
    #[arg(long)]
    pub(crate) args: bool,
    /// What happens to calls that no rule names [default: kill]
    #[arg(long, value_enum, value_name = "ACTION", conflicts_with = "base")]
    pub(crate) default: Option<DefaultArg>,
    /// What numbers get that are above the newest known call, as later kernels have them [default: the
    /// default action, or what the base says]
    #[arg(long, value_enum, value_name = "ANSWER")]
    pub(crate) unknown: Option<UnknownArg>,
    /// Write the policy to this file; - (the default) is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum UnknownArg {
    /// The default action, as every call without a rule
    Default,
    /// ENOSYS, as from an older kernel: a newer libc falls back instead of dying
    Enosys,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PhaseArg {
    /// From the first line of the script on
    Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DefaultArg {
    /// The process ends
    Kill,
    /// The call fails with EPERM
    Errno,
    /// The call runs and is written to the audit log
    Log,
    /// The thread gets SIGSYS
    Trap,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Conditions: argN=VALUE, N from 0 to 5; VALUE is a number or a name of the kernel's headers (AF_INET,
SOCK_STREAM|SOCK_CLOEXEC, TIOCGWINSZ). Also <=, <, >=, >, != and argN&MASK=VALUE. With commas, all
must hold; several --when are alternatives. = compares the 32 bits that the kernel reads of an int.
  callgate policy allow python socket --when arg0=AF_UNIX --when arg0=AF_INET -o p.json
Exit codes: 0 written; 2 bad input, or rules can't say it.")]
pub(crate) struct AllowArgs {
    #[command(flatten)]
    pub(crate) edit: EditArgs,
    /// Allow them only under these conditions on their arguments
    #[arg(long, value_name = "CONDITIONS")]
    pub(crate) when: Vec<String>,
    /// Allow them on this architecture only: amd64 or arm64. By default on both, under the names that libc
    /// uses there
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<Arch>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
What is allowed on the one architecture is allowed on the other by the names that libc calls there,
with conditions at the arguments' places there; a condition without a place leaves the call closed.
Every guess and every call that has nothing there is told. What the policy says of the first
architecture stays.
Exit codes: 0 written; 2 bad input.")]
pub(crate) struct TranslateArgs {
    /// The policy: a file or a shipped policy's name
    #[arg(value_name = "POLICY")]
    pub(crate) policy: String,
    /// The architecture that it was made for: amd64 or arm64
    #[arg(long, value_name = "ARCH")]
    pub(crate) from: Arch,
    /// Write the policy to this file; - (the default) is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct DenyArgs {
    #[command(flatten)]
    pub(crate) edit: EditArgs,
    /// Let the calls fail with this errno, by name or number; ENOSYS lets libc fall back to older calls.
    /// By default the policy's default action refuses them; if that lets them run, EPERM
    #[arg(long, value_name = "ERRNO")]
    pub(crate) errno: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Conditions are kept where rules can say the combination; where they can't, that is an error and names the
call. Exit codes: 0 written; 2 bad input, or no such combination.")]
pub(crate) struct CombineArgs {
    /// A policy: a file or a shipped policy's name
    #[arg(value_name = "POLICY")]
    pub(crate) first: String,
    /// Further policies
    #[arg(value_name = "POLICY", required = true)]
    pub(crate) others: Vec<String>,
    /// Write the policy to this file; - (the default) is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    /// The policy: a file or a shipped policy's name
    #[arg(value_name = "POLICY")]
    pub(crate) policy: String,
    /// System calls, by name
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// Write the changed policy to this file; - (the default) is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = FORMATS)]
pub(crate) struct EmitArgs {
    /// The policy: a file or a shipped policy's name
    #[arg(value_name = "POLICY")]
    pub(crate) policy: String,
    /// The format; the table below says what each is for and what it can't say
    #[arg(long, value_enum, hide_possible_values = true)]
    pub(crate) format: Format,
    /// The architecture whose calls and numbers are written: amd64 or arm64. By default this machine's;
    /// for oci and moby, both, and rules for one of them stay marked as such
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<Arch>,
    /// Write it although the format can't say all of the policy, and print what is lost. Without this,
    /// that is an error
    #[arg(long)]
    pub(crate) lossy: bool,
    /// Write to this file; - (the default) is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
}

/// What each format is for, and what it can't say.
const FORMATS: &str = "\
Formats, what they are for, and what each can't say:
  oci          crun, runc, Podman: rules of one architecture (unless --arch);
               two comparisons of one argument in one rule
  moby         Docker's profile: two comparisons of one argument in one rule
  k8s          SeccompProfile, YAML: the same; a default errno but EPERM,
               errno 0, values over 2^63-1
  systemd      a service's drop-in: conditions; trap, trace, kill-thread;
               another answer than ENOSYS to numbers it does not know
  minijail     minijail0 -S: a default but kill; trap, trace, log, kill-thread;
               three answers of one call by its arguments
  kafel        nsjail: that x32's calls are killed, if the default does not kill
  seccompiler  its JSON: a second action; x32 as kafel
  dify         its config.yaml: all but which calls may run
  dify-env     its ALLOWED_SYSCALLS=: the same
  dify-go      its Go source: the same, but it can say errno 0
  names        a list: as dify
  numbers      a list: as dify
  bpf          the program, raw, for bwrap --seccomp FD: nothing
  c            the program as an array for C: nothing
What can't be said is an error. With --lossy it is printed, and the call is
refused if the format has conditions, allowed for all arguments if it has none.
Exit codes: 0 written; 2 bad input, or the format can't say all of it (see --lossy).";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Oci,
    Moby,
    K8s,
    Systemd,
    Minijail,
    Kafel,
    Seccompiler,
    Dify,
    DifyEnv,
    DifyGo,
    Names,
    Numbers,
    Bpf,
    C,
}

#[derive(Debug, Args)]
#[command(after_help = IMPORTS)]
pub(crate) struct PolicyImportArgs {
    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The file's format; auto tells it from the text
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub(crate) format: PolicyFormat,
    /// The architecture: amd64 or arm64. For dify, minijail, seccompiler and numbers, the one that the file
    /// is for, by default this machine's; for the others, the only one that is kept, by default all
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<Arch>,
    /// The kernel that a profile's minKernel is compared with [default: the running one]
    #[arg(long, value_name = "VERSION")]
    pub(crate) kernel: Option<Kernel>,
    /// A capability of the container, for a profile's caps; may be given again; none stands for none
    /// [default: those of a plain docker run]
    #[arg(long = "cap", value_name = "CAP")]
    pub(crate) caps: Vec<String>,
    /// The filter to take of a file with several: a thread of seccompiler's, a profile's name
    #[arg(long, visible_alias = "thread", value_name = "NAME")]
    pub(crate) part: Option<String>,
    /// Write the policy to this file; - (the default) is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
}

/// What is imported, and how.
const IMPORTS: &str = "\
Formats:
  oci, moby    OCI's JSON; Docker's profile, whose includes and excludes are resolved and printed
  k8s          a SeccompProfile of the security-profiles-operator
  dify         dify-sandbox's config.yaml, or its ALLOWED_SYSCALLS=0,1,…
  minijail     a .policy; @include is relative to the file; constants of the
               kernel's headers, or numbers
  seccompiler  its JSON
  names        a list of what is allowed; all else is killed
  numbers      the same by number
What was resolved, dropped or assumed is printed.
Exit codes: 0 written; 2 bad input.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyFormat {
    Auto,
    Oci,
    Moby,
    K8s,
    Dify,
    Minijail,
    Seccompiler,
    Names,
    Numbers,
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
