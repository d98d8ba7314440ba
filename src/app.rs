//! The composition root: from checked settings to parts that run and stop together.

mod backends;
mod certificate;
mod door;
mod error;
mod hub_storage;
mod journal;
mod launch;
mod listen;
mod parts;
mod preflight;
mod published;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use durabletask::worker::{StatusWatch, WorkerStatus};
use tokio_util::sync::CancellationToken;
use url::Url;
use zeroize::Zeroizing;

use crate::access::Access;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::data_dir::{DataDir, DataDirLock, NotedFile};
use crate::http::FrontDoor;
use crate::keys;

pub use certificate::TlsFault;
pub use error::AppError;
use parts::Part;
pub(crate) use preflight::{SettingsCheck, check_settings};
use published::Published;
pub(crate) use published::digest;

/// The database with API keys, in the data folder.
pub(crate) const ACCESS_DATABASE: &str = NotedFile::Access.name();
/// The front door's own secret key, in the data folder.
pub(crate) const SERVER_KEY: &str = keys::SERVER.file;
/// How often readiness is checked until everything answers.
const LOOK_WHETHER_READY: Duration = Duration::from_millis(250);

/// Which parts of the product a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// All of them, on the embedded scheduler.
    Everything,
    /// The HTTP front door, against a task hub elsewhere.
    FrontDoor,
    /// A worker, against a task hub elsewhere.
    Worker,
}

impl Parts {
    const fn front_door(self) -> bool {
        matches!(self, Self::Everything | Self::FrontDoor)
    }

    const fn worker(self) -> bool {
        matches!(self, Self::Everything | Self::Worker)
    }

    const fn scheduler(self) -> bool {
        matches!(self, Self::Everything)
    }
}

/// Running parts, until [`Running::stop`]. If this is dropped instead, they are asked to stop
/// but not waited for.
pub struct Running {
    /// Where the front door answers.
    pub http_addr: Option<SocketAddr>,
    /// Where the embedded scheduler answers.
    pub scheduler_addr: Option<SocketAddr>,
    /// The file with the token that the embedded scheduler requires.
    pub hub_token_file: Option<PathBuf>,
    /// Where the dashboard answers.
    pub dashboard_addr: Option<SocketAddr>,
    /// The address that serves metrics.
    pub metrics_addr: Option<SocketAddr>,
    /// The administrator's token.
    pub admin_token: Option<Zeroizing<String>>,
    /// What makes links that log in; none where nobody has to.
    login: Option<(Arc<Access>, Arc<dyn Clock>)>,
    /// The last one stops first.
    parts: Vec<Part>,
    failed: CancellationToken,
    tls: bool,
    data: DataDir,
    published: Arc<Published>,
    /// The address that people use, if the settings name one.
    public_url: Option<Url>,
    /// Whether this process's worker is connected to the task hub.
    worker: Option<StatusWatch>,
    /// The front door, once it runs; it ends with its part.
    door: Arc<OnceLock<Weak<FrontDoor>>>,
    _locks: (Option<DataDirLock>, Option<DataDirLock>),
}

impl Running {
    /// Starts everything in this process.
    ///
    /// # Errors
    ///
    /// [`AppError`]: what could not be started, and what to do.
    pub async fn start(config: Config) -> Result<Self, AppError> {
        Self::start_parts(config, Parts::Everything, Arc::new(SystemClock)).await
    }

    /// Starts some parts, on a clock for the front door. When it returns, listeners
    /// are bound and requests are answered.
    ///
    /// # Errors
    ///
    /// [`AppError`]: what could not be started, and what to do.
    pub async fn start_parts(
        config: Config,
        parts: Parts,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AppError> {
        parts::refuse_half(&config, parts)?;
        let data = DataDir::create(&config.data_dir)?;
        // Two schedulers on one database would dispatch the same work twice.
        let lock = parts.scheduler().then(|| data.lock()).transpose()?;
        let front_door = parts.front_door().then(|| data.lock_front_door());
        let front_door = front_door.transpose()?;
        data.refuse_missing(&parts::needed(&data, &config, parts)?)?;
        let mut running = Self {
            http_addr: None,
            scheduler_addr: None,
            hub_token_file: None,
            dashboard_addr: None,
            metrics_addr: None,
            admin_token: None,
            login: None,
            parts: Vec::new(),
            failed: CancellationToken::new(),
            tls: false,
            published: Arc::new(Published::new(data.clone())),
            data,
            public_url: config.public_urls.first().cloned(),
            worker: None,
            door: Arc::default(),
            _locks: (lock, front_door),
        };
        // On the heap: it holds all that is being started, and would make every caller's future as large.
        let launched = Box::pin(running.launch(&config, parts, clock)).await;
        match launched {
            Ok(()) => {
                running.data.note_files()?;
                Ok(running)
            }
            Err(error) => {
                running.stop().await.ok();
                Err(error)
            }
        }
    }

    /// Returns once the front door is ready, as in `/readyz`, or, where there is only a worker, once
    /// it is connected to the task hub. `waits` is called once with what is being waited for.
    pub async fn ready(&self, waits: impl FnOnce(&str)) {
        if self.http_addr.is_none() {
            return self.connected(waits).await;
        }
        let mut waits = Some(waits);
        loop {
            let door = self.door.get().and_then(Weak::upgrade);
            let lacks = match &door {
                Some(door) => door.lacks().await,
                None => None,
            };
            match (door, lacks, waits.take()) {
                (Some(_), None, _) => return,
                (Some(_), Some(lacks), Some(waits)) => waits(lacks),
                (_, _, unused) => waits = unused,
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_WHETHER_READY) => {}
                () = self.failed.cancelled() => return,
            }
        }
    }

    /// Returns once the worker takes work items, if there is one.
    async fn connected(&self, waits: impl FnOnce(&str)) {
        let Some(mut status) = self.worker.clone() else {
            return;
        };
        let connected = status.wait_for(WorkerStatus::is_connected);
        let mut connected = std::pin::pin!(connected);
        let soon = tokio::time::timeout(LOOK_WHETHER_READY, connected.as_mut());
        if soon.await.is_ok() {
            return;
        }
        waits("the task hub");
        tokio::select! {
            _ = connected => {}
            () = self.failed.cancelled() => {}
        }
    }

    /// Waits until `stop` is canceled or a part ends on its own, then stops.
    ///
    /// # Errors
    ///
    /// [`AppError`] of the first part that failed.
    pub async fn run_until(self, stop: CancellationToken) -> Result<(), AppError> {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.failed.cancelled() => {}
        }
        self.stop().await
    }

    /// Stops every part in turn: the front door first, so that nothing new comes in,
    /// the scheduler last, so that the worker can report what it finished.
    ///
    /// # Errors
    ///
    /// [`AppError`] of the first part that failed.
    pub async fn stop(mut self) -> Result<(), AppError> {
        self.published.remove();
        let mut outcome = Ok(());
        while let Some(part) = self.parts.pop() {
            let ended = part.stop().await;
            if outcome.is_ok() {
                outcome = ended;
            }
        }
        outcome
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for part in &self.parts {
            part.cancel();
        }
    }
}
