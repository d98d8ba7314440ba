//! The `countersign` program.

use std::process::ExitCode;

/// Requests make many short-lived allocations, for which it is much faster than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match countersign::cli::Cli::from_arguments() {
        Ok(cli) => countersign::commands::run(cli),
        Err(exit) => exit,
    }
}
