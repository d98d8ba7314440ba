//! One case: the same done to the scheduler, through its service, and to the reference.

use std::fmt::Debug;
use std::time::Duration;

use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::*;
use futures_util::FutureExt;
use tonic::{Code, Streaming};

use super::operations::Op;
use super::reference::{Activity, Answer, Instance, Item, carried};
use super::support::{Client, call, complete, done};

/// A turn that a worker holds.
struct Turn {
    token: String,
    worker: usize,
    past: Vec<HistoryEvent>,
    new: Vec<HistoryEvent>,
}

/// One instance id, and the workers that serve nothing else.
pub(crate) struct Case {
    client: Client,
    id: String,
    patience: Duration,
    model: Option<Instance>,
    workers: [Option<Streaming<WorkItem>>; 2],
    /// A worker that runs activities only.
    activities: Option<Streaming<WorkItem>>,
    turn: Option<Turn>,
    /// Turns that were taken from their worker by a termination.
    void: Vec<String>,
    running: Vec<(String, Activity)>,
    numbers: u32,
}

type Outcome = Result<(), String>;

fn same<T: PartialEq + Debug>(what: &str, seen: T, expected: T) -> Outcome {
    if seen == expected {
        Ok(())
    } else {
        Err(format!("{what}: {seen:?} where {expected:?} is right"))
    }
}

fn code<T>(answer: Result<T, tonic::Status>) -> Code {
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

impl Case {
    pub(crate) fn new(client: Client, id: String, patience: Duration) -> Self {
        Self {
            client,
            id,
            patience,
            model: None,
            workers: [None, None],
            activities: None,
            turn: None,
            void: Vec::new(),
            running: Vec::new(),
            numbers: 0,
        }
    }

    /// Does all of it, then lets the instance continue until nothing waits any more.
    pub(crate) async fn run(mut self, ops: &[Op]) -> Outcome {
        for (at, op) in ops.iter().enumerate() {
            let step = async {
                self.apply(*op).await?;
                self.settle().await?;
                self.observe().await
            };
            step.await.map_err(|wrong| {
                format!(
                    "after step {at}, {op:?}: {wrong}\n  expected: {:?}",
                    self.model
                )
            })?;
        }
        self.run_out()
            .await
            .map_err(|wrong| format!("at the end: {wrong}\n  expected: {:?}", self.model))
    }

    async fn run_out(&mut self) -> Outcome {
        for op in [Op::Resume, Op::Connect(0)] {
            self.apply(op).await?;
            self.settle().await?;
        }
        while self.turn.is_some() {
            self.apply(Op::Answer(Answer::Wait, usize::MAX)).await?;
            self.settle().await?;
        }
        self.observe().await?;
        self.look().await?;
        // Whatever comes now was not due.
        let _ = self.client.hello(()).await;
        for stream in self
            .workers
            .iter_mut()
            .chain([&mut self.activities])
            .flatten()
        {
            if let Some(item) = stream.message().now_or_never() {
                return Err(format!("an item came that is not due: {item:?}"));
            }
        }
        if self.model.as_ref().is_some_and(|model| !model.ended()) {
            self.apply(Op::EndNow).await?;
        }
        self.apply(Op::Purge).await
    }

    fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers
    }

    /// What a command about the instance answers: an error where it is missing.
    fn found(&self) -> Code {
        match self.model {
            Some(_) => Code::Ok,
            None => Code::NotFound,
        }
    }

    async fn apply(&mut self, op: Op) -> Outcome {
        let instance_id = self.id.clone();
        let mut client = self.client.clone();
        match op {
            Op::Start { scheduled } => self.start(scheduled).await,
            Op::Raise => {
                let number = self.number();
                let message = RaiseEventRequest {
                    instance_id,
                    name: "go".into(),
                    input: Some(number.to_string()),
                };
                same(
                    "raise",
                    code(client.raise_event(message).await),
                    self.found(),
                )?;
                self.model.iter_mut().for_each(|model| model.raise(number));
                Ok(())
            }
            Op::Suspend => {
                let message = SuspendRequest {
                    instance_id,
                    reason: None,
                };
                let answer = code(client.suspend_instance(message).await);
                same("suspend", answer, self.found())?;
                self.model.iter_mut().for_each(Instance::suspend);
                Ok(())
            }
            Op::Resume => {
                let message = ResumeRequest {
                    instance_id,
                    reason: None,
                };
                let answer = code(client.resume_instance(message).await);
                same("resume", answer, self.found())?;
                self.model.iter_mut().for_each(Instance::resume);
                Ok(())
            }
            Op::Terminate => {
                let reason = format!("\"r{}\"", self.number());
                let message = TerminateRequest {
                    instance_id,
                    output: Some(reason.clone()),
                    recursive: false,
                };
                let answer = code(client.terminate_instance(message).await);
                same("terminate", answer, self.found())?;
                if let Some(model) = &mut self.model
                    && model.terminate(&reason)
                {
                    self.void.extend(self.turn.take().map(|turn| turn.token));
                }
                Ok(())
            }
            Op::EndNow => {
                let reason = format!("\"r{}\"", self.number());
                let message = SkipGracefulOrchestrationTerminationsRequest {
                    instance_batch: Some(InstanceBatch {
                        instance_ids: vec![instance_id],
                    }),
                    reason: Some(reason.clone()),
                };
                let answer = client
                    .skip_graceful_orchestration_terminations(message)
                    .await
                    .map_err(|status| status.to_string())?
                    .into_inner();
                let model = self.model.as_mut().filter(|model| !model.ended());
                let ends = model.is_some();
                same("end now", answer.unterminated_instance_ids.is_empty(), ends)?;
                if let Some(model) = model {
                    model.end_now(&reason);
                    self.void.extend(self.turn.take().map(|turn| turn.token));
                }
                Ok(())
            }
            Op::Purge => {
                let message = PurgeInstancesRequest {
                    request: Some(purge_instances_request::Request::InstanceId(instance_id)),
                    recursive: false,
                    is_orchestration: true,
                };
                let purged = client
                    .purge_instances(message)
                    .await
                    .map_err(|status| status.to_string())?
                    .into_inner();
                let goes = self.model.as_ref().is_some_and(Instance::ended);
                same("purge", purged.deleted_instance_count, i32::from(goes))?;
                if goes {
                    self.model = None;
                    self.running.clear();
                }
                Ok(())
            }
            Op::Restart => {
                let message = RestartInstanceRequest {
                    instance_id,
                    restart_with_new_instance_id: false,
                };
                let expected = match &self.model {
                    None => Code::NotFound,
                    Some(model) if model.ended() => Code::Ok,
                    Some(_) => Code::FailedPrecondition,
                };
                let answer = code(client.restart_instance(message).await);
                same("restart", answer, expected)?;
                if expected == Code::Ok {
                    self.model = self
                        .model
                        .take()
                        .map(|model| Instance::new(model.input, false));
                    self.running.clear();
                }
                Ok(())
            }
            Op::Rewind => {
                let message = RewindInstanceRequest {
                    instance_id,
                    reason: None,
                };
                let answer = code(client.rewind_instance(message).await);
                let rewound = self.model.as_mut().map(Instance::rewind);
                let expected = match rewound {
                    None => Code::NotFound,
                    Some(true) => Code::Ok,
                    Some(false) => Code::FailedPrecondition,
                };
                if rewound == Some(true) {
                    self.running.clear();
                }
                same("rewind", answer, expected)
            }
            Op::Connect(at) => {
                if self.workers[at].is_none() {
                    self.workers[at] = Some(self.connect(&self.id, "none").await?);
                }
                Ok(())
            }
            Op::Leave(at) => {
                self.workers[at] = None;
                if self.turn.as_ref().is_some_and(|turn| turn.worker == at) {
                    self.turn = None;
                    self.model.iter_mut().for_each(Instance::give_back);
                }
                Ok(())
            }
            Op::Abandon => {
                let Some(turn) = self.turn.take() else {
                    return Ok(());
                };
                let message = AbandonOrchestrationTaskRequest {
                    completion_token: turn.token,
                };
                let answer = client.abandon_task_orchestrator_work_item(message).await;
                self.model.iter_mut().for_each(Instance::give_back);
                same("abandon", code(answer), Code::Ok)
            }
            Op::Answer(answer, take) => self.answer(answer, take).await,
            Op::AnswerLate => match self.void.pop() {
                Some(completion_token) => {
                    let late = OrchestratorResponse {
                        completion_token,
                        actions: actions(vec![(0, call("late")), (1, done("late"))]),
                        ..OrchestratorResponse::default()
                    };
                    let answer = code(client.complete_orchestrator_task(late).await);
                    same("a late answer", answer, Code::Ok)
                }
                None => Ok(()),
            },
            Op::FinishActivity => self.finish_activity().await,
            Op::Look => self.look().await,
        }
    }

    async fn start(&mut self, scheduled: bool) -> Outcome {
        let input = self.number().to_string();
        let later = prost_types::Timestamp {
            seconds: 4_000_000_000,
            nanos: 0,
        };
        let message = CreateInstanceRequest {
            instance_id: self.id.clone(),
            name: self.id.clone(),
            input: Some(input.clone()),
            scheduled_start_timestamp: scheduled.then_some(later),
            ..CreateInstanceRequest::default()
        };
        let answer = code(self.client.start_instance(message).await);
        if self.model.as_ref().is_some_and(|model| !model.ended()) {
            return same("start", answer, Code::AlreadyExists);
        }
        self.model = Some(Instance::new(input, scheduled));
        self.running.clear();
        same("start", answer, Code::Ok)
    }

    /// A stream for turns of `orchestration` and for `activity`.
    async fn connect(
        &self,
        orchestration: &str,
        activity: &str,
    ) -> Result<Streaming<WorkItem>, String> {
        let request = GetWorkItemsRequest {
            work_item_filters: Some(WorkItemFilters {
                orchestrations: vec![OrchestrationFilter {
                    name: orchestration.to_owned(),
                    versions: Vec::new(),
                }],
                activities: vec![ActivityFilter {
                    name: activity.to_owned(),
                    versions: Vec::new(),
                }],
                ..WorkItemFilters::default()
            }),
            ..GetWorkItemsRequest::default()
        };
        let answer = self.client.clone().get_work_items(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| status.to_string())
    }

    async fn answer(&mut self, answer: Answer, take: usize) -> Outcome {
        let (Some(turn), Some(model)) = (self.turn.take(), &mut self.model) else {
            return Ok(());
        };
        let batch = model.out.clone().unwrap_or_default();
        let take = take.min(batch.len());
        let consumed = batch.get(..take).unwrap_or_default();
        self.numbers += 1;
        let value = self.numbers.to_string();
        let mut next = model.next_call();
        let mut decided = Vec::new();
        let again = |next: i32, carried: Vec<u32>| {
            let events = carried.iter().map(|number| event_raised(*number));
            let action = Action::CompleteOrchestration(CompleteOrchestrationAction {
                orchestration_status: OrchestrationStatus::ContinuedAsNew as i32,
                result: Some(value.clone()),
                carryover_events: events.collect(),
                ..CompleteOrchestrationAction::default()
            });
            (next, action)
        };
        match answer {
            Answer::Wait => {}
            Answer::Call => decided.push((next, call(&format!("{}-act", self.id)))),
            Answer::Again { .. } => decided.push(again(next, carried(answer, consumed))),
            Answer::CallAgain => {
                decided.push((next, call(&format!("{}-act", self.id))));
                next += 1;
                decided.push(again(next, Vec::new()));
            }
            Answer::Complete => decided.push((next, done(&value))),
            Answer::Fail => decided.push((next, complete(OrchestrationStatus::Failed, ""))),
            Answer::Heed => {
                let reason = consumed.iter().find_map(|item| match item {
                    Item::Terminated(reason) => Some(reason),
                    _ => None,
                });
                let end = |reason| complete(OrchestrationStatus::Terminated, reason);
                decided.extend(reason.map(|reason| (next, end(reason))));
            }
            Answer::Rewind if consumed.contains(&Item::Rewound) => {
                let events = turn.past.iter().chain(&turn.new);
                let kept = events.filter(|event| !is_end(event)).cloned();
                let action = RewindOrchestrationAction {
                    new_history: kept.collect(),
                };
                decided.push((next, Action::RewindOrchestration(action)));
            }
            Answer::Rewind => {}
        }
        let response = OrchestratorResponse {
            completion_token: turn.token,
            actions: actions(decided),
            num_events_processed: (take < batch.len()).then(|| i32::try_from(take).unwrap_or(0)),
            ..OrchestratorResponse::default()
        };
        model.answer(answer, take, &value);
        if !model.called.is_empty() && self.activities.is_none() {
            let name = format!("{}-act", self.id);
            self.activities = Some(self.connect("none", &name).await?);
        }
        let answer = self.client.complete_orchestrator_task(response).await;
        same("an answer", code(answer), Code::Ok)
    }

    async fn finish_activity(&mut self) -> Outcome {
        if self.running.is_empty() {
            return Ok(());
        }
        let (completion_token, activity) = self.running.remove(0);
        let message = ActivityResponse {
            completion_token,
            result: Some("1".into()),
            ..ActivityResponse::default()
        };
        let answer = self.client.complete_activity_task(message).await;
        self.model
            .iter_mut()
            .for_each(|model| model.done(&activity));
        same("an activity's result", code(answer), Code::Ok)
    }

    /// Takes the turn and the activities that are due.
    async fn settle(&mut self) -> Outcome {
        while let Some(model) = &mut self.model
            && !model.called.is_empty()
        {
            let stream = self.activities.as_mut().ok_or("nobody runs activities")?;
            let item = tokio::time::timeout(self.patience, stream.message()).await;
            let item = item.map_err(|_| "no activity came".to_owned())?;
            let (token, activity) = match item.map_err(|status| status.to_string())? {
                Some(WorkItem {
                    completion_token,
                    request: Some(work_item::Request::ActivityRequest(activity)),
                    ..
                }) => (completion_token, activity),
                other => return Err(format!("an activity was due: {other:?}")),
            };
            let at = model
                .called
                .iter()
                .position(|call| call.id == activity.task_id);
            let at = at.ok_or_else(|| format!("an activity came that is not due: {activity:?}"))?;
            self.running.push((token, model.called.remove(at)));
        }
        let connected = self.workers.iter().any(Option::is_some);
        if !connected || !self.model.as_ref().is_some_and(Instance::is_due) {
            return Ok(());
        }
        let (worker, item) = tokio::time::timeout(self.patience, self.next_item())
            .await
            .map_err(|_| "no turn came".to_owned())?;
        let (token, request) = match item? {
            WorkItem {
                completion_token,
                request: Some(work_item::Request::OrchestratorRequest(request)),
                ..
            } => (completion_token, request),
            other => return Err(format!("a turn was due: {other:?}")),
        };
        let batch: Vec<Item> = request.new_events.iter().filter_map(Item::of).collect();
        let past: Vec<Item> = request.past_events.iter().filter_map(Item::of).collect();
        if let Some(model) = &mut self.model {
            model.deliver(&batch, &past)?;
        }
        self.turn = Some(Turn {
            token,
            worker,
            past: request.past_events,
            new: request.new_events,
        });
        Ok(())
    }

    /// The next item of whichever worker gets one.
    async fn next_item(&mut self) -> (usize, Result<WorkItem, String>) {
        let [first, second] = &mut self.workers;
        let (worker, item) = match (first, second) {
            (Some(first), Some(second)) => tokio::select! {
                item = first.message() => (0, item),
                item = second.message() => (1, item),
            },
            (Some(first), None) => (0, first.message().await),
            (None, Some(second)) => (1, second.message().await),
            (None, None) => std::future::pending().await,
        };
        let item = item.map_err(|status| status.to_string());
        (
            worker,
            item.and_then(|item| item.ok_or_else(|| "the stream ended".to_owned())),
        )
    }

    /// Compares what everyone sees.
    async fn observe(&mut self) -> Outcome {
        let message = GetInstanceRequest {
            instance_id: self.id.clone(),
            get_inputs_and_outputs: true,
        };
        let answer = self.client.get_instance(message).await;
        let answer = answer.map_err(|status| status.to_string())?.into_inner();
        let seen = answer.orchestration_state.map(|state| {
            let status = OrchestrationStatus::try_from(state.orchestration_status);
            (
                status.unwrap_or_default(),
                state.input.unwrap_or_default(),
                // A failure has no output here.
                state.output.filter(|output| !output.is_empty()),
            )
        });
        let expected = self
            .model
            .as_ref()
            .map(|model| (model.status(), model.input.clone(), model.output.clone()));
        same("the state", seen, expected)
    }

    async fn look(&mut self) -> Outcome {
        let Some(model) = &self.model else {
            return Ok(());
        };
        let message = StreamInstanceHistoryRequest {
            instance_id: self.id.clone(),
            ..StreamInstanceHistoryRequest::default()
        };
        let answer = self.client.stream_instance_history(message).await;
        let mut stream = answer.map_err(|status| status.to_string())?.into_inner();
        let mut seen = Vec::new();
        while let Some(chunk) = stream
            .message()
            .await
            .map_err(|status| status.to_string())?
        {
            seen.extend(chunk.events.iter().filter_map(Item::of));
        }
        same("the history", &seen, &model.history)
    }
}

fn actions(decided: Vec<(i32, Action)>) -> Vec<OrchestratorAction> {
    decided
        .into_iter()
        .map(|(id, action)| OrchestratorAction {
            id,
            orchestrator_action_type: Some(action),
        })
        .collect()
}

fn event_raised(number: u32) -> HistoryEvent {
    HistoryEvent {
        event_id: -1,
        timestamp: None,
        event_type: Some(history_event::EventType::EventRaised(EventRaisedEvent {
            name: "go".into(),
            input: Some(number.to_string()),
        })),
    }
}

fn is_end(event: &HistoryEvent) -> bool {
    matches!(
        event.event_type,
        Some(history_event::EventType::ExecutionCompleted(_))
    )
}
