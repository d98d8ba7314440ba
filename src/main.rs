//! The `countersign` program.

use std::process::ExitCode;

/// Requests allocate much and briefly, in which it is far ahead of the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match countersign::cli::Cli::from_arguments() {
        Ok(cli) => countersign::commands::run(cli),
        Err(exit) => exit,
    }
}
