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
    /// Create the tables in the database of --database-url, or bring them to this release; a front
    /// door or worker does that itself at its start if its user may
    Schema(Box<SchemaArgs>),
    /// From the data folder into the empty database of --database-url; if it is interrupted, run
    /// it again to finish
    ToDatabase(Box<ServeArgs>),
    /// From the database of --database-url into the data folder of one of its front doors; if it
    /// is interrupted, run it again to finish
    ToFolder(Box<ServeArgs>),
}

/// `migrate schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Let these users of the database, separated by commas, read and change what is in the
    /// tables, but not the tables; on Azure, create users for identities of these names
    #[arg(long, value_name = "USERS", value_delimiter = ',')]
    pub grant_to: Vec<String>,
    /// Where the database is, and how the output is printed.
    #[command(flatten)]
    pub serve: ServeArgs,
}
