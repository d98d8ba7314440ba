//! Commands that ask for what somebody else has to agree to, and those that use it.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::ServerArgs;

/// `request`.
#[derive(Debug, Args)]
pub struct RequestArgs {
    /// What to ask for.
    #[command(subcommand)]
    pub command: RequestCommand,
}

/// What to ask for.
#[derive(Debug, Subcommand)]
pub enum RequestCommand {
    /// Ask to read an account's codes for a while, which `token` then does
    Read {
        /// How many codes, 1 to 50 [default: 1]
        #[arg(long, value_name = "NUMBER")]
        reads: Option<u32>,
        /// For how long once somebody has agreed, such as 1h [default: 15m]
        #[arg(long = "for", value_name = "TIME")]
        time: Option<String>,
        /// What all kinds have.
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Ask for an account's URI and QR code, once, which `export` then writes down
    Export {
        /// For how long once somebody has agreed, such as 1h [default: 1h]
        #[arg(long = "for", value_name = "TIME")]
        time: Option<String>,
        /// What all kinds have.
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Ask to seal an account for another installation and take it out of use here; `export` then
    /// writes the package down
    Transfer {
        /// What `countersign seal-key` prints there
        #[arg(long, value_name = "KEY")]
        to: String,
        /// What all kinds have.
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Ask to delete an account for good: out of use at once, and destroyed later unless somebody
    /// stops it with `cancel`
    Delete {
        /// How long after somebody has agreed, such as 30d [default: 7d]
        #[arg(long, value_name = "TIME")]
        after: Option<String>,
        /// As soon as somebody has agreed: nobody can stop it then
        #[arg(long, conflicts_with = "after")]
        now: bool,
        /// What all kinds have.
        #[command(flatten)]
        ask: AskArgs,
    },
}

/// What every kind of `request` takes.
#[derive(Debug, Args)]
pub struct AskArgs {
    /// The account's name or id, or the beginning of either
    pub account: String,
    /// Why, for those who decide
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Do not wait: print the id and exit with code 4
    #[arg(long)]
    pub no_wait: bool,
    /// Repeat safely: the same key never asks twice
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The request's id, the beginning of it, or its account's name
    pub id: String,
    /// How an account is written down [default: uri]
    #[arg(long, value_enum)]
    pub format: Option<ExportFormat>,
    /// New file that only its owner can read, instead of standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// How an account that leaves is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Its otpauth:// URI.
    Uri,
    /// A QR code drawn with characters, to be scanned from a terminal.
    Qr,
    /// The QR code as a picture.
    Svg,
}

/// `receive`.
#[derive(Debug, Args)]
pub struct ReceiveArgs {
    /// What `countersign export` wrote of the transfer; - is standard input
    #[arg(value_name = "FILE|-")]
    pub source: String,
    /// Do not wait: print the id and exit with code 4
    #[arg(long)]
    pub no_wait: bool,
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `guard`.
#[derive(Debug, Args)]
pub struct GuardArgs {
    /// The account's name or id, or the beginning of either
    pub id: String,
    /// Let them be read without one again
    #[arg(long)]
    pub off: bool,
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `recovery-codes`.
#[derive(Debug, Args)]
pub struct RecoveryArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: RecoveryCommand,
}

/// What to do with an account's recovery codes.
#[derive(Debug, Subcommand)]
pub enum RecoveryCommand {
    /// Tell how many an account has, and how many of them were not given out yet
    Count {
        /// The account's name or id, or the beginning of either
        id: String,
        /// Which server, and as whom.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Print one that was not given out yet: it is never given out again
    Take {
        /// The account's name or id, or the id of a granted request to read its codes
        id: String,
        /// Which server, and as whom.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Set them, in place of any others
    Set {
        /// File with the codes, one a line; - is standard input
        #[arg(value_name = "FILE")]
        file: String,
        /// What all requests have.
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Remove all of them
    Remove {
        /// What all requests have.
        #[command(flatten)]
        ask: AskArgs,
    },
}
