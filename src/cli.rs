//! The command line as typed.

mod accounts;
mod help;
mod operators;
mod requests;
mod wrong;

use std::process::ExitCode;

use clap::{Args, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::config::Settings;

pub use accounts::{GroupArgs, ListArgs, ProveArgs, RenameArgs, TagArgs, TokenArgs, VerifyArgs};
pub use help::{CompletionsArgs, ManArgs, command};
pub use operators::{
    AuditArgs, AuditCommand, AuditFormat, ConfigArgs, ConfigCommand, GrantArgs, GrantCommand,
    KeyArgs, KeyCommand, KeyPlace, LedgerArgs, LedgerCommand, MandateKeyArgs, MandateKeyCommand,
};
pub use requests::{
    AskArgs, ExportArgs, ExportFormat, GuardArgs, ReceiveArgs, RecoveryArgs, RecoveryCommand,
    RequestArgs, RequestCommand,
};
pub(crate) use wrong::looks_secret;

const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  failure; standard error says what failed and what to do
  2  the command line or a setting is wrong
  3  the enrollment or request ended without success (invalid, rejected, expired, failed, terminated)
  4  the enrollment or request is still running, or waiting for approval
  5  no such enrollment, account, request or audit log
  6  not allowed
  7  entries are missing from the audit log
  8  another program, or the server of another data folder, is listening at the server's address
  9  the front door waited too long for a worker to create the keys that it needs
 10  the data folder does not exist, or no server has run on it
 11  this user cannot read or write the data folder or a file in it
 12  the name matches several accounts, enrollments or requests; they are listed
 13  the code that was checked is not valid";

/// The version, and the commit and day that it was built from where that is known.
const VERSION: &str = env!("BUILT_VERSION");

/// A server-side TOTP authenticator for teams and automation, with durable
/// enrollment and approval.
#[derive(Debug, Parser)]
#[command(name = "countersign", version = VERSION, about, after_help = EXIT_CODES, max_term_width = 100)]
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
    /// How the process ends: help was asked for, or the command line is wrong, which is said
    /// without repeating what looks like a secret.
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
    /// Run the HTTP front door alone, against a task hub given by --connection-string
    FrontDoor(ServeArgs),
    /// Run a worker alone, against a task hub given by --connection-string
    Worker(ServeArgs),
    /// Run the durable scheduler and its dashboard alone, or back it up
    Scheduler(Box<SchedulerArgs>),
    /// Enroll an account from a QR picture or an otpauth:// URI and wait for the end
    Enroll(EnrollArgs),
    /// Enroll many accounts from other programs' exports, lists of URIs and QR pictures
    Import(ImportArgs),
    /// Show an enrollment or a request, or follow it
    Status(StatusArgs),
    /// Print an account's present code, or one that a request has granted
    Token(TokenArgs),
    /// Approve an enrollment or a request that waits for it
    Approve(DecideArgs),
    /// Reject an enrollment or a request that waits for approval
    Reject(DecideArgs),
    /// End an enrollment or import that runs, take a request back, or stop a removal
    Cancel(OneArgs),
    /// List accounts, enrollments with --enrollments, or requests with --requests
    List(ListArgs),
    /// Ask to read codes of an account, or to export, transfer or delete it, once somebody else
    /// agrees
    Request(RequestArgs),
    /// Write down what a request lets out: an account's URI or QR code, once, or the package for
    /// another installation
    Export(ExportArgs),
    /// Take over an account that another installation has handed over
    Receive(ReceiveArgs),
    /// Print the key with which other installations hand accounts over to this one
    SealKey(ServerArgs),
    /// Take an account out of use; `restore` undoes it
    Remove(OneArgs),
    /// Bring an account back into use
    Restore(OneArgs),
    /// Let codes of an account be read only with a request that somebody else has agreed to
    Guard(GuardArgs),
    /// Count, take and set an account's recovery codes
    RecoveryCodes(RecoveryArgs),
    /// Call an account something else
    Rename(RenameArgs),
    /// Put an account into a group, or into none
    Group(GroupArgs),
    /// Give an account tags, or take them away
    Tag(TagArgs),
    /// Check a code that somebody was given: exit code 13 if it is not valid
    Verify(VerifyArgs),
    /// Show the codes that prove an account to another service, and say whether it took them
    Prove(ProveArgs),
    /// Check and export the record of who did what, in the data folder
    Audit(AuditArgs),
    /// Say which accounts callers with granted accounts only may read, until when and how often
    Grant(GrantArgs),
    /// Make, list and revoke API keys in the data folder; a running server notices at once
    Key(KeyArgs),
    /// Rotate, retire and list the keys that a front door signs mandates with; running parts notice
    MandateKey(Box<MandateKeyArgs>),
    /// Go on after the ledger of the data folder was lost
    Ledger(LedgerArgs),
    /// Print a link that logs a browser in, once and within ten minutes
    LoginLink(ServerArgs),
    /// Give agents tools to list accounts and get codes, by the Model Context Protocol on
    /// standard input and output
    Mcp(McpArgs),
    /// Print a link that opens the task hub's dashboard in a browser, once and within a minute
    Dashboard(DashboardArgs),
    /// Tell whether a front door is ready, for health checks of containers
    Health(ServerArgs),
    /// Print the description of the HTTP API (OpenAPI 3.1) as JSON
    Openapi,
    /// Check the settings
    Config(ConfigArgs),
    /// Print what a shell needs to complete commands
    Completions(CompletionsArgs),
    /// Print the manual, or write a page for each command into a folder
    Man(ManArgs),
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
    /// Token or key to present; others on this machine can read it in the process list, so prefer
    /// --token-file or the variable [env: COUNTERSIGN_TOKEN] [default: the data folder's
    /// admin-token]
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// File with the token or key to present, readable for its owner only; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<String>,
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

/// Which codes an account gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    /// Steam Guard's: five letters and digits.
    Steam,
}

/// What to do where an account with the same secret and codes is there.
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
    /// Picture file, otpauth:// URI, or - to read either from standard input; others on this machine
    /// can read a URI in the process list, so give it by - or in a file
    #[arg(value_name = "FILE|URI|-", required = true)]
    pub source: Vec<String>,
    /// Which codes the account gives, where its URI does not say it: Steam's own URIs don't
    #[arg(long, value_enum)]
    pub kind: Option<KindArg>,
    /// What to do where the same account is there already: keep both, or refuse the new one
    #[arg(long, value_enum, value_name = "WHAT")]
    pub duplicates: Option<DuplicatesArg>,
    /// File with the recovery codes that came with it, one a line, to be kept beside the account
    #[arg(long, value_name = "FILE")]
    pub recovery_codes: Option<String>,
    /// Ask for approval by another caller
    #[arg(long, value_enum)]
    pub approval: Option<ApprovalArg>,
    /// Let nobody have its codes before it is proved that the other service accepts them
    #[arg(long)]
    pub proof: bool,
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
    /// Files: lists of otpauth:// URIs, exports of authenticator apps and password managers
    /// (docs/IMPORT.md lists them), Key Vault entries, pictures of QR codes (all parts of a Google
    /// Authenticator export together), ZIP archives of these; - is standard input
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
    /// Skip accounts that are there already under another name
    #[arg(long)]
    pub skip_duplicates: bool,
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
    /// The enrollment's or request's id, the beginning of it, or its account's name
    pub id: String,
    /// Wait for the end, or until it depends on a person or on a date
    #[arg(long)]
    pub wait: bool,
    /// Wait for people and dates too: until it has ended, or what was asked for is granted
    #[arg(long)]
    pub follow: bool,
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `approve` and `reject`.
#[derive(Debug, Args)]
pub struct DecideArgs {
    /// The enrollment's or request's id, the beginning of it, or its account's name
    pub id: String,
    /// Why; kept with the enrollment
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Commands on one thing.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// Its id, the beginning of it, or its name
    pub id: String,
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `dashboard`.
#[derive(Debug, Args)]
pub struct DashboardArgs {
    /// Open it at this instance, such as totp-0f8b... [default: the list of instances]
    #[arg(value_name = "ID")]
    pub instance: Option<String>,
    /// Task hub whose instances it shows, where no front door runs on the data folder
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub task_hub: String,
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `mcp`.
#[derive(Debug, Args)]
pub struct McpArgs {
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }
}
