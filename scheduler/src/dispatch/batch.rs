//! How much of an inbox one turn gets.

use durabletask_proto::HistoryEvent;
use durabletask_proto::history_event::EventType;
use durabletask_scheduler_core::{ends_turn, travels_alone};
use prost::Message;

use crate::store::Header;

/// The most events of one turn, and the most bytes of them.
pub(crate) const TURN_EVENTS: usize = 1000;
pub(crate) const TURN_BYTES: usize = 1024 * 1024;
/// How many raised events the first turn of an execution gets; each later one gets
/// as many more. An orchestration that takes one event and continues as new sends back
/// what it did not use: if it got all of a backlog each time, the backlog would cost
/// its square.
const RAISED_STEP: usize = 16;

/// The events of one turn as they are taken from an inbox, in order.
#[derive(Debug)]
pub(crate) struct Batch {
    count: usize,
    bytes: usize,
    raised: usize,
    most_raised: usize,
    closed: bool,
}

impl Batch {
    /// An empty batch for the next turn of an instance.
    pub(crate) fn of(header: &Header) -> Self {
        let turns = usize::try_from(header.turns).unwrap_or(usize::MAX);
        Self {
            count: 0,
            bytes: 0,
            raised: 0,
            most_raised: RAISED_STEP.saturating_mul(turns.saturating_add(1)),
            closed: false,
        }
    }

    /// Whether the turn gets this event too; it always gets the first one.
    pub(crate) fn takes(&mut self, event: &HistoryEvent) -> bool {
        let size = event.encoded_len();
        let raised = matches!(event.event_type, Some(EventType::EventRaised(_)));
        let full = self.closed
            || travels_alone(event)
            || self.count >= TURN_EVENTS
            || self.bytes + size > TURN_BYTES
            || (raised && self.raised >= self.most_raised);
        if full && self.count > 0 {
            return false;
        }
        self.count += 1;
        self.bytes += size;
        self.raised += usize::from(raised);
        self.closed = ends_turn(event);
        true
    }
}
