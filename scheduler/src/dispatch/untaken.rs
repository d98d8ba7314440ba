//! Work that waits although workers have room, because none accepts it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Dispatch;
use super::lanes::Lane;
use super::state::{State, Stream};
use crate::metrics::Kind;
use crate::store::{Store, hub_names};

/// How long work waits before the log says that no worker accepts it: workers need a moment
/// to start.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often this is checked.
const EVERY: Duration = Duration::from_secs(1);
/// The most kinds of work that one check reports.
const TOLD_AT_ONCE: usize = 20;

/// Why no worker accepts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    NoWorker,
    NoTaker,
    GivenBack,
    Broken,
}

impl Reason {
    /// For people.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::NoWorker => "no worker is connected to this task hub",
            Self::NoTaker => "no connected worker accepts this name and version",
            Self::GivenBack => {
                "each worker that accepts it abandons it; offering it less and less often"
            }
            Self::Broken => {
                "workers' streams end when they receive it; offering it less and less often"
            }
        }
    }
}

/// Items of one name that no worker accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Untaken {
    pub(crate) hub: i64,
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) reason: Reason,
    pub(crate) count: usize,
    /// How long the first of them has been waiting.
    pub(crate) waited: Duration,
}

type Key = (i64, Kind, String, Option<String>, Reason);

impl State {
    /// Work that no worker accepts, of one task hub or of all.
    pub(super) fn untaken(&self, only: Option<i64>) -> Vec<Untaken> {
        let now = Instant::now();
        let mut found: BTreeMap<Key, (usize, Instant)> = BTreeMap::new();
        for (hub, queues) in &self.hubs {
            if only.is_some_and(|only| only != *hub) {
                continue;
            }
            let streams: Vec<(u64, &Stream)> = self
                .streams
                .iter()
                .filter(|(_, stream)| stream.hub == *hub)
                .map(|(id, stream)| (*id, stream))
                .collect();
            let turns = queues.turns.waiting().map(|(lane, count, since)| {
                let takes = |s: &Stream| s.filters.turn(&lane.name, lane.version.as_deref());
                let reason = reason(lane, &streams, takes);
                (Kind::Orchestration, lane, count, since, reason)
            });
            let activities = queues.activities.waiting().map(|(lane, count, since)| {
                let reason = reason(lane, &streams, |s| s.filters.activity(lane));
                (Kind::Activity, lane, count, since, reason)
            });
            let entities = queues.entities.waiting().map(|(lane, count, since)| {
                let reason = reason(lane, &streams, |s| s.filters.entity(&lane.name));
                (Kind::Entity, lane, count, since, reason)
            });
            for (kind, lane, count, since, reason) in turns.chain(activities).chain(entities) {
                let Some(reason) = reason else { continue };
                let version = lane.version.clone().or_else(|| lane.wanted_by.clone());
                let key = (*hub, kind, lane.name.clone(), version, reason);
                let (sum, first) = found.entry(key).or_insert((0, since));
                *sum += count;
                *first = since.min(*first);
            }
        }
        found
            .into_iter()
            .map(
                |((hub, kind, name, version, reason), (count, since))| Untaken {
                    hub,
                    kind,
                    name,
                    version,
                    reason,
                    count,
                    waited: now.saturating_duration_since(since),
                },
            )
            .collect()
    }
}

/// Why no stream accepts what is in a lane; `None` if one does once it has room.
fn reason(
    lane: &Lane,
    streams: &[(u64, &Stream)],
    takes: impl Fn(&Stream) -> bool,
) -> Option<Reason> {
    let mut takers = streams
        .iter()
        .filter(|(_, stream)| takes(stream))
        .peekable();
    if takers.peek().is_none() {
        return Some(match streams.is_empty() {
            true => Reason::NoWorker,
            false => Reason::NoTaker,
        });
    }
    let kept = lane.excluded.as_ref()?;
    if kept.is_for_all() {
        return Some(Reason::Broken);
    }
    takers
        .all(|(id, _)| !kept.allows(*id))
        .then_some(Reason::GivenBack)
}

/// Logs, once each, what no worker accepts.
pub(crate) async fn run(dispatch: Arc<Dispatch>, store: Store, stop: CancellationToken) {
    let mut told: BTreeSet<Key> = BTreeSet::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
        let mut still = BTreeSet::new();
        let mut new = Vec::new();
        for one in dispatch.untaken(None) {
            let key = (one.hub, one.kind, one.name, one.version, one.reason);
            if told.contains(&key) {
                still.insert(key);
            } else if one.waited >= PATIENCE && new.len() < TOLD_AT_ONCE {
                still.insert(key.clone());
                new.push((key, one.count));
            }
        }
        told = still;
        if !new.is_empty() {
            // Without the names, the lines are still worth logging.
            let hubs = store.browse(hub_names).await.unwrap_or_default();
            for (key, waiting) in &new {
                warn(&hubs, key, *waiting);
            }
        }
    }
}

fn warn(hubs: &HashMap<i64, String>, key: &Key, waiting: usize) {
    let (hub, kind, name, version, reason) = key;
    tracing::warn!(
        task_hub = hubs.get(hub),
        kind = kind.name(),
        name,
        version,
        waiting,
        "work is waiting that no worker accepts: {}",
        reason.text()
    );
}
