//! What a client does to instances that are there.

use std::time::Duration;

use chrono::Utc;
use durabletask::client::{InstanceQuery, Payloads, PurgeFilter, Recursive, Status};
use durabletask::{ClientError, Event, Failure, Orchestration, OrchestrationContext, Registry};
use futures_util::TryStreamExt as _;

use super::{Feature, row};
use crate::backend::{Hub, fresh};

pub fn features() -> Vec<Feature> {
    vec![
        row!("waits", waiter_registry, waits),
        row!("terminate", waiter_registry, terminate),
        row!("terminate-suspended", waiter_registry, terminate_suspended),
        row!("purge", waiter_registry, purge),
        row!("purge-filter", quick_registry, purge_filter),
        row!("query", quick_registry, query),
    ]
}

const GO: Event<()> = Event::new("go");
const WAITER: Orchestration<(), ()> = Orchestration::new("waiter");
const QUICK: Orchestration<String, String> = Orchestration::new("quick");

fn waiter_registry() -> Registry {
    Registry::new().orchestration(&WAITER, async |ctx: OrchestrationContext, (): ()| {
        Ok(ctx.wait_for_event(&GO).await?)
    })
}

fn quick_registry() -> Registry {
    Registry::new().orchestration(&QUICK, async |_: OrchestrationContext, input: String| {
        if input == "fail" {
            return Err(Failure::new("Asked", "asked to fail"));
        }
        Ok(input)
    })
}

async fn waits(hub: Hub) {
    hub.client.hello().await.unwrap();
    assert!(hub.get(&fresh("nobody")).await.is_none());
    let id = hub.start(&WAITER, &()).await;
    assert_eq!(hub.begun(&id).await.status, Status::Running);
    hub.stays_open(&id).await;
    let bare = hub.client.get(&id, Payloads::Omit).await.unwrap().unwrap();
    assert_eq!((bare.name.as_str(), bare.input_json), (WAITER.name(), None));
    hub.client.raise_event(&id, &GO, &()).await.unwrap();
    let state = hub.end(&id).await;
    assert_eq!(state.status, Status::Completed);
    assert!(state.created_at.unwrap() <= state.last_updated_at.unwrap());
}

async fn terminate(hub: Hub) {
    let id = hub.start(&WAITER, &()).await;
    hub.begun(&id).await;
    hub.client
        .terminate(&id, "enough", Recursive::No)
        .await
        .unwrap();
    let state = hub.end(&id).await;
    assert_eq!(state.status, Status::Terminated);
    assert_eq!(state.output::<String>().unwrap(), "enough");
}

async fn terminate_suspended(hub: Hub) {
    let id = hub.start(&WAITER, &()).await;
    hub.begun(&id).await;
    hub.client.suspend(&id, "first").await.unwrap();
    hub.until(&id, |state| state.status == Status::Suspended)
        .await;
    hub.client
        .terminate(&id, "enough", Recursive::No)
        .await
        .unwrap();
    assert_eq!(hub.end(&id).await.status, Status::Terminated);
}

async fn purge(hub: Hub) {
    let id = hub.start(&WAITER, &()).await;
    hub.begun(&id).await;
    // A backend may refuse this or say that nothing was deleted.
    if let Ok(purged) = hub.client.purge(&id, Recursive::No).await {
        assert_eq!(purged.deleted, 0, "it is running");
    }
    hub.client.raise_event(&id, &GO, &()).await.unwrap();
    hub.end(&id).await;
    assert_eq!(
        hub.client.purge(&id, Recursive::No).await.unwrap().deleted,
        1
    );
    assert!(hub.get(&id).await.is_none());
    match hub.client.purge(&id, Recursive::No).await {
        Ok(purged) => assert_eq!(purged.deleted, 0, "it is gone"),
        Err(error) => assert!(!matches!(error, ClientError::Unavailable(_)), "{error}"),
    }
}

/// Runs instances with the given inputs; gives their ids.
async fn run_each(hub: &Hub, prefix: &str, inputs: &[&str]) -> Vec<String> {
    let mut ids = Vec::new();
    for (n, input) in inputs.iter().enumerate() {
        let id = format!("{prefix}-{n}");
        let start = hub
            .client
            .start(&QUICK, &(*input).to_owned())
            .instance_id(&id);
        ids.push(start.send().await.unwrap().into_id());
    }
    for id in &ids {
        hub.end(id).await;
    }
    ids
}

async fn purge_filter(hub: Hub) {
    let begun = Utc::now();
    let ids = run_each(&hub, &fresh("purged"), &["a", "fail", "b", "fail"]).await;
    let filter = |statuses: &[Status]| {
        PurgeFilter::new()
            .created_from(begun)
            .created_to(Utc::now() + Duration::from_secs(1))
            .statuses(statuses.iter().copied())
    };
    let failed = filter(&[Status::Failed]);
    assert_eq!(hub.client.purge_where(&failed).await.unwrap().deleted, 2);
    assert!(hub.get(&ids[0]).await.is_some() && hub.get(&ids[1]).await.is_none());
    assert_eq!(
        hub.client.purge_where(&filter(&[])).await.unwrap().deleted,
        2
    );
}

async fn query(hub: Hub) {
    let prefix = fresh("queried");
    let begun = Utc::now();
    let mut ids = run_each(&hub, &prefix, &["a", "b", "fail", "c", "d"]).await;
    ids.sort();
    let found = async |change: &(dyn Fn(&mut InstanceQuery) + Sync)| {
        let mut query = InstanceQuery::new().instance_id_prefix(prefix.clone());
        change(&mut query);
        let found = hub.client.list_instances(query).try_collect::<Vec<_>>();
        let mut found: Vec<String> = found
            .await
            .unwrap()
            .into_iter()
            .map(|state| state.instance_id)
            .collect();
        found.sort();
        found
    };
    assert_eq!(found(&|_| {}).await, ids);
    assert_eq!(found(&|query| query.page_size = 2).await, ids);
    let failed = found(&|query| query.statuses = vec![Status::Failed]).await;
    assert_eq!(failed, [format!("{prefix}-2")]);
    let since = found(&|query| query.created_from = Some(begun)).await;
    assert_eq!(since, ids);
    let before = found(&|query| query.created_to = Some(begun)).await;
    assert!(before.is_empty(), "{before:?}");
}
