//! Feeds: what an instance publishes, and a client that follows.

use std::time::Duration;

use durabletask::{
    Activity, ActivityContext, Failure, Feed, Orchestration, OrchestrationContext, Registry,
};

use super::{Feature, row};
use crate::backend::Hub;

pub fn features() -> Vec<Feature> {
    vec![row!("feed", registry, feed)]
}

const TICKS: Feed<u64> = Feed::new("ticks");
const TELL: Activity<u64, ()> = Activity::new("tell");
const STORY: Orchestration<u64, ()> = Orchestration::new("story");

async fn tell(ctx: ActivityContext, count: u64) -> Result<(), Failure> {
    // The second time under old numbers.
    for number in (0..count).chain(0..count) {
        ctx.publish(&TICKS, number, &(count + number)).await?;
    }
    Ok(())
}

async fn story(ctx: OrchestrationContext, count: u64) -> Result<(), Failure> {
    for number in 0..count {
        ctx.publish(&TICKS, &number)?;
    }
    Ok(ctx.call_activity(&TELL, &count).await?)
}

fn registry() -> Registry {
    Registry::new()
        .orchestration(&STORY, story)
        .activity(&TELL, tell)
}

async fn feed(hub: Hub) {
    let id = hub.start(&STORY, &5).await;
    let ticks = hub
        .client
        .follow(&id, &TICKS, 0, Duration::from_millis(50))
        .collect()
        .await
        .unwrap();
    let ticks: Vec<_> = ticks.iter().map(|tick| (tick.offset, tick.value)).collect();
    assert_eq!(ticks, (0..10).map(|n| (n, n)).collect::<Vec<_>>());
}
