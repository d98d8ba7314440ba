//! Workers that do not take everything: filters and versions.

use durabletask::client::{Recursive, Status};
use durabletask::worker::{OnVersionMismatch, VersionMatch, Versioning, WorkItemFilters};
use durabletask::{Activity, ActivityContext, Orchestration, OrchestrationContext, Registry};

use super::{Feature, row};
use crate::backend::{Hub, Running};

pub fn features() -> Vec<Feature> {
    vec![
        row!("filters", Registry::new, filters),
        row!("versioning", Registry::new, versioning),
        row!("version-reject", Registry::new, version_reject),
    ]
}

const ON_THE_RIGHT: Activity<(), String> = Activity::new("on-the-right");
const LEFT: Orchestration<(), String> = Orchestration::new("left");
const NOWHERE: Orchestration<(), ()> = Orchestration::new("nowhere");

async fn filters(hub: Hub) {
    let left = Registry::new().orchestration(&LEFT, async |ctx: OrchestrationContext, (): ()| {
        Ok(ctx.call_activity(&ON_THE_RIGHT, &()).await?)
    });
    let right = Registry::new().activity(&ON_THE_RIGHT, async |_: ActivityContext, (): ()| {
        Ok("right".to_owned())
    });
    let registered = |builder: durabletask::worker::WorkerBuilder| {
        builder.work_item_filters(WorkItemFilters::Registered)
    };
    let left = hub.worker(left, registered);
    let id = hub.start(&LEFT, &()).await;
    let nowhere = hub.start(&NOWHERE, &()).await;
    hub.begun(&id).await;
    hub.stays_open(&id).await;
    let right = hub.worker(right, registered);
    assert_eq!(hub.output::<String>(&id).await, "right");
    // What no worker asked for stays pending.
    assert_eq!(hub.get(&nowhere).await.unwrap().status, Status::Pending);
    left.stop().await;
    right.stop().await;
    // Left behind, it would be every later worker's.
    let terminated = hub.client.terminate(&nowhere, "", Recursive::No).await;
    terminated.unwrap();
}

const VERSIONED: Orchestration<(), Option<String>> = Orchestration::new("versioned");

fn versioned(
    hub: &Hub,
    version: &str,
    matching: VersionMatch,
    on_mismatch: OnVersionMismatch,
) -> Running {
    let registry = Registry::new()
        .orchestration(&VERSIONED, async |ctx: OrchestrationContext, (): ()| {
            Ok(ctx.version().map(str::to_owned))
        });
    let versioning = Versioning::new(version)
        .matching(matching)
        .on_mismatch(on_mismatch);
    hub.worker(registry, |builder| builder.versioning(versioning))
}

async fn start(hub: &Hub, version: &str) -> String {
    let start = hub.client.start(&VERSIONED, &()).version(version);
    start.send().await.unwrap().into_id()
}

async fn versioning(hub: Hub) {
    let fail = OnVersionMismatch::Fail;
    let worker = versioned(&hub, "1.2.0", VersionMatch::CurrentOrOlder, fail);
    for version in ["1.2.0", "1.1.0"] {
        let id = start(&hub, version).await;
        let seen = hub.output::<Option<String>>(&id).await;
        assert_eq!(seen.as_deref(), Some(version));
    }
    let newer = hub.end(&start(&hub, "1.3.0").await).await;
    assert_eq!(newer.failure.unwrap().error_type, "VersionMismatch");
    worker.stop().await;
}

/// A worker that rejects gives the work back, and one of the right version takes it.
async fn version_reject(hub: Hub) {
    let reject = OnVersionMismatch::Reject;
    let wrong = versioned(&hub, "1.0.0", VersionMatch::Strict, reject);
    let id = start(&hub, "2.0.0").await;
    hub.stays_open(&id).await;
    wrong.stop().await;
    let right = versioned(&hub, "2.0.0", VersionMatch::Strict, reject);
    let seen = hub.output::<Option<String>>(&id).await;
    assert_eq!(seen.as_deref(), Some("2.0.0"));
    right.stop().await;
}
