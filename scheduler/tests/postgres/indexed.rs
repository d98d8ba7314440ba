//! What PostgreSQL cannot index is refused by name, whatever it holds.

use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::*;
use tonic::Code;

#[path = "../support/mod.rs"]
mod support;
use support::*;

/// Text that cannot be compressed.
fn noise(length: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + u8::try_from(state % 90).unwrap())
    };
    (0..length).map(|_| next()).collect()
}

fn tagged(id: &str, value: String) -> CreateInstanceRequest {
    CreateInstanceRequest {
        instance_id: id.to_owned(),
        name: noise(1024),
        tags: [("k".to_owned(), value)].into(),
        ..CreateInstanceRequest::default()
    }
}

#[tokio::test]
async fn a_tag_that_cannot_be_indexed_is_refused_and_changes_nothing() {
    if !ON_POSTGRES || countersign_database::testing::Postgres::shared().is_none() {
        return;
    }
    let hub = Hub::memory().await;
    hub.try_start(tagged("longest", noise(2599))).await.unwrap();
    for value in [noise(2600), "a".repeat(20_000), "\0".repeat(520)] {
        let refused = hub
            .client
            .clone()
            .start_instance(tagged("longer", value))
            .await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().contains("PostgreSQL"), "{refused:?}");
    }
    assert!(hub.get("longer").await.is_none());
    // Each of 1,024 characters has five bytes there.
    let name = CreateInstanceRequest {
        name: "\0".repeat(1024),
        ..tagged("name", String::new())
    };
    assert_eq!(hub.try_start(name).await, Err(Code::InvalidArgument));
}

#[tokio::test]
async fn an_orchestration_whose_child_cannot_be_indexed_fails_by_name() {
    if !ON_POSTGRES || countersign_database::testing::Postgres::shared().is_none() {
        return;
    }
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("parent").await;
    let (token, _) = worker.turn().await;
    let child = Action::CreateSubOrchestration(CreateSubOrchestrationAction {
        instance_id: "child".to_owned(),
        name: "Child".to_owned(),
        tags: [("k".to_owned(), noise(3000))].into(),
        ..CreateSubOrchestrationAction::default()
    });
    worker.answer(&token, vec![(0, child)]).await.unwrap();
    let parent = hub.get("parent").await.unwrap();
    assert_eq!(parent.orchestration_status(), OrchestrationStatus::Failed);
    let failure = parent.failure_details.unwrap();
    assert_eq!(failure.error_type, "FieldTooLong");
    assert!(failure.error_message.contains("PostgreSQL"), "{failure:?}");
    assert!(hub.get("child").await.is_none());
}
