//! Three events in any order, processed in the right one, all within a limit. After Temporal's
//! sample `await-signals`.
//!
//! `cargo run -p durabletask-sdk --example await_signals` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::time::Duration;

use durabletask::testing::{TestHub, TestRun};
use durabletask::{
    Activity, Event, Failure, Orchestration, OrchestrationContext, Registry, TaskError,
};
use serde_json::json;

const PROCESS: Activity<String, ()> = Activity::new("process");
const PROCESS_ALL: Orchestration<(), Vec<String>> = Orchestration::new("await-signals");

const LIMIT: Duration = Duration::from_secs(3600);

fn signal(number: u32) -> Event<String> {
    Event::named(format!("signal-{number}"))
}

async fn in_order(ctx: &OrchestrationContext) -> Result<Vec<String>, TaskError> {
    let mut processed = Vec::new();
    for number in 1..=3 {
        // One that came before is kept until it is waited for.
        let payload = ctx.wait_for_event(&signal(number)).await?;
        ctx.call_activity(&PROCESS, &payload).await?;
        processed.push(payload);
    }
    Ok(processed)
}

async fn process_all(ctx: OrchestrationContext, (): ()) -> Result<Vec<String>, Failure> {
    match ctx.within(LIMIT, in_order(&ctx)).await {
        Some(processed) => Ok(processed?),
        None => Err(Failure::new("TooLate", "not all signals came within an hour").permanent()),
    }
}

/// The signals come in the order 3, 1, 2; and a second time without the last one.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hub = TestHub::new(Registry::new().orchestration(&PROCESS_ALL, process_all))
        .raise_event(Duration::from_secs(60), &signal(3), "three")
        .raise_event(Duration::from_secs(120), &signal(1), "one");
    let run = |hub: TestHub| -> TestRun<Vec<String>> {
        hub.run(&PROCESS_ALL, &(), |_, _| Ok(json!(null)))
    };
    let late = run(hub.clone());
    assert!(matches!(late.output(), Err(failure) if failure.error_type == "TooLate"));

    let all = run(hub.raise_event(Duration::from_secs(180), &signal(2), "two"));
    println!("{:?}", all.output()?);
    assert_eq!(all.output()?, ["one", "two", "three"]);
    Ok(())
}
