//! Given this history, which actions? One test per rule of the replay core.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use durabletask_core::testing::{HistoryBuilder, TestHub, TestStatus, epoch, replay_history};
use durabletask_core::{
    ActionKind, Activity, CompletionStatus, ContinueAsNew, Either, Event, Execution, Failure,
    FailureDetails, HistoryEvent, HistoryPayload, Orchestration, OrchestrationContext,
    OrchestratorAction, Outcome, Registry, RetryPolicy, SubOrchestrationOptions, TaskOptions,
    TurnResult, UnprocessedEvents, join, select, when_all, when_any,
};
use serde_json::json;

const A: Activity<u32, u32> = Activity::new("a");
const B: Activity<u32, u32> = Activity::new("b");
const GO: Event<u32> = Event::new("Go");
const STORY: Orchestration<u32, u32> = Orchestration::new("story");
const CHILD: Orchestration<u32, u32> = Orchestration::new("child");

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A registry whose only orchestration is the given code.
fn story<F, Fut>(code: F) -> Registry
where
    F: Fn(OrchestrationContext, u32) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<u32, Failure>> + Send + 'static,
{
    Registry::new().orchestration(&STORY, code)
}

/// Like [`story`], of code that may continue as new.
fn endless_story<F, Fut>(code: F) -> Registry
where
    F: Fn(OrchestrationContext, u32) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Outcome<u32, u32>, Failure>> + Send + 'static,
{
    Registry::new().continuing(&STORY, code)
}

fn execution(registry: &Registry) -> Execution {
    Execution::new("abc", Some("exec".to_owned()), Arc::new(registry.clone()))
}

fn begin() -> HistoryBuilder {
    HistoryBuilder::new()
        .orchestrator_started()
        .execution_started("story", "7")
}

/// Replays the past, runs the turn.
fn turn(registry: &Registry, past: HistoryBuilder, new: HistoryBuilder) -> TurnResult {
    let mut execution = execution(registry);
    execution.replay(past.build());
    execution.turn(new.build())
}

fn first_turn(registry: &Registry, new: HistoryBuilder) -> TurnResult {
    turn(registry, HistoryBuilder::new(), new)
}

fn completion(result: &TurnResult) -> (CompletionStatus, Option<String>, Option<FailureDetails>) {
    match &result.actions.last().expect("an action").kind {
        ActionKind::Complete {
            status,
            result,
            failure,
            ..
        } => (*status, result.clone(), failure.clone()),
        other => panic!("not a completion: {other:?}"),
    }
}

fn failure(result: &TurnResult) -> FailureDetails {
    assert!(result.completed);
    let (status, _, failure) = completion(result);
    assert_eq!(status, CompletionStatus::Failed);
    failure.expect("details")
}

/// The kinds of the actions, short: `0:a` for a call of `a` as action 0.
fn sketch(actions: &[OrchestratorAction]) -> Vec<String> {
    actions
        .iter()
        .map(|action| {
            let what = match &action.kind {
                ActionKind::ScheduleTask { name, .. } => name.clone(),
                ActionKind::CreateSubOrchestration { instance_id, .. } => instance_id.clone(),
                ActionKind::CreateTimer { fire_at } => {
                    format!("timer+{}", (*fire_at - epoch()).num_seconds())
                }
                ActionKind::SendEvent { name, .. } => format!("send-{name}"),
                ActionKind::Complete { status, .. } => format!("{status:?}"),
                other => format!("{other:?}"),
            };
            format!("{}:{what}", action.id)
        })
        .collect()
}

async fn a_then_b(ctx: OrchestrationContext, n: u32) -> Result<u32, Failure> {
    let n = ctx.call_activity(&A, &n).await?;
    Ok(ctx.call_activity(&B, &n).await?)
}

#[test]
fn a_fresh_execution_schedules_its_first_step() {
    let result = first_turn(&story(a_then_b), begin());
    assert_eq!(sketch(&result.actions), ["0:a"]);
    assert!(!result.completed);
    let ActionKind::ScheduleTask { input, .. } = &result.actions[0].kind else {
        panic!("not a call");
    };
    assert_eq!(input.as_deref(), Some("7"));
}

#[test]
fn a_partial_history_continues_where_it_ended() {
    let past = begin().task_scheduled(0, "a");
    let new = HistoryBuilder::new()
        .orchestrator_started()
        .task_completed(0, "8");
    assert_eq!(
        sketch(&turn(&story(a_then_b), past.clone(), new.clone()).actions),
        ["1:b"]
    );

    let past = HistoryBuilder::new();
    let mut events = begin().task_scheduled(0, "a").build();
    events.extend(new.build());
    events.extend(past.task_scheduled(1, "b").build());
    let mut execution = execution(&story(a_then_b));
    execution.replay(events);
    let result = execution.turn(
        HistoryBuilder::new()
            .orchestrator_started()
            .task_completed(1, "9")
            .build(),
    );
    assert_eq!(sketch(&result.actions), ["2:Completed"]);
    assert_eq!(completion(&result).1.as_deref(), Some("9"));
}

#[test]
fn a_complete_history_yields_nothing_more() {
    let history = begin()
        .task_scheduled(0, "a")
        .orchestrator_started()
        .task_completed(0, "8")
        .task_scheduled(1, "b")
        // Some schedulers record the end of a turn, some do not.
        .event(-1, HistoryPayload::OrchestratorCompleted)
        .orchestrator_started()
        .task_completed(1, "9")
        .event(
            2,
            HistoryPayload::ExecutionCompleted {
                status: 1,
                result: None,
                failure: None,
            },
        );
    let result = turn(&story(a_then_b), history.clone(), HistoryBuilder::new());
    assert_eq!(result.actions, []);
    assert!(result.completed);
    replay_history(story(a_then_b), "abc", &history.build()).unwrap();
}

#[test]
fn each_divergence_is_explained() {
    let cases = [
        (
            begin().task_scheduled(0, "x"),
            "the activity 'x' as step #0, but the code attempts a call of the activity 'a'",
        ),
        (
            begin().timer_created(0),
            "a timer as step #0, but the code attempts a call of the activity 'a'",
        ),
        (
            begin().sub_orchestration_created(0, "child", "c"),
            "the sub-orchestration 'child' as step #0",
        ),
        (
            begin().event(
                0,
                HistoryPayload::EventSent {
                    name: "Go".into(),
                    instance_id: "z".into(),
                    input: None,
                },
            ),
            "sending the event 'Go' to the instance 'z' as step #0",
        ),
        (
            begin().task_scheduled(0, "a").task_scheduled(1, "b"),
            "step #1, but the code does not take that step",
        ),
        // The code takes a step that the recorded turn did not take.
        (
            begin(),
            "the history records no step #0, but on replay the code attempts a call of the activity 'a'",
        ),
    ];
    for (past, expected) in cases {
        let result = turn(
            &story(a_then_b),
            past,
            HistoryBuilder::new().orchestrator_started(),
        );
        let details = failure(&result);
        assert_eq!(details.error_type, "NonDeterminismError");
        assert!(details.non_retriable);
        assert!(details.message.contains(expected), "{}", details.message);
        assert!(
            details.message.contains("changed orchestration code"),
            "{}",
            details.message
        );
        assert_eq!(result.actions.len(), 1, "nothing uncommitted is sent");
    }
}

#[test]
fn code_that_ends_early_diverges() {
    let registry = story(async |_, n| Ok(n));
    let past = begin().task_scheduled(0, "a");
    let result = turn(
        &registry,
        past,
        HistoryBuilder::new().orchestrator_started(),
    );
    assert!(failure(&result).message.contains("the history continues"));
}

#[test]
fn inputs_and_timer_instants_may_change() {
    let registry = story(async |ctx, n| {
        ctx.create_timer(HOUR).await;
        Ok(ctx.call_activity(&A, &(n + 1)).await?)
    });
    let past = begin().timer_created(0);
    let new = HistoryBuilder::new().orchestrator_started().timer_fired(0);
    assert_eq!(sketch(&turn(&registry, past, new).actions), ["1:a"]);
}

#[test]
fn unobserved_tasks_are_sent_and_their_results_ignored() {
    let registry = story(async |ctx, n| {
        drop(ctx.call_activity(&B, &n));
        Ok(ctx.call_activity(&A, &n).await?)
    });
    assert_eq!(
        sketch(&first_turn(&registry, begin()).actions),
        ["0:b", "1:a"]
    );
    let past = begin().task_scheduled(0, "b").task_scheduled(1, "a");
    let new = HistoryBuilder::new()
        .orchestrator_started()
        .task_completed(0, "1")
        .task_completed(1, "2");
    let result = turn(&registry, past, new);
    assert_eq!(completion(&result).1.as_deref(), Some("2"));
}

#[test]
fn steps_scheduled_in_the_last_turn_are_sent_before_the_end() {
    let registry = story(async |ctx, n| {
        drop(ctx.call_activity(&A, &n));
        ctx.send_event("other", &GO, &n)?;
        Ok(n)
    });
    let result = first_turn(&registry, begin());
    assert_eq!(sketch(&result.actions), ["0:a", "1:send-Go", "2:Completed"]);
}

#[test]
fn corrupt_events_do_no_harm() {
    let past = begin().task_scheduled(0, "a");
    let new = HistoryBuilder::new()
        .event(
            -1,
            HistoryPayload::Other {
                name: "Unknown".into(),
            },
        )
        .task_completed(99, "1")
        .timer_fired(0)
        .timer_fired(-5)
        .execution_started("another", "1")
        .orchestrator_started()
        .task_completed(0, "8")
        .task_completed(0, "8");
    assert_eq!(sketch(&turn(&story(a_then_b), past, new).actions), ["1:b"]);

    let result = first_turn(
        &story(a_then_b),
        HistoryBuilder::new().orchestrator_started(),
    );
    assert_eq!(failure(&result).error_type, "CorruptHistory");
}

#[test]
fn wire_events_without_payload_or_time_are_accepted() {
    let event = HistoryEvent::from(durabletask_proto::HistoryEvent::default());
    assert_eq!(event.timestamp, None);
    assert_eq!(
        event.payload,
        HistoryPayload::Other {
            name: "Unknown".into()
        }
    );
    let far = prost_types::Timestamp {
        seconds: i64::MAX,
        nanos: -1,
    };
    assert_eq!(durabletask_core::timestamp_from_wire(far), None);
}

#[test]
fn unknown_names_and_wrong_inputs_fail_permanently() {
    let result = first_turn(
        &Registry::new(),
        HistoryBuilder::new()
            .orchestrator_started()
            .execution_started("nobody", "1"),
    );
    let details = failure(&result);
    assert_eq!(details.error_type, "OrchestratorTaskNotFound");
    assert!(details.non_retriable);

    let result = first_turn(
        &story(a_then_b),
        HistoryBuilder::new()
            .orchestrator_started()
            .execution_started("story", "\"planted-value\""),
    );
    let details = failure(&result);
    assert!(details.non_retriable);
    assert!(!details.message.contains("planted"), "{}", details.message);
    assert!(details.message.contains("line 1"), "{}", details.message);
}

#[test]
fn a_panic_is_a_failure() {
    let registry = story(async |_, _| panic!("out of luck"));
    let details = failure(&first_turn(&registry, begin()));
    assert_eq!(
        (details.error_type.as_str(), details.message.as_str()),
        ("Panic", "out of luck")
    );
}

#[test]
fn awaiting_something_foreign_is_reported() {
    let alone = story(async |_, _| std::future::pending().await);
    assert_eq!(
        failure(&first_turn(&alone, begin())).error_type,
        "ForeignAwait"
    );

    // A durable task is under way, but the code does not wait for it.
    let beside = story(async |ctx, n| {
        let _task = ctx.call_activity(&A, &n);
        std::future::pending().await
    });
    let details = failure(&first_turn(&beside, begin()));
    assert_eq!(details.error_type, "ForeignAwait");
    assert!(details.message.contains("tokio::time::sleep"));
}

#[test]
fn suspension_holds_everything_back_until_resumption() {
    let past = begin().task_scheduled(0, "a");
    let mut execution = execution(&story(a_then_b));
    execution.replay(past.build());
    let result = execution.turn(
        HistoryBuilder::new()
            .orchestrator_started()
            .event(-1, HistoryPayload::ExecutionSuspended { reason: None })
            .task_completed(0, "8")
            .build(),
    );
    assert_eq!((result.actions.len(), result.completed), (0, false));
    let result = execution.turn(
        HistoryBuilder::new()
            .orchestrator_started()
            .event(-1, HistoryPayload::ExecutionResumed { reason: None })
            .build(),
    );
    assert_eq!(sketch(&result.actions), ["1:b"]);
}

#[test]
fn what_was_held_back_runs_at_the_time_of_the_resumption() {
    let registry = story(async |ctx, n| {
        ctx.call_activity(&A, &n).await?;
        ctx.create_timer(SECOND).await;
        Ok(n)
    });
    let new = HistoryBuilder::new()
        .orchestrator_started()
        .event(-1, HistoryPayload::ExecutionSuspended { reason: None })
        .task_completed(0, "8")
        .advance(HOUR)
        .orchestrator_started()
        .event(-1, HistoryPayload::ExecutionResumed { reason: None });
    let result = turn(&registry, begin().task_scheduled(0, "a"), new);
    assert_eq!(sketch(&result.actions), ["1:timer+3601"]);
}

#[test]
fn steps_taken_before_a_suspension_in_the_same_turn_replay() {
    let past = begin()
        .task_scheduled(0, "a")
        .orchestrator_started()
        .task_completed(0, "8")
        .event(-1, HistoryPayload::ExecutionSuspended { reason: None })
        .task_scheduled(1, "b");
    let new = HistoryBuilder::new()
        .orchestrator_started()
        .event(-1, HistoryPayload::ExecutionResumed { reason: None })
        .task_completed(1, "9");
    let result = turn(&story(a_then_b), past, new);
    assert_eq!(completion(&result).1.as_deref(), Some("9"));
}

#[test]
fn termination_ends_with_the_given_output_even_while_suspended() {
    let past = begin().task_scheduled(0, "a");
    let new = HistoryBuilder::new()
        .orchestrator_started()
        .event(-1, HistoryPayload::ExecutionSuspended { reason: None })
        .event(
            -1,
            HistoryPayload::ExecutionTerminated {
                output: Some("\"enough\"".into()),
            },
        );
    let result = turn(&story(a_then_b), past, new);
    assert_eq!(
        completion(&result),
        (
            CompletionStatus::Terminated,
            Some("\"enough\"".into()),
            None
        )
    );
    assert_eq!(result.actions.len(), 1);
}

#[test]
fn events_come_before_or_after_the_wait_in_any_case_of_letters() {
    let registry = story(async |ctx, _| {
        let first = ctx.wait_for_event(&GO);
        let second = ctx.wait_for_event(&GO);
        let second = second.await?;
        Ok(second * 10 + first.await?)
    });
    let early = begin().event_raised("gO", "1").event_raised("GO", "2");
    assert_eq!(
        completion(&first_turn(&registry, early)).1.as_deref(),
        Some("21")
    );
    let late = HistoryBuilder::new()
        .orchestrator_started()
        .event_raised("go", "1")
        .event_raised("go", "2");
    assert_eq!(
        completion(&turn(&registry, begin(), late)).1.as_deref(),
        Some("21")
    );
    // Raised before the first turn, so delivered in front of the start.
    let mut before = HistoryBuilder::new()
        .orchestrator_started()
        .event_raised("go", "1")
        .build();
    before.extend(begin().event_raised("go", "2").build());
    let result = execution(&registry).turn(before);
    assert_eq!(completion(&result).1.as_deref(), Some("21"));
}

#[test]
fn a_wait_that_lost_a_race_consumes_no_event() {
    let registry = story(async |ctx, _| {
        let lost = select(ctx.wait_for_event(&GO), ctx.create_timer(SECOND)).await;
        assert!(matches!(lost, Either::Right(())));
        Ok(ctx.wait_for_event(&GO).await?)
    });
    let past = begin().timer_created(0);
    let new = HistoryBuilder::new()
        .orchestrator_started()
        .timer_fired(0)
        .event_raised("go", "5");
    assert_eq!(
        completion(&turn(&registry, past, new)).1.as_deref(),
        Some("5")
    );
}

#[test]
fn a_timer_that_lost_before_it_was_sent_is_withdrawn() {
    let registry =
        story(
            async |ctx, n| match select(ctx.wait_for_event(&GO), ctx.create_timer(HOUR)).await {
                Either::Left(event) => Ok(event? + n),
                Either::Right(()) => Ok(0),
            },
        );
    let result = first_turn(&registry, begin().event_raised("go", "5"));
    assert_eq!(sketch(&result.actions), ["1:Completed"]);
}

#[test]
fn retries_fire_at_exact_instants_under_new_ids() {
    let registry = story(async |ctx, n| {
        let retry = RetryPolicy::new(3, Duration::from_secs(10)).backoff(2.0);
        let options = TaskOptions::new().retry(retry);
        Ok(ctx.call_activity_with(&A, &n, options).await?)
    });
    let mut live = execution(&registry);
    assert_eq!(sketch(&live.turn(begin().build()).actions), ["0:a"]);
    let broken = FailureDetails::new("Io", "broken");
    let at = |seconds| {
        HistoryBuilder::new()
            .advance(Duration::from_secs(seconds))
            .orchestrator_started()
    };
    let result = live.turn(at(5).task_failed(0, broken.clone()).build());
    assert_eq!(sketch(&result.actions), ["1:timer+15"]);
    let result = live.turn(at(16).timer_fired(1).build());
    assert_eq!(sketch(&result.actions), ["2:a"]);
    let result = live.turn(at(17).task_failed(2, broken.clone()).build());
    assert_eq!(sketch(&result.actions), ["3:timer+37"]);
    let result = live.turn(at(37).timer_fired(3).build());
    assert_eq!(sketch(&result.actions), ["4:a"]);
    let result = live.turn(at(38).task_failed(4, broken).build());
    let details = failure(&result);
    assert_eq!(details.error_type, "TaskFailed");
    assert_eq!(details.inner.unwrap().message, "broken");
}

#[test]
fn a_permanent_failure_is_not_retried() {
    let registry = story(async |ctx, n| {
        let options = TaskOptions::new().retry(RetryPolicy::new(5, SECOND));
        Ok(ctx.call_activity_with(&A, &n, options).await?)
    });
    let run = TestHub::new(registry).run(&STORY, &1, |_, _| {
        Err(Failure::new("No", "never").permanent())
    });
    assert_eq!((run.status, run.calls.len()), (TestStatus::Failed, 1));
    assert!(run.failure.unwrap().non_retriable);
}

#[test]
fn long_timers_are_split_into_chunks() {
    let registry = story(async |ctx, n| {
        ctx.create_timer(HOUR * 24 * 7).await;
        Ok(n)
    });
    let run = TestHub::new(registry).run(&STORY, &1, |_, _| unreachable!());
    assert_eq!(run.status, TestStatus::Completed);
    assert_eq!(run.clock - epoch(), TimeDelta::days(7));
    let instants: Vec<i64> = run
        .history
        .iter()
        .filter_map(|event| match event.payload {
            HistoryPayload::TimerCreated { fire_at } => Some((fire_at? - epoch()).num_days()),
            _ => None,
        })
        .collect();
    assert_eq!(instants, [3, 6, 7]);
}

#[test]
fn continue_as_new_carries_unprocessed_events_over() {
    let with = |unprocessed_events| {
        endless_story(move |ctx, n| async move {
            let event = ctx.wait_for_event(&GO).await?;
            let next = ContinueAsNew::new(n + event).version("2");
            Ok(next.unprocessed_events(unprocessed_events).into())
        })
    };
    let carried = |registry: &Registry| {
        let new = begin()
            .event_raised("x", "0")
            .event_raised("go", "1")
            .event_raised("go", "2")
            .event_raised("X", "3");
        let result = first_turn(registry, new);
        assert!(result.completed);
        let ActionKind::Complete {
            status,
            result,
            new_version,
            carryover,
            ..
        } = result.actions.last().unwrap().kind.clone()
        else {
            panic!("not a completion");
        };
        assert_eq!(status, CompletionStatus::ContinuedAsNew);
        assert_eq!(
            (result.as_deref(), new_version.as_deref()),
            (Some("8"), Some("2"))
        );
        carryover
            .into_iter()
            .map(|(_, input, _)| input.unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(carried(&with(UnprocessedEvents::Keep)), ["0", "2", "3"]);
    assert_eq!(carried(&with(UnprocessedEvents::Drop)), [""; 0]);
}

#[test]
fn continue_as_new_carries_over_what_a_suspension_holds_back() {
    let registry = endless_story(async |ctx, n| {
        let event = ctx.wait_for_event(&GO).await?;
        Ok(Outcome::continue_as_new(n + event))
    });
    let suspended = || HistoryPayload::ExecutionSuspended { reason: None };
    let resumed = || HistoryPayload::ExecutionResumed { reason: None };
    let carried = |new: HistoryBuilder| {
        let result = first_turn(&registry, new);
        let ActionKind::Complete { carryover, .. } = result.actions.last().unwrap().kind.clone()
        else {
            panic!("not a completion");
        };
        carryover
            .into_iter()
            .map(|(_, input, _)| input.unwrap())
            .collect::<Vec<_>>()
    };
    let behind = begin()
        .event_raised("x", "0")
        .event_raised("go", "1")
        .event(-1, suspended())
        .event_raised("go", "2")
        .event_raised("go", "3");
    assert_eq!(carried(behind.clone()), ["0", "2", "3"]);
    let resumed = behind.event(-1, resumed()).event_raised("go", "4");
    assert_eq!(carried(resumed), ["0", "2", "3", "4"]);
    // The code continues with the first of those that were held back.
    let before = begin()
        .event(-1, suspended())
        .event_raised("go", "1")
        .event_raised("go", "2")
        .event(-1, HistoryPayload::ExecutionResumed { reason: None })
        .event_raised("go", "3");
    assert_eq!(carried(before), ["2", "3"]);
}

#[test]
fn a_termination_beats_an_uncommitted_continuation() {
    let registry = endless_story(async |_, n| Ok(Outcome::continue_as_new(n)));
    let new = begin().event(-1, HistoryPayload::ExecutionTerminated { output: None });
    let result = first_turn(&registry, new);
    assert_eq!(completion(&result).0, CompletionStatus::Terminated);
}

#[test]
fn an_eternal_orchestration_counts_through_its_executions() {
    let registry = endless_story(async |ctx, n| {
        Ok(match ctx.wait_for_event(&GO).await? {
            0 => Outcome::Done(n),
            event => Outcome::continue_as_new(n + event),
        })
    });
    let mut hub = TestHub::new(registry);
    for (after, event) in [(1, 5), (1, 6), (2, 7), (3, 0)] {
        hub = hub.raise_event(SECOND * after, &GO, &event);
    }
    let run = hub.run(&STORY, &0, |_, _| unreachable!());
    assert_eq!((run.status, run.executions), (TestStatus::Completed, 4));
    assert_eq!(run.output().unwrap(), 18);
}

#[test]
fn fan_out_and_in_keeps_the_order_of_arguments() {
    let registry = story(async |ctx, n| {
        let calls: Vec<_> = (0..n).map(|i| ctx.call_activity(&A, &i)).collect();
        let values = when_all(calls).await?;
        assert_eq!(values, (0..n).map(|i| i * 2).collect::<Vec<_>>());
        Ok(values.iter().sum())
    });
    let mut live = execution(&registry);
    assert_eq!(live.turn(begin().build()).actions.len(), 7);
    let mut new = HistoryBuilder::new().orchestrator_started();
    for id in (0..7).rev() {
        new = new.task_completed(id, &(id * 2).to_string());
    }
    assert_eq!(completion(&live.turn(new.build())).1.as_deref(), Some("42"));
}

#[test]
fn a_wide_fan_out_costs_what_it_is() {
    let registry = story(async |ctx, _| {
        let calls: Vec<_> = (0..10_000).map(|i| ctx.call_activity(&A, &i)).collect();
        Ok(u32::try_from(when_all(calls).await?.len())?)
    });
    let mut live = execution(&registry);
    assert_eq!(live.turn(begin().build()).actions.len(), 10_000);
    let mut new = HistoryBuilder::new().orchestrator_started();
    for id in 0..10_000 {
        new = new.task_completed(id, "1");
    }
    assert_eq!(
        completion(&live.turn(new.build())).1.as_deref(),
        Some("10000")
    );
}

#[test]
fn joining_and_racing_work_with_ordinary_combinators_too() {
    let registry = story(async |ctx, n| {
        let (first, second) =
            futures_util::join!(ctx.call_activity(&A, &n), ctx.call_activity(&B, &n));
        let (index, third) = when_any([
            ctx.call_activity(&A, &first?),
            ctx.call_activity(&A, &second?),
        ])
        .await;
        Ok(third? + u32::try_from(index)?)
    });
    let mut live = execution(&registry);
    live.turn(begin().build());
    let both = HistoryBuilder::new()
        .orchestrator_started()
        .task_completed(1, "2")
        .task_completed(0, "1");
    assert_eq!(sketch(&live.turn(both.build()).actions), ["2:a", "3:a"]);
    let second = HistoryBuilder::new()
        .orchestrator_started()
        .task_completed(3, "40");
    assert_eq!(
        completion(&live.turn(second.build())).1.as_deref(),
        Some("41")
    );
}

#[test]
fn sub_orchestrations_get_ids_from_the_execution() {
    let registry = story(async |ctx, n| {
        let derived = ctx.call_sub_orchestration(&CHILD, &n);
        let chosen = ctx.call_sub_orchestration_with(
            &CHILD,
            &n,
            SubOrchestrationOptions::new().instance_id("mine"),
        );
        Ok(derived.await? + chosen.await?)
    });
    assert_eq!(
        sketch(&first_turn(&registry, begin()).actions),
        ["0:exec:0000", "1:mine"]
    );

    let registry = registry.orchestration(&CHILD, async |ctx: OrchestrationContext, n: u32| {
        assert_eq!(ctx.parent().unwrap().instance_id, "test-instance");
        Ok(n * 2)
    });
    let run = TestHub::new(registry).run(&STORY, &3, |_, _| unreachable!());
    assert_eq!(run.output().unwrap(), 12);
}

#[test]
fn a_retried_sub_orchestration_gets_a_new_id() {
    let registry = story(async |ctx, n| {
        let options = SubOrchestrationOptions::new().retry(RetryPolicy::new(2, SECOND));
        Ok(ctx.call_sub_orchestration_with(&CHILD, &n, options).await?)
    });
    let mut live = execution(&registry);
    assert_eq!(sketch(&live.turn(begin().build()).actions), ["0:exec:0000"]);
    let failed = HistoryPayload::SubOrchestrationFailed {
        task_id: 0,
        failure: FailureDetails::new("Io", "broken"),
    };
    live.turn(
        HistoryBuilder::new()
            .orchestrator_started()
            .event(-1, failed)
            .build(),
    );
    let fired = HistoryBuilder::new()
        .advance(SECOND)
        .orchestrator_started()
        .timer_fired(1);
    assert_eq!(sketch(&live.turn(fired.build()).actions), ["2:exec:0002"]);
}

#[test]
fn uuids_match_the_official_vectors_and_the_clock_is_the_turns() {
    let registry = story(async |ctx, n| {
        assert_eq!(ctx.current_utc(), epoch());
        assert_eq!(
            ctx.new_uuid().to_string(),
            "a1239379-7719-5253-84a4-29155a59f930"
        );
        assert_eq!(
            ctx.new_uuid().to_string(),
            "c4104527-03ea-5033-bcfa-41b86026bca0"
        );
        Ok(n)
    });
    assert_eq!(
        completion(&first_turn(&registry, begin())).0,
        CompletionStatus::Completed
    );
}

#[test]
fn the_custom_status_is_sent_every_turn() {
    let registry = story(async |ctx, n| {
        ctx.set_custom_status("waiting")?;
        let n = ctx.call_activity(&A, &n).await?;
        ctx.set_custom_status(&json!({ "got": n }))?;
        Ok(n)
    });
    let run = TestHub::new(registry).run(&STORY, &1, |_, _| Ok(json!(5)));
    assert_eq!(run.custom_statuses, [json!("waiting"), json!({ "got": 5 })]);
}

#[test]
fn a_result_of_another_type_is_reported_without_its_value() {
    let run = TestHub::new(story(a_then_b)).run(&STORY, &1, |_, _| Ok(json!("planted-value")));
    let details = run.failure.unwrap();
    assert_eq!(details.error_type, "PayloadMismatch");
    assert!(!format!("{details:?}").contains("planted"), "{details:?}");
}

#[test]
fn code_that_depends_on_more_than_its_history_is_caught_by_the_test_hub() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let runs = AtomicU32::new(0);
    let registry = story(move |ctx, n| {
        let run = runs.fetch_add(1, Ordering::Relaxed);
        async move {
            let activity = if run.is_multiple_of(2) { A } else { B };
            Ok(ctx.call_activity(&activity, &n).await?)
        }
    });
    let run = TestHub::new(registry).run(&STORY, &1, |_, _| Ok(json!(1)));
    assert_eq!(run.failure.unwrap().error_type, "NonDeterminismError");
}

#[test]
fn trace_context_and_version_reach_the_activities() {
    let mut started = durabletask_core::ExecutionStarted {
        name: "story".into(),
        version: Some("3".into()),
        input: Some("1".into()),
        ..Default::default()
    };
    let trace = durabletask_core::TraceContext {
        parent: "00-1-2-01".into(),
        state: None,
    };
    started.trace_context = Some(trace.clone());
    let new = HistoryBuilder::new()
        .orchestrator_started()
        .event(-1, HistoryPayload::ExecutionStarted(Box::new(started)));
    let result = first_turn(&story(a_then_b), new);
    let ActionKind::ScheduleTask {
        version,
        trace_context,
        ..
    } = &result.actions[0].kind
    else {
        panic!("not a call");
    };
    assert_eq!(version.as_deref(), Some("3"));
    assert_eq!(trace_context.as_ref(), Some(&trace));
}

#[test]
fn logs_are_quiet_while_replaying() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    struct Count(Arc<AtomicUsize>);
    impl tracing::Subscriber for Count {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, _: &tracing::Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }
    let events = Arc::new(AtomicUsize::new(0));
    let registry = story(async |ctx, n| {
        tracing::info!("begun");
        let n = ctx.call_activity(&A, &n).await?;
        tracing::info!("went on");
        Ok(n)
    });
    tracing::subscriber::with_default(Count(Arc::clone(&events)), || {
        let past = begin().task_scheduled(0, "a");
        turn(
            &registry,
            past,
            HistoryBuilder::new()
                .orchestrator_started()
                .task_completed(0, "1"),
        );
    });
    assert_eq!(events.load(Ordering::Relaxed), 1);
}

#[test]
fn absurd_delays_stay_within_the_calendar() {
    let registry = story(async |ctx, n| {
        drop(ctx.call_activity(&A, &n));
        select(
            ctx.create_timer(Duration::MAX),
            ctx.create_timer_at(DateTime::<Utc>::MIN_UTC),
        )
        .await;
        Ok(n)
    });
    assert_eq!(first_turn(&registry, begin()).actions.len(), 3);
}

#[test]
fn a_policy_asks_its_predicate_about_the_failure() {
    fn policy() -> RetryPolicy {
        RetryPolicy::new(5, SECOND).retry_if(|failure| failure.error_type == "Busy")
    }
    let registry = story(async |ctx: OrchestrationContext, n: u32| {
        let options = TaskOptions::new().retry(policy());
        Ok(ctx.call_activity_with(&A, &n, options).await?)
    });
    let past = begin().task_scheduled(0, "a");
    let fails = |error_type: &str| {
        HistoryBuilder::new()
            .orchestrator_started()
            .task_failed(0, FailureDetails::new(error_type, ""))
    };
    let again = turn(&registry, past.clone(), fails("Busy"));
    assert_eq!(sketch(&again.actions), ["1:timer+1"]);
    let over = turn(&registry, past, fails("Invalid"));
    assert_eq!(sketch(&over.actions), ["1:Failed"]);
}

#[test]
fn an_event_that_is_late_is_none() {
    let registry = story(async |ctx: OrchestrationContext, n: u32| {
        Ok(ctx.wait_for_event_within(&GO, HOUR).await?.unwrap_or(n))
    });
    let run = |hub: TestHub| hub.run(&STORY, &7, |_, _| Ok(json!(0))).output().unwrap();
    assert_eq!(run(TestHub::new(registry.clone())), 7);
    let in_time = TestHub::new(registry.clone()).raise_event(SECOND, &GO, &9);
    assert_eq!(run(in_time), 9);
    let late = TestHub::new(registry).raise_event(HOUR + SECOND, &GO, &9);
    assert_eq!(run(late), 7);
}

#[test]
fn two_futures_of_different_types_are_joined() {
    let registry = story(async |ctx: OrchestrationContext, n: u32| {
        let (value, ()) = join(ctx.call_activity(&A, &n), ctx.create_timer(HOUR)).await;
        Ok(value?)
    });
    let run = TestHub::new(registry).run(&STORY, &7, |_, _| Ok(json!(8)));
    assert_eq!(run.output().unwrap(), 8);
    assert_eq!(run.clock - epoch(), TimeDelta::hours(1));
}

#[test]
fn a_call_that_was_awaited_and_lost_is_reported() {
    let registry = story(async |ctx: OrchestrationContext, n: u32| {
        let unheard = ctx.call_activity(&A, &n);
        select(ctx.call_activity(&A, &n), ctx.call_activity(&B, &n)).await;
        drop(unheard);
        ctx.create_timer(HOUR).await;
        Ok(n)
    });
    let first = first_turn(&registry, begin());
    assert_eq!(first.given_up, [0; 0]);
    let past = begin()
        .task_scheduled(0, "a")
        .task_scheduled(1, "a")
        .task_scheduled(2, "b");
    let new = HistoryBuilder::new()
        .orchestrator_started()
        .task_completed(2, "8");
    assert_eq!(turn(&registry, past, new).given_up, [1]);
}

#[test]
fn a_turn_that_would_never_end_is_ended() {
    let waits_for_the_clock = story(async |ctx: OrchestrationContext, n: u32| {
        let until = ctx.current_utc() + TimeDelta::seconds(1);
        while ctx.current_utc() < until {}
        Ok(n)
    });
    let result = first_turn(&waits_for_the_clock, begin());
    assert_eq!(failure(&result).error_type, "EndlessTurn");

    let never_awaits = story(async |ctx: OrchestrationContext, n: u32| {
        loop {
            ctx.send_event("other", &GO, &n)?;
        }
    });
    let result = first_turn(&never_awaits, begin());
    assert_eq!(failure(&result).error_type, "EndlessTurn");
    assert_eq!(result.actions.len(), 1);
}
