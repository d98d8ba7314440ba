//! Commands on the data folder: keys, grants, the audit log and the settings.

use clap::{Args, Subcommand, ValueEnum};

use super::{ServeArgs, ServerArgs};
use crate::access::{Group, Role};
use crate::audit::Action;

/// `key`.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// What to do with keys.
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Create a key for a caller, and print it once
    Create {
        /// The caller's name, which is recorded with everything it does
        name: String,
        /// What it may do
        #[arg(long, value_enum)]
        role: Role,
        /// How long it is valid, such as 30d [default: until it is revoked]
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        /// Limit it to accounts that `countersign grant add` grants to it or its groups
        #[arg(long)]
        granted_only: bool,
        /// Put it into a group, for approvals and grants; may be repeated
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<Group>,
        /// Which server's keys, and as whom.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List the keys, without their secrets
    List {
        /// Which server's keys, and as whom.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Replace a key under the same name; the old one stays valid for a while
    Rotate {
        /// The caller's name
        name: String,
        /// How long the old key stays valid, such as 1d; 0s revokes it immediately [default: 1h]
        #[arg(long, value_name = "TIME")]
        overlap: Option<String>,
        /// Which server's keys, and as whom.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Revoke a key
    Revoke {
        /// The caller's name
        name: String,
        /// Which server's keys, and as whom.
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// `grant`.
#[derive(Debug, Args)]
pub struct GrantArgs {
    /// What to do with grants.
    #[command(subcommand)]
    pub command: GrantCommand,
}

/// What to do with grants.
#[derive(Debug, Subcommand)]
pub enum GrantCommand {
    /// Let a caller or a group read an account; replaces an earlier grant
    Add {
        /// The caller's name, or the group's with --group
        name: String,
        /// The account's name or id, or the beginning of either
        account: String,
        /// For how long, such as 8h [default: permanently]
        #[arg(long = "for", value_name = "TIME")]
        time: Option<String>,
        /// How many codes it may read [default: unlimited]
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
        reads: Option<u32>,
        /// NAME is a group whose members share the grant and its reads
        #[arg(long)]
        group: bool,
        /// Which server's keys, and as whom.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List all grants
    List {
        /// Which server's keys, and as whom.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove a grant
    Remove {
        /// The caller's name, or the group's with --group
        name: String,
        /// The account's id, which may no longer exist; or its name, or the beginning of either
        account: String,
        /// NAME is a group
        #[arg(long)]
        group: bool,
        /// Which server's keys, and as whom.
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// What to do with the audit log.
    #[command(subcommand)]
    pub command: AuditCommand,
}

/// What to do with the audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Check that the audit log was neither changed nor truncated, and print its head; changes
    /// nothing
    Verify {
        /// A head that was printed earlier and kept elsewhere: the audit log must have that entry
        #[arg(long, value_name = "SEQUENCE:HASH")]
        head: Option<String>,
        /// An archive of earlier entries; repeat it for each archive, from the first on
        #[arg(long = "archive", value_name = "FILE")]
        archives: Vec<std::path::PathBuf>,
        /// Where the audit log is.
        #[command(flatten)]
        place: KeyPlace,
    },
    /// Accept that entries are missing, and continue the audit log from where it ends now; this is
    /// recorded
    AcceptLoss {
        /// The reason for continuing without them
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Where the audit log is.
        #[command(flatten)]
        place: KeyPlace,
    },
    /// Move old entries into a new file, which can be verified by itself; this is recorded
    Archive {
        /// The new file
        file: std::path::PathBuf,
        /// How old an entry has to be, such as 365d
        #[arg(long, value_name = "TIME")]
        older_than: String,
        /// Where the audit log is.
        #[command(flatten)]
        place: KeyPlace,
    },
    /// Print the entries, oldest first, one per line
    Export {
        /// The form of a line
        #[arg(long, value_enum, default_value_t = AuditFormat::Jsonl)]
        format: AuditFormat,
        /// Only entries of this caller: a key's name, admin, local, worker, or an issuer's caller
        #[arg(long, value_name = "NAME")]
        caller: Option<String>,
        /// Only entries about this account, enrollment, request or key, by id or name
        #[arg(long, value_name = "ID|NAME")]
        subject: Option<String>,
        /// Only entries from this time on: 2026-01-31, 2026-01-31T12:00:00Z, or how long ago, such
        /// as 7d
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Only entries before this time
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// Only this action
        #[arg(long, value_enum)]
        action: Option<Action>,
        /// Only entries after this one
        #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
        after: u64,
        /// Where the audit log is.
        #[command(flatten)]
        place: KeyPlace,
    },
}

/// The format of an export's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AuditFormat {
    /// JSON, one document per line.
    Jsonl,
    /// Common Event Format, version 0.
    Cef,
}

/// `ledger`.
#[derive(Debug, Args)]
pub struct LedgerArgs {
    /// What to do with the ledger.
    #[command(subcommand)]
    pub command: LedgerCommand,
}

/// What to do with the ledger.
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Let the parts start although the folder's ledger is missing or was replaced: what was in
    /// progress is refused and has to be submitted again, and recovery codes that were given out
    /// may be given out again; this is recorded
    AcceptLoss {
        /// The reason for continuing without it
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Where the ledger was.
        #[command(flatten)]
        place: KeyPlace,
    },
}

/// `mandate-key`.
#[derive(Debug, Args)]
pub struct MandateKeyArgs {
    /// What to do with mandate keys.
    #[command(subcommand)]
    pub command: MandateKeyCommand,
}

/// What to do with mandate keys.
#[derive(Debug, Subcommand)]
pub enum MandateKeyCommand {
    /// Create a new key and sign with it from now on; what the old one signed stays valid until it
    /// is retired
    Rotate {
        /// Confirm that every machine on the shared database has copies of this folder's
        /// mandate.pub and, for a front door, mandate.key with the new key, which the first run
        /// without this flag creates
        #[arg(long)]
        copied: bool,
        /// Where the keys are.
        #[command(flatten)]
        args: ServeArgs,
    },
    /// Retire a key: nothing that it signed is valid any longer, even if it is in progress
    Retire {
        /// The key's id
        id: String,
        /// Where the keys are.
        #[command(flatten)]
        args: ServeArgs,
    },
    /// List the keys
    List(ServeArgs),
}

/// `config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What to do with the settings.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What to do with the settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the effective configuration without secrets, and check everything that a start
    /// would open: files, addresses, issuer, task hub and vault
    Check(ServeArgs),
}

/// Where the keys are.
#[derive(Debug, Args)]
pub struct KeyPlace {
    /// The server's data folder [env: COUNTERSIGN_DATA_DIR] [default: ./.countersign]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Print one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

impl From<&ServerArgs> for KeyPlace {
    fn from(args: &ServerArgs) -> Self {
        Self {
            data_dir: args.at.data_dir.clone(),
            json: args.json,
        }
    }
}
