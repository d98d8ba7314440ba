//! Loops that take one event after the other and continue as new with each, and what
//! clients do with them in the meantime.

use std::time::Duration;

use durabletask_proto::history_event::EventType as Event;
use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::*;
use tonic::Code;

use super::load::Load;
use super::support::*;

const AGAIN: Duration = Duration::from_millis(20);
/// The event that ends a loop.
const STOP: &str = "stop";
pub(crate) const REASON: &str = "enough";

/// What was acknowledged of a loop.
#[derive(Clone, Default)]
pub(crate) struct LoopProgress {
    /// The payloads of its events, in the order in which they were accepted.
    pub(crate) raised: Vec<String>,
    pub(crate) terminated: bool,
}

/// One thing that a client does with a loop.
enum Step {
    Suspend,
    Resume,
    Raise(String),
    Terminate,
}

impl Load {
    /// Gives a loop events, suspends and resumes it in between, and ends it.
    pub(crate) async fn drive(&self, client: &mut Client, id: &str) {
        for step in 0..6 {
            if step == 2 {
                self.until_done(client, id, || Step::Suspend).await;
            }
            if step == 4 {
                self.until_done(client, id, || Step::Resume).await;
            }
            // Whether an unanswered event arrived is not known, so each try is another one.
            let raised = self
                .until_done(client, id, || Step::Raise(self.number().to_string()))
                .await;
            if let Step::Raise(payload) = raised {
                let mut acknowledged = self.acknowledged.lock().unwrap();
                let progress = acknowledged.loops.entry(id.to_owned()).or_default();
                progress.raised.push(payload);
            }
        }
        if self.number().is_multiple_of(2) {
            self.until_done(client, id, || Step::Raise(STOP.to_owned()))
                .await;
            return;
        }
        self.until_done(client, id, || Step::Terminate).await;
        let mut acknowledged = self.acknowledged.lock().unwrap();
        let progress = acknowledged.loops.entry(id.to_owned()).or_default();
        progress.terminated = true;
    }

    /// Tries again, each time with a step of its own, until one is acknowledged.
    async fn until_done(&self, client: &mut Client, id: &str, next: impl Fn() -> Step) -> Step {
        loop {
            let step = next();
            match take(client, id, &step).await {
                Ok(()) => return step,
                Err(status) => {
                    assert_ne!(status.code(), Code::NotFound, "{id} was acknowledged");
                    tokio::time::sleep(AGAIN).await;
                    *client = self.client();
                }
            }
        }
    }
}

async fn take(client: &mut Client, id: &str, step: &Step) -> Result<(), tonic::Status> {
    let instance_id = id.to_owned();
    match step {
        Step::Suspend => {
            let message = SuspendRequest {
                instance_id,
                reason: None,
            };
            let message = to_hub("default", message);
            client.suspend_instance(message).await.map(drop)
        }
        Step::Resume => {
            let message = ResumeRequest {
                instance_id,
                reason: None,
            };
            let message = to_hub("default", message);
            client.resume_instance(message).await.map(drop)
        }
        Step::Raise(payload) => raise(client, id, payload).await,
        Step::Terminate => {
            let message = TerminateRequest {
                instance_id,
                output: Some(REASON.to_owned()),
                recursive: false,
            };
            let message = to_hub("default", message);
            client.terminate_instance(message).await.map(drop)
        }
    }
}

async fn raise(client: &mut Client, id: &str, payload: &str) -> Result<(), tonic::Status> {
    let message = RaiseEventRequest {
        instance_id: id.to_owned(),
        name: "item".to_owned(),
        input: Some(payload.to_owned()),
    };
    client
        .raise_event(to_hub("default", message))
        .await
        .map(drop)
}

/// Takes the first event that no suspension holds back, as SDKs do, and continues as new
/// with the others; the input is what was taken so far.
pub(crate) fn decide(turn: &OrchestratorRequest) -> Vec<OrchestratorAction> {
    let (mut taken, mut suspended) = (String::new(), false);
    let (mut there, mut held) = (Vec::new(), Vec::new());
    for event in turn.past_events.iter().chain(&turn.new_events) {
        match &event.event_type {
            Some(Event::ExecutionStarted(started)) => {
                taken = started.input.clone().unwrap_or_default();
            }
            Some(Event::ExecutionSuspended(_)) => suspended = true,
            Some(Event::ExecutionResumed(_)) => {
                suspended = false;
                there.append(&mut held);
            }
            Some(Event::EventRaised(_)) if suspended => held.push(event.clone()),
            Some(Event::EventRaised(_)) => there.push(event.clone()),
            _ => {}
        }
    }
    let mut events = there.into_iter();
    let Some(Event::EventRaised(raised)) = events.next().and_then(|event| event.event_type) else {
        return Vec::new();
    };
    let payload = raised.input.unwrap_or_default();
    let complete = if payload == STOP {
        CompleteOrchestrationAction {
            orchestration_status: OrchestrationStatus::Completed as i32,
            result: Some(taken),
            ..Default::default()
        }
    } else {
        CompleteOrchestrationAction {
            orchestration_status: OrchestrationStatus::ContinuedAsNew as i32,
            result: Some(format!("{taken}{payload},")),
            carryover_events: events.chain(held).collect(),
            ..Default::default()
        }
    };
    vec![OrchestratorAction {
        id: 0,
        orchestrator_action_type: Some(Action::CompleteOrchestration(complete)),
    }]
}
