//! Where a request for a task hub is answered, if there are several nodes.

use std::sync::Arc;

use axum::extract::{RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio_util::sync::CancellationToken;

use super::links::pinged_hub;
use super::path::named;
use crate::SchedulerConfig;
use crate::nodes::Nodes;

/// Who sends the requests.
#[derive(Clone)]
pub(super) enum Side {
    /// Browsers, to the only node.
    Alone,
    /// Browsers, to one of several nodes.
    Browsers {
        nodes: Nodes,
        /// Ends what is open at other nodes.
        stop: CancellationToken,
    },
    /// Other nodes.
    Peers {
        nodes: Nodes,
        stop: CancellationToken,
    },
}

/// Lets the node that owns the task hub answer.
pub(super) async fn at_owner(
    State((side, config)): State<(Side, Arc<SchedulerConfig>)>,
    params: RawPathParams,
    request: Request,
    next: Next,
) -> Response {
    let in_path = params
        .iter()
        .find(|(name, _)| *name == "hub")
        .map(|(_, hub)| named(hub).to_owned());
    let hub = in_path.or_else(|| pinged_hub(request.headers(), &config));
    match (side, hub) {
        (Side::Alone, _) | (_, None) => next.run(request).await,
        (Side::Browsers { nodes, stop }, Some(hub)) => {
            nodes.route_page(hub, stop, request, next).await
        }
        (Side::Peers { nodes, stop }, Some(hub)) => {
            nodes.receive_page(hub, stop, request, next).await
        }
    }
}
