//! Entities: signals, calls, critical sections, queries.

use std::time::Duration;

use chrono::Utc;
use durabletask::client::{EntityCleaning, EntityQuery, InstanceQuery, Payloads, Status};
use durabletask::entity::{EntityRef, EntityStartOptions};
use durabletask::schedules::{
    self, Recurrence, ScheduleError, ScheduleOptions, ScheduleStatus, Schedules,
};
use durabletask::{
    Entity, EntityContext, EntityHandlers, Failure, Operation, Orchestration, OrchestrationContext,
    Registry,
};
use futures_util::TryStreamExt as _;

use super::{Feature, row};
use crate::backend::{DEADLINE, Hub, fresh};

pub fn features() -> Vec<Feature> {
    vec![
        row!("entity-signal", counter_registry, signal),
        row!("entity-delayed-signal", counter_registry, delayed_signal),
        row!("entity-call", counter_registry, call),
        row!("entity-locks", counter_registry, locks),
        row!("entity-query", counter_registry, query),
        row!("schedules", schedule_registry, recurring),
    ]
}

const COUNTER: Entity<i64> = Entity::new("Counter");
const ADD: Operation<i64, i64, i64> = Operation::new("add");
const GET: Operation<i64, (), i64> = Operation::new("get");
const FAIL: Operation<i64, (), ()> = Operation::new("fail");
const FORWARD: Operation<i64, String, ()> = Operation::new("forward");
const BEGIN: Operation<i64, String, ()> = Operation::new("begin");
const DELETE: Operation<i64, (), ()> = Operation::new("delete");

const BEGUN: Orchestration<(), ()> = Orchestration::new("begun-by-an-entity");
const CALLER: Orchestration<String, (i64, i64, String)> = Orchestration::new("caller");
const TRANSFER: Orchestration<(String, String), i64> = Orchestration::new("transfer");

fn counter() -> EntityHandlers<i64> {
    EntityHandlers::new()
        .operation(&ADD, |sum: &mut i64, _: &EntityContext, amount| {
            *sum += amount;
            Ok(*sum)
        })
        .operation(&GET, |sum: &mut i64, _: &EntityContext, ()| Ok(*sum))
        .operation(&FAIL, |sum: &mut i64, _: &EntityContext, ()| {
            *sum = -1;
            Err(Failure::new("Refused", "an operation that fails"))
        })
        .operation(&FORWARD, |_: &mut i64, ctx: &EntityContext, key: String| {
            ctx.signal_entity(&COUNTER.id(&key), &ADD, &100)
        })
        .operation(&BEGIN, |_: &mut i64, ctx: &EntityContext, id: String| {
            let options = EntityStartOptions::new().instance_id(id);
            ctx.start_orchestration_with(&BEGUN, &(), options)?;
            Ok(())
        })
}

async fn caller(ctx: OrchestrationContext, key: String) -> Result<(i64, i64, String), Failure> {
    let counter = COUNTER.id(&key);
    ctx.signal_entity(&counter, &ADD, &1)?;
    ctx.call_entity(&counter, &ADD, &2).await?;
    let total = ctx.call_entity(&counter, &GET, &()).await?;
    match ctx.call_entity(&counter, &FAIL, &()).await {
        Ok(()) => Err(Failure::new("NoFailure", "the operation did not fail")),
        Err(error) => {
            let after = ctx.call_entity(&counter, &GET, &()).await?;
            Ok((total, after, error.to_string()))
        }
    }
}

/// What the first counter gained while it was locked, which has to be 1.
async fn transfer(ctx: OrchestrationContext, keys: (String, String)) -> Result<i64, Failure> {
    let (first, second) = (COUNTER.id(&keys.0), COUNTER.id(&keys.1));
    let section = ctx.lock_entities([&first, &second]).await?;
    let before = ctx.call_entity(&first, &GET, &()).await?;
    ctx.create_timer(Duration::from_millis(50)).await;
    ctx.call_entity(&first, &ADD, &1).await?;
    let after = ctx.call_entity(&first, &GET, &()).await?;
    ctx.call_entity(&second, &ADD, &1).await?;
    section.release();
    Ok(after - before)
}

fn counter_registry() -> Registry {
    Registry::new()
        .entity(&COUNTER, counter())
        .orchestration(&CALLER, caller)
        .orchestration(&TRANSFER, transfer)
        .orchestration(&BEGUN, async |_: OrchestrationContext, (): ()| Ok(()))
}

/// Asks again until the entity has this state.
async fn until(hub: &Hub, counter: &EntityRef<i64>, state: Option<i64>) {
    let waiting = async {
        while hub.client.get_entity_state(counter).await.unwrap() != state {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    if tokio::time::timeout(DEADLINE, waiting).await.is_err() {
        panic!("not {state:?}: {:?}", hub.client.get_entity(counter).await);
    }
}

async fn signal(hub: Hub) {
    let (one, two_key, begun) = (COUNTER.id(&fresh("one")), fresh("two"), fresh("begun"));
    for n in 1..5 {
        hub.client.signal_entity(&one, &ADD, &n).await.unwrap();
    }
    until(&hub, &one, Some(10)).await;
    hub.client
        .signal_entity(&one, &FORWARD, &two_key)
        .await
        .unwrap();
    until(&hub, &COUNTER.id(&two_key), Some(100)).await;
    // A failed operation is rolled back and leaves the others alone.
    hub.client.signal_entity(&one, &FAIL, &()).await.unwrap();
    hub.client.signal_entity(&one, &ADD, &1).await.unwrap();
    until(&hub, &one, Some(11)).await;
    hub.client
        .signal_entity(&one, &BEGIN, &begun)
        .await
        .unwrap();
    hub.until(&begun, |state| state.status == Status::Completed)
        .await;
}

async fn delayed_signal(hub: Hub) {
    let later = COUNTER.id(&fresh("later"));
    let due = Utc::now() + Duration::from_secs(2);
    let sent = hub.client.signal_entity_at(&later, &ADD, &5, due).await;
    sent.unwrap();
    until(&hub, &later, Some(5)).await;
    assert!(Utc::now() >= due, "it came early");
}

async fn call(hub: Hub) {
    let (total, after, error) = hub.run(&CALLER, &fresh("called")).await;
    assert_eq!((total, after), (3, 3));
    assert!(error.contains("an operation that fails"), "{error}");
}

async fn locks(hub: Hub) {
    let (left, right) = (fresh("left"), fresh("right"));
    let mut runs = Vec::new();
    for n in 0..6 {
        // Opposite orders would deadlock if locks were not taken in one order.
        let keys = match n % 2 {
            0 => (left.clone(), right.clone()),
            _ => (right.clone(), left.clone()),
        };
        runs.push(hub.start(&TRANSFER, &keys).await);
    }
    for run in runs {
        assert_eq!(hub.output::<i64>(&run).await, 1);
    }
    for key in [left, right] {
        until(&hub, &COUNTER.id(&key), Some(6)).await;
    }
}

async fn query(hub: Hub) {
    let prefix = fresh("q");
    let counters: Vec<_> = (0..5)
        .map(|n| COUNTER.id(&format!("{prefix}-{n}")))
        .collect();
    for (n, counter) in (0..).zip(&counters) {
        hub.client.signal_entity(counter, &ADD, &n).await.unwrap();
        until(&hub, counter, Some(n)).await;
    }
    let query = EntityQuery::new()
        .id_prefix(format!("@counter@{prefix}"))
        .include_state()
        .page_size(2);
    let found = hub.client.list_entities(query);
    let mut found: Vec<_> = found.try_collect().await.unwrap();
    found.sort_by_key(|entity| entity.id.to_string());
    let states: Vec<i64> = found.iter().map(|entity| entity.state().unwrap()).collect();
    assert_eq!(states, [0, 1, 2, 3, 4]);
    hub.client
        .signal_entity(&counters[0], &DELETE, &())
        .await
        .unwrap();
    until(&hub, &counters[0], None).await;
    let cleaning = EntityCleaning::default();
    hub.client.clean_entity_storage(cleaning).await.unwrap();
}

fn schedule_registry() -> Registry {
    let registry = Registry::new().orchestration(&SEQUEL, sequel);
    schedules::register(registry)
}

/// A part of a story that is told again and again.
const SEQUEL: Orchestration<String, String> = Orchestration::new("sequel");

async fn sequel(_: OrchestrationContext, title: String) -> Result<String, Failure> {
    Ok(title)
}

async fn recurring(hub: Hub) {
    let schedules = Schedules::new(&hub.client).with_timeout(DEADLINE);
    let id = fresh("rounds");
    let every_second = ScheduleOptions::new(Recurrence::Every(Duration::from_secs(1)));
    schedules
        .put(&id, &SEQUEL, &id, every_second.clone())
        .await
        .unwrap();

    let rounds = InstanceQuery::new()
        .instance_id_prefix(format!("{id}-"))
        .statuses([Status::Completed])
        .payloads(Payloads::Include);
    let three = async {
        loop {
            let done = hub.client.list_instances(rounds.clone());
            let done: Vec<_> = done.try_collect().await.unwrap();
            if done.len() >= 3 {
                return done;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    for round in tokio::time::timeout(DEADLINE, three).await.unwrap() {
        assert_eq!(round.output::<String>().unwrap(), id);
    }
    let schedule = schedules.get(&id).await.unwrap().unwrap();
    assert_eq!(
        (schedule.orchestration.as_str(), schedule.status),
        ("sequel", ScheduleStatus::Active)
    );
    assert!(schedule.next_run_at > schedule.last_run_at);

    schedules.pause(&id).await.unwrap();
    let again = schedules.pause(&id).await;
    assert!(matches!(again, Err(ScheduleError::InvalidState(_))));
    let listed: Vec<_> = schedules.list().try_collect().await.unwrap();
    let paused = listed.iter().find(|schedule| schedule.id == id).unwrap();
    assert_eq!(
        (paused.status, paused.next_run_at),
        (ScheduleStatus::Paused, None)
    );
    schedules.resume(&id).await.unwrap();

    let too_often = ScheduleOptions::new(Recurrence::Every(Duration::ZERO));
    let refused = schedules.put(&id, &SEQUEL, &id, too_often).await;
    assert!(matches!(refused, Err(ScheduleError::InvalidOptions(_))));
    schedules.delete(&id).await.unwrap();
    assert_eq!(schedules.get(&id).await.unwrap(), None);
    let gone = schedules.resume(&id).await;
    assert!(matches!(gone, Err(ScheduleError::NotFound(_))), "{gone:?}");
}
