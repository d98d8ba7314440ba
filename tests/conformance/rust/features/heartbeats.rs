//! Heartbeats of activities: details that outlive an attempt, and a limit to silence.

use std::time::Duration;

use durabletask::{
    Activity, ActivityContext, Failure, Orchestration, OrchestrationContext, Registry, RetryPolicy,
    TaskOptions,
};

use super::{Feature, row};
use crate::backend::Hub;

pub fn features() -> Vec<Feature> {
    vec![
        row!("heartbeats", registry, heartbeats),
        row!("heartbeat-timeout", registry, heartbeat_timeout),
    ]
}

const COPY: Activity<u32, u32> = Activity::new("copy");
const BACK_UP: Orchestration<u32, u32> = Orchestration::new("back-up");

/// Copies half of what is left and fails, until nothing is left; yields where it began.
async fn copy(ctx: ActivityContext, chunks: u32) -> Result<u32, Failure> {
    let done: u32 = ctx.last_heartbeat().await?.unwrap_or(0);
    if done + 1 >= chunks {
        return Ok(done);
    }
    ctx.heartbeat(&(done + (chunks - done) / 2)).await?;
    Err("the disk is full".into())
}

async fn back_up(ctx: OrchestrationContext, chunks: u32) -> Result<u32, Failure> {
    let retried = TaskOptions::new().retry(RetryPolicy::new(5, Duration::from_millis(10)));
    Ok(ctx.call_activity_with(&COPY, &chunks, retried).await?)
}

async fn heartbeats(hub: Hub) {
    // 0, 4, 6, 7.
    assert_eq!(hub.run(&BACK_UP, &8).await, 7);
}

const FREEZE: Activity<(), ()> = Activity::new("freeze");
const WATCH: Orchestration<(), bool> = Orchestration::new("watch");

/// Reports once, and is never heard of again.
async fn freeze(ctx: ActivityContext, (): ()) -> Result<(), Failure> {
    ctx.heartbeat(&()).await?;
    std::future::pending().await
}

async fn watch(ctx: OrchestrationContext, (): ()) -> Result<bool, Failure> {
    let watched = TaskOptions::new().heartbeat_timeout(Duration::from_millis(500));
    let ended = ctx.call_activity_with(&FREEZE, &(), watched).await;
    let failure = ended.err().and_then(|error| error.failure().cloned());
    Ok(failure.is_some_and(|failure| failure.is_heartbeat_timeout()))
}

fn registry() -> Registry {
    Registry::new()
        .activity(&COPY, copy)
        .activity(&FREEZE, freeze)
        .orchestration(&BACK_UP, back_up)
        .orchestration(&WATCH, watch)
}

async fn heartbeat_timeout(hub: Hub) {
    assert!(hub.run(&WATCH, &()).await);
}
