//! Where messages hold payloads.

use durabletask_proto as proto;
use proto::history_event::EventType;
use proto::orchestrator_action::OrchestratorActionType as Action;
use proto::send_entity_message_action::EntityMessageType as EntityMessage;

/// A message with payloads in it.
pub(crate) trait HasPayloads {
    /// Calls `visit` with each payload that is there.
    fn visit<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut String));
}

impl HasPayloads for Option<String> {
    fn visit<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut String)) {
        if let Some(payload) = self {
            visit(payload);
        }
    }
}

impl<T: HasPayloads> HasPayloads for Vec<T> {
    fn visit<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut String)) {
        for item in self {
            item.visit(visit);
        }
    }
}

/// Messages whose payloads are optional texts of their own.
macro_rules! payloads {
    ($($message:ident: $($field:ident),+;)*) => {
        $(impl HasPayloads for proto::$message {
            fn visit<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut String)) {
                $(self.$field.visit(visit);)+
            }
        })*
    };
}

payloads! {
    CreateInstanceRequest: input;
    RaiseEventRequest: input;
    TerminateRequest: output;
    OrchestrationState: input, output, custom_status;
    ActivityRequest: input;
    ActivityResponse: result;
    OrchestratorResponse: custom_status, actions;
    SignalEntityRequest: input;
    EntityMetadata: serialized_state;
    EntityBatchRequest: entity_state, operations;
    OperationRequest: input;
    EntityRequest: entity_state, operation_requests;
    EntityBatchResult: entity_state, results, actions;
}

impl HasPayloads for proto::OperationResult {
    fn visit<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut String)) {
        if let Some(proto::operation_result::ResultType::Success(success)) = &mut self.result_type {
            success.result.visit(visit);
        }
    }
}

impl HasPayloads for proto::OperationAction {
    fn visit<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut String)) {
        use proto::operation_action::OperationActionType as Action;
        match &mut self.operation_action_type {
            Some(Action::SendSignal(signal)) => signal.input.visit(visit),
            Some(Action::StartNewOrchestration(start)) => start.input.visit(visit),
            None => {}
        }
    }
}

impl HasPayloads for proto::OrchestratorAction {
    fn visit<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut String)) {
        match &mut self.orchestrator_action_type {
            Some(Action::ScheduleTask(action)) => action.input.visit(visit),
            Some(Action::CreateSubOrchestration(action)) => action.input.visit(visit),
            Some(Action::SendEvent(action)) => action.data.visit(visit),
            Some(Action::CompleteOrchestration(action)) => {
                action.result.visit(visit);
                action.carryover_events.visit(visit);
            }
            Some(Action::SendEntityMessage(message)) => match &mut message.entity_message_type {
                Some(EntityMessage::EntityOperationCalled(call)) => call.input.visit(visit),
                Some(EntityMessage::EntityOperationSignaled(signal)) => signal.input.visit(visit),
                _ => {}
            },
            _ => {}
        }
    }
}

impl HasPayloads for proto::HistoryEvent {
    fn visit<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut String)) {
        match &mut self.event_type {
            Some(EventType::TaskScheduled(event)) => event.input.visit(visit),
            Some(EventType::SubOrchestrationInstanceCreated(event)) => event.input.visit(visit),
            Some(EventType::EventSent(event)) => event.input.visit(visit),
            Some(EventType::ExecutionCompleted(event)) => event.result.visit(visit),
            Some(EventType::ContinueAsNew(event)) => event.input.visit(visit),
            Some(EventType::EntityOperationCalled(event)) => event.input.visit(visit),
            Some(EventType::EntityOperationSignaled(event)) => event.input.visit(visit),
            Some(EventType::GenericEvent(event)) => event.data.visit(visit),
            answer => visit_answers(answer, visit),
        }
    }
}

/// Events from outside the orchestration: a replay needs their payloads.
fn visit_answers<'a>(event: &'a mut Option<EventType>, visit: &mut dyn FnMut(&'a mut String)) {
    match event {
        Some(EventType::ExecutionStarted(event)) => event.input.visit(visit),
        Some(EventType::ExecutionTerminated(event)) => event.input.visit(visit),
        Some(EventType::TaskCompleted(event)) => event.result.visit(visit),
        Some(EventType::SubOrchestrationInstanceCompleted(event)) => event.result.visit(visit),
        Some(EventType::EventRaised(event)) => event.input.visit(visit),
        Some(EventType::EntityOperationCompleted(event)) => event.output.visit(visit),
        _ => {}
    }
}

/// Events of which only the payloads count that a replay needs.
pub(crate) fn for_replay(events: &mut [proto::HistoryEvent]) -> ForReplay<'_> {
    ForReplay(events)
}

/// See [`for_replay`].
pub(crate) struct ForReplay<'e>(&'e mut [proto::HistoryEvent]);

impl HasPayloads for ForReplay<'_> {
    fn visit<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut String)) {
        for event in self.0.iter_mut() {
            visit_answers(&mut event.event_type, visit);
        }
    }
}
