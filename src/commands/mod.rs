//! One module for each command, and what they share: how they end and how they print.

mod account;
mod approve;
mod audit;
mod backup;
mod cancel;
mod client;
mod config;
mod dashboard;
mod enroll;
mod export;
mod find;
mod folder;
mod grant;
mod health;
mod import;
mod import_parts;
mod input;
mod key;
mod ledger;
mod list;
mod login_link;
mod mandate_key;
mod manual;
mod mcp;
mod migrate;
mod output;
mod over_api;
mod pinned;
mod prove;
mod receive;
mod recovery;
mod request;
mod rotate;
mod scheduler;
mod serve;
mod shared;
mod stages;
mod status;
mod table;
mod token;
mod unreachable;
mod wrapping;

use std::process::ExitCode;
use std::time::Duration;

use crate::cli::{Cli, Command, ConfigCommand};
use crate::config::{Config, Settings};

use output::complain;

/// How long databases may take to be closed at the end.
const CLOSING: Duration = Duration::from_secs(5);

/// A command's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Failed = 1,
    Usage = 2,
    NotEnrolled = 3,
    StillRunning = 4,
    NotFound = 5,
    NotAllowed = 6,
    /// The audit log lacks entries that it had.
    RecordIncomplete = 7,
    /// Another program listens at the server's address.
    NotOurServer = 8,
    /// A front door waited for a worker's keys without success.
    NoWorker = 9,
    /// The data folder does not exist, or is not a folder.
    NoFolder = 10,
    /// This user may not read or write a file.
    NoPermission = 11,
    /// Several things have the given name.
    Ambiguous = 12,
    /// A code that was checked is not valid.
    NotValid = 13,
}

/// Why a command failed: for people, on standard error.
#[derive(Debug)]
struct Fault {
    exit: Exit,
    /// What happened and what to do; none if it was printed already.
    message: Option<String>,
    /// Whether a retry may succeed.
    passing: bool,
}

type Outcome = Result<(), Fault>;

impl Fault {
    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: Some(message.into()),
            passing: false,
        }
    }

    /// The same, for an error after which a retry may succeed.
    const fn passing(mut self) -> Self {
        self.passing = true;
        self
    }

    /// The same, which says more.
    fn and(mut self, text: &str) -> Self {
        if let Some(message) = &mut self.message {
            message.push_str(". ");
            message.push_str(text);
        }
        self
    }

    fn failed(error: impl std::fmt::Display) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }

    /// Ends with this code without a message.
    const fn quiet(exit: Exit) -> Self {
        Self {
            exit,
            message: None,
            passing: false,
        }
    }
}

/// Printed before a command runs.
pub(crate) mod print {
    /// Prints a complete error on standard error.
    pub(crate) fn error(text: &str) {
        super::output::note(text.trim_end());
    }
}

/// Runs the command and returns the process's exit code.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Fault::failed)
        .and_then(|runtime| runtime.block_on(dispatch(cli.command)));
    // The scheduler's writer may still be closing its file; killed, it would leave its log behind.
    durabletask_sqlite::all_closed(CLOSING);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            if let Some(message) = fault.message {
                complain(&message);
            }
            ExitCode::from(fault.exit as u8)
        }
    }
}

async fn dispatch(command: Command) -> Outcome {
    match command {
        Command::Serve(args) => serve::everything(&args).await,
        Command::FrontDoor(args) => serve::front_door(&args).await,
        Command::Worker(args) => serve::worker(&args).await,
        Command::Scheduler(args) => scheduler::run(*args).await,
        Command::Enroll(args) => enroll::run(args).await,
        Command::Import(args) => import::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Token(args) => token::run(args).await,
        Command::Approve(args) => approve::run(args, true).await,
        Command::Reject(args) => approve::run(args, false).await,
        Command::Cancel(args) => cancel::run(args).await,
        Command::List(args) => list::run(args).await,
        Command::Request(args) => request::run(args.command).await,
        Command::Export(args) => export::run(args).await,
        Command::Receive(args) => receive::run(args).await,
        Command::SealKey(args) => receive::seal_key(args).await,
        Command::Remove(args) => account::remove(args).await,
        Command::Restore(args) => account::restore(args).await,
        Command::Guard(args) => account::guard(args).await,
        Command::RecoveryCodes(args) => recovery::run(args.command).await,
        Command::Rename(args) => account::rename(args).await,
        Command::Group(args) => account::group(args).await,
        Command::Tag(args) => account::tag(args).await,
        Command::Verify(args) => token::verify(args).await,
        Command::Prove(args) => prove::run(args).await,
        Command::Audit(args) => audit::run(args.command).await,
        Command::Backup(args) => backup::run(args.command).await,
        Command::Migrate(args) => migrate::run(args.command).await,
        Command::Grant(args) => grant::run(args.command).await,
        Command::Key(args) => key::run(args.command).await,
        Command::Rotate(args) => rotate::run(args.command).await,
        Command::Ledger(args) => ledger::run(args.command).await,
        Command::MandateKey(args) => mandate_key::run(args.command).await,
        Command::LoginLink(args) => login_link::run(args).await,
        Command::Mcp(args) => mcp::run(args).await,
        Command::Dashboard(args) => dashboard::run(args).await,
        Command::Health(args) => health::run(args).await,
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::man(&args),
        Command::Licenses => manual::licenses(),
        Command::Openapi => output::document(&crate::http::openapi().map_err(Fault::failed)?),
        Command::Config(args) => match args.command {
            ConfigCommand::Check(args) => config::check(load(&args.settings)?, args.json).await,
        },
    }
}

fn load(settings: &Settings) -> Result<Config, Fault> {
    // A webhook's address is often enough to post to the people behind it.
    if settings.webhook_url.is_some() {
        output::exposed("--webhook-url", "COUNTERSIGN_WEBHOOK_URL or --config FILE");
    }
    Config::load(settings).map_err(|error| Fault::new(Exit::Usage, error.to_string()))
}
