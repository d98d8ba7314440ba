//! `countersign migrate`.

use clap::{Args, Subcommand};

use super::ServeArgs;

/// `migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Where to.
    #[command(subcommand)]
    pub command: MigrateCommand,
}

/// Where to move the installation.
#[derive(Debug, Subcommand)]
pub enum MigrateCommand {
    /// Move the installation from the data folder into the empty database of --database-url; if
    /// it is interrupted, run it again to finish
    ToDatabase(Box<ServeArgs>),
    /// Move the installation from the database of --database-url into the data folder of one of
    /// its front doors; if it is interrupted, run it again to finish
    ToFolder(Box<ServeArgs>),
}
