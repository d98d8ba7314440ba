//! Versioning: new code for new instances, while the old ones end as they began.
//! The version is given at the start and stays with the instance.
//!
//! `cargo run -p durabletask-sdk --example versioning` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use durabletask::testing::TestHub;
use durabletask::worker::{OnVersionMismatch, VersionMatch, Versioning};
use durabletask::{
    Activity, Connection, Failure, Orchestration, OrchestrationContext, Registry, Worker,
};
use serde_json::json;

const PACK: Activity<String, ()> = Activity::new("pack");
const INSURE: Activity<String, ()> = Activity::new("insure");
const SHIP: Activity<String, ()> = Activity::new("ship");
const DELIVER: Orchestration<String, ()> = Orchestration::new("deliver");

async fn deliver(ctx: OrchestrationContext, parcel: String) -> Result<(), Failure> {
    ctx.call_activity(&PACK, &parcel).await?;
    // Instances of version 1 have histories without this step, and they go on without it.
    if ctx.version().is_some_and(|version| version != "1") {
        ctx.call_activity(&INSURE, &parcel).await?;
    }
    Ok(ctx.call_activity(&SHIP, &parcel).await?)
}

/// From version 3 on everything is different, so the code is separate.
async fn deliver_by_drone(ctx: OrchestrationContext, parcel: String) -> Result<(), Failure> {
    Ok(ctx.call_activity(&SHIP, &parcel).await?)
}

fn registry() -> Registry {
    Registry::new()
        .orchestration_version(&DELIVER, "1", deliver)
        .orchestration_version(&DELIVER, "2", deliver)
        .orchestration_version(&DELIVER, "3", deliver_by_drone)
}

/// The calls of an instance of the given version.
fn calls(version: &str) -> Vec<String> {
    TestHub::new(registry())
        .version(version)
        .run(&DELIVER, "parcel-1", |_, _| Ok(json!(null)))
        .calls
        .into_iter()
        .map(|(name, _)| name)
        .collect()
}

/// Shows both paths, and a worker that leaves newer instances to newer workers.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{:?}, {:?}, {:?}", calls("1"), calls("2"), calls("3"));
    assert_eq!(calls("1"), ["pack", "ship"]);
    assert_eq!(calls("2"), ["pack", "insure", "ship"]);
    assert_eq!(calls("3"), ["ship"]);

    let connection = Connection::insecure("http://127.0.0.1:8080", "default")?;
    let versioning = Versioning::new("2")
        .matching(VersionMatch::CurrentOrOlder)
        .on_mismatch(OnVersionMismatch::Reject);
    assert!(versioning.admits("1") && !versioning.admits("3"));
    let worker = Worker::builder(&connection)
        .registry(registry())
        .versioning(versioning)
        .build()?;
    println!("{worker:?}");
    Ok(())
}
