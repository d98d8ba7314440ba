//! Feeds that clients follow, with both sides of the wire being ours.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use durabletask::activity::PublishError;
use durabletask::{
    Activity, ActivityContext, Client, ClientError, Connection, Event, Failure, Feed,
    Orchestration, OrchestrationContext, Registry, RetryPolicy, TaskOptions, Worker,
};
use support::{Hub, PATIENCE};

const TICKS: Feed<u64> = Feed::new("ticks");
/// Publishes the numbers in a range, and fails or waits forever where it is asked to.
const TELL: Activity<(u64, u64), ()> = Activity::new("tell");
/// Publishes so many values itself and has an activity publish as many, in rounds.
const STORY: Orchestration<(u64, u64), ()> = Orchestration::new("story");
const QUIET: Orchestration<(), ()> = Orchestration::new("quiet");
const GO: Event<()> = Event::new("go");

const EVERY: Duration = Duration::from_millis(10);

async fn tell(ctx: ActivityContext, (from, count): (u64, u64)) -> Result<(), Failure> {
    for number in 0..count {
        ctx.publish(&TICKS, number, &(from + number)).await?;
        if number == count / 2 && ctx.attempt() == 1 {
            return Err("the line broke".into());
        }
    }
    Ok(())
}

async fn story(ctx: OrchestrationContext, (rounds, count): (u64, u64)) -> Result<(), Failure> {
    let retried = TaskOptions::new().retry(RetryPolicy::new(3, Duration::ZERO));
    for round in 0..rounds {
        let from = round * 2 * count;
        for number in 0..count {
            ctx.publish(&TICKS, &(from + number))?;
        }
        ctx.call_activity_with(&TELL, &(from + count, count), retried.clone())
            .await?;
    }
    Ok(())
}

fn connection(hub: &Hub) -> Connection {
    Connection::insecure(&format!("http://{}", hub.address), "default").unwrap()
}

fn worker(hub: &Hub) -> Worker {
    let registry = Registry::new()
        .orchestration(&STORY, story)
        .orchestration(&QUIET, async |ctx: OrchestrationContext, ()| {
            Ok(ctx.wait_for_event(&GO).await?)
        })
        .activity(&TELL, tell);
    let worker = Worker::builder(&connection(hub)).registry(registry);
    worker.build().unwrap()
}

async fn all(client: &Client, id: &str, from: u64) -> Result<Vec<u64>, ClientError> {
    let mut ticks = client.follow(id, &TICKS, from, EVERY);
    let mut seen = Vec::new();
    while let Some(tick) = ticks.next().await {
        let tick = tick?;
        assert_eq!(tick.offset, from + seen.len() as u64);
        seen.push(tick.value);
    }
    Ok(seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_gets_every_value_once_and_in_order() {
    let hub = Hub::memory().await;
    let client = Client::new(&connection(&hub)).unwrap();
    let worker = worker(&hub).spawn();
    let story = client.start(&STORY, &(4, 25)).send().await.unwrap();
    // While the story runs, and once it has ended.
    let read = all(&client, story.id(), 0).await.unwrap();
    assert_eq!(read, (0..200).collect::<Vec<_>>());
    let rest = all(&client, story.id(), 190).await.unwrap();
    assert_eq!(rest, (190..200).collect::<Vec<_>>());
    assert_eq!(all(&client, story.id(), 500).await, Ok(Vec::new()));

    client.delete_feed(story.id(), &TICKS).await.unwrap();
    let nothing = async {
        while all(&client, story.id(), 0).await != Ok(Vec::new()) {
            tokio::time::sleep(EVERY).await;
        }
    };
    tokio::time::timeout(PATIENCE, nothing).await.unwrap();
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_goes_on_over_the_deaths_of_workers_and_the_scheduler() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::folder(folder.path()).await;
    let client = Client::new(&connection(&hub)).unwrap();
    let story = client.start(&STORY, &(6, 30)).instance_id("story");
    story.send().await.unwrap();
    let mut seen: Vec<u64> = Vec::new();
    for round in 0..12 {
        let working = tokio::spawn(worker(&hub).run_until(std::future::pending()));
        let client = Client::new(&connection(&hub)).unwrap();
        let enough = seen.len() + 10 + round * 2;
        let mut ticks = client.follow("story", &TICKS, seen.len() as u64, EVERY);
        while seen.len() < enough
            && let Some(tick) = ticks.next().await
        {
            let tick = tick.unwrap();
            assert_eq!(tick.offset, seen.len() as u64);
            seen.push(tick.value);
        }
        working.abort();
        if round % 3 == 2 {
            hub.crash().await;
            hub = Hub::folder(folder.path()).await;
        }
    }
    let last = worker(&hub).spawn();
    let client = Client::new(&connection(&hub)).unwrap();
    seen.extend(all(&client, "story", seen.len() as u64).await.unwrap());
    assert_eq!(seen, (0..360).collect::<Vec<_>>());
    last.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_or_published_says_so() {
    let hub = Hub::memory().await;
    let client = Client::new(&connection(&hub)).unwrap();
    let worker = worker(&hub).spawn();
    let missing = all(&client, "nobody", 0).await;
    assert!(
        matches!(missing, Err(ClientError::NotFound { .. })),
        "{missing:?}"
    );

    // More than a feed keeps.
    let long = client.start(&STORY, &(1, 700)).send().await.unwrap();
    // Once its end is there, so is all before it.
    assert_eq!(all(&client, long.id(), 1_399).await, Ok(vec![1_399]));
    let late = all(&client, long.id(), 7).await;
    let Err(ClientError::Gap {
        asked: 7,
        first: 400,
        ..
    }) = late
    else {
        panic!("there is no gap: {late:?}");
    };
    let kept = all(&client, long.id(), 400).await.unwrap();
    assert_eq!(kept, (400..1400).collect::<Vec<_>>());
    let words = Feed::<String>::new("ticks");
    let other = client.follow(long.id(), &words, 400, EVERY).collect().await;
    assert!(matches!(other, Err(ClientError::Payload(_))), "{other:?}");

    // One that publishes nothing has a feed that ends with it.
    let quiet = client.start(&QUIET, &()).send().await.unwrap();
    let reading = all(&client, quiet.id(), 0);
    let raising = async { quiet.raise_event(&GO, &()).await.unwrap() };
    let (read, ()) = tokio::join!(reading, raising);
    assert_eq!(read, Ok(Vec::new()));

    let large = ActivityContext::new("tell", "story", 0);
    let words = Feed::<String>::new("words");
    let refused = large.publish(&words, 0, &"x".repeat(70_000)).await;
    assert!(
        matches!(refused, Err(PublishError::Payload(_))),
        "{refused:?}"
    );
    worker.stop().await.unwrap();
}
