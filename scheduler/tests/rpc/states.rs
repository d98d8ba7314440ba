//! Each RPC on instances in each state: the tables in docs/WIRE.md, cell by cell.
use std::time::Duration;

use durabletask_proto::*;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tonic::{Code, Request, Response, Status};

use super::fields::table;
use super::support::*;

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
pub(crate) fn cell<T>(
    answer: Result<Response<T>, Status>,
    says: impl FnOnce(&T) -> &'static str,
) -> String {
    match answer {
        Ok(answer) => match says(answer.get_ref()) {
            "" => name(Code::Ok),
            said => format!("{}, {said}", name(Code::Ok)),
        },
        Err(status) => name(status.code()),
    }
}

pub(crate) fn code<T>(answer: Result<Response<T>, Status>) -> String {
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
        "`CompleteOrchestratorTask` without a token, while no worker holds a turn",
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

pub(crate) fn terminate(id: String) -> TerminateRequest {
    TerminateRequest {
        instance_id: id,
        output: None,
        recursive: false,
    }
}

pub(crate) fn skip(id: String) -> SkipGracefulOrchestrationTerminationsRequest {
    SkipGracefulOrchestrationTerminationsRequest {
        instance_batch: Some(InstanceBatch {
            instance_ids: vec![id],
        }),
        reason: None,
    }
}

pub(crate) fn purge(id: String) -> PurgeInstancesRequest {
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
pub(crate) const TAKEN: &str = "Taken";
const UNTAKEN: &str = "Untaken";

/// A scheduler with a worker that is driven by hand.
pub(crate) struct Bench {
    pub(crate) hub: Hub,
    pub(crate) worker: Worker,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let hub = Hub::memory().await;
        let worker = worker(&hub, "default").await;
        Self { hub, worker }
    }

    pub(crate) async fn start(&self, id: &str, orchestration: &str) {
        let request = CreateInstanceRequest {
            instance_id: id.to_owned(),
            name: orchestration.to_owned(),
            ..CreateInstanceRequest::default()
        };
        self.hub.try_start(request).await.unwrap();
    }

    /// The next turn of this instance. Turns of others are answered.
    pub(crate) async fn turn(&mut self, id: &str) -> String {
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

pub(crate) async fn worker(hub: &Hub, name: &str) -> Worker {
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

#[test]
fn status_codes_have_their_grpc_names() {
    for (code, written) in [
        (Code::Ok, "`OK`"),
        (Code::NotFound, "`NOT_FOUND`"),
        (Code::InvalidArgument, "`INVALID_ARGUMENT`"),
        (Code::DeadlineExceeded, "`DEADLINE_EXCEEDED`"),
    ] {
        assert_eq!(name(code), written);
    }
}
