//! The words of `exec`: what is run, where, under which limits.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use callgate_exec::{Limits, Network, TierChoice};
use clap::{Args, ValueEnum};

use super::{PythonArgs, seconds};

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: the code's own; 124 timeout; 125 a set-up step failed and nothing ran; 126 the command
can't be run; 127 it is not found; 128+N killed by signal N (159: a refused call; 137: out of memory,
out of CPU time; 153: a file over --file-size); 2 bad input; 1, when the code's own is 0, if what it left could not all be written to
--out. The outcome's `status`, `limit` and `out` tell them apart.
When the code fails, the end of its standard error is searched for what it missed (a module, a shared
object, a file), and the report says where this host has it and which option brings it in. For that the
standard error passes through callgate; not that of a command on a terminal.
A SIZE is a number of bytes, or of K, M or G (1024 each): 256M.
The environment is PATH, HOME=/tmp, LANG, USER and what --env gives. At tier landlock HOME and TMPDIR
are a directory of the run's own, which is removed with it.")]
pub(crate) struct ExecArgs {
    /// The script to run, or - for standard input
    #[arg(value_name = "SCRIPT", required_unless_present_any = ["rest", "code"])]
    pub(crate) script: Option<PathBuf>,
    /// Any other command to run; after a script, the script's arguments
    #[arg(last = true, value_name = "CMD ARGS")]
    pub(crate) rest: Vec<OsString>,
    /// Run this code
    #[arg(short = 'c', value_name = "CODE", conflicts_with = "script")]
    pub(crate) code: Option<OsString>,
    /// What the script is written in. Python is the python3 on the PATH or --python; Node.js is the node on the
    /// PATH, and its policy is in force from its exec on unless --lock body is given (with which the policy
    /// dify-nodejs is enough). A script whose name ends in .mjs is a module, which can import Node's own modules
    #[arg(long, value_enum, value_name = "LANG", default_value_t = LangArg::Python)]
    pub(crate) lang: LangArg,
    /// The policy: a file or a shipped policy's name [default: python or node, by --lang; with --net host
    /// python-network or node-network]
    #[arg(long, value_name = "POLICY")]
    pub(crate) policy: Option<String>,
    /// Run in this root, built by `callgate root build`; by default one is made for the run
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Put this file or directory of the host into the root, under its own path, with the shared objects that it
    /// needs. Read-only. Can be repeated
    #[arg(long, value_name = "PATH", conflicts_with = "root")]
    pub(crate) add: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) python: PythonArgs,
    /// The isolation that the run must have: auto, full, container, unprivileged or landlock. `auto` takes the
    /// highest that works, prints it, and names the layers of it that this machine lacks; with any other
    /// word nothing runs unless every layer is there. `unprivileged` has two forms: where user namespaces are
    /// refused it is `landlock`, which is said with what it lacks
    #[arg(long, value_name = "TIER", default_value = "auto")]
    pub(crate) tier: TierChoice,
    /// The network that the code has: `none`, not even the host's loopback, or `host`: the host's own, with
    /// all that listens there (its loopback and the interfaces of its daemons, its neighbours, a cloud's
    /// metadata service), and where Landlock is older than version 6 its abstract sockets. Nothing narrows
    /// it to some addresses: a firewall can, by the run's uid
    #[arg(long, value_enum, value_name = "NETWORK", default_value_t = NetArg::None)]
    pub(crate) net: NetArg,
    /// When the policy comes into force: `body` after the interpreter's start-up and before the first
    /// line of the script is compiled (scripts only), `exec` when the program is executed [default: body for
    /// Python, else exec]
    #[arg(long, value_enum, value_name = "WHEN")]
    pub(crate) lock: Option<LockArg>,
    /// Report the refused calls that get an errno, too, each with its line, thread and remedy. The code sees
    /// the same. Each such call costs a stop of its thread, some 20 µs; 16 kinds of a call and 256 in all are
    /// kept (a kind: the call, the errno, the arguments that choose what it does), with how often they were
    /// made; the code gets no seccomp listener of its own
    #[arg(long)]
    pub(crate) explain: bool,
    /// Allow what the policy refuses, and write it as a trace to this file, for `policy new --base POLICY FILE`.
    /// The filter holds nobody then; all other layers hold. As the policy says stays what would open them:
    /// the calls that `policy lint` warns of (ptrace, mounts, namespaces, io_uring, bpf, keys …), seccomp,
    /// clone with namespaces, TIOCSTI, sockets but of AF_UNIX, AF_INET, AF_INET6 and AF_NETLINK, foreign entries
    /// (i386, x32), and where the tier has no namespaces IPC objects; clone3 gets ENOSYS. Not at tier landlock.
    /// Costs and bounds are those of --explain
    #[arg(long, value_name = "FILE", conflicts_with = "explain")]
    pub(crate) learn: Option<PathBuf>,
    /// Give the code this environment variable
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<OsString>,
    /// Give the code this file as its standard input [default: ours; nothing if the code comes by it]
    #[arg(long, value_name = "FILE")]
    pub(crate) stdin: Option<PathBuf>,
    /// Copy this file of the host into the code's work directory (/tmp, where it starts) under this name,
    /// which may have directories: data/one.csv. The copy belongs to the code; all of them together must fit
    /// in --tmp-size. Can be repeated
    #[arg(long, value_name = "NAME=PATH")]
    pub(crate) file: Vec<OsString>,
    /// Bring the files that the code leaves in its work directory into this directory, which must be new or
    /// empty, however the run ends. Only regular files that are new or changed, 4096 at most, and together no
    /// more than --tmp-size; what is left behind is named in a note
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Capture the output and print the outcome (callgate.outcome/1) as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Say where the run's time went, stage by stage, from callgate's own start to the last process's end and what
    /// comes after: a table on standard error; with --json `timings` in the outcome, in microseconds. Nothing is
    /// timed without it
    #[arg(long)]
    pub(crate) timings: bool,
    /// Say nothing about a run that went well
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
}

// What the run may use.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Kill everything after this many seconds
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
    /// Kill everything when its processes together have used this many seconds of CPU time
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) cpu: Option<Duration>,
    /// Memory of all processes together, with /tmp and shared memory, or `none` for no limit. Where there
    /// is no cgroup: the private memory of each process
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = size_or_none)]
    pub(crate) memory: Most,
    /// Processes and threads at once
    #[arg(long, value_name = "N", default_value_t = Limits::default().pids,
          value_parser = clap::value_parser!(u64).range(1..=4_194_304))]
    pub(crate) pids: u64,
    /// Open files of each process
    #[arg(long, value_name = "N", default_value_t = Limits::default().files,
          value_parser = clap::value_parser!(u64).range(3..=1_048_576))]
    pub(crate) files: u64,
    /// The size of each file that it writes
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = size)]
    pub(crate) file_size: u64,
    /// The size of /tmp and of /dev/shm. Not kept at tiers container and landlock, where they are on a disk
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = size)]
    pub(crate) tmp_size: u64,
    /// How much of each output stream is passed on; the rest is dropped, and the outcome says so
    /// [default: all, and of captured ones 16M]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) output_limit: Option<u64>,
}

impl ExecArgs {
    /// The policy that is asked for, or the one for what is run.
    pub(crate) fn policy(&self) -> &str {
        match (&self.policy, self.lang, self.net) {
            (Some(policy), _, _) => policy,
            (None, LangArg::Python, NetArg::None) => "python",
            (None, LangArg::Python, NetArg::Host) => "python-network",
            (None, LangArg::Node, NetArg::None) => "node",
            (None, LangArg::Node, NetArg::Host) => "node-network",
        }
    }
}

impl LimitArgs {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            cpu: self.cpu,
            memory: self.memory.0,
            pids: self.pids,
            files: self.files,
            file_size: self.file_size,
            tmp_size: self.tmp_size,
            output: self.output_limit,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LangArg {
    Python,
    Node,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetArg {
    None,
    Host,
}

impl NetArg {
    pub(crate) fn network(self) -> Network {
        match self {
            Self::None => Network::None,
            Self::Host => Network::Host,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LockArg {
    Body,
    Exec,
}

/// A size, or no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Most(pub(crate) Option<u64>);

fn size_or_none(word: &str) -> Result<Most, String> {
    if word == "none" {
        return Ok(Most(None));
    }
    let bytes = size(word).map_err(|error| format!("{error}, or `none`"))?;
    // Below that not even a loader gets going; and the kernel's own units are pages.
    if bytes < 1 << 20 {
        return Err("expected at least 1M".to_owned());
    }
    Ok(Most(Some(bytes)))
}

/// Bytes, or K, M or G of them.
pub(super) fn size(word: &str) -> Result<u64, String> {
    let wrong = || "expected a size: bytes, or a number with K, M or G (1024 each), such as 256M".to_owned();
    let (number, unit) = match word.char_indices().next_back() {
        Some((at, 'K' | 'k')) => (&word[..at], 1 << 10),
        Some((at, 'M' | 'm')) => (&word[..at], 1 << 20),
        Some((at, 'G' | 'g')) => (&word[..at], 1 << 30),
        _ => (word, 1),
    };
    // Not every text that parses as a number is one that people write: +5.
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let bytes = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit));
    match bytes {
        Some(0) => Err("expected more than 0 bytes".to_owned()),
        // The kernel counts in signed numbers.
        Some(bytes) if i64::try_from(bytes).is_ok() => Ok(bytes),
        _ => Err("that is more bytes than any machine has".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_are_positive() {
        for (word, bytes) in [
            ("1", 1),
            ("512", 512),
            ("4K", 4096),
            ("256M", 256 << 20),
            ("2g", 2 << 30),
        ] {
            assert_eq!(size(word), Ok(bytes), "{word}");
        }
        for bad in [
            "",
            "0",
            "0M",
            "-1",
            "+1",
            "1.5G",
            "M",
            "1MB",
            "1 M",
            "lots",
            "99999999999G",
            "9223372036854775808",
        ] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn memory_may_be_unlimited_but_not_next_to_nothing() {
        assert_eq!(size_or_none("none"), Ok(Most(None)));
        assert_eq!(size_or_none("1M"), Ok(Most(Some(1 << 20))));
        for bad in ["1023K", "some", "0"] {
            assert!(size_or_none(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_defaults_in_the_help_are_those_of_a_run() {
        let defaults = Limits::default();
        assert_eq!(size_or_none("1G"), Ok(Most(defaults.memory)));
        assert_eq!(size("1G"), Ok(defaults.file_size));
        assert_eq!(size("256M"), Ok(defaults.tmp_size));
    }
}
