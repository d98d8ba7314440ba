//! `countersign migrate`.

use clap::{Args, Subcommand};

use super::ServeArgs;

/// `migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// What to move where.
    #[command(subcommand)]
    pub command: MigrateCommand,
}

/// What to move where.
#[derive(Debug, Subcommand)]
pub enum MigrateCommand {
    /// Create the tables in the database of --database-url, or upgrade them to this release; front
    /// doors and workers do that themselves when they start, if their user may
    Schema(Box<SchemaArgs>),
    /// Move the installation from the data folder into the empty database of --database-url; if
    /// it is interrupted, run it again to finish
    ToDatabase(Box<ServeArgs>),
    /// Move the installation from the database of --database-url into the data folder of one of
    /// its front doors; if it is interrupted, run it again to finish
    ToFolder(Box<ServeArgs>),
}

/// `migrate schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Let these database users, separated by commas, read and change the rows of the tables, but
    /// not the tables themselves; on Azure, create missing users for the identities of these names
    #[arg(long, value_name = "USERS", value_delimiter = ',')]
    pub grant_to: Vec<String>,
    /// Where the database is, and how the output is printed.
    #[command(flatten)]
    pub serve: ServeArgs,
}
