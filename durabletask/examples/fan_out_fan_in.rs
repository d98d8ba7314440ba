//! Fan-out/fan-in: calls are scheduled when they are made, so a loop of calls
//! runs in parallel; `when_all` waits for all of them.
//!
//! `cargo run -p durabletask-sdk --example fan_out_fan_in` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::time::Duration;

use durabletask::testing::TestHub;
use durabletask::{
    Activity, Failure, Orchestration, OrchestrationContext, Registry, RetryPolicy, TaskOptions,
    when_all,
};
use serde_json::json;

const COUNT_WORDS: Activity<String, usize> = Activity::new("count-words");
const COUNT_ALL: Orchestration<Vec<String>, usize> = Orchestration::new("count-all");

/// Up to four attempts, after 5, 10 and 20 seconds.
const PATIENT: RetryPolicy = RetryPolicy::new(4, Duration::from_secs(5)).backoff(2.0);

async fn count_all(ctx: OrchestrationContext, pages: Vec<String>) -> Result<usize, Failure> {
    let counts = pages.iter().map(|page| {
        let options = TaskOptions::new()
            .retry(PATIENT)
            .start_to_close(Duration::from_secs(60));
        ctx.call_activity_with(&COUNT_WORDS, page, options)
    });
    Ok(when_all(counts).await?.into_iter().sum())
}

/// Counts the words of three pages; one of them is not there at once.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hub = TestHub::new(Registry::new().orchestration(&COUNT_ALL, count_all));
    let pages = ["a b c", "d e", "f"].map(str::to_owned).to_vec();
    let mut away = 2;
    let run = hub.run(&COUNT_ALL, &pages, |_, page| {
        let page = page.as_str().unwrap_or_default();
        if page == "d e" && away > 0 {
            away -= 1;
            return Err(Failure::new("Busy", "come back later"));
        }
        Ok(json!(page.split(' ').count()))
    });
    let words = run.output()?;
    println!("{words} words after {} calls", run.calls.len());
    assert_eq!((words, run.calls.len()), (6, 5));
    Ok(())
}
