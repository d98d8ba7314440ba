//! The list of task hubs, of all nodes.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Dashboard;
use super::nodes::Side;
use super::problem::Problem;
use crate::nodes::{Node, Nodes};
use crate::status::status_name;
use crate::store::{StoreError, hub_names};

/// A task hub in the list.
#[derive(Deserialize, Serialize)]
struct Hub {
    name: String,
    /// Instances by status.
    instances: Map<String, Value>,
    /// Connected workers.
    workers: usize,
    /// The node that it is at, if there are several.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    node: Option<String>,
}

/// The answer.
#[derive(Deserialize, Serialize)]
pub(super) struct Hubs {
    hubs: Vec<Hub>,
    /// What is wrong, for people.
    trouble: Option<String>,
}

/// All task hubs: name, instances by status, connected workers. Each node counts those that it owns.
pub(super) async fn list(State(dashboard): State<Dashboard>) -> Result<Json<Hubs>, Problem> {
    let here = match (here(&dashboard).await, &dashboard.side) {
        // Nothing is counted here; the owner is asked.
        (Err(error), Side::Peers { .. } | Side::Browsers { .. }) if error.is_not_owner() => Hubs {
            hubs: Vec::new(),
            trouble: None,
        },
        (here, _) => here?,
    };
    Ok(Json(match &dashboard.side {
        Side::Alone => here,
        Side::Peers { nodes, .. } => owned(nodes, here),
        Side::Browsers { nodes, .. } => everywhere(nodes, here).await,
    }))
}

async fn here(dashboard: &Dashboard) -> Result<Hubs, StoreError> {
    let store = &dashboard.service.store;
    let names = store.browse(hub_names).await?;
    let counts = store.status_counts();
    let workers = dashboard.service.dispatch.worker_counts();
    let mut hubs: Vec<Hub> = names
        .into_iter()
        .map(|(hub, name)| Hub {
            name,
            instances: counts
                .iter()
                .filter(|(each, ..)| *each == hub)
                .map(|(_, status, count)| (status_name(*status).to_owned(), (*count).into()))
                .collect(),
            workers: workers.get(&hub).copied().unwrap_or(0),
            node: None,
        })
        .collect();
    hubs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let trouble = store.writer.disk().trouble();
    Ok(Hubs {
        hubs,
        trouble: trouble.map(str::to_owned),
    })
}

/// The task hubs that are this node's to count.
fn owned(nodes: &Nodes, mut here: Hubs) -> Hubs {
    let id = nodes.port().node().id.to_string();
    here.hubs.retain(|hub| nodes.serves(&hub.name));
    for hub in &mut here.hubs {
        hub.node = Some(id.clone());
    }
    here
}

/// The task hubs of all nodes, each as its owner counts it.
async fn everywhere(nodes: &Nodes, here: Hubs) -> Hubs {
    let known: Vec<String> = here.hubs.iter().map(|hub| hub.name.clone()).collect();
    let mine = owned(nodes, here);
    let mut troubles: Vec<String> = mine.trouble.into_iter().collect();
    let mut hubs: BTreeMap<String, Hub> = BTreeMap::new();
    let mut add = |listed: Vec<Hub>| {
        for hub in listed {
            hubs.entry(hub.name.to_ascii_lowercase()).or_insert(hub);
        }
    };
    add(mine.hubs);
    let others = nodes.others();
    let answers = join_all(others.iter().map(|node| ask(nodes, node))).await;
    for (node, answer) in others.iter().zip(answers) {
        match answer {
            Ok(theirs) => {
                troubles.extend(theirs.trouble);
                add(theirs.hubs);
            }
            Err(reason) => troubles.push(format!(
                "The node {node} does not say what its task hubs hold: {reason}."
            )),
        }
    }
    // One that nobody counts now is still there.
    add(known
        .into_iter()
        .map(|name| Hub {
            name,
            instances: Map::new(),
            workers: 0,
            node: None,
        })
        .collect());
    let mut hubs: Vec<Hub> = hubs.into_values().collect();
    hubs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Hubs {
        hubs,
        trouble: (!troubles.is_empty()).then(|| troubles.join(" ")),
    }
}

async fn ask(nodes: &Nodes, node: &Node) -> Result<Hubs, String> {
    let answer = nodes.ask(node, "/api/hubs").await?;
    serde_json::from_slice(&answer).map_err(|error| error.to_string())
}
