//! The shared state of one execution: what user code schedules and what the
//! history answers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::action::{ActionKind, CompletionStatus, OrchestratorAction};
use crate::activity::{IDEMPOTENCY_TAG, idempotency_key};
use crate::error::FailureDetails;
use crate::history::{ExecutionStarted, HistoryEvent, HistoryPayload};
use crate::outcome::Continuation;
use crate::retry::RetryPolicy;

use super::entities::EntityCalls;
use super::heartbeats::{Watches, is_heartbeat};
use super::inbox::Inbox;
use super::lineage::{Lineage, uuid};
use super::messages::is_update;
use super::mismatch::{self, Recorded};
use super::operations::{
    Attempts, Detached, Operations, Outcome, Step, rederive_instance_id, set_derived_instance_id,
};
use super::patches::{self, Patches};
use super::queries::Queries;

/// The longest single timer. Schedulers bound the delay of a message, so longer
/// timers are made of chunks, as in the official SDKs.
const MAX_TIMER: TimeDelta = TimeDelta::days(3);

/// How often code may call its context between two awaits.
const MAX_CALLS: usize = 10_000_000;
/// How many decisions code may make between two awaits.
const MAX_PENDING: usize = 250_000;

/// With this the poll of code is unwound that would never come back.
#[derive(Debug)]
pub(crate) struct Runaway;

/// What the context and the futures of one execution share with its executor.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) instance_id: Arc<str>,
    pub(crate) started: OnceLock<Box<ExecutionStarted>>,
    pub(crate) execution_id: Option<String>,
    /// The id under which a rewound execution began.
    pub(crate) origin: OnceLock<String>,
    state: Mutex<State>,
}

impl Shared {
    pub(crate) fn new(instance_id: Arc<str>, execution_id: Option<String>) -> Self {
        Self {
            instance_id,
            started: OnceLock::new(),
            execution_id,
            origin: OnceLock::new(),
            state: Mutex::new(State::default()),
        }
    }

    /// The state. User code never runs while it is locked.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the state consistent: each change is a single step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, for a call by user code. A loop that never awaits is ended here,
    /// since nothing else can.
    pub(crate) fn call(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.calls += 1;
        let runs_away = state.calls > MAX_CALLS || state.pending.len() > MAX_PENDING;
        // A destructor that runs because of this must not be unwound again.
        if runs_away && !std::thread::panicking() {
            drop(state);
            std::panic::resume_unwind(Box::new(Runaway));
        }
        state
    }

    /// The key of the call `task_id`.
    pub(crate) fn key(&self, task_id: i32) -> String {
        let origin = self.origin.get().map(String::as_str);
        idempotency_key(&self.instance_id, origin.or(self.execution_id()), task_id)
    }

    pub(crate) fn execution_id(&self) -> Option<&str> {
        self.execution_id.as_deref().or_else(|| {
            self.started
                .get()
                .and_then(|started| started.execution_id.as_deref())
        })
    }
}

/// An event that carries over to the next execution: its name, input and time.
type Carried = (String, Option<String>, Option<DateTime<Utc>>);

/// How the execution ends.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) id: i32,
    pub(crate) status: CompletionStatus,
    pub(crate) result: Option<String>,
    pub(crate) failure: Option<FailureDetails>,
    pub(crate) continuation: Option<Continuation>,
    /// Whether the history has it already.
    pub(crate) recorded: bool,
}

/// What the executor has to do after an event.
#[derive(Debug)]
pub(crate) enum Applied {
    /// Poll the user's code if something woke it.
    Nothing,
    /// Create the user's code.
    Start(Box<ExecutionStarted>),
    /// Drop the user's code: the execution has ended.
    Stop,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) clock: DateTime<Utc>,
    pub(crate) replaying: bool,
    pub(crate) custom_status: Option<String>,
    pub(crate) completion: Option<Completion>,
    pub(crate) operations: Operations,
    pub(crate) inbox: Inbox,
    pub(crate) entities: EntityCalls,
    pub(crate) patches: Patches,
    pub(crate) watches: Watches,
    pub(crate) lineage: Lineage,
    pub(crate) queries: Queries,
    /// Who waits for the answers to the updates that the code has taken.
    pub(crate) updates: BTreeSet<String>,
    next_id: i32,
    last_recorded_id: Option<i32>,
    uuid_counter: u64,
    pub(super) pending: BTreeMap<i32, OrchestratorAction>,
    suspended: bool,
    held: VecDeque<HistoryEvent>,
    started: bool,
    /// The history records an end that the code has not reached (or was not asked to).
    closed: bool,
    /// The execution was ended because it cannot continue; that reason stands.
    aborted: bool,
    /// The latest thing that the history records is a rewind: what the code
    /// decided beyond the record is to be decided now.
    rewound: bool,
    /// Activities that the code waited for in this turn and then gave up.
    pub(super) given_up: Vec<i32>,
    /// How often the code called its context since it was last polled.
    calls: usize,
}

impl State {
    /// The id of the next action.
    pub(crate) fn take_id(&mut self) -> i32 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    pub(crate) fn push_action(&mut self, id: i32, kind: ActionKind) {
        // After the end, code still runs in destructors; nothing it asks for counts.
        if self.completion.is_none() {
            self.pending.insert(id, OrchestratorAction { id, kind });
        }
    }

    /// Schedules a call with all its attempts; yields the operation's id.
    pub(crate) fn start_call(
        &mut self,
        shared: &Shared,
        mut call: ActionKind,
        policy: Option<RetryPolicy>,
        derive_instance_id: Option<&str>,
    ) -> i32 {
        let id = self.take_id();
        if let ActionKind::ScheduleTask { tags, .. } = &mut call
            && shared.origin.get().is_some()
        {
            tags.insert(IDEMPOTENCY_TAG.to_owned(), shared.key(id));
        }
        if let Some(prefix) = derive_instance_id {
            set_derived_instance_id(&mut call, prefix, id);
        }
        let step = match &call {
            ActionKind::CreateSubOrchestration { .. } => Step::SubOrchestration,
            _ => Step::Activity,
        };
        let attempts = policy.map(|policy| {
            Box::new(Attempts {
                policy,
                failed: 0,
                started: self.clock,
                call: call.clone(),
                derives_instance_id: derive_instance_id.is_some(),
                key: matches!(step, Step::Activity).then(|| shared.key(id)),
            })
        });
        self.push_action(id, call);
        self.operations.insert(id, step, None, None, attempts);
        id
    }

    /// Schedules a single step; yields the operation's id.
    pub(crate) fn start_step(&mut self, kind: ActionKind, step: Step) -> i32 {
        let id = self.take_id();
        self.push_action(id, kind);
        self.operations.insert(id, step, None, None, None);
        id
    }

    /// Takes back an action of the present turn; false if the scheduler has it.
    pub(crate) fn withdraw(&mut self, id: i32) -> bool {
        self.pending.remove(&id).is_some()
    }

    /// Schedules a timer; yields the operation's id.
    pub(crate) fn start_timer(&mut self, until: DateTime<Utc>) -> i32 {
        let id = self.take_id();
        let chunk_until = self.push_timer(id, until);
        self.operations
            .insert(id, Step::Timer, Some(until), Some(chunk_until), None);
        id
    }

    pub(super) fn push_timer(&mut self, id: i32, until: DateTime<Utc>) -> DateTime<Utc> {
        let longest = self
            .clock
            .checked_add_signed(MAX_TIMER)
            .unwrap_or(DateTime::<Utc>::MAX_UTC);
        let fire_at = until.min(longest);
        self.push_action(id, ActionKind::CreateTimer { fire_at });
        fire_at
    }

    /// The instant `delay` from now, within the calendar.
    pub(crate) fn after(&self, delay: Duration) -> DateTime<Utc> {
        TimeDelta::from_std(delay)
            .ok()
            .and_then(|delay| self.clock.checked_add_signed(delay))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// Takes a timer back without a future, if it is not recorded yet.
    pub(crate) fn detach(&mut self, id: i32) {
        match self.operations.detach(id) {
            Some(Detached::Timer(step)) => {
                self.pending.remove(&step);
            }
            Some(Detached::AwaitedActivity(step)) => self.given_up.push(step),
            None => {}
        }
    }

    /// A uuid of the instance whose turn this is, the same on every replay.
    pub(crate) fn new_uuid(&mut self, own: &str) -> Uuid {
        self.uuid_counter += 1;
        uuid(self.lineage.id(own), self.clock, self.uuid_counter - 1)
    }

    /// Whether the user's code, if pending, waits for something durable or may rest.
    pub(crate) fn may_rest(&self) -> bool {
        self.suspended || self.operations.is_awaited() || self.inbox.is_awaited()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.completion.is_some() || self.closed
    }

    /// Whether the code was never started, so that there is nothing to run.
    pub(crate) fn is_started(&self) -> bool {
        self.started
    }

    /// Applies one event, and with a resumption those that were held back.
    pub(crate) fn apply(&mut self, event: HistoryEvent, wake: &mut Vec<Waker>) -> Applied {
        if event.event_id >= 0 {
            self.rewound = false;
            self.last_recorded_id = Some(
                self.last_recorded_id
                    .map_or(event.event_id, |last| last.max(event.event_id)),
            );
        }
        match &event.payload {
            HistoryPayload::OrchestratorStarted => {
                // An instant that cannot be read leaves the clock where it was.
                if let Some(timestamp) = event.timestamp {
                    self.clock = timestamp;
                }
                if self.lineage.turn_begins() {
                    self.watches.start_over();
                }
                Applied::Nothing
            }
            HistoryPayload::OrchestratorCompleted => Applied::Nothing,
            HistoryPayload::ExecutionTerminated { output } => self.terminate(output.clone()),
            _ if self.closed || self.aborted => Applied::Nothing,
            HistoryPayload::ExecutionSuspended { .. } => {
                self.suspended = true;
                Applied::Nothing
            }
            HistoryPayload::ExecutionResumed { .. } => {
                self.suspended = false;
                Applied::Nothing
            }
            HistoryPayload::ExecutionCompleted { .. } => match &mut self.completion {
                Some(completion) => {
                    completion.recorded = true;
                    Applied::Nothing
                }
                None => {
                    self.closed = true;
                    self.pending.clear();
                    Applied::Stop
                }
            },
            HistoryPayload::ExecutionRewound { .. } => {
                // The steps whose records the rewind took away are taken again.
                self.rewound = true;
                Applied::Nothing
            }
            HistoryPayload::TaskScheduled { name, .. } => {
                self.expect(event.event_id, Recorded::Activity(name))
            }
            HistoryPayload::SubOrchestrationCreated { name, .. } => {
                self.expect(event.event_id, Recorded::SubOrchestration(name))
            }
            HistoryPayload::TimerCreated { .. } => self.expect(event.event_id, Recorded::Timer),
            HistoryPayload::EventSent {
                name, instance_id, ..
            } => {
                let target = self.as_sent(event.event_id, instance_id);
                self.expect(event.event_id, Recorded::SentEvent(name, &target))
            }
            HistoryPayload::EntityOperationCalled {
                operation,
                entity_id,
            } => self.expect(event.event_id, Recorded::EntityCall(operation, entity_id)),
            HistoryPayload::EntityOperationSignaled {
                operation,
                entity_id,
            } => self.expect(event.event_id, Recorded::EntitySignal(operation, entity_id)),
            HistoryPayload::EntityLockRequested { .. } => {
                self.expect(event.event_id, Recorded::Lock)
            }
            HistoryPayload::EntityUnlockSent { entity_id } => {
                self.expect(event.event_id, Recorded::Unlock(entity_id))
            }
            HistoryPayload::Other { name } => {
                tracing::debug!(event = %name, "this history event is ignored by the replay core");
                Applied::Nothing
            }
            _ if self.suspended => {
                self.held.push_back(event);
                Applied::Nothing
            }
            _ => self.react(event, wake),
        }
    }

    /// The next held event, once the execution is resumed.
    pub(crate) fn next_held(&mut self) -> Option<HistoryEvent> {
        if self.suspended {
            return None;
        }
        self.held.pop_front()
    }

    fn react(&mut self, event: HistoryEvent, wake: &mut Vec<Waker>) -> Applied {
        match event.payload {
            HistoryPayload::ExecutionStarted(started) => {
                if self.started {
                    tracing::debug!("a second ExecutionStarted of the same execution is ignored");
                    return Applied::Nothing;
                }
                self.started = true;
                return Applied::Start(started);
            }
            // It was for the history only.
            HistoryPayload::EventRaised { name, .. } if patches::is_record(&name) => {}
            HistoryPayload::EventRaised { name, input } if is_heartbeat(&name) => {
                self.beat(input.as_deref());
            }
            HistoryPayload::EventRaised { name, input } => {
                wake.extend(self.inbox.raise(name, input, event.timestamp));
            }
            HistoryPayload::TaskCompleted { task_id, result } => {
                self.complete(task_id, Step::Activity, Outcome::Completed(result), wake);
            }
            HistoryPayload::TaskFailed { task_id, failure } => {
                self.complete(
                    task_id,
                    Step::Activity,
                    Outcome::Failed(Box::new(failure)),
                    wake,
                );
            }
            HistoryPayload::SubOrchestrationCompleted { task_id, result } => {
                self.complete(
                    task_id,
                    Step::SubOrchestration,
                    Outcome::Completed(result),
                    wake,
                );
            }
            HistoryPayload::SubOrchestrationFailed { task_id, failure } => {
                self.complete(
                    task_id,
                    Step::SubOrchestration,
                    Outcome::Failed(Box::new(failure)),
                    wake,
                );
            }
            HistoryPayload::EntityOperationCompleted { request_id, output } => {
                if let Some(id) = self.entities.answered(&request_id) {
                    self.complete(id, Step::Entity, Outcome::Completed(output), wake);
                }
            }
            HistoryPayload::EntityOperationFailed {
                request_id,
                failure,
            } => {
                if let Some(id) = self.entities.answered(&request_id) {
                    self.complete(id, Step::Entity, Outcome::Failed(Box::new(failure)), wake);
                }
            }
            HistoryPayload::EntityLockGranted {
                critical_section_id,
            } => self.lock_granted(&critical_section_id, wake),
            HistoryPayload::TimerFired { timer_id } if !self.watch_fired(timer_id, wake) => {
                self.complete(timer_id, Step::Timer, Outcome::Fired, wake);
            }
            _ => {}
        }
        Applied::Nothing
    }

    /// A task or timer ended: finishes its operation or moves it to its next step.
    pub(super) fn complete(
        &mut self,
        step_id: i32,
        step: Step,
        outcome: Outcome,
        wake: &mut Vec<Waker>,
    ) {
        if self.completion.is_some() {
            return;
        }
        if step == Step::Activity {
            self.end_attempt(step_id);
        }
        let clock = self.clock;
        let Some((id, operation)) = self.operations.by_step(step_id) else {
            tracing::debug!(step_id, "a completion of an unknown step is ignored");
            return;
        };
        if operation.step != step {
            tracing::debug!(step_id, "a completion of another kind of step is ignored");
            return;
        }
        match (&outcome, &mut operation.attempts) {
            (Outcome::Fired, attempts) => {
                let until = operation.until.unwrap_or(clock);
                if operation.chunk_until.is_some_and(|chunk| chunk < until) && clock < until {
                    let next = self.take_id();
                    let chunk_until = self.push_timer(next, until);
                    self.operations.advance(id, next);
                    if let Some((_, operation)) = self.operations.by_step(next) {
                        operation.chunk_until = Some(chunk_until);
                    }
                    return;
                }
                if let Some(attempts) = attempts {
                    // The delay has ended: repeat the call, under a new id.
                    let mut call = attempts.next_call();
                    let derives = attempts.derives_instance_id;
                    operation.step = match call {
                        ActionKind::CreateSubOrchestration { .. } => Step::SubOrchestration,
                        _ => Step::Activity,
                    };
                    let next = self.take_id();
                    if derives {
                        rederive_instance_id(&mut call, next);
                    }
                    self.push_action(next, call);
                    self.operations.advance(id, next);
                    return;
                }
            }
            (Outcome::Failed(failure), Some(attempts)) if attempts.policy.allows(failure) => {
                attempts.failed = attempts.failed.saturating_add(1);
                if let Some(delay) =
                    attempts
                        .policy
                        .next_delay(attempts.failed, failure, attempts.started, clock)
                {
                    operation.step = Step::Timer;
                    let until = self.after(delay);
                    let next = self.take_id();
                    let chunk_until = self.push_timer(next, until);
                    self.operations.advance(id, next);
                    if let Some((_, operation)) = self.operations.by_step(next) {
                        operation.until = Some(until);
                        operation.chunk_until = Some(chunk_until);
                    }
                    return;
                }
            }
            _ => {}
        }
        self.watches.forget(id);
        wake.extend(self.operations.finish(id, outcome));
    }

    /// Checks a recorded step against what the code did.
    fn expect(&mut self, id: i32, recorded: Recorded<'_>) -> Applied {
        let attempted = self.pending.remove(&id);
        if let Some(action) = &attempted
            && recorded.matches(&action.kind)
        {
            return Applied::Nothing;
        }
        if self.completion.as_ref().is_some_and(|end| end.recorded) {
            return Applied::Nothing;
        }
        let ended = self.completion.as_ref().map(|completion| completion.id);
        let details = match ended {
            Some(end) if attempted.is_none() => mismatch::ended_early(end),
            _ => mismatch::differs(id, recorded, attempted.as_ref().map(|action| &action.kind)),
        };
        self.abort(details)
    }

    /// The code is about to be polled.
    pub(crate) fn begin_poll(&mut self) {
        self.calls = 0;
    }

    /// The activities that the code gave up since it was last asked.
    pub(crate) fn take_given_up(&mut self) -> Vec<i32> {
        // Sorted, because combinators drop their futures in no particular order.
        let mut given_up = std::mem::take(&mut self.given_up);
        given_up.sort_unstable();
        given_up
    }

    /// At the end of the past: every step of the code must be recorded by now.
    pub(crate) fn check_past(&mut self) -> Applied {
        if self.aborted || self.closed || self.rewound {
            return Applied::Nothing;
        }
        if let Some(action) = self.pending.values().next() {
            let details = mismatch::unrecorded(action);
            return self.abort(details);
        }
        match &self.completion {
            Some(completion)
                if !completion.recorded && completion.status != CompletionStatus::Terminated =>
            {
                let details = mismatch::ended_early(completion.id);
                self.abort(details)
            }
            _ => Applied::Nothing,
        }
    }

    fn terminate(&mut self, output: Option<String>) -> Applied {
        // A continuation that is not committed yet gives way; any other end stands.
        let replaceable = self
            .completion
            .as_ref()
            .is_none_or(|end| end.status == CompletionStatus::ContinuedAsNew && !end.recorded);
        if !replaceable || self.closed {
            return Applied::Nothing;
        }
        self.drop_pending();
        self.completion = None;
        self.end(CompletionStatus::Terminated, output, None);
        Applied::Stop
    }

    /// Drops this turn's decisions. Only locks are still released: nobody
    /// else would.
    fn drop_pending(&mut self) {
        self.pending
            .retain(|_, action| matches!(action.kind, ActionKind::UnlockEntity { .. }));
    }

    /// Ends the execution because it cannot continue; nothing uncommitted but unlocks is sent.
    pub(crate) fn abort(&mut self, details: FailureDetails) -> Applied {
        self.drop_pending();
        self.completion = None;
        self.aborted = true;
        self.end(CompletionStatus::Failed, None, Some(details));
        Applied::Stop
    }

    /// The reason of an [`abort`](Self::abort), if there was one.
    pub(crate) fn abortion(&self) -> Option<FailureDetails> {
        self.completion
            .as_ref()
            .filter(|_| self.aborted)
            .and_then(|completion| completion.failure.clone())
    }

    /// Ends the execution; the first end stands.
    pub(crate) fn end(
        &mut self,
        status: CompletionStatus,
        result: Option<String>,
        failure: Option<FailureDetails>,
    ) {
        if self.completion.is_some() {
            return;
        }
        let beyond_recorded = self
            .last_recorded_id
            .map_or(0, |last| last.saturating_add(1));
        self.next_id = self.next_id.max(beyond_recorded);
        self.release_all();
        self.end_updates(status == CompletionStatus::ContinuedAsNew);
        let id = self.next_id;
        self.next_id = id.saturating_add(1);
        self.completion = Some(Completion {
            id,
            status,
            result,
            failure,
            continuation: None,
            recorded: false,
        });
    }

    /// The external events that the code has not taken, in the order of arrival: those that
    /// a suspension holds back came after the others.
    fn take_unprocessed(&mut self) -> Vec<Carried> {
        let held = std::mem::take(&mut self.held);
        self.inbox
            .take_unprocessed()
            .into_iter()
            .map(|raised| (raised.name, raised.input, raised.timestamp))
            .chain(held.into_iter().filter_map(take_held))
            .collect()
    }

    /// What the turn decided, in program order, the end last.
    pub(crate) fn take_actions(&mut self) -> Vec<OrchestratorAction> {
        let mut actions: Vec<OrchestratorAction> =
            std::mem::take(&mut self.pending).into_values().collect();
        let Some(completion) = self.completion.as_mut().filter(|end| !end.recorded) else {
            return actions;
        };
        completion.recorded = true;
        let continuation = completion.continuation.take();
        let (id, status) = (completion.id, completion.status);
        let (result, failure) = (completion.result.clone(), completion.failure.clone());
        let (new_version, keep_events) =
            continuation.map_or((None, false), |next| (next.new_version, next.keep_events));
        let mut carryover = Vec::new();
        if status == CompletionStatus::ContinuedAsNew {
            carryover = self.take_unprocessed();
            // The sender of an update waits for its answer, so none is dropped.
            carryover.retain(|(name, _, _)| keep_events || is_update(name));
        }
        actions.push(OrchestratorAction {
            id,
            kind: ActionKind::Complete {
                status,
                result,
                failure,
                new_version,
                carryover,
            },
        });
        actions
    }
}

/// An external event among those that are held back.
fn take_held(event: HistoryEvent) -> Option<Carried> {
    match event.payload {
        HistoryPayload::EventRaised { name, .. }
            if patches::is_record(&name) || is_heartbeat(&name) =>
        {
            None
        }
        HistoryPayload::EventRaised { name, input } => Some((name, input, event.timestamp)),
        _ => None,
    }
}
