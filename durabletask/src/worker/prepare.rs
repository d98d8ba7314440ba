//! Brings an execution up to the start of its turn.

use std::sync::Arc;

use durabletask_core::{Execution, FailureDetails, is_rewind};
use durabletask_proto as proto;
use proto::history_event::EventType;

use crate::connection::Service;
use crate::payloads::{PayloadStoreError, for_replay};

use super::cache::Live;
use super::filters;
use super::limits::Slot;
use super::orchestration::{NotRun, Turns, store_failure};
use super::versioning::OnVersionMismatch;

/// The work item's property that names the turn this one continues, for workers
/// that still hold the execution. Schedulers without it send the history.
const CONTINUES_FROM: &str = "durabletask.continuesFrom";

/// What is to be done with a turn.
pub(super) enum Prepared {
    /// To run it.
    Ready(Box<Live>, Slot),
    /// To rewind the instance with this past.
    Rewind(Vec<proto::HistoryEvent>),
    /// To end the orchestration.
    Refused(FailureDetails),
}

impl Turns<'_> {
    /// Brings the execution up to the start of the turn, once there is a slot for it.
    ///
    /// # Errors
    ///
    /// [`NotRun`], like [`run`](Self::run).
    pub(super) async fn prepare(
        self,
        service: &Service,
        request: &mut proto::OrchestratorRequest,
        new: &[proto::HistoryEvent],
    ) -> Result<Prepared, NotRun> {
        let held = self.cache.take(
            &request.instance_id,
            request.execution_id.as_deref(),
            continues_from(request),
        );
        if let Some(live) = held {
            let name = live.execution.started().map_or("", |started| &started.name);
            let slot = self.options.turns.slot(name).await;
            return Ok(Prepared::Ready(Box::new(live), slot));
        }
        let mut past = std::mem::take(&mut request.past_events);
        if request.requires_history_streaming {
            if !asks_for_rewind(new) {
                return self.prepare_streamed(service, request, new).await;
            }
            let mut history = History::open(service, request).await?;
            while let Some(events) = history.next().await? {
                past.extend(events);
            }
        }
        if is_rewind(&past, new) {
            return Ok(Prepared::Rewind(past));
        }
        let name = match self.admit(&past, new)? {
            Admission::Admitted(name) => name,
            Admission::Refused(details) => return Ok(Prepared::Refused(details)),
        };
        let slot = self.options.turns.slot(&name).await;
        let mut live = self.begin(request);
        match self.replay(&mut live, past).await? {
            Some(details) => Ok(Prepared::Refused(details)),
            None => Ok(Prepared::Ready(Box::new(live), slot)),
        }
    }

    /// Like [`prepare`](Self::prepare), with a history that comes piece by piece.
    async fn prepare_streamed(
        self,
        service: &Service,
        request: &proto::OrchestratorRequest,
        new: &[proto::HistoryEvent],
    ) -> Result<Prepared, NotRun> {
        let mut history = History::open(service, request).await?;
        let mut events = history.head().await?;
        let name = match self.admit(&events, new)? {
            Admission::Admitted(name) => name,
            Admission::Refused(details) => return Ok(Prepared::Refused(details)),
        };
        let slot = match self.options.turns.slot_now(&name) {
            Some(slot) => slot,
            None => {
                // Unread streams hold up the others of their connection,
                // and with them the turns that are waited for here.
                drop((history, events));
                let slot = self.options.turns.slot(&name).await;
                history = History::open(service, request).await?;
                events = history.head().await?;
                slot
            }
        };
        let mut live = self.begin(request);
        let mut next = Some(events);
        while let Some(events) = next {
            if let Some(details) = self.replay(&mut live, events).await? {
                return Ok(Prepared::Refused(details));
            }
            next = history.next().await?;
        }
        Ok(Prepared::Ready(Box::new(live), slot))
    }

    /// Replays a piece of the past, with its payloads from the store; yields why it
    /// can never be fetched, if that is so.
    async fn replay(
        self,
        live: &mut Live,
        mut past: Vec<proto::HistoryEvent>,
    ) -> Result<Option<FailureDetails>, NotRun> {
        if past.is_empty() {
            return Ok(None);
        }
        let refused = self.fetch(&mut past).await?;
        if refused.is_none() {
            live.replay(past);
        }
        Ok(refused)
    }

    fn begin(self, request: &proto::OrchestratorRequest) -> Live {
        Live::new(Execution::new(
            request.instance_id.as_str(),
            request.execution_id.clone(),
            Arc::clone(self.registry),
        ))
    }

    /// Puts the payloads of `events` in their places; yields why they are unavailable,
    /// if they never can.
    ///
    /// # Errors
    ///
    /// [`NotRun::Payloads`] if that may go better another time.
    pub(super) async fn fetch(
        self,
        events: &mut [proto::HistoryEvent],
    ) -> Result<Option<FailureDetails>, NotRun> {
        let Some(payloads) = &self.options.payloads else {
            return Ok(None);
        };
        match payloads.fetch_into(&mut for_replay(events)).await {
            Ok(()) => Ok(None),
            Err(PayloadStoreError::Transient(reason)) => Err(NotRun::Payloads(reason)),
            Err(error) => Ok(Some(store_failure(&error))),
        }
    }

    /// Whether this worker is to run the orchestration.
    fn admit(
        self,
        past: &[proto::HistoryEvent],
        new: &[proto::HistoryEvent],
    ) -> Result<Admission, NotRun> {
        let Some((name, version)) = filters::identity(past).or_else(|| filters::identity(new))
        else {
            return Ok(Admission::Admitted(String::new()));
        };
        let admitted = || Admission::Admitted(name.to_owned());
        let filters = self.options.filters;
        if !filters.take_orchestration(self.registry, name, version) {
            return Err(NotRun::NotOurs(format!(
                "the orchestration '{name}' is not registered with this worker, which asked for registered ones only"
            )));
        }
        let Some(versioning) = &self.options.versioning else {
            return Ok(admitted());
        };
        if versioning.admits(version) {
            return Ok(admitted());
        }
        let details = versioning.mismatch(version);
        match versioning.on_mismatch {
            OnVersionMismatch::Reject => Err(NotRun::NotOurs(details.message)),
            OnVersionMismatch::Fail => Ok(Admission::Refused(details)),
        }
    }
}

enum Admission {
    /// The orchestration's name, if its history has it.
    Admitted(String),
    Refused(FailureDetails),
}

/// The past of a work item, piece by piece.
struct History(tonic::Streaming<proto::HistoryChunk>);

impl History {
    async fn open(
        service: &Service,
        request: &proto::OrchestratorRequest,
    ) -> Result<Self, tonic::Status> {
        let request = proto::StreamInstanceHistoryRequest {
            instance_id: request.instance_id.clone(),
            execution_id: request.execution_id.clone(),
            for_work_item_processing: true,
        };
        let chunks = service.clone().stream_instance_history(request).await?;
        Ok(Self(chunks.into_inner()))
    }

    /// The events up to the one that names the orchestration.
    async fn head(&mut self) -> Result<Vec<proto::HistoryEvent>, tonic::Status> {
        let mut head = Vec::new();
        while filters::identity(&head).is_none() {
            match self.next().await? {
                Some(events) => head.extend(events),
                None => break,
            }
        }
        Ok(head)
    }

    async fn next(&mut self) -> Result<Option<Vec<proto::HistoryEvent>>, tonic::Status> {
        Ok(self.0.message().await?.map(|chunk| chunk.events))
    }
}

fn continues_from(request: &proto::OrchestratorRequest) -> Option<&str> {
    match &request.properties.get(CONTINUES_FROM)?.kind {
        Some(prost_types::value::Kind::StringValue(token)) => Some(token),
        _ => None,
    }
}

fn asks_for_rewind(new: &[proto::HistoryEvent]) -> bool {
    new.iter()
        .any(|event| matches!(event.event_type, Some(EventType::ExecutionRewound(_))))
}
