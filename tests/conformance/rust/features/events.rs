//! External events: waiting, buffering, deadlines, sending, custom status, queries and
//! updates.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use durabletask::client::Status;
use durabletask::orchestration::{ContinueAsNew, UnprocessedEvents};
use durabletask::{
    ClientError, Either, Event, Failure, Orchestration, OrchestrationContext, Outcome, Query,
    Registry, Update, select,
};

use super::{Feature, row};
use crate::backend::{DEADLINE, Hub};

pub fn features() -> Vec<Feature> {
    vec![
        row!("external-events", collect_registry, external_events),
        row!("event-deadline", impatient_registry, event_deadline),
        row!("send-event", sender_registry, send_event),
        row!("continue-as-new", generations_registry, continue_as_new),
        row!("continue-dropping", generations_registry, continue_dropping),
        row!("custom-status", reporter_registry, custom_status),
        row!("query-running", cart_registry, query_running),
        row!("update", cart_registry, update),
        row!("suspend-resume", collect_registry, suspend_resume),
    ]
}

const ITEM: Event<u32> = Event::new("Item");
// Names of events are compared without regard to case.
const ITEM_OTHERWISE: Event<u32> = Event::new("iTEM");
const COLLECT: Orchestration<usize, Vec<u32>> = Orchestration::new("collect");

fn collect_registry() -> Registry {
    Registry::new().orchestration(&COLLECT, async |ctx: OrchestrationContext, count: usize| {
        let mut got = Vec::new();
        while got.len() < count {
            got.push(ctx.wait_for_event(&ITEM).await?);
        }
        Ok(got)
    })
}

async fn external_events(hub: Hub) {
    let id = hub.start(&COLLECT, &3).await;
    // The first may arrive before the orchestration waits for it.
    for n in 0..3 {
        hub.client
            .raise_event(&id, &ITEM_OTHERWISE, &n)
            .await
            .unwrap();
    }
    assert_eq!(hub.output::<Vec<u32>>(&id).await, [0, 1, 2]);
}

async fn suspend_resume(hub: Hub) {
    let id = hub.start(&COLLECT, &2).await;
    hub.begun(&id).await;
    hub.client.suspend(&id, "hold on").await.unwrap();
    hub.until(&id, |state| state.status == Status::Suspended)
        .await;
    hub.client.suspend(&id, "again").await.unwrap();
    for n in 0..2 {
        hub.client.raise_event(&id, &ITEM, &n).await.unwrap();
    }
    hub.stays_open(&id).await;
    hub.client.resume(&id, "go on").await.unwrap();
    assert_eq!(hub.output::<Vec<u32>>(&id).await, [0, 1]);
}

const IMPATIENT: Orchestration<u64, Option<u32>> = Orchestration::new("impatient");

fn impatient_registry() -> Registry {
    Registry::new().orchestration(
        &IMPATIENT,
        async |ctx: OrchestrationContext, milliseconds: u64| {
            let event = ctx.wait_for_event(&ITEM);
            let deadline = ctx.create_timer(Duration::from_millis(milliseconds));
            match select(event, deadline).await {
                Either::Left(item) => Ok(Some(item?)),
                Either::Right(_) => Ok(None),
            }
        },
    )
}

async fn event_deadline(hub: Hub) {
    assert_eq!(hub.run(&IMPATIENT, &300).await, None);
    let id = hub.start(&IMPATIENT, &3_600_000).await;
    hub.client.raise_event(&id, &ITEM, &7).await.unwrap();
    assert_eq!(hub.output::<Option<u32>>(&id).await, Some(7));
}

const SENDER: Orchestration<String, ()> = Orchestration::new("sender");

fn sender_registry() -> Registry {
    collect_registry().orchestration(
        &SENDER,
        async |ctx: OrchestrationContext, target: String| {
            ctx.send_event(&target, &ITEM, &41)?;
            ctx.send_event(&target, &ITEM, &42)?;
            Ok(())
        },
    )
}

async fn send_event(hub: Hub) {
    let id = hub.start(&COLLECT, &2).await;
    hub.begun(&id).await;
    hub.run(&SENDER, &id).await;
    assert_eq!(hub.output::<Vec<u32>>(&id).await, [41, 42]);
}

const COUNT: Orchestration<u32, u32> = Orchestration::new("count");
const GATHER: Orchestration<Vec<u32>, Vec<u32>> = Orchestration::new("gather");
const FORGET: Orchestration<Option<u32>, u32> = Orchestration::new("forget");

async fn gather(
    ctx: OrchestrationContext,
    mut got: Vec<u32>,
) -> Result<Outcome<Vec<u32>, Vec<u32>>, Failure> {
    got.push(ctx.wait_for_event(&ITEM).await?);
    if got.len() < 5 {
        return Ok(Outcome::continue_as_new(got));
    }
    Ok(Outcome::Done(got))
}

/// Takes an event, drops what else has come, and tells which one comes next.
async fn forget(
    ctx: OrchestrationContext,
    first: Option<u32>,
) -> Result<Outcome<Option<u32>, u32>, Failure> {
    let item = ctx.wait_for_event(&ITEM).await?;
    match first {
        Some(_) => Ok(Outcome::Done(item)),
        None => {
            // What came before this instant is in the history of this execution.
            ctx.wait_for_event(&Event::<()>::new("done")).await?;
            let next = ContinueAsNew::new(Some(item)).unprocessed_events(UnprocessedEvents::Drop);
            Ok(next.into())
        }
    }
}

fn generations_registry() -> Registry {
    Registry::new()
        .continuing(&COUNT, async |ctx: OrchestrationContext, n: u32| {
            ctx.create_timer(Duration::from_millis(1)).await;
            Ok(match n {
                10 => Outcome::Done(n),
                _ => Outcome::continue_as_new(n + 1),
            })
        })
        .continuing(&GATHER, gather)
        .continuing(&FORGET, forget)
}

async fn continue_as_new(hub: Hub) {
    assert_eq!(hub.run(&COUNT, &1).await, 10);
    // All five arrive, also those that were there when a generation ended.
    let id = hub.start(&GATHER, &Vec::new()).await;
    for n in 0..5 {
        hub.client.raise_event(&id, &ITEM, &n).await.unwrap();
    }
    assert_eq!(hub.output::<Vec<u32>>(&id).await, [0, 1, 2, 3, 4]);
}

async fn continue_dropping(hub: Hub) {
    let id = hub.start(&FORGET, &None).await;
    hub.begun(&id).await;
    for n in [1, 2] {
        hub.client.raise_event(&id, &ITEM, &n).await.unwrap();
    }
    let done = Event::<()>::new("done");
    hub.client.raise_event(&id, &done, &()).await.unwrap();
    // The second generation was given the first event; the second event is dropped.
    hub.until(&id, |state| {
        state.input_json.as_deref() == Some("1") || state.status.is_terminal()
    })
    .await;
    hub.client.raise_event(&id, &ITEM, &3).await.unwrap();
    assert_eq!(hub.output::<u32>(&id).await, 3);
}

const REPORTER: Orchestration<(), ()> = Orchestration::new("reporter");

fn reporter_registry() -> Registry {
    Registry::new().orchestration(&REPORTER, async |ctx: OrchestrationContext, (): ()| {
        ctx.set_custom_status(&"one")?;
        ctx.wait_for_event(&ITEM).await?;
        ctx.set_custom_status(&"two")?;
        Ok(())
    })
}

async fn custom_status(hub: Hub) {
    let id = hub.start(&REPORTER, &()).await;
    hub.until(&id, |state| {
        state.custom_status_json.as_deref() == Some("\"one\"")
    })
    .await;
    hub.client.raise_event(&id, &ITEM, &1).await.unwrap();
    let state = hub.end(&id).await;
    assert_eq!(state.custom_status::<String>().unwrap(), "two");
}

const ADD: Update<u32, u32> = Update::new("add");
const ITEMS: Query<(), u32> = Query::new("items");
const CART: Orchestration<u32, u32> = Orchestration::new("cart");

/// Takes items until it is full.
async fn cart(ctx: OrchestrationContext, room: u32) -> Result<u32, Failure> {
    let items = Arc::new(AtomicU32::new(0));
    let present = Arc::clone(&items);
    ctx.answer_query(&ITEMS, move |()| Ok(present.load(Ordering::Relaxed)));
    loop {
        let (count, reply) = ctx.wait_for_update(&ADD).await;
        let wanted = items.load(Ordering::Relaxed) + count;
        if wanted > room {
            reply.refuse(Failure::new(
                "NoRoom",
                format!("{wanted} are more than {room}"),
            ));
            continue;
        }
        items.store(wanted, Ordering::Relaxed);
        reply.accept(&wanted)?;
        if wanted == room {
            return Ok(wanted);
        }
    }
}

fn cart_registry() -> Registry {
    Registry::new().orchestration(&CART, cart)
}

async fn query_running(hub: Hub) {
    let id = hub.start(&CART, &3).await;
    hub.begun(&id).await;
    let query = hub.client.query(&id, &ITEMS, &(), DEADLINE).await;
    assert_eq!(query, Ok(0));
    let other = Query::<(), u32>::new("other");
    let query = hub.client.query(&id, &other, &(), DEADLINE).await;
    assert!(
        matches!(&query, Err(ClientError::NoSuchQuery { known, .. }) if known == &["items"]),
        "{query:?}"
    );
}

async fn update(hub: Hub) {
    let id = hub.start(&CART, &3).await;
    let update = async |count| hub.client.update(&id, &ADD, &count, DEADLINE).await;
    assert_eq!(update(2).await, Ok(2));
    let refused = update(2).await;
    assert!(
        matches!(&refused, Err(ClientError::Refused { failure, .. }) if failure.error_type == "NoRoom"),
        "{refused:?}"
    );
    assert_eq!(update(1).await, Ok(3));
    assert_eq!(hub.output::<u32>(&id).await, 3);
    let late = update(1).await;
    assert!(
        matches!(late, Err(ClientError::InvalidState(_))),
        "{late:?}"
    );
}
