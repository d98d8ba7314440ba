//! The command line as typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A durable task hub in one binary: speaks the protocol of Microsoft's Durable Task
/// Scheduler and keeps what it acknowledged in a SQLite file or a PostgreSQL database.
#[derive(Debug, Parser)]
#[command(
    name = "durabletask-scheduler",
    version,
    about,
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
pub struct Cli {
    /// Settings of the scheduler, which runs if there is no command.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// A command instead.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Commands besides running.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Copy the SQLite database to a new file, even while the scheduler runs
    Backup(BackupArgs),
    /// Move all task hubs between a data folder and a PostgreSQL database, while no scheduler runs
    Migrate(MigrateArgs),
}

/// How the scheduler runs.
#[derive(Clone, Debug, Default, Args)]
pub struct ServeArgs {
    /// Address of the gRPC service [default: 127.0.0.1:8080]
    #[arg(
        long,
        alias = "scheduler-listen",
        value_name = "ADDR",
        env = "DURABLETASK_LISTEN"
    )]
    pub listen: Option<String>,
    /// Address of the dashboard, /healthz and /metrics, or none [default: 127.0.0.1:8082]
    #[arg(
        long,
        alias = "dashboard-listen",
        value_name = "ADDR|none",
        env = "DURABLETASK_DASHBOARD"
    )]
    pub dashboard: Option<String>,
    /// Host name under which browsers may open the dashboard, besides IP addresses and localhost
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        env = "DURABLETASK_DASHBOARD_HOST"
    )]
    pub dashboard_host: Vec<String>,
    /// Folder for the database
    #[arg(long, value_name = "DIR", env = "DURABLETASK_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Keep the data in memory only: it is lost when the process ends
    #[arg(long, conflicts_with = "data_dir")]
    pub memory: bool,
    /// Keep the data in a PostgreSQL database, as postgresql://USER:PASSWORD@HOST:PORT/DATABASE, which
    /// several schedulers may share: one owns the task hubs, the others stand by. The variable keeps
    /// the password out of the process list
    #[arg(
        long,
        value_name = "URL",
        env = "DURABLETASK_DATABASE_URL",
        hide_env_values = true,
        conflicts_with = "memory"
    )]
    pub database_url: Option<String>,
    /// What this scheduler is called among those that share a database [default: host name and port]
    #[arg(
        long,
        value_name = "NAME",
        env = "DURABLETASK_NODE_NAME",
        requires = "database_url"
    )]
    pub node_name: Option<String>,
    /// Address on which the other schedulers of the database call this one, by mutual TLS: then each of
    /// them answers every call, and passes it on to the one that owns the task hubs
    #[arg(long, value_name = "ADDR", env = "DURABLETASK_PEER_LISTEN")]
    pub peer_listen: Option<String>,
    /// Where the others reach that address, as HOST:PORT [default: the address itself]
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "DURABLETASK_PEER_ADDRESS",
        requires = "peer_listen"
    )]
    pub peer_address: Option<String>,
    /// Certificate chain (PEM) that it presents to the others, for the host of its peer address and for
    /// both uses [default: one that it makes at the start and publishes in the database]
    #[arg(
        long,
        value_name = "FILE",
        env = "DURABLETASK_PEER_CERT",
        requires_all = ["peer_listen", "peer_key", "peer_ca"]
    )]
    pub peer_cert: Option<PathBuf>,
    /// Private key (PEM) of that certificate
    #[arg(
        long,
        value_name = "FILE",
        env = "DURABLETASK_PEER_KEY",
        requires = "peer_cert"
    )]
    pub peer_key: Option<PathBuf>,
    /// Certificate (PEM) of the authority that signs the certificates of all schedulers of the database,
    /// and nothing else
    #[arg(
        long,
        value_name = "FILE",
        env = "DURABLETASK_PEER_CA",
        requires = "peer_cert"
    )]
    pub peer_ca: Option<PathBuf>,
    /// Task hub, which may be repeated; the first one is for calls that name none. By default
    /// there is one named "default", and others are created when they are first used
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        env = "DTS_TASK_HUB_NAMES"
    )]
    pub task_hub: Vec<String>,
    /// Create other task hubs when they are first used, even if --task-hub lists some
    #[arg(long, env = "DTS_USE_DYNAMIC_TASK_HUBS", value_parser = clap::builder::BoolishValueParser::new())]
    pub dynamic_task_hubs: bool,
    /// How activities of a name are dispatched: NAME:priority=N,rate=N/UNIT,concurrency=N with any of
    /// the three; may be repeated. The highest priority goes first (default 0); UNIT is ms, s, min, h
    /// or d
    #[arg(long, value_name = "NAME:POLICY")]
    pub activity: Vec<String>,
    /// The largest input, output, event or custom status, in bytes [default: 4063232]
    #[arg(long, value_name = "BYTES", env = "DURABLETASK_MAX_PAYLOAD")]
    pub max_payload: Option<usize>,
    /// The largest message that clients and workers receive, in bytes, if they do not declare it
    /// themselves; raise it with their own limits [default: 4194304]
    #[arg(long, value_name = "BYTES", env = "DURABLETASK_MAX_MESSAGE")]
    pub max_message: Option<usize>,
    /// How large an orchestration's history may become before it fails, in bytes
    /// [default: 67108864]
    #[arg(long, value_name = "BYTES", env = "DURABLETASK_MAX_HISTORY")]
    pub max_history: Option<u64>,
    /// How long finished instances are kept, such as 30d or completed=7d,failed=90d [default: until
    /// they are purged]
    #[arg(long, value_name = "AGE", env = "DURABLETASK_RETENTION")]
    pub retention: Option<String>,
    /// File of tokens, one on each line. A caller must present one of them, to the gRPC
    /// service as `authorization: Bearer TOKEN`, to the dashboard also as a password
    #[arg(long, value_name = "FILE", env = "DURABLETASK_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// File of public keys, a JSON Web Key Set or one key as PEM. A caller must present a
    /// JSON Web Token that one of them has signed (or a token of --token-file)
    #[arg(
        long,
        value_name = "FILE",
        env = "DURABLETASK_JWT_KEYS",
        requires_all = ["jwt_issuer", "jwt_audience"]
    )]
    pub jwt_keys: Option<PathBuf>,
    /// Required value of the claim `iss` of a JSON Web Token
    #[arg(
        long,
        value_name = "ISSUER",
        env = "DURABLETASK_JWT_ISSUER",
        requires = "jwt_keys"
    )]
    pub jwt_issuer: Option<String>,
    /// Required value of the claim `aud` of a JSON Web Token, such as https://durabletask.io
    #[allow(rustdoc::bare_urls, reason = "the help shows the text as it is")]
    #[arg(
        long,
        value_name = "AUDIENCE",
        env = "DURABLETASK_JWT_AUDIENCE",
        requires = "jwt_keys"
    )]
    pub jwt_audience: Option<String>,
    /// Certificate chain (PEM) of the gRPC service and the dashboard, for TLS
    #[arg(
        long,
        value_name = "FILE",
        env = "DURABLETASK_TLS_CERT",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM) of the certificate
    #[arg(
        long,
        value_name = "FILE",
        env = "DURABLETASK_TLS_KEY",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
    /// Allow addresses that other machines can reach without --token-file or --jwt-keys.
    /// Anyone who can reach them can read and change everything, so use them on a private network only
    #[arg(long, env = "DURABLETASK_ALLOW_REMOTE", value_parser = clap::builder::BoolishValueParser::new())]
    pub allow_remote: bool,
    /// Seconds that a stop waits for outstanding work [default: 10]
    #[arg(long, value_name = "SECONDS", env = "DURABLETASK_DRAIN")]
    pub drain: Option<u64>,
    /// Filter for log lines, such as warn or durabletask_scheduler=debug,info [default: info]
    #[arg(long, value_name = "FILTER", env = "DURABLETASK_LOG")]
    pub log: Option<String>,
    /// Write log lines as JSON
    #[arg(long)]
    pub log_json: bool,
    /// Print the addresses as one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `migrate`.
#[derive(Clone, Debug, Args)]
pub struct MigrateArgs {
    /// What to move where.
    #[command(subcommand)]
    pub command: MigrateCommand,
}

/// What to move where.
#[derive(Clone, Debug, Subcommand)]
pub enum MigrateCommand {
    /// Move all task hubs from the data folder into the empty database; if it is interrupted, run it
    /// again to finish
    ToDatabase(PlacesArgs),
    /// Move all task hubs from the database into a data folder without any; if it is interrupted, run
    /// it again to finish
    ToFolder(PlacesArgs),
}

/// A data folder and a database.
#[derive(Clone, Debug, Args)]
pub struct PlacesArgs {
    /// The scheduler's data folder
    #[arg(long, value_name = "DIR", env = "DURABLETASK_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// The PostgreSQL database, as postgresql://USER:PASSWORD@HOST:PORT/DATABASE; the variable keeps the
    /// password out of the process list
    #[arg(
        long,
        value_name = "URL",
        env = "DURABLETASK_DATABASE_URL",
        hide_env_values = true
    )]
    pub database_url: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// The arguments of a backup.
#[derive(Clone, Debug, Args)]
pub struct BackupArgs {
    /// The file to write; it must not exist yet
    pub file: PathBuf,
    /// The PostgreSQL database of the task hubs: it is backed up with its own tools, which the command
    /// says
    #[arg(
        long,
        value_name = "URL",
        env = "DURABLETASK_DATABASE_URL",
        hide_env_values = true,
        hide = true
    )]
    pub database_url: Option<String>,
    /// The scheduler's data folder
    #[arg(long, value_name = "DIR", env = "DURABLETASK_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Reads an address; `localhost` stands for 127.0.0.1.
pub(crate) fn address(text: &str) -> Option<SocketAddr> {
    text.replacen("localhost:", "127.0.0.1:", 1).parse().ok()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
