//! What is acknowledged survives the process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::*;
use durabletask_scheduler::{OpenError, Scheduler, SchedulerConfig, Storage};
use prost_types::Timestamp;
use support::*;

#[tokio::test]
async fn inboxes_activities_and_timers_continue_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::folder(folder.path()).await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (token, _) = worker.turn().await;
    let timer = Action::CreateTimer(CreateTimerAction {
        fire_at: Some(Timestamp {
            seconds: 1_700_000_050,
            nanos: 0,
        }),
    });
    worker
        .answer(&token, vec![(0, call("Greet")), (1, timer)])
        .await
        .unwrap();
    worker.activity().await;
    hub.start("b").await;
    hub.raise("b", "early").await.unwrap();
    drop(worker);
    hub.crash().await;

    let hub = Hub::folder(folder.path()).await;
    let mut worker = hub.worker().await;
    let (mut turn, mut activity) = (None, None);
    for _ in 0..2 {
        let item = worker.next().await;
        match item.request.unwrap() {
            work_item::Request::OrchestratorRequest(request) => turn = Some(request),
            work_item::Request::ActivityRequest(request) => {
                activity = Some((item.completion_token, request))
            }
            other => panic!("{other:?}"),
        }
    }
    let turn = turn.unwrap();
    assert_eq!(turn.instance_id, "b");
    assert_eq!(
        kinds(&turn.new_events),
        ["OrchestratorStarted", "ExecutionStarted", "EventRaised"]
    );
    let (token, request) = activity.unwrap();
    assert_eq!((request.name.as_str(), request.task_id), ("Greet", 0));
    worker.finish(&token, "1").await.unwrap();
    let (token, turn) = worker.turn().await;
    assert_eq!(kinds(&turn.past_events).len(), 4);
    worker.answer(&token, vec![]).await.unwrap();
    hub.clock.advance(Duration::from_secs(60));
    let (token, turn) = worker.turn().await;
    assert_eq!(
        kinds(&turn.new_events),
        ["OrchestratorStarted", "TimerFired"]
    );
    worker.answer(&token, vec![(2, done("1"))]).await.unwrap();
    assert_eq!(hub.status("a").await, OrchestrationStatus::Completed);
}

#[tokio::test]
async fn a_second_process_and_a_newer_schema_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        Scheduler::open(SchedulerConfig::new(Storage::Directory(
            folder.path().to_owned(),
        )))
    };
    let first = open().unwrap();
    assert!(matches!(open(), Err(OpenError::InUse { .. })));
    drop(first);
    let other = tempfile::tempdir().unwrap();
    let conn = rusqlite::Connection::open(other.path().join("scheduler.sqlite3")).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    let newer = Scheduler::open(SchedulerConfig::new(Storage::Directory(
        other.path().to_owned(),
    )));
    assert!(matches!(
        newer,
        Err(OpenError::NewerSchema { found: 99, .. })
    ));
}

#[tokio::test]
async fn a_graceful_stop_returns() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::folder(folder.path()).await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (token, _) = worker.turn().await;
    hub.stop.cancel();
    worker.answer(&token, vec![(0, done("1"))]).await.unwrap();
    assert!(worker.stream.message().await.unwrap().is_none());
    tokio::time::timeout(PATIENCE, hub.served)
        .await
        .expect("an end")
        .unwrap();
}

/// Copies some files of a data folder into a new one, and opens that.
fn open_copy(of: &std::path::Path, files: &[&str]) -> Result<Scheduler, OpenError> {
    let copy = tempfile::tempdir().unwrap();
    for file in files {
        std::fs::copy(of.join(file), copy.path().join(file)).unwrap();
    }
    Scheduler::open(SchedulerConfig::new(Storage::Directory(
        copy.path().to_owned(),
    )))
}

#[tokio::test]
async fn a_copy_without_its_log_is_refused() {
    if support::ON_POSTGRES {
        // There is no file to copy.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::folder(folder.path()).await;
    hub.start("a").await;
    let Err(refused) = open_copy(folder.path(), &["scheduler.sqlite3"]) else {
        panic!("it was opened")
    };
    assert!(
        matches!(refused, OpenError::LogMissing { .. }),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("backup"), "{refused}");
    // Nothing was changed by looking at it.
    open_copy(
        folder.path(),
        &["scheduler.sqlite3", "scheduler.sqlite3-wal"],
    )
    .unwrap();
    let made = folder.path().join("made.sqlite3");
    durabletask_scheduler::backup(folder.path(), &made).unwrap();
    let restored = tempfile::tempdir().unwrap();
    std::fs::copy(&made, restored.path().join("scheduler.sqlite3")).unwrap();
    assert!(Hub::folder(restored.path()).await.get("a").await.is_some());
    // A scheduler that was stopped leaves one file that is whole.
    hub.crash().await;
    Hub::folder(folder.path()).await.crash().await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while open_copy(folder.path(), &["scheduler.sqlite3"]).is_err() {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
}
