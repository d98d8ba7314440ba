//! What keeps within bounds: histories, and a clock that is set while work continues.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::*;
use support::*;

fn again(input: &str) -> Action {
    complete(OrchestrationStatus::ContinuedAsNew, input)
}

/// A call with an input of so many bytes.
fn call_with(bytes: usize) -> Action {
    Action::ScheduleTask(ScheduleTaskAction {
        name: "step".into(),
        input: Some("x".repeat(bytes)),
        ..Default::default()
    })
}

/// A turn that makes one call, whose input and result have 4,000 bytes each.
async fn a_large_call(worker: &mut Worker) -> OrchestratorRequest {
    let (token, turn) = worker.turn().await;
    worker
        .answer(&token, vec![(0, call_with(4000))])
        .await
        .unwrap();
    let (token, _) = worker.activity().await;
    worker.finish(&token, &"y".repeat(4000)).await.unwrap();
    turn
}

#[tokio::test]
async fn a_history_that_outgrows_its_limit_fails_the_orchestration() {
    let hub = Hub::with(|config| config.max_history_bytes = 10_000).await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    a_large_call(&mut worker).await;
    // What is there fits; with this call it would not.
    let (token, _) = worker.turn().await;
    worker
        .answer(&token, vec![(1, call_with(4000))])
        .await
        .unwrap();
    let state = hub.get("a").await.unwrap();
    assert_eq!(
        state.orchestration_status,
        OrchestrationStatus::Failed as i32
    );
    let failure = state.failure_details.unwrap();
    assert_eq!(failure.error_type, "HistoryTooLarge");
    assert!(
        failure.error_message.contains("10000")
            && failure.error_message.contains("continue as new"),
        "{}",
        failure.error_message
    );
    // The refused call was not made.
    let history = hub.history("a").await;
    let calls = history.iter().filter(|kind| **kind == "TaskScheduled");
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn a_turn_that_is_read_back_is_no_larger_than_any_other() {
    const EVENTS: usize = 5;
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::folder(folder.path()).await;
    hub.start("a").await;
    for _ in 0..EVENTS {
        let raise = RaiseEventRequest {
            instance_id: "a".into(),
            name: "go".into(),
            input: Some("x".repeat(700_000)),
        };
        hub.client.clone().raise_event(raise).await.unwrap();
    }
    // Nothing of it is in memory after this.
    hub.crash().await;
    let hub = Hub::folder(folder.path()).await;
    let mut worker = hub.worker().await;
    let mut raised = 0;
    while raised < EVENTS {
        let (token, turn) = worker.turn().await;
        let events = turn.new_events.iter();
        let bytes: usize = events.map(prost::Message::encoded_len).sum();
        assert!(bytes < 1 << 20, "{bytes}");
        let kinds = kinds(&turn.new_events);
        raised += kinds.iter().filter(|kind| **kind == "EventRaised").count();
        worker.answer(&token, vec![]).await.unwrap();
    }
    assert_eq!(raised, EVENTS);
}

#[tokio::test]
async fn an_oversized_failure_is_reported_as_a_failure() {
    let hub = Hub::with(|config| config.max_payload_bytes = 1000).await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (token, _) = worker.turn().await;
    worker
        .answer(&token, vec![(0, call("step"))])
        .await
        .unwrap();
    let (token, activity) = worker.activity().await;
    let failure = || {
        Some(TaskFailureDetails {
            error_type: "Trouble".into(),
            error_message: "x".repeat(2000),
            ..Default::default()
        })
    };
    let failed = ActivityResponse {
        instance_id: activity.orchestration_instance.unwrap().instance_id,
        task_id: activity.task_id,
        failure_details: failure(),
        completion_token: token,
        ..Default::default()
    };
    hub.client
        .clone()
        .complete_activity_task(failed)
        .await
        .unwrap();
    let (token, turn) = worker.turn().await;
    let Some(history_event::EventType::TaskFailed(told)) = &turn.new_events[1].event_type else {
        panic!("{:?}", turn.new_events)
    };
    let told = told.failure_details.as_ref().unwrap();
    assert_eq!(told.error_type, "PayloadTooLarge");
    assert!(
        told.error_message.contains("failure"),
        "{}",
        told.error_message
    );

    let end = Action::CompleteOrchestration(CompleteOrchestrationAction {
        orchestration_status: OrchestrationStatus::Failed as i32,
        failure_details: failure(),
        ..Default::default()
    });
    worker.answer(&token, vec![(1, end)]).await.unwrap();
    let state = hub.get("a").await.unwrap();
    assert_eq!(state.failure_details.unwrap().error_type, "PayloadTooLarge");
}

#[tokio::test]
async fn an_orchestration_that_ends_or_starts_over_in_time_is_not_bounded() {
    let hub = Hub::with(|config| config.max_history_bytes = 10_000).await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    // Far more than the limit in all, and never much at once.
    for _ in 0..5 {
        let turn = a_large_call(&mut worker).await;
        assert!(turn.past_events.is_empty());
        let (token, _) = worker.turn().await;
        worker.answer(&token, vec![(1, again("1"))]).await.unwrap();
    }
    let (token, _) = worker.turn().await;
    worker
        .answer(&token, vec![(0, done(&"z".repeat(20_000)))])
        .await
        .unwrap();
    assert_eq!(hub.status("a").await, OrchestrationStatus::Completed);
}

#[tokio::test]
async fn the_size_of_a_history_is_known_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::folder_with(folder.path(), |_| {}).await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (token, _) = worker.turn().await;
    worker
        .answer(&token, vec![(0, call_with(9000))])
        .await
        .unwrap();
    hub.crash().await;

    let hub = Hub::folder_with(folder.path(), |c| c.max_history_bytes = 10_000).await;
    let mut worker = hub.worker().await;
    let (token, _) = worker.activity().await;
    worker.finish(&token, &"y".repeat(2000)).await.unwrap();
    let (token, _) = worker.turn().await;
    worker.answer(&token, vec![]).await.unwrap();
    let failure = hub.get("a").await.unwrap().failure_details.unwrap();
    assert_eq!(failure.error_type, "HistoryTooLarge");
}

#[tokio::test]
async fn a_clock_that_jumps_fires_timers_once_and_takes_no_work_away() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let timer = |seconds: i64| {
        Action::CreateTimer(CreateTimerAction {
            fire_at: Some(prost_types::Timestamp {
                seconds: 1_700_000_000 + seconds,
                nanos: 0,
            }),
        })
    };
    let begun = durabletask_scheduler::Clock::now(&*hub.clock);
    let (token, _) = worker.turn().await;
    let actions = vec![(0, timer(60)), (1, timer(3600)), (2, call("step"))];
    worker.answer(&token, actions).await.unwrap();
    let (held, _) = worker.activity().await;

    // Ten years ahead: both timers are due, and the activity is still the worker's.
    hub.clock.advance(Duration::from_secs(10 * 365 * 86_400));
    let mut fired = 0;
    while fired < 2 {
        let (token, turn) = worker.turn().await;
        let kinds = kinds(&turn.new_events);
        fired += kinds.iter().filter(|kind| **kind == "TimerFired").count();
        worker.answer(&token, vec![]).await.unwrap();
    }
    // Back again, and further: what was done stays done, work continues, and a timer waits
    // for its time on the clock as it is now.
    hub.clock.set(begun - chrono::TimeDelta::days(365));
    worker.finish(&held, "1").await.unwrap();
    let (token, turn) = worker.turn().await;
    assert_eq!(
        kinds(&turn.new_events),
        ["OrchestratorStarted", "TaskCompleted"]
    );
    worker.answer(&token, vec![(3, timer(0))]).await.unwrap();
    hub.start("b").await;
    assert_eq!(worker.turn().await.1.instance_id, "b");
    hub.clock.set(begun);
    let (token, turn) = worker.turn().await;
    assert_eq!(
        kinds(&turn.new_events),
        ["OrchestratorStarted", "TimerFired"]
    );
    worker.answer(&token, vec![(4, done("1"))]).await.unwrap();
    assert_eq!(hub.status("a").await, OrchestrationStatus::Completed);
    let history = hub.history("a").await;
    let fired = history.iter().filter(|kind| **kind == "TimerFired");
    assert_eq!(fired.count(), 3);
}
