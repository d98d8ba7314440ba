//! Our SDK in the process of the scheduler, without a socket between them.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use durabletask::client::{Payloads, Status};
use durabletask::{
    Activity, ActivityContext, Client, ClientError, Connection, Event, Failure, Orchestration,
    OrchestrationContext, Registry, Worker,
};
use durabletask_scheduler::{
    Access, InProcess, Scheduler, SchedulerConfig, ServeError, Stopped, Storage,
};
use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::support::{Hub, PATIENCE};

const DOUBLE: Activity<u64, u64> = Activity::new("double");
const SUM: Orchestration<u64, u64> = Orchestration::new("sum");
const MORE: Event<u64> = Event::new("more");
const HELD: Activity<(), ()> = Activity::new("held");
const HOLD: Orchestration<(), ()> = Orchestration::new("hold");

/// Where no scheduler listens, so that a call that left the process would fail.
const NOWHERE: &str = "http://127.0.0.1:1";
/// More than may wait to be taken by the server.
const MANY: u64 = 200;

async fn sum(ctx: OrchestrationContext, count: u64) -> Result<u64, Failure> {
    let all: Vec<u64> = (0..count).collect();
    let doubled = all.iter().map(|number| ctx.call_activity(&DOUBLE, number));
    let mut total = 0;
    for each in doubled.collect::<Vec<_>>() {
        total += each.await?;
    }
    Ok(total + ctx.wait_for_event(&MORE).await?)
}

fn connection(near: &InProcess) -> Connection {
    let near = near.clone();
    let connection = Connection::insecure(NOWHERE, "default").unwrap();
    connection.with_dialer(move || near.connect())
}

fn worker(connection: &Connection, registry: Registry) -> Worker {
    let worker = Worker::builder(connection).registry(registry);
    worker.build().unwrap()
}

fn adding() -> Registry {
    Registry::new()
        .orchestration(&SUM, sum)
        .activity(&DOUBLE, async |_: ActivityContext, number: u64| {
            Ok(number * 2)
        })
}

fn holding() -> Registry {
    Registry::new().orchestration(&HOLD, async |ctx: OrchestrationContext, (): ()| {
        ctx.call_activity(&HELD, &()).await?;
        Ok(())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_and_a_client_need_no_socket() {
    let hub = Hub::memory().await;
    let connection = connection(&hub.scheduler.in_process());
    let worker = worker(&connection, adding()).spawn();
    let client = Client::new(&connection).unwrap();
    let started = client.start(&SUM, &100).send().await.unwrap();
    client.raise_event(started.id(), &MORE, &8).await.unwrap();
    let result = tokio::time::timeout(PATIENCE, started.result()).await;
    assert_eq!(result.unwrap().unwrap(), 99 * 100 + 8);
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_over_a_socket_are_served_beside_them() {
    let hub = Hub::memory().await;
    let far = Connection::insecure(&format!("http://{}", hub.address), "default").unwrap();
    let worker = worker(&far, adding()).spawn();
    let client = Client::new(&connection(&hub.scheduler.in_process())).unwrap();
    let started = client.start(&SUM, &3).send().await.unwrap();
    let far = Client::new(&far).unwrap();
    far.raise_event(started.id(), &MORE, &1).await.unwrap();
    let result = tokio::time::timeout(PATIENCE, started.result()).await;
    assert_eq!(result.unwrap().unwrap(), 7);
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_are_opened_at_once() {
    let hub = Hub::memory().await;
    let near = hub.scheduler.in_process();
    let calls = (0..MANY).map(|number| {
        let client = Client::new(&connection(&near)).unwrap();
        async move { client.start(&SUM, &number).send().await.map(|_| ()) }
    });
    let answers = tokio::time::timeout(PATIENCE, join_all(calls)).await;
    let answers: Result<Vec<()>, ClientError> = answers.unwrap().into_iter().collect();
    assert_eq!(answers.unwrap().len() as u64, MANY);
}

#[tokio::test]
async fn a_token_is_asked_for_as_on_the_port() {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, token: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, format!("{token}\n")).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        file
    };
    let right = written("right", "a-token-that-is-long-enough-for-a-hub");
    let wrong = written("wrong", "another-token-that-is-long-enough-too");
    let access = Access::default().with_token_file(&right).unwrap();
    let hub = Hub::with(|config| config.access = access).await;
    let without = connection(&hub.scheduler.in_process());
    let presenting = |file| without.clone().with_token_file(file).unwrap();
    for refused in [without.clone(), presenting(&wrong)] {
        let refused = Client::new(&refused).unwrap();
        let refused = refused.start(&SUM, &1).send().await;
        assert!(
            matches!(&refused, Err(ClientError::Denied(_))),
            "{refused:?}"
        );
    }
    let client = Client::new(&presenting(&right)).unwrap();
    client.start(&SUM, &1).send().await.unwrap();
}

#[tokio::test]
async fn a_task_hub_that_is_not_listed_is_not_there() {
    let hub = Hub::with(|config| {
        config.task_hubs = vec!["other".to_owned()];
        config.dynamic_task_hubs = false;
    })
    .await;
    let near = hub.scheduler.in_process();
    for (name, there) in [("other", true), ("third", false)] {
        let near = near.clone();
        let connection = Connection::insecure(NOWHERE, name).unwrap();
        let client = Client::new(&connection.with_dialer(move || near.connect())).unwrap();
        let answer = client.start(&SUM, &1).send().await;
        match there {
            true => assert!(answer.is_ok(), "{answer:?}"),
            false => assert!(
                matches!(&answer, Err(ClientError::NotFound { .. })),
                "{answer:?}"
            ),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_holds_is_handed_in_before_a_stop_ends() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::folder_with(folder.path(), |config| config.drain_timeout = PATIENCE).await;
    let connection = connection(&hub.scheduler.in_process());
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (at, after) = (Arc::clone(&begun), Arc::clone(&go));
    let registry = holding().activity(&HELD, move |_: ActivityContext, (): ()| {
        let (at, after) = (Arc::clone(&at), Arc::clone(&after));
        async move {
            at.notify_one();
            after.notified().await;
            Ok(())
        }
    });
    let worker = worker(&connection, registry).spawn();
    let client = Client::new(&connection).unwrap();
    let id = client.start(&HOLD, &()).send().await.unwrap().into_id();
    begun.notified().await;
    hub.stop.cancel();
    go.notify_one();
    let stopping = tokio::time::timeout(PATIENCE, hub.served).await;
    stopping.unwrap().unwrap();
    worker.stop().await.unwrap();
    drop((client, hub.scheduler));
    // Nobody runs the activity again.
    let again = Hub::folder(folder.path()).await;
    let connection = self::connection(&again.scheduler.in_process());
    let worker = self::worker(&connection, holding()).spawn();
    let client = Client::new(&connection).unwrap();
    let state = client.wait_for_completion(&id, Payloads::Omit, PATIENCE);
    assert_eq!(state.await.unwrap().status, Status::Completed);
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_scheduler_that_has_stopped_refuses() {
    let hub = Hub::memory().await;
    let near = hub.scheduler.in_process();
    let client = Client::new(&connection(&near)).unwrap();
    client.start(&SUM, &1).send().await.unwrap();
    hub.stop.cancel();
    hub.served.await.unwrap();
    let refused = near.connect().await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    let inner = refused.get_ref().unwrap();
    assert!(inner.is::<Stopped>(), "{inner:?}");
    let refused = client.start(&SUM, &1).send().await;
    let Err(error @ ClientError::Unavailable(_)) = refused else {
        panic!("{refused:?}");
    };
    assert!(error.to_string().contains("has stopped"), "{error}");
}

#[tokio::test]
async fn a_scheduler_that_is_gone_before_it_is_served_refuses() {
    let scheduler = Scheduler::open(SchedulerConfig::new(Storage::Memory)).unwrap();
    let near = scheduler.in_process();
    let waiting = near.connect().await.unwrap();
    drop(scheduler);
    let refused = near.connect().await.unwrap_err();
    assert!(refused.get_ref().unwrap().is::<Stopped>(), "{refused:?}");
    drop(waiting);
}

#[tokio::test]
async fn a_connection_that_is_opened_early_is_answered_once_it_is_served() {
    let scheduler = Scheduler::open(SchedulerConfig::new(Storage::Memory)).unwrap();
    let client = Client::new(&connection(&scheduler.in_process())).unwrap();
    let early = tokio::spawn(async move {
        let started = client.start(&SUM, &1).send().await.unwrap();
        client.get(started.id(), Payloads::Omit).await
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stop = CancellationToken::new();
    let (served, stopped) = (scheduler.clone(), stop.clone());
    let serving = tokio::spawn(async move { served.serve(listener, stopped).await });
    let state = tokio::time::timeout(PATIENCE, early).await.unwrap();
    let state = state.unwrap().unwrap().unwrap();
    assert_eq!(state.status, Status::Pending);
    stop.cancel();
    serving.await.unwrap().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let again = scheduler.serve(listener, CancellationToken::new()).await;
    assert!(matches!(again, Err(ServeError::ServedBefore)), "{again:?}");
}
