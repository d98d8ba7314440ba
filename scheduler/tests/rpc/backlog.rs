//! A backlog of events in front of an orchestration that takes one and continues as new.
use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::*;

use super::support::*;

fn names(events: &[HistoryEvent]) -> Vec<String> {
    events
        .iter()
        .filter_map(|event| match &event.event_type {
            Some(history_event::EventType::EventRaised(raised)) => Some(raised.name.clone()),
            _ => None,
        })
        .collect()
}

/// Continues as new with the events that were not used, as SDKs do.
fn again(unused: Vec<HistoryEvent>) -> Action {
    Action::CompleteOrchestration(CompleteOrchestrationAction {
        orchestration_status: OrchestrationStatus::ContinuedAsNew as i32,
        carryover_events: unused,
        ..CompleteOrchestrationAction::default()
    })
}

/// Works a backlog off and returns how many events went to the worker in all.
async fn work_off(hub: &Hub, count: usize) -> usize {
    hub.start("a").await;
    for n in 0..count {
        hub.raise("a", &format!("e{n}")).await.unwrap();
    }
    let mut worker = hub.worker().await;
    let mut sent = 0;
    for n in 0..count {
        let (token, turn) = worker.turn().await;
        let mut events: Vec<HistoryEvent> = turn
            .new_events
            .into_iter()
            .filter(|event| {
                matches!(
                    event.event_type,
                    Some(history_event::EventType::EventRaised(_))
                )
            })
            .collect();
        sent += events.len();
        let first = events.remove(0);
        assert_eq!(names(&[first]), [format!("e{n}")], "in order");
        worker
            .answer(&token, vec![(0, again(events))])
            .await
            .unwrap();
    }
    let (token, turn) = worker.turn().await;
    assert!(names(&turn.new_events).is_empty(), "nothing twice");
    worker.answer(&token, vec![(0, done("1"))]).await.unwrap();
    sent
}

#[tokio::test]
async fn a_backlog_costs_per_event() {
    let few = work_off(&Hub::memory().await, 40).await;
    let many = work_off(&Hub::memory().await, 160).await;
    // Four times as many events: four times the cost, and not sixteen.
    assert!(many <= 5 * few, "{few} and {many}");
}

#[tokio::test]
async fn a_backlog_is_kept_over_restarts_and_results_of_the_old_execution_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::folder(folder.path()).await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (token, _) = worker.turn().await;
    let calls = vec![(0, call("one")), (1, call("two"))];
    worker.answer(&token, calls).await.unwrap();
    let (one, _) = worker.activity().await;
    let (two, _) = worker.activity().await;
    worker.finish(&one, "1").await.unwrap();
    let (token, _) = worker.turn().await;
    // Events and a result arrive while the turn is out that continues as new.
    hub.raise("a", "x").await.unwrap();
    worker.finish(&two, "2").await.unwrap();
    hub.raise("a", "y").await.unwrap();
    worker
        .answer(&token, vec![(2, again(vec![]))])
        .await
        .unwrap();
    let (_, turn) = worker.turn().await;
    let wanted = [
        "OrchestratorStarted",
        "ExecutionStarted",
        "EventRaised",
        "EventRaised",
    ];
    assert_eq!(kinds(&turn.new_events), wanted);
    assert_eq!(names(&turn.new_events), ["x", "y"]);
    hub.crash().await;

    let hub = Hub::folder(folder.path()).await;
    let mut worker = hub.worker().await;
    let (token, turn) = worker.turn().await;
    assert_eq!(kinds(&turn.new_events), wanted, "also read back");
    worker
        .answer(&token, vec![(0, again(vec![]))])
        .await
        .unwrap();
    hub.raise("a", "z").await.unwrap();
    let (_, turn) = worker.turn().await;
    assert_eq!(
        kinds(&turn.new_events)[..2],
        ["OrchestratorStarted", "ExecutionStarted"]
    );
}

#[tokio::test]
async fn an_orchestration_that_collects_events_gets_more_with_each_turn() {
    let hub = Hub::memory().await;
    hub.start("a").await;
    for n in 0..100 {
        hub.raise("a", &format!("e{n}")).await.unwrap();
    }
    let mut worker = hub.worker().await;
    let (mut seen, mut turns) = (Vec::new(), 0);
    while seen.len() < 100 {
        let (token, turn) = worker.turn().await;
        seen.extend(names(&turn.new_events));
        turns += 1;
        worker.answer(&token, vec![]).await.unwrap();
    }
    let wanted: Vec<String> = (0..100).map(|n| format!("e{n}")).collect();
    assert_eq!(seen, wanted);
    assert!(turns <= 5, "{turns}");
}
