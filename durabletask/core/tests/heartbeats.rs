//! Activities whose silence is watched: what the orchestration decides, in whichever order
//! heartbeats, timers, results and crashes come.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use durabletask_core::testing::{HistoryBuilder, TestHub, TestStatus};
use durabletask_core::{
    ActionKind, Activity, ActivityContext, Execution, Failure, HEARTBEAT_EVENT, HeartbeatMessage,
    HistoryEvent, HistoryPayload, Orchestration, OrchestrationContext, OrchestratorAction,
    Registry, RetryPolicy, TaskOptions,
};
use proptest::prelude::*;
use serde_json::json;

const COPY: Activity<(), u32> = Activity::new("copy");
const BACK_UP: Orchestration<u32, String> = Orchestration::new("back-up");
const LIMIT: Duration = Duration::from_secs(30);

/// Copies with so many attempts; says how that went.
async fn back_up(ctx: OrchestrationContext, attempts: u32) -> Result<String, Failure> {
    let options = TaskOptions::new()
        .heartbeat_timeout(LIMIT)
        .retry(RetryPolicy::new(attempts, Duration::from_secs(1)));
    Ok(match ctx.call_activity_with(&COPY, &(), options).await {
        Ok(copied) => format!("copied {copied}"),
        Err(error) => {
            let failure = error.failure().expect("it failed");
            assert_eq!(
                failure.is_heartbeat_timeout(),
                failure.error_type == "HeartbeatTimeout"
            );
            failure.to_string()
        }
    })
}

fn registry() -> Arc<Registry> {
    Arc::new(Registry::new().orchestration(&BACK_UP, back_up))
}

fn beat_of(task_id: i32, execution_id: &str) -> HistoryPayload {
    let message = HeartbeatMessage {
        task_id,
        execution_id: Some(execution_id.to_owned()),
        key: "key".to_owned(),
        mark: None,
        details: Some("1".to_owned()),
    };
    HistoryPayload::EventRaised {
        name: HEARTBEAT_EVENT.to_owned(),
        input: Some(serde_json::to_string(&message).unwrap()),
    }
}

fn beat(task_id: i32) -> HistoryPayload {
    beat_of(task_id, "e1")
}

/// One instance that lives through its turns, and is replayed after each as after a crash.
struct Story {
    live: Execution,
    /// The history without what the present turn decides.
    history: HistoryBuilder,
    decided: Vec<OrchestratorAction>,
}

impl Story {
    fn begin(attempts: u32) -> Self {
        let mut story = Self {
            live: Execution::new("abc", Some("e1".to_owned()), registry()),
            history: HistoryBuilder::new(),
            decided: Vec::new(),
        };
        let began = HistoryBuilder::new()
            .execution_started("back-up", &attempts.to_string())
            .build();
        story.turn(began.into_iter().map(|event| event.payload));
        story
    }

    fn advance(&mut self, seconds: u64) {
        self.history = self.history.clone().advance(Duration::from_secs(seconds));
    }

    /// Runs a turn live, and in an execution that replays what came before it.
    fn turn(&mut self, new: impl IntoIterator<Item = HistoryPayload>) -> Vec<ActionKind> {
        let past = self.history.clone().build();
        let mut history = self.history.clone().orchestrator_started();
        for payload in new {
            history = history.event(-1, payload);
        }
        let new: Vec<HistoryEvent> = history.clone().build().split_off(past.len());
        let live = self.live.turn(new.iter().cloned());
        let mut fresh = Execution::new("abc", Some("e1".to_owned()), registry());
        fresh.replay(past);
        assert_eq!(fresh.turn(new), live, "a replay decides otherwise");
        for action in &live.actions {
            history = match &action.kind {
                ActionKind::ScheduleTask { name, .. } => history.task_scheduled(action.id, name),
                ActionKind::CreateTimer { fire_at } => history.event(
                    action.id,
                    HistoryPayload::TimerCreated {
                        fire_at: Some(*fire_at),
                    },
                ),
                ActionKind::Complete { .. } => history,
                other => panic!("it decided {other:?}"),
            };
        }
        self.history = history;
        self.decided.extend(live.actions.iter().cloned());
        live.actions.into_iter().map(|action| action.kind).collect()
    }

    fn fire(&mut self, timer_id: i32) -> Vec<ActionKind> {
        self.turn([HistoryPayload::TimerFired { timer_id }])
    }

    /// The output, once there is one.
    fn output(&self) -> Option<String> {
        self.decided.iter().find_map(|action| match &action.kind {
            ActionKind::Complete { result, .. } => {
                serde_json::from_str(result.as_deref().unwrap()).ok()
            }
            _ => None,
        })
    }
}

fn is_timer(action: &ActionKind) -> bool {
    matches!(action, ActionKind::CreateTimer { .. })
}

fn completed(task_id: i32) -> HistoryPayload {
    HistoryPayload::TaskCompleted {
        task_id,
        result: Some("7".to_owned()),
    }
}

#[test]
fn silence_after_a_heartbeat_fails_the_attempt_and_the_policy_decides() {
    let mut story = Story::begin(2);
    // It may wait for a worker for as long as it takes.
    story.advance(1_000_000);
    assert!(matches!(&story.turn([beat(0)])[..], [timer] if is_timer(timer)));
    story.advance(20);
    assert_eq!(story.turn([beat(0)]), []);
    story.advance(10);
    // It was heard of since, so there is a second timer for what is left.
    assert!(matches!(&story.fire(1)[..], [timer] if is_timer(timer)));
    story.advance(20);
    // The delay of the policy, and then the second attempt.
    assert!(matches!(&story.fire(2)[..], [timer] if is_timer(timer)));
    story.advance(1);
    assert!(matches!(
        &story.fire(3)[..],
        [ActionKind::ScheduleTask { .. }]
    ));
    // What the first attempt says now is of no interest any more.
    assert_eq!(story.turn([beat(0), completed(0)]), []);
    assert_eq!(story.turn([beat(4)]).len(), 1);
    story.advance(30);
    story.fire(5);
    assert_eq!(
        story.output().as_deref(),
        Some("HeartbeatTimeout: the activity sent no heartbeat for 30s")
    );
}

#[test]
fn what_is_no_heartbeat_of_this_attempt_is_ignored() {
    let mut story = Story::begin(1);
    let raised = |input: Option<&str>| HistoryPayload::EventRaised {
        name: HEARTBEAT_EVENT.to_uppercase(),
        input: input.map(str::to_owned),
    };
    let strangers = [
        raised(None),
        raised(Some("not JSON")),
        raised(Some("{}")),
        beat(9),
        beat(-1),
        // Of the execution before it continued as new.
        beat_of(0, "e0"),
    ];
    assert_eq!(story.turn(strangers), []);
    // Nobody takes back a timer that was never needed.
    assert!(matches!(
        &story.turn([beat(0), completed(0)])[..],
        [ActionKind::Complete { .. }]
    ));
    assert_eq!(story.output().as_deref(), Some("copied 7"));
}

#[test]
fn heartbeats_without_a_limit_change_nothing() {
    let registry =
        Registry::new().orchestration(&BACK_UP, async |ctx: OrchestrationContext, _: u32| {
            let copied = ctx.call_activity(&COPY, &()).await?;
            Ok(copied.to_string())
        });
    let run = TestHub::new(registry)
        .deliver(Duration::ZERO, beat_of(0, "test-instance-execution-1"))
        .run(&BACK_UP, &1, |_, _| Ok(json!(7)));
    assert_eq!(run.output(), Ok("7".to_owned()));
}

#[test]
fn a_silent_activity_can_be_tested_in_memory() {
    let registry = Registry::new().orchestration(&BACK_UP, back_up);
    let hub = TestHub::new(registry).activity_falls_silent(&COPY, [1, 2]);
    let run = hub.run(&BACK_UP, &2, |_, _| Ok(json!(7)));
    assert_eq!(run.status, TestStatus::Completed);
    let output = run.output().unwrap();
    assert!(output.starts_with("HeartbeatTimeout: "), "{output}");
    assert_eq!(
        hub.run(&BACK_UP, &3, |_, _| Ok(json!(7))).output(),
        Ok("copied 7".to_owned())
    );
}

#[test]
fn an_activity_can_be_tested_without_a_worker() {
    async fn copy(ctx: ActivityContext) -> Result<u32, Failure> {
        let done: u32 = ctx.last_heartbeat().await?.unwrap_or(0);
        ctx.heartbeat(&(done + 1)).await?;
        Ok(done)
    }
    let fresh = || ActivityContext::new("copy", "abc", 0);
    let run = |ctx| futures_util::FutureExt::now_or_never(copy(ctx)).unwrap();
    assert_eq!(run(fresh()).unwrap(), 0);
    let resumed = fresh().with_last_heartbeat(&4).unwrap();
    assert_eq!(run(resumed.clone()).unwrap(), 4);
    assert_eq!(run(resumed).unwrap(), 5);
    let other = fresh().with_last_heartbeat("forty").unwrap();
    let details = run(other).unwrap_err().into_details();
    assert!(details.message.contains("another type"), "{details}");
}

/// What may happen to an instance.
#[derive(Clone, Copy, Debug)]
enum Chance {
    /// The attempt so many before the latest reports.
    Beat(usize),
    /// So many seconds pass, and the timers that are due fire.
    Pass(u64),
    /// The attempt so many before the latest succeeds.
    Succeed(usize),
    /// The latest attempt fails.
    Fail,
}

fn chances() -> impl Strategy<Value = Vec<Chance>> {
    let chance = prop_oneof![
        4 => (0_usize..3).prop_map(Chance::Beat),
        4 => (1_u64..40).prop_map(Chance::Pass),
        1 => (0_usize..3).prop_map(Chance::Succeed),
        1 => Just(Chance::Fail),
    ];
    prop::collection::vec(chance, 1..40)
}

/// The model: what becomes of the call.
struct Model {
    attempts: u32,
    /// The task ids of the attempts so far.
    tasks: Vec<i32>,
    now: u64,
    /// When the latest attempt was last heard of.
    heard: Option<u64>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Every turn is also run by an execution that replays the history, as after a crash of
    /// the worker; `Story` compares them. Beyond that, an attempt fails by silence exactly
    /// when it was silent for the limit.
    #[test]
    fn a_heartbeat_timeout_fires_exactly_when_there_is_silence(chances in chances()) {
        let mut story = Story::begin(4);
        let mut model = Model { attempts: 0, tasks: vec![0], now: 0, heard: None };
        // Timers by when they are due.
        let mut timers: Vec<(u64, i32)> = Vec::new();
        let began = durabletask_core::testing::epoch();
        for chance in chances {
            if story.output().is_some() {
                break;
            }
            let back = |steps: usize| model.tasks[model.tasks.len().saturating_sub(steps + 1)];
            let seen = story.decided.len();
            // Whether the latest attempt waits for its result, or for its retry.
            let runs = model.tasks.len() as u32 > model.attempts;
            match chance {
                Chance::Beat(steps) => {
                    let task = back(steps);
                    story.turn([beat(task)]);
                    if runs && Some(&task) == model.tasks.last() {
                        model.heard = Some(model.now);
                    }
                }
                Chance::Succeed(steps) => {
                    let task = back(steps);
                    story.turn([completed(task)]);
                    let counts = runs && Some(&task) == model.tasks.last();
                    prop_assert_eq!(story.output().is_some(), counts);
                }
                Chance::Fail => {
                    let failure = durabletask_core::FailureDetails::new("Busy", "later");
                    story.turn([HistoryPayload::TaskFailed { task_id: back(0), failure }]);
                    if runs {
                        model.attempts += 1;
                        model.heard = None;
                    }
                }
                Chance::Pass(seconds) => {
                    let end = model.now + seconds;
                    timers.sort_unstable();
                    if let Some(&(due, timer)) = timers.first().filter(|(due, _)| *due <= end) {
                        timers.remove(0);
                        story.advance(due.saturating_sub(model.now));
                        model.now = model.now.max(due);
                        let silent = runs
                            && model.heard.is_some_and(|heard| model.now >= heard + LIMIT.as_secs());
                        story.fire(timer);
                        if silent {
                            model.attempts += 1;
                            model.heard = None;
                        }
                    } else {
                        story.advance(seconds);
                        model.now = end;
                    }
                }
            }
            for action in &story.decided[seen..] {
                match &action.kind {
                    ActionKind::ScheduleTask { .. } => model.tasks.push(action.id),
                    ActionKind::CreateTimer { fire_at } => {
                        let due = (*fire_at - began).num_seconds();
                        timers.push((u64::try_from(due).unwrap(), action.id));
                    }
                    _ => {}
                }
            }
            prop_assert_eq!(story.output().is_some_and(|end| !end.starts_with("copied")), model.attempts == 4);
        }
    }
}
