//! Activities, timers, retries, failures, payloads.

use std::time::Duration;

use durabletask::client::Status;
use durabletask::{
    Activity, ActivityContext, Either, Failure, Orchestration, OrchestrationContext, Registry,
    RetryPolicy, TaskOptions, select, when_all, when_any,
};

use super::{Feature, row};
use crate::backend::Hub;

pub fn features() -> Vec<Feature> {
    vec![
        row!("chaining", chain_registry, chaining),
        row!("fan-out", fan_registry, fan_out),
        row!("timers", timer_registry, timers),
        row!("retries", retry_registry, retries),
        row!("failures", failure_registry, failures),
        row!("uuids-and-clock", clock_registry, uuids_and_clock),
        row!("large-payloads", payload_registry, large_payloads),
        row!("long-history", chain_registry, long_history),
    ]
}

const ADD_ONE: Activity<u64, u64> = Activity::new("add-one");
const CHAIN: Orchestration<(u64, u64), u64> = Orchestration::new("chain");

async fn chain(ctx: OrchestrationContext, (start, steps): (u64, u64)) -> Result<u64, Failure> {
    let mut value = start;
    for _ in 0..steps {
        value = ctx.call_activity(&ADD_ONE, &value).await?;
    }
    Ok(value)
}

fn chain_registry() -> Registry {
    Registry::new()
        .orchestration(&CHAIN, chain)
        .activity(&ADD_ONE, async |_: ActivityContext, value: u64| {
            Ok(value + 1)
        })
}

async fn chaining(hub: Hub) {
    assert_eq!(hub.run(&CHAIN, &(10, 5)).await, 15);
}

async fn long_history(hub: Hub) {
    assert_eq!(hub.run(&CHAIN, &(0, 200)).await, 200);
}

const SQUARE: Activity<u64, u64> = Activity::new("square");
const SPREAD: Orchestration<u64, (Vec<u64>, usize)> = Orchestration::new("spread");

async fn spread(ctx: OrchestrationContext, count: u64) -> Result<(Vec<u64>, usize), Failure> {
    let squares = when_all((0..count).map(|n| ctx.call_activity(&SQUARE, &n))).await?;
    let (first, square) = when_any([7, 7].map(|n| ctx.call_activity(&SQUARE, &n))).await;
    assert_eq!(square?, 49);
    Ok((squares, first))
}

fn fan_registry() -> Registry {
    Registry::new()
        .orchestration(&SPREAD, spread)
        .activity(&SQUARE, async |_: ActivityContext, value: u64| {
            Ok(value * value)
        })
}

async fn fan_out(hub: Hub) {
    let (squares, first) = hub.run(&SPREAD, &50).await;
    assert_eq!(squares, (0..50).map(|n| n * n).collect::<Vec<_>>());
    assert!(first < 2);
}

const SLEEP: Orchestration<u64, i64> = Orchestration::new("sleep");
const RACE: Orchestration<(), String> = Orchestration::new("race");

async fn sleep(ctx: OrchestrationContext, milliseconds: u64) -> Result<i64, Failure> {
    let before = ctx.current_utc();
    ctx.create_timer(Duration::from_millis(milliseconds)).await;
    Ok((ctx.current_utc() - before).num_milliseconds())
}

async fn race(ctx: OrchestrationContext, (): ()) -> Result<String, Failure> {
    let short = ctx.create_timer(Duration::from_millis(300));
    let long = ctx.create_timer(Duration::from_secs(3_600));
    match select(long, short).await {
        Either::Left(_) => Ok("the long one".to_owned()),
        Either::Right(_) => Ok("the short one".to_owned()),
    }
}

fn timer_registry() -> Registry {
    Registry::new()
        .orchestration(&SLEEP, sleep)
        .orchestration(&RACE, race)
}

async fn timers(hub: Hub) {
    let slept = hub.run(&SLEEP, &1_200).await;
    assert!(slept >= 1_200, "slept {slept} ms");
    hub.run(&SLEEP, &0).await;
    assert_eq!(hub.run(&RACE, &()).await, "the short one");
}

const FLAKY: Activity<(String, u32), u32> = Activity::new("flaky");
const PERSIST: Orchestration<(String, u32), u32> = Orchestration::new("persist");

async fn persist(ctx: OrchestrationContext, order: (String, u32)) -> Result<u32, Failure> {
    let mut retry = RetryPolicy::new(3, Duration::from_millis(100));
    retry.backoff = 2.0;
    let options = TaskOptions::new().retry(retry);
    Ok(ctx.call_activity_with(&FLAKY, &order, options).await?)
}

fn retry_registry() -> Registry {
    let attempts = std::sync::Mutex::new(std::collections::HashMap::<String, u32>::new());
    let flaky = move |_: ActivityContext, (key, needed): (String, u32)| {
        let mut attempts = attempts.lock().unwrap();
        let attempt = attempts.entry(key).or_default();
        *attempt += 1;
        let outcome = match *attempt {
            attempt if attempt >= needed => Ok(attempt),
            attempt => Err(Failure::new("TooEarly", format!("attempt {attempt}"))),
        };
        std::future::ready(if needed == u32::MAX {
            outcome.map_err(Failure::permanent)
        } else {
            outcome
        })
    };
    Registry::new()
        .orchestration(&PERSIST, persist)
        .activity(&FLAKY, flaky)
}

async fn retries(hub: Hub) {
    let key = crate::backend::fresh("third");
    assert_eq!(hub.run(&PERSIST, &(key, 3)).await, 3);
    let failing = |key: &'static str, needed: u32| {
        let hub = hub.clone();
        async move {
            let id = hub
                .start(&PERSIST, &(crate::backend::fresh(key), needed))
                .await;
            let state = hub.end(&id).await;
            assert_eq!(state.status, Status::Failed);
            state.failure.unwrap().message
        }
    };
    let exhausted = failing("never", 9).await;
    assert!(exhausted.contains("attempt 3"), "{exhausted}");
    let permanent = failing("permanent", u32::MAX).await;
    assert!(permanent.contains("attempt 1"), "{permanent}");
}

const BREAK: Activity<(), ()> = Activity::new("break");
const PANIC: Activity<(), ()> = Activity::new("panic");
const NOBODY: Activity<(), ()> = Activity::new("nobody-has-this");
const TRY: Orchestration<u8, String> = Orchestration::new("try");
const UNKNOWN: Orchestration<(), ()> = Orchestration::new("nobody-has-this-either");

async fn attempt(ctx: OrchestrationContext, which: u8) -> Result<String, Failure> {
    let called = match which {
        0 => ctx.call_activity(&BREAK, &()).await,
        1 => ctx.call_activity(&PANIC, &()).await,
        2 => ctx.call_activity(&NOBODY, &()).await,
        _ => return Err(Failure::new("OutOfRange", "the orchestration itself fails")),
    };
    match called {
        Ok(()) => Ok("nothing failed".to_owned()),
        Err(error) => Ok(error
            .failure()
            .map(|details| format!("{}: {}", details.error_type, details.message))
            .unwrap_or_default()),
    }
}

fn failure_registry() -> Registry {
    Registry::new()
        .orchestration(&TRY, attempt)
        .activity(&BREAK, async |_: ActivityContext, (): ()| {
            Err(Failure::new("Broken", "on purpose"))
        })
        .activity(&PANIC, async |_: ActivityContext, (): ()| {
            panic!("out of bounds, on purpose")
        })
}

async fn failures(hub: Hub) {
    assert_eq!(hub.run(&TRY, &0).await, "Broken: on purpose");
    let panicked = hub.run(&TRY, &1).await;
    assert!(panicked.contains("out of bounds"), "{panicked}");
    let unknown = hub.run(&TRY, &2).await;
    assert!(unknown.contains("nobody-has-this"), "{unknown}");
    let id = hub.start(&TRY, &3).await;
    let state = hub.end(&id).await;
    assert_eq!(state.status, Status::Failed);
    let failure = state.failure.unwrap();
    assert_eq!(failure.error_type, "OutOfRange");
    assert!(failure.message.contains("itself fails"), "{failure}");
    let id = hub.start(&UNKNOWN, &()).await;
    assert_eq!(hub.end(&id).await.status, Status::Failed);
}

const STAMP: Orchestration<(), Vec<String>> = Orchestration::new("stamp");

async fn stamp(ctx: OrchestrationContext, (): ()) -> Result<Vec<String>, Failure> {
    let first = ctx.new_uuid().to_string();
    ctx.call_activity(&ADD_ONE, &1).await?;
    Ok(vec![
        first,
        ctx.new_uuid().to_string(),
        ctx.current_utc().to_rfc3339(),
    ])
}

fn clock_registry() -> Registry {
    chain_registry().orchestration(&STAMP, stamp)
}

async fn uuids_and_clock(hub: Hub) {
    let stamps = hub.run(&STAMP, &()).await;
    assert_ne!(stamps[0], stamps[1]);
    let at: chrono::DateTime<chrono::Utc> = stamps[2].parse().unwrap();
    let age = (chrono::Utc::now() - at).num_seconds();
    assert!((-5..60).contains(&age), "the clock is {age} s off");
}

const ECHO: Activity<String, String> = Activity::new("echo");
const CARRY: Orchestration<String, String> = Orchestration::new("carry");

fn payload_registry() -> Registry {
    Registry::new()
        .activity(&ECHO, async |_: ActivityContext, text: String| Ok(text))
        .orchestration(&CARRY, async |ctx: OrchestrationContext, text: String| {
            Ok(ctx.call_activity(&ECHO, &text).await?)
        })
}

async fn large_payloads(hub: Hub) {
    for text in [
        String::new(),
        "äöü \u{1F600} \0 \"".to_owned(),
        "x".repeat(700_000),
    ] {
        assert!(
            hub.run(&CARRY, &text).await == text,
            "a payload changed on the way"
        );
    }
}
