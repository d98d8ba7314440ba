//! The load while the scheduler is killed, and what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use durabletask_proto::completion::Result as Handed;
use durabletask_proto::history_event::EventType as Event;
use durabletask_proto::operation_result::ResultType;
use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::*;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::loops::{self, LoopProgress};
use super::results::Results;
use super::support::*;

pub(crate) const ACTIVITIES: i32 = 3;
/// How many entities share the signals.
const ENTITIES: u64 = 32;
const AGAIN: Duration = Duration::from_millis(20);

/// What the scheduler has acknowledged.
#[derive(Clone, Default)]
pub(crate) struct Acknowledged {
    pub(crate) started: BTreeSet<String>,
    /// Instance → payload of the event that was accepted.
    pub(crate) raised: BTreeMap<String, String>,
    /// (Instance, task) → results that were accepted. More than one is a fault already.
    pub(crate) results: BTreeMap<(String, i32), Vec<String>>,
    /// Entity → signals that were accepted.
    pub(crate) signals: BTreeMap<String, BTreeSet<String>>,
    /// Loop → what was acknowledged.
    pub(crate) loops: BTreeMap<String, LoopProgress>,
}

/// What the load shares.
#[derive(Clone)]
pub(crate) struct Load {
    /// Of the schedulers, any of which may be called.
    pub(crate) addresses: watch::Receiver<Vec<String>>,
    pub(crate) acknowledged: Arc<Mutex<Acknowledged>>,
    pub(crate) numbers: Arc<AtomicU64>,
    pub(crate) stop: CancellationToken,
}

impl Load {
    /// A client of one of the processes that run now.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.channel()).max_decoding_message_size(64 << 20)
    }

    fn channel(&self) -> tonic::transport::Channel {
        let addresses = self.addresses.borrow().clone();
        let next = usize::try_from(self.number()).unwrap() % addresses.len();
        tonic::transport::Channel::from_shared(addresses[next].clone())
            .unwrap()
            .connect_timeout(Duration::from_secs(5))
            // One that is frozen closes no connection.
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(2))
            .keep_alive_while_idle(true)
            .connect_lazy()
    }

    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Starts instances, raises an event to each, again until that is acknowledged,
    /// signals an entity, and drives a loop now and then.
    pub(crate) async fn clients(self) {
        let mut client = self.client();
        let mut addresses = self.addresses.clone();
        while !self.stop.is_cancelled() {
            if addresses.has_changed().unwrap_or(false) {
                addresses.borrow_and_update();
                client = self.client();
            }
            let number = self.number();
            if number.is_multiple_of(4) {
                let id = format!("l{number}");
                if start_named(&client, &id, "Loop").await.is_ok() {
                    self.drive(&mut client, &id).await;
                } else {
                    tokio::time::sleep(AGAIN).await;
                    client = self.client();
                }
                continue;
            }
            let id = format!("i{number}");
            if start(&client, "default", &id).await.is_err() {
                tokio::time::sleep(AGAIN).await;
                client = self.client();
                continue;
            }
            self.acknowledged.lock().unwrap().started.insert(id.clone());
            self.raise(&mut client, &id).await;
            self.signal(&mut client).await;
        }
    }

    async fn raise(&self, client: &mut Client, id: &str) {
        loop {
            // Whether an unanswered event arrived is not known, so each try is another one.
            let payload = self.number().to_string();
            let message = RaiseEventRequest {
                instance_id: id.to_owned(),
                name: "go".to_owned(),
                input: Some(payload.clone()),
            };
            match client.raise_event(to_hub("default", message)).await {
                Ok(_) => {
                    let mut acknowledged = self.acknowledged.lock().unwrap();
                    acknowledged.raised.insert(id.to_owned(), payload);
                    return;
                }
                Err(status) => {
                    assert_ne!(status.code(), Code::NotFound, "{id} was acknowledged");
                    tokio::time::sleep(AGAIN).await;
                    *client = self.client();
                }
            }
        }
    }

    /// One try: whether an unanswered signal arrived is not known.
    async fn signal(&self, client: &mut Client) {
        let number = self.number();
        let entity = format!("@log@{}", number % ENTITIES);
        let message = SignalEntityRequest {
            instance_id: entity.clone(),
            name: "append".to_owned(),
            input: Some(number.to_string()),
            ..Default::default()
        };
        if client
            .signal_entity(to_hub("default", message))
            .await
            .is_ok()
        {
            let mut acknowledged = self.acknowledged.lock().unwrap();
            let accepted = acknowledged.signals.entry(entity).or_default();
            accepted.insert(number.to_string());
        }
    }

    /// Executes work items until it is asked to stop. Hands the results in on the stream for
    /// them, or by calls.
    pub(crate) async fn worker(self, finished: CancellationToken, streams: bool) {
        while !finished.is_cancelled() {
            let client = self.client();
            let ask = GetWorkItemsRequest {
                max_concurrent_orchestration_work_items: 20,
                max_concurrent_activity_work_items: 20,
                max_concurrent_entity_work_items: 20,
                ..Default::default()
            };
            let Ok(stream) = client.clone().get_work_items(to_hub("default", ask)).await else {
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            let mut stream = stream.into_inner();
            let results = match streams {
                true => match Results::on_stream(self.channel()).await {
                    Ok(results) => results,
                    Err(_) => continue,
                },
                false => Results::Calls(client),
            };
            let mut working = JoinSet::new();
            loop {
                let item = tokio::select! {
                    item = stream.message() => item,
                    () = finished.cancelled() => break,
                };
                let Ok(Some(item)) = item else { break };
                working.spawn(self.clone().execute(results.clone(), item));
                while let Some(done) = working.try_join_next() {
                    done.unwrap();
                }
            }
            while let Some(done) = working.join_next().await {
                done.unwrap();
            }
        }
    }

    /// Hands a result in until it is taken or refused, as SDKs do; whether it is acknowledged.
    async fn hand_in(&self, results: &Results, result: Handed) -> bool {
        let mut answer = results.hand_in(result.clone()).await;
        // What is gone was answered by another try, or is handed out again.
        while !matches!(answer, Code::Ok | Code::NotFound) {
            assert_ne!(answer, Code::InvalidArgument, "{result:?}");
            tokio::time::sleep(AGAIN).await;
            answer = Results::Calls(self.client()).hand_in(result.clone()).await;
        }
        answer == Code::Ok
    }

    async fn execute(self, results: Results, item: WorkItem) {
        match item.request {
            Some(work_item::Request::OrchestratorRequest(turn)) => {
                let response = OrchestratorResponse {
                    instance_id: turn.instance_id.clone(),
                    completion_token: item.completion_token,
                    actions: decide(&turn),
                    ..Default::default()
                };
                self.hand_in(&results, Handed::Orchestrator(response)).await;
            }
            Some(work_item::Request::ActivityRequest(activity)) => {
                let result = self.number().to_string();
                let id = activity.orchestration_instance.unwrap().instance_id;
                let response = ActivityResponse {
                    instance_id: id.clone(),
                    task_id: activity.task_id,
                    result: Some(result.clone()),
                    completion_token: item.completion_token,
                    ..Default::default()
                };
                if self.hand_in(&results, Handed::Activity(response)).await {
                    let mut acknowledged = self.acknowledged.lock().unwrap();
                    let key = (id, activity.task_id);
                    acknowledged.results.entry(key).or_default().push(result);
                }
            }
            Some(work_item::Request::EntityRequestV2(batch)) => {
                let result = append(item.completion_token, batch);
                self.hand_in(&results, Handed::Entity(result)).await;
            }
            _ => {}
        }
    }
}

/// The entity: keeps the inputs of all its operations, in order.
fn append(completion_token: String, batch: EntityRequest) -> EntityBatchResult {
    let mut state = batch.entity_state.unwrap_or_default();
    let mut results = Vec::new();
    for operation in batch.operation_requests {
        let Some(Event::EntityOperationSignaled(signal)) = operation.event_type else {
            panic!("{operation:?}")
        };
        state.push_str(&signal.input.unwrap_or_default());
        state.push(',');
        results.push(OperationResult {
            result_type: Some(ResultType::Success(OperationResultSuccess::default())),
        });
    }
    EntityBatchResult {
        results,
        entity_state: Some(state),
        completion_token,
        ..Default::default()
    }
}

fn is_loop(turn: &OrchestratorRequest) -> bool {
    turn.instance_id.starts_with('l')
}

async fn start_named(client: &Client, id: &str, name: &str) -> Result<(), tonic::Status> {
    let message = CreateInstanceRequest {
        instance_id: id.to_owned(),
        name: name.to_owned(),
        ..Default::default()
    };
    let answer = client
        .clone()
        .start_instance(to_hub("default", message))
        .await;
    answer.map(drop)
}

/// The orchestrations. `Hello`: three activities one after the other, then a child and a
/// timer side by side, then an event, then the end. `Child` ends at once. They decide
/// from the history alone, as orchestrators do.
fn decide(turn: &OrchestratorRequest) -> Vec<OrchestratorAction> {
    let (mut steps, mut results, mut waits, mut told) = (0, Vec::new(), 0, false);
    if is_loop(turn) {
        return loops::decide(turn);
    }
    let mut name = String::new();
    for event in turn.past_events.iter().chain(&turn.new_events) {
        match &event.event_type {
            Some(Event::ExecutionStarted(started)) => name.clone_from(&started.name),
            Some(
                Event::TaskScheduled(_)
                | Event::TimerCreated(_)
                | Event::SubOrchestrationInstanceCreated(_),
            ) => steps += 1,
            Some(Event::TaskCompleted(done)) => {
                results.push(done.result.clone().unwrap_or_default());
            }
            Some(Event::TimerFired(_) | Event::SubOrchestrationInstanceCompleted(_)) => waits += 1,
            Some(Event::EventRaised(_)) => told = true,
            _ => {}
        }
    }
    let completed = i32::try_from(results.len()).unwrap();
    assert!(
        completed <= steps && waits <= 2,
        "something came twice: {turn:?}"
    );
    let end = |result: String| {
        Action::CompleteOrchestration(CompleteOrchestrationAction {
            orchestration_status: OrchestrationStatus::Completed as i32,
            result: Some(result),
            ..Default::default()
        })
    };
    let actions = if name == "Child" {
        vec![end(String::new())]
    } else if completed == steps && steps < ACTIVITIES {
        vec![Action::ScheduleTask(ScheduleTaskAction {
            name: "step".to_owned(),
            ..Default::default()
        })]
    } else if completed == ACTIVITIES && steps == ACTIVITIES {
        vec![
            Action::CreateSubOrchestration(CreateSubOrchestrationAction {
                name: "Child".to_owned(),
                ..Default::default()
            }),
            Action::CreateTimer(CreateTimerAction {
                fire_at: Some((SystemTime::now() + AGAIN).into()),
            }),
        ]
    } else if waits == 2 && told {
        vec![end(results.join(","))]
    } else {
        vec![]
    };
    (steps..)
        .zip(actions)
        .map(|(id, action)| OrchestratorAction {
            id,
            orchestrator_action_type: Some(action),
        })
        .collect()
}
