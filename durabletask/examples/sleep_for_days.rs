//! An orchestration that sleeps for a month at a time, until it is asked to end. After Temporal's
//! sample `sleep_for_days`.
//!
//! `cargo run -p durabletask-sdk --example sleep_for_days` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::time::Duration;

use durabletask::testing::TestHub;
use durabletask::{
    Activity, Either, Event, Failure, Orchestration, OrchestrationContext, Registry, select,
};
use serde_json::json;

const SEND_EMAIL: Activity<String, ()> = Activity::new("send-email");
const COMPLETE: Event<()> = Event::new("complete");
const SLEEP: Orchestration<(), String> = Orchestration::new("sleep-for-days");

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn sleep_for_days(ctx: OrchestrationContext, (): ()) -> Result<String, Failure> {
    loop {
        let text = "30 days until the next email";
        ctx.call_activity(&SEND_EMAIL, text).await?;
        let complete = ctx.wait_for_event(&COMPLETE);
        if let Either::Left(_) = select(complete, ctx.create_timer(30 * DAY)).await {
            return Ok("done!".to_owned());
        }
    }
}

/// Sleeps through a hundred days.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let run = TestHub::new(Registry::new().orchestration(&SLEEP, sleep_for_days))
        .raise_event(100 * DAY, &COMPLETE, &())
        .run(&SLEEP, &(), |_, _| Ok(json!(null)));
    println!("{} after {} emails", run.output()?, run.calls.len());
    assert_eq!((run.output()?.as_str(), run.calls.len()), ("done!", 4));
    Ok(())
}
