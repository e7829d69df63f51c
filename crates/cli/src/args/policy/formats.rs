//! The words of `callgate policy emit` and `import`: other tools' formats.

use std::path::PathBuf;

use callgate_abi::Arch;
use callgate_policy::import::{Format as ImportFormat, Kernel};
use clap::{Args, ValueEnum};

use crate::args::{FormatArg, format_or_auto};

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
    #[arg(long, value_name = "FORMAT", default_value = "auto", value_parser = format_or_auto::<ImportFormat>)]
    pub(crate) format: FormatArg<ImportFormat>,
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
