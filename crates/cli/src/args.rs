//! The words of the command line. What they promise stands in the help texts and in README.md.

mod dig;
mod exec;
mod policy;
mod prune;
mod serve;

use std::ffi::OsString;
use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use callgate_abi::Arch;
use callgate_exec::TierChoice;
use callgate_fit::minimise::CONFIRMING_RUNS;
use clap::{Args, Parser, Subcommand};

pub(crate) use dig::{DigArgs, DigCommand, ImportArgs, MergeArgs, RecordArgs, ShowTraceArgs, TraceOutput};
pub(crate) use exec::{ExecArgs, LangArg, LockArg, NetArg};
pub(crate) use policy::{
    AllowArgs, CombineArgs, DefaultArg, DenyArgs, DiffArgs, DisasmArgs, EditArgs, EmitArgs, ExplainArgs,
    Format, LintArgs, ListArgs, NewArgs, NumbersArgs, PolicyCommand, PolicyImportArgs, ShowArgs,
    TranslateArgs, UnknownArg, VerifyArgs,
};
pub(crate) use prune::RootPruneArgs;
pub(crate) use serve::{LogForm, Pair, ServeArgs};

/// Which system calls does this program need, and will it run when only those are open?
#[derive(Debug, Parser)]
#[command(
    name = "callgate",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

// Deferred, here and below: no run pays for the words of other commands. So what is flattened into a command must
// have no doc comment, which would stand in the place of the command's own.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Trace a Python probe, make a policy of it, and run it under that policy: the whole job
    Fit(FitArgs),
    /// Trace a Python script or any command and record the system calls that it makes
    Dig(DigArgs),
    /// Compare, make, change and translate policies
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Run code in a root of its own under a policy, and say what was refused and how to mend it
    Exec(ExecArgs),
    /// Build and check the directory tree that sandboxed code sees as /
    #[command(subcommand)]
    Root(RootCommand),
    /// Run code for HTTP clients: dify-sandbox's API and configuration over this sandbox
    Serve(ServeArgs),
    /// Say what this machine offers for tracing and isolation, what is missing and what that costs
    Doctor(DoctorArgs),
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum RootCommand {
    /// Build a root as a directory, for `exec --root` and for images
    Build(RootBuildArgs),
    /// List the shared objects that are missing in a root, who needs them, and where the host has them
    Check(RootCheckArgs),
    /// Remove from a store of `root build --store` what no root holds any more
    Prune(RootPruneArgs),
}

// Which interpreter runs a Python script.
#[derive(Debug, Args)]
pub(crate) struct PythonArgs {
    /// Use this interpreter as it is. By default the script's PEP 723 dependencies are installed into
    /// an environment that is cached below $XDG_CACHE_HOME/callgate
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
}

// Whether what earlier runs found out is used.
#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    /// Ask the interpreter and plan the root afresh, and keep nothing of it. By default what an earlier run
    /// found is used while none of the files that it rests on has changed
    #[arg(long)]
    pub(crate) no_cache: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 the probe runs under its policy; 1 it failed, while it was traced or under the policy;
2 bad input; 125 it can't be traced, or a set-up step failed. With --minimise also 1: its output or
ending is not the same from run to run, or the search was interrupted or came to no result that holds.
Files: NAME.policy.json (OCI seccomp JSON) and NAME.trace.json (callgate.trace/1) in --out-dir.
With --minimise, calls that can be refused are refused in the policy with the errno that was verified;
the verdicts are for a lock at the first line, on this architecture.")]
pub(crate) struct FitArgs {
    /// The Python script to fit
    #[arg(value_name = "PROBE.py")]
    pub(crate) probe: PathBuf,
    /// Arguments of the script
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<OsString>,
    #[command(flatten)]
    pub(crate) python: PythonArgs,
    /// Compare with this policy: a file or a shipped policy's name
    #[arg(long, value_name = "POLICY", default_value = "dify-python")]
    pub(crate) against: String,
    /// Where the policy and the trace are written
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) out_dir: PathBuf,
    /// The isolation that the run must have: auto, full, container, unprivileged or landlock
    #[arg(long, value_name = "TIER", default_value = "auto")]
    pub(crate) tier: TierChoice,
    /// Stop the trace and each run after this many seconds
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
    /// Run the probe at most so often; each run can find one more call
    #[arg(long, value_name = "N", default_value_t = callgate_fit::MOST_ATTEMPTS)]
    pub(crate) attempts: usize,
    /// When it fits, find out which calls are needed: run it with calls refused (ENOSYS, then EPERM) and
    /// compare exit code and output with those of runs in which nothing is refused. Its input is empty
    #[arg(long)]
    pub(crate) minimise: bool,
    /// Run the minimised policy so often in the end: calls may be made by chance
    #[arg(long, value_name = "K", default_value_t = CONFIRMING_RUNS, requires = "minimise", value_parser = at_least_one)]
    pub(crate) confirm: usize,
    /// Run so many at the same time [default: one for each core]
    #[arg(long, value_name = "N", requires = "minimise", value_parser = at_least_one)]
    pub(crate) jobs: Option<usize>,
    /// Print the result (callgate.fit/1; with --minimise the verdicts, callgate.minimised/1) as JSON, and no tables
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
What the host lets only its owner or group read is left out, as is what is no file; notes say so.
Exit codes: 0 built; 2 bad input; 125 it can't be written.")]
pub(crate) struct RootBuildArgs {
    /// The directory to build in: new, empty, or built by callgate before
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Build it for this script: its PEP 723 dependencies are in it
    #[arg(long, value_name = "SCRIPT.py", conflicts_with = "python")]
    pub(crate) script: Option<PathBuf>,
    /// Build it with the files that this trace saw in use and no others: the smallest in which its probe
    /// runs. Best is a trace that `fit` wrote, as it traces in the environment of a run
    #[arg(long, value_name = "TRACE", conflicts_with_all = ["script", "python"])]
    pub(crate) from: Option<PathBuf>,
    /// Build it for this interpreter and its packages [default: python3 on the PATH]
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,
    /// Put this file or directory of the host into it, too, under its own path, with the shared objects that it
    /// needs. Can be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) add: Vec<PathBuf>,
    /// Build it for runs with this network. `host`: with copies of the host's resolv.conf and hosts as they
    /// are now, certificates, and what libc needs to look up names
    #[arg(long, value_enum, value_name = "NETWORK", default_value_t = NetArg::None)]
    pub(crate) net: NetArg,
    /// The uid (and gid) that code will have in it; its passwd names it
    #[arg(long, value_name = "UID", default_value_t = 65_398)]
    pub(crate) uid: u32,
    /// Keep each file's content once in this directory, by its hash, and have it in the root as a hard link that
    /// nobody can write to: the next root with the same files is built at once. For root only, on the
    /// same file system; and only for roots in which nothing but callgate runs code
    #[arg(long, value_name = "DIR", conflicts_with = "reflink")]
    pub(crate) store: Option<PathBuf>,
    /// Share blocks with the host's files, copy on write, instead of copying them (btrfs, xfs); files that can't
    /// be shared are copied, and a note says how many
    #[arg(long)]
    pub(crate) reflink: bool,
    /// Print what was built (callgate.built/1) as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 nothing is missing; 1 shared objects are missing; 2 bad input.")]
pub(crate) struct RootCheckArgs {
    /// A directory that `callgate root build` made; by default the root that would be made
    #[arg(value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Check what would be made for this script
    #[arg(long, value_name = "SCRIPT.py", conflicts_with_all = ["python", "dir"])]
    pub(crate) script: Option<PathBuf>,
    /// Check what would be made for this interpreter
    #[arg(long, value_name = "PATH", conflicts_with = "dir")]
    pub(crate) python: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// One architecture or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arches(pub(crate) Vec<Arch>);

impl FromStr for Arches {
    type Err = callgate_abi::UnknownArch;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        if word == "all" {
            return Ok(Self(Arch::ALL.to_vec()));
        }
        word.parse().map(|arch| Self(vec![arch]))
    }
}

/// A format, or `None` to tell it from the text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FormatArg<F>(pub(crate) Option<F>);

fn format_or_auto<F: FromStr<Err: Display>>(word: &str) -> Result<FormatArg<F>, String> {
    if word == "auto" {
        return Ok(FormatArg(None));
    }
    match word.parse() {
        Ok(format) => Ok(FormatArg(Some(format))),
        Err(unknown) => Err(format!("{unknown}, or auto")),
    }
}

/// A number that is not 0.
fn at_least_one(word: &str) -> Result<usize, String> {
    match word.parse() {
        Ok(0) | Err(_) => Err("expected a number, 1 or more".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// Seconds, with a fraction if wanted.
fn seconds(word: &str) -> Result<Duration, String> {
    let number: f64 = word
        .parse()
        .map_err(|_| "expected a number of seconds".to_owned())?;
    if number <= 0.0 {
        return Err("expected more than 0 seconds".to_owned());
    }
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

/// Prints what clap says; help and version are no failures.
pub(crate) fn refuse(error: &clap::Error) -> ExitCode {
    // A reader that has gone away has seen enough.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_command_says_of_itself_what_the_list_says_of_it() {
        fn compare(listed: &clap::Command, built: &clap::Command) -> usize {
            let mut compared = 0;
            for one in listed.get_subcommands() {
                let name = one.get_name();
                let other = built.find_subcommand(name).unwrap();
                assert!(one.get_about().is_some(), "{name}");
                assert_eq!(one.get_about(), other.get_about(), "{name}");
                compared += 1 + compare(one, other);
            }
            compared
        }
        let listed = Cli::command();
        let mut built = listed.clone();
        built.build();
        assert!(compare(&listed, &built) > 15);
    }

    #[test]
    fn seconds_are_positive_and_finite() {
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        for bad in ["0", "-1", "NaN", "inf", "soon", "1e300"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
