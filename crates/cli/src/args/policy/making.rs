//! The words of the commands that write a policy: `new`, `allow`, `deny`, `remove`, `merge`, `intersect`, `translate`.

use std::path::PathBuf;

use callgate_abi::Arch;
use clap::{Args, ValueEnum};

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
