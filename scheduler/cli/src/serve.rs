//! Runs a scheduler until it is asked to stop.

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::net::SocketAddr;

use durabletask_scheduler::{Inside, PeerError, PeerPort, Scheduler, Storage};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{CliError, ServeSettings};

/// The addresses of a scheduler, as base URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The gRPC service.
    pub scheduler: String,
    /// The dashboard, if there is one.
    pub dashboard: Option<String>,
    /// Where other schedulers on its database call it, if they can: `HOST:PORT`.
    pub peers: Option<String>,
}

/// Runs a scheduler with its dashboard until `stop`. Once both listen, the addresses are
/// given to `ready` and then printed to standard output. On a stop it dispatches no more work, waits for outstanding work (up
/// to the drain time) and then closes.
///
/// # Errors
/// [`CliError`]: an address or the data folder cannot be used, or serving ended unexpectedly.
pub async fn serve(
    settings: ServeSettings,
    ready: impl FnOnce(&Listening),
    stop: CancellationToken,
) -> Result<(), CliError> {
    // Bound first: a port that is in use should be reported before a database is touched.
    let grpc = bind("listen", settings.listen).await?;
    let dashboard = match settings.dashboard {
        Some(address) => Some(bind("dashboard", address).await?),
        None => None,
    };
    let mut config = settings.scheduler.clone();
    config.peers = match &settings.peers {
        Some(peers) => Some(PeerPort::bind(peers).await.map_err(refused)?),
        None => None,
    };
    let peers = config.peers.clone();
    let scheduler = tokio::task::spawn_blocking(move || Scheduler::open(config))
        .await
        .map_err(|_| CliError::Lost("start"))??;
    let grpc_address = grpc.local_addr().map_err(CliError::Io)?;
    let dashboard_address = match &dashboard {
        Some(listener) => Some(listener.local_addr().map_err(CliError::Io)?),
        None => None,
    };
    for address in [Some(grpc_address), dashboard_address]
        .into_iter()
        .flatten()
    {
        warn_of_open_doors(&settings, address);
    }
    if !settings.scheduler.access.asks() && grpc_address.ip().is_loopback() {
        tracing::info!(
            "no credential is required: every user of this machine can read and change \
             everything. It listens on loopback only; use --token-file to require a token"
        );
    }
    let scheme = match settings.scheduler.tls {
        Some(_) => "https",
        None => "http",
    };
    let listening = Listening {
        scheduler: format!("{scheme}://{grpc_address}"),
        dashboard: dashboard_address.map(|address| format!("{scheme}://{address}")),
        peers: peers.map(|port| port.node().address.to_string()),
    };
    ready(&listening);
    announce(&settings, &listening);

    // The pages outlive the drain, so that it can be watched.
    let drained = CancellationToken::new();
    let pages = tokio::spawn({
        let router = scheduler.dashboard();
        let drained = drained.clone();
        let tls = settings.scheduler.tls.clone();
        async move {
            match (dashboard, tls) {
                (None, _) => Ok(()),
                (Some(listener), None) => serve_pages(listener, router, drained).await,
                (Some(listener), Some(tls)) => {
                    serve_pages(tls.listen(listener, Inside::Http), router, drained).await
                }
            }
        }
    });
    let abort = pages.abort_handle();
    let served = scheduler.serve(grpc, stop).await;
    drained.cancel();
    // A browser that keeps its connection open does not keep the program running.
    let closing = tokio::time::timeout(settings.scheduler.drain_timeout, pages).await;
    abort.abort();
    served?;
    match closing {
        Ok(Ok(outcome)) => outcome.map_err(CliError::Io),
        Ok(Err(_)) => Err(CliError::Lost("dashboard")),
        Err(_) => Ok(()),
    }
}

async fn serve_pages<L>(
    listener: L,
    router: axum::Router,
    end: CancellationToken,
) -> std::io::Result<()>
where
    L: axum::serve::Listener,
    L::Addr: std::fmt::Debug,
{
    axum::serve(listener, router)
        .with_graceful_shutdown(end.cancelled_owned())
        .await
}

/// Warns of an address that is protected, but not in every way.
fn warn_of_open_doors(settings: &ServeSettings, address: SocketAddr) {
    if address.ip().is_loopback() {
        return;
    }
    if !settings.scheduler.access.asks() {
        tracing::warn!(%address, "anyone who can reach this address can read and change everything");
    }
    if settings.scheduler.tls.is_none() {
        tracing::warn!(%address, "this address has no certificate: traffic to it, tokens included, can be read on the network");
    }
}

/// Why other schedulers cannot call this one, as what is wrong with the settings.
fn refused(error: PeerError) -> CliError {
    match error {
        PeerError::Listen { address, source } if source.kind() == ErrorKind::AddrInUse => {
            CliError::AddressInUse {
                address,
                flag: "peer-listen",
            }
        }
        PeerError::Listen { address, source } => CliError::Listen {
            address,
            flag: "peer-listen",
            source,
        },
        PeerError::Address(_) | PeerError::NoAddress(_) => {
            CliError::Settings(format!("--peer-address: {error}"))
        }
        PeerError::Files(_) => {
            CliError::Settings(format!("--peer-cert, --peer-key, --peer-ca: {error}"))
        }
        PeerError::Make(_) => CliError::Peers(error),
    }
}

async fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, CliError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            std::io::ErrorKind::AddrInUse => CliError::AddressInUse { address, flag },
            _ => CliError::Listen {
                address,
                flag,
                source,
            },
        })
}

fn announce(settings: &ServeSettings, listening: &Listening) {
    let Listening {
        scheduler,
        dashboard,
        peers,
    } = listening;
    let hub = &settings.scheduler.default_hub;
    let authentication = match &settings.token_file {
        Some(path) => format!("Token;TokenFile={}", path.display()),
        None => "None".to_owned(),
    };
    let connection = format!("Endpoint={scheduler};TaskHub={hub};Authentication={authentication}");
    let text = if settings.json {
        serde_json::json!({
            "scheduler": scheduler,
            "dashboard": dashboard,
            "peers": peers,
            "connectionString": connection,
            "pid": std::process::id(),
        })
        .to_string()
    } else {
        let dashboard = dashboard.as_deref().unwrap_or("none");
        let data = match &settings.scheduler.storage {
            Storage::Directory(folder) => folder.display().to_string(),
            Storage::Memory => "in memory; lost when this process exits".to_owned(),
            Storage::Database(database) => database.url.to_string(),
        };
        let peers = peers.as_ref().map_or_else(String::new, |address| {
            format!("\n  Other nodes        {address}")
        });
        format!(
            "The scheduler is ready\n  Connection string  {connection}\n  Dashboard          {dashboard}\n  Data               {data}{peers}"
        )
    };
    let mut out = std::io::stdout().lock();
    // A closed pipe is not a reason to stop.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Sends log lines to standard error.
pub(crate) fn init_log(settings: &ServeSettings) -> Result<(), CliError> {
    let filter = EnvFilter::try_new(&settings.log)
        .map_err(|error| CliError::Settings(format!("--log: {error}")))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let outcome = if settings.log_json {
        lines.json().flatten_event(true).try_init()
    } else {
        lines.try_init()
    };
    if outcome.is_err() {
        tracing::debug!("a log subscriber is already installed");
    }
    Ok(())
}

/// A token that is canceled by SIGINT or SIGTERM (Ctrl-C where there are no signals);
/// a second one ends the process at once with exit code 1.
pub(crate) fn stop_signal() -> std::io::Result<CancellationToken> {
    let mut signals = Signals::listen()?;
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    tokio::spawn(async move {
        signals.next().await;
        tracing::info!("shutdown requested; draining");
        cancelled.cancel();
        signals.next().await;
        tracing::warn!("second signal; exiting immediately");
        std::process::exit(1);
    });
    Ok(stop)
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// Would end the process if nothing handled it.
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                _ = self.hangup.recv() => tracing::info!("reload requested; nothing to reload"),
            }
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
