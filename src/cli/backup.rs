//! `countersign backup`.

use clap::{Args, Subcommand};

use super::KeyPlace;

/// `backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// What to do with backups.
    #[command(subcommand)]
    pub command: BackupCommand,
}

/// What to do with backups.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Write the whole installation into a new file, as it is at one moment, while it runs
    Create {
        /// The new file
        file: String,
        /// Who can open it: a public key of `age-keygen`, age1...; may be repeated
        #[arg(long = "recipient", value_name = "KEY")]
        recipients: Vec<String>,
        /// File with an identity that opens it, as `age-keygen` writes it: then the file is opened
        /// again and checked as a whole
        #[arg(long, value_name = "FILE")]
        identity: Option<String>,
        /// Do not encrypt it: anyone who reads the file has the secrets of all accounts
        #[arg(long, requires = "clear", conflicts_with = "recipients")]
        unencrypted: bool,
        /// Say a second time that every secret may stand in the file in clear
        #[arg(
            long = "with-all-secrets-in-clear",
            id = "clear",
            requires = "unencrypted"
        )]
        clear: bool,
        /// The installation's folder.
        #[command(flatten)]
        place: KeyPlace,
    },
    /// Open a backup and check everything in it: each database, each account, the audit log
    Verify {
        /// The backup
        file: String,
        /// File with an identity that opens it, as `age-keygen` writes it
        #[arg(long, value_name = "FILE")]
        identity: Option<String>,
        /// A head of the audit log that was kept elsewhere: the backup must contain that entry
        #[arg(long, value_name = "SEQUENCE:HASH")]
        head: Option<String>,
        /// Print one JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// Restore an installation into a data folder that is empty or does not exist yet
    Restore {
        /// The backup
        file: String,
        /// File with an identity that opens it, as `age-keygen` writes it
        #[arg(long, value_name = "FILE")]
        identity: Option<String>,
        /// The folder for the installation.
        #[command(flatten)]
        place: KeyPlace,
    },
}
