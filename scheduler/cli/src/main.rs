//! The `durabletask-scheduler` program.

use std::process::ExitCode;

use clap::Parser as _;

/// Messages make many short-lived allocations, for which it is much faster than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    durabletask_scheduler_cli::run(durabletask_scheduler_cli::Cli::parse())
}
