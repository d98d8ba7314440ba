//! What an operator may set: which activities go first, how often, how many at once; when
//! a start happens; how long what ended is kept.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use durabletask_proto::*;
use durabletask_scheduler::Retention;
use prost_types::Timestamp;
use support::*;

/// A scheduler whose activities have the given policies.
async fn with_policies(policies: &[(&str, &str)]) -> Hub {
    Hub::with(|config| {
        for (name, policy) in policies {
            config
                .activities
                .insert((*name).to_owned(), policy.parse().unwrap());
        }
    })
    .await
}

/// Takes only orchestrations, or only activities, so many at once.
fn only(turns: bool, activities: i32) -> GetWorkItemsRequest {
    let orchestrations = turns.then(|| OrchestrationFilter {
        name: "Hello".into(),
        ..Default::default()
    });
    let names = ["low", "plain", "high"].map(|name| ActivityFilter {
        name: name.into(),
        ..Default::default()
    });
    GetWorkItemsRequest {
        max_concurrent_activity_work_items: activities.max(1),
        work_item_filters: Some(WorkItemFilters {
            orchestrations: orchestrations.into_iter().collect(),
            activities: if activities > 0 {
                names.to_vec()
            } else {
                vec![]
            },
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Starts an instance that schedules these activities at once.
async fn schedule(hub: &Hub, id: &str, names: &[&str]) {
    let mut worker = hub.worker_with(only(true, 0), "default").await;
    hub.start(id).await;
    let (token, _) = worker.turn().await;
    let actions = (0..).zip(names).map(|(n, name)| (n, call(name))).collect();
    worker.answer(&token, actions).await.unwrap();
}

/// The name of the next activity, which is answered at once where asked.
async fn next(worker: &mut Worker, answer: bool) -> (String, String) {
    let (token, activity) = worker.activity().await;
    if answer {
        worker.finish(&token, "1").await.unwrap();
    }
    (activity.name, token)
}

/// Whether nothing has been handed out. Answered by the scheduler, not by waiting: the
/// metrics tell how many work items are with workers.
async fn held(hub: &Hub) -> (u64, u64) {
    let router = hub.scheduler.operations();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    serving.abort();
    let value = |name: &str| {
        let start =
            format!("durabletask_scheduler_{name}{{task_hub=\"default\",kind=\"activity\"}} ");
        text.lines()
            .find_map(|line| line.strip_prefix(&start))
            .map_or(0, |value| value.parse().unwrap())
    };
    (value("queue_depth"), value("work_items_held"))
}

#[tokio::test]
async fn the_highest_priority_goes_first_and_equals_in_order() {
    let hub = with_policies(&[("high", "priority=5"), ("low", "priority=-5")]).await;
    schedule(&hub, "a", &["low", "plain", "high", "low", "plain", "high"]).await;
    let mut worker = hub.worker_with(only(false, 1), "default").await;
    let mut order = Vec::new();
    for _ in 0..6 {
        order.push(next(&mut worker, true).await.0);
    }
    assert_eq!(order, ["high", "high", "plain", "plain", "low", "low"]);
}

#[tokio::test]
async fn no_more_than_allowed_run_at_once_over_all_workers() {
    let hub = with_policies(&[("high", "concurrency=2")]).await;
    schedule(&hub, "a", &["high", "high", "high", "plain"]).await;
    let mut first = hub.worker_with(only(false, 1), "default").await;
    let mut second = hub.worker_with(only(false, 1), "default").await;
    let mut third = hub.worker_with(only(false, 1), "default").await;
    let (_, token) = next(&mut first, false).await;
    assert_eq!(next(&mut second, false).await.0, "high");
    assert_eq!(
        next(&mut third, false).await.0,
        "plain",
        "it is not in the way of others"
    );
    let mut fourth = hub.worker_with(only(false, 1), "default").await;
    assert_eq!(held(&hub).await, (1, 3));
    // The one that comes back lets another worker have the next.
    drop(second);
    let name = tokio::select! {
        (name, _) = next(&mut fourth, false) => name,
        (name, _) = next(&mut first, false) => name,
    };
    assert_eq!(name, "high");
    first.finish(&token, "1").await.unwrap();
    let name = tokio::select! {
        (name, _) = next(&mut fourth, false) => name,
        (name, _) = next(&mut first, false) => name,
    };
    assert_eq!(name, "high");
    assert_eq!(held(&hub).await, (0, 3));
}

#[tokio::test]
async fn a_rate_holds_and_continues_by_the_clock() {
    let hub = with_policies(&[("high", "rate=2/min")]).await;
    let mut worker = hub.worker_with(only(false, 100), "default").await;
    schedule(&hub, "a", &["high"; 4]).await;
    next(&mut worker, true).await;
    for left in [3, 2, 1] {
        assert_eq!(held(&hub).await, (left, 0), "not before its time");
        hub.clock.advance(Duration::from_secs(29));
        assert_eq!(held(&hub).await, (left, 0), "not a second early");
        hub.clock.advance(Duration::from_secs(1));
        next(&mut worker, true).await;
    }
}

#[tokio::test]
async fn a_scheduled_start_is_moved_started_now_or_canceled() {
    let hub = Hub::memory().await;
    let at = |seconds: i64| {
        Some(Timestamp {
            seconds: 1_700_000_000 + seconds,
            nanos: 0,
        })
    };
    for id in ["moved", "now", "cancelled"] {
        hub.try_start(CreateInstanceRequest {
            instance_id: id.into(),
            name: "Hello".into(),
            scheduled_start_timestamp: at(1000),
            ..Default::default()
        })
        .await
        .unwrap();
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = hub.scheduler.dashboard();
    let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let reschedule = async |id: &str, body: serde_json::Value| {
        let url = format!("{base}/api/hubs/default/instances/{id}/reschedule");
        let request = reqwest::Client::new().post(url).json(&body);
        request.send().await.unwrap().status().as_u16()
    };
    let mut worker = hub.worker().await;

    assert_eq!(reschedule("now", serde_json::json!({})).await, 200);
    let (token, turn) = worker.turn().await;
    assert_eq!(turn.instance_id, "now");
    worker.answer(&token, vec![(0, done("1"))]).await.unwrap();
    assert_eq!(
        reschedule("now", serde_json::json!({})).await,
        409,
        "it has started"
    );
    assert_eq!(reschedule("nowhere", serde_json::json!({})).await, 404);

    let later = serde_json::json!({"at": "2023-11-14T22:46:40Z"});
    assert_eq!(reschedule("moved", later).await, 200);
    let state = hub.get("moved").await.unwrap();
    assert_eq!(state.scheduled_start_timestamp, at(2000));
    let terminate = TerminateRequest {
        instance_id: "cancelled".into(),
        ..Default::default()
    };
    hub.client
        .clone()
        .terminate_instance(terminate)
        .await
        .unwrap();
    assert_eq!(
        hub.status("cancelled").await,
        OrchestrationStatus::Terminated
    );

    hub.clock.advance(Duration::from_secs(1500));
    assert_eq!(hub.status("moved").await, OrchestrationStatus::Pending);
    hub.clock.advance(Duration::from_secs(500));
    let (_, turn) = worker.turn().await;
    assert_eq!(turn.instance_id, "moved");
    let Some(history_event::EventType::ExecutionStarted(started)) = &turn.new_events[1].event_type
    else {
        panic!("{turn:?}")
    };
    assert_eq!(started.scheduled_start_timestamp, at(2000));
    serving.abort();
}

#[tokio::test]
async fn finished_instances_are_purged_by_age_and_status() {
    let hub = Hub::with(|config| {
        config.retention = Retention {
            completed: Some(Duration::from_secs(3600)),
            failed: Some(Duration::from_secs(7200)),
            ..Retention::default()
        };
    })
    .await;
    let mut worker = hub.worker().await;
    for (id, status) in [
        ("completed", OrchestrationStatus::Completed),
        ("failed", OrchestrationStatus::Failed),
        ("terminated", OrchestrationStatus::Terminated),
    ] {
        hub.start(id).await;
        let (token, _) = worker.turn().await;
        worker
            .answer(&token, vec![(0, complete(status, "1"))])
            .await
            .unwrap();
    }
    hub.start("running").await;
    let gone = async |id: &str| {
        let begun = tokio::time::Instant::now();
        while hub.get(id).await.is_some() {
            assert!(begun.elapsed() < PATIENCE, "{id} goes");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    hub.clock.advance(Duration::from_secs(3599));
    assert!(hub.get("completed").await.is_some());
    hub.clock.advance(Duration::from_secs(1));
    gone("completed").await;
    assert!(hub.get("failed").await.is_some());
    hub.clock.advance(Duration::from_secs(3600));
    gone("failed").await;
    hub.clock.advance(Duration::from_secs(1_000_000));
    // Ends after the others did, and goes by its own end.
    let (token, _) = worker.turn().await;
    worker.answer(&token, vec![(0, done("1"))]).await.unwrap();
    assert!(hub.get("terminated").await.is_some() && hub.get("running").await.is_some());
    hub.clock.advance(Duration::from_secs(3600));
    gone("running").await;
    assert!(
        hub.get("terminated").await.is_some(),
        "until somebody purges it"
    );
}

#[tokio::test]
async fn the_file_shrinks_by_what_was_purged() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::folder_with(folder.path(), |config| {
        config.retention = Retention::all(Duration::from_secs(3600));
    })
    .await;
    for number in 0..100 {
        let request = CreateInstanceRequest {
            instance_id: format!("large-{number}"),
            name: "Hello".into(),
            input: Some("x".repeat(100_000)),
            ..Default::default()
        };
        hub.try_start(request).await.unwrap();
        let terminate = TerminateRequest {
            instance_id: format!("large-{number}"),
            ..Default::default()
        };
        hub.client
            .clone()
            .terminate_instance(terminate)
            .await
            .unwrap();
    }
    let file = folder.path().join("scheduler.sqlite3");
    let size = || {
        let log = std::fs::metadata(folder.path().join("scheduler.sqlite3-wal"));
        std::fs::metadata(&file).unwrap().len() + log.map_or(0, |log| log.len())
    };
    let full = size();
    assert!(full > 10_000_000, "{full}");
    hub.clock.advance(Duration::from_secs(3600));
    let begun = tokio::time::Instant::now();
    // What it keeps to be written next is about a megabyte.
    while size() > 2_000_000 {
        assert!(begun.elapsed() < PATIENCE, "{} of {full}", size());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(hub.get("large-0").await.is_none());
}
