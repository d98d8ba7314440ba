//! Monitor: polls something with growing intervals until it is done or the
//! deadline has come. While it sleeps it costs nothing.
//!
//! `cargo run -p durabletask-sdk --example monitor` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::time::Duration;

use durabletask::testing::TestHub;
use durabletask::{Activity, Failure, Orchestration, OrchestrationContext, Registry};
use serde_json::json;

const JOB_IS_DONE: Activity<String, bool> = Activity::new("job-is-done");
const WATCH_JOB: Orchestration<String, bool> = Orchestration::new("watch-job");

const FIRST_INTERVAL: Duration = Duration::from_secs(30);
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);
const DEADLINE: Duration = Duration::from_secs(24 * 3600);

async fn watch_job(ctx: OrchestrationContext, job: String) -> Result<bool, Failure> {
    // The replay clock, never the wall clock.
    let deadline = ctx.current_utc() + DEADLINE;
    let mut interval = FIRST_INTERVAL;
    while ctx.current_utc() < deadline {
        if ctx.call_activity(&JOB_IS_DONE, &job).await? {
            return Ok(true);
        }
        ctx.create_timer(interval).await;
        interval = (interval * 2).min(LONGEST_INTERVAL);
    }
    Ok(false)
}

/// Watches a job that is done at the fifth look, and one that never is.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hub = TestHub::new(Registry::new().orchestration(&WATCH_JOB, watch_job));
    let watch = |looks_needed: usize| {
        let mut looks = 0;
        let run = hub.run(&WATCH_JOB, "job-1", |_, _| {
            looks += 1;
            Ok(json!(looks >= looks_needed))
        });
        run.output().map(|done| (done, run.calls.len()))
    };
    assert_eq!(watch(5)?, (true, 5));
    let (done, looks) = watch(usize::MAX)?;
    println!("given up after {looks} looks in a day");
    assert!(!done && looks > 24);
    Ok(())
}
