//! Which events make up one turn.

use durabletask_proto::HistoryEvent;
use durabletask_proto::history_event::EventType;

/// Whether an event needs a turn of its own: a worker answers a request to rewind
/// with the new history and nothing else, so later events wait for that.
#[must_use]
pub fn travels_alone(event: &HistoryEvent) -> bool {
    matches!(event.event_type, Some(EventType::ExecutionRewound(_)))
}

/// Whether an event is the last one of its turn. What follows a suspension waits for the
/// next turn: SDKs hold it back in memory, and lose it where the code continues as new in
/// the same turn.
#[must_use]
pub fn ends_turn(event: &HistoryEvent) -> bool {
    travels_alone(event) || matches!(event.event_type, Some(EventType::ExecutionSuspended(_)))
}
