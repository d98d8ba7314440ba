//! Completions that arrive in chunks: kept with the lease until the last one arrives,
//! and dropped with the lease.

use std::sync::Arc;

use durabletask_proto::{OrchestrationTraceContext, OrchestratorAction, OrchestratorResponse};
use prost::Message;

use super::state::State;
use crate::limits::MAX_MESSAGE;

/// The largest completion, in bytes of actions: as large as one message.
const MAX_BYTES: usize = MAX_MESSAGE;
/// How many bytes of unfinished completions are kept at once.
const MAX_TOTAL_BYTES: usize = 256 * 1024 * 1024;

/// The chunks of one completion so far, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Chunks {
    actions: Vec<OrchestratorAction>,
    /// The number of the next chunk.
    next: i32,
    bytes: usize,
    /// From the first chunk, the only one that has them.
    processed: Option<i32>,
    trace: Option<OrchestrationTraceContext>,
}

/// The result of adding a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is kept, or was kept already.
    Kept,
    /// The token is unknown.
    Unknown,
    /// The token's completion is being applied or has been.
    Finished,
    /// A chunk before it is missing.
    OutOfOrder,
    /// Other unfinished completions take up too many bytes.
    Full,
}

/// Why chunks do not form a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Incomplete {
    /// A chunk before the last one is missing.
    OutOfOrder,
    /// The completion has this many bytes, which is too many.
    TooLarge(usize),
}

fn size(response: &OrchestratorResponse) -> usize {
    response.actions.iter().map(Message::encoded_len).sum()
}

impl Chunks {
    /// Adds a chunk that is not the last; false if one before it is missing. A chunk
    /// that is repeated, because its sender missed our answer, changes nothing, but the
    /// first one starts over. Beyond the largest size only the size is kept.
    #[allow(deprecated)] // `chunk_index` is how current workers send.
    fn add(&mut self, response: OrchestratorResponse) -> bool {
        let index = response.chunk_index.unwrap_or(self.next);
        if index == 0 {
            *self = Self {
                processed: response.num_events_processed,
                trace: response.orchestration_trace_context.clone(),
                ..Self::default()
            };
        } else if index < self.next {
            return true;
        } else if index > self.next {
            return false;
        }
        self.next = index.saturating_add(1);
        self.bytes = self.bytes.saturating_add(size(&response));
        if self.bytes > MAX_BYTES {
            self.actions = Vec::new();
        } else {
            self.actions.extend(response.actions);
        }
        true
    }

    /// The bytes that these chunks take up in memory.
    fn kept(&self) -> usize {
        if self.bytes > MAX_BYTES {
            0
        } else {
            self.bytes
        }
    }

    /// The whole completion, with its last chunk. A completion without a chunk number
    /// is whole on its own.
    ///
    /// # Errors
    /// [`Incomplete`] if a chunk is missing or the whole is too large.
    #[allow(deprecated)]
    pub(crate) fn complete(
        chunks: Option<&Self>,
        last: OrchestratorResponse,
    ) -> Result<OrchestratorResponse, Incomplete> {
        let Some(index) = last.chunk_index else {
            return Ok(last);
        };
        if index != chunks.map_or(0, |chunks| chunks.next) {
            return Err(Incomplete::OutOfOrder);
        }
        let Some(chunks) = chunks else {
            return Ok(last);
        };
        let bytes = chunks.bytes.saturating_add(size(&last));
        if bytes > MAX_BYTES {
            return Err(Incomplete::TooLarge(bytes));
        }
        let mut actions = chunks.actions.clone();
        actions.extend(last.actions);
        Ok(OrchestratorResponse {
            actions,
            num_events_processed: chunks.processed,
            orchestration_trace_context: chunks.trace.clone().or(last.orchestration_trace_context),
            ..last
        })
    }
}

impl State {
    /// Keeps a chunk other than the last with its turn's lease.
    pub(super) fn add_chunk(&mut self, hub: i64, id: u64, response: OrchestratorResponse) -> Added {
        let others: usize = self
            .leases
            .iter()
            .filter(|(lease, _)| **lease != id)
            .filter_map(|(_, lease)| lease.chunks.as_ref())
            .map(|chunks| chunks.kept())
            .sum();
        let Some(lease) = self.turn_lease(hub, id) else {
            return match self.was_applied(id) {
                true => Added::Finished,
                false => Added::Unknown,
            };
        };
        if lease.completing {
            return Added::Finished;
        }
        if others.saturating_add(size(&response)) > MAX_TOTAL_BYTES {
            return Added::Full;
        }
        let chunks = lease.chunks.get_or_insert_default();
        match Arc::make_mut(chunks).add(response) {
            true => Added::Kept,
            false => Added::OutOfOrder,
        }
    }
}

#[cfg(test)]
#[allow(deprecated, clippy::unwrap_used)]
mod tests {
    use super::*;

    fn chunk(index: Option<i32>, ids: &[i32]) -> OrchestratorResponse {
        OrchestratorResponse {
            actions: ids
                .iter()
                .map(|id| OrchestratorAction {
                    id: *id,
                    ..OrchestratorAction::default()
                })
                .collect(),
            chunk_index: index,
            is_partial: true,
            ..OrchestratorResponse::default()
        }
    }

    fn ids(response: &OrchestratorResponse) -> Vec<i32> {
        response.actions.iter().map(|action| action.id).collect()
    }

    #[test]
    fn chunks_join_in_order_and_a_repeat_changes_nothing() {
        let mut chunks = Chunks::default();
        let first = OrchestratorResponse {
            num_events_processed: Some(2),
            ..chunk(Some(0), &[1, 2])
        };
        assert!(chunks.add(first));
        assert!(chunks.add(chunk(Some(1), &[3])));
        assert!(chunks.add(chunk(Some(1), &[3])));
        assert!(!chunks.add(chunk(Some(3), &[9])));
        let last = OrchestratorResponse {
            num_events_processed: Some(0),
            ..chunk(Some(2), &[4])
        };
        let whole = Chunks::complete(Some(&chunks), last).unwrap();
        assert_eq!(ids(&whole), [1, 2, 3, 4]);
        assert_eq!(whole.num_events_processed, Some(2));
        let gap = Chunks::complete(Some(&chunks), chunk(Some(3), &[]));
        assert_eq!(gap, Err(Incomplete::OutOfOrder));
    }

    #[test]
    fn the_first_chunk_starts_over_and_a_whole_completion_stands_alone() {
        let mut chunks = Chunks::default();
        assert!(chunks.add(chunk(Some(0), &[1])));
        assert!(chunks.add(chunk(Some(0), &[2])));
        let whole = Chunks::complete(Some(&chunks), chunk(Some(1), &[3])).unwrap();
        assert_eq!(ids(&whole), [2, 3]);
        let alone = Chunks::complete(Some(&chunks), chunk(None, &[7])).unwrap();
        assert_eq!(ids(&alone), [7]);
        assert_eq!(
            ids(&Chunks::complete(None, chunk(Some(0), &[8])).unwrap()),
            [8]
        );
    }

    #[test]
    fn a_completion_over_the_limit_keeps_only_its_size() {
        let mut chunks = Chunks {
            bytes: MAX_BYTES,
            next: 1,
            ..Chunks::default()
        };
        assert!(chunks.add(chunk(Some(1), &[1])));
        assert_eq!((chunks.actions.len(), chunks.kept()), (0, 0));
        assert!(matches!(
            Chunks::complete(Some(&chunks), chunk(Some(2), &[])),
            Err(Incomplete::TooLarge(bytes)) if bytes > MAX_BYTES
        ));
    }
}
