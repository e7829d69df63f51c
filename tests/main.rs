//! End-to-end tests of the `callgate` binary: real kernel, real Python, real oracles.
//!
//! Where to look:
//! - [`contract`]: help, exit codes, JSON keys, bad input, broken pipes;
//! - [`dig`]: recordings against `strace -f`, threads, forks, execs, signals, time limits;
//! - [`recordings`]: `dig show|merge|import` and `--runs`: traces united, strace's and audit's read;
//! - [`parsers`]: whatever bytes a parser gets, it ends with an error that names a place (see `fuzz/`);
//! - [`policy`]: new, diff, emit; the emitted files under crun and `bwrap --seccomp`;
//! - [`exec`]: what the code sees, violations, limits, ends, for scripts and commands;
//! - [`root`]: the root that a trace makes: its probe runs in it, nothing else is in it;
//! - [`serve`]: the HTTP front: answers, configuration, limits, the end, what it holds against; the deploy pages;
//! - [`setup`]: each set-up step made to fail: the code never runs;
//! - [`fit`]: every probe in `probes/`, the round trip on numpy, what is needed (`--minimise`);
//! - [`workbench`]: verify, disasm, numbers, explain, lint and the rest of the policy workbench;
//! - [`versions`]: the newer CPythons, in `dig`, `exec` and `serve`, and one whose layout is not known;
//! - [`support`]: how the tests call the binary, and what they need of the machine.

// Helpers beside the tests state what must hold, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod contract;
mod dig;
mod exec;
mod fit;
mod parsers;
mod policy;
mod recordings;
mod root;
mod serve;
mod setup;
mod support;
mod versions;
mod workbench;
