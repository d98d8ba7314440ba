//! The nodes that share a database, and which of them has owned the task hubs since when, and why.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

use super::Dashboard;
use crate::store::{Listed, PastTerm};

/// A node in the list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    name: String,
    version: String,
    /// Where other nodes call it, if they can.
    address: Option<String>,
    started_at: String,
    /// When the database last heard from it.
    seen_at: String,
    live: bool,
    /// Whether it owns the task hubs.
    owns: bool,
    /// Whether it answers this request.
    here: bool,
}

/// When a node became the owner of the task hubs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Term {
    number: i64,
    node: String,
    began_at: String,
    reason: String,
}

/// The answer; nothing is in it where no other node can share the storage.
#[derive(Default, Serialize)]
pub(super) struct Members {
    nodes: Vec<Member>,
    /// The newest first.
    terms: Vec<Term>,
}

/// All nodes, and the last terms, as this node has read them from the database.
pub(super) async fn list(State(dashboard): State<Dashboard>) -> Json<Members> {
    let Some(directory) = dashboard.service.store.directory() else {
        return Json(Members::default());
    };
    let known = directory.known();
    let member = |node: &Listed| Member {
        name: node.name.clone(),
        version: node.version.clone(),
        address: node.peer.as_ref().map(|(address, _)| address.to_string()),
        started_at: time(node.started_us),
        seen_at: time(node.seen_us),
        live: node.live,
        owns: node.owns,
        here: *node.id == *directory.id(),
    };
    let term = |term: &PastTerm| Term {
        number: term.fence,
        node: term.name.clone(),
        began_at: time(term.began_us),
        reason: term.reason.clone(),
    };
    let mut nodes: Vec<Member> = known.nodes.iter().map(member).collect();
    nodes.sort_by(|a, b| (!a.live, &a.name).cmp(&(!b.live, &b.name)));
    Json(Members {
        nodes,
        terms: known.terms.iter().map(term).collect(),
    })
}

/// RFC 3339; empty for a time that has no such form.
fn time(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros)
        .map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
        .unwrap_or_default()
}
