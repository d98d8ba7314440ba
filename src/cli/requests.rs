//! Commands that request what another person must approve, and those that use it.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::ServerArgs;

/// `request`.
#[derive(Debug, Args)]
pub struct RequestArgs {
    /// What to request.
    #[command(subcommand)]
    pub command: RequestCommand,
}

/// What to request.
#[derive(Debug, Subcommand)]
pub enum RequestCommand {
    /// Request to read an account's codes for a while; `token` then reads them
    Read {
        /// How many codes, 1 to 50 [default: 1]
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=50))]
        reads: Option<u32>,
        /// For how long after the approval, such as 1h [default: 15m]
        #[arg(long = "for", value_name = "TIME")]
        time: Option<String>,
        /// Arguments of every kind.
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Request an account's URI and QR code, once; `export` then prints it
    Export {
        /// For how long after the approval, such as 1h [default: 1h]
        #[arg(long = "for", value_name = "TIME")]
        time: Option<String>,
        /// Arguments of every kind.
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Request to seal an account for another installation and disable it here; `export` then
    /// prints the package
    Transfer {
        /// The output of `countersign seal-key` on that installation
        #[arg(long, value_name = "KEY")]
        to: String,
        /// Arguments of every kind.
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Request to delete an account permanently: disabled at once, and destroyed later unless
    /// someone stops it with `cancel`
    Delete {
        /// How long after the approval, such as 30d [default: 7d]
        #[arg(long, value_name = "TIME")]
        after: Option<String>,
        /// Immediately after the approval: it cannot be stopped
        #[arg(long, conflicts_with = "after")]
        now: bool,
        /// Arguments of every kind.
        #[command(flatten)]
        ask: AskArgs,
    },
}

/// Arguments of every kind of `request`.
#[derive(Debug, Args)]
pub struct AskArgs {
    /// The account's name or id, or the beginning of either
    #[arg(value_name = "ACCOUNT")]
    pub account: String,
    /// The reason, for the approvers
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Do not wait: print the id and exit with code 4
    #[arg(long)]
    pub no_wait: bool,
    /// Makes retrying safe: the same key never makes a second request
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
    #[arg(value_name = "REQUEST")]
    pub id: String,
    /// The form in which an account is printed [default: uri]
    #[arg(long, value_enum)]
    pub format: Option<ExportFormat>,
    /// New file that only its owner can read, instead of standard output; recovery codes are
    /// written to FILE.recovery-codes
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// The form of an exported account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Its otpauth:// URI.
    Uri,
    /// A QR code drawn with characters, to be scanned from a terminal.
    Qr,
    /// The QR code as an image.
    Svg,
}

/// `receive`.
#[derive(Debug, Args)]
pub struct ReceiveArgs {
    /// The package that `countersign export` printed; - is standard input
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
    #[arg(value_name = "ACCOUNT")]
    pub id: String,
    /// Remove this requirement
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
    /// Count an account's recovery codes, and those that are unused
    Count {
        /// The account's name or id, or the beginning of either
        #[arg(value_name = "ACCOUNT")]
        id: String,
        /// Which server, and as whom.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Print an unused one, which is then used: it is never given out again
    Take {
        /// The account's name or id, or the id of a granted request to read its codes
        #[arg(value_name = "ACCOUNT|REQUEST")]
        id: String,
        /// Which server, and as whom.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Set them, replacing any others
    Set {
        /// File with the codes, one per line; - is standard input
        #[arg(value_name = "FILE")]
        file: String,
        /// Arguments of every request.
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Remove all of them
    Remove {
        /// Arguments of every request.
        #[command(flatten)]
        ask: AskArgs,
    },
}
