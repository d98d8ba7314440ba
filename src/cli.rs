//! The command line as typed.

mod accounts;
mod backup;
mod help;
mod migrate;
mod operators;
mod requests;
mod rotate;
mod wrong;

use std::process::ExitCode;

use clap::{Args, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::config::Settings;

pub use accounts::{GroupArgs, ListArgs, ProveArgs, RenameArgs, TagArgs, TokenArgs, VerifyArgs};
pub use backup::{BackupArgs, BackupCommand};
pub use help::{CompletionsArgs, ManArgs, command};
pub use migrate::{MigrateArgs, MigrateCommand, SchemaArgs};
pub use operators::{
    AuditArgs, AuditCommand, AuditFormat, ConfigArgs, ConfigCommand, GrantArgs, GrantCommand,
    KeyArgs, KeyCommand, KeyPlace, LedgerArgs, LedgerCommand, MandateKeyArgs, MandateKeyCommand,
};
pub use requests::{
    AskArgs, ExportArgs, ExportFormat, GuardArgs, ReceiveArgs, RecoveryArgs, RecoveryCommand,
    RequestArgs, RequestCommand,
};
pub use rotate::{RotateArgs, RotateCommand};
pub(crate) use wrong::looks_secret;

const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  failure; standard error says what failed and what to do
  2  the command line or a setting is wrong
  3  an enrollment or request ended without success: invalid, rejected, expired, failed, terminated
  4  an enrollment or request is running or waits for approval; a new key waits to be copied
  5  no such enrollment, account, request or audit log
  6  not allowed
  7  entries are missing from the audit log
  8  another program, or the server of another data folder, is listening at the server's address
  9  the front door waited too long for a worker to create the keys that it needs
 10  the data folder does not exist, or no server has run on it
 11  this user cannot read or write the data folder or a file in it
 12  the name matches several accounts, enrollments or requests; they are listed
 13  the code that was checked is not valid";

/// The widest that help is, in columns.
const WIDTH: usize = 100;

/// The version, and the commit and day that it was built from where that is known.
const VERSION: &str = env!("BUILT_VERSION");

/// A server-side TOTP authenticator for teams and automation, with durable
/// enrollment and approval.
#[derive(Debug, Parser)]
#[command(name = "countersign", version = VERSION, about, after_help = EXIT_CODES, max_term_width = WIDTH)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads the command line.
    ///
    /// # Errors
    ///
    /// The exit code: help was requested, or the command line is wrong, which is reported
    /// without repeating anything that looks like a secret.
    pub fn from_arguments() -> Result<Self, ExitCode> {
        let parsed = command().try_get_matches();
        parsed
            .and_then(|matches| Self::from_arg_matches(&matches))
            .map_err(|error| wrong::tell(&error))
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process: front door, worker, scheduler, dashboard
    Serve(ServeArgs),
    /// Run only the HTTP front door, against the task hub of --connection-string
    FrontDoor(ServeArgs),
    /// Run only a worker, against the task hub of --connection-string
    Worker(ServeArgs),
    /// Run only the durable scheduler and its dashboard, or back it up
    Scheduler(Box<SchedulerArgs>),
    /// Enroll an account from a QR image or an otpauth:// URI, and wait for the result
    Enroll(EnrollArgs),
    /// Enroll many accounts from other apps' exports, lists of URIs and QR images
    Import(ImportArgs),
    /// Show an enrollment or a request, or follow it
    Status(StatusArgs),
    /// Print an account's current code, or one that a request has granted
    Token(TokenArgs),
    /// Approve a pending enrollment or request
    Approve(DecideArgs),
    /// Reject a pending enrollment or request
    Reject(DecideArgs),
    /// Stop a running enrollment or import, withdraw a request, or stop a removal
    Cancel(CancelArgs),
    /// List accounts, enrollments with --enrollments, or requests with --requests
    List(ListArgs),
    /// Request to read an account's codes, or to export, transfer or delete it, which another
    /// person must approve
    Request(RequestArgs),
    /// Print what an approved request released: an account's URI or QR code, once, or the package
    /// for another installation
    Export(ExportArgs),
    /// Add an account that another installation has transferred
    Receive(ReceiveArgs),
    /// Print the key that other installations need to transfer accounts to this one
    SealKey(ServerArgs),
    /// Remove an account; `restore` brings it back
    Remove(AccountArgs),
    /// Bring a removed account back
    Restore(AccountArgs),
    /// Require an approved request for each reading of an account's codes
    Guard(GuardArgs),
    /// Count, take and set an account's recovery codes
    RecoveryCodes(RecoveryArgs),
    /// Rename an account
    Rename(RenameArgs),
    /// Move an account to a group, or out of its group
    Group(GroupArgs),
    /// Add tags to an account, or remove them
    Tag(TagArgs),
    /// Check a code: exit code 13 if it is not valid
    Verify(VerifyArgs),
    /// Show the codes that prove an account to another service, and report whether it accepted them
    Prove(ProveArgs),
    /// Check and export the audit log in the data folder
    Audit(AuditArgs),
    /// Back up the whole installation while it runs, check a backup, and restore one; on the host
    /// only
    Backup(BackupArgs),
    /// Move the installation from its data folder into a PostgreSQL database that several front
    /// doors share, or back; on the host only, while nothing of it runs
    Migrate(MigrateArgs),
    /// Manage which accounts callers limited to granted accounts may read, until when and how often
    Grant(GrantArgs),
    /// Create, list, rotate and revoke API keys in the data folder; a running server notices immediately
    Key(KeyArgs),
    /// Rotate, retire and list the keys that sign mandates; running parts reload them
    MandateKey(Box<MandateKeyArgs>),
    /// Rotate secrets of the installation while it runs
    Rotate(RotateArgs),
    /// Accept that the data folder's ledger was lost, and continue without it
    Ledger(LedgerArgs),
    /// Print a link that logs a browser in, valid once and for ten minutes
    LoginLink(ServerArgs),
    /// Offer agents tools to list accounts and read codes, over the Model Context Protocol on
    /// standard input and output
    Mcp(McpArgs),
    /// Print a link that opens the task hub's dashboard in a browser, valid once and for a minute
    Dashboard(DashboardArgs),
    /// Check whether a front door is ready, for container health checks
    Health(ServerArgs),
    /// Print the description of the HTTP API (OpenAPI 3.1) as JSON
    Openapi,
    /// Print the effective configuration, and check it
    Config(ConfigArgs),
    /// Print a shell's completion script
    Completions(CompletionsArgs),
    /// Print the manual, or write one page per command to a folder
    Man(ManArgs),
    /// Print the licenses of Countersign and of everything that is built into it
    Licenses,
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
    /// TOML file with the settings of `serve`, for what the flags leave unset [env: COUNTERSIGN_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
    /// The scheduler's own settings.
    #[command(flatten)]
    pub serve: durabletask_scheduler_cli::ServeArgs,
    /// What to do instead of running.
    #[command(subcommand)]
    pub command: Option<durabletask_scheduler_cli::Command>,
}

/// Which server a command talks to, as whom, and how it prints what comes of it.
#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    /// Which server, and as whom.
    #[command(flatten)]
    pub at: ServerPlace,
    /// Print one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Which server a command talks to, and as whom.
#[derive(Clone, Debug, Args)]
pub struct ServerPlace {
    /// Base URL of the front door [env: COUNTERSIGN_SERVER] [default: the server that runs on the data folder]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// Token or key to present; other users of this machine can read it in the process list, so prefer
    /// --token-file or the variable [env: COUNTERSIGN_TOKEN] [default: the data folder's
    /// admin-token]
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// File with the token or key to present, readable only by its owner; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<String>,
    /// The server's data folder [env: COUNTERSIGN_DATA_DIR] [default: ./.countersign]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
}

/// Whether an enrollment needs a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ApprovalArg {
    /// Another person must approve it.
    Required,
}

/// Which codes an account gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    /// Steam Guard's: five letters and digits.
    Steam,
}

/// What to do if an account with the same secret and codes exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DuplicatesArg {
    /// Keep both, with a warning.
    Keep,
    /// Refuse to add another one.
    Refuse,
}

/// `enroll`.
#[derive(Debug, Args)]
pub struct EnrollArgs {
    /// Image file, otpauth:// URI, or - to read either from standard input; other users of this
    /// machine can read a URI in the process list, so use - or a file
    #[arg(value_name = "FILE|URI|-", required = true)]
    pub source: Vec<String>,
    /// What kind of codes the account gives, if its URI does not say so: Steam's own URIs do not
    #[arg(long, value_enum)]
    pub kind: Option<KindArg>,
    /// What to do if the same account exists already: keep both, or refuse the new one
    #[arg(long, value_enum, value_name = "WHAT")]
    pub duplicates: Option<DuplicatesArg>,
    /// File with the account's recovery codes, one per line, to be stored with it
    #[arg(long, value_name = "FILE")]
    pub recovery_codes: Option<String>,
    /// Require approval by another person
    #[arg(long, value_enum)]
    pub approval: Option<ApprovalArg>,
    /// Withhold the account's codes until it is proved that the other service accepts them
    #[arg(long)]
    pub proof: bool,
    /// Do not wait: print the id and exit with code 4
    #[arg(long)]
    pub no_wait: bool,
    /// Makes retrying safe: the same key never enrolls twice
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Which server, and with which credential.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Files: lists of otpauth:// URIs, exports of authenticator apps and password managers
    /// (docs/IMPORT.md lists them), Key Vault entries, images of QR codes (all parts of a Google
    /// Authenticator export together), ZIP archives of these; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<String>,
    /// Only report what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Enroll only the accounts at these positions, such as 1,3-5
    #[arg(long, value_name = "POSITIONS")]
    pub pick: Option<String>,
    /// File with the password of an encrypted export
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<String>,
    /// Skip accounts that exist under another name
    #[arg(long)]
    pub skip_duplicates: bool,
    /// Require approval of each account by another person
    #[arg(long, value_enum)]
    pub approval: Option<ApprovalArg>,
    /// Do not wait: print the id and exit with code 4
    #[arg(long)]
    pub no_wait: bool,
    /// Makes retrying safe: the same key never starts a second import
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Which server, and with which credential.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The id of an enrollment or request, the beginning of it, or the account's name
    pub id: String,
    /// Wait until it has finished, or depends on a person or a date
    #[arg(long)]
    pub wait: bool,
    /// Also wait for people and dates: until it has finished, or the request is granted
    #[arg(long)]
    pub follow: bool,
    /// Which server, and with which credential.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `approve` and `reject`.
#[derive(Debug, Args)]
pub struct DecideArgs {
    /// The id of an enrollment or request, the beginning of it, or the account's name
    pub id: String,
    /// The reason; kept with the enrollment or request
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// Which server, and with which credential.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `cancel`.
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The id of an enrollment, import or request, the beginning of it, or the account's name
    pub id: String,
    /// Which server, and with which credential.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `remove` and `restore`.
#[derive(Debug, Args)]
pub struct AccountArgs {
    /// The account's name or id, or the beginning of either
    #[arg(value_name = "ACCOUNT")]
    pub id: String,
    /// Which server, and with which credential.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `dashboard`.
#[derive(Debug, Args)]
pub struct DashboardArgs {
    /// Open it at this instance, such as totp-0f8b... [default: the list of instances]
    #[arg(value_name = "ID")]
    pub instance: Option<String>,
    /// Task hub to show, if no front door runs on the data folder
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub task_hub: String,
    /// Which server, and with which credential.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `mcp`.
#[derive(Debug, Args)]
pub struct McpArgs {
    /// Which server, and with which credential.
    #[command(flatten)]
    pub server: ServerPlace,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }
}
