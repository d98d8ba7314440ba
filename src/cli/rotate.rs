//! `countersign rotate`.

use clap::{Args, Subcommand};

use super::KeyPlace;

/// `rotate`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// Which secret gets another value.
    #[command(subcommand)]
    pub command: RotateCommand,
}

/// Which secret gets another value.
#[derive(Debug, Subcommand)]
pub enum RotateCommand {
    /// The key that the vault in the data folder encrypts accounts with; cut off, run it again and
    /// it goes on
    VaultKey {
        /// Where the installation is.
        #[command(flatten)]
        place: KeyPlace,
    },
}
