//! Errors of other crates in handlers, and failures in other functions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use anyhow::Context as _;
use durabletask::serde_json::json;
use durabletask::testing::TestHub;
use durabletask::{Activity, Failure, Orchestration, OrchestrationContext, Registry};

const CHARGE: Activity<u32, u32> = Activity::new("charge");
const STORY: Orchestration<u32, u32> = Orchestration::new("story");

async fn charge(ctx: &OrchestrationContext, n: u32) -> anyhow::Result<u32> {
    let charged = ctx.call_activity(&CHARGE, &n).await.context("charging")?;
    anyhow::ensure!(charged > 0, "nothing was charged");
    Ok(charged)
}

fn registry() -> Registry {
    Registry::new().orchestration(&STORY, async |ctx: OrchestrationContext, n: u32| {
        Ok(charge(&ctx, n).await?)
    })
}

#[test]
fn anyhow_mixes_with_failures_in_both_directions() {
    let run = TestHub::new(registry()).run(&STORY, &7, |_, _| Ok(json!(0)));
    assert_eq!(run.failure.unwrap().message, "nothing was charged");

    fn fails() -> Result<(), Failure> {
        Err("no luck".into())
    }
    fn outer() -> anyhow::Result<()> {
        fails().map_err(Failure::into_details)?;
        Ok(())
    }
    assert_eq!(outer().unwrap_err().to_string(), "Error: no luck");
}

#[test]
fn what_is_permanent_stays_so_through_a_context_of_anyhow() {
    let run = TestHub::new(registry()).run(&STORY, &7, |_, _| {
        Err(Failure::new("Declined", "the card is declined").permanent())
    });
    let failure = run.failure.unwrap();
    assert_eq!(failure.message, "charging");
    assert!(failure.non_retriable);
    assert!(
        failure.root_cause().message.contains("declined"),
        "{failure:?}"
    );
}
