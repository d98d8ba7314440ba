//! Commands on existing accounts.

use clap::Args;

use super::ServerArgs;

/// The longest validity that a code can be asked for, in seconds.
const LONGEST_VALIDITY: u32 = 60;

/// `token`.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// The account's name or id, or the beginning of either; or the id of a request to read it,
    /// which uses one of its reads
    #[arg(value_name = "ACCOUNT|REQUEST")]
    pub id: String,
    /// Wait for a code that stays valid for at least this long: seconds such as 10, or 10s; at
    /// most 60
    #[arg(long, value_name = "SECONDS", value_parser = validity)]
    pub min_validity: Option<u32>,
    /// Print the next code, and when it becomes valid
    #[arg(long, conflicts_with = "min_validity")]
    pub next: bool,
    /// Copy it to the clipboard instead of printing it
    #[arg(long, conflicts_with = "json")]
    pub copy: bool,
    /// The reason, for the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// A number of seconds, or a time like those of other flags.
fn validity(text: &str) -> Result<u32, String> {
    let number = text.parse().ok();
    let time = || crate::duration::parse(text).ok();
    let whole = |time: std::time::Duration| {
        let seconds = u32::try_from(time.as_secs()).ok()?;
        (time.subsec_nanos() == 0).then_some(seconds)
    };
    number
        .or_else(|| time().and_then(whole))
        .filter(|seconds| *seconds <= LONGEST_VALIDITY)
        .ok_or_else(|| format!("use whole seconds from 0 to {LONGEST_VALIDITY}, such as 10 or 10s"))
}

/// `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The account's name or id, or the beginning of either
    #[arg(value_name = "ACCOUNT")]
    pub id: String,
    /// The code to check; - is standard input
    pub code: String,
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `prove`.
#[derive(Debug, Args)]
pub struct ProveArgs {
    /// The account's name or id, or the beginning of either; without a flag, its codes are shown
    #[arg(value_name = "ACCOUNT")]
    pub id: String,
    /// The other service accepted these two codes, the earlier one first: enable the account
    #[arg(long, num_args = 2, value_names = ["FIRST", "SECOND"], conflicts_with = "refused")]
    pub accepted: Vec<String>,
    /// The other service refused the codes: remove the account
    #[arg(long)]
    pub refused: bool,
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `rename`.
#[derive(Debug, Args)]
pub struct RenameArgs {
    /// The account's name or id, or the beginning of either
    #[arg(value_name = "ACCOUNT")]
    pub id: String,
    /// The new account name
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub name: Option<String>,
    /// The new name of the service
    #[arg(
        long,
        conflicts_with = "no_issuer",
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    pub issuer: Option<String>,
    /// Remove the service's name
    #[arg(long)]
    pub no_issuer: bool,
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `group`.
#[derive(Debug, Args)]
pub struct GroupArgs {
    /// The account's name or id, or the beginning of either
    #[arg(value_name = "ACCOUNT")]
    pub id: String,
    /// The new group [default: none]
    pub group: Option<String>,
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `tag`.
#[derive(Debug, Args)]
pub struct TagArgs {
    /// The account's name or id, or the beginning of either
    #[arg(value_name = "ACCOUNT")]
    pub id: String,
    /// Tags to add
    #[arg(value_name = "TAG", required_unless_present = "remove")]
    pub tags: Vec<String>,
    /// A tag to remove; may be repeated
    #[arg(long, value_name = "TAG")]
    pub remove: Vec<String>,
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// List enrollments, newest first, instead of accounts
    #[arg(long, group = "running")]
    pub enrollments: bool,
    /// List requests on accounts, newest first, instead of accounts
    #[arg(long, group = "running")]
    pub requests: bool,
    /// List accounts that were removed and can be restored, instead of those in use
    #[arg(long, conflicts_with = "running")]
    pub removed: bool,
    /// Only enrollments or requests in this stage, such as AwaitingApproval
    #[arg(long, value_name = "STAGE", requires = "running")]
    pub stage: Option<String>,
    /// Only requests on this account, by its name or id
    #[arg(long, value_name = "ACCOUNT", requires = "requests")]
    pub account: Option<String>,
    /// Only accounts whose issuer or name contains this
    #[arg(long, value_name = "TEXT", conflicts_with = "running")]
    pub search: Option<String>,
    /// Only accounts of this group
    #[arg(long, value_name = "NAME", conflicts_with = "running")]
    pub group: Option<String>,
    /// Only accounts with this tag
    #[arg(long, value_name = "TAG", conflicts_with = "running")]
    pub tag: Option<String>,
    /// Which server, and as whom.
    #[command(flatten)]
    pub server: ServerArgs,
}
