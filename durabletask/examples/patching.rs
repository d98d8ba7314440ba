//! Patching: a step is inserted into code that instances run. Those that have passed the
//! place go on without it, all others take it.
//!
//! `cargo run -p durabletask-sdk --example patching` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use durabletask::testing::{HistoryBuilder, TestHub, replay_history};
use durabletask::{Activity, Failure, Orchestration, OrchestrationContext, Registry};
use serde_json::json;

const PACK: Activity<String, ()> = Activity::new("pack");
const INSURE: Activity<String, ()> = Activity::new("insure");
const DELIVER: Orchestration<String, ()> = Orchestration::new("deliver");

async fn deliver(ctx: OrchestrationContext, parcel: String) -> Result<(), Failure> {
    if ctx.patched("insure-first") {
        ctx.call_activity(&INSURE, &parcel).await?;
    }
    Ok(ctx.call_activity(&PACK, &parcel).await?)
}

/// Runs a new instance, and replays one whose parcel was packed before the change.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let registry = Registry::new().orchestration(&DELIVER, deliver);
    let run = TestHub::new(registry.clone()).run(&DELIVER, "parcel-2", |_, _| Ok(json!(null)));
    run.output()?;
    let calls: Vec<&str> = run.calls.iter().map(|(name, _)| name.as_str()).collect();
    println!("a new instance calls {calls:?}");
    assert_eq!(calls, ["insure", "pack"]);

    let before = HistoryBuilder::new()
        .orchestrator_started()
        .execution_started("deliver", "\"parcel-1\"")
        .task_scheduled(0, "pack")
        .build();
    replay_history(registry, "parcel-1", &before)?;
    Ok(())
}
