//! Queries and updates over crashes and replays. The hub of these tests replays the whole
//! history after every turn, as a worker does that has just started, and compares.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use durabletask_core::testing::{TestHub, TestRun, TestStatus, replay_history};
use durabletask_core::{
    ContinueAsNew, Either, Event, Failure, HistoryPayload, Orchestration, OrchestrationContext,
    Outcome, Query, QueryError, Registry, UnprocessedEvents, Update, UpdateMessage, select,
};
use proptest::prelude::*;

const ADD: Update<u32, u32> = Update::new("add");
const ITEMS: Query<u32, u32> = Query::new("items");
const CLOSE: Event<()> = Event::new("close");
/// Room, items so far, and after how many updates to continue as new.
const CART: Orchestration<(u32, u32, u32), u32> = Orchestration::new("cart");

async fn cart(
    ctx: OrchestrationContext,
    (room, begun, generation): (u32, u32, u32),
) -> Result<Outcome<(u32, u32, u32), u32>, Failure> {
    let items = Arc::new(AtomicU32::new(begun));
    let present = Arc::clone(&items);
    ctx.answer_query(&ITEMS, move |times| {
        Ok(present.load(Ordering::Relaxed) * times)
    });
    let mut taken = 0;
    let mut closed = ctx.wait_for_event(&CLOSE);
    loop {
        let (count, reply) = match select(&mut closed, ctx.wait_for_update(&ADD)).await {
            Either::Left(_) => return Ok(Outcome::Done(items.load(Ordering::Relaxed))),
            Either::Right(update) => update,
        };
        // Something of a step between, so that updates come while nobody waits.
        ctx.create_timer(Duration::from_secs(3)).await;
        match items.load(Ordering::Relaxed) + count {
            wanted if wanted > room => reply.refuse(Failure::new("NoRoom", "it is full")),
            wanted => {
                items.store(wanted, Ordering::Relaxed);
                reply.accept(&wanted)?;
            }
        }
        taken += 1;
        if taken == generation {
            let next = (room, items.load(Ordering::Relaxed), generation);
            let next = ContinueAsNew::new(next).unprocessed_events(UnprocessedEvents::Drop);
            return Ok(next.into());
        }
    }
}

fn registry() -> Registry {
    Registry::new().continuing(&CART, cart)
}

fn run(hub: &TestHub, input: (u32, u32, u32)) -> TestRun<u32> {
    hub.run(&CART, &input, |_, _| Err("there are no activities".into()))
}

fn no_activities(_: &str, _: serde_json::Value) -> Result<serde_json::Value, Failure> {
    Err("there are no activities".into())
}

proptest! {
    /// Every update has one answer, in the order of arrival, whatever comes between:
    /// executions that continue as new and drop what they have not processed, suspensions.
    #[test]
    fn every_update_is_answered_once(
        counts in prop::collection::vec((0_u64..40, 0_u32..5), 0..12),
        room in 0_u32..20,
        generation in 1_u32..6,
        pause in 0_u64..40,
    ) {
        let mut hub = TestHub::new(registry());
        for (number, (at, count)) in counts.iter().enumerate() {
            let at = Duration::from_secs(*at);
            hub = hub.update(at, &format!("update-{number}"), &ADD, count);
        }
        let reason = None;
        hub = hub
            .deliver(Duration::from_secs(pause), HistoryPayload::ExecutionSuspended { reason: reason.clone() })
            .deliver(Duration::from_secs(pause + 9), HistoryPayload::ExecutionResumed { reason });
        let run = run(&hub, (room, 0, generation));

        let mut order: Vec<usize> = (0..counts.len()).collect();
        order.sort_by_key(|number| counts[*number].0);
        let mut items = 0;
        for number in order {
            let answer = run.update_answer(&format!("update-{number}"), &ADD).expect("an answer");
            let wanted = items + counts[number].1;
            if wanted > room {
                prop_assert_eq!(answer.unwrap_err().error_type, "NoRoom");
            } else {
                items = wanted;
                prop_assert_eq!(answer, Ok(items));
            }
        }
        prop_assert_eq!(run.status, TestStatus::Waiting);
        prop_assert_eq!(run.query(&ITEMS, &2), Ok(items * 2));
        prop_assert_eq!(replay_history(registry(), "test-instance", &run.history), Ok(()));
    }

    /// A caller that waits when the orchestration ends learns that, however it ends.
    #[test]
    fn an_end_answers_all_waiting_updates(
        counts in prop::collection::vec(0_u64..20, 1..8),
        end in 20_u64..40,
        terminated in any::<bool>(),
    ) {
        let mut hub = TestHub::new(registry());
        for (number, at) in counts.iter().enumerate() {
            hub = hub.update(Duration::from_secs(*at), &format!("update-{number}"), &ADD, &1);
        }
        let at = Duration::from_secs(end);
        hub = match terminated {
            true => hub.deliver(at, HistoryPayload::ExecutionTerminated { output: None }),
            false => hub.raise_event(at, &CLOSE, &()),
        };
        let run = run(&hub, (100, 0, 100));
        let mut accepted = 0;
        for number in 0..counts.len() {
            match run.update_answer(&format!("update-{number}"), &ADD).expect("an answer") {
                Ok(_) => accepted += 1,
                Err(failure) => prop_assert_eq!(failure.error_type, "Ended"),
            }
        }
        prop_assert_eq!(run.query(&ITEMS, &1), Ok(accepted));
        let status = if terminated { TestStatus::Terminated } else { TestStatus::Completed };
        prop_assert_eq!(run.status, status);
    }
}

#[test]
fn invalid_updates_are_refused_or_ignored() {
    let event = UpdateMessage::event_name("ADD");
    let wrong = UpdateMessage {
        reply_to: "wrong".to_owned(),
        input: "\"many\"".to_owned(),
    };
    let hub = TestHub::new(registry())
        .raise_event_json(Duration::ZERO, &event, Some("[1".to_owned()))
        .raise_event_json(Duration::ZERO, &event, None)
        .raise_event_json(Duration::ZERO, &event, serde_json::to_string(&wrong).ok())
        .update(Duration::ZERO, "right", &ADD, &2);
    let run = run(&hub, (10, 0, 100));
    let refused = run.update_answer("wrong", &ADD).unwrap().unwrap_err();
    assert_eq!(refused.error_type, "PayloadMismatch");
    assert!(!refused.message.contains("many"), "{refused}");
    assert_eq!(run.update_answer("right", &ADD), Some(Ok(2)));
}

const IDLE: Orchestration<(), ()> = Orchestration::new("idle");

#[test]
fn an_update_that_is_not_answered_is_refused() {
    let registry =
        Registry::new().orchestration(&IDLE, async |ctx: OrchestrationContext, (): ()| {
            drop(ctx.wait_for_update(&ADD).await);
            ctx.create_timer(Duration::from_secs(1)).await;
            Ok(())
        });
    let hub = TestHub::new(registry).update(Duration::ZERO, "one", &ADD, &1);
    let run = hub.run(&IDLE, &(), no_activities);
    let refused = run.update_answer("one", &ADD).unwrap().unwrap_err();
    assert_eq!(refused.error_type, "NotAnswered");
    assert_eq!(run.output(), Ok(()));
}

#[test]
fn an_unknown_query_names_the_known_ones() {
    let run = run(&TestHub::new(registry()), (1, 0, 1));
    let other = Query::<(), u32>::new("Items");
    let known = vec!["items".to_owned()];
    assert_eq!(run.query(&other, &()), Err(QueryError::Unknown { known }));
    let untyped = Query::<String, u32>::new("items");
    let Err(QueryError::Failed(failure)) = run.query(&untyped, "two") else {
        panic!("it was answered");
    };
    assert_eq!(failure.error_type, "PayloadMismatch");
}

#[test]
fn a_query_changes_nothing_and_may_panic() {
    const BAD: Query<(), u32> = Query::new("bad");
    const EAGER: Query<(), u32> = Query::new("eager");
    let registry =
        Registry::new().orchestration(&IDLE, async |ctx: OrchestrationContext, (): ()| {
            ctx.answer_query(&BAD, |()| -> Result<u32, Failure> { panic!("not today") });
            let captured = ctx.clone();
            ctx.answer_query(&EAGER, move |()| {
                drop(captured.create_timer(Duration::from_secs(1)));
                Ok(1)
            });
            ctx.wait_for_event(&CLOSE).await?;
            Ok(())
        });
    let run = TestHub::new(registry).run(&IDLE, &(), no_activities);
    let Err(QueryError::Failed(failure)) = run.query(&BAD, &()) else {
        panic!("it was answered");
    };
    assert!(failure.message.contains("not today"), "{failure}");
    assert_eq!(run.query(&EAGER, &()), Ok(1));
    assert_eq!(run.query(&EAGER, &()), Ok(1));
}
