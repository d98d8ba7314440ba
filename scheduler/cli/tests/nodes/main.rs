//! Several real schedulers on one PostgreSQL database: one owns the task hubs, and when it is killed,
//! frozen or stopped, another takes its place within seconds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod chaos;
#[path = "../crash/check.rs"]
mod check;
mod cut;
#[path = "../crash/load.rs"]
mod load;
#[path = "../crash/loops.rs"]
mod loops;
mod moved;
mod peers;
mod refused;
#[path = "../crash/results.rs"]
mod results;
#[path = "../crash/running.rs"]
mod running;
#[path = "../support/mod.rs"]
mod support;
mod trouble;

use std::time::{Duration, Instant};

use countersign_database::testing::Postgres;
use durabletask_proto::*;
use support::*;
use tonic::Code;

/// In which time another node answers for one that was killed.
const TAKEN_OVER: Duration = Duration::from_secs(5);

/// The connection URL of a new database, over TCP as programs have it.
fn database() -> Option<String> {
    let server = Postgres::shared()?;
    Some(url(server, &server.make()))
}

fn url(server: &Postgres, name: &str) -> String {
    format!(
        "postgresql://countersign@127.0.0.1:{}/{name}",
        server.port()
    )
}

async fn ready(process: &Process) -> (u16, String) {
    http_as(&process.http, None, "/readyz").await
}

/// The status of a call that is not answered here.
async fn refused(client: &Client, id: &str) -> tonic::Status {
    let get = GetInstanceRequest {
        instance_id: id.to_owned(),
        get_inputs_and_outputs: false,
    };
    client
        .clone()
        .get_instance(to_hub("default", get))
        .await
        .unwrap_err()
}

#[tokio::test]
async fn a_node_takes_the_place_of_one_that_was_killed() {
    let Some(url) = database() else { return };
    let mut owner = Process::node(&url, "first", &[]);
    owner.until_ready().await;
    let mut slowest = Duration::ZERO;
    for kill in 0..3 {
        let name = format!("after-{kill}");
        let standby = Process::node(&url, &name, &[]);
        let id = format!("i{kill}");
        start(&owner.client(), "default", &id).await.unwrap();
        // It says who is the owner, and that a call may be repeated.
        let status = refused(&standby.client(), &id).await;
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(status.message().contains("stands by"), "{status:?}");
        assert_eq!(ready(&standby).await.0, 503);
        assert_eq!(http_as(&standby.http, None, "/healthz").await.0, 200);

        owner.kill();
        let took = standby.until_ready().await;
        slowest = slowest.max(took);
        assert!(exists(&standby.client(), "default", &id).await);
        assert!(took < TAKEN_OVER, "{took:?}");
        owner = standby;
    }
    println!("the slowest of 3 take-overs after SIGKILL took {slowest:?}");
}

#[tokio::test]
async fn a_node_that_was_frozen_changes_nothing_and_answers_nothing_from_the_past() {
    let Some(url) = database() else { return };
    let frozen = Process::node(&url, "frozen", &[]);
    frozen.until_ready().await;
    let old = frozen.client();
    start(&old, "default", "a").await.unwrap();
    let other = Process::node(&url, "other", &[]);
    frozen.signal("STOP");
    // These wait in its sockets, and are read when it is let go.
    let late: Vec<_> = (0..20)
        .map(|number| {
            let client = old.clone();
            tokio::spawn(async move { start(&client, "default", &format!("late-{number}")).await })
        })
        .collect();
    let took = other.until_ready().await;
    assert!(took < TAKEN_OVER, "{took:?}");
    let new = other.client();
    start(&new, "default", "b").await.unwrap();
    frozen.signal("CONT");
    for (number, call) in late.into_iter().enumerate() {
        let answer = call.await.unwrap();
        let there = exists(&new, "default", &format!("late-{number}")).await;
        assert!(answer.is_err() && !there, "{answer:?} {there}");
    }
    // What was written meanwhile is never denied: it does not answer.
    assert_eq!(refused(&old, "b").await.code(), Code::Unavailable);
    assert!(exists(&new, "default", "a").await);
    assert!(exists(&new, "default", "b").await);
}

#[tokio::test]
async fn a_node_that_is_stopped_hands_over_at_once() {
    let Some(url) = database() else { return };
    let owner = Process::node(&url, "owner", &[]);
    owner.until_ready().await;
    start(&owner.client(), "default", "a").await.unwrap();
    let standby = Process::node(&url, "standby", &[]);
    assert_eq!(ready(&standby).await.0, 503);
    let begun = Instant::now();
    assert!(owner.terminate().success());
    standby.until_ready().await;
    let took = begun.elapsed();
    println!("handed over within {took:?}");
    assert!(
        took < Duration::from_secs(3),
        "it waits for no lease: {took:?}"
    );
    assert!(exists(&standby.client(), "default", "a").await);
}

/// The next turn that a node hands out, with the stream that holds it.
async fn turn(client: &Client) -> (WorkItem, tonic::Streaming<WorkItem>) {
    let ask = GetWorkItemsRequest {
        max_concurrent_orchestration_work_items: 1,
        ..Default::default()
    };
    let answer = client.clone().get_work_items(to_hub("default", ask)).await;
    let mut stream = answer.unwrap().into_inner();
    let item = stream.message().await.unwrap().unwrap();
    (item, stream)
}

/// Work that was under way goes on at the next owner, and is done once.
#[tokio::test]
async fn what_was_under_way_is_finished_by_the_next_owner() {
    let Some(url) = database() else { return };
    let owner = Process::node(&url, "owner", &[]);
    owner.until_ready().await;
    let standby = Process::node(&url, "standby", &[]);
    start(&owner.client(), "default", "a").await.unwrap();
    let (item, _stream) = turn(&owner.client()).await;
    owner.kill();
    standby.until_ready().await;
    let client = standby.client();
    let finish = |token: String| OrchestratorResponse {
        instance_id: "a".to_owned(),
        completion_token: token,
        actions: vec![OrchestratorAction {
            id: 0,
            orchestrator_action_type: Some(
                orchestrator_action::OrchestratorActionType::CompleteOrchestration(
                    CompleteOrchestrationAction {
                        orchestration_status: OrchestrationStatus::Completed as i32,
                        ..Default::default()
                    },
                ),
            ),
        }],
        ..Default::default()
    };
    // A result from a lease that was lost is not taken.
    let late = to_hub("default", finish(item.completion_token));
    let late = client.clone().complete_orchestrator_task(late).await;
    assert_eq!(late.unwrap_err().code(), Code::NotFound);
    let (item, _stream) = turn(&client).await;
    let done = to_hub("default", finish(item.completion_token));
    client
        .clone()
        .complete_orchestrator_task(done)
        .await
        .unwrap();
    let get = GetInstanceRequest {
        instance_id: "a".to_owned(),
        get_inputs_and_outputs: false,
    };
    let state = client.clone().get_instance(to_hub("default", get)).await;
    let state = state.unwrap().into_inner().orchestration_state.unwrap();
    assert_eq!(state.orchestration_status(), OrchestrationStatus::Completed);
}
