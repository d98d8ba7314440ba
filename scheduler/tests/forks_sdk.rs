//! Forks with both sides of the wire being ours.
//!
//! `FORK_CASES` sets how many programs are tried.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use durabletask::client::{ForkPoint, InstanceHandle, Payloads, Status};
use durabletask::history::{HistoryEvent, HistoryPayload};
use durabletask::orchestration::SubOrchestrationOptions;
use durabletask::worker::RunningWorker;
use durabletask::{
    Activity, ActivityContext, Client, ClientError, Connection, Entity, EntityContext,
    EntityHandlers, Event, Failure, Feed, Operation, Orchestration, OrchestrationContext, Registry,
    RetryPolicy, TaskOptions, Worker, when_all,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde::{Deserialize, Serialize};
use support::{Hub, PATIENCE};
use tokio::task::JoinHandle;

const DOUBLE: Activity<i64, i64> = Activity::new("double");
/// Fails in its first attempt.
const SHAKY: Activity<i64, i64> = Activity::new("shaky");
const SAME: Activity<String, String> = Activity::new("same");
const CHILD: Orchestration<i64, i64> = Orchestration::new("child");
const PROGRAM: Orchestration<Vec<Step>, Vec<i64>> = Orchestration::new("program");
const WAITS: Orchestration<(), String> = Orchestration::new("waits");
const PING: Event<i64> = Event::new("ping");
const WORD: Event<String> = Event::new("word");
const STEPS: Feed<u64> = Feed::new("steps");

#[derive(Default, Serialize, Deserialize)]
struct Nothing;
const SQUARES: Entity<Nothing> = Entity::new("squares");
const SQUARE: Operation<Nothing, i64, i64> = Operation::new("square");

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Step {
    Call(i64),
    Retried(i64),
    Timer,
    Child(i64),
    /// A child under an id that names its parent.
    Named(i64),
    Together(i64),
    Entity(i64),
    Locked(i64),
    Patch(u8),
    /// What the context derives from the instance is the same on replay.
    Uuid,
    ToItself(i64),
    Publish,
    Status,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..100i64).prop_map(Step::Call),
        1 => (0..100i64).prop_map(Step::Retried),
        1 => Just(Step::Timer),
        1 => (0..100i64).prop_map(Step::Child),
        1 => (0..100i64).prop_map(Step::Named),
        1 => (0..100i64).prop_map(Step::Together),
        2 => (0..100i64).prop_map(Step::Entity),
        1 => (0..100i64).prop_map(Step::Locked),
        1 => (0..3u8).prop_map(Step::Patch),
        1 => Just(Step::Uuid),
        1 => (0..100i64).prop_map(Step::ToItself),
        1 => Just(Step::Publish),
        1 => Just(Step::Status),
    ]
}

async fn program(ctx: OrchestrationContext, steps: Vec<Step>) -> Result<Vec<i64>, Failure> {
    let mut told = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Call(n) => told.push(ctx.call_activity(&DOUBLE, &n).await?),
            Step::Retried(n) => {
                let retried = TaskOptions::new().retry(RetryPolicy::new(3, Duration::from_secs(1)));
                told.push(ctx.call_activity_with(&SHAKY, &n, retried).await?);
            }
            Step::Timer => ctx.create_timer(Duration::from_secs(2)).await,
            Step::Child(n) => told.push(ctx.call_sub_orchestration(&CHILD, &n).await?),
            Step::Named(n) => {
                let id = format!("{}-child-{number}", ctx.instance_id());
                let named = SubOrchestrationOptions::new().instance_id(id);
                told.push(ctx.call_sub_orchestration_with(&CHILD, &n, named).await?);
            }
            Step::Together(n) => {
                let calls = (0..3).map(|more| ctx.call_activity(&DOUBLE, &(n + more)));
                let timer = ctx.create_timer(Duration::from_secs(1));
                told.extend(when_all(calls).await?);
                timer.await;
            }
            Step::Entity(n) => {
                let id = SQUARES.id("a");
                ctx.signal_entity(&id, &SQUARE, &n)?;
                told.push(ctx.call_entity(&id, &SQUARE, &n).await?);
            }
            Step::Locked(n) => {
                let (a, b) = (SQUARES.id("a"), SQUARES.id("b"));
                let section = ctx.lock_entities([&a, &b]).await?;
                told.push(ctx.call_entity(&a, &SQUARE, &n).await?);
                section.release();
            }
            Step::Patch(id) => {
                if ctx.patched(&format!("patch-{id}")) {
                    told.push(ctx.call_activity(&DOUBLE, &i64::from(id)).await?);
                }
            }
            Step::Uuid => {
                let id = ctx.new_uuid().to_string();
                assert_eq!(ctx.call_activity(&SAME, &id).await?, id);
            }
            Step::ToItself(n) => {
                ctx.send_event(ctx.instance_id(), &PING, &n)?;
                told.push(ctx.wait_for_event(&PING).await?);
            }
            Step::Publish => ctx.publish(&STEPS, &(number as u64))?,
            Step::Status => ctx.set_custom_status(&number)?,
        }
    }
    Ok(told)
}

/// The activity calls that were run, by instance.
type Ran = Arc<Mutex<BTreeMap<String, BTreeSet<i32>>>>;

fn note(ran: &Ran, ctx: &ActivityContext) {
    let mut ran = ran.lock().unwrap();
    ran.entry(ctx.instance_id().to_owned())
        .or_default()
        .insert(ctx.task_id());
}

fn connection(hub: &Hub) -> Connection {
    Connection::insecure(&format!("http://{}", hub.address), "default").unwrap()
}

fn worker(hub: &Hub, ran: &Ran) -> Worker {
    let (first, second, third) = (ran.clone(), ran.clone(), ran.clone());
    let square = |_: &mut Nothing, _: &EntityContext, n: i64| Ok(n * n);
    let registry = Registry::new()
        .orchestration(&PROGRAM, program)
        .orchestration(&CHILD, async |ctx: OrchestrationContext, n: i64| {
            Ok(ctx.call_activity(&DOUBLE, &n).await? + 1)
        })
        .orchestration(&WAITS, async |ctx: OrchestrationContext, ()| {
            ctx.set_custom_status(&"waits")?;
            Ok(ctx.wait_for_event(&WORD).await?)
        })
        .activity(&DOUBLE, move |ctx: ActivityContext, n: i64| {
            note(&first, &ctx);
            async move { Ok(2 * n) }
        })
        .activity(&SHAKY, move |ctx: ActivityContext, n: i64| {
            note(&second, &ctx);
            async move {
                match ctx.attempt() {
                    1 => Err("not yet".into()),
                    _ => Ok(n),
                }
            }
        })
        .activity(&SAME, move |ctx: ActivityContext, text: String| {
            note(&third, &ctx);
            async move { Ok(text) }
        })
        .entity(&SQUARES, EntityHandlers::new().operation(&SQUARE, square));
    Worker::builder(&connection(hub))
        .registry(registry)
        .build()
        .unwrap()
}

/// Lets the hub's time pass.
fn ticking(hub: &Hub) -> JoinHandle<()> {
    let clock = hub.clock.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(2)).await;
            clock.advance(Duration::from_millis(500));
        }
    })
}

async fn history(client: &Client, id: &str) -> Vec<HistoryEvent> {
    client.history(id).collect().await.unwrap()
}

/// Whether the orchestration holds locks once `events` are known, up to the end of the last whole turn.
fn in_section(events: &[HistoryEvent], whole: usize) -> bool {
    let granted = events
        .iter()
        .filter(|event| matches!(event.payload, HistoryPayload::EntityLockGranted { .. }))
        .count();
    let unlocked = events[..whole]
        .iter()
        .filter(|event| matches!(event.payload, HistoryPayload::EntityUnlockSent { .. }))
        .count();
    2 * granted > unlocked
}

/// How many of the events that a fork at `at` shares are whole turns.
fn whole(events: &[HistoryEvent], at: usize) -> usize {
    let begins =
        |event: &HistoryEvent| matches!(event.payload, HistoryPayload::OrchestratorStarted);
    let ends =
        |event: &HistoryEvent| matches!(event.payload, HistoryPayload::ExecutionCompleted { .. });
    let from = events[..=at].iter().rposition(begins).unwrap();
    let is_whole = events.get(at + 1).is_none_or(begins);
    if is_whole && !events[from..=at].iter().any(ends) {
        at + 1
    } else {
        from
    }
}

/// What a fork has to be, besides that it ends like the other one.
async fn check(client: &Client, events: &[HistoryEvent], at: usize, id: &str, ran: &Ran) {
    let forked = history(client, id).await;
    let shared = whole(events, at);
    for (theirs, ours) in events[..shared].iter().zip(&forked) {
        assert_eq!(
            (theirs.event_id, theirs.timestamp),
            (ours.event_id, ours.timestamp)
        );
        match (&theirs.payload, &ours.payload) {
            (HistoryPayload::ExecutionStarted(theirs), HistoryPayload::ExecutionStarted(ours)) => {
                assert_eq!((&theirs.name, &theirs.input), (&ours.name, &ours.input));
                assert_ne!(theirs.execution_id, ours.execution_id);
            }
            (
                HistoryPayload::SubOrchestrationCreated { name: theirs, .. },
                HistoryPayload::SubOrchestrationCreated { name: ours, .. },
            ) => assert_eq!(theirs, ours),
            (theirs, ours) => assert_eq!(theirs, ours),
        }
    }
    // What the shared part answers is not run again.
    let known: BTreeSet<i32> = events[..=at]
        .iter()
        .filter_map(|event| match event.payload {
            HistoryPayload::TaskCompleted { task_id, .. }
            | HistoryPayload::TaskFailed { task_id, .. } => Some(task_id),
            _ => None,
        })
        .collect();
    let again = ran.lock().unwrap().get(id).cloned().unwrap_or_default();
    assert!(known.is_disjoint(&again), "{id}: {known:?} and {again:?}");
}

/// Forks `id` at each `every`th event; yields the forks with their events.
async fn fork_all(
    client: &Client,
    id: &str,
    events: &[HistoryEvent],
    every: usize,
) -> Vec<(usize, InstanceHandle<Vec<i64>>)> {
    let mut forks = Vec::new();
    for at in (0..events.len()).step_by(every) {
        let point = u32::try_from(at).unwrap();
        let forked = client
            .fork(&PROGRAM, id, point, &format!("{id}/{at}"))
            .await;
        match in_section(&events[..=at], whole(events, at)) {
            true => assert!(
                matches!(forked, Err(ClientError::InvalidState(_))),
                "{at} of {events:#?}: {forked:?}"
            ),
            false => forks.push((at, forked.unwrap())),
        }
    }
    forks
}

fn programs(cases: usize) -> Vec<Vec<Step>> {
    let mut runner = TestRunner::default();
    let strategy = prop::collection::vec(step(), 3..9);
    (0..cases)
        .map(|_| strategy.new_tree(&mut runner).unwrap().current())
        .collect()
}

fn cases() -> usize {
    let set = std::env::var("FORK_CASES").ok();
    set.map_or(6, |cases| cases.parse().expect("FORK_CASES is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_from_any_event_ends_like_the_other_one() {
    let hub = Hub::memory().await;
    let client = Client::new(&connection(&hub)).unwrap();
    let ran = Ran::default();
    let worker = worker(&hub, &ran).spawn();
    let ticking = ticking(&hub);
    let mut count = 0;
    for (number, steps) in programs(cases()).into_iter().enumerate() {
        let first = client
            .start(&PROGRAM, &steps)
            .instance_id(format!("p{number}"));
        let first = first.send().await.unwrap();
        let expected = first.result_within(PATIENCE).await.unwrap();
        let events = history(&client, first.id()).await;
        let forks = fork_all(&client, first.id(), &events, 1).await;
        for (at, fork) in &forks {
            let ended = fork.result_within(PATIENCE).await;
            assert_eq!(ended.as_ref(), Ok(&expected), "{steps:?} forked at {at}");
            check(&client, &events, *at, fork.id(), &ran).await;
            let state = fork.state().await.unwrap().unwrap();
            assert_eq!(state.tags["durabletask.forkedFrom"], first.id());
        }
        count += forks.len();
        // A fork of a fork, from both sides of where the first fork was.
        let (_, middle) = &forks[forks.len() / 2];
        let events = history(&client, middle.id()).await;
        for (at, fork) in fork_all(&client, middle.id(), &events, 3).await {
            let ended = fork.result_within(PATIENCE).await;
            assert_eq!(
                ended.as_ref(),
                Ok(&expected),
                "{steps:?} forked twice, at {at}"
            );
            check(&client, &events, at, fork.id(), &ran).await;
            count += 1;
        }
        assert_eq!(first.result().await.unwrap(), expected);
    }
    assert!(count > 20, "{count}");
    ticking.abort();
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forks_go_on_over_the_deaths_of_workers_and_the_scheduler() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::folder(folder.path()).await;
    let ran = Ran::default();
    let steps = [
        Step::Call(1),
        Step::Entity(2),
        Step::Uuid,
        Step::Together(3),
        Step::Child(4),
        Step::Patch(1),
        Step::ToItself(5),
        Step::Locked(6),
        Step::Retried(7),
    ];
    let (expected, events) = {
        let (client, ticks) = (Client::new(&connection(&hub)).unwrap(), ticking(&hub));
        let worker = worker(&hub, &ran).spawn();
        let first = client.start(&PROGRAM, &steps).instance_id("first");
        let first = first.send().await.unwrap();
        let expected = first.result_within(PATIENCE).await.unwrap();
        worker.stop().await.unwrap();
        ticks.abort();
        (expected, history(&client, "first").await)
    };
    let client = Client::new(&connection(&hub)).unwrap();
    let forks = fork_all(&client, "first", &events, 1).await;
    for round in 0..6 {
        let ticks = ticking(&hub);
        let working = tokio::spawn(worker(&hub, &ran).run_until(std::future::pending()));
        let client = Client::new(&connection(&hub)).unwrap();
        // Until another few of them have ended.
        let some = forks.iter().skip(round * forks.len() / 8).take(1);
        for (_, fork) in some {
            let ended = client.wait_for_completion(fork.id(), Payloads::Include, PATIENCE);
            assert_eq!(ended.await.unwrap().status, Status::Completed);
        }
        working.abort();
        ticks.abort();
        if round % 2 == 1 {
            hub.crash().await;
            hub = Hub::folder(folder.path()).await;
        }
    }
    let (client, ticks) = (Client::new(&connection(&hub)).unwrap(), ticking(&hub));
    let worker: RunningWorker = worker(&hub, &ran).spawn();
    for (at, fork) in &forks {
        let fork = client.instance(&PROGRAM, fork.id());
        let ended = fork.result_within(PATIENCE).await;
        assert_eq!(ended.as_ref(), Ok(&expected), "forked at {at}");
        check(&client, &events, *at, fork.id(), &ran).await;
    }
    worker.stop().await.unwrap();
    ticks.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_of_a_running_instance_goes_its_own_way() {
    let hub = Hub::memory().await;
    let client = Client::new(&connection(&hub)).unwrap();
    let worker = worker(&hub, &Ran::default()).spawn();
    let first = client.start(&WAITS, &()).instance_id("first");
    let first = first.send().await.unwrap();
    let waits = async {
        while history(&client, "first").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.unwrap();
    let fork = client.fork(&WAITS, "first", 1, "fork").await.unwrap();
    fork.raise_event(&WORD, "theirs").await.unwrap();
    assert_eq!(fork.result_within(PATIENCE).await.unwrap(), "theirs");
    let state = first.state().await.unwrap().unwrap();
    assert_eq!(state.status, Status::Running);
    first.raise_event(&WORD, "ours").await.unwrap();
    assert_eq!(first.result_within(PATIENCE).await.unwrap(), "ours");

    // Where the word is known it is shared, and cannot be taken back.
    let events = history(&client, "first").await;
    let heard = events
        .iter()
        .position(|event| matches!(event.payload, HistoryPayload::EventRaised { .. }));
    let heard = u32::try_from(heard.unwrap()).unwrap();
    let fork = client.fork(&WAITS, "first", heard, "heard").await.unwrap();
    assert_eq!(fork.result_within(PATIENCE).await.unwrap(), "ours");
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_forked_is_refused_by_kind() {
    let hub = Hub::memory().await;
    let client = Client::new(&connection(&hub)).unwrap();
    let not_started = client.start(&WAITS, &()).instance_id("first");
    not_started.send().await.unwrap();
    let early = client.fork(&WAITS, "first", 0, "fork").await;
    assert!(
        matches!(&early, Err(ClientError::InvalidState(why)) if why.contains("no history yet")),
        "{early:?}"
    );
    let worker = worker(&hub, &Ran::default()).spawn();
    let first = client.instance(&WAITS, "first");
    first.raise_event(&WORD, "go").await.unwrap();
    first.result_within(PATIENCE).await.unwrap();
    let events = history(&client, "first").await;
    let execution = first.state().await.unwrap().unwrap().execution_id.unwrap();

    let count = u32::try_from(events.len()).unwrap();
    for event in [count, u32::MAX] {
        let beyond = client.fork(&WAITS, "first", event, "fork").await;
        let Err(ClientError::NoSuchEvent {
            instance_id,
            event: told,
            reason,
        }) = beyond
        else {
            panic!("{beyond:?}");
        };
        assert_eq!((instance_id.as_str(), told), ("first", event));
        assert!(reason.contains(&format!("{count} events")), "{reason}");
    }
    let unknown = client.fork(&WAITS, "nobody", 0, "fork").await;
    assert!(
        matches!(&unknown, Err(ClientError::NotFound { instance_id: Some(id), .. }) if id == "nobody")
    );
    let taken = client.fork(&WAITS, "first", 0, "first").await;
    assert!(
        matches!(&taken, Err(ClientError::AlreadyExists { instance_id }) if instance_id == "first")
    );
    let long = "x".repeat(101);
    for (source, id) in [
        ("@squares@a", "fork"),
        ("", "fork"),
        ("first", "@a@b"),
        ("first", long.as_str()),
    ] {
        let refused = client.fork(&WAITS, source, 0, id).await;
        assert!(
            matches!(refused, Err(ClientError::InvalidArgument(_))),
            "{refused:?}"
        );
    }
    let other = ForkPoint::event(0).of_execution("another");
    let other = client.fork(&WAITS, "first", other, "fork").await;
    assert!(
        matches!(&other, Err(ClientError::InvalidState(why)) if why.contains(&execution)),
        "{other:?}"
    );
    assert!(client.get("fork", Payloads::Omit).await.unwrap().is_none());

    let same = ForkPoint::event(0).of_execution(execution);
    let fork = client.fork(&WAITS, "first", same, "fork").await.unwrap();
    fork.raise_event(&WORD, "again").await.unwrap();
    assert_eq!(fork.result_within(PATIENCE).await.unwrap(), "again");
    worker.stop().await.unwrap();
}
