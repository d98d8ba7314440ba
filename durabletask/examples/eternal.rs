//! Eternal orchestration: each round continues as new, so that the history
//! never grows. Events that come meanwhile are carried over.
//!
//! `cargo run -p durabletask-sdk --example eternal` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::time::Duration;

use durabletask::testing::TestHub;
use durabletask::{
    Activity, Either, Event, Failure, Orchestration, OrchestrationContext, Outcome, Registry,
    select,
};
use serde_json::json;

const CLEAN_UP: Activity<(), u32> = Activity::new("clean-up");
const STOP: Event<()> = Event::new("stop");
/// The input and the output are how many files were removed so far.
const JANITOR: Orchestration<u32, u32> = Orchestration::new("janitor");

const INTERVAL: Duration = Duration::from_secs(3600);

async fn janitor(ctx: OrchestrationContext, removed: u32) -> Result<Outcome<u32, u32>, Failure> {
    let removed = removed + ctx.call_activity(&CLEAN_UP, &()).await?;
    let stopped = select(ctx.wait_for_event(&STOP), ctx.create_timer(INTERVAL)).await;
    Ok(match stopped {
        Either::Left(_) => Outcome::Done(removed),
        Either::Right(()) => Outcome::continue_as_new(removed),
    })
}

/// Cleans up every hour until it is asked to stop.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let after = INTERVAL * 4 + INTERVAL / 2;
    let run = TestHub::new(Registry::new().continuing(&JANITOR, janitor))
        .raise_event(after, &STOP, &())
        .run(&JANITOR, &0, |_, _| Ok(json!(2)));
    let removed = run.output()?;
    println!(
        "{removed} files in {} rounds; the last history has {} events",
        run.executions,
        run.history.len()
    );
    assert_eq!((removed, run.executions), (10, 5));
    Ok(())
}
