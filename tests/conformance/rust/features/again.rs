//! What ended before: restart, rewind, ids, history, purge of many.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use chrono::Utc;
use durabletask::client::{InstanceIdQuery, Recursive, RestartAs, Status};
use durabletask::history::HistoryPayload;
use durabletask::testing::replay_json;
use durabletask::{
    Activity, ActivityContext, ClientError, Failure, Orchestration, OrchestrationContext, Registry,
};
use futures_util::TryStreamExt as _;

use super::{Feature, row};
use crate::backend::{Hub, fresh};

pub fn features() -> Vec<Feature> {
    vec![
        row!("history", pair_registry, history),
        row!("list-ids", pair_registry, list_ids),
        row!("export", pair_registry, export),
        row!("purge-batch", pair_registry, purge_batch),
        row!("restart", pair_registry, restart),
        row!("rewind", pair_registry, rewind),
    ]
}

/// Fails for a key until someone repairs it.
const TRY: Activity<String, u32> = Activity::new("try");
const REPAIR: Activity<String, ()> = Activity::new("repair");
/// A good activity, then the one that may fail.
const PAIR: Orchestration<(String, String), (u32, u32)> = Orchestration::new("pair");
const OUTER: Orchestration<(String, String), (u32, u32)> = Orchestration::new("outer");
const MEND: Orchestration<String, ()> = Orchestration::new("mend");

/// How often each key was tried, and which are broken.
#[derive(Default)]
struct Shop {
    tries: HashMap<String, u32>,
    repaired: Vec<String>,
}

async fn pair(ctx: OrchestrationContext, keys: (String, String)) -> Result<(u32, u32), Failure> {
    let first = ctx.call_activity(&TRY, &keys.0).await?;
    Ok((first, ctx.call_activity(&TRY, &keys.1).await?))
}

fn pair_registry() -> Registry {
    let shop = std::sync::Arc::new(Mutex::new(Shop::default()));
    let bench = std::sync::Arc::clone(&shop);
    Registry::new()
        .orchestration(&PAIR, pair)
        .orchestration(
            &OUTER,
            async |ctx: OrchestrationContext, keys: (String, String)| {
                Ok(ctx.call_sub_orchestration(&PAIR, &keys).await?)
            },
        )
        .orchestration(&MEND, async |ctx: OrchestrationContext, key: String| {
            Ok(ctx.call_activity(&REPAIR, &key).await?)
        })
        .activity(&TRY, move |_: ActivityContext, key: String| {
            let mut shop = shop.lock().unwrap();
            let tries = shop.tries.entry(key.clone()).or_default();
            *tries += 1;
            let tries = *tries;
            let works = !key.starts_with("broken") || shop.repaired.contains(&key);
            std::future::ready(if works {
                Ok(tries)
            } else {
                Err(Failure::new("Broken", format!("{key} is broken")))
            })
        })
        .activity(&REPAIR, move |_: ActivityContext, key: String| {
            bench.lock().unwrap().repaired.push(key);
            std::future::ready(Ok(()))
        })
}

/// Runs `PAIR` with fresh keys that work.
async fn ended_pair(hub: &Hub) -> String {
    let id = hub.start(&PAIR, &(fresh("a"), fresh("b"))).await;
    assert_eq!(hub.output::<(u32, u32)>(&id).await, (1, 1));
    id
}

async fn history(hub: Hub) {
    let id = ended_pair(&hub).await;
    let events: Vec<_> = hub.client.history(&id).try_collect().await.unwrap();
    let told: Vec<&str> = events
        .iter()
        .filter_map(|event| match &event.payload {
            HistoryPayload::ExecutionStarted(_) => Some("started"),
            HistoryPayload::TaskScheduled { .. } => Some("scheduled"),
            HistoryPayload::TaskCompleted { .. } => Some("completed"),
            HistoryPayload::ExecutionCompleted { .. } => Some("ended"),
            _ => None,
        })
        .collect();
    let once = ["scheduled", "completed"];
    let expected = [&["started"][..], &once, &once, &["ended"]].concat();
    assert_eq!(told, expected);
}

async fn list_ids(hub: Hub) {
    let begun = Utc::now();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(ended_pair(&hub).await);
    }
    let failed = hub.start(&PAIR, &(fresh("a"), fresh("broken"))).await;
    hub.end(&failed).await;
    let query = |statuses: &[Status]| {
        InstanceIdQuery::new()
            .statuses(statuses.to_vec())
            .completed_from(begun)
            .page_size(2)
    };
    let completed = query(&[Status::Completed]);
    assert_eq!(
        hub.client
            .instance_ids_page(&completed)
            .await
            .unwrap()
            .instance_ids
            .len(),
        2
    );
    let listed = hub.client.list_instance_ids(completed);
    let mut listed: Vec<String> = listed.try_collect().await.unwrap();
    listed.sort();
    ids.sort();
    assert_eq!(listed, ids);
    let listed = hub.client.list_instance_ids(query(&[Status::Failed]));
    assert_eq!(listed.try_collect::<Vec<_>>().await.unwrap(), [failed]);
}

/// What is exported replays.
async fn export(hub: Hub) {
    let begun = Utc::now();
    let ids = [ended_pair(&hub).await, ended_pair(&hub).await];
    let exported = hub
        .client
        .export(InstanceIdQuery::new().completed_from(begun));
    let exported: Vec<_> = exported.try_collect().await.unwrap();
    assert_eq!(exported.len(), ids.len());
    for instance in &exported {
        assert!(ids.contains(&instance.state.instance_id));
        assert_eq!(instance.state.output_json.as_deref(), Some("[1,1]"));
        let stored = instance.to_json();
        replay_json(pair_registry(), &instance.state.instance_id, &stored).unwrap();
        let diverging =
            Registry::new().orchestration(&PAIR, async |ctx: OrchestrationContext, _| {
                ctx.create_timer(Duration::from_secs(1)).await;
                Ok((0, 0))
            });
        replay_json(diverging, "another-id", &stored).unwrap_err();
    }
}

async fn purge_batch(hub: Hub) {
    let ids = [
        ended_pair(&hub).await,
        ended_pair(&hub).await,
        fresh("nobody"),
    ];
    let purged = hub.client.purge_batch(&ids, Recursive::No).await.unwrap();
    assert_eq!(purged.deleted, 2);
    assert!(hub.get(&ids[0]).await.is_none() && hub.get(&ids[1]).await.is_none());
}

async fn restart(hub: Hub) {
    let id = ended_pair(&hub).await;
    let same = hub.client.restart(&id, RestartAs::SameInstance).await;
    assert_eq!(same.unwrap(), id);
    hub.until(&id, |state| state.output_json.as_deref() == Some("[2,2]"))
        .await;
    let new = hub
        .client
        .restart(&id, RestartAs::NewInstance)
        .await
        .unwrap();
    assert_ne!(new, id);
    assert_eq!(hub.output::<(u32, u32)>(&new).await, (3, 3));
    assert_eq!(hub.output::<(u32, u32)>(&id).await, (2, 2));
    let missing = fresh("nobody");
    let missing = hub.client.restart(&missing, RestartAs::SameInstance).await;
    assert!(
        matches!(missing, Err(ClientError::NotFound { .. })),
        "{missing:?}"
    );
}

async fn rewind(hub: Hub) {
    for orchestration in [&PAIR, &OUTER] {
        let broken = fresh("broken");
        let id = hub
            .start(orchestration, &(fresh("a"), broken.clone()))
            .await;
        assert_eq!(hub.end(&id).await.status, Status::Failed);
        hub.run(&MEND, &broken).await;
        hub.client.rewind(&id, "repaired").await.unwrap();
        hub.until(&id, |state| state.status == Status::Completed)
            .await;
        // What had succeeded has not run again.
        assert_eq!(hub.output::<(u32, u32)>(&id).await, (1, 2));
        let again = hub.client.rewind(&id, "for nothing").await;
        assert!(
            matches!(again, Err(ClientError::InvalidState(_))),
            "{again:?}"
        );
    }
}
