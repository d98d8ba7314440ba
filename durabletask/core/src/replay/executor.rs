//! Polling an orchestration's code over its history, with no runtime underneath.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::action::{CompletionStatus, OrchestratorAction};
use crate::activity::{ORIGIN_TAG, origin_of};
use crate::error::{Failure, FailureDetails, panic_text};
use crate::history::{ExecutionStarted, HistoryEvent, HistoryPayload};
use crate::outcome::{End, Ended};
use crate::registry::{HandlerFuture, Registry};

use super::context::OrchestrationContext;
use super::lineage::LINEAGE_TAG;
use super::mismatch::NON_DETERMINISM;
use super::queries::QueryError;
use super::state::{Applied, Runaway, Shared};

/// How often code may wake itself between two events. Combinators do it a few
/// times; code that does nothing else would never end.
const MAX_SELF_WAKES: usize = 100_000;

/// One live execution of an orchestration: its code and what it waits for.
///
/// It can be fed the whole history at once or turn by turn: an execution that
/// lived through its turns is in the same state as one that replays them.
///
/// ```
/// use std::sync::Arc;
///
/// use durabletask::testing::HistoryBuilder;
/// use durabletask_core::Execution;
/// use durabletask::{Activity, Failure, Orchestration, OrchestrationContext, Registry};
///
/// const GREET: Activity<String, String> = Activity::new("greet");
/// const WELCOME: Orchestration<String, String> = Orchestration::new("welcome");
///
/// async fn welcome(ctx: OrchestrationContext, name: String) -> Result<String, Failure> {
///     Ok(ctx.call_activity(&GREET, &name).await?)
/// }
///
/// let registry = Arc::new(Registry::new().orchestration(&WELCOME, welcome));
/// let mut execution = Execution::new("abc", None, registry);
/// let past = HistoryBuilder::new()
///     .orchestrator_started()
///     .execution_started("welcome", "\"Ada\"")
///     .task_scheduled(0, "greet");
/// execution.replay(past.build());
/// let new = HistoryBuilder::new().orchestrator_started().task_completed(0, "\"Hello\"");
/// let result = execution.turn(new.build());
/// assert!(result.completed);
/// assert_eq!(execution.started().map(|started| started.name.as_str()), Some("welcome"));
/// ```
pub struct Execution {
    shared: Arc<Shared>,
    registry: Arc<Registry>,
    code: Option<HandlerFuture<Ended>>,
    woken: Arc<Woken>,
    waker: Waker,
    replayed: bool,
    /// Events of the past whose turn may continue in the next piece.
    unfinished: Vec<HistoryEvent>,
}

/// What a turn decided.
///
/// ```
/// use std::sync::Arc;
///
/// use durabletask::testing::HistoryBuilder;
/// use durabletask_core::Execution;
/// use durabletask::{Activity, Failure, Orchestration, OrchestrationContext, Registry};
///
/// const GREET: Activity<String, String> = Activity::new("greet");
/// const WELCOME: Orchestration<String, String> = Orchestration::new("welcome");
///
/// async fn welcome(ctx: OrchestrationContext, name: String) -> Result<String, Failure> {
///     Ok(ctx.call_activity(&GREET, &name).await?)
/// }
///
/// let registry = Arc::new(Registry::new().orchestration(&WELCOME, welcome));
/// let mut execution = Execution::new("abc", None, registry);
/// let past = HistoryBuilder::new()
///     .orchestrator_started()
///     .execution_started("welcome", "\"Ada\"")
///     .task_scheduled(0, "greet");
/// execution.replay(past.build());
/// let new = HistoryBuilder::new().orchestrator_started().task_completed(0, "\"Hello\"");
/// let result = execution.turn(new.build());
/// assert_eq!(result.actions.len(), 1);
/// assert_eq!((result.completed, result.custom_status), (true, None));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TurnResult {
    /// The decisions in program order; the end of the execution comes last.
    pub actions: Vec<OrchestratorAction>,
    /// The present custom status, JSON text.
    pub custom_status: Option<String>,
    /// Whether the execution has ended.
    pub completed: bool,
    /// The ids of activity calls that the code awaited and gave up in this turn:
    /// they lost against another future, or the execution ended. Nobody looks at
    /// their results any more.
    pub given_up: Vec<i32>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl Execution {
    /// An execution at its very beginning. `execution_id` may be absent if the
    /// history has it.
    #[must_use]
    pub fn new(
        instance_id: impl Into<Arc<str>>,
        execution_id: Option<String>,
        registry: Arc<Registry>,
    ) -> Self {
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        Self {
            shared: Arc::new(Shared::new(instance_id.into(), execution_id)),
            registry,
            code: None,
            waker: Waker::from(Arc::clone(&woken)),
            woken,
            replayed: false,
            unfinished: Vec::new(),
        }
    }

    /// The id of the instance.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        &self.shared.instance_id
    }

    /// The id of the execution, as given or as in the history.
    #[must_use]
    pub fn execution_id(&self) -> Option<&str> {
        self.shared.execution_id()
    }

    /// How the execution began, once its history was read; without the input,
    /// which the code has got.
    #[must_use]
    pub fn started(&self) -> Option<&ExecutionStarted> {
        self.shared.started.get().map(Box::as_ref)
    }

    /// Replays committed events. May be called several times with consecutive
    /// pieces of the past, before the first turn.
    pub fn replay(&mut self, past: impl IntoIterator<Item = HistoryEvent>) {
        self.replayed = true;
        for event in past {
            // What a turn decided is recorded after what it learned, and the code may ask
            // for it in advance. So a turn is replayed once all of it is there.
            if matches!(event.payload, HistoryPayload::OrchestratorStarted) {
                self.replay_turn();
            }
            self.learn(&event);
            self.unfinished.push(event);
        }
    }

    /// Learns in advance what the code may ask of an event of the past.
    pub(crate) fn learn(&self, event: &HistoryEvent) {
        self.shared.lock().patches.learn(event);
    }

    /// Replays the latest turn of the past.
    pub(crate) fn replay_turn(&mut self) {
        if self.unfinished.is_empty() {
            return;
        }
        self.shared.lock().replaying = true;
        let past = std::mem::take(&mut self.unfinished);
        // What the code logs on replay was logged before.
        tracing::dispatcher::with_default(&tracing::Dispatch::none(), || {
            for event in past {
                self.feed(event);
            }
        });
    }

    /// Runs one turn over new events and yields what it decided.
    ///
    /// A divergence from the replayed past, a panic, or awaiting something that
    /// is not durable ends the execution as failed.
    pub fn turn(&mut self, new: impl IntoIterator<Item = HistoryEvent>) -> TurnResult {
        if std::mem::take(&mut self.replayed) {
            self.replay_turn();
            let applied = self.shared.lock().check_past();
            self.follow(applied);
        }
        {
            let mut state = self.shared.lock();
            state.replaying = false;
            // What was given up in the past was reported in its turn.
            state.take_given_up();
        }
        {
            let span = tracing::info_span!("orchestration", instance_id = %self.shared.instance_id);
            let _entered = span.enter();
            for event in new {
                self.feed(event);
            }
        }
        self.check_rest();
        let mut state = self.shared.lock();
        TurnResult {
            actions: state.take_actions(),
            custom_status: state.custom_status.clone(),
            completed: state.is_over(),
            given_up: state.take_given_up(),
        }
    }

    /// Answers a query from what has been replayed and lived through; nothing that the
    /// handler does has an effect on the history. The answer is JSON text.
    ///
    /// Ask an execution that is not used for turns any more.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if the code has not said that it answers this query, if its handler
    /// fails or panics, or if the code diverges from its history.
    pub fn query(&mut self, name: &str, input: Option<&str>) -> Result<String, QueryError> {
        // The code may be ahead of its record here: the record of a turn is complete once
        // that has been committed, and not before.
        self.replay_turn();
        if let Some(details) = self.aborted() {
            return Err(QueryError::Failed(details));
        }
        let answering = self.shared.lock().queries.find(name)?;
        let answered = tracing::dispatcher::with_default(&tracing::Dispatch::none(), || {
            catch_unwind(AssertUnwindSafe(|| answering(input)))
        });
        answered
            .unwrap_or_else(|panic| Err(panic_details(panic.as_ref())))
            .map_err(QueryError::Failed)
    }

    /// How the code diverges from its history, if that ended the execution.
    #[must_use]
    pub fn divergence(&self) -> Option<FailureDetails> {
        self.aborted()
            .filter(|details| details.error_type == NON_DETERMINISM)
    }

    /// Why the execution cannot continue, if it cannot.
    pub(crate) fn aborted(&self) -> Option<FailureDetails> {
        self.shared.lock().abortion()
    }

    fn feed(&mut self, event: HistoryEvent) {
        let mut next = Some(event);
        while let Some(event) = next {
            let mut wake = Vec::new();
            let applied = self.shared.lock().apply(event, &mut wake);
            wake.into_iter().for_each(Waker::wake);
            self.follow(applied);
            self.advance();
            next = self.shared.lock().next_held();
        }
    }

    fn follow(&mut self, applied: Applied) {
        match applied {
            Applied::Nothing => {}
            Applied::Start(started) => self.start(*started),
            Applied::Stop => self.drop_code(),
        }
    }

    fn start(&mut self, mut started: ExecutionStarted) {
        let input = started.input.take();
        let name = started.name.clone();
        if let Some(remembered) = started.tags.remove(ORIGIN_TAG)
            && let Some(origin) = started
                .execution_id
                .as_deref()
                .and_then(|id| origin_of(&remembered, id))
        {
            let _ = self.shared.origin.set(origin.to_owned());
        }
        let lineage = started.tags.remove(LINEAGE_TAG);
        // Set once: the state lets only the first ExecutionStarted through.
        let _ = self.shared.started.set(Box::new(started));
        let origin = self.shared.origin.get().map(String::as_str);
        let execution_id = self.shared.execution_id();
        {
            let mut state = self.shared.lock();
            if let Some(lineage) = &lineage {
                let own = &self.shared.instance_id;
                state.lineage.begin(lineage, own, origin.or(execution_id));
            }
            let has_others = origin.is_some() || state.lineage.is_fork();
            state.watches.begin(execution_id, has_others);
        }
        let context = OrchestrationContext::new(Arc::clone(&self.shared));
        let registry = Arc::clone(&self.registry);
        match registry.start_orchestration(&name, context, input) {
            Ok(code) => {
                self.code = Some(code);
                self.woken.0.store(true, Ordering::Release);
            }
            Err(details) => {
                self.shared.lock().abort(details);
            }
        }
    }

    /// Polls the code while something has woken it.
    fn advance(&mut self) {
        let mut polls = 0;
        while self.woken.0.swap(false, Ordering::AcqRel) {
            let Some(code) = &mut self.code else {
                return;
            };
            self.shared.lock().begin_poll();
            let mut context = Context::from_waker(&self.waker);
            let polled = catch_unwind(AssertUnwindSafe(|| code.as_mut().poll(&mut context)));
            match polled {
                Ok(Poll::Ready(result)) => self.finish(result),
                Ok(Poll::Pending) => {
                    polls += 1;
                    if polls > MAX_SELF_WAKES {
                        self.abort(foreign_await());
                    }
                }
                Err(panic) => self.abort(panic_details(panic.as_ref())),
            }
        }
    }

    fn finish(&mut self, result: Result<Ended, Failure>) {
        let mut state = self.shared.lock();
        match result {
            Ok(Ended(End::Output(output))) => {
                state.end(CompletionStatus::Completed, Some(output), None);
            }
            Ok(Ended(End::Continue(mut continuation))) => {
                let input = std::mem::take(&mut continuation.input);
                state.end(CompletionStatus::ContinuedAsNew, Some(input), None);
                if let Some(completion) = &mut state.completion {
                    completion.continuation = Some(continuation);
                }
            }
            Err(failure) => {
                state.end(CompletionStatus::Failed, None, Some(failure.into_details()));
            }
        }
        drop(state);
        self.drop_code();
    }

    fn abort(&mut self, details: FailureDetails) {
        self.shared.lock().abort(details);
        self.drop_code();
    }

    fn drop_code(&mut self) {
        if let Some(code) = self.code.take() {
            // Destructors are user code as well; the execution has ended either way.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(code)));
        }
    }

    /// Code that is pending must wait for something that the history can answer.
    fn check_rest(&mut self) {
        let (over, may_rest, started) = {
            let state = self.shared.lock();
            (state.is_over(), state.may_rest(), state.is_started())
        };
        if over || may_rest {
            return;
        }
        if !started {
            self.abort(FailureDetails {
                non_retriable: true,
                ..FailureDetails::new(
                    "CorruptHistory",
                    "the history of this execution has no ExecutionStarted event",
                )
            });
        } else if self.code.is_some() {
            self.abort(foreign_await());
        }
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        // Their handlers may hold the context, which holds the state that holds them.
        let queries = std::mem::take(&mut self.shared.lock().queries);
        let _ = catch_unwind(AssertUnwindSafe(|| drop(queries)));
    }
}

impl fmt::Debug for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Execution")
            .field("instance_id", &self.shared.instance_id)
            .field("running", &self.code.is_some())
            .finish_non_exhaustive()
    }
}

fn foreign_await() -> FailureDetails {
    FailureDetails {
        non_retriable: true,
        ..FailureDetails::new(
            "ForeignAwait",
            "the orchestration awaits something that is not a durable task, so nothing in its \
             history can ever wake it. The usual causes: awaiting tokio::time::sleep, a channel, a \
             lock, a JoinHandle or I/O in an orchestration (use a durable timer, an external event \
             or an activity), or waiting for the first of an empty list",
        )
    }
}

fn panic_details(panic: &(dyn Any + Send)) -> FailureDetails {
    if panic.is::<Runaway>() {
        return FailureDetails {
            non_retriable: true,
            ..FailureDetails::new(
                "EndlessTurn",
                "the orchestration called its context again and again without awaiting anything, \
                 so its turn would never have ended. The usual causes: a loop that waits for the \
                 clock, which stands still within a turn (await a timer instead), or one that \
                 schedules work without end (await what it schedules, or continue as new)",
            )
        };
    }
    let text = panic_text(panic, "the orchestration panicked");
    // Tokio's error outside a runtime, as in a plain test.
    if text.contains("there is no reactor running") {
        return foreign_await();
    }
    FailureDetails::new("Panic", text)
}
