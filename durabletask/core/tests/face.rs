//! What authors of orchestrations and activities write, and what comes of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use durabletask_core::testing::{HistoryBuilder, TestHub, TestStatus};
use durabletask_core::{
    ActionKind, Activity, ActivityContext, Ended, Event, Execution, Failure, FailureDetails, Next,
    Orchestration, OrchestrationContext, Outcome, Registry, RetryPolicy, Saga, TaskError,
    TaskOptions, fan_out, when_all_settled,
};
use proptest::prelude::*;
use serde_json::json;

const STEP: Activity<u32, u32> = Activity::new("step");
const STORY: Orchestration<u32, u32> = Orchestration::new("story");

fn story<F, Fut>(code: F) -> Registry
where
    F: Fn(OrchestrationContext, u32) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<u32, Failure>> + Send + 'static,
{
    Registry::new().orchestration(&STORY, code)
}

/// The keys and attempts of all activity calls that a run of the registry makes.
fn keys(registry: Registry, execution_id: &str) -> Vec<(String, u32)> {
    let mut execution = Execution::new("abc", Some(execution_id.to_owned()), Arc::new(registry));
    let mut new = HistoryBuilder::new()
        .orchestrator_started()
        .execution_started("story", "7");
    let mut seen = Vec::new();
    let mut seconds = 0;
    loop {
        let decided = execution.turn(new.build());
        let Some(action) = decided.actions.first().filter(|_| !decided.completed) else {
            return seen;
        };
        seconds += 100;
        let next = HistoryBuilder::new()
            .advance(Duration::from_secs(seconds))
            .orchestrator_started();
        new = match &action.kind {
            ActionKind::ScheduleTask { name, tags, .. } => {
                let context = ActivityContext::new(name, "abc", action.id)
                    .with_execution_id(Some(execution_id.to_owned()))
                    .with_tags(tags.clone());
                seen.push((context.idempotency_key(), context.attempt()));
                next.task_failed(action.id, FailureDetails::new("Busy", "later"))
            }
            _ => next.timer_fired(action.id),
        };
    }
}

#[test]
fn a_key_is_the_same_over_retries_and_differs_over_calls_and_executions() {
    let registry = || {
        story(async |ctx, n| {
            let retried = TaskOptions::new().retry(RetryPolicy::new(3, Duration::from_secs(1)));
            let first = ctx.call_activity_with(&STEP, &n, retried.clone()).await;
            let second = ctx.call_activity_with(&STEP, &n, retried).await;
            assert!(first.is_err() && second.is_err());
            Ok(n)
        })
    };
    let first = keys(registry(), "e1");
    let attempts: Vec<u32> = first.iter().map(|(_, attempt)| *attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 1, 2, 3]);
    let distinct: BTreeSet<&str> = first.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(distinct.len(), 2);
    let second = keys(registry(), "e2");
    assert!(
        second
            .iter()
            .all(|(key, _)| !distinct.contains(key.as_str()))
    );
}

#[test]
fn a_retry_waits_as_long_as_the_failure_asks() {
    let registry = story(async |ctx, n| {
        let retried = TaskOptions::new().retry(RetryPolicy::new(2, Duration::from_secs(1)));
        Ok(ctx.call_activity_with(&STEP, &n, retried).await?)
    });
    let mut calls = 0;
    let run = TestHub::new(registry).run(&STORY, &7, |_, n| {
        calls += 1;
        match calls {
            1 => Err(Failure::new("Busy", "429").retry_after(Duration::from_secs(90))),
            _ => Ok(n),
        }
    });
    assert_eq!(run.output(), Ok(7));
    let waited = run.clock - durabletask_core::testing::epoch();
    assert_eq!(waited.num_seconds(), 90);
}

#[test]
fn every_error_becomes_a_failure_and_a_failure_every_error() {
    fn boxed() -> Result<u32, Box<dyn Error + Send + Sync>> {
        Err("no luck".into())
    }
    fn fails(how: u32) -> Result<u32, Failure> {
        match how {
            0 => Ok(boxed()?),
            1 => Ok("seven".parse::<u32>()?),
            2 => Err("plain text")?,
            _ => Err(FailureDetails::new("Kind", "details").permanent())?,
        }
    }
    fn out() -> Result<u32, Box<dyn Error>> {
        Ok(fails(3)?)
    }
    assert_eq!(fails(0).unwrap_err().details().message, "no luck");
    assert!(
        fails(1)
            .unwrap_err()
            .details()
            .error_type
            .contains("ParseIntError")
    );
    assert_eq!(fails(2).unwrap_err().details().error_type, "Error");
    let error = out().unwrap_err();
    assert_eq!(error.to_string(), "Kind: details");
    let details = error.downcast_ref::<FailureDetails>().unwrap();
    assert!(details.non_retriable);
}

#[test]
fn a_permanent_failure_of_a_task_stays_permanent_when_it_is_wrapped() {
    #[derive(Debug)]
    struct Wrapped(TaskError);
    impl std::fmt::Display for Wrapped {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("wrapped")
        }
    }
    impl Error for Wrapped {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }
    let registry = story(async |ctx, n| Ok(ctx.call_activity(&STEP, &n).await.map_err(Wrapped)?));
    let run = TestHub::new(registry).run(&STORY, &7, |_, _| {
        Err(Failure::new("Declined", "the card is declined").permanent())
    });
    assert!(run.failure.unwrap().non_retriable);
}

#[test]
fn names_and_inputs_may_be_of_the_run_time() {
    const GREET: Activity<String, String> = Activity::new("greet");
    const SUM: Activity<Vec<u32>, u32> = Activity::new("sum");
    const ALL: Activity<Vec<String>, ()> = Activity::new("all");
    let registry = story(async |ctx, n| {
        let tool: Activity<u32, u32> = Activity::named(format!("tool-{n}"));
        ctx.call_activity(&tool, &n).await?;
        let answer: Event<u32> = Event::named(format!("answer-{n}"));
        ctx.wait_for_event(&answer).await?;
        ctx.call_activity(&GREET, "Ada").await?;
        ctx.call_activity(&GREET, &"Ada".to_owned()).await?;
        ctx.call_activity(&SUM, &[1, 2]).await?;
        ctx.call_activity(&SUM, [1, 2].as_slice()).await?;
        ctx.call_activity(&ALL, &["a", "b"]).await?;
        Ok(n)
    });
    let answer: Event<u32> = Event::named("answer-7");
    let run = TestHub::new(registry)
        .raise_event(Duration::from_secs(1), &answer, &1)
        .run(&STORY, &7, |name, _| {
            Ok(match name {
                "greet" => json!("hello"),
                "all" => json!(null),
                _ => json!(3),
            })
        });
    assert_eq!(run.status, TestStatus::Completed, "{:?}", run.failure);
    let calls: Vec<_> = run
        .calls
        .iter()
        .map(|(name, input)| (name.as_str(), input.clone()))
        .collect();
    assert_eq!(
        calls,
        [
            ("tool-7", json!(7)),
            ("greet", json!("Ada")),
            ("greet", json!("Ada")),
            ("sum", json!([1, 2])),
            ("sum", json!([1, 2])),
            ("all", json!(["a", "b"])),
        ]
    );
}

#[test]
fn continuing_as_new_is_no_failure_to_middleware_or_sagas() {
    let failures = Arc::new(AtomicUsize::new(0));
    let ends = Arc::new(AtomicUsize::new(0));
    let (failed, ended) = (Arc::clone(&failures), Arc::clone(&ends));
    let registry = Registry::new()
        .continuing(&STORY, async |ctx: OrchestrationContext, n: u32| {
            let mut saga = Saga::new(&ctx);
            saga.undo_by(&STEP, &n)?;
            let body = async { Ok::<_, TaskError>(Outcome::continue_as_new(n + 1)) };
            let next = saga.settle(body.await).await?;
            Ok(if n < 3 { next } else { Outcome::Done(n) })
        })
        .orchestration_middleware(move |_: OrchestrationContext, next: Next<Ended>| {
            let (failed, ended) = (Arc::clone(&failed), Arc::clone(&ended));
            async move {
                let result = next.run().await;
                match &result {
                    Ok(end) if end.continues_as_new() => ended.fetch_add(1, Ordering::Relaxed),
                    Ok(_) => 0,
                    Err(_) => failed.fetch_add(1, Ordering::Relaxed),
                };
                result
            }
        });
    let run = TestHub::new(registry).run(&STORY, &0, |_, _| Ok(json!(0)));
    assert_eq!((run.output(), run.executions), (Ok(3), 4));
    assert!(run.calls.is_empty(), "nothing was undone");
    assert_eq!(failures.load(Ordering::Relaxed), 0);
    // The hub replays after every turn, so each end is seen twice.
    assert_eq!(ends.load(Ordering::Relaxed), 6);
}

#[test]
fn a_saga_whose_story_fails_keeps_the_failure() {
    let registry = story(async |ctx, _| {
        let refused = Failure::new("Refused", "someone said no").permanent();
        Ok(Saga::new(&ctx).settle(Err(refused)).await?)
    });
    let run = TestHub::new(registry).run(&STORY, &7, |_, _| Ok(json!(0)));
    let failure = run.output().unwrap_err();
    let kept = (failure.error_type.as_str(), failure.non_retriable);
    assert_eq!(kept, ("Refused", true));
}

#[test]
fn a_saga_undoes_all_it_can_last_first() {
    const UNDO: Activity<String, bool> = Activity::new("undo");
    let registry = story(async |ctx, n| {
        let mut saga = Saga::new(&ctx);
        for step in ["first", "second", "third"] {
            saga.undo_by(&UNDO, step)?;
        }
        let body: Result<u32, TaskError> = ctx.call_activity(&STEP, &n).await;
        let error = saga.settle(body).await.unwrap_err();
        assert_eq!(error.not_undone.len(), 1);
        assert!(
            error.to_string().contains("1 steps could not be undone"),
            "{error}"
        );
        Err(error.into())
    });
    let undone = RefCell::new(Vec::new());
    let run = TestHub::new(registry).run(&STORY, &7, |name, input| {
        if name == "step" {
            return Err("out of stock".into());
        }
        undone.borrow_mut().push(input.clone());
        match input.as_str() {
            Some("second") => Err(Failure::new("Gone", "nothing to undo").permanent()),
            _ => Ok(json!(true)),
        }
    });
    assert_eq!(undone.into_inner(), ["third", "second", "first"]);
    assert!(run.failure.unwrap().message.contains("out of stock"));
}

#[test]
fn settled_calls_are_all_waited_for() {
    let registry = story(async |ctx, n| {
        let calls = (0..n).map(|i| ctx.call_activity(&STEP, &i));
        let settled = when_all_settled(calls).await;
        assert_eq!(settled.len(), 5);
        Ok(settled.iter().filter(|call| call.is_ok()).count() as u32)
    });
    let run = TestHub::new(registry).run(&STORY, &5, |_, i| match i.as_u64() {
        Some(0 | 3) => Err("no".into()),
        _ => Ok(i),
    });
    assert_eq!(run.output(), Ok(3));
}

/// How many calls a bounded fan-out has under way at most, when results come in an order
/// that `picks` says; its outputs are in the order of the items.
fn most_under_way(items: u32, limit: usize, picks: &[usize]) -> (usize, Option<String>) {
    let outputs = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&outputs);
    let registry = story(move |ctx: OrchestrationContext, items: u32| {
        let seen = Arc::clone(&seen);
        async move {
            let list: Vec<u32> = (0..items).collect();
            let outputs = fan_out(&list, |item| ctx.call_activity(&STEP, item))
                .at_most(limit)
                .await?;
            *seen.lock().unwrap() = outputs;
            Ok(items)
        }
    });
    let mut execution = Execution::new("abc", None, Arc::new(registry));
    let mut new = HistoryBuilder::new()
        .orchestrator_started()
        .execution_started("story", &items.to_string());
    let (mut open, mut most, mut turn) = (Vec::new(), 0, 0);
    loop {
        let decided = execution.turn(new.build());
        if let Some(ActionKind::Complete { result, .. }) =
            decided.actions.last().map(|action| &action.kind)
        {
            assert!(
                outputs
                    .lock()
                    .unwrap()
                    .iter()
                    .copied()
                    .eq((0..items).map(|i| i * 2))
            );
            return (most, result.clone());
        }
        for action in decided.actions {
            let ActionKind::ScheduleTask { input, .. } = action.kind else {
                panic!("not a call");
            };
            open.push((action.id, input.unwrap().parse::<u32>().unwrap()));
        }
        most = most.max(open.len());
        let pick = picks.get(turn).copied().unwrap_or_default() % open.len();
        turn += 1;
        let (id, item) = open.remove(pick);
        new = HistoryBuilder::new()
            .orchestrator_started()
            .task_completed(id, &(item * 2).to_string());
    }
}

proptest! {
    #[test]
    fn a_fan_out_stays_within_its_bound_and_keeps_the_order(
        items in 0_u32..12,
        limit in 1_usize..5,
        picks in prop::collection::vec(0_usize..12, 12),
    ) {
        let (most, output) = most_under_way(items, limit, &picks);
        prop_assert_eq!(most, limit.min(items as usize));
        prop_assert_eq!(output, Some(items.to_string()));
    }
}

#[test]
fn activities_share_a_state_of_the_registry() {
    let count = Arc::new(AtomicUsize::new(0));
    let registry = Registry::new().activity_with_state(
        &STEP,
        Arc::clone(&count),
        async |count: Arc<AtomicUsize>, _: ActivityContext, n: u32| {
            count.fetch_add(n as usize, Ordering::Relaxed);
            Ok(n)
        },
    );
    for n in [1, 2] {
        let context = ActivityContext::new("step", "abc", 0);
        let running = registry
            .start_activity(context, Some(n.to_string()))
            .unwrap();
        assert!(
            futures_util::FutureExt::now_or_never(running)
                .unwrap()
                .is_ok()
        );
    }
    assert_eq!(count.load(Ordering::Relaxed), 3);
}

#[test]
fn a_divergence_in_a_test_names_the_step() {
    static FLIP: AtomicUsize = AtomicUsize::new(0);
    const OTHER: Activity<u32, u32> = Activity::new("other");
    let registry = story(async |ctx, n| {
        let activity = if FLIP.fetch_add(1, Ordering::Relaxed) == 0 {
            STEP
        } else {
            OTHER
        };
        Ok(ctx.call_activity(&activity, &n).await?)
    });
    let run = TestHub::new(registry).run(&STORY, &7, |_, n| Ok(n));
    let failure = run.failure.unwrap();
    assert_eq!(failure.error_type, "NonDeterminismError");
    for told in ["step #0", "'step'", "'other'"] {
        assert!(failure.message.contains(told), "{}", failure.message);
    }
}

#[test]
fn an_activity_that_takes_too_long_in_a_test_is_timed_out() {
    let registry = story(async |ctx, n| {
        let options = TaskOptions::new().start_to_close(Duration::from_secs(5));
        Ok(ctx.call_activity_with(&STEP, &n, options).await?)
    });
    let run = TestHub::new(registry)
        .activity_takes(&STEP, Duration::from_secs(60))
        .run(&STORY, &7, |_, n| Ok(n));
    let failure = run.failure.unwrap();
    assert_eq!(failure.root_cause().error_type, "ActivityTimeout");
    assert_eq!(
        (run.clock - durabletask_core::testing::epoch()).num_seconds(),
        5
    );
}

#[test]
fn a_panic_without_a_reactor_is_reported_as_a_foreign_await() {
    let registry = story(async |_, _| -> Result<u32, Failure> {
        panic!(
            "there is no reactor running, must be called from the context of a Tokio 1.x runtime"
        )
    });
    let run = TestHub::new(registry).run(&STORY, &7, |_, n| Ok(n));
    assert_eq!(run.failure.unwrap().error_type, "ForeignAwait");
}
