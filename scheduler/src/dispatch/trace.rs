//! The lines of the log, at the level `debug`, from which one can see where a work item is:
//! when it was queued, handed out, completed or returned, and to which stream.

use std::fmt;
use std::time::{Duration, Instant};

use crate::metrics::Kind;

/// The instance or entity of a work item, as far as it is known without reading the store.
pub(super) enum Owner<'a> {
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

/// A work item, as the log names it.
pub(super) struct Item<'a> {
    pub(super) hub: i64,
    pub(super) kind: Kind,
    /// Of the orchestration, activity or entity.
    pub(super) name: &'a str,
    pub(super) owner: Owner<'a>,
    /// Of an activity whose request is in memory.
    pub(super) task_id: Option<i32>,
}

/// A work item that a stream holds.
pub(super) struct Holding<'a> {
    pub(super) item: Item<'a>,
    pub(super) lease: u64,
    pub(super) stream: u64,
    pub(super) since: Instant,
}

macro_rules! line {
    ($item:expr, $text:literal $(, $field:ident = $value:expr)*) => {
        tracing::debug!(
            task_hub = $item.hub,
            kind = $item.kind.name(),
            name = $item.name,
            instance_id = %$item.owner,
            task_id = $item.task_id,
            $($field = $value,)*
            $text
        )
    };
}

impl Item<'_> {
    /// No stream has room for it, or takes it.
    pub(super) fn queued(&self) {
        line!(self, "work item queued");
    }
}

impl Holding<'_> {
    /// It goes to the stream, after waiting in a queue for `waited`.
    pub(super) fn handed_out(&self, waited: Duration) {
        let (lease, stream) = (self.lease, self.stream);
        let waited = tracing::field::debug(waited);
        line!(
            self.item,
            "work item handed out",
            lease = lease,
            stream = stream,
            waited = waited
        );
    }

    /// Its result is committed.
    pub(super) fn completed(&self) {
        let (lease, stream) = (self.lease, self.stream);
        let took = tracing::field::debug(self.since.elapsed());
        line!(
            self.item,
            "work item completed",
            lease = lease,
            stream = stream,
            took = took
        );
    }

    /// It is taken back from the stream and offered again.
    pub(super) fn returned(&self, reason: &str) {
        let (lease, stream) = (self.lease, self.stream);
        let took = tracing::field::debug(self.since.elapsed());
        line!(
            self.item,
            "work item returned",
            lease = lease,
            stream = stream,
            took = took,
            reason = reason
        );
    }

    /// Its instance, or the task itself, is gone.
    pub(super) fn dropped(&self) {
        line!(
            self.item,
            "work item dropped",
            lease = self.lease,
            stream = self.stream
        );
    }
}
