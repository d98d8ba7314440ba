//! The `durabletask-scheduler` program.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    durabletask_scheduler_cli::run(durabletask_scheduler_cli::Cli::parse())
}
