//! Errors of other crates in handlers, and failures in other functions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use anyhow::Context as _;
use durabletask::serde_json::json;
use durabletask::testing::TestHub;
use durabletask::{
    Activity, Client, Connection, Entity, Event, Failure, Operation, Orchestration,
    OrchestrationContext, Query, Registry, Update,
};

const CHARGE: Activity<u32, u32> = Activity::new("charge");
const STORY: Orchestration<u32, u32> = Orchestration::new("story");

async fn charge(ctx: &OrchestrationContext, n: u32) -> anyhow::Result<u32> {
    let charged = ctx.call_activity(&CHARGE, &n).await.context("charging")?;
    anyhow::ensure!(charged > 0, "nothing was charged");
    Ok(charged)
}

fn registry() -> Registry {
    Registry::new().orchestration(&STORY, async |ctx: OrchestrationContext, n: u32| {
        Ok(charge(&ctx, n).await?)
    })
}

#[test]
fn anyhow_mixes_with_failures_in_both_directions() {
    let run = TestHub::new(registry()).run(&STORY, &7, |_, _| Ok(json!(0)));
    assert_eq!(run.failure.unwrap().message, "nothing was charged");

    fn fails() -> Result<(), Failure> {
        Err("no luck".into())
    }
    fn outer() -> anyhow::Result<()> {
        fails().map_err(Failure::into_details)?;
        Ok(())
    }
    assert_eq!(outer().unwrap_err().to_string(), "Error: no luck");
}

#[test]
fn what_is_permanent_stays_so_through_a_context_of_anyhow() {
    let run = TestHub::new(registry()).run(&STORY, &7, |_, _| {
        Err(Failure::new("Declined", "the card is declined").permanent())
    });
    let failure = run.failure.unwrap();
    assert_eq!(failure.message, "charging");
    assert!(failure.non_retriable);
    assert!(
        failure.root_cause().message.contains("declined"),
        "{failure:?}"
    );
}

/// What a call needs of its constants it takes at once, so calls can be kept and joined.
#[tokio::test]
async fn calls_with_constants_are_made_side_by_side() {
    const SEEN: Query<(), u32> = Query::new("seen");
    const ADD: Update<u32, u32> = Update::new("add");
    const GO: Event<u32> = Event::new("go");
    const COUNTER: Entity<i64> = Entity::new("counter");
    const GET: Operation<i64, (), i64> = Operation::new("get");
    // Nothing listens there any more.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::new(&Connection::insecure(&address, "default").unwrap()).unwrap();
    let handle = client.instance(&STORY, "story-1");
    let limit = Duration::from_secs(5);

    let go = client.raise_event("story-1", &GO, &1);
    let (seen, added, again, got, asked, went) = tokio::join!(
        client.query("story-1", &SEEN, &(), limit),
        client.update("story-1", &ADD, &2, limit),
        client.update_once("story-1", "request-1", &ADD, &2, limit),
        client.call_entity(&COUNTER.id("a"), &GET, &(), limit),
        handle.query(&SEEN, &(), limit),
        go,
    );
    assert!(seen.is_err() && added.is_err() && again.is_err());
    assert!(got.is_err() && asked.is_err() && went.is_err());
}
