//! Each RPC on instances in each state: the tables in docs/WIRE.md, cell by cell.
use std::time::Duration;

use durabletask_proto::*;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tonic::{Code, Request, Response, Status};

use crate::fields::table;
use crate::support::*;

/// A code as the page writes it.
pub(crate) fn name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    format!("`{name}`")
}

/// The code, and for an answer what it says.
fn cell<T>(answer: Result<Response<T>, Status>, says: impl FnOnce(&T) -> &'static str) -> String {
    match answer {
        Ok(answer) => match says(answer.get_ref()) {
            "" => name(Code::Ok),
            said => format!("{}, {said}", name(Code::Ok)),
        },
        Err(status) => name(status.code()),
    }
}

fn code<T>(answer: Result<Response<T>, Status>) -> String {
    cell(answer, |_| "")
}

type Call = fn(Client, String) -> BoxFuture<'static, String>;

/// Each RPC that names an instance, and what it answered.
const CALLS: &[(&str, Call)] = &[
    ("`StartInstance`", |mut client, id| {
        async move {
            let request = CreateInstanceRequest {
                instance_id: id,
                name: UNTAKEN.to_owned(),
                ..CreateInstanceRequest::default()
            };
            code(client.start_instance(request).await)
        }
        .boxed()
    }),
    ("`GetInstance`", |mut client, id| {
        async move {
            cell(client.get_instance(get(id)).await, |got| match got.exists {
                true => "",
                false => "`exists=false`",
            })
        }
        .boxed()
    }),
    ("`WaitForInstanceStart`", |mut client, id| {
        async move { code(client.wait_for_instance_start(soon(get(id))).await) }.boxed()
    }),
    ("`WaitForInstanceCompletion`", |mut client, id| {
        async move { code(client.wait_for_instance_completion(soon(get(id))).await) }.boxed()
    }),
    ("`RaiseEvent`", |mut client, id| {
        async move {
            let request = RaiseEventRequest {
                instance_id: id,
                name: "go".to_owned(),
                input: None,
            };
            code(client.raise_event(request).await)
        }
        .boxed()
    }),
    ("`SuspendInstance`", |mut client, id| {
        async move {
            let request = SuspendRequest {
                instance_id: id,
                reason: None,
            };
            code(client.suspend_instance(request).await)
        }
        .boxed()
    }),
    ("`ResumeInstance`", |mut client, id| {
        async move {
            let request = ResumeRequest {
                instance_id: id,
                reason: None,
            };
            code(client.resume_instance(request).await)
        }
        .boxed()
    }),
    ("`TerminateInstance`", |mut client, id| {
        async move { code(client.terminate_instance(terminate(id)).await) }.boxed()
    }),
    (
        "`SkipGracefulOrchestrationTerminations`",
        |mut client, id| {
            async move {
                let answer = client.skip_graceful_orchestration_terminations(skip(id));
                cell(answer.await, |got| {
                    match got.unterminated_instance_ids.is_empty() {
                        true => "",
                        false => "unterminated",
                    }
                })
            }
            .boxed()
        },
    ),
    ("`PurgeInstances`", |mut client, id| {
        async move {
            cell(client.purge_instances(purge(id)).await, |got| {
                match got.deleted_instance_count {
                    0 => "0 deleted",
                    _ => "",
                }
            })
        }
        .boxed()
    }),
    ("`RestartInstance`", |mut client, id| {
        async move { code(client.restart_instance(restart(id, false)).await) }.boxed()
    }),
    ("`RestartInstance` with a new id", |mut client, id| {
        async move { code(client.restart_instance(restart(id, true)).await) }.boxed()
    }),
    ("`RewindInstance`", |mut client, id| {
        async move {
            let request = RewindInstanceRequest {
                instance_id: id,
                reason: None,
            };
            code(client.rewind_instance(request).await)
        }
        .boxed()
    }),
    ("`StreamInstanceHistory`", |client, id| {
        history(client, id, false).boxed()
    }),
    (
        "`StreamInstanceHistory` with `forWorkItemProcessing`",
        |client, id| history(client, id, true).boxed(),
    ),
    ("`QueryInstances` by the id", |mut client, id| {
        async move {
            let query = QueryInstancesRequest {
                query: Some(InstanceQuery {
                    instance_id_prefix: Some(id),
                    ..InstanceQuery::default()
                }),
            };
            cell(client.query_instances(query).await, |got| {
                match got.orchestration_state.is_empty() {
                    true => "not there",
                    false => "",
                }
            })
        }
        .boxed()
    }),
    ("`ListInstanceIds`", |mut client, id| {
        async move {
            let list = ListInstanceIdsRequest {
                page_size: 1000,
                ..ListInstanceIdsRequest::default()
            };
            cell(client.list_instance_ids(list).await, |got| {
                match got.instance_ids.contains(&id) {
                    true => "",
                    false => "not there",
                }
            })
        }
        .boxed()
    }),
    (
        "`CompleteOrchestratorTask` without a token, no turn out",
        |mut client, id| {
            async move {
                let response = OrchestratorResponse {
                    instance_id: id,
                    ..OrchestratorResponse::default()
                };
                code(client.complete_orchestrator_task(response).await)
            }
            .boxed()
        },
    ),
];

async fn history(mut client: Client, id: String, for_work: bool) -> String {
    let request = StreamInstanceHistoryRequest {
        instance_id: id,
        for_work_item_processing: for_work,
        ..StreamInstanceHistoryRequest::default()
    };
    let mut stream = match client.stream_instance_history(request).await {
        Ok(stream) => stream.into_inner(),
        Err(status) => return name(status.code()),
    };
    match stream.message().await {
        Ok(Some(_)) => name(Code::Ok),
        Ok(None) => format!("{}, empty", name(Code::Ok)),
        Err(status) => name(status.code()),
    }
}

fn get(id: String) -> GetInstanceRequest {
    GetInstanceRequest {
        instance_id: id,
        get_inputs_and_outputs: false,
    }
}

fn soon<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_millis(300));
    request
}

fn terminate(id: String) -> TerminateRequest {
    TerminateRequest {
        instance_id: id,
        output: None,
        recursive: false,
    }
}

fn skip(id: String) -> SkipGracefulOrchestrationTerminationsRequest {
    SkipGracefulOrchestrationTerminationsRequest {
        instance_batch: Some(InstanceBatch {
            instance_ids: vec![id],
        }),
        reason: None,
    }
}

fn purge(id: String) -> PurgeInstancesRequest {
    PurgeInstancesRequest {
        request: Some(purge_instances_request::Request::InstanceId(id)),
        ..PurgeInstancesRequest::default()
    }
}

fn restart(id: String, restart_with_new_instance_id: bool) -> RestartInstanceRequest {
    RestartInstanceRequest {
        instance_id: id,
        restart_with_new_instance_id,
    }
}

/// The orchestration that the worker of these tests takes, and one that it does not.
const TAKEN: &str = "Taken";
const UNTAKEN: &str = "Untaken";

/// A scheduler with a worker that is driven by hand.
struct Bench {
    hub: Hub,
    worker: Worker,
}

impl Bench {
    async fn new() -> Self {
        let hub = Hub::memory().await;
        let worker = worker(&hub, "default").await;
        Self { hub, worker }
    }

    async fn start(&self, id: &str, orchestration: &str) {
        let request = CreateInstanceRequest {
            instance_id: id.to_owned(),
            name: orchestration.to_owned(),
            ..CreateInstanceRequest::default()
        };
        self.hub.try_start(request).await.unwrap();
    }

    /// The next turn of this instance. Turns of others are answered.
    async fn turn(&mut self, id: &str) -> String {
        loop {
            let (token, turn) = self.worker.turn().await;
            if turn.instance_id == id {
                return token;
            }
            self.worker.answer(&token, vec![]).await.unwrap();
        }
    }

    /// Brings an instance into a state.
    async fn prepare(&mut self, state: &str, id: &str) {
        use OrchestrationStatus as S;
        if state == "missing" {
            return;
        }
        if matches!(state, "PENDING" | "TERMINATED") {
            self.start(id, UNTAKEN).await;
            if state == "TERMINATED" {
                let end = terminate(id.to_owned());
                self.hub
                    .client
                    .clone()
                    .terminate_instance(end)
                    .await
                    .unwrap();
            }
            return;
        }
        self.start(id, TAKEN).await;
        let token = self.turn(id).await;
        let actions = match state {
            "COMPLETED" | "purged" => vec![(0, done("1"))],
            "FAILED" => vec![(0, complete(S::Failed, "1"))],
            _ => vec![],
        };
        self.worker.answer(&token, actions).await.unwrap();
        let mut client = self.hub.client.clone();
        match state {
            "purged" => {
                client.purge_instances(purge(id.to_owned())).await.unwrap();
            }
            "SUSPENDED" => {
                let suspend = SuspendRequest {
                    instance_id: id.to_owned(),
                    reason: None,
                };
                client.suspend_instance(suspend).await.unwrap();
                let token = self.turn(id).await;
                self.worker.answer(&token, vec![]).await.unwrap();
            }
            _ => {}
        }
    }

    /// The status that is seen, or `gone`.
    async fn seen(&self, id: &str) -> String {
        let state = self.hub.get(id).await;
        let status =
            state.and_then(|state| OrchestrationStatus::try_from(state.orchestration_status).ok());
        status.map_or("gone".to_owned(), |status| {
            let name = status.as_str_name();
            name.trim_start_matches("ORCHESTRATION_STATUS_").to_owned()
        })
    }
}

async fn worker(hub: &Hub, name: &str) -> Worker {
    let filters = WorkItemFilters {
        orchestrations: vec![OrchestrationFilter {
            name: TAKEN.to_owned(),
            versions: Vec::new(),
        }],
        activities: vec![ActivityFilter {
            name: "work".to_owned(),
            versions: Vec::new(),
        }],
        ..WorkItemFilters::default()
    };
    let request = GetWorkItemsRequest {
        work_item_filters: Some(filters),
        ..GetWorkItemsRequest::default()
    };
    hub.worker_with(request, name).await
}

const STATES: [&str; 8] = [
    "missing",
    "PENDING",
    "RUNNING",
    "SUSPENDED",
    "COMPLETED",
    "FAILED",
    "TERMINATED",
    "purged",
];

/// Says what the page would have to say.
pub(crate) fn compare(heading: &str, rows: &[Vec<String>]) {
    let lines = |rows: &[Vec<String>]| -> Vec<String> {
        rows.iter()
            .map(|row| format!("| {} |", row.join(" | ")))
            .collect()
    };
    let (page, here) = (lines(&table(heading)), lines(rows));
    assert!(
        page == here,
        "the table below {heading:?} in docs/WIRE.md should read:\n{}",
        here.join("\n")
    );
}

#[tokio::test]
async fn each_call_on_each_state_answers_as_the_page_says() {
    let mut bench = Bench::new().await;
    let mut rows = Vec::new();
    for (number, (rpc, call)) in CALLS.iter().enumerate() {
        let mut row = vec![(*rpc).to_owned()];
        for state in STATES {
            let id = format!("{number}-{state}");
            bench.prepare(state, &id).await;
            let before = bench.seen(&id).await;
            let answer = call(bench.hub.client.clone(), id.clone()).await;
            let after = bench.seen(&id).await;
            row.push(match before == after {
                true => answer,
                false => format!("{answer} → {after}"),
            });
        }
        rows.push(row);
    }
    compare("## Each call on each state", &rows);
}

#[tokio::test]
async fn each_call_with_an_id_that_no_instance_has_answers_as_the_page_says() {
    let hub = Hub::memory().await;
    let mut client = hub.client.clone();
    let signal = SignalEntityRequest {
        instance_id: "@e@k".to_owned(),
        name: "add".to_owned(),
        ..SignalEntityRequest::default()
    };
    let mut rows = Vec::new();
    for (rpc, call) in CALLS {
        let mut row = vec![(*rpc).to_owned()];
        for id in [String::new(), "x".repeat(101), "@e@k".to_owned()] {
            // There is such an entity each time.
            client.signal_entity(signal.clone()).await.unwrap();
            row.push(call(client.clone(), id).await);
        }
        rows.push(row);
    }
    compare("### Ids that no instance has", &rows);
}

type Late = fn(Client, String) -> BoxFuture<'static, String>;

/// What a worker hands in, by the token of an item that it was given.
const LATE: &[(&str, Late)] = &[
    ("`CompleteOrchestratorTask`", |mut client, token| {
        async move {
            let response = OrchestratorResponse {
                completion_token: token,
                ..OrchestratorResponse::default()
            };
            code(client.complete_orchestrator_task(response).await)
        }
        .boxed()
    }),
    ("`AbandonTaskOrchestratorWorkItem`", |mut client, token| {
        async move {
            let request = AbandonOrchestrationTaskRequest {
                completion_token: token,
            };
            code(client.abandon_task_orchestrator_work_item(request).await)
        }
        .boxed()
    }),
    ("`CompleteActivityTask`", |mut client, token| {
        async move {
            let response = ActivityResponse {
                completion_token: token,
                ..ActivityResponse::default()
            };
            code(client.complete_activity_task(response).await)
        }
        .boxed()
    }),
    ("`AbandonTaskActivityWorkItem`", |mut client, token| {
        async move {
            let request = AbandonActivityTaskRequest {
                completion_token: token,
            };
            code(client.abandon_task_activity_work_item(request).await)
        }
        .boxed()
    }),
];

const SINCE: [&str; 10] = [
    "nothing",
    "suspended",
    "terminated",
    "ended at once",
    "purged",
    "replaced",
    "handed in before",
    "given back before",
    "its stream ended",
    "task hub deleted",
];

/// Hands out what `rpc` completes, lets something happen, and gives the token.
async fn out(rpc: &str, since: &str) -> (Bench, String) {
    let mut bench = Bench::new().await;
    let id = "a".to_owned();
    bench.start(&id, TAKEN).await;
    let token = bench.turn(&id).await;
    let activity = rpc.contains("Activity");
    let actions = match activity {
        true => vec![(0, call("work"))],
        false => vec![],
    };
    bench.worker.answer(&token, actions).await.unwrap();
    let token = match activity {
        true => bench.worker.activity().await.0,
        false => {
            bench.hub.raise(&id, "go").await.unwrap();
            bench.turn(&id).await
        }
    };
    let mut client = bench.hub.client.clone();
    match since {
        "suspended" => {
            let suspend = SuspendRequest {
                instance_id: id,
                reason: None,
            };
            client.suspend_instance(suspend).await.unwrap();
        }
        "terminated" => {
            client.terminate_instance(terminate(id)).await.unwrap();
        }
        "ended at once" | "purged" | "replaced" => {
            let skip = skip(id.clone());
            client
                .skip_graceful_orchestration_terminations(skip)
                .await
                .unwrap();
            match since {
                "purged" => drop(client.purge_instances(purge(id)).await.unwrap()),
                "replaced" => bench.start(&id, TAKEN).await,
                _ => {}
            }
        }
        "handed in before" | "given back before" => {
            let before = match (since, activity) {
                ("handed in before", false) => LATE[0],
                ("handed in before", true) => LATE[2],
                (_, false) => LATE[1],
                (_, true) => LATE[3],
            };
            assert_eq!(before.1(client, token.clone()).await, "`OK`");
        }
        "its stream ended" => {
            // It has ended for the scheduler once another one has the item.
            bench.worker = worker(&bench.hub, "default").await;
            bench.worker.next().await;
        }
        "task hub deleted" => {
            let delete = DeleteTaskHubRequest {};
            client.delete_task_hub(delete).await.unwrap();
        }
        _ => {}
    }
    (bench, token)
}

#[tokio::test]
async fn what_is_handed_in_late_is_answered_as_the_page_says() {
    let mut rows = Vec::new();
    for (rpc, hand_in) in LATE {
        let mut row = vec![(*rpc).to_owned()];
        for since in SINCE {
            let (bench, token) = out(rpc, since).await;
            row.push(hand_in(bench.hub.client.clone(), token).await);
        }
        rows.push(row);
    }
    compare("### What is handed in late", &rows);
}

/// An entity of the tests that follow.
const ENTITY: &str = "@e@k";

type OnEntity = fn(Client) -> BoxFuture<'static, String>;

const ON_ENTITIES: &[(&str, OnEntity)] = &[
    ("`SignalEntity`", |mut client| {
        async move { code(client.signal_entity(signal()).await) }.boxed()
    }),
    ("`GetEntity`", |mut client| {
        async move {
            cell(client.get_entity(entity()).await, |got| match got.exists {
                true => "",
                false => "`exists=false`",
            })
        }
        .boxed()
    }),
    ("`QueryEntities`", |mut client| {
        async move { query_entities(&mut client, false).await }.boxed()
    }),
    ("`QueryEntities` with `includeTransient`", |mut client| {
        async move { query_entities(&mut client, true).await }.boxed()
    }),
    ("`PurgeInstances`", |mut client| {
        async move {
            cell(
                client.purge_instances(purge(ENTITY.to_owned())).await,
                |got| match got.deleted_instance_count {
                    0 => "0 deleted",
                    _ => "",
                },
            )
        }
        .boxed()
    }),
    ("`CleanEntityStorage`", |mut client| {
        async move {
            let request = CleanEntityStorageRequest {
                remove_empty_entities: true,
                release_orphaned_locks: true,
                ..CleanEntityStorageRequest::default()
            };
            code(client.clean_entity_storage(request).await)
        }
        .boxed()
    }),
];

async fn query_entities(client: &mut Client, include_transient: bool) -> String {
    let query = QueryEntitiesRequest {
        query: Some(EntityQuery {
            include_transient,
            ..EntityQuery::default()
        }),
    };
    cell(client.query_entities(query).await, |got| {
        match got.entities.is_empty() {
            true => "not there",
            false => "",
        }
    })
}

fn signal() -> SignalEntityRequest {
    SignalEntityRequest {
        instance_id: ENTITY.to_owned(),
        name: "add".to_owned(),
        ..SignalEntityRequest::default()
    }
}

fn entity() -> GetEntityRequest {
    GetEntityRequest {
        instance_id: ENTITY.to_owned(),
        include_state: true,
    }
}

/// A scheduler whose entity is in a state.
async fn entity_in(state: &str) -> Hub {
    let hub = Hub::memory().await;
    let mut worker = hub.worker().await;
    let mut client = hub.client.clone();
    if state == "none" {
        return hub;
    }
    client.signal_entity(signal()).await.unwrap();
    let item = worker.next().await;
    if state == "its first signal runs" {
        return hub;
    }
    let result = EntityBatchResult {
        completion_token: item.completion_token,
        results: vec![OperationResult::default()],
        entity_state: (state != "emptied").then(|| "1".to_owned()),
        ..EntityBatchResult::default()
    };
    client.complete_entity_task(result).await.unwrap();
    match state {
        "locked" => {
            hub.start("holder").await;
            let (token, _) = worker.turn().await;
            let request = EntityLockRequestedEvent {
                lock_set: vec![ENTITY.to_owned()],
                critical_section_id: "c".to_owned(),
                ..EntityLockRequestedEvent::default()
            };
            let lock = orchestrator_action::OrchestratorActionType::SendEntityMessage(
                SendEntityMessageAction {
                    entity_message_type: Some(
                        send_entity_message_action::EntityMessageType::EntityLockRequested(request),
                    ),
                },
            );
            worker.answer(&token, vec![(0, lock)]).await.unwrap();
            worker.turn().await;
        }
        "purged" => {
            let purge = purge(ENTITY.to_owned());
            client.purge_instances(purge).await.unwrap();
        }
        _ => {}
    }
    hub
}

#[tokio::test]
async fn each_call_on_each_state_of_an_entity_answers_as_the_page_says() {
    let mut rows = Vec::new();
    for (rpc, call) in ON_ENTITIES {
        let mut row = vec![(*rpc).to_owned()];
        for state in [
            "none",
            "its first signal runs",
            "with a state",
            "locked",
            "emptied",
            "purged",
        ] {
            let hub = entity_in(state).await;
            row.push(call(hub.client.clone()).await);
        }
        rows.push(row);
    }
    compare("### Entities", &rows);
}

#[test]
fn codes_are_written_as_grpc_writes_them() {
    for (code, written) in [
        (Code::Ok, "`OK`"),
        (Code::NotFound, "`NOT_FOUND`"),
        (Code::InvalidArgument, "`INVALID_ARGUMENT`"),
        (Code::DeadlineExceeded, "`DEADLINE_EXCEEDED`"),
    ] {
        assert_eq!(name(code), written);
    }
}
