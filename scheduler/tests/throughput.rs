//! Many instances at once: none is lost, none runs twice. Prints the rate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Instant;

use durabletask_proto::*;
use support::*;

const INSTANCES: usize = 300;
const ACTIVITIES: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_instances_of_sequential_activities_all_end() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::folder(folder.path()).await;
    let request = GetWorkItemsRequest {
        capabilities: vec![WorkerCapability::HistoryStreaming as i32],
        max_concurrent_orchestration_work_items: 200,
        max_concurrent_activity_work_items: 200,
        ..Default::default()
    };
    let mut worker = hub.worker_that(request, "default", CONTINUES).await;
    let begun = Instant::now();
    let mut client = hub.client.clone();
    let starting = tokio::spawn(async move {
        for n in 0..INSTANCES {
            let start = CreateInstanceRequest {
                instance_id: format!("i{n}"),
                name: "Hello".into(),
                ..Default::default()
            };
            client.start_instance(start).await.unwrap();
        }
    });
    let mut steps = std::collections::HashMap::<String, usize>::new();
    let mut answers = tokio::task::JoinSet::new();
    for _ in 0..INSTANCES * (2 * ACTIVITIES + 1) {
        let item = worker.next().await;
        let token = item.completion_token;
        let mut client = hub.client.clone();
        match item.request.unwrap() {
            work_item::Request::OrchestratorRequest(turn) => {
                let step = steps.entry(turn.instance_id).or_default();
                let action = if *step < ACTIVITIES {
                    call("Greet")
                } else {
                    done("1")
                };
                let id = i32::try_from(*step).unwrap();
                *step += 1;
                let actions = vec![OrchestratorAction {
                    id,
                    orchestrator_action_type: Some(action),
                }];
                let response = OrchestratorResponse {
                    completion_token: token,
                    actions,
                    ..Default::default()
                };
                answers.spawn(async move {
                    client.complete_orchestrator_task(response).await.map(drop)
                });
            }
            work_item::Request::ActivityRequest(_) => {
                let response = ActivityResponse {
                    completion_token: token,
                    ..Default::default()
                };
                answers
                    .spawn(async move { client.complete_activity_task(response).await.map(drop) });
            }
            other => panic!("{other:?}"),
        }
    }
    starting.await.unwrap();
    while let Some(answer) = answers.join_next().await {
        answer.unwrap().unwrap();
    }
    let rate = (INSTANCES * (2 * ACTIVITIES + 1)) as f64 / begun.elapsed().as_secs_f64();
    println!("{rate:.0} work items/s");
    assert!(steps.len() == INSTANCES && steps.values().all(|steps| *steps == ACTIVITIES + 1));
    for n in 0..INSTANCES {
        assert_eq!(
            hub.status(&format!("i{n}")).await,
            OrchestrationStatus::Completed
        );
    }
}
