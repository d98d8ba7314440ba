//! How a worker's results reach a scheduler that offers the stream for them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use std::time::Duration;

use durabletask::worker::{WorkerBuilder, WorkerError};
use durabletask::{Activity, ActivityContext, Registry, Worker};
use durabletask_proto as proto;
use fake::items::activity;
use fake::{Completions, Fake, Got, WorkItems};
use proto::completion::Result as Handed;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Status;

const ECHO: Activity<u32, u32> = Activity::new("echo");

fn start(
    fake: &Fake,
    configure: impl FnOnce(WorkerBuilder) -> WorkerBuilder,
) -> (CancellationToken, JoinHandle<Result<(), WorkerError>>) {
    let registry = Registry::new().activity(&ECHO, async |_: ActivityContext, n: u32| Ok(n));
    let builder = Worker::builder(&fake.connection())
        .registry(registry)
        .reconnect_backoff(Duration::from_millis(5), Duration::from_millis(20));
    let worker = configure(builder).build().unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    (stop, tokio::spawn(worker.run_until(stopped)))
}

/// Both streams of a worker, in the order in which they come.
async fn streams(fake: &mut Fake) -> (WorkItems, Completions) {
    match (fake.next().await, fake.next().await) {
        (Got::Stream(items), Got::Completions(results))
        | (Got::Completions(results), Got::Stream(items)) => (items, results),
        other => panic!("not the two streams: {other:?}"),
    }
}

/// The one activity of the next frame, with its number.
async fn result(results: &mut Completions) -> (u64, proto::ActivityResponse) {
    let mut frame = results.next().await;
    let completion = frame.pop().unwrap();
    assert!(frame.is_empty());
    match completion.result {
        Some(Handed::Activity(response)) => (completion.number, response),
        other => panic!("not an activity: {other:?}"),
    }
}

#[tokio::test]
async fn results_go_by_the_stream_and_again_if_it_is_cut() {
    let mut fake = Fake::start().await;
    fake.offer_stream();
    let (stop, task) = start(&fake, |builder| builder);
    let (items, mut results) = streams(&mut fake).await;

    items.send("t1", activity("echo", 1)).await;
    let (number, response) = result(&mut results).await;
    assert_eq!(response.completion_token, "t1");
    let busy = Status::unavailable("the disk is busy");
    results.answer(number, Err(busy)).await;
    // It is sent again, under a number of its own.
    let (again, response) = result(&mut results).await;
    assert_eq!(response.completion_token, "t1");
    assert_ne!(again, number);
    results.answer(again, Ok(())).await;

    items.send("t2", activity("echo", 2)).await;
    let (_, response) = result(&mut results).await;
    assert_eq!(response.completion_token, "t2");
    // Cut without an answer: it comes once more, by a call.
    drop(results);
    assert_eq!(fake.activity().await.completion_token, "t2");

    // After a while there is a stream again.
    let mut results = loop {
        items.send("t3", activity("echo", 3)).await;
        match fake.next().await {
            Got::Activity(response) => assert_eq!(response.completion_token, "t3"),
            Got::Completions(results) => break results,
            other => panic!("{other:?}"),
        }
    };
    let (number, response) = loop {
        // The last one may have gone by a call, before the stream was open.
        tokio::select! {
            got = fake.next() => {
                assert!(matches!(got, Got::Activity(_)), "{got:?}");
                items.send("t3", activity("echo", 3)).await;
            }
            result = result(&mut results) => break result,
        }
    };
    assert_eq!(response.completion_token, "t3");
    results.answer(number, Ok(())).await;
    stop.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_worker_may_be_set_to_use_calls_only() {
    let mut fake = Fake::start().await;
    fake.offer_stream();
    let (stop, task) = start(&fake, |builder| builder.completion_stream(false));
    let items = fake.stream().await;
    items.send("t1", activity("echo", 1)).await;
    assert_eq!(fake.activity().await.completion_token, "t1");
    stop.cancel();
    task.await.unwrap().unwrap();
}
