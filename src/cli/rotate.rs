//! `countersign rotate`.

use clap::{Args, Subcommand};

use super::{KeyPlace, ServeArgs};

/// `rotate`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// Which secret to rotate.
    #[command(subcommand)]
    pub command: RotateCommand,
}

/// Which secret to rotate.
#[derive(Debug, Subcommand)]
pub enum RotateCommand {
    /// Rotate the key that encrypts accounts in the data folder's vault or the shared database;
    /// if it is interrupted, run it again to continue
    VaultKey {
        /// Confirm that every machine on the shared database has a copy of this folder's
        /// vault.key with the new key, which the first run without this flag creates
        #[arg(long)]
        copied: bool,
        /// Write the new key in clear although COUNTERSIGN_VAULT_KEY_WRAPPED_BY names a key that
        /// wraps it; the setting can be removed afterwards
        #[arg(long)]
        in_clear: bool,
        /// The installation's folder.
        #[command(flatten)]
        place: KeyPlace,
    },
    /// Rotate the key that front doors seal images and links with, in the data folder or the
    /// vault for keys; what was sealed before can still be opened. If it is interrupted, run it
    /// again to continue
    SealKey {
        /// Confirm that every machine with a worker on the shared database has a copy of this
        /// folder's seal.key with the new key, which the first run without this flag creates
        #[arg(long)]
        copied: bool,
        /// The installation's settings.
        #[command(flatten)]
        args: Box<ServeArgs>,
    },
    /// Rotate the front doors' key, which chains the audit log, signs browser sessions and proves
    /// the server to commands; what earlier keys have chained can still be verified. If it is
    /// interrupted, run it again to continue
    ServerKey {
        /// How long browser sessions that were signed with the old key stay valid, such as 12h;
        /// 0s ends them immediately
        #[arg(long, value_name = "TIME", default_value = "12h")]
        overlap: String,
        /// Confirm that every machine with a front door on the shared database has a copy of this
        /// folder's server.key with the new key, which the first run without this flag creates
        #[arg(long)]
        copied: bool,
        /// The installation's settings.
        #[command(flatten)]
        args: Box<ServeArgs>,
    },
    /// Replace the admin token in the data folder; the new one is printed once, and the
    /// administrator's browser sessions end
    AdminToken {
        /// How long the old token stays valid, such as 1h; 0s revokes it immediately
        #[arg(long, value_name = "TIME", default_value = "1h")]
        overlap: String,
        /// The installation's folder.
        #[command(flatten)]
        place: KeyPlace,
    },
    /// Rotate the key in the data folder that notices are signed with; the new one is printed
    /// once
    WebhookSecret {
        /// How long notices are also signed with the old key, such as 1d; 0s stops immediately
        #[arg(long, value_name = "TIME", default_value = "1d")]
        overlap: String,
        /// The installation's folder.
        #[command(flatten)]
        place: KeyPlace,
    },
}
