//! A long activity that says how far it is, and goes on from there when its worker has died. After
//! Temporal's sample `activity_heartbeating`.
//!
//! `cargo run -p durabletask-sdk --example activity_heartbeating` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::time::Duration;

use durabletask::testing::TestHub;
use durabletask::{
    Activity, ActivityContext, Failure, Orchestration, OrchestrationContext, Registry, RetryPolicy,
    TaskOptions,
};
use serde_json::json;

/// Processes records up to a number; the output is how many this run has processed.
const PROCESS: Activity<u32, u32> = Activity::new("process-records");
const PROCESS_ALL: Orchestration<u32, u32> = Orchestration::new("process-all");

async fn process(ctx: ActivityContext, records: u32) -> Result<u32, Failure> {
    let done: u32 = ctx.last_heartbeat().await?.unwrap_or(0);
    for record in done..records {
        // ... process this record
        if record % 100 == 99 {
            ctx.heartbeat(&(record + 1)).await?;
        }
    }
    Ok(records - done)
}

async fn process_all(ctx: OrchestrationContext, records: u32) -> Result<u32, Failure> {
    let options = TaskOptions::new()
        .heartbeat_timeout(Duration::from_secs(30))
        .retry(RetryPolicy::new(3, Duration::from_secs(1)));
    Ok(ctx.call_activity_with(&PROCESS, &records, options).await?)
}

/// The activity goes on from record 200, and the orchestration from a worker that fell silent.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let resumed =
        ActivityContext::new("process-records", "nightly", 0).with_last_heartbeat(&200)?;
    let processed = runtime.block_on(process(resumed, 250))?;
    println!("{processed} records were left");
    assert_eq!(processed, 50);

    let registry = Registry::new()
        .activity(&PROCESS, process)
        .orchestration(&PROCESS_ALL, process_all);
    let run = TestHub::new(registry)
        .activity_falls_silent(&PROCESS, [1])
        .run(&PROCESS_ALL, &250, |_, _| Ok(json!(50)));
    assert_eq!((run.output()?, run.calls.len()), (50, 2));
    Ok(())
}
