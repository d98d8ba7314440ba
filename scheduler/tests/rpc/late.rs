//! What workers hand in late: a table in docs/WIRE.md, cell by cell.
use durabletask_proto::*;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::states::{Bench, TAKEN, code, compare, purge, skip, terminate, worker};
use super::support::*;

type Late = fn(Client, String) -> BoxFuture<'static, String>;

/// What a worker hands in, by the token of an item that it was given.
const LATE: &[(&str, Late)] = &[
    ("`CompleteOrchestratorTask`", |mut client, token| {
        async move {
            let response = OrchestratorResponse {
                completion_token: token,
                ..OrchestratorResponse::default()
            };
            code(client.complete_orchestrator_task(response).await)
        }
        .boxed()
    }),
    ("`AbandonTaskOrchestratorWorkItem`", |mut client, token| {
        async move {
            let request = AbandonOrchestrationTaskRequest {
                completion_token: token,
            };
            code(client.abandon_task_orchestrator_work_item(request).await)
        }
        .boxed()
    }),
    ("`CompleteActivityTask`", |mut client, token| {
        async move {
            let response = ActivityResponse {
                completion_token: token,
                ..ActivityResponse::default()
            };
            code(client.complete_activity_task(response).await)
        }
        .boxed()
    }),
    ("`AbandonTaskActivityWorkItem`", |mut client, token| {
        async move {
            let request = AbandonActivityTaskRequest {
                completion_token: token,
            };
            code(client.abandon_task_activity_work_item(request).await)
        }
        .boxed()
    }),
];

const SINCE: [&str; 10] = [
    "nothing",
    "suspended",
    "terminated",
    "ended at once",
    "purged",
    "replaced",
    "handed in before",
    "given back before",
    "its stream ended",
    "task hub deleted",
];

/// Hands out what `rpc` completes, lets something happen, and gives the token.
async fn out(rpc: &str, since: &str) -> (Bench, String) {
    let mut bench = Bench::new().await;
    let id = "a".to_owned();
    bench.start(&id, TAKEN).await;
    let token = bench.turn(&id).await;
    let activity = rpc.contains("Activity");
    let actions = match activity {
        true => vec![(0, call("work"))],
        false => vec![],
    };
    bench.worker.answer(&token, actions).await.unwrap();
    let token = match activity {
        true => bench.worker.activity().await.0,
        false => {
            bench.hub.raise(&id, "go").await.unwrap();
            bench.turn(&id).await
        }
    };
    let mut client = bench.hub.client.clone();
    match since {
        "suspended" => {
            let suspend = SuspendRequest {
                instance_id: id,
                reason: None,
            };
            client.suspend_instance(suspend).await.unwrap();
        }
        "terminated" => {
            client.terminate_instance(terminate(id)).await.unwrap();
        }
        "ended at once" | "purged" | "replaced" => {
            let skip = skip(id.clone());
            client
                .skip_graceful_orchestration_terminations(skip)
                .await
                .unwrap();
            match since {
                "purged" => drop(client.purge_instances(purge(id)).await.unwrap()),
                "replaced" => bench.start(&id, TAKEN).await,
                _ => {}
            }
        }
        "handed in before" | "given back before" => {
            let before = match (since, activity) {
                ("handed in before", false) => LATE[0],
                ("handed in before", true) => LATE[2],
                (_, false) => LATE[1],
                (_, true) => LATE[3],
            };
            assert_eq!(before.1(client, token.clone()).await, "`OK`");
        }
        "its stream ended" => {
            // It has ended for the scheduler once another one has the item.
            bench.worker = worker(&bench.hub, "default").await;
            bench.worker.next().await;
        }
        "task hub deleted" => {
            let delete = DeleteTaskHubRequest {};
            client.delete_task_hub(delete).await.unwrap();
        }
        _ => {}
    }
    (bench, token)
}

#[tokio::test]
async fn what_is_handed_in_late_is_answered_as_the_page_says() {
    let mut rows = Vec::new();
    for (rpc, hand_in) in LATE {
        let mut row = vec![(*rpc).to_owned()];
        for since in SINCE {
            let (bench, token) = out(rpc, since).await;
            row.push(hand_in(bench.hub.client.clone(), token).await);
        }
        rows.push(row);
    }
    compare("### Late completions", &rows);
}
