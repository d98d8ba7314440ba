//! Completions of work items: what a worker hands in is checked, written and answered.

use durabletask_proto::history_event::EventType;
use durabletask_proto::{
    ActivityResponse, CompleteTaskResponse, HistoryEvent, OrchestratorResponse,
    OrchestratorStartedEvent,
};
use durabletask_scheduler_core::event;
use prost::Message as _;
use tonic::{Request, Status};

use super::bounds::{bound_turn, failing};
use super::sizes::too_large;
use super::status::already;
use super::{Service, invalid, status};
use crate::dispatch::{Added, Chunks, Claim, ClaimedTurn, Incomplete, ReturnReason, Settled};
use crate::limits::MAX_MESSAGE;
use crate::store::{ActivityAnswer, FinishedTurn, StoreError, Tx};

/// What a completion writes.
pub(super) type Work = Box<dyn FnMut(&mut Tx<'_>) -> Result<(), StoreError> + Send>;

/// A completion that was checked.
pub(super) enum Checked {
    /// It has nothing to write.
    Answered(Result<CompleteTaskResponse, Status>),
    /// Its lease is claimed, and has to be settled after the write.
    Write { lease: u64, work: Work },
}

impl Service {
    pub(super) async fn complete_turn(
        &self,
        request: Request<OrchestratorResponse>,
    ) -> Result<CompleteTaskResponse, Status> {
        let hub = self.hub(&request).await?;
        let checked = self.check_turn(hub, request.into_inner());
        self.write(checked).await
    }

    pub(super) async fn complete_activity(
        &self,
        request: Request<ActivityResponse>,
    ) -> Result<CompleteTaskResponse, Status> {
        let hub = self.hub(&request).await?;
        let checked = self.check_activity(hub, request.into_inner());
        self.write(checked).await
    }

    /// Writes what there is to write of a completion.
    pub(super) async fn write(&self, checked: Checked) -> Result<CompleteTaskResponse, Status> {
        match checked {
            Checked::Answered(answer) => answer,
            Checked::Write { lease, work } => self.commit(lease, work).await,
        }
    }

    #[allow(deprecated)]
    pub(super) fn check_turn(&self, hub: i64, response: OrchestratorResponse) -> Checked {
        if response.is_partial {
            return Checked::Answered(chunk_answer(self.dispatch.add_chunk(hub, response)));
        }
        let claimed =
            match self
                .dispatch
                .claim_turn(hub, &response.completion_token, &response.instance_id)
            {
                Claim::Claimed(claimed) => claimed,
                other => return Checked::Answered(already(other)),
            };
        let lease = claimed.lease;
        if response.requires_history {
            self.dispatch.settle(lease, Settled::NotApplied);
            let token = self.dispatch.token(lease);
            self.dispatch.abandon(hub, &token, ReturnReason::AsksAgain);
            return Checked::Answered(Ok(CompleteTaskResponse {}));
        }
        let mut response = match Chunks::complete(claimed.chunks.as_deref(), response) {
            Ok(response) => response,
            Err(Incomplete::OutOfOrder) => {
                self.dispatch.settle(lease, Settled::NotApplied);
                return Checked::Answered(chunk_answer(Added::OutOfOrder));
            }
            Err(Incomplete::TooLarge(size)) => {
                failing(too_large("completion of the turn", size, MAX_MESSAGE))
            }
        };
        let consumed = consumed(&claimed.events, response.num_events_processed);
        bound_turn(&mut response, &self.config);
        let turn = self.finished(claimed, consumed, response);
        Checked::Write {
            lease,
            work: Box::new(move |tx| tx.complete_turn(turn.clone())),
        }
    }

    /// A turn that consumed this many inbox entries.
    pub(super) fn finished(
        &self,
        claimed: ClaimedTurn,
        consumed: usize,
        response: OrchestratorResponse,
    ) -> FinishedTurn {
        let mut delivered = vec![event(
            -1,
            claimed.started,
            EventType::OrchestratorStarted(OrchestratorStartedEvent {}),
        )];
        delivered.extend(
            news(claimed.events.get(..consumed).unwrap_or_default()).map(|(_, e)| e.clone()),
        );
        let through = match consumed
            .checked_sub(1)
            .and_then(|last| claimed.events.get(last))
        {
            Some((seq, _)) => *seq,
            None => claimed.events.first().map_or(0, |(seq, _)| seq - 1),
        };
        FinishedTurn {
            key: claimed.header.key,
            execution_id: claimed.header.execution_id.clone(),
            delivered,
            through,
            response,
            next_execution_id: uuid::Uuid::new_v4().simple().to_string(),
            max_history: self.config.max_history_bytes,
        }
    }

    pub(super) fn check_activity(&self, hub: i64, response: ActivityResponse) -> Checked {
        let claim = self.dispatch.claim_activity(
            hub,
            &response.completion_token,
            &response.instance_id,
            response.task_id,
        );
        let claimed = match claim {
            Claim::Claimed(claimed) => claimed,
            other => return Checked::Answered(already(other)),
        };
        let limit = self.config.max_payload_bytes;
        let answer = match (response.failure_details, response.result) {
            (Some(details), _) if details.encoded_len() > limit => {
                let size = details.encoded_len();
                ActivityAnswer::Failed(too_large("activity's failure", size, limit))
            }
            (Some(details), _) => ActivityAnswer::Failed(details),
            (None, Some(result)) if result.len() > limit => {
                let size = result.len();
                ActivityAnswer::Failed(too_large("activity's result", size, limit))
            }
            (None, result) => ActivityAnswer::Completed(result),
        };
        Checked::Write {
            lease: claimed.lease,
            work: Box::new(move |tx| {
                tx.complete_activity(claimed.id, claimed.instance, &claimed.request, &answer)
            }),
        }
    }

    /// Writes a claimed completion and settles the claim. In a task of its own, which
    /// ends with the write: a caller that disconnects must not leave the claim open.
    pub(super) async fn commit<F>(
        &self,
        lease: u64,
        work: F,
    ) -> Result<CompleteTaskResponse, Status>
    where
        F: FnMut(&mut Tx<'_>) -> Result<(), StoreError> + Send + 'static,
    {
        let service = self.clone();
        let writing = tokio::spawn(async move {
            let outcome = service.store.writer.write(work).await;
            service.dispatch.settle(lease, settled(&outcome));
            outcome
        });
        let outcome = writing
            .await
            .map_err(|_| Status::internal("the completion's task ended early; retry"))?;
        answered(outcome)
    }
}

/// What becomes of the lease of a completion with this outcome.
pub(super) fn settled(outcome: &Result<(), StoreError>) -> Settled {
    match outcome {
        Ok(()) => Settled::Applied,
        Err(StoreError::WorkItemGone) => Settled::Gone,
        Err(_) => Settled::NotApplied,
    }
}

/// The answer to its worker.
pub(super) fn answered(outcome: Result<(), StoreError>) -> Result<CompleteTaskResponse, Status> {
    match outcome {
        // Taken back while this was in transit.
        Ok(()) | Err(StoreError::WorkItemGone) => Ok(CompleteTaskResponse {}),
        Err(error) => Err(status(error)),
    }
}

fn chunk_answer(added: Added) -> Result<CompleteTaskResponse, Status> {
    match added {
        Added::Kept | Added::Finished => Ok(CompleteTaskResponse {}),
        Added::Unknown => Err(status(StoreError::WorkItemGone)),
        Added::OutOfOrder => Err(invalid(
            "a chunk of this completion is missing; send all of them again, from number 0",
        )),
        Added::Full => Err(Status::unavailable(
            "too many completions are waiting for their last chunks; retry this chunk",
        )),
    }
}

/// The inbox's events for the orchestration. A stored `OrchestratorStarted` only wakes
/// it: the turn that this causes begins with one anyway.
pub(super) fn news(events: &[(i64, HistoryEvent)]) -> impl Iterator<Item = &(i64, HistoryEvent)> {
    events.iter().filter(|(_, event)| is_news(event))
}

fn is_news(event: &HistoryEvent) -> bool {
    !matches!(event.event_type, Some(EventType::OrchestratorStarted(_)))
}

/// How many of a turn's inbox entries the worker has consumed, given the number of
/// orchestration events that it reports; all if it reports none.
fn consumed(events: &[(i64, HistoryEvent)], processed: Option<i32>) -> usize {
    let Some(mut left) = processed.and_then(|count| usize::try_from(count).ok()) else {
        return events.len();
    };
    let taken = events.iter().take_while(|(_, event)| {
        let news = usize::from(is_news(event));
        let fits = news <= left;
        left = left.saturating_sub(news);
        fits
    });
    taken.count()
}
