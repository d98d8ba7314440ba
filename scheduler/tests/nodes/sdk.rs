//! Our SDK's client and worker, each at another node than the one that owns the task hub.

use std::time::Duration;

use durabletask::client::{EntityQuery, InstanceQuery, Payloads, Recursive, Status};
use durabletask::{
    Activity, ActivityContext, Client, Connection, Entity, EntityContext, EntityHandlers, Event,
    Failure, Operation, Orchestration, OrchestrationContext, Registry, Worker,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::PATIENCE;
use crate::support::nodes::{FakeTable, NodeAt};

const DOUBLE: Activity<u32, u32> = Activity::new("double");
const GO: Event<u32> = Event::new("go");
const CHILD: Orchestration<u32, u32> = Orchestration::new("child");
const PARENT: Orchestration<u32, u32> = Orchestration::new("parent");
const COUNTER: Entity<u32> = Entity::new("Counter");
const ADD: Operation<u32, u32, u32> = Operation::new("add");

async fn double(_: ActivityContext, number: u32) -> Result<u32, Failure> {
    Ok(number * 2)
}

async fn child(ctx: OrchestrationContext, number: u32) -> Result<u32, Failure> {
    Ok(ctx.call_activity(&DOUBLE, &number).await?)
}

/// A child of its own, an event, and an entity's sum.
async fn parent(ctx: OrchestrationContext, number: u32) -> Result<u32, Failure> {
    let doubled = ctx.call_sub_orchestration(&CHILD, &number).await?;
    let more = ctx.wait_for_event(&GO).await?;
    Ok(ctx
        .call_entity(&COUNTER.id("sum"), &ADD, &(doubled + more))
        .await?)
}

fn connection(node: &NodeAt) -> Connection {
    Connection::insecure(&format!("http://{}", node.address), "default").unwrap()
}

fn work(node: &NodeAt) -> (CancellationToken, JoinHandle<()>) {
    let add = |sum: &mut u32, _: &EntityContext, number: u32| {
        *sum += number;
        Ok(*sum)
    };
    let registry = Registry::new()
        .activity(&DOUBLE, double)
        .orchestration(&CHILD, child)
        .orchestration(&PARENT, parent)
        .entity(&COUNTER, EntityHandlers::new().operation(&ADD, add));
    let worker = Worker::builder(&connection(node))
        .registry(registry)
        .reconnect_backoff(Duration::from_millis(5), Duration::from_millis(50))
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let working = tokio::spawn(async move { worker.run_until(stopped).await.unwrap() });
    (stop, working)
}

async fn result(client: &Client, id: &str) -> u32 {
    let state = client
        .wait_for_completion(id, Payloads::Include, PATIENCE)
        .await
        .unwrap();
    assert_eq!(state.status, Status::Completed);
    state.output().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_and_worker_are_at_nodes_that_own_nothing() {
    let table = FakeTable::new();
    let owner = NodeAt::open(&table).await;
    let (near, far) = (NodeAt::open(&table).await, NodeAt::open(&table).await);
    table.give_rest(&owner.id);
    let (stop, working) = work(&far);
    let client = Client::new(&connection(&near)).unwrap();

    let id = client.start(&PARENT, &4).send().await.unwrap().into_id();
    client.suspend(&id, "wait").await.unwrap();
    client.raise_event(&id, &GO, &2).await.unwrap();
    let state = client.get(&id, Payloads::Omit).await.unwrap().unwrap();
    assert_eq!(state.status, Status::Suspended);
    client.resume(&id, "go on").await.unwrap();
    assert_eq!(result(&client, &id).await, 10);

    let events = client.history(&id).collect().await.unwrap();
    assert!(events.len() > 8, "{events:?}");
    let ended = client.start(&PARENT, &1).send().await.unwrap().into_id();
    client.terminate(&ended, &0, Recursive::Yes).await.unwrap();
    let state = client
        .wait_for_completion(&ended, Payloads::Omit, PATIENCE)
        .await
        .unwrap();
    assert_eq!(state.status, Status::Terminated);

    let sum = COUNTER.id("sum");
    client.signal_entity(&sum, &ADD, &5).await.unwrap();
    let added = async {
        while client.get_entity_state::<u32>(&sum).await.unwrap() != Some(15) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, added).await.unwrap();
    let entities = client
        .list_entities(EntityQuery::new())
        .collect()
        .await
        .unwrap();
    assert_eq!(entities.len(), 1);
    let listed = client
        .list_instances(InstanceQuery::new())
        .collect()
        .await
        .unwrap();
    let purged = client.purge(&id, Recursive::Yes).await.unwrap();
    assert!(purged.deleted >= 1);
    let left = client
        .list_instances(InstanceQuery::new())
        .collect()
        .await
        .unwrap();
    assert_eq!(
        left.len() + usize::try_from(purged.deleted).unwrap(),
        listed.len()
    );

    assert_eq!(owner.metric("peer_connections").await, 0.0);
    assert!(far.metric("forwarded_calls_open").await >= 1.0);
    let answered = near.metric(r#"forwarded_calls_total{outcome="answered"}"#);
    assert!(answered.await >= 10.0);
    assert_eq!(
        near.metric(r#"forwarded_calls_total{outcome="broken"}"#)
            .await,
        0.0
    );
    stop.cancel();
    working.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_and_worker_follow_their_task_hub() {
    let table = FakeTable::new();
    let (one, two) = (NodeAt::open(&table).await, NodeAt::open(&table).await);
    let front = NodeAt::open(&table).await;
    table.give_rest(&one.id);
    let (stop, working) = work(&front);
    let client = Client::new(&connection(&front)).unwrap();
    let id = client.start(&PARENT, &4).send().await.unwrap().into_id();
    // The nodes share no storage here, so each has instances of its own. The worker does not know.
    for number in 0..4 {
        let owner = if number % 2 == 0 { &two } else { &one };
        table.give_rest(&owner.id);
        let started = client.start(&CHILD, &number).send().await.unwrap();
        assert_eq!(result(&client, started.id()).await, number * 2);
    }
    // Back at the first one, what began there goes on.
    client.raise_event(&id, &GO, &2).await.unwrap();
    assert_eq!(result(&client, &id).await, 10);
    stop.cancel();
    working.await.unwrap();
}
