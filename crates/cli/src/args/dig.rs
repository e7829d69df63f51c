//! The words of `callgate dig`: a probe, or what is to be done with recordings.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use callgate_abi::Arch;
use callgate_trace::import::Format;
use clap::{Args, Subcommand};

use super::{FormatArg, PythonArgs, format_or_auto, seconds};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    subcommand_help_heading = "Instead of a probe",
    subcommand_value_name = "WHAT",
    after_help = "\
A script that is called show, merge or import is traced as ./show, ./merge or ./import.
Exit codes: 0 recorded (with --pid also: let go); 1 the probe failed (the trace is written all the same and says so);
2 bad input; 125 it can't be traced.
The probe's standard output goes to standard error: standard output is the report's."
)]
pub(crate) struct DigArgs {
    #[command(subcommand)]
    pub(crate) command: Option<DigCommand>,
    #[command(flatten)]
    pub(crate) record: RecordArgs,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum DigCommand {
    /// Print a trace again
    Show(ShowTraceArgs),
    /// Unite traces, and say which calls were not in every run
    Merge(MergeArgs),
    /// Make a trace of another tool's recording: strace, audit records, lists
    Import(ImportArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// The Python script to trace, or - for standard input
    #[arg(value_name = "PROBE.py", required_unless_present_any = ["rest", "pid"])]
    pub(crate) probe: Option<PathBuf>,
    /// Any other command to trace; after a script, the script's arguments
    #[arg(last = true, value_name = "CMD ARGS")]
    pub(crate) rest: Vec<OsString>,
    #[command(flatten)]
    pub(crate) output: TraceOutput,
    #[command(flatten)]
    pub(crate) python: PythonArgs,
    /// Stop after this many seconds; the trace so far is written and marked
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
    /// Stop on every call, so that counts and errors are exact. It is slower: else calls whose like has
    /// been seen pass unstopped, and their counts are lower bounds. The set of calls is the same
    #[arg(long)]
    pub(crate) counts: bool,
    /// Run it so often, unite the traces, and say which calls were not in every run. Memory layouts and
    /// Python's hash seeds differ from run to run (if they can't, a note says so). The runs share standard
    /// input, and each has the time limit for itself
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
    /// Keep every CPU busy and interrupt the probe's threads every few ms: calls that are rare come up
    /// (restart_syscall, futex operations, sched_yield). No signal is sent, but epoll_wait and the like may
    /// return EINTR, as after a stop and a continue
    #[arg(long)]
    pub(crate) load: bool,
    /// Attach to this running process with its threads and descendants, until it ends, Ctrl-C or the time
    /// limit: then it is let go and runs on. Nothing is loaded into it; every call is stopped on
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..),
          conflicts_with_all = ["probe", "rest", "python", "runs", "counts", "load"])]
    pub(crate) pid: Option<i32>,
    /// Keep the whole stack of each first sight, of Python and of native code, at most 64 frames each, and print them in
    /// the table
    #[arg(long)]
    pub(crate) stacks: bool,
}

// Where a trace goes.
#[derive(Debug, Args)]
pub(crate) struct TraceOutput {
    /// Write the trace (callgate.trace/1) to this file, or - for standard output
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Print the trace as JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 shown, however the probe ended; 2 bad input.")]
pub(crate) struct ShowTraceArgs {
    /// A trace that `callgate dig -o` wrote, or - for standard input
    #[arg(value_name = "TRACE")]
    pub(crate) trace: PathBuf,
    /// Only the calls from the first line of the user's code on, without the interpreter's start-up
    #[arg(long)]
    pub(crate) since_main: bool,
    /// Only this call: who made it each time that it or an argument of it was new
    #[arg(long, value_name = "NAME", conflicts_with_all = ["json", "files", "stacks"])]
    pub(crate) call: Option<String>,
    /// Only the files, and how they were used
    #[arg(long, conflicts_with_all = ["json", "stacks"])]
    pub(crate) files: bool,
    /// With the stacks of each call's first sight, where `callgate dig --stacks` kept it
    #[arg(long)]
    pub(crate) stacks: bool,
    /// Print the trace as JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The result is a trace: counts and errors are added, phases and files united, the first known site is
kept. `runs` tells how many runs it unites, `seen_in` in how many of them a call was seen (each is left
out where it is 1).
Exit codes: 0 merged; 2 bad input, also traces of different architectures.")]
pub(crate) struct MergeArgs {
    /// Traces that `callgate dig -o` or `merge -o` wrote; - is standard input
    #[arg(value_name = "TRACE", required = true)]
    pub(crate) traces: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) output: TraceOutput,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Formats:
  strace    the log of `strace -f -o FILE CMD`; several files of `strace -ff` are one recording
  strace-c  the table of `strace -c`
  numbers   system call numbers, with anything but letters between them
  audit     audit records of type 1326 (SECCOMP): dmesg, journal, audit.log, ausearch
  names     names, one or several a line
In lists, # begins a comment. Recordings of several runs: import each, then `callgate dig merge`.
Exit codes: 0 imported; 2 a line can't be read, or other bad input.")]
pub(crate) struct ImportArgs {
    /// The recording; several files are parts of one. - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The format: auto, strace, strace-c, numbers, audit or names
    #[arg(long, value_name = "FORMAT", default_value = "auto", value_parser = format_or_auto::<Format>)]
    pub(crate) format: FormatArg<Format>,
    /// The machine that it was recorded on: amd64 or arm64. By default this one, for audit records the one
    /// that they name
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<Arch>,
    #[command(flatten)]
    pub(crate) output: TraceOutput,
}
