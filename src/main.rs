//! The `countersign` program.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    countersign::commands::run(countersign::cli::Cli::parse())
}
