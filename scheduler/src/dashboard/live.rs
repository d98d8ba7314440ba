//! Notifies open pages of changes; they then reload what they show.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::watch;

use super::Dashboard;
use super::nodes::Side;
use super::problem::Problem;

/// The least time between two events of one page.
const PACE: Duration = Duration::from_secs(1);

/// A stream of events named `changed`, at most one each second, until the scheduler stops.
pub(super) async fn changes(State(dashboard): State<Dashboard>) -> Response {
    let Ok(permit) = dashboard.live.clone().try_acquire_owned() else {
        return Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many pages are open; this one polls instead.",
        )
        .into_response();
    };
    let dispatch = dashboard.service.dispatch;
    let ended = dispatch.ended.clone();
    let elsewhere = match &dashboard.side {
        Side::Browsers { nodes, .. } => Some(nodes.changes_elsewhere("/api/changes")),
        Side::Alone | Side::Peers { .. } => None,
    };
    let changes = ((dispatch.changes(), elsewhere), permit, true);
    let events = stream::unfold(changes, |(mut changes, permit, first)| async move {
        if !first {
            tokio::time::sleep(PACE).await;
        }
        let (here, elsewhere) = &mut changes;
        tokio::select! {
            change = here.changed() => change.ok()?,
            () = changed_elsewhere(elsewhere.as_mut()) => {}
        }
        // Browsers drop an event without data.
        let event: Result<Event, Infallible> = Ok(Event::default().event("changed").data("now"));
        Some((event, (changes, permit, false)))
    });
    let events =
        futures_util::StreamExt::take_until(events, async move { ended.cancelled().await });
    Sse::new(events)
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
        .into_response()
}

/// Returns with the next change at another node; never if there is none.
async fn changed_elsewhere(changes: Option<&mut watch::Receiver<()>>) {
    if let Some(changes) = changes
        && changes.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
