//! The order in which the parts of a process start.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use countersign_activities::webhook::Webhook;
use countersign_activities::{Activities, Authority};
use countersign_azure::Identity;
use countersign_enrollment::fingerprint::FingerprintKey;
use durabletask::{Client, Connection, Worker};
use durabletask_scheduler::{Scheduler, SchedulerConfig};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::backends::{Backends, Vault};
use super::certificate::Certificate;
use super::door::DoorServices;
use super::listen::Listen;
use super::parts::{self, Part, bind};
use super::{AppError, Parts, Running, hub_storage};
use crate::access::{Access, AdminToken, Oidc, ServerKeys, secret};
use crate::audit::{AUDIT_SENT, Ingester, Shipper};
use crate::clock::Clock;
use crate::config::{AuthMode, Config};
use crate::data_dir::DataDirError;
use crate::http::{self, FrontDoor, Guard, OwnNames, ServerInfo, Services};
use crate::hub::{ApprovalPolicy, Hub};
use crate::keys::{self, DoorKeys, Installation, KeyStorage, WorkerKeys};
use crate::local_hub::{self, Dashboard};
use crate::local_proof::LocalProof;
use crate::mandates::{DoorMandateKeys, Mandates};
use crate::metrics::{self, Metrics};
use crate::telemetry::{TracedVault, spans};
use crate::verify::Verifier;

/// How long requests may take to finish once a stop was requested.
const HTTP_DRAIN: Duration = Duration::from_secs(10);
/// How long the worker may take. Longer than the worker's own grace period.
const WORKER_DRAIN: Duration = Duration::from_secs(35);
/// How long the shipping of audit entries may take to stop: longer than its own limit.
const SHIPPING_DRAIN: Duration = Duration::from_secs(15);
/// How long the scheduler may take.
const SCHEDULER_DRAIN: Duration = Duration::from_secs(15);

impl Running {
    /// Starts the parts in the order in which they need each other.
    pub(super) async fn launch(
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
            self.launch_on_hub(config, parts, clock, http).await?;
        }
        Ok(())
    }

    /// Starts what runs against a task hub: a worker, a front door on `http`, and their metrics.
    async fn launch_on_hub(
        &mut self,
        config: &Config,
        parts: Parts,
        clock: Arc<dyn Clock>,
        http: Option<TcpListener>,
    ) -> Result<(), AppError> {
        let identity = Identity::new(&config.azure.identity);
        let connection = self.connection(config)?.with_credential(identity.clone());
        let place = KeyStorage::new(&self.data, &config.azure, &identity)?;
        // A front door waits for its worker before it creates anything.
        let waited = match (parts.worker(), &config.database) {
            (false, None) => {
                let folder = Installation::Folder(&self.data);
                Some(DoorKeys::open(&place, folder, config.worker_wait).await?)
            }
            _ => None,
        };
        let backends = Backends::open(&self.data, config.database.as_ref(), &identity).await?;
        if parts.front_door() {
            backends
                .refuse_other_keys(&place, &keys::DOOR_FILES)
                .await?;
        }
        if parts.worker() {
            backends
                .refuse_other_keys(&place, &keys::WORKER_FILES)
                .await?;
        }
        let installation = backends.installation();
        let waited = match (waited, parts.worker()) {
            (None, false) => Some(DoorKeys::open(&place, installation, config.worker_wait).await?),
            (waited, _) => waited,
        };
        let Vault {
            vault,
            counts,
            embedded,
        } = Vault::open(&backends, &config.azure, identity).await?;
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
        self.follow("vault cache", async move |stop| {
            cache.sweep_until(stop.cancelled()).await;
        });
        if parts.worker() {
            let keys = WorkerKeys::open(&place).await?;
            backends.check_keys(&place, keys.own()).await?;
            let authority = Authority::new(backends.ledger(), Arc::new(keys.checks.clone()));
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
            backends.check_keys(&place, keys.own()).await?;
            let services = DoorServices {
                keys,
                vault,
                backends,
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
        Ok(())
    }

    async fn launch_scheduler(&mut self, config: &Config) -> Result<(), AppError> {
        let grpc = bind("--scheduler-listen", config.scheduler_listen).await?;
        let dashboard = match config.dashboard_listen {
            Some(address) => Some(bind("--dashboard-listen", address).await?),
            None => None,
        };
        let token_file = local_hub::token_file(&self.data)?;
        let address = grpc.local_addr()?;
        let settings = SchedulerConfig {
            default_hub: config.task_hub.clone(),
            access: local_hub::access(&token_file)?,
            retention: config.retention,
            ..SchedulerConfig::new(hub_storage::of(config, &self.data, address).await?)
        };
        self.hub_token_file = Some(token_file);
        let scheduler = parts::blocking(move || Scheduler::open(settings)).await??;
        self.scheduler_addr = Some(address);
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
            self.serve_router("dashboard", listener, router);
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
    fn webhook(&self, config: &Config) -> Result<Option<Webhook>, AppError> {
        let Some(settings) = &config.webhook else {
            return Ok(None);
        };
        let Some(path) = &settings.secret_file else {
            let key = self
                .data
                .secret_file(keys::WEBHOOK_SECRET, || secret::random_token("cs_hook_"))?;
            let data = self.data.clone();
            let webhook = Webhook::new(&settings.url, key)?;
            return Ok(Some(webhook.reading(move || keys::webhook_keys(&data))));
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
            backends,
            listener,
            tls,
            clock,
            metrics,
        } = services;
        let address = listener.local_addr()?;
        let (admin_token, admin) = self.admin_token(config)?;
        let verifier = Verifier::new(backends.checks()?);
        let shared_keys = keys.server.value();
        self.follow("server key", |stop| keys.server.until(stop));
        let folder_keys = match config.azure.key_vault {
            None => shared_keys.clone(),
            // The others are in Key Vault, and these are the folder's own.
            Some(_) => {
                let own = ServerKeys::follow_folder(&self.data)?;
                let keys = own.value();
                self.follow("folder's server key", |stop| own.until(stop));
                keys
            }
        };
        // One chain for all front doors takes keys that all of them have.
        let chained = match backends.database() {
            Some(_) => &shared_keys,
            None => &folder_keys,
        };
        let (audit, audit_writer, ingester) = backends.audit(chained, Arc::clone(&clock)).await?;
        if let Some(endpoint) = &config.otlp.logs {
            let mark = self.data.path().join(AUDIT_SENT);
            // Before the front door, so that it stops after it and sends its last entries.
            self.launch_shipper(Shipper::new(audit.reader(), mark, endpoint)?);
        }
        self.launch_ingester(ingester);
        let oidc = self.launch_oidc(config, &clock)?;
        let seal = keys.seal.value();
        self.follow("sealing key", |stop| keys.seal.until(stop));
        let signs = keys.mandates.value();
        self.follow("mandate key", |stop| keys.mandates.until(stop));
        let checks = keys.checks.clone();
        self.follow("checking keys", |stop| checks.until(stop));
        let mut access = Access::new(admin, backends.access()?, &shared_keys).with_oidc(oidc);
        if config.auth == AuthMode::None {
            access = access.open_to_all();
        }
        let access = Arc::new(access);
        if config.auth != AuthMode::None {
            self.login = Some((Arc::clone(&access), Arc::clone(&clock)));
        }
        // Ids and pseudonyms have to stay the same: they are derived from the first key.
        let ring = shared_keys.ring();
        let first = ring.derives.bytes();
        let hub = Hub::new(
            Client::new(connection)?,
            seal,
            first,
            Mandates::new(
                backends.ledger(),
                DoorMandateKeys {
                    signs,
                    checks: keys.checks.clone(),
                },
                FingerprintKey::new(keys.fingerprint),
                first,
                Arc::clone(&clock),
            ),
            approval_policy(config),
            Arc::clone(&clock),
        )
        .proving_all(config.require_proof);
        self.http_addr = Some(address);
        self.admin_token = Some(admin_token);
        let dashboard = self.dashboard_addr.map(|a| format!("http://{a}"));
        let server = ServerInfo {
            task_hub: connection.task_hub().to_owned(),
            instance_link: config.instance_link.clone(),
            dashboard: Dashboard::new(&self.data, dashboard, connection.task_hub()),
            guard: Guard::new(&config.limits, config.trusted_proxies.clone()),
            body_timeout: config.limits.body_timeout,
            cors_origins: config.cors_origins.clone(),
            names: OwnNames::new(address.ip(), &config.public_urls),
            public_url: config.public_urls.first().cloned(),
            tls: config.tls.is_some(),
            proof: LocalProof::new(&folder_keys),
        };
        let listen = Listen {
            limits: config.limits.clone(),
            proxies: config.trusted_proxies.clone(),
            tls,
            published: Arc::clone(&self.published),
        };
        let database = backends.database().cloned();
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
                    .map_err(|error| parts::lost("audit log", error))?;
                served
            },
        ));
        Ok(())
    }

    /// The administrator's token, and how callers that present it are recognized.
    fn admin_token(&self, config: &Config) -> Result<(Zeroizing<String>, AdminToken), AppError> {
        if let Some(token) = &config.admin_token {
            return Ok((token.clone(), AdminToken::fixed(token)));
        }
        let token = self.data.admin_token()?;
        let data = self.data.clone();
        let admin = AdminToken::following(&token, &data.admin_token_path(), move || {
            let token = data.existing_admin_token()?;
            Ok::<_, DataDirError>((token, data.admin_token_before()?))
        });
        Ok((token, admin))
    }

    /// Starts a task that runs until it is stopped, and cannot fail: mostly one that follows a key
    /// that another process may replace.
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

    /// The task that sends the audit log to a collector.
    fn launch_shipper(&mut self, shipper: Shipper) {
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

    /// What recognizes callers by an issuer's tokens, and the task that fetches its keys.
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
        self.serve_router("metrics", listener, router);
        Ok(())
    }

    /// Answers over HTTP, as a part of this name.
    fn serve_router(&mut self, name: &'static str, listener: TcpListener, router: axum::Router) {
        self.parts.push(Part::spawn(
            name,
            HTTP_DRAIN,
            &self.failed,
            async move |stop| parts::serve_http(listener, router, stop).await,
        ));
    }
}

/// What enrollments and requests need an approval, and whose.
fn approval_policy(config: &Config) -> ApprovalPolicy {
    ApprovalPolicy {
        timeout: config.approval_timeout,
        always: config.require_approval,
        approvals: config.approvals,
        request_approvals: config.request_approvals,
        from: config.approvers.clone(),
        reminders: config.approval_reminders.clone(),
        notify: config.webhook.is_some(),
    }
}
