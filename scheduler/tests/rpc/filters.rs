//! Who gets which work, by the versions that work-item filters list.

use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::*;

use super::support::*;

/// A worker that takes turns and activities of any name used here, of these versions only.
fn only(versions: &[&str]) -> GetWorkItemsRequest {
    let versions: Vec<String> = versions.iter().map(|&v| v.to_owned()).collect();
    GetWorkItemsRequest {
        work_item_filters: Some(WorkItemFilters {
            orchestrations: vec![OrchestrationFilter {
                name: "Hello".to_owned(),
                versions: versions.clone(),
            }],
            activities: vec![ActivityFilter {
                name: "step".to_owned(),
                versions,
            }],
            entities: vec![],
        }),
        ..GetWorkItemsRequest::default()
    }
}

/// One that sends filters with three empty lists, as .NET's does where it has none.
fn without_filters() -> GetWorkItemsRequest {
    GetWorkItemsRequest {
        work_item_filters: Some(WorkItemFilters::default()),
        ..GetWorkItemsRequest::default()
    }
}

fn versioned(version: Option<&str>) -> Action {
    Action::ScheduleTask(ScheduleTaskAction {
        name: "step".to_owned(),
        version: version.map(str::to_owned),
        ..ScheduleTaskAction::default()
    })
}

async fn start(hub: &Hub, id: &str, version: &str) {
    hub.try_start(CreateInstanceRequest {
        instance_id: id.to_owned(),
        name: "Hello".to_owned(),
        version: Some(version.to_owned()),
        ..CreateInstanceRequest::default()
    })
    .await
    .unwrap();
}

/// Takes the next turn and schedules an activity in it.
async fn schedule(worker: &mut Worker, activity: Action) {
    let (token, _) = worker.turn().await;
    worker.answer(&token, vec![(0, activity)]).await.unwrap();
}

#[tokio::test]
async fn an_activity_without_a_version_goes_by_its_orchestrations() {
    let hub = Hub::memory().await;
    let mut old = hub.worker_with(only(&["1.0"]), "default").await;
    let mut new = hub.worker_with(only(&["2.0"]), "default").await;
    start(&hub, "a", "1.0").await;
    start(&hub, "b", "2.0").await;
    schedule(&mut old, versioned(None)).await;
    schedule(&mut new, versioned(None)).await;
    for (worker, id) in [(&mut old, "a"), (&mut new, "b")] {
        let (token, activity) = worker.activity().await;
        let instance = activity.orchestration_instance.unwrap();
        assert_eq!(instance.instance_id, id);
        // It is handed out as it was scheduled.
        assert_eq!(activity.version, None);
        worker.finish(&token, "\"out\"").await.unwrap();
        let (token, _) = worker.turn().await;
        worker
            .answer(&token, vec![(1, done("\"end\""))])
            .await
            .unwrap();
    }
    assert_eq!(hub.status("a").await, OrchestrationStatus::Completed);
    assert_eq!(hub.status("b").await, OrchestrationStatus::Completed);
}

#[tokio::test]
async fn a_version_of_its_own_counts_before_the_orchestrations() {
    let hub = Hub::memory().await;
    let mut old = hub.worker_with(only(&["1.0"]), "default").await;
    let mut new = hub.worker_with(only(&["2.0"]), "default").await;
    let mut plain = hub.worker_with(only(&[""]), "default").await;
    start(&hub, "a", "1.0").await;
    schedule(&mut old, versioned(Some("2.0"))).await;
    assert_eq!(
        new.activity().await.1.version.as_deref(),
        Some("2.0"),
        "the activity's"
    );
    start(&hub, "b", "1.0").await;
    schedule(&mut old, versioned(Some(""))).await;
    assert_eq!(
        plain.activity().await.1.version.as_deref(),
        Some(""),
        "it asks for none"
    );
    // Nothing of both came to the worker of the orchestrations' version.
    start(&hub, "c", "1.0").await;
    assert_eq!(old.turn().await.1.instance_id, "c");
}

#[tokio::test]
async fn an_activity_that_waits_is_matched_in_the_same_way_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::folder(folder.path()).await;
    // This one takes no activities.
    let mut request = only(&["1.0"]);
    request
        .work_item_filters
        .as_mut()
        .unwrap()
        .activities
        .clear();
    let mut turns = hub.worker_with(request, "default").await;
    start(&hub, "a", "1.0").await;
    schedule(&mut turns, versioned(None)).await;
    drop(turns);
    hub.crash().await;

    let hub = Hub::folder(folder.path()).await;
    let mut new = hub.worker_with(only(&["2.0"]), "default").await;
    let mut old = hub.worker_with(only(&["1.0"]), "default").await;
    old.activity().await;
    start(&hub, "b", "2.0").await;
    assert_eq!(new.turn().await.1.instance_id, "b", "and nothing before it");
}

#[tokio::test]
async fn filters_with_three_empty_lists_take_everything() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker_with(without_filters(), "default").await;
    start(&hub, "a", "1.0").await;
    schedule(&mut worker, versioned(None)).await;
    let (token, _) = worker.activity().await;
    worker.finish(&token, "1").await.unwrap();
    let (token, _) = worker.turn().await;
    worker.answer(&token, vec![(1, done("1"))]).await.unwrap();
    let signal = SignalEntityRequest {
        instance_id: "@counter@a".to_owned(),
        name: "add".to_owned(),
        ..SignalEntityRequest::default()
    };
    hub.client.clone().signal_entity(signal).await.unwrap();
    let item = worker.next().await;
    assert!(
        matches!(
            item.request,
            Some(work_item::Request::EntityRequestV2(_) | work_item::Request::EntityRequest(_))
        ),
        "{item:?}"
    );
}

#[tokio::test]
async fn a_kind_without_a_filter_gets_nothing_where_another_kind_has_one() {
    let hub = Hub::memory().await;
    // It takes turns of `Hello` only.
    let mut request = only(&[]);
    if let Some(filters) = &mut request.work_item_filters {
        filters.activities.clear();
    }
    let mut turns = hub.worker_with(request, "default").await;
    start(&hub, "a", "1.0").await;
    schedule(&mut turns, versioned(None)).await;
    start(&hub, "b", "1.0").await;
    assert_eq!(turns.turn().await.1.instance_id, "b", "no activity before");
    let mut all = hub.worker_with(without_filters(), "default").await;
    assert_eq!(all.activity().await.1.name, "step");
}
