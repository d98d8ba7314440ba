//! One at a time: orchestrations that need the same thing take its lock, in the order in which they
//! ask for it. After Temporal's sample `mutex`, whose lock is a workflow; here entities are locked.
//!
//! `cargo run -p durabletask-sdk --example mutex` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use durabletask::testing::TestHub;
use durabletask::{
    Activity, Entity, EntityContext, EntityHandlers, Failure, Operation, Orchestration,
    OrchestrationContext, Registry,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What is locked, and how often it was.
#[derive(Default, Serialize, Deserialize)]
struct Resource {
    uses: u32,
}

const RESOURCE: Entity<Resource> = Entity::new("resource");
const USE: Operation<Resource, (), u32> = Operation::new("use");
const CRITICAL: Activity<String, String> = Activity::new("critical-work");
const WORK: Orchestration<String, (u32, String)> = Orchestration::new("work");

fn use_it(resource: &mut Resource, _: &EntityContext, (): ()) -> Result<u32, Failure> {
    resource.uses += 1;
    Ok(resource.uses)
}

async fn work(ctx: OrchestrationContext, name: String) -> Result<(u32, String), Failure> {
    let resource = RESOURCE.id(&name);
    let section = ctx.lock_entities([&resource]).await?;
    // Nobody else is in here with the same name until the section is dropped.
    let uses = ctx.call_entity(&resource, &USE, &()).await?;
    let done = ctx.call_activity(&CRITICAL, &name).await?;
    section.release();
    Ok((uses, done))
}

/// Does the work on a resource that was used twice before.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let registry = Registry::new()
        .orchestration(&WORK, work)
        .entity(&RESOURCE, EntityHandlers::new().operation(&USE, use_it));
    let run = TestHub::new(registry)
        .entity_state(&RESOURCE.id("printer"), &Resource { uses: 2 })
        .run(&WORK, "printer", |_, _| Ok(json!("printed")));
    println!("{:?}", run.output()?);
    assert_eq!(run.output()?, (3, "printed".to_owned()));
    Ok(())
}
