//! Testing orchestrations without a scheduler.
//!
//! - [`TestHub`] drives an orchestration in memory with stand-ins for the activities, the
//!   registry's entities and a clock that jumps from timer to timer;
//! - [`replay_json`] and [`replay_history`] check today's code against the
//!   history of an instance that ran yesterday's;
//! - [`HistoryBuilder`] writes histories by hand.

mod behavior;
mod builder;
mod entities;
mod hub;
mod instance;
mod questions;
mod stored;

use chrono::{DateTime, Utc};

pub use builder::HistoryBuilder;
pub use hub::{TestHub, TestRun, TestStatus};
pub use stored::{Divergence, StoredHistoryError, parse_history, replay_history, replay_json};

/// The instant at which test clocks start: 2024-01-02T03:04:05Z.
///
/// ```
/// assert_eq!(durabletask::testing::epoch().to_rfc3339(), "2024-01-02T03:04:05+00:00");
/// ```
#[must_use]
pub fn epoch() -> DateTime<Utc> {
    DateTime::from_timestamp(1_704_164_645, 0).unwrap_or(DateTime::UNIX_EPOCH)
}
