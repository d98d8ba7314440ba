//! Several activities at once, of which the first that answers counts. After Temporal's sample
//! `pickfirst`.
//!
//! `cargo run -p durabletask-sdk --example pick_first` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::time::Duration;

use durabletask::testing::TestHub;
use durabletask::{Activity, Failure, Orchestration, OrchestrationContext, Registry, when_any};
use serde_json::json;

const ASK_NORTH: Activity<String, String> = Activity::new("ask-north");
const ASK_SOUTH: Activity<String, String> = Activity::new("ask-south");
const PICK_FIRST: Orchestration<String, String> = Orchestration::new("pick-first");

async fn pick_first(ctx: OrchestrationContext, question: String) -> Result<String, Failure> {
    let asked = [&ASK_NORTH, &ASK_SOUTH].map(|office| ctx.call_activity(office, &question));
    // The other one is given up when this future ends.
    let (_, answer) = when_any(asked).await;
    Ok(answer?)
}

/// The southern office is faster.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let run = TestHub::new(Registry::new().orchestration(&PICK_FIRST, pick_first))
        .activity_takes(&ASK_NORTH, Duration::from_secs(20))
        .activity_takes(&ASK_SOUTH, Duration::from_secs(10))
        .run(&PICK_FIRST, "is it raining?", |office, _| Ok(json!(office)));
    println!("{} was first", run.output()?);
    assert_eq!(run.output()?, "ask-south");
    Ok(())
}
