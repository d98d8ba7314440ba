//! A pool that gives out resources one by one: an orchestration that others ask by events, and that
//! answers by events. After Temporal's sample `resource_pool`.
//!
//! `cargo run -p durabletask-sdk --example resource_pool` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use durabletask::testing::TestHub;
use durabletask::{
    Either, Event, Failure, Orchestration, OrchestrationContext, Outcome, Query, Registry, select,
};
use serde::{Deserialize, Serialize};

/// Asks for a resource; the payload is the instance that wants one.
const ACQUIRE: Event<String> = Event::new("acquire");
/// Gives back what the instance has.
const RELEASE: Event<String> = Event::new("release");
/// The answer to `ACQUIRE`: the resource.
const ACQUIRED: Event<String> = Event::new("acquired");
/// Who has what.
const HOLDERS: Query<(), BTreeMap<String, String>> = Query::new("holders");
const POOL: Orchestration<Pool, ()> = Orchestration::new("resource-pool");

/// After so many messages the pool begins a new history.
const MESSAGES: usize = 100;

#[derive(Clone, Default, Serialize, Deserialize)]
struct Pool {
    free: VecDeque<String>,
    waiting: VecDeque<String>,
    /// The resource of each instance that has one.
    holders: BTreeMap<String, String>,
}

async fn pool(ctx: OrchestrationContext, pool: Pool) -> Result<Outcome<Pool, ()>, Failure> {
    let shared = Arc::new(Mutex::new(pool));
    let asked = Arc::clone(&shared);
    ctx.answer_query(&HOLDERS, move |()| {
        Ok(asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .holders
            .clone())
    });
    for _ in 0..MESSAGES {
        let message = select(ctx.wait_for_event(&ACQUIRE), ctx.wait_for_event(&RELEASE)).await;
        let mut given = Vec::new();
        {
            let mut pool = shared.lock().unwrap_or_else(PoisonError::into_inner);
            match message {
                Either::Left(who) => pool.waiting.push_back(who?),
                Either::Right(who) => {
                    let returned = pool.holders.remove(&who?);
                    pool.free.extend(returned);
                }
            }
            while !pool.free.is_empty()
                && let Some(who) = pool.waiting.pop_front()
                && let Some(resource) = pool.free.pop_front()
            {
                pool.holders.insert(who.clone(), resource.clone());
                given.push((who, resource));
            }
        }
        for (who, resource) in given {
            ctx.send_event(&who, &ACQUIRED, &resource)?;
        }
    }
    let pool = shared
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    Ok(Outcome::continue_as_new(pool))
}

/// Three instances ask for two resources; the third gets what the first gives back.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let minute = |n: u64| Duration::from_secs(60 * n);
    let resources = Pool {
        free: ["north", "south"].map(str::to_owned).into(),
        ..Pool::default()
    };
    let run = TestHub::new(Registry::new().continuing(&POOL, pool))
        .raise_event(minute(1), &ACQUIRE, "ada")
        .raise_event(minute(2), &ACQUIRE, "bob")
        .raise_event(minute(3), &ACQUIRE, "eve")
        .raise_event(minute(9), &RELEASE, "ada")
        .run(&POOL, &resources, |name, _| {
            Err(Failure::new("Unexpected", name))
        });
    let holders = run.query(&HOLDERS, &())?;
    println!("{holders:?}");
    let expected = [("bob", "south"), ("eve", "north")];
    assert_eq!(
        holders,
        expected
            .map(|(who, what)| (who.to_owned(), what.to_owned()))
            .into()
    );
    Ok(())
}
