//! Completions in chunks.

use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::*;
use tonic::Code;

use super::support::*;

#[allow(deprecated)]
fn chunk(token: &str, index: i32, last: bool, actions: Vec<(i32, Action)>) -> OrchestratorResponse {
    OrchestratorResponse {
        completion_token: token.into(),
        chunk_index: Some(index),
        is_partial: !last,
        num_events_processed: (index > 0).then_some(0),
        custom_status: Some("\"going\"".into()),
        actions: actions
            .into_iter()
            .map(|(id, action)| OrchestratorAction {
                id,
                orchestrator_action_type: Some(action),
            })
            .collect(),
        ..Default::default()
    }
}

#[tokio::test]
async fn chunks_are_applied_together_and_once() {
    let hub = Hub::memory().await;
    hub.start("a").await;
    hub.raise("a", "early").await.unwrap();
    let mut worker = hub.worker().await;
    let (token, _) = worker.turn().await;
    let unknown = chunk("nonsense", 0, false, vec![]);
    assert_eq!(worker.respond(unknown).await, Err(Code::NotFound));
    let first = || chunk(&token, 0, false, vec![(0, call("One"))]);
    let second = || chunk(&token, 1, false, vec![(1, call("Two"))]);
    let last = || chunk(&token, 2, true, vec![(2, call("Three"))]);
    worker.respond(first()).await.unwrap();
    assert_eq!(worker.respond(last()).await, Err(Code::InvalidArgument));
    worker.respond(second()).await.unwrap();
    // A sender that missed the answer sends again.
    worker.respond(second()).await.unwrap();
    assert_eq!(hub.history("a").await, [""; 0]);
    worker.respond(last()).await.unwrap();
    worker.respond(last()).await.unwrap();
    assert_eq!(
        hub.history("a").await,
        [
            "OrchestratorStarted",
            "ExecutionStarted",
            "EventRaised",
            "TaskScheduled",
            "TaskScheduled",
            "TaskScheduled"
        ]
    );
    let state = hub.get("a").await.unwrap();
    assert_eq!(state.custom_status.as_deref(), Some("\"going\""));
    for (id, name) in ["One", "Two", "Three"].into_iter().enumerate() {
        let (_, activity) = worker.activity().await;
        assert_eq!(
            (activity.task_id, activity.name.as_str()),
            (id as i32, name)
        );
    }
}

#[tokio::test]
async fn half_a_completion_goes_with_its_stream() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (token, _) = worker.turn().await;
    let first = chunk(&token, 0, false, vec![(0, call("Lost"))]);
    worker.respond(first).await.unwrap();
    drop(worker);
    let mut worker = hub.worker().await;
    let (token, _) = worker.turn().await;
    let whole = chunk(&token, 0, true, vec![(0, done("1"))]);
    worker.respond(whole).await.unwrap();
    assert_eq!(
        hub.history("a").await,
        [
            "OrchestratorStarted",
            "ExecutionStarted",
            "ExecutionCompleted"
        ]
    );
}
