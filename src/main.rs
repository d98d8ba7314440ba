//! The `countersign` program.

use std::process::ExitCode;

use clap::Parser as _;

/// Requests allocate much and briefly, in which it is far ahead of the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    countersign::commands::run(countersign::cli::Cli::parse())
}
