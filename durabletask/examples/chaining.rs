//! Function chaining: each activity gets what the one before it yielded. A
//! crash between two of them repeats neither.
//!
//! `cargo run -p durabletask-sdk --example chaining` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use durabletask::testing::TestHub;
use durabletask::{Activity, Failure, Orchestration, OrchestrationContext, Registry};
use serde_json::json;

const EXTRACT: Activity<String, Vec<u32>> = Activity::new("extract");
const TRANSFORM: Activity<Vec<u32>, u32> = Activity::new("transform");
const LOAD: Activity<u32, String> = Activity::new("load");
const PIPELINE: Orchestration<String, String> = Orchestration::new("pipeline");

async fn pipeline(ctx: OrchestrationContext, source: String) -> Result<String, Failure> {
    let rows = ctx.call_activity(&EXTRACT, &source).await?;
    let total = ctx.call_activity(&TRANSFORM, &rows).await?;
    Ok(ctx.call_activity(&LOAD, &total).await?)
}

/// Runs the pipeline in memory, with stand-ins for the activities.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hub = TestHub::new(Registry::new().orchestration(&PIPELINE, pipeline));
    let run = hub.run(&PIPELINE, "orders.csv", |activity, input| {
        Ok(match activity {
            "extract" => json!([1, 2, 3]),
            "transform" => json!(
                input
                    .as_array()
                    .map_or(0, |rows| rows.iter().filter_map(|row| row.as_u64()).sum())
            ),
            _ => json!(format!("stored {input}")),
        })
    });
    let stored = run.output()?;
    println!("{stored}");
    assert_eq!(stored, "stored 6");
    Ok(())
}
