//! The lines of the log, at the level `debug`, from which one can see where a work item is:
//! when it was queued, handed out, completed or returned, and to which stream.

use std::fmt;
use std::time::Duration;

use super::lanes::Lane;
use super::setbacks::Why;
use super::state::{ActivityItem, Held, Lease};
use crate::metrics::Kind;

/// The instance that a work item belongs to, as far as it is known without reading the store.
enum Owner<'a> {
    Id(&'a str),
    /// The number of its row.
    Key(i64),
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => f.write_str(id),
            Self::Key(key) => write!(f, "#{key}"),
        }
    }
}

impl ActivityItem {
    fn owner(&self) -> Owner<'_> {
        self.request
            .as_ref()
            .and_then(|request| request.orchestration_instance.as_ref())
            .map_or(Owner::Key(self.instance), |instance| {
                Owner::Id(&instance.instance_id)
            })
    }
}

impl Held {
    fn owner(&self) -> Owner<'_> {
        match self {
            Self::Turn { header, .. } => Owner::Id(&header.instance_id),
            Self::Activity(item) => item.owner(),
            Self::Entity(entity) => Owner::Id(&entity.header.id),
        }
    }

    fn task_id(&self) -> Option<i32> {
        match self {
            Self::Activity(item) => item.request.as_ref().map(|request| request.task_id),
            Self::Turn { .. } | Self::Entity(_) => None,
        }
    }
}

impl Why {
    /// For people.
    const fn text(self) -> &'static str {
        match self {
            Self::AsksAgain => "the worker needs the whole history or state",
            Self::Abandoned => "the worker abandoned it",
            Self::TooLarge => "its message is too large for the worker",
            Self::Lost => "the worker's stream ended",
            Self::Suspected => "the worker's stream ended, perhaps because of its size",
            Self::Unread => "it could not be read from the database",
        }
    }
}

/// A turn or an entity's batch that no stream has room for, or takes.
pub(super) fn queued(hub: i64, kind: Kind, name: &str, instance_id: &str) {
    tracing::debug!(
        task_hub = hub,
        kind = kind.name(),
        name,
        instance = instance_id,
        "work item queued"
    );
}

/// An activity that no stream has room for, or takes.
pub(super) fn activity_queued(hub: i64, lane: &Lane, item: &ActivityItem) {
    tracing::debug!(
        task_hub = hub,
        kind = Kind::Activity.name(),
        name = lane.name,
        instance = %item.owner(),
        task_id = item.request.as_ref().map(|request| request.task_id),
        "work item queued"
    );
}

/// An item goes to a stream, after waiting in a queue for `waited`.
pub(super) fn handed_out(id: u64, lease: &Lease, waited: Duration) {
    tracing::debug!(
        task_hub = lease.hub,
        kind = lease.held.kind().name(),
        name = lease.held.name(),
        instance = %lease.held.owner(),
        task_id = lease.held.task_id(),
        lease = id,
        stream = lease.stream,
        ?waited,
        "work item handed out"
    );
}

/// The result of an item is committed.
pub(super) fn completed(id: u64, lease: &Lease) {
    tracing::debug!(
        task_hub = lease.hub,
        kind = lease.held.kind().name(),
        name = lease.held.name(),
        instance = %lease.held.owner(),
        task_id = lease.held.task_id(),
        lease = id,
        stream = lease.stream,
        took = ?lease.since.elapsed(),
        "work item completed"
    );
}

/// An item is taken back from a stream and offered again.
pub(super) fn returned(id: u64, lease: &Lease, why: Why) {
    tracing::debug!(
        task_hub = lease.hub,
        kind = lease.held.kind().name(),
        name = lease.held.name(),
        instance = %lease.held.owner(),
        task_id = lease.held.task_id(),
        lease = id,
        stream = lease.stream,
        took = ?lease.since.elapsed(),
        reason = why.text(),
        "work item returned"
    );
}

/// An item is dropped, since its instance or the task itself is gone.
pub(super) fn dropped(id: u64, lease: &Lease) {
    tracing::debug!(
        task_hub = lease.hub,
        kind = lease.held.kind().name(),
        name = lease.held.name(),
        instance = %lease.held.owner(),
        task_id = lease.held.task_id(),
        lease = id,
        stream = lease.stream,
        "work item dropped"
    );
}
