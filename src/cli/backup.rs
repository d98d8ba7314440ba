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
    /// Back up the whole installation to a new file, as of one moment, while it runs
    Create {
        /// The new file
        file: String,
        /// Public key that can decrypt the backup, as `age-keygen` prints it (age1...); may be
        /// repeated
        #[arg(long = "recipient", value_name = "KEY")]
        recipients: Vec<String>,
        /// File with the private key, as `age-keygen` writes it: the finished backup is then
        /// decrypted and verified
        #[arg(long, value_name = "FILE")]
        identity: Option<String>,
        /// Do not encrypt it: anyone who can read the file gets the secrets of all accounts
        #[arg(long, requires = "clear", conflicts_with = "recipients")]
        unencrypted: bool,
        /// Confirm that the file may contain every secret unencrypted
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
    /// Check a backup: every database, every account, the audit log
    Verify {
        /// The backup
        file: String,
        /// File with the private key that decrypts it, as `age-keygen` writes it
        #[arg(long, value_name = "FILE")]
        identity: Option<String>,
        /// A head of the audit log that was kept elsewhere: the backup must contain that entry
        #[arg(long, value_name = "SEQUENCE:HASH")]
        head: Option<String>,
        /// Print one JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// Restore an installation into a data folder that is empty or does not exist; with
    /// COUNTERSIGN_DATABASE_URL, into that empty database, and the keys into the folder
    Restore {
        /// The backup
        file: String,
        /// File with the private key that decrypts it, as `age-keygen` writes it
        #[arg(long, value_name = "FILE")]
        identity: Option<String>,
        /// The folder for the installation.
        #[command(flatten)]
        place: KeyPlace,
    },
}
