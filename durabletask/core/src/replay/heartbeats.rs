//! What is known of the activities whose silence is watched.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::heartbeat::HEARTBEAT_EVENT;

/// Whether an event with this name is a heartbeat, and not for the code.
pub(super) fn is_heartbeat(event_name: &str) -> bool {
    event_name.eq_ignore_ascii_case(HEARTBEAT_EVENT)
}

/// The activities whose silence is watched.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    /// By the operation of the call.
    pub(super) watches: HashMap<i32, Watch>,
    /// From the id of a timer to the operation that it watches.
    pub(super) timers: HashMap<i32, i32>,
    execution_id: Option<String>,
    /// A history that was rewound or forked has heartbeats from before, under other execution ids.
    has_others: bool,
}

/// How long an activity may be silent.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) limit: Duration,
    /// When the present attempt was last heard of. Until its first heartbeat it may still
    /// wait for a worker, which is not silence.
    pub(super) heard: Option<DateTime<Utc>>,
    pub(super) timer: Option<i32>,
}

impl Watches {
    /// The execution begins.
    pub(crate) fn begin(&mut self, execution_id: Option<&str>, has_others: bool) {
        self.execution_id = execution_id.map(str::to_owned);
        self.has_others = has_others;
    }

    /// Whether a heartbeat is for this execution and not for one before.
    pub(super) fn is_ours(&self, execution_id: Option<&str>) -> bool {
        match (execution_id, self.execution_id.as_deref()) {
            (Some(theirs), Some(ours)) => self.has_others || theirs == ours,
            _ => true,
        }
    }

    /// A fork goes on by itself: its activities run again, so nothing has been heard of them.
    pub(crate) fn start_over(&mut self) {
        for watch in self.watches.values_mut() {
            watch.heard = None;
            watch.timer = None;
        }
    }

    /// The call has ended; its timer will fire unheard.
    pub(super) fn forget(&mut self, id: i32) {
        self.watches.remove(&id);
    }
}

/// The instant `limit` after `heard`, within the calendar.
pub(super) fn later(heard: DateTime<Utc>, limit: Duration) -> DateTime<Utc> {
    chrono::TimeDelta::from_std(limit)
        .ok()
        .and_then(|limit| heard.checked_add_signed(limit))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}
