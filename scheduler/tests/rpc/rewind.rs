//! Rewinding failed instances, with a worker that answers as the SDKs do.

use durabletask_proto::history_event::EventType;
use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::*;
use tonic::Code;

use super::support::*;

pub(super) async fn rewind(hub: &Hub, id: &str) -> Result<(), Code> {
    let request = RewindInstanceRequest {
        instance_id: id.into(),
        reason: Some("try again".into()),
    };
    let answer = hub.client.clone().rewind_instance(request).await;
    answer.map(|_| ()).map_err(|s| s.code())
}

/// What a worker makes of a history at a rewind: the failures go, with the activities
/// that failed, and the execution has a new id.
fn cleaned(turn: &OrchestratorRequest, execution: &str) -> Action {
    let all = turn.past_events.iter().chain(&turn.new_events);
    let failed: Vec<i32> = all
        .clone()
        .filter_map(|event| match &event.event_type {
            Some(EventType::TaskFailed(failed)) => Some(failed.task_scheduled_id),
            _ => None,
        })
        .collect();
    let new_history = all
        .filter(|event| match &event.event_type {
            Some(
                EventType::TaskFailed(_)
                | EventType::SubOrchestrationInstanceFailed(_)
                | EventType::ExecutionCompleted(_),
            ) => false,
            Some(EventType::TaskScheduled(_)) => !failed.contains(&event.event_id),
            _ => true,
        })
        .cloned()
        .map(|mut event| {
            if let Some(EventType::ExecutionStarted(started)) = &mut event.event_type {
                let identity = started.orchestration_instance.as_mut().unwrap();
                identity.execution_id = Some(execution.into());
            }
            event
        })
        .collect();
    Action::RewindOrchestration(RewindOrchestrationAction { new_history })
}

fn child(id: &str) -> Action {
    Action::CreateSubOrchestration(CreateSubOrchestrationAction {
        instance_id: id.into(),
        name: "Child".into(),
        ..Default::default()
    })
}

pub(super) fn failing() -> Action {
    Action::CompleteOrchestration(CompleteOrchestrationAction {
        orchestration_status: OrchestrationStatus::Failed as i32,
        failure_details: Some(TaskFailureDetails {
            error_type: "Boom".into(),
            error_message: "no".into(),
            ..Default::default()
        }),
        ..Default::default()
    })
}

async fn fail_activity(worker: &Worker, token: &str) {
    let response = ActivityResponse {
        completion_token: token.into(),
        failure_details: Some(TaskFailureDetails {
            error_type: "Boom".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut client = worker.client.clone();
    client.complete_activity_task(response).await.unwrap();
}

/// Takes the turn that asks for the rewind, checks it and answers with a clean history.
pub(super) async fn answer_rewind(
    worker: &mut Worker,
    id: &str,
    execution: &str,
) -> OrchestratorRequest {
    let (token, turn) = worker.turn().await;
    assert_eq!(turn.instance_id, id);
    assert_eq!(
        kinds(&turn.new_events),
        ["OrchestratorStarted", "ExecutionRewound"]
    );
    assert_eq!(kinds(&turn.past_events).last(), Some(&"ExecutionCompleted"));
    worker
        .answer(&token, vec![(-1, cleaned(&turn, execution))])
        .await
        .unwrap();
    turn
}

#[tokio::test]
async fn a_failed_activity_is_run_again_and_successes_stay() {
    let hub = Hub::memory().await;
    // A worker that keeps instances must not continue from the history before the rewind.
    let capable = GetWorkItemsRequest {
        capabilities: vec![WorkerCapability::HistoryStreaming as i32],
        ..Default::default()
    };
    let mut worker = hub.worker_with(capable, "default").await;
    assert_eq!(rewind(&hub, "a").await, Err(Code::NotFound));
    hub.start("a").await;
    assert_eq!(rewind(&hub, "a").await, Err(Code::FailedPrecondition));
    let (token, _) = worker.turn().await;
    worker
        .answer(&token, vec![(0, call("Good")), (1, call("Bad"))])
        .await
        .unwrap();
    let (good, _) = worker.activity().await;
    let (bad, _) = worker.activity().await;
    worker.finish(&good, "1").await.unwrap();
    let (token, _) = worker.turn().await;
    // Still open when the instance fails: this timer and this activity.
    let timer = Action::CreateTimer(CreateTimerAction {
        fire_at: Some(prost_types::Timestamp {
            seconds: 1_700_000_060,
            nanos: 0,
        }),
    });
    worker
        .answer(&token, vec![(2, timer), (3, call("Open"))])
        .await
        .unwrap();
    let (open, _) = worker.activity().await;
    fail_activity(&worker, &bad).await;
    let (token, _) = worker.turn().await;
    worker.answer(&token, vec![(4, failing())]).await.unwrap();

    for round in ["second", "third"] {
        let mut client = hub.client.clone();
        rewind(&hub, "a").await.unwrap();
        let state = hub.get("a").await.unwrap();
        assert_eq!(
            state.orchestration_status,
            OrchestrationStatus::Running as i32
        );
        assert_eq!(
            (state.failure_details, state.completed_timestamp),
            (None, None)
        );
        // Raised before the rewind is done, delivered after.
        hub.raise("a", "late").await.unwrap();
        let turn = answer_rewind(&mut worker, "a", round).await;
        let Some(EventType::ExecutionRewound(rewound)) = &turn.new_events[1].event_type else {
            panic!("{turn:?}")
        };
        assert_eq!(
            (rewound.reason.as_deref(), rewound.name.as_deref()),
            (Some("try again"), Some("Hello"))
        );
        assert_eq!(rewound.parent_execution_id, None);
        if round == "second" {
            assert_eq!(worker.finish(&open, "1").await, Ok(()), "dropped");
        }
        // What was open runs again; what failed is for the worker to schedule again.
        let (mut again, mut turn) = (None, None);
        while again.is_none() || turn.is_none() {
            let item = worker.next().await;
            match item.request.unwrap() {
                work_item::Request::ActivityRequest(activity) => {
                    assert_eq!((activity.task_id, activity.name.as_str()), (3, "Open"));
                    let identity = activity.orchestration_instance.unwrap();
                    assert_eq!(identity.execution_id.as_deref(), Some(round));
                    again = Some(item.completion_token);
                }
                work_item::Request::OrchestratorRequest(request) => {
                    turn = Some((item.completion_token, request))
                }
                other => panic!("{other:?}"),
            }
        }
        let (token, turn) = turn.unwrap();
        assert_eq!(
            kinds(&turn.new_events),
            ["OrchestratorStarted", "EventRaised"]
        );
        assert!(!turn.requires_history_streaming);
        assert_eq!(turn.execution_id.as_deref(), Some(round));
        let past = kinds(&turn.past_events);
        assert!(past.contains(&"TaskCompleted") && past.contains(&"TimerCreated"));
        assert!(!past.contains(&"TaskFailed") && !past.contains(&"ExecutionCompleted"));
        let get = GetInstanceRequest {
            instance_id: "a".into(),
            ..Default::default()
        };
        let started = client.wait_for_instance_start(get).await.unwrap();
        assert_eq!(
            started
                .into_inner()
                .orchestration_state
                .unwrap()
                .execution_id
                .as_deref(),
            Some(round)
        );
        if round == "second" {
            worker.answer(&token, vec![(5, failing())]).await.unwrap();
        } else {
            worker.answer(&token, vec![(1, call("Bad"))]).await.unwrap();
            let (bad, _) = worker.activity().await;
            worker.finish(&bad, "2").await.unwrap();
            let (token, _) = worker.turn().await;
            worker.answer(&token, vec![]).await.unwrap();
            hub.clock.advance(std::time::Duration::from_secs(61));
            let (token, turn) = worker.turn().await;
            assert_eq!(
                kinds(&turn.new_events),
                ["OrchestratorStarted", "TimerFired"]
            );
            worker.answer(&token, vec![(6, done("9"))]).await.unwrap();
        }
    }
    let state = hub.get("a").await.unwrap();
    assert_eq!(state.output.as_deref(), Some("9"));
    assert_eq!(rewind(&hub, "a").await, Err(Code::FailedPrecondition));
}

#[tokio::test]
async fn failed_and_purged_children_continue_with_their_parent() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("p").await;
    let (token, _) = worker.turn().await;
    let three = vec![
        (0, child("fails")),
        (1, child("purged")),
        (2, child("runs")),
    ];
    worker.answer(&token, three).await.unwrap();
    let mut running = String::new();
    for _ in 0..3 {
        let (token, turn) = worker.turn().await;
        match turn.instance_id.as_str() {
            "runs" => running = token,
            _ => worker.answer(&token, vec![(0, failing())]).await.unwrap(),
        }
    }
    // Both failures may come in one turn or in two.
    while hub.status("p").await != OrchestrationStatus::Failed {
        let (token, turn) = worker.turn().await;
        let failures = turn.past_events.iter().chain(&turn.new_events);
        let failures = failures
            .filter(|event| event_kind(event) == "SubOrchestrationInstanceFailed")
            .count();
        let actions = if failures == 2 {
            vec![(3, failing())]
        } else {
            vec![]
        };
        worker.answer(&token, actions).await.unwrap();
    }
    let purge = PurgeInstancesRequest {
        request: Some(purge_instances_request::Request::InstanceId(
            "purged".into(),
        )),
        ..Default::default()
    };
    hub.client.clone().purge_instances(purge).await.unwrap();

    rewind(&hub, "p").await.unwrap();
    answer_rewind(&mut worker, "p", "again").await;
    let mut seen = Vec::new();
    let (mut fails, mut purged) = (String::new(), String::new());
    for _ in 0..3 {
        let (token, turn) = worker.turn().await;
        seen.push(turn.instance_id.clone());
        match turn.instance_id.as_str() {
            "p" => {
                assert_eq!(kinds(&turn.new_events), ["OrchestratorStarted"]);
                worker.answer(&token, vec![]).await.unwrap();
            }
            "fails" => {
                let Some(EventType::ExecutionRewound(rewound)) = &turn.new_events[1].event_type
                else {
                    panic!("{turn:?}")
                };
                assert_eq!(rewound.parent_execution_id.as_deref(), Some("again"));
                assert_eq!(rewound.instance_id.as_deref(), Some("fails"));
                let parent = rewound.parent_instance.clone().unwrap();
                let identity = parent.orchestration_instance.unwrap();
                assert_eq!(identity.execution_id.as_deref(), Some("again"));
                worker
                    .answer(&token, vec![(-1, cleaned(&turn, "child-again"))])
                    .await
                    .unwrap();
                let (token, turn) = loop {
                    let (token, turn) = worker.turn().await;
                    match turn.instance_id.as_str() {
                        "fails" => break (token, turn),
                        "purged" => purged = token,
                        _ => worker.answer(&token, vec![]).await.unwrap(),
                    }
                    seen.push(turn.instance_id);
                };
                assert_eq!(kinds(&turn.new_events), ["OrchestratorStarted"]);
                fails = token;
            }
            "purged" => {
                assert_eq!(
                    kinds(&turn.new_events),
                    ["OrchestratorStarted", "ExecutionStarted"]
                );
                purged = token;
            }
            other => panic!("{other}"),
        }
        if seen.len() >= 3 {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen, ["fails", "p", "purged"]);
    for token in [fails, purged, running] {
        worker.answer(&token, vec![(1, done("1"))]).await.unwrap();
    }
    let mut answers = 0;
    while answers < 3 {
        let (token, turn) = worker.turn().await;
        answers += kinds(&turn.new_events)
            .iter()
            .filter(|kind| **kind == "SubOrchestrationInstanceCompleted")
            .count();
        let actions = if answers == 3 {
            vec![(4, done("all"))]
        } else {
            vec![]
        };
        worker.answer(&token, actions).await.unwrap();
    }
    assert_eq!(hub.status("p").await, OrchestrationStatus::Completed);
}

#[tokio::test]
async fn an_unrequested_rewind_fails_the_orchestration() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (token, turn) = worker.turn().await;
    worker
        .answer(&token, vec![(-1, cleaned(&turn, "x"))])
        .await
        .unwrap();
    let failure = hub.get("a").await.unwrap().failure_details.unwrap();
    assert_eq!(failure.error_type, "NotSupportedByScheduler");
}

#[tokio::test]
async fn a_rewind_survives_a_crash_at_any_step() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::folder(folder.path()).await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (token, _) = worker.turn().await;
    worker.answer(&token, vec![(0, failing())]).await.unwrap();
    rewind(&hub, "a").await.unwrap();
    hub.raise("a", "late").await.unwrap();
    hub.crash().await;

    let hub = Hub::folder(folder.path()).await;
    let mut worker = hub.worker().await;
    answer_rewind(&mut worker, "a", "second").await;
    hub.crash().await;

    let hub = Hub::folder(folder.path()).await;
    let mut worker = hub.worker().await;
    let (token, turn) = worker.turn().await;
    assert_eq!(
        kinds(&turn.past_events),
        [
            "OrchestratorStarted",
            "ExecutionStarted",
            "OrchestratorStarted",
            "ExecutionRewound"
        ]
    );
    assert_eq!(
        kinds(&turn.new_events),
        ["OrchestratorStarted", "EventRaised"]
    );
    worker.answer(&token, vec![(0, done("1"))]).await.unwrap();
    assert_eq!(hub.status("a").await, OrchestrationStatus::Completed);
}
