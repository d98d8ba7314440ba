//! One of everything that a task hub can have, and its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::Utc;
use durabletask::client::{InstanceQuery, Payloads, Recursive, Status};
use durabletask::schedules::{self, Recurrence, ScheduleOptions, Schedules};
use durabletask::{
    Activity, Entity, EntityContext, EntityHandlers, Event, Failure, Operation, Orchestration,
    OrchestrationContext, Outcome, Registry,
};
use durabletask_scheduler::ManualClock;
use futures_util::TryStreamExt as _;

use crate::PATIENCE;
use crate::running::Running;

const HOUR: Duration = Duration::from_secs(3600);

const DOUBLE: Activity<i64, i64> = Activity::new("double");
const FAIL: Activity<(), ()> = Activity::new("fail");
const SLOW: Activity<(), i64> = Activity::new("slow");
const GO: Event<String> = Event::new("go");

const WORKS: Orchestration<i64, i64> = Orchestration::new("works");
const FAILS: Orchestration<(), ()> = Orchestration::new("fails");
pub(crate) const WAITS: Orchestration<String, String> = Orchestration::new("waits");
const SLEEPS: Orchestration<(), String> = Orchestration::new("sleeps");
const PARENT: Orchestration<(), String> = Orchestration::new("parent");
const ROUNDS: Orchestration<u32, u32> = Orchestration::new("rounds");
const RUNS: Orchestration<(), i64> = Orchestration::new("runs");
const HOLDS: Orchestration<(), i64> = Orchestration::new("holds");

const COUNTER: Entity<i64> = Entity::new("Counter");
const ADD: Operation<i64, i64, i64> = Operation::new("add");

fn add(count: &mut i64, _: &EntityContext, by: i64) -> Result<i64, Failure> {
    *count += by;
    Ok(*count)
}

/// The first run of the activity `slow` never ends.
pub(crate) fn registry(slow_ends: &Arc<AtomicBool>) -> Registry {
    let slow_ends = Arc::clone(slow_ends);
    let registry = Registry::new()
        .activity(&DOUBLE, async |_, value: i64| Ok(value * 2))
        .activity(&FAIL, async |_, ()| {
            Err::<(), _>(Failure::new("Refused", "not today"))
        })
        .activity(&SLOW, move |_, ()| {
            let slow_ends = Arc::clone(&slow_ends);
            async move {
                match slow_ends.load(Ordering::SeqCst) {
                    true => Ok(7),
                    false => std::future::pending().await,
                }
            }
        })
        .orchestration(&WORKS, async |ctx: OrchestrationContext, value: i64| {
            Ok(ctx.call_activity(&DOUBLE, &value).await?)
        })
        .orchestration(&FAILS, async |ctx: OrchestrationContext, ()| {
            Ok(ctx.call_activity(&FAIL, &()).await?)
        })
        .orchestration(&WAITS, async |ctx: OrchestrationContext, who: String| {
            ctx.set_custom_status(&format!("{who} waits"))?;
            let said = ctx.wait_for_event(&GO).await?;
            Ok(format!("{who} {said}"))
        })
        .orchestration(&SLEEPS, async |ctx: OrchestrationContext, ()| {
            ctx.create_timer(HOUR).await;
            Ok("awake".to_owned())
        })
        .orchestration(&PARENT, async |ctx: OrchestrationContext, ()| {
            let child = ctx.call_sub_orchestration(&WAITS, "child").await?;
            Ok(format!("parent of {child}"))
        })
        .continuing(&ROUNDS, async |ctx: OrchestrationContext, round: u32| {
            if round == 3 {
                return Ok(Outcome::Done(round));
            }
            ctx.create_timer(HOUR).await;
            Ok(Outcome::continue_as_new(round + 1))
        })
        .orchestration(&RUNS, async |ctx: OrchestrationContext, ()| {
            Ok(ctx.call_activity(&SLOW, &()).await?)
        })
        .orchestration(&HOLDS, async |ctx: OrchestrationContext, ()| {
            let counter = COUNTER.id("held");
            let _section = ctx.lock_entities([&counter]).await?;
            ctx.create_timer(HOUR).await;
            Ok(ctx.call_entity(&counter, &ADD, &1).await?)
        })
        .entity(&COUNTER, EntityHandlers::new().operation(&ADD, add));
    schedules::register(registry)
}

/// Starts one of everything, and waits until each stands where it is to be moved from.
pub(crate) async fn fill(running: &mut Running, clock: &ManualClock, slow_ends: &Arc<AtomicBool>) {
    running.work(slow_ends);
    let client = running.client.clone();
    client
        .start(&WORKS, &21)
        .instance_id("completed")
        .tag("a\0b\u{10fffe}", "ä\0")
        .tag("team", "one")
        .send()
        .await
        .unwrap();
    client
        .start(&FAILS, &())
        .instance_id("failed")
        .send()
        .await
        .unwrap();
    client
        .start(&WAITS, "ann")
        .instance_id("waiting")
        .tag("team", "two")
        .send()
        .await
        .unwrap();
    client
        .start(&WAITS, "zero \0 within")
        .instance_id("suspended")
        .send()
        .await
        .unwrap();
    client
        .start(&WAITS, "bob")
        .instance_id("terminated")
        .send()
        .await
        .unwrap();
    client
        .start(&SLEEPS, &())
        .instance_id("timer")
        .send()
        .await
        .unwrap();
    client
        .start(&PARENT, &())
        .instance_id("parent")
        .send()
        .await
        .unwrap();
    client
        .start(&ROUNDS, &0)
        .instance_id("rounds")
        .send()
        .await
        .unwrap();
    client
        .start(&RUNS, &())
        .instance_id("activity")
        .version("2")
        .send()
        .await
        .unwrap();
    client
        .start(&HOLDS, &())
        .instance_id("holds")
        .send()
        .await
        .unwrap();
    let later = chrono::DateTime::<Utc>::from(std::time::SystemTime::now())
        .max(durabletask_scheduler::Clock::now(clock))
        + HOUR;
    client
        .start(&WORKS, &4)
        .instance_id("scheduled")
        .start_at(later)
        .send()
        .await
        .unwrap();
    client
        .signal_entity(&COUNTER.id("free"), &ADD, &5)
        .await
        .unwrap();
    // A schedule goes by the worker's clock, which is not set.
    let schedule = ScheduleOptions::new(Recurrence::Every(Duration::from_secs(1)));
    Schedules::new(&client)
        .put("often", &WORKS, &8, schedule)
        .await
        .unwrap();
    running.until_status("completed", Status::Completed).await;
    running.until_status("failed", Status::Failed).await;
    for id in ["waiting", "suspended", "terminated"] {
        running
            .until(id, "waiting", |state| state.custom_status_json.is_some())
            .await;
    }
    client.suspend("suspended", "for now").await.unwrap();
    client.raise_event("suspended", &GO, "goes").await.unwrap();
    running.until_status("suspended", Status::Suspended).await;
    client
        .terminate("terminated", &"enough", Recursive::No)
        .await
        .unwrap();
    running.until_status("terminated", Status::Terminated).await;
    for (id, events) in [
        ("timer", 3),
        ("parent", 3),
        ("rounds", 3),
        ("activity", 3),
        ("holds", 4),
    ] {
        running.until_history(id, events).await;
    }
    let counted = async {
        while client.get_entity_state(&COUNTER.id("free")).await.unwrap() != Some(5) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counted)
        .await
        .expect("the signal arrives");
    running.lose_worker().await;
    // What no worker has seen yet.
    client
        .start(&WORKS, &1)
        .instance_id("pending")
        .send()
        .await
        .unwrap();
    client.raise_event("waiting", &GO, "arrived").await.unwrap();
    client
        .signal_entity(&COUNTER.id("free"), &ADD, &2)
        .await
        .unwrap();
    client
        .signal_entity(&COUNTER.id("held"), &ADD, &30)
        .await
        .unwrap();
}

/// Lets everything end, and compares what came of it.
pub(crate) async fn finish(
    running: &mut Running,
    clock: &ManualClock,
    slow_ends: &Arc<AtomicBool>,
) {
    slow_ends.store(true, Ordering::SeqCst);
    running.work(slow_ends);
    let client = running.client.clone();
    client.resume("suspended", "again").await.unwrap();
    let children: Vec<_> = client
        .list_instances(InstanceQuery::new())
        .try_collect()
        .await
        .unwrap();
    let child = children
        .iter()
        .find(|it| {
            it.name == "waits"
                && !["waiting", "suspended", "terminated"].contains(&it.instance_id.as_str())
        })
        .unwrap();
    client
        .raise_event(&child.instance_id, &GO, "left")
        .await
        .unwrap();
    for _ in 0..4 {
        clock.advance(HOUR + Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    for (id, output) in [
        ("completed", "42"),
        ("waiting", "\"ann arrived\""),
        ("suspended", "\"zero \\u0000 within goes\""),
        ("timer", "\"awake\""),
        ("parent", "\"parent of child left\""),
        ("rounds", "3"),
        ("activity", "7"),
        ("holds", "1"),
        ("scheduled", "8"),
        ("pending", "2"),
    ] {
        let mut left = 20;
        loop {
            let state = client
                .wait_for_completion(id, Payloads::Include, Duration::from_secs(3))
                .await;
            // A timer of the next round was set after the clock was.
            if let Ok(state) = state {
                assert_eq!(state.status, Status::Completed, "{id}: {state:?}");
                let value: serde_json::Value = state.output().unwrap();
                assert_eq!(
                    value,
                    serde_json::from_str::<serde_json::Value>(output).unwrap(),
                    "{id}"
                );
                break;
            }
            left -= 1;
            assert!(left > 0, "{id} ends");
            clock.advance(HOUR + Duration::from_secs(1));
        }
    }
    let counters = async {
        loop {
            let free = client.get_entity_state(&COUNTER.id("free")).await.unwrap();
            let held = client.get_entity_state(&COUNTER.id("held")).await.unwrap();
            if (free, held) == (Some(7), Some(31)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counters)
        .await
        .expect("every signal counts once");
    let rounds = async {
        loop {
            let query = InstanceQuery::new().instance_id_prefix("often");
            let rounds: Vec<_> = client.list_instances(query).try_collect().await.unwrap();
            if rounds.iter().any(|round| round.status == Status::Completed) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, rounds)
        .await
        .expect("the schedule goes on");
    let tagged = InstanceQuery::new().tag("a\0b\u{10fffe}", "ä\0");
    let tagged: Vec<_> = client.list_instances(tagged).try_collect().await.unwrap();
    assert_eq!(tagged.len(), 1);
}
