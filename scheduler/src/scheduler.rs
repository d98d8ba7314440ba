//! The scheduler as a whole: open, serve, dashboard.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use durabletask_proto::completion_stream_service_server::CompletionStreamServiceServer;
use durabletask_proto::fork_service_server::ForkServiceServer;
use durabletask_proto::task_hub_sidecar_service_server::TaskHubSidecarServiceServer;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::{InterceptorLayer, Routes};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::access::AuthInterceptor;
use crate::dispatch::{Dispatch, backoff, pace, timers, untaken};
use crate::in_process::{Entrance, InProcess};
use crate::limits::MAX_MESSAGE;
use crate::metrics::Commits;
use crate::nodes::{self, Nodes, Owner as NodeOwner, Owners, ReceiveLayer, RouteLayer};
use crate::service::Service;
use crate::store::{Committed, Owner, Store};
use crate::tls::Inside;
use crate::{
    OpenError, Retention, SchedulerConfig, ServeError, Storage, dashboard, operations, purging,
};

/// How long a node that stops waits until another has taken its task hubs.
const SUCCESSION: Duration = Duration::from_secs(2);
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
const MAX_STREAMS: u32 = 100_000;
/// The same between nodes.
const PEER_STREAM_WINDOW: u32 = 256 * 1024;
const PEER_CONNECTION_WINDOW: u32 = 1 << 30;
/// More than a node opens on one connection, so that none of its calls waits for another.
const PEER_STREAMS: u32 = 2000;

/// An open scheduler. Cheap to clone; all clones are the same scheduler. Dropping the
/// last one closes the storage, with or without a graceful end of [`Scheduler::serve`].
#[derive(Clone)]
pub struct Scheduler {
    store: Store,
    dispatch: Arc<Dispatch>,
    commits: Arc<Commits>,
    config: Arc<SchedulerConfig>,
    /// If there are others.
    nodes: Option<Nodes>,
    entrance: Entrance,
}

impl Scheduler {
    /// Opens the storage and requeues everything that was pending when it was last
    /// closed, however that happened.
    ///
    /// # Errors
    /// [`OpenError`] if the folder or the database cannot be used: not writable, in
    /// use by another process, or written by a newer version.
    pub fn open(config: SchedulerConfig) -> Result<Self, OpenError> {
        config.check().map_err(OpenError::Config)?;
        let dispatch = Dispatch::new(
            Arc::clone(&config.clock),
            config.activities.clone(),
            config.waiting_bytes,
        );
        let committed: Arc<dyn Committed> = Arc::clone(&dispatch) as Arc<dyn Committed>;
        let commits: Arc<Commits> = Arc::default();
        let store = Store::open(&config, committed, Arc::clone(&commits))?;
        let owners = config.owners.clone().or_else(|| {
            let directory = store.directory().map(Arc::clone);
            directory.map(|directory| directory as Arc<dyn Owners>)
        });
        let nodes = config.peers.clone().zip(owners).map(|(port, owners)| {
            Nodes::new(port, owners, config.access.clone(), config.keepalive)
        });
        Ok(Self {
            store,
            dispatch,
            commits,
            config: Arc::new(config),
            nodes,
            entrance: Entrance::new(),
        })
    }

    /// A way in for callers of the same process, which needs no socket.
    #[must_use]
    pub fn in_process(&self) -> InProcess {
        self.entrance.near()
    }

    /// Returns once this scheduler owns its task hubs: at once where no other one can, and otherwise when
    /// it is the first on its database, or takes the place of another.
    pub async fn until_owner(&self) {
        if let Some(mut owner) = self.store.owner() {
            // It has a sender for as long as this has a store.
            let _ = owner.wait_for(|owner| *owner == Owner::Here).await;
        }
    }

    /// Answers the gRPC service (HTTP/2, in plaintext unless the settings have a
    /// certificate) on `listener` until `stop`, and other nodes on the port in the settings. Then it dispatches no
    /// more work, waits up to the drain timeout for outstanding items, ends its streams and returns.
    /// A scheduler is served once.
    ///
    /// # Errors
    /// [`ServeError`] if the server or the storage's writer ends by itself.
    pub async fn serve(
        &self,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        let ending = CancellationToken::new();
        // However this future ends, the timer loop and the streams end with it.
        let _ends_all = ending.clone().drop_guard();
        let service = Service::new(
            self.store.clone(),
            Arc::clone(&self.dispatch),
            Arc::clone(&self.config),
            ending.clone(),
        );
        let timers = tokio::spawn(timers::run(
            self.store.clone(),
            Arc::clone(&self.dispatch),
            Arc::clone(&self.config.clock),
            ending.clone(),
        ));
        // These only write what can be repeated, so they are not waited for.
        tokio::spawn(pace::run(
            Arc::clone(&self.dispatch),
            Arc::clone(&self.config.clock),
            ending.clone(),
        ));
        if !matches!(self.config.storage, Storage::Database(_)) {
            tokio::spawn(purging::give_back(
                self.store.clone(),
                Arc::clone(&self.dispatch),
                ending.clone(),
            ));
        }
        tokio::spawn(untaken::run(
            Arc::clone(&self.dispatch),
            self.store.clone(),
            ending.clone(),
        ));
        tokio::spawn(backoff::run(Arc::clone(&self.dispatch), ending.clone()));
        if self.config.retention != Retention::default() {
            tokio::spawn(purging::run(
                self.store.clone(),
                Arc::clone(&self.dispatch),
                self.config.retention,
                Arc::clone(&self.config.clock),
                ending.clone(),
            ));
        }
        let results = CompletionStreamServiceServer::new(service.clone())
            .max_decoding_message_size(MAX_MESSAGE);
        let forks = ForkServiceServer::new(service.clone());
        let peers = self.serve_peers(&service, ending.clone())?;
        let near = self.entrance.take().ok_or(ServeError::ServedBefore)?;
        let rpc = TaskHubSidecarServiceServer::new(service)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "the scheduler is ready");
        }
        let routed = RouteLayer {
            nodes: self.nodes.clone(),
            default_hub: self.config.default_hub.as_str().into(),
            stop: ending.clone(),
        };
        // Around everything on this port, so that it covers every service and path.
        let asked = InterceptorLayer::new(AuthInterceptor(self.config.access.clone()));
        let routes = Routes::new(rpc).add_service(results).add_service(forks);
        let answering = || {
            let mut server = self.server().layer(asked.clone()).layer(routed.clone());
            server.add_routes(routes.clone())
        };
        let end = ending.clone().cancelled_owned();
        let near = ReceiverStream::new(near).map(Ok::<_, Infallible>);
        let near = answering().serve_with_incoming_shutdown(near, end).boxed();
        let router = answering();
        let end = ending.clone().cancelled_owned();
        let server = match &self.config.tls {
            Some(tls) => {
                let incoming = tls.listen(listener, Inside::Grpc);
                router.serve_with_incoming_shutdown(incoming, end).boxed()
            }
            None => {
                let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                router.serve_with_incoming_shutdown(incoming, end).boxed()
            }
        };
        let drain = async {
            stop.cancelled().await;
            self.dispatch.close();
            if tokio::time::timeout(self.config.drain_timeout, self.dispatch.drained())
                .await
                .is_err()
            {
                tracing::warn!(
                    "work items were still held by workers at the end of the drain; they run again after the next start"
                );
            }
            // Another node answers for the task hubs before this one's streams end.
            self.store.writer.hand_over().await;
            self.until_succeeded().await;
            ending.cancel();
        };
        let mut server = async move { tokio::try_join!(server, near, peers).map(|_| ()) }.boxed();
        let result = tokio::select! {
            result = &mut server => result.map_err(ServeError::from),
            () = self.store.writer.closed() => Err(ServeError::Writer("its thread has ended".to_owned())),
            () = drain => {
                // Connections close as their clients notice; an idle one may not.
                let closing = tokio::time::timeout(self.config.drain_timeout, &mut server).await;
                closing.unwrap_or(Ok(())).map_err(ServeError::from)
            }
        };
        ending.cancel();
        if let Some(directory) = self.store.directory() {
            directory.leave().await;
        }
        if timers.await.is_err() {
            tracing::error!("the timer loop panicked");
        }
        result?;
        tracing::info!("the scheduler has stopped");
        Ok(())
    }

    /// Waits a moment for another node to take what this one has handed over, so that the calls that are
    /// here go on there. It returns at once where there is no other, or none that can be called.
    async fn until_succeeded(&self) {
        let Some(nodes) = &self.nodes else { return };
        let mut changed = nodes.owners().changed();
        let succeeded = async {
            while matches!(nodes.owners().owner(""), NodeOwner::Nobody { .. })
                && !nodes.others().is_empty()
                && changed.changed().await.is_ok()
            {}
        };
        let _ = tokio::time::timeout(SUCCESSION, succeeded).await;
    }

    /// An HTTP/2 server with the settings of both ports.
    fn server(&self) -> Server {
        Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(MAX_STREAMS)
            // A worker that is frozen, or whose machine is gone, closes no connection.
            .http2_keepalive_interval(Some(self.config.keepalive))
            .http2_keepalive_timeout(Some(self.config.keepalive))
    }

    /// Answers what other nodes send here, until `ending`; nothing where there are none.
    fn serve_peers(
        &self,
        service: &Service,
        ending: CancellationToken,
    ) -> Result<BoxFuture<'static, Result<(), tonic::transport::Error>>, ServeError> {
        let Some(nodes) = &self.nodes else {
            return Ok(std::future::ready(Ok(())).boxed());
        };
        let listener = nodes.port().take_listener();
        let listener = listener.ok_or(ServeError::ServedBefore)?;
        let incoming = nodes::listen(listener, nodes.port(), nodes.owners())?;
        let results = CompletionStreamServiceServer::new(service.clone())
            .max_decoding_message_size(MAX_MESSAGE);
        let forks = ForkServiceServer::new(service.clone());
        let rpc = TaskHubSidecarServiceServer::new(service.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let pages = dashboard::for_peers(service.clone(), nodes.clone(), ending.clone());
        let routes = Routes::new(rpc)
            .add_service(results)
            .add_service(forks)
            .into_axum_router()
            .merge(pages);
        let receive = ReceiveLayer {
            nodes: nodes.clone(),
            stop: ending.clone(),
        };
        let router = self
            .server()
            // Its streams are other nodes' callers: none of them stops another by not reading.
            .initial_connection_window_size(PEER_CONNECTION_WINDOW)
            .initial_stream_window_size(PEER_STREAM_WINDOW)
            .max_concurrent_streams(PEER_STREAMS)
            .layer(receive)
            .add_routes(Routes::from(routes));
        tracing::info!(node = %nodes.port().node().id, address = %nodes.port().local_addr(), "other nodes can call this one");
        Ok(router
            .serve_with_incoming_shutdown(incoming, ending.cancelled_owned())
            .boxed())
    }

    /// The dashboard: pages on the task hubs with operations on instances,
    /// and `/healthz` and `/metrics`. Callers are authenticated as configured;
    /// requests from other sites' pages are refused.
    pub fn dashboard(&self) -> axum::Router {
        let service = Service::new(
            self.store.clone(),
            Arc::clone(&self.dispatch),
            Arc::clone(&self.config),
            self.dispatch.ended.clone(),
        );
        dashboard::router(service, self.nodes.clone()).merge(self.operations())
    }

    /// `GET /healthz`, which answers 200 while writes succeed, `GET /readyz`, which
    /// does so until a stop, and `GET /metrics` for Prometheus (OpenMetrics text). Only
    /// the last one authenticates callers.
    pub fn operations(&self) -> axum::Router {
        operations::router(
            self.store.clone(),
            Arc::clone(&self.dispatch),
            Arc::clone(&self.commits),
            &self.config,
            self.nodes.clone(),
        )
    }
}
