//! The entities of a [`TestHub`](super::TestHub): in memory, with the code of the registry.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use serde_json::Value;

use crate::entity::{
    EntityAction, EntityBatch, EntityBatchResult, EntityId, EntityOperation, run_batch,
};
use crate::error::FailureDetails;
use crate::registry::Registry;

/// Operations that one signal may lead to before it counts as endless.
const MAX_OPERATIONS: usize = 100_000;

/// An operation on its way to an entity.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) entity_id: EntityId,
    pub(super) operation: String,
    pub(super) request_id: String,
    pub(super) input: Option<String>,
}

/// States, and signals that are due later.
#[derive(Debug)]
pub(super) struct TestEntities {
    registry: Arc<Registry>,
    pub(super) states: BTreeMap<EntityId, String>,
    /// Orchestrations that entities started: name and input.
    pub(super) started: Vec<(String, Value)>,
    later: BTreeMap<(DateTime<Utc>, usize), Sent>,
    sent: usize,
}

impl TestEntities {
    pub(super) fn new(registry: Arc<Registry>, states: BTreeMap<EntityId, String>) -> Self {
        Self {
            registry,
            states,
            started: Vec::new(),
            later: BTreeMap::new(),
            sent: 0,
        }
    }

    /// Runs a call, and then everything that it sends.
    pub(super) fn call(
        &mut self,
        call: Sent,
        now: DateTime<Utc>,
    ) -> Result<String, FailureDetails> {
        self.run_due(now);
        let (outcome, actions) = self.operate(call, now);
        self.follow(actions, now);
        outcome
    }

    /// Delivers a signal, now or when it is due.
    pub(super) fn signal(&mut self, signal: Sent, at: Option<DateTime<Utc>>, now: DateTime<Utc>) {
        self.run_due(now);
        match at.filter(|at| *at > now) {
            Some(at) => self.delay(signal, at),
            None => {
                let (_, actions) = self.operate(signal, now);
                self.follow(actions, now);
            }
        }
    }

    /// Runs the signals that are due.
    pub(super) fn run_due(&mut self, now: DateTime<Utc>) {
        while let Some(first) = self.later.first_entry() {
            let (at, _) = *first.key();
            if at > now {
                return;
            }
            let signal = first.remove();
            let (_, actions) = self.operate(signal, at);
            self.follow(actions, at);
        }
    }

    fn delay(&mut self, signal: Sent, at: DateTime<Utc>) {
        self.sent += 1;
        self.later.insert((at, self.sent), signal);
    }

    fn follow(&mut self, actions: Vec<EntityAction>, now: DateTime<Utc>) {
        let mut open: VecDeque<EntityAction> = actions.into();
        for _ in 0..MAX_OPERATIONS {
            let Some(action) = open.pop_front() else {
                return;
            };
            match action {
                EntityAction::Signal {
                    entity_id,
                    operation,
                    input,
                    at,
                    ..
                } => {
                    self.sent += 1;
                    let signal = Sent {
                        entity_id,
                        operation,
                        request_id: format!("signal-{}", self.sent),
                        input,
                    };
                    match at.filter(|at| *at > now) {
                        Some(at) => self.delay(signal, at),
                        None => open.extend(self.operate(signal, now).1),
                    }
                }
                EntityAction::Start { name, input, .. } => {
                    let input = input.and_then(|text| serde_json::from_str(&text).ok());
                    self.started.push((name, input.unwrap_or(Value::Null)));
                }
            }
        }
        tracing::warn!(
            left = open.len(),
            "the entities of this test signal each other without end; the rest is dropped"
        );
    }

    fn operate(
        &mut self,
        sent: Sent,
        now: DateTime<Utc>,
    ) -> (Result<String, FailureDetails>, Vec<EntityAction>) {
        let id = sent.entity_id;
        let batch = EntityBatch {
            id: id.clone(),
            state: self.states.get(&id).cloned(),
            operations: vec![EntityOperation {
                name: sent.operation,
                request_id: sent.request_id,
                input: sent.input,
                caller: None,
                trace_context: None,
            }],
        };
        let result = run_batch(&self.registry, batch, || now).now_or_never();
        let Some(EntityBatchResult {
            state,
            outcomes,
            actions,
            ..
        }) = result
        else {
            let details = FailureDetails::new(
                "ForeignAwait",
                format!(
                    "an operation of {id} awaits something that is not ready; a test hub has no runtime to wait in"
                ),
            );
            return (Err(details), Vec::new());
        };
        match state {
            Some(state) => self.states.insert(id, state),
            None => self.states.remove(&id),
        };
        let outcome = outcomes
            .into_iter()
            .next()
            .map_or_else(|| Ok("null".to_owned()), |outcome| outcome.result);
        (outcome, actions)
    }
}
