//! Queries and updates with both sides of the wire being ours.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use durabletask::client::{InstanceQuery, Payloads, Recursive};
use durabletask::worker::RunningWorker;
use durabletask::{
    Client, ClientError, Connection, Event, Failure, Orchestration, OrchestrationContext, Outcome,
    Query, Registry, Update, Worker,
};
use support::{Hub, PATIENCE};

const ADD: Update<u32, u32> = Update::new("add");
const ITEMS: Query<(), u32> = Query::new("items");
const CART: Orchestration<(u32, u32), u32> = Orchestration::new("cart");
const DEAF: Orchestration<(), ()> = Orchestration::new("deaf");
const CLOSE: Event<()> = Event::new("close");

/// Takes items until it is full, each in an execution of its own.
async fn cart(
    ctx: OrchestrationContext,
    (room, items): (u32, u32),
) -> Result<Outcome<(u32, u32), u32>, Failure> {
    let present = Arc::new(AtomicU32::new(items));
    let asked = Arc::clone(&present);
    ctx.answer_query(&ITEMS, move |()| Ok(asked.load(Ordering::Relaxed)));
    let (count, reply) = ctx.wait_for_update(&ADD).await;
    if items + count > room {
        reply.refuse(Failure::new("NoRoom", "it is full"));
        return Ok(Outcome::continue_as_new((room, items)));
    }
    let items = items + count;
    present.store(items, Ordering::Relaxed);
    reply.accept(&items)?;
    Ok(match items == room {
        true => Outcome::Done(items),
        false => Outcome::continue_as_new((room, items)),
    })
}

fn registry() -> Registry {
    Registry::new().continuing(&CART, cart).orchestration(
        &DEAF,
        async |ctx: OrchestrationContext, (): ()| {
            ctx.wait_for_event(&CLOSE).await?;
            Ok(())
        },
    )
}

fn connection(hub: &Hub) -> Connection {
    Connection::insecure(&format!("http://{}", hub.address), "default").unwrap()
}

fn worker(hub: &Hub) -> RunningWorker {
    let worker = Worker::builder(&connection(hub)).registry(registry());
    worker.build().unwrap().spawn()
}

async fn start(client: &Client, id: &str, room: u32) {
    let cart = client.start(&CART, &(room, 0)).instance_id(id);
    cart.send().await.unwrap();
    let begun = client.wait_for_start(id, Payloads::Omit, PATIENCE).await;
    begun.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_orchestration_answers_queries_and_updates() {
    let hub = Hub::memory().await;
    let client = Client::new(&connection(&hub)).unwrap();
    let worker = worker(&hub);
    start(&client, "cart", 3).await;
    let cart = client.instance(&CART, "cart");
    assert_eq!(cart.query(&ITEMS, &(), PATIENCE).await, Ok(0));
    assert_eq!(cart.update(&ADD, &2, PATIENCE).await, Ok(2));
    assert_eq!(cart.query(&ITEMS, &(), PATIENCE).await, Ok(2));
    let refused = cart.update(&ADD, &2, PATIENCE).await;
    let Err(ClientError::Refused { failure, .. }) = refused else {
        panic!("it was not refused: {refused:?}");
    };
    assert_eq!(failure.error_type, "NoRoom");
    assert_eq!(cart.update(&ADD, &1, PATIENCE).await, Ok(3));
    assert_eq!(cart.result().await, Ok(3));
    // One that has ended answers queries, and takes no more updates.
    assert_eq!(cart.query(&ITEMS, &(), PATIENCE).await, Ok(3));
    let late = cart.update(&ADD, &1, PATIENCE).await;
    assert!(
        matches!(late, Err(ClientError::InvalidState(_))),
        "{late:?}"
    );

    let other = Query::<(), u32>::new("other");
    let unknown = cart.query(&other, &(), PATIENCE).await;
    assert!(
        matches!(&unknown, Err(ClientError::NoSuchQuery { known, .. }) if known == &["items"]),
        "{unknown:?}"
    );
    let nobody = client.instance(&CART, "nobody");
    for missing in [
        nobody.query(&ITEMS, &(), PATIENCE).await,
        nobody.update(&ADD, &1, PATIENCE).await,
    ] {
        assert!(
            matches!(missing, Err(ClientError::NotFound { .. })),
            "{missing:?}"
        );
    }
    let left = client.list_instances(InstanceQuery::new()).collect().await;
    assert_eq!(left.unwrap().len(), 1, "no record of a question stays");
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_is_repeated_takes_place_once_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::folder(folder.path()).await;
    let client = Client::new(&connection(&hub)).unwrap();
    let first = worker(&hub);
    start(&client, "cart", 9).await;
    let once = client.update_once("cart", "u1", &ADD, &4, PATIENCE).await;
    assert_eq!(once, Ok(4));
    first.stop().await.unwrap();
    hub.crash().await;

    let hub = Hub::folder(folder.path()).await;
    let client = Client::new(&connection(&hub)).unwrap();
    let second = worker(&hub);
    let again = client.update_once("cart", "u1", &ADD, &4, PATIENCE).await;
    assert_eq!(again, Ok(4));
    let other = client.update_once("cart", "u2", &ADD, &5, PATIENCE).await;
    assert_eq!(other, Ok(9));
    // Also once the instance has ended.
    let again = client.update_once("cart", "u1", &ADD, &4, PATIENCE).await;
    assert_eq!(again, Ok(4));
    second.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_answers_untaken_updates() {
    let hub = Hub::memory().await;
    let client = Client::new(&connection(&hub)).unwrap();
    let worker = worker(&hub);
    for terminate in [true, false] {
        let deaf = client.start(&DEAF, &()).send().await.unwrap();
        let waiting = async { deaf.update(&ADD, &1, PATIENCE).await };
        let ending = async {
            // The update is in its history before it ends.
            loop {
                let history = client.history(deaf.id()).collect().await.unwrap();
                if format!("{history:?}").contains("durabletask.update/add") {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            match terminate {
                true => deaf.terminate(&(), Recursive::No).await.unwrap(),
                false => deaf.raise_event(&CLOSE, &()).await.unwrap(),
            }
        };
        let (answer, ()) = tokio::join!(waiting, ending);
        assert!(
            matches!(answer, Err(ClientError::InvalidState(_))),
            "{answer:?}"
        );
    }
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_after_the_end_is_not_awaited() {
    let hub = Hub::memory().await;
    let client = Client::new(&connection(&hub)).unwrap();
    let first = worker(&hub);
    let deaf = client.start(&DEAF, &()).send().await.unwrap();
    let begun = client.wait_for_start(deaf.id(), Payloads::Omit, PATIENCE);
    begun.await.unwrap();
    first.stop().await.unwrap();
    // Nobody runs the orchestration that sends the update until its target has ended.
    let waiting = async { deaf.update(&ADD, &1, PATIENCE).await };
    let ending = async {
        while client
            .list_instances(InstanceQuery::new())
            .collect()
            .await
            .unwrap()
            .len()
            < 2
        {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        deaf.terminate(&(), Recursive::No).await.unwrap();
        worker(&hub)
    };
    let (answer, second) = tokio::join!(waiting, ending);
    assert!(
        matches!(answer, Err(ClientError::InvalidState(_))),
        "{answer:?}"
    );
    second.stop().await.unwrap();
}
