//! The `durabletask-scheduler` program.

use std::process::ExitCode;

use clap::Parser as _;

/// Messages allocate much and briefly, in which it is far ahead of the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    durabletask_scheduler_cli::run(durabletask_scheduler_cli::Cli::parse())
}
