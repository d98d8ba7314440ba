//! What the .NET SDK, where the protocol comes from, expects and other SDKs do not show.
use std::time::Duration;

use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::*;
use tonic::Code;

use super::support::*;

fn start_with(id: &str, statuses: &[OrchestrationStatus]) -> CreateInstanceRequest {
    CreateInstanceRequest {
        instance_id: id.to_owned(),
        name: "Hello".to_owned(),
        orchestration_id_reuse_policy: Some(OrchestrationIdReusePolicy {
            replaceable_status: statuses.iter().map(|status| *status as i32).collect(),
            ..OrchestrationIdReusePolicy::default()
        }),
        ..CreateInstanceRequest::default()
    }
}

#[tokio::test]
async fn a_reuse_policy_is_judged_against_what_is_there() {
    use OrchestrationStatus as S;
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    // What `DedupeStatuses(Failed, Terminated)` makes: all other statuses, live ones too.
    let policy = [S::Running, S::Completed, S::Pending, S::Suspended];
    assert_eq!(
        hub.try_start(start_with("a", &policy)).await.as_deref(),
        Ok("a"),
        "the id is free"
    );
    assert_eq!(
        hub.try_start(start_with("a", &policy)).await,
        Err(Code::InvalidArgument),
        "a live instance would have to be terminated"
    );
    let (token, _) = worker.turn().await;
    assert_eq!(
        hub.try_start(start_with("a", &policy)).await,
        Err(Code::InvalidArgument)
    );
    worker.answer(&token, vec![(0, done("1"))]).await.unwrap();
    assert_eq!(
        hub.try_start(start_with("a", &policy)).await.as_deref(),
        Ok("a"),
        "it has ended"
    );
    let (token, _) = worker.turn().await;
    let failed = complete(S::Failed, "1");
    worker.answer(&token, vec![(0, failed)]).await.unwrap();
    assert_eq!(
        hub.try_start(start_with("a", &policy)).await,
        Err(Code::AlreadyExists),
        "this end is kept"
    );
}

fn get(id: &str, payloads: bool) -> GetInstanceRequest {
    GetInstanceRequest {
        instance_id: id.to_owned(),
        get_inputs_and_outputs: payloads,
    }
}

#[tokio::test]
async fn an_instance_that_does_not_exist_yet_is_waited_for() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    let mut client = hub.client.clone();
    let started =
        tokio::spawn(async move { client.wait_for_instance_start(get("later", false)).await });
    let mut client = hub.client.clone();
    let ended = tokio::spawn(async move {
        client
            .wait_for_instance_completion(get("later", true))
            .await
    });
    // Both calls are known to wait once a third one on the same connection was answered
    // after it had waited as long as it may.
    let mut short = tonic::Request::new(get("never", false));
    short.set_timeout(Duration::from_millis(200));
    let never = hub.client.clone().wait_for_instance_start(short).await;
    assert_eq!(never.unwrap_err().code(), Code::DeadlineExceeded);

    hub.start("later").await;
    let (token, _) = worker.turn().await;
    worker.answer(&token, vec![(0, done("1"))]).await.unwrap();
    assert!(started.await.unwrap().unwrap().into_inner().exists);
    let state = ended.await.unwrap().unwrap().into_inner();
    assert_eq!(
        state.orchestration_state.unwrap().output.as_deref(),
        Some("1")
    );
    // What no instance can be called will not come.
    let wrong = "x".repeat(101);
    let mut client = hub.client.clone();
    let refused = client.wait_for_instance_start(get(&wrong, false)).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_wait_ends_with_the_instance_or_its_task_hub() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (token, _) = worker.turn().await;
    let mut client = hub.client.clone();
    let missing =
        tokio::spawn(async move { client.wait_for_instance_completion(get("b", false)).await });
    let mut short = tonic::Request::new(get("never", false));
    short.set_timeout(Duration::from_millis(200));
    hub.client
        .clone()
        .wait_for_instance_start(short)
        .await
        .unwrap_err();
    worker.answer(&token, vec![]).await.unwrap();
    let delete = DeleteTaskHubRequest {};
    hub.client.clone().delete_task_hub(delete).await.unwrap();
    let missing = tokio::time::timeout(PATIENCE, missing).await.unwrap();
    assert_eq!(missing.unwrap().unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn without_payloads_neither_custom_status_nor_failure_is_reported() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (token, _) = worker.turn().await;
    let failed = Action::CompleteOrchestration(CompleteOrchestrationAction {
        orchestration_status: OrchestrationStatus::Failed as i32,
        failure_details: Some(TaskFailureDetails {
            error_type: "Trouble".to_owned(),
            ..TaskFailureDetails::default()
        }),
        ..CompleteOrchestrationAction::default()
    });
    let response = OrchestratorResponse {
        completion_token: token,
        custom_status: Some("\"status\"".to_owned()),
        actions: vec![OrchestratorAction {
            id: 0,
            orchestrator_action_type: Some(failed),
        }],
        ..OrchestratorResponse::default()
    };
    worker.respond(response).await.unwrap();
    let query = |payloads| QueryInstancesRequest {
        query: Some(InstanceQuery {
            fetch_inputs_and_outputs: payloads,
            ..InstanceQuery::default()
        }),
    };
    for payloads in [false, true] {
        let got = hub.client.clone().get_instance(get("a", payloads)).await;
        let got = got.unwrap().into_inner().orchestration_state.unwrap();
        let page = hub.client.clone().query_instances(query(payloads)).await;
        let queried = page.unwrap().into_inner().orchestration_state.remove(0);
        for state in [got, queried] {
            assert_eq!(
                state.orchestration_status,
                OrchestrationStatus::Failed as i32
            );
            assert_eq!(state.custom_status.is_some(), payloads);
            assert_eq!(state.failure_details.is_some(), payloads);
        }
    }
}

/// An event for an entity, as DurableTask.Core writes its requests.
fn event_for(target: &str, name: &str, body: &str) -> Action {
    Action::SendEvent(SendEventAction {
        instance: Some(OrchestrationInstance {
            instance_id: target.to_owned(),
            execution_id: None,
        }),
        name: name.to_owned(),
        data: Some(body.to_owned()),
    })
}

async fn batch(worker: &mut Worker) -> (String, EntityRequest) {
    let item = worker.next().await;
    let Some(work_item::Request::EntityRequestV2(request)) = item.request else {
        panic!("{item:?}")
    };
    (item.completion_token, request)
}

fn raised(turn: &OrchestratorRequest) -> (&str, serde_json::Value) {
    let Some(history_event::EventType::EventRaised(raised)) =
        &turn.new_events.last().unwrap().event_type
    else {
        panic!("{turn:?}")
    };
    let body = serde_json::from_str(raised.input.as_deref().unwrap()).unwrap();
    (&raised.name, body)
}

#[tokio::test]
async fn entities_are_called_by_events() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (token, turn) = worker.turn().await;
    let body = format!(
        r#"{{"op":"add","input":"5","id":"one","parent":"a","parentExecution":"{}"}}"#,
        turn.execution_id.unwrap()
    );
    let call = event_for("@Counter@x", "op", &body);
    worker.answer(&token, vec![(0, call)]).await.unwrap();

    let (token, request) = batch(&mut worker).await;
    assert_eq!(request.instance_id, "@counter@x");
    let Some(history_event::EventType::EntityOperationCalled(called)) =
        &request.operation_requests[0].event_type
    else {
        panic!("{request:?}")
    };
    assert_eq!(
        (
            called.operation.as_str(),
            called.input.as_deref(),
            &called.target_instance_id
        ),
        ("add", Some("5"), &None)
    );
    let result = |result_type| EntityBatchResult {
        completion_token: token.clone(),
        results: vec![OperationResult {
            result_type: Some(result_type),
        }],
        entity_state: Some("5".to_owned()),
        ..EntityBatchResult::default()
    };
    let success = operation_result::ResultType::Success(OperationResultSuccess {
        result: Some("\"five\"".to_owned()),
        ..OperationResultSuccess::default()
    });
    hub.client
        .clone()
        .complete_entity_task(result(success))
        .await
        .unwrap();

    let (token, turn) = worker.turn().await;
    let (name, answer) = raised(&turn);
    assert_eq!(
        (name, answer),
        ("one", serde_json::json!({"result": "\"five\""}))
    );
    // Its history keeps what the worker sent.
    assert!(hub.history("a").await.contains(&"EventSent"));

    let wrong = event_for("@nonsense", "op", r#"{"op":"add","id":"two"}"#);
    worker.answer(&token, vec![(1, wrong)]).await.unwrap();
    let (token, turn) = worker.turn().await;
    let (name, answer) = raised(&turn);
    assert_eq!(
        (name, answer["exceptionType"].as_str()),
        ("two", Some("InvalidEntityId"))
    );

    let lock = r#"{"id":"section","lockset":[{"name":"Counter","key":"x"}],"pos":0}"#;
    let lock = event_for("@Counter@x", "op", lock);
    worker.answer(&token, vec![(2, lock)]).await.unwrap();
    let (token, turn) = worker.turn().await;
    assert_eq!(raised(&turn).0, "section");
    let entity = |state| GetEntityRequest {
        instance_id: "@counter@x".to_owned(),
        include_state: state,
    };
    let locked = hub.client.clone().get_entity(entity(false)).await.unwrap();
    assert_eq!(
        locked.into_inner().entity.unwrap().locked_by.as_deref(),
        Some("a")
    );
    let release = event_for("@Counter@x", "release", r#"{"parent":"a","id":"section"}"#);
    worker.answer(&token, vec![(3, release)]).await.unwrap();
    let free = hub.client.clone().get_entity(entity(true)).await.unwrap();
    assert_eq!(free.into_inner().entity.unwrap().locked_by, None);
}

#[tokio::test]
async fn an_event_for_an_entity_that_cannot_be_read_fails_by_name() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let (token, _) = worker.turn().await;
    let wrong = event_for("@counter@x", "op", "no JSON");
    worker.answer(&token, vec![(0, wrong)]).await.unwrap();
    let failure = hub.get("a").await.unwrap().failure_details.unwrap();
    assert!(
        failure.error_message.contains("ConfigureForAzureManaged"),
        "{}",
        failure.error_message
    );
}

#[tokio::test]
async fn a_purged_entity_leaves_no_caller_waiting() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    let call = |id: &str| {
        Action::SendEntityMessage(SendEntityMessageAction {
            entity_message_type: Some(
                send_entity_message_action::EntityMessageType::EntityOperationCalled(
                    EntityOperationCalledEvent {
                        request_id: id.to_owned(),
                        operation: "add".to_owned(),
                        target_instance_id: Some("@counter@x".to_owned()),
                        ..EntityOperationCalledEvent::default()
                    },
                ),
            ),
        })
    };
    let mut held = None;
    for id in ["running", "waiting"] {
        hub.start(id).await;
        let (token, _) = worker.turn().await;
        worker.answer(&token, vec![(0, call(id))]).await.unwrap();
        if held.is_none() {
            held = Some(batch(&mut worker).await.0);
        }
    }
    let purge = PurgeInstancesRequest {
        request: Some(purge_instances_request::Request::InstanceId(
            "@counter@x".to_owned(),
        )),
        ..PurgeInstancesRequest::default()
    };
    let purged = hub.client.clone().purge_instances(purge).await.unwrap();
    assert_eq!(purged.into_inner().deleted_instance_count, 1);
    for id in ["running", "waiting"] {
        let (_, turn) = worker.turn().await;
        assert_eq!(turn.instance_id, id);
        let Some(history_event::EventType::EntityOperationFailed(failed)) =
            &turn.new_events.last().unwrap().event_type
        else {
            panic!("{turn:?}")
        };
        assert_eq!(failed.request_id, id);
        assert_eq!(
            failed.failure_details.as_ref().unwrap().error_type,
            "EntityPurged"
        );
    }
    // The batch that was out has nowhere to go.
    let late = EntityBatchResult {
        completion_token: held.unwrap(),
        results: vec![OperationResult::default()],
        entity_state: Some("1".to_owned()),
        ..EntityBatchResult::default()
    };
    let late = hub.client.clone().complete_entity_task(late).await;
    assert!(late.is_ok(), "dropped without an error");
}

#[tokio::test]
async fn a_custom_status_goes_with_an_instance_that_continues_as_new() {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    hub.start("a").await;
    let status = async |worker: &mut Worker, status: Option<&str>, action: Option<Action>| {
        let (token, _) = worker.turn().await;
        let response = OrchestratorResponse {
            completion_token: token,
            custom_status: status.map(str::to_owned),
            actions: action
                .map(|action| OrchestratorAction {
                    id: 0,
                    orchestrator_action_type: Some(action),
                })
                .into_iter()
                .collect(),
            ..OrchestratorResponse::default()
        };
        worker.respond(response).await.unwrap();
        hub.get("a").await.unwrap().custom_status
    };
    let again = || complete(OrchestrationStatus::ContinuedAsNew, "1");
    let set = Some("\"one\"".to_owned());
    assert_eq!(
        status(&mut worker, Some("\"one\""), Some(again())).await,
        set
    );
    // The new execution sets none, in this turn and the next, and continues as new again.
    assert_eq!(status(&mut worker, None, None).await, set);
    hub.raise("a", "go").await.unwrap();
    assert_eq!(status(&mut worker, None, Some(again())).await, set);
    // It sets one, and takes it back.
    let two = Some("\"two\"".to_owned());
    assert_eq!(status(&mut worker, Some("\"two\""), None).await, two);
    hub.raise("a", "go").await.unwrap();
    assert_eq!(status(&mut worker, None, None).await, None);
}
