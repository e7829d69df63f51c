//! The `callgate` binary: arguments, tables, progress, exit codes. The only crate that prints.
//!
//! Three steps: clap reads the words ([`args`]), a module of [`commands`] does the work through the
//! other crates, and what comes back is an exit code or a [`Failure`], printed once, here.

#[macro_use]
mod terminal;

mod allocator;
mod args;
mod commands;
mod failure;
mod files;
mod input;
mod interrupt;
mod kept;
mod output;
mod progress;
mod risks;
mod table;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command, RootCommand};
use crate::failure::Failure;

fn main() -> ExitCode {
    callgate_tracee::hear_signals();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return args::refuse(&error),
    };
    match run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code)
        }
    }
}

fn run(cli: Cli) -> Result<u8, Failure> {
    match cli.command {
        Command::Fit(args) => commands::fit::run(&args),
        Command::Dig(args) => commands::dig::run(&args),
        Command::Exec(args) => commands::exec::run(&args),
        Command::Policy(command) => commands::policy::run(&command),
        Command::Root(RootCommand::Build(args)) => commands::root::build(&args),
        Command::Root(RootCommand::Check(args)) => commands::root::check(&args),
        Command::Root(RootCommand::Prune(args)) => commands::prune::prune(&args),
        Command::Serve(args) => commands::serve::run(&args),
        Command::Doctor(args) => commands::doctor::run(&args),
    }
}
