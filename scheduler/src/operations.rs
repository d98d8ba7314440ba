//! Health checks and metrics, for supervisors and monitoring systems.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::SchedulerConfig;
use crate::access::{Asking, ask};
use crate::dispatch::Dispatch;
use crate::guard;
use crate::metrics::{self, CONTENT_TYPE, Commits, Snapshot};
use crate::nodes::Nodes;
use crate::status::status_name;
use crate::store::{Owner, Store, StoreError, hub_names};

/// How long a write may take before the scheduler counts as unhealthy.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Operations {
    store: Store,
    dispatch: Arc<Dispatch>,
    commits: Arc<Commits>,
    nodes: Option<Nodes>,
    /// When calls were last found to be answered.
    answered: Arc<Mutex<Option<Instant>>>,
}

/// `/healthz` and `/readyz`, for anyone, and `/metrics`; neither is answered to another site's page.
pub(crate) fn router(
    store: Store,
    dispatch: Arc<Dispatch>,
    commits: Arc<Commits>,
    config: &SchedulerConfig,
    nodes: Option<Nodes>,
) -> Router {
    let asking = Asking {
        access: config.access.clone(),
        tls: config.tls.is_some(),
    };
    let hosts: Arc<[String]> = config.dashboard_hosts.clone().into();
    Router::new()
        .route("/metrics", get(prometheus))
        .layer(middleware::from_fn_with_state(asking, ask))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .layer(middleware::from_fn_with_state(hosts, guard::guard))
        .with_state(Operations {
            store,
            dispatch,
            commits,
            nodes,
            answered: Arc::default(),
        })
}

/// Healthy means that a write reaches the disk, or that this node stands by for one whose writes do.
async fn health(State(operations): State<Operations>) -> Response {
    if let Some(owner) = operations.store.owner()
        && let Owner::Other(name) = &*owner.borrow()
    {
        return plain(
            StatusCode::OK,
            format!("stands by; {name} owns the task hubs\n"),
        );
    }
    let write = operations.store.writer.write(|tx| tx.touch());
    let (status, text) = match tokio::time::timeout(PATIENCE, write).await {
        Ok(Ok(())) => (StatusCode::OK, "ok\n".to_owned()),
        Ok(Err(error)) => {
            let status = crate::service::status(error);
            let text = format!("{}\n", status.message());
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
        Err(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "writes fail; see the scheduler's log\n".to_owned(),
        ),
    };
    plain(status, text)
}

fn plain(status: StatusCode, text: String) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], text).into_response()
}

/// Ready means that calls are answered: healthy, not stopping, and owner of its task hubs, or a node
/// among others that knows who owns what. Such a node answers for every task hub, whether the hub is
/// here or at another node; if one node owns them all, it has to be reached from here. A node that
/// has answered stays ready for as long as calls wait for an owner.
async fn ready(operations: State<Operations>) -> Response {
    if operations.dispatch.ended.is_cancelled() {
        let text = "the scheduler is shutting down and hands out no more work\n";
        return not_ready(text.to_owned());
    }
    let Some(nodes) = &operations.nodes else {
        return match operations.store.term() {
            Ok(_) => health(operations).await,
            Err(error) => not_ready(format!("{error}\n")),
        };
    };
    let owner = operations.store.owner();
    if owner.is_none_or(|owner| *owner.borrow() == Owner::Here) {
        return match nodes.owners().unready() {
            None => health(operations).await,
            Some(reason) => not_ready(format!("{reason}\n")),
        };
    }
    let reason = match nodes.owners().unready() {
        None => nodes.reach_owner().await.err(),
        unready => unready,
    };
    let mut answered = operations
        .answered
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    match reason {
        None => {
            *answered = Some(Instant::now());
            plain(
                StatusCode::OK,
                "ok; another node owns the task hubs\n".to_owned(),
            )
        }
        Some(reason) if answered.is_some_and(|at| at.elapsed() < nodes.port().patience()) => {
            plain(StatusCode::OK, format!("calls wait: {reason}\n"))
        }
        Some(reason) => not_ready(format!("{reason}\n")),
    }
}

fn not_ready(text: String) -> Response {
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    (StatusCode::SERVICE_UNAVAILABLE, no_store, text).into_response()
}

async fn prometheus(State(operations): State<Operations>) -> Response {
    match snapshot(&operations).await.map(metrics::render) {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Ok(Err(error)) => unavailable(&error),
        Err(error) => unavailable(&error),
    }
}

fn unavailable(error: &dyn std::error::Error) -> Response {
    tracing::error!(%error, "metrics could not be read");
    (
        StatusCode::SERVICE_UNAVAILABLE,
        "metrics could not be read; see the scheduler's log\n",
    )
        .into_response()
}

async fn snapshot(operations: &Operations) -> Result<Snapshot, StoreError> {
    let hubs = match operations.store.browse(hub_names).await {
        // Nothing is counted here.
        Err(error) if error.is_not_owner() => HashMap::new(),
        read => read?,
    };
    let instances = operations
        .store
        .status_counts()
        .into_iter()
        .map(|(hub, status, count)| (hub, status_name(status), count))
        .collect();
    Ok(Snapshot {
        owns: operations.store.term().is_ok(),
        leases: operations.store.leases().cloned().map(|leases| {
            let known = operations
                .store
                .directory()
                .map(|directory| directory.known());
            let live = known.map_or(0, |known| {
                known.nodes.iter().filter(|node| node.live).count()
            });
            (leases, live)
        }),
        hubs,
        instances,
        loads: operations.dispatch.loads(),
        workers: operations.dispatch.worker_counts(),
        commits: Arc::clone(&operations.commits),
        nodes: operations
            .nodes
            .as_ref()
            .map(|nodes| Arc::clone(nodes.meters())),
    })
}
