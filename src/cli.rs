//! The command line as typed.

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::access::{Group, Role};
use crate::audit::Action;
use crate::config::Settings;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  something failed; standard error says what and what to try
  2  the command line or a setting is wrong
  3  the enrollment ended otherwise than enrolled (invalid, rejected, expired, failed, terminated)
  4  the enrollment still runs, or waits for approval
  5  no such enrollment or account
  6  not allowed";

/// A server-side TOTP authenticator for teams and automation, with durable
/// enrollment and approval.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, about, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process: front door, worker, scheduler, dashboard
    Serve(ServeArgs),
    /// Run the HTTP front door alone, against a task hub given by --connection-string
    FrontDoor(ServeArgs),
    /// Run a worker alone, against a task hub given by --connection-string
    Worker(ServeArgs),
    /// Run the durable scheduler and its dashboard alone, or back it up
    Scheduler(Box<SchedulerArgs>),
    /// Enroll an account from a QR picture or an otpauth:// URI and wait for the end
    #[command(after_help = EXIT_CODES)]
    Enroll(EnrollArgs),
    /// Enroll many accounts from other programs' exports, lists of URIs and QR pictures
    #[command(after_help = EXIT_CODES)]
    Import(ImportArgs),
    /// Show an enrollment
    Status(StatusArgs),
    /// Print an account's present code
    Token(TokenArgs),
    /// Approve an enrollment or a request that waits for it
    Approve(DecideArgs),
    /// Reject an enrollment or a request that waits for approval
    Reject(DecideArgs),
    /// List accounts, or enrollments with --enrollments
    List(ListArgs),
    /// Check and export the record of who did what, in the data folder
    Audit(AuditArgs),
    /// Say which accounts callers with granted accounts only may read, until when and how often
    Grant(GrantArgs),
    /// Make, list and revoke API keys in the data folder; a running server notices at once
    Key(KeyArgs),
    /// Give agents tools to list accounts and get codes, by the Model Context Protocol on
    /// standard input and output
    Mcp(McpArgs),
    /// Tell whether a front door is ready, for health checks of containers
    Health(ServerArgs),
    /// Print the description of the HTTP API (OpenAPI 3.1) as JSON
    Openapi,
    /// Check the settings
    Config(ConfigArgs),
}

/// `serve` and the single parts.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The settings that flags give.
    #[command(flatten)]
    pub settings: Settings,
    /// Print what was started, or found, as one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `scheduler`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SchedulerArgs {
    /// TOML file with the settings of `serve`, for what the flags leave open [env: COUNTERSIGN_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
    /// The scheduler's own settings.
    #[command(flatten)]
    pub serve: durabletask_scheduler_cli::ServeArgs,
    /// What to do instead of running.
    #[command(subcommand)]
    pub command: Option<durabletask_scheduler_cli::Command>,
}

/// Which server a command talks to, and as whom.
#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    /// Base URL of the front door [env: COUNTERSIGN_SERVER] [default: the server that runs on the data folder]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// Token or key to present; others on this machine can see it in the process list, so prefer
    /// the variable [env: COUNTERSIGN_TOKEN] [default: the data folder's admin-token]
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Folder in which a server runs [env: COUNTERSIGN_DATA_DIR] [default: ./.countersign]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Print one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Whether an enrollment needs a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ApprovalArg {
    /// Another caller has to approve it.
    Required,
}

/// `enroll`.
#[derive(Debug, Args)]
pub struct EnrollArgs {
    /// Picture file, otpauth:// URI, or - to read either from standard input, which keeps a URI
    /// out of the shell's history and the process list
    #[arg(value_name = "FILE|URI|-")]
    pub source: String,
    /// Ask for approval by another caller
    #[arg(long, value_enum)]
    pub approval: Option<ApprovalArg>,
    /// Do not wait: print the id and exit with code 4
    #[arg(long)]
    pub no_wait: bool,
    /// Repeat safely: the same key never enrolls twice
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Files: lists of otpauth:// URIs, exports of Aegis, 2FAS or Bitwarden, Key Vault entries,
    /// pictures of QR codes (all parts of a Google Authenticator export together); - is standard
    /// input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<String>,
    /// Only tell what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Enroll only the accounts at these positions, such as 1,3-5
    #[arg(long, value_name = "POSITIONS")]
    pub pick: Option<String>,
    /// File with the password of an encrypted export
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<String>,
    /// Ask for approval of each account by another caller
    #[arg(long, value_enum)]
    pub approval: Option<ApprovalArg>,
    /// Do not wait: print the id and exit with code 4
    #[arg(long)]
    pub no_wait: bool,
    /// Repeat safely: the same key never starts a second import
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The enrollment's id, such as totp-0f8b...
    pub id: String,
    /// Wait for the end, or until approval is needed
    #[arg(long)]
    pub wait: bool,
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `token`.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// The account's id, which is its enrollment's
    pub id: String,
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `approve` and `reject`.
#[derive(Debug, Args)]
pub struct DecideArgs {
    /// The enrollment's or request's id
    pub id: String,
    /// Why; kept with the enrollment
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// List enrollments, newest first, instead of accounts
    #[arg(long)]
    pub enrollments: bool,
    /// Only enrollments in this stage, such as AwaitingApproval
    #[arg(long, value_name = "STAGE", requires = "enrollments")]
    pub stage: Option<String>,
    /// Only accounts whose issuer or name contains this
    #[arg(long, value_name = "TEXT", conflicts_with = "enrollments")]
    pub search: Option<String>,
    /// Only accounts of this group
    #[arg(long, value_name = "NAME", conflicts_with = "enrollments")]
    pub group: Option<String>,
    /// Only accounts with this tag
    #[arg(long, value_name = "TAG", conflicts_with = "enrollments")]
    pub tag: Option<String>,
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

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
    /// Make a key for a caller and print it once
    Create {
        /// The caller's name, kept with what it starts and decides
        name: String,
        /// What it may do
        #[arg(long, value_enum)]
        role: Role,
        /// How long it works, such as 30d [default: until it is revoked]
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        /// Let it read only the accounts that `countersign grant add` grants to it or its groups
        #[arg(long)]
        granted_only: bool,
        /// Put it into a group, for approvals and grants; may be repeated
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<Group>,
        /// Where the keys are.
        #[command(flatten)]
        place: KeyPlace,
    },
    /// List the keys, without their secrets
    List {
        /// Where the keys are.
        #[command(flatten)]
        place: KeyPlace,
    },
    /// Make a key stop to work
    Revoke {
        /// The caller's name
        name: String,
        /// Where the keys are.
        #[command(flatten)]
        place: KeyPlace,
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
    /// Let a caller or a group read an account, in place of what it was granted before
    Add {
        /// The caller's name, or the group's with --group
        name: String,
        /// The account's id
        account: String,
        /// For how long, such as 8h [default: for ever]
        #[arg(long = "for", value_name = "TIME")]
        time: Option<String>,
        /// How many codes it may read [default: as many as it wants]
        #[arg(long, value_name = "NUMBER")]
        reads: Option<u32>,
        /// NAME is a group: all callers in it share the grant and its reads
        #[arg(long)]
        group: bool,
        /// Where the keys are.
        #[command(flatten)]
        place: KeyPlace,
    },
    /// List what is granted to whom
    List {
        /// Where the keys are.
        #[command(flatten)]
        place: KeyPlace,
    },
    /// Take a grant back
    Remove {
        /// The caller's name, or the group's with --group
        name: String,
        /// The account's id
        account: String,
        /// NAME is a group
        #[arg(long)]
        group: bool,
        /// Where the keys are.
        #[command(flatten)]
        place: KeyPlace,
    },
}

/// `mcp`.
#[derive(Debug, Args)]
pub struct McpArgs {
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// What to do with the record.
    #[command(subcommand)]
    pub command: AuditCommand,
}

/// What to do with the audit record.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Check that nobody has changed the record, and print its head: keep that elsewhere to
    /// notice entries cut off its end
    Verify {
        /// Where the record is.
        #[command(flatten)]
        place: KeyPlace,
    },
    /// Print the record's entries, oldest first, one a line
    Export {
        /// How a line looks
        #[arg(long, value_enum, default_value_t = AuditFormat::Jsonl)]
        format: AuditFormat,
        /// Only what this caller did
        #[arg(long, value_name = "NAME")]
        caller: Option<String>,
        /// Only what was done to this account, enrollment or key
        #[arg(long, value_name = "ID")]
        subject: Option<String>,
        /// Only this kind
        #[arg(long, value_enum)]
        action: Option<Action>,
        /// Only entries after this place
        #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
        after: u64,
        /// Where the record is.
        #[command(flatten)]
        place: KeyPlace,
    },
}

/// How a line of an export looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AuditFormat {
    /// JSON, one document a line.
    Jsonl,
    /// Common Event Format, version 0.
    Cef,
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
    /// Show what the settings come to, without secrets, and try task hub and vault
    Check(ServeArgs),
}

/// Where the keys are.
#[derive(Debug, Args)]
pub struct KeyPlace {
    /// Data folder of the server [env: COUNTERSIGN_DATA_DIR] [default: ./.countersign]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Print one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
