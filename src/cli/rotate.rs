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
    /// The key that the vault in the data folder encrypts accounts with; cut off, run it again and
    /// it goes on
    VaultKey {
        /// The installation's folder.
        #[command(flatten)]
        place: KeyPlace,
    },
    /// The key that front doors seal images and links with, in the data folder or the vault for
    /// keys; what was sealed before opens as before. Cut off, run it again and it goes on
    SealKey(Box<ServeArgs>),
    /// The administrator's token in the data folder, which is printed once; browser sessions of the
    /// administrator end
    AdminToken {
        /// For how long the token before works, such as 1h; 0s is not at all
        #[arg(long, value_name = "TIME", default_value = "1h")]
        overlap: String,
        /// The installation's folder.
        #[command(flatten)]
        place: KeyPlace,
    },
    /// The key in the data folder that notices are signed with, which is printed once
    WebhookSecret {
        /// For how long notices are signed with the key before too, such as 1d; 0s is not at all
        #[arg(long, value_name = "TIME", default_value = "1d")]
        overlap: String,
        /// The installation's folder.
        #[command(flatten)]
        place: KeyPlace,
    },
}
