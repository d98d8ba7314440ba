//! Ways to start an instance.

use std::time::Duration;

use chrono::Utc;
use durabletask::client::{IdReuse, Status};
use durabletask::{ClientError, Event, Orchestration, OrchestrationContext, Registry};

use super::{Feature, row};
use crate::backend::{Hub, fresh};

pub fn features() -> Vec<Feature> {
    vec![
        row!("scheduled-start", quick_registry, scheduled_start),
        row!("id-reuse", waiter_registry, id_reuse),
        row!("version-and-tags", quick_registry, version_and_tags),
    ]
}

const QUICK: Orchestration<(), Option<String>> = Orchestration::new("quick");

fn quick_registry() -> Registry {
    Registry::new().orchestration(&QUICK, async |ctx: OrchestrationContext, (): ()| {
        let seen = (
            ctx.version().map(str::to_owned),
            ctx.tags().get("team").cloned(),
        );
        Ok(match seen {
            (Some(version), Some(team)) => Some(format!("{version} of {team}")),
            _ => None,
        })
    })
}

async fn scheduled_start(hub: Hub) {
    let due = Utc::now() + Duration::from_secs(2);
    let id = hub
        .client
        .start(&QUICK, &())
        .start_at(due)
        .send()
        .await
        .unwrap()
        .into_id();
    let state = hub.get(&id).await.unwrap();
    assert_eq!(state.status, Status::Pending);
    let state = hub.end(&id).await;
    assert_eq!(state.status, Status::Completed);
    assert!(state.last_updated_at.unwrap() >= due, "it ran too early");
}

async fn version_and_tags(hub: Hub) {
    let start = hub
        .client
        .start(&QUICK, &())
        .version("1.2.0")
        .tag("team", "a");
    let id = start.send().await.unwrap().into_id();
    let seen = hub.output::<Option<String>>(&id).await;
    assert_eq!(seen.as_deref(), Some("1.2.0 of a"));
}

const GO: Event<u32> = Event::new("go");
const WAITER: Orchestration<(), u32> = Orchestration::new("waiter");

fn waiter_registry() -> Registry {
    Registry::new().orchestration(&WAITER, async |ctx: OrchestrationContext, (): ()| {
        Ok(ctx.wait_for_event(&GO).await?)
    })
}

async fn id_reuse(hub: Hub) {
    let id = fresh("reused");
    let start = |reuse: IdReuse| {
        let start = hub.client.start(&WAITER, &()).instance_id(&id).reuse(reuse);
        start.send()
    };
    start(IdReuse::Never).await.unwrap();
    hub.begun(&id).await;
    for reuse in [IdReuse::SchedulerDefault, IdReuse::Never, IdReuse::Finished] {
        let again = start(reuse).await;
        assert!(
            matches!(again, Err(ClientError::AlreadyExists { .. })),
            "{again:?}"
        );
    }
    hub.client.raise_event(&id, &GO, &1).await.unwrap();
    assert_eq!(hub.output::<u32>(&id).await, 1);
    let again = start(IdReuse::Statuses(vec![Status::Failed])).await;
    assert!(
        matches!(again, Err(ClientError::AlreadyExists { .. })),
        "{again:?}"
    );
    start(IdReuse::Finished).await.unwrap();
    hub.client.raise_event(&id, &GO, &2).await.unwrap();
    assert_eq!(hub.output::<u32>(&id).await, 2);
}
