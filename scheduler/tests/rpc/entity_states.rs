//! Each RPC on entities in each state: a table in docs/WIRE.md, cell by cell.
use durabletask_proto::*;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::states::{cell, code, compare, purge};
use super::support::*;

/// An entity of the tests that follow.
const ENTITY: &str = "@e@k";

type OnEntity = fn(Client) -> BoxFuture<'static, String>;

const ON_ENTITIES: &[(&str, OnEntity)] = &[
    ("`SignalEntity`", |mut client| {
        async move { code(client.signal_entity(signal()).await) }.boxed()
    }),
    ("`GetEntity`", |mut client| {
        async move {
            cell(client.get_entity(entity()).await, |got| match got.exists {
                true => "",
                false => "`exists=false`",
            })
        }
        .boxed()
    }),
    ("`QueryEntities`", |mut client| {
        async move { query_entities(&mut client, false).await }.boxed()
    }),
    ("`QueryEntities` with `includeTransient`", |mut client| {
        async move { query_entities(&mut client, true).await }.boxed()
    }),
    ("`PurgeInstances`", |mut client| {
        async move {
            cell(
                client.purge_instances(purge(ENTITY.to_owned())).await,
                |got| match got.deleted_instance_count {
                    0 => "0 deleted",
                    _ => "",
                },
            )
        }
        .boxed()
    }),
    ("`CleanEntityStorage`", |mut client| {
        async move {
            let request = CleanEntityStorageRequest {
                remove_empty_entities: true,
                release_orphaned_locks: true,
                ..CleanEntityStorageRequest::default()
            };
            code(client.clean_entity_storage(request).await)
        }
        .boxed()
    }),
];

async fn query_entities(client: &mut Client, include_transient: bool) -> String {
    let query = QueryEntitiesRequest {
        query: Some(EntityQuery {
            include_transient,
            ..EntityQuery::default()
        }),
    };
    cell(client.query_entities(query).await, |got| {
        match got.entities.is_empty() {
            true => "not there",
            false => "",
        }
    })
}

fn signal() -> SignalEntityRequest {
    SignalEntityRequest {
        instance_id: ENTITY.to_owned(),
        name: "add".to_owned(),
        ..SignalEntityRequest::default()
    }
}

fn entity() -> GetEntityRequest {
    GetEntityRequest {
        instance_id: ENTITY.to_owned(),
        include_state: true,
    }
}

/// A scheduler whose entity is in a state.
async fn entity_in(state: &str) -> Hub {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    let mut client = hub.client.clone();
    if state == "none" {
        return hub;
    }
    client.signal_entity(signal()).await.unwrap();
    let item = worker.next().await;
    if state == "its first signal runs" {
        return hub;
    }
    let result = EntityBatchResult {
        completion_token: item.completion_token,
        results: vec![OperationResult::default()],
        entity_state: (state != "emptied").then(|| "1".to_owned()),
        ..EntityBatchResult::default()
    };
    client.complete_entity_task(result).await.unwrap();
    match state {
        "locked" => {
            hub.start("holder").await;
            let (token, _) = worker.turn().await;
            let request = EntityLockRequestedEvent {
                lock_set: vec![ENTITY.to_owned()],
                critical_section_id: "c".to_owned(),
                ..EntityLockRequestedEvent::default()
            };
            let lock = orchestrator_action::OrchestratorActionType::SendEntityMessage(
                SendEntityMessageAction {
                    entity_message_type: Some(
                        send_entity_message_action::EntityMessageType::EntityLockRequested(request),
                    ),
                },
            );
            worker.answer(&token, vec![(0, lock)]).await.unwrap();
            worker.turn().await;
        }
        "purged" => {
            let purge = purge(ENTITY.to_owned());
            client.purge_instances(purge).await.unwrap();
        }
        _ => {}
    }
    hub
}

#[tokio::test]
async fn each_call_on_each_state_of_an_entity_answers_as_the_page_says() {
    let mut rows = Vec::new();
    for (rpc, call) in ON_ENTITIES {
        let mut row = vec![(*rpc).to_owned()];
        for state in [
            "none",
            "its first signal runs",
            "with a state",
            "locked",
            "emptied",
            "purged",
        ] {
            let hub = entity_in(state).await;
            row.push(call(hub.client.clone()).await);
        }
        rows.push(row);
    }
    compare("### Entities", &rows);
}
