//! The composition root: from checked settings to parts that run and stop together.

mod certificate;
mod door;
mod error;
mod journal;
mod listen;
mod parts;
mod published;
mod trial;
mod truth;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use countersign_activities::webhook::Webhook;
use countersign_activities::{Activities, Authority};
use countersign_azure::Identity;
use countersign_enrollment::fingerprint::FingerprintKey;
use durabletask::worker::{StatusWatch, WorkerStatus};
use durabletask::{Client, Connection, Worker};
use durabletask_scheduler::{Scheduler, SchedulerConfig, Storage};
use tokio_util::sync::CancellationToken;
use url::Url;
use zeroize::Zeroizing;

use crate::access::{Access, AdminToken, Oidc, secret};
use crate::audit::{AUDIT_SENT, Ingester, Shipper};
use crate::clock::{Clock, SystemClock};
use crate::config::{AuthMode, Config};
use crate::data_dir::{DataDir, DataDirError, DataDirLock};
use crate::http::{self, FrontDoor, Guard, OwnNames, ServerInfo, Services};
use crate::hub::{ApprovalPolicy, Hub};
use crate::keys::{self, DoorKeys, Installation, Place, WorkerKeys};
use crate::local_hub::{self, Dashboard};
use crate::local_proof::LocalProof;
use crate::mandates::{DoorMandateKeys, Mandates};
use crate::metrics::{self, Metrics};
use crate::telemetry::{TracedVault, spans};
use crate::verify::Verifier;

use certificate::Certificate;
pub use certificate::TlsFault;
use door::DoorServices;
pub use error::AppError;
use listen::Listen;
use parts::{Part, bind};
use published::Published;
pub(crate) use published::digest;
pub(crate) use trial::{Trial, try_settings};
use truth::{Truth, Vault};

/// The database with API keys, in the data folder.
pub(crate) const ACCESS_DATABASE: &str = "access.sqlite3";
/// The front door's own secret key, in the data folder.
pub(crate) const SERVER_KEY: &str = keys::SERVER.file;
/// How often readiness is checked until everything answers.
const LOOK_WHETHER_READY: Duration = Duration::from_millis(250);

/// How long requests may take to finish once a stop was requested.
const HTTP_DRAIN: Duration = Duration::from_secs(10);
/// How long the worker may take. Longer than the worker's own grace period.
const WORKER_DRAIN: Duration = Duration::from_secs(35);
/// How long the shipping of audit entries may take to stop: longer than its own limit.
const SHIPPING_DRAIN: Duration = Duration::from_secs(15);
/// How long the scheduler may take.
const SCHEDULER_DRAIN: Duration = Duration::from_secs(15);

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
        match running.launch(&config, parts, clock).await {
            Ok(()) => Ok(running),
            Err(error) => {
                running.stop().await.ok();
                Err(error)
            }
        }
    }

    async fn launch(
        &mut self,
        config: &Config,
        parts: Parts,
        clock: Arc<dyn Clock>,
    ) -> Result<(), AppError> {
        if parts.front_door() {
            for warning in config.warnings() {
                tracing::warn!("{warning}");
            }
        }
        // Bound first: a port that is in use should be reported before anything runs.
        let http = match parts.front_door() {
            true => Some(bind("--listen", config.listen).await?),
            false => None,
        };
        if parts.scheduler() {
            self.launch_scheduler(config).await?;
        }
        if parts.front_door() || parts.worker() {
            let identity = Identity::new(&config.azure.identity);
            let connection = self.connection(config)?.with_credential(identity.clone());
            let place = Place::new(&self.data, &config.azure, &identity)?;
            // A front door waits for its worker before it creates anything.
            let waited = match (parts.worker(), &config.database) {
                (false, None) => {
                    let folder = Installation::Folder(&self.data);
                    Some(DoorKeys::open(&place, folder, config.worker_wait).await?)
                }
                _ => None,
            };
            let truth = Truth::open(&self.data, config.database.as_ref(), &identity).await?;
            if parts.front_door() {
                truth.refuse_other_keys(&place, &keys::DOOR_FILES).await?;
            }
            if parts.worker() {
                truth.refuse_other_keys(&place, &keys::WORKER_FILES).await?;
            }
            let installation = truth.installation();
            let waited = match (waited, parts.worker()) {
                (None, false) => {
                    Some(DoorKeys::open(&place, installation, config.worker_wait).await?)
                }
                (waited, _) => waited,
            };
            let Vault {
                vault,
                counts,
                embedded,
            } = Vault::open(&truth, &config.azure, identity).await?;
            if let Some(embedded) = embedded.filter(|_| parts.front_door()) {
                keys::check_embedded(&self.data, &embedded).await?;
            }
            let vault = if spans::are_made() {
                Arc::new(TracedVault::new(vault))
            } else {
                vault
            };
            let cache = Arc::clone(&counts.cache);
            let remote = counts.remote.clone();
            let metrics = Arc::new(Metrics::new(counts));
            self.parts.push(Part::spawn(
                "vault cache",
                HTTP_DRAIN,
                &self.failed,
                async move |stop| {
                    cache.sweep_until(stop.cancelled()).await;
                    Ok(())
                },
            ));
            if parts.worker() {
                let keys = WorkerKeys::open(&place).await?;
                truth.check_keys(&place, keys.own()).await?;
                let authority = Authority::new(truth.ledger(), Arc::new(keys.checks.clone()));
                self.follow("mandate keys", |stop| keys.checks.until(stop));
                let ring = keys.ring.value();
                self.follow("seal key", |stop| keys.ring.until(stop));
                let fingerprints = FingerprintKey::new(keys.fingerprint);
                if let Some(remote) = remote {
                    remote.tell_apart_by(fingerprints.clone());
                }
                let vault = Arc::clone(&vault);
                let activities = Activities::new(authority, ring.opening(), fingerprints, vault)
                    .with_webhook(self.webhook(config)?);
                self.launch_worker(&connection, activities, &metrics)?;
            }
            if let Some(listener) = http {
                let tls = match config.tls.clone() {
                    Some(files) => Some(Certificate::open(files).await?),
                    None => None,
                };
                if let Some(certificate) = &tls {
                    self.published.presents(certificate.presented())?;
                }
                self.tls = tls.is_some();
                let keys = match waited {
                    Some(keys) => keys,
                    None => DoorKeys::open(&place, installation, config.worker_wait).await?,
                };
                truth.check_keys(&place, keys.own()).await?;
                let services = DoorServices {
                    keys,
                    vault,
                    truth,
                    listener,
                    tls,
                    clock,
                    metrics: Arc::clone(&metrics),
                };
                self.launch_front_door(config, &connection, services)
                    .await?;
            }
            if let Some(address) = config.metrics_listen {
                self.launch_metrics(address, metrics).await?;
            }
            if parts.front_door() {
                self.write_addresses()?;
            }
        }
        Ok(())
    }

    async fn launch_scheduler(&mut self, config: &Config) -> Result<(), AppError> {
        let grpc = bind("--scheduler-listen", config.scheduler_listen).await?;
        let dashboard = match config.dashboard_listen {
            Some(address) => Some(bind("--dashboard-listen", address).await?),
            None => None,
        };
        let token_file = local_hub::token_file(&self.data)?;
        let settings = SchedulerConfig {
            default_hub: config.task_hub.clone(),
            access: local_hub::access(&token_file)?,
            retention: config.retention,
            ..SchedulerConfig::new(Storage::Directory(self.data.path().to_owned()))
        };
        self.hub_token_file = Some(token_file);
        let scheduler = parts::blocking(move || Scheduler::open(settings)).await??;
        self.scheduler_addr = Some(grpc.local_addr()?);
        let served = scheduler.clone();
        self.parts.push(Part::spawn(
            "scheduler",
            SCHEDULER_DRAIN,
            &self.failed,
            async move |stop| Ok(served.serve(grpc, stop).await?),
        ));
        if let Some(listener) = dashboard {
            self.dashboard_addr = Some(listener.local_addr()?);
            let router = scheduler.dashboard();
            self.parts.push(Part::spawn(
                "dashboard",
                HTTP_DRAIN,
                &self.failed,
                async move |stop| parts::serve_http(listener, router, stop).await,
            ));
        }
        Ok(())
    }

    /// The embedded task hub of this process, or the one that the settings name.
    fn connection(&self, config: &Config) -> Result<Connection, AppError> {
        let connection = match (self.scheduler_addr, &config.connection_string) {
            (Some(address), _) => {
                Connection::insecure(&format!("http://{address}"), &config.task_hub)?
            }
            (None, Some(text)) => Connection::parse(text)?,
            (None, None) => return Err(AppError::NoTaskHub),
        };
        Ok(local_hub::presenting(&self.data, connection)?)
    }

    /// Where the worker sends notices.
    fn webhook(&mut self, config: &Config) -> Result<Option<Webhook>, AppError> {
        let Some(settings) = &config.webhook else {
            return Ok(None);
        };
        let Some(path) = &settings.secret_file else {
            let key = self
                .data
                .secret_file(keys::WEBHOOK_SECRET, || secret::random_token("cs_hook_"))?;
            let webhook = Webhook::new(&settings.url, key)?;
            let (data, followed) = (self.data.clone(), webhook.clone());
            self.follow("webhook's key", |stop| {
                keys::follow_webhook(data, followed, stop)
            });
            return Ok(Some(webhook));
        };
        Ok(Some(Webhook::new(
            &settings.url,
            parts::webhook_secret(&self.data, path)?,
        )?))
    }

    fn launch_worker(
        &mut self,
        connection: &Connection,
        activities: Activities,
        metrics: &Arc<Metrics>,
    ) -> Result<(), AppError> {
        let registry = countersign_orchestrations::register(durabletask::Registry::new());
        let registry = metrics.watch(activities.register(registry));
        let worker = Worker::builder(connection).registry(registry).build()?;
        self.worker = Some(worker.status());
        self.parts.push(Part::spawn(
            "worker",
            WORKER_DRAIN,
            &self.failed,
            async move |stop| Ok(worker.run_until(stop.cancelled_owned()).await?),
        ));
        Ok(())
    }

    async fn launch_front_door(
        &mut self,
        config: &Config,
        connection: &Connection,
        services: DoorServices,
    ) -> Result<(), AppError> {
        let DoorServices {
            keys,
            vault,
            truth,
            listener,
            tls,
            clock,
            metrics,
        } = services;
        let address = listener.local_addr()?;
        let (admin_token, admin) = match &config.admin_token {
            Some(token) => (token.clone(), AdminToken::fixed(token)),
            None => {
                let token = self.data.admin_token()?;
                let data = self.data.clone();
                let admin = AdminToken::following(&token, &data.admin_token_path(), move || {
                    let token = data.existing_admin_token()?;
                    Ok::<_, DataDirError>((token, data.admin_token_before()?))
                });
                (token, admin)
            }
        };
        let verifier = Verifier::new(truth.checks()?);
        let folder_key = self.data.secret_key(SERVER_KEY)?;
        // One chain for all front doors takes a key that all of them have.
        let chained = match truth.database() {
            Some(_) => &keys.server,
            None => &folder_key,
        };
        let (audit, audit_writer, ingester) = truth.audit(chained, Arc::clone(&clock)).await?;
        if let Some(endpoint) = &config.otlp.logs {
            let mark = self.data.path().join(AUDIT_SENT);
            let shipper = Shipper::new(audit.reader(), mark, endpoint)?;
            // Before the front door, so that it stops after it and sends its last entries.
            self.parts.push(Part::spawn(
                "audit shipping",
                SHIPPING_DRAIN,
                &self.failed,
                async move |stop| {
                    shipper.run(stop).await;
                    Ok(())
                },
            ));
        }
        self.launch_ingester(ingester);
        let oidc = self.launch_oidc(config, &clock)?;
        let seal = keys.seal.value();
        self.follow("sealing key", |stop| keys.seal.until(stop));
        let signs = keys.mandates.value();
        self.follow("mandate key", |stop| keys.mandates.until(stop));
        let checks = keys.checks.clone();
        self.follow("checking keys", |stop| checks.until(stop));
        let mut access = Access::new(admin, truth.access()?, &keys.server).with_oidc(oidc);
        if config.auth == AuthMode::None {
            access = access.open_to_all();
        }
        let access = Arc::new(access);
        if config.auth != AuthMode::None {
            self.login = Some((Arc::clone(&access), Arc::clone(&clock)));
        }
        let hub = Hub::new(
            Client::new(connection)?,
            seal,
            &keys.server,
            Mandates::new(
                truth.ledger(),
                DoorMandateKeys {
                    signs,
                    checks: keys.checks.clone(),
                },
                FingerprintKey::new(keys.fingerprint),
                &keys.server,
                Arc::clone(&clock),
            ),
            ApprovalPolicy {
                timeout: config.approval_timeout,
                always: config.require_approval,
                approvals: config.approvals,
                request_approvals: config.request_approvals,
                from: config.approvers.clone(),
                reminders: config.approval_reminders.clone(),
                notify: config.webhook.is_some(),
            },
            Arc::clone(&clock),
        )
        .proving_all(config.require_proof);
        self.http_addr = Some(address);
        self.admin_token = Some(admin_token);
        let own = self.dashboard_addr.map(|a| format!("http://{a}"));
        let server = ServerInfo {
            task_hub: connection.task_hub().to_owned(),
            instance_link: config.instance_link.clone(),
            dashboard: Dashboard::new(&self.data, own, connection.task_hub()),
            guard: Guard::new(&config.limits, config.trusted_proxies.clone()),
            body_timeout: config.limits.body_timeout,
            cors_origins: config.cors_origins.clone(),
            names: OwnNames::new(address.ip(), &config.public_urls),
            public_url: config.public_urls.first().cloned(),
            tls: config.tls.is_some(),
            proof: LocalProof::new(&folder_key),
        };
        let listen = Listen {
            limits: config.limits.clone(),
            proxies: config.trusted_proxies.clone(),
            tls,
            published: Arc::clone(&self.published),
        };
        let database = truth.database().cloned();
        let failed = self.failed.clone();
        let noted = Arc::clone(&self.door);
        self.parts.push(Part::spawn(
            "front door",
            HTTP_DRAIN,
            &failed,
            async move |stop| {
                let door = FrontDoor::new(Services {
                    access,
                    hub,
                    vault,
                    verifier,
                    audit,
                    clock,
                    metrics,
                    server,
                    database,
                    stop: stop.clone(),
                })?;
                let door = Arc::new(door);
                let _ = noted.set(Arc::downgrade(&door));
                let router = http::router(Arc::clone(&door));
                let served = tokio::select! {
                    served = listen.serve(listener, router, stop.clone()) => served,
                    () = async {
                        door.watch().await;
                        std::future::pending().await
                    } => Ok(()),
                };
                drop(door);
                // The front door is gone with its queue, so the writer ends once it is empty.
                audit_writer
                    .await
                    .map_err(|_| AppError::Lost("audit log"))?;
                served
            },
        ));
        Ok(())
    }

    /// Follows a key that another process may replace.
    fn follow<F>(&mut self, name: &'static str, until: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let part = Part::spawn(name, HTTP_DRAIN, &self.failed, |stop| {
            let until = until(stop);
            async move {
                until.await;
                Ok(())
            }
        });
        self.parts.push(part);
    }

    /// The task that copies what workers did from the ledger's journal into the audit log.
    fn launch_ingester(&mut self, ingester: Ingester) {
        self.parts.push(Part::spawn(
            "journal",
            SHIPPING_DRAIN,
            &self.failed,
            async move |stop| {
                ingester.run(stop).await;
                Ok(())
            },
        ));
    }

    /// What recognises callers by an issuer's tokens, and the task that fetches its keys.
    fn launch_oidc(
        &mut self,
        config: &Config,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<Arc<Oidc>>, AppError> {
        let Some(settings) = config.oidc.clone() else {
            return Ok(None);
        };
        let oidc = Arc::new(Oidc::new(settings)?);
        let (refreshed, clock) = (Arc::clone(&oidc), Arc::clone(clock));
        self.parts.push(Part::spawn(
            "issuer's keys",
            HTTP_DRAIN,
            &self.failed,
            async move |stop| {
                refreshed.refresh_until(&*clock, &stop).await;
                Ok(())
            },
        ));
        Ok(Some(oidc))
    }

    async fn launch_metrics(
        &mut self,
        address: SocketAddr,
        metrics: Arc<Metrics>,
    ) -> Result<(), AppError> {
        let listener = bind("--metrics-listen", address).await?;
        self.metrics_addr = Some(listener.local_addr()?);
        let router = metrics::router(metrics);
        self.parts.push(Part::spawn(
            "metrics",
            HTTP_DRAIN,
            &self.failed,
            async move |stop| parts::serve_http(listener, router, stop).await,
        ));
        Ok(())
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
