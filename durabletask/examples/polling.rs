//! Three ways to poll a service that is not ready yet. Often: a loop in an activity, which says
//! that it lives by heartbeats. Seldom: a retry policy that does not back off. In sequence: a
//! child that continues as new, so that no history grows. After Temporal's sample `polling`.
//!
//! `cargo run -p durabletask-sdk --example polling` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::time::Duration;

use durabletask::testing::TestHub;
use durabletask::{
    Activity, ActivityContext, Failure, Orchestration, OrchestrationContext, Outcome, Registry,
    RetryPolicy, TaskOptions,
};
use serde_json::json;

/// Polls every second, in the activity itself.
const POLL_OFTEN: Activity<String, String> = Activity::new("poll-often");
/// Polls once, and fails while the service is not ready.
const POLL_ONCE: Activity<String, String> = Activity::new("poll-once");
const OFTEN: Orchestration<String, String> = Orchestration::new("often");
const SELDOM: Orchestration<String, String> = Orchestration::new("seldom");
const IN_SEQUENCE: Orchestration<String, String> = Orchestration::new("in-sequence");
const ROUND: Orchestration<String, String> = Orchestration::new("round");

/// The activity for a worker; in memory a stand-in takes its place.
async fn poll_often(ctx: ActivityContext, service: String) -> Result<String, Failure> {
    loop {
        if let Some(answer) = ask(&service).await {
            return Ok(answer);
        }
        ctx.heartbeat(&()).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn ask(service: &str) -> Option<String> {
    Some(format!("{service} is ready"))
}

async fn often(ctx: OrchestrationContext, service: String) -> Result<String, Failure> {
    // A worker that dies is noticed within seconds.
    let options = TaskOptions::new()
        .heartbeat_timeout(Duration::from_secs(5))
        .retry(RetryPolicy::new(10, Duration::from_secs(1)));
    Ok(ctx
        .call_activity_with(&POLL_OFTEN, &service, options)
        .await?)
}

async fn seldom(ctx: OrchestrationContext, service: String) -> Result<String, Failure> {
    let every_minute = RetryPolicy::new(1_000, Duration::from_secs(60)).backoff(1.0);
    let options = TaskOptions::new().retry(every_minute);
    Ok(ctx
        .call_activity_with(&POLL_ONCE, &service, options)
        .await?)
}

/// Polls up to five times, ten seconds apart, and then with a new history.
async fn round(
    ctx: OrchestrationContext,
    service: String,
) -> Result<Outcome<String, String>, Failure> {
    for _ in 0..5 {
        if let Ok(answer) = ctx.call_activity(&POLL_ONCE, &service).await {
            return Ok(Outcome::Done(answer));
        }
        ctx.create_timer(Duration::from_secs(10)).await;
    }
    Ok(Outcome::continue_as_new(service))
}

async fn in_sequence(ctx: OrchestrationContext, service: String) -> Result<String, Failure> {
    Ok(ctx.call_sub_orchestration(&ROUND, &service).await?)
}

/// A service that is ready at the thirteenth time.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let registry = Registry::new()
        .activity(&POLL_OFTEN, poll_often)
        .orchestration(&OFTEN, often)
        .orchestration(&SELDOM, seldom)
        .orchestration(&IN_SEQUENCE, in_sequence)
        .continuing(&ROUND, round);
    let hub = TestHub::new(registry)
        .activity_fails(
            &POLL_ONCE,
            1..=12,
            Failure::new("NotReady", "come back later"),
        )
        // Its first worker falls silent.
        .activity_falls_silent(&POLL_OFTEN, [1]);
    for (polls, calls) in [(&OFTEN, 2), (&SELDOM, 13), (&IN_SEQUENCE, 13)] {
        let run = hub.run(polls, "the printer", |_, _| Ok(json!("it is ready")));
        println!(
            "{}: {} after {} calls",
            polls.name(),
            run.output()?,
            run.calls.len()
        );
        assert_eq!(
            (run.output()?.as_str(), run.calls.len()),
            ("it is ready", calls)
        );
    }
    Ok(())
}
