//! Sliding window: many pieces of work, a few of them at once; the next begins when one ends.
//! What fails is counted and stops no other.
//!
//! `cargo run -p durabletask-sdk --example sliding_window` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::time::Duration;

use durabletask::testing::TestHub;
use durabletask::{Activity, Failure, Orchestration, OrchestrationContext, Registry, fan_out};
use serde_json::json;

const CONVERT: Activity<u32, u32> = Activity::new("convert");
/// The input is how many records there are, the output how many were converted.
const CONVERT_ALL: Orchestration<u32, usize> = Orchestration::new("convert-all");

const WINDOW: usize = 3;

async fn convert_all(ctx: OrchestrationContext, records: u32) -> Result<usize, Failure> {
    let converted = fan_out(0..records, |record| ctx.call_activity(&CONVERT, &record))
        .at_most(WINDOW)
        .settled()
        .await;
    Ok(converted.iter().filter(|record| record.is_ok()).count())
}

/// Converts ten records, ten minutes each, three at a time; one is broken.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let run = TestHub::new(Registry::new().orchestration(&CONVERT_ALL, convert_all))
        .activity_takes(&CONVERT, Duration::from_secs(600))
        .run(&CONVERT_ALL, &10, |_, record| match record.as_u64() {
            Some(4) => Err("the record is broken".into()),
            _ => Ok(json!(1)),
        });
    let took = run.clock - durabletask::testing::epoch();
    println!(
        "{} converted in {} minutes",
        run.output()?,
        took.num_minutes()
    );
    assert_eq!((run.output()?, took.num_minutes()), (9, 40));
    Ok(())
}
