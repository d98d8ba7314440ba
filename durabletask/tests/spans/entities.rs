//! The spans of entities.

use chrono::{DateTime, Utc};
use durabletask::entity::EntityStartOptions;
use durabletask::{
    Client, Entity, EntityHandlers, Failure, Operation, Orchestration, OrchestrationContext,
    Registry, Worker,
};
use durabletask_proto as proto;
use proto::history_event::EventType;
use proto::operation_action::OperationActionType as Sent;
use proto::work_item::Request as Item;
use tokio_util::sync::CancellationToken;

use crate::at;
use crate::fake::items::{continuing, event, turn};
use crate::fake::{Fake, Got, WorkItems};
use crate::recorded::{self, all, attribute, of_trace, told};

const COUNTER: Entity<i64> = Entity::new("counter");
const ADD: Operation<i64, i64, i64> = Operation::new("add");
const SPREAD: Operation<i64, String, ()> = Operation::new("spread");
const BREAK: Operation<i64, (), ()> = Operation::new("break");
const REPORT: Orchestration<i64, i64> = Orchestration::new("report");
const ASKS: Orchestration<i64, i64> = Orchestration::new("asks");

fn registry() -> Registry {
    let handlers = EntityHandlers::new()
        .operation(&ADD, |sum: &mut i64, _, n| {
            *sum += n;
            Ok(*sum)
        })
        .operation(&SPREAD, |sum, ctx, other| {
            ctx.signal_entity(&COUNTER.id(&other), &ADD, sum)?;
            let options = EntityStartOptions::new()
                .instance_id("report-1")
                .version("2");
            ctx.start_orchestration_with(&REPORT, sum, options)?;
            Ok(())
        })
        .operation(&BREAK, |_, _, ()| {
            Err(Failure::new("Broken", "it is broken"))
        });
    Registry::new().entity(&COUNTER, handlers).orchestration(
        &ASKS,
        async |ctx: OrchestrationContext, n: i64| -> Result<i64, Failure> {
            let counter = COUNTER.id("a");
            let sum = ctx.call_entity(&counter, &ADD, &n).await?;
            let broken = ctx.call_entity(&counter, &BREAK, &()).await.is_err();
            ctx.signal_entity(&counter, &ADD, &i64::from(broken))?;
            Ok(sum)
        },
    )
}

/// Runs a worker for as long as `work` takes.
async fn with_worker(work: impl AsyncFnOnce(&mut Fake, &WorkItems)) {
    recorded::begin();
    let mut fake = Fake::start().await;
    let worker = Worker::builder(&fake.connection())
        .registry(registry())
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker.run_until(stop.clone().cancelled_owned()));
    let items = fake.stream().await;
    work(&mut fake, &items).await;
    stop.cancel();
    running.await.unwrap().unwrap();
}

async fn batch(fake: &mut Fake) -> proto::EntityBatchResult {
    match fake.next().await {
        Got::Batch(result) => result,
        other => panic!("not a batch: {other:?}"),
    }
}

fn traced(context: &str) -> proto::TraceContext {
    proto::TraceContext {
        trace_parent: context.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_clients_signal_carries_its_span() {
    recorded::begin();
    let mut fake = Fake::start().await;
    let client = Client::new(&fake.connection()).unwrap();
    let later = DateTime::<Utc>::from_timestamp(1_900_000_000, 0).unwrap();
    client
        .signal_entity_at(&COUNTER.id("signalled"), &ADD, &1, later)
        .await
        .unwrap();
    let Got::Signalled(request) = fake.next().await else {
        panic!("not a signal");
    };
    let context = request.parent_trace_context.unwrap();
    let spans = of_trace(&context);
    assert_eq!(
        told(&spans),
        [
            "Producer entity:counter:add [entity.operation=add, event.target_instance_id=@counter@signalled, task.operation=signal_entity, task.scheduled_time=2030-03-17T17:46:40.000000000Z, type=entity] 0s"
        ]
    );
    assert_eq!(
        context.trace_parent.split('-').nth(2).unwrap(),
        spans[0].span_context.span_id().to_string()
    );
}

#[tokio::test]
async fn each_operation_of_a_batch_has_its_span() {
    let called = EventType::EntityOperationCalled(proto::EntityOperationCalledEvent {
        request_id: "r1".to_owned(),
        operation: "add".to_owned(),
        input: Some("4".to_owned()),
        parent_instance_id: Some("abc".to_owned()),
        ..Default::default()
    });
    let signalled = EventType::EntityOperationSignaled(proto::EntityOperationSignaledEvent {
        request_id: "r2".to_owned(),
        operation: "break".to_owned(),
        ..Default::default()
    });
    let newer = proto::EntityRequest {
        instance_id: "@counter@newer".to_owned(),
        operation_requests: vec![event(-1, called), event(-1, signalled)],
        ..Default::default()
    };
    with_worker(async |fake, items| {
        items.send("t", Item::EntityRequestV2(newer)).await;
        batch(fake).await;
    })
    .await;
    let mut spans = all();
    spans.retain(|span| {
        attribute(span, "durabletask.task.instance_id").as_deref() == Some("@counter@newer")
    });
    assert_eq!(
        told(&spans),
        [
            "Consumer entity:counter:break [entity.operation=break, task.instance_id=@counter@newer, task.operation=signal_entity, type=entity] 0s, failed: it is broken",
            "Server entity:counter:add [entity.operation=add, task.instance_id=@counter@newer, task.operation=call_entity, type=entity] 0s",
        ]
    );
}

#[tokio::test]
async fn what_an_operation_sends_out_is_below_it() {
    let context = traced("00-0af7651916cd43dd8448eb211c80319d-b7ad6b7169203331-01");
    let older = proto::EntityBatchRequest {
        instance_id: "@counter@older".to_owned(),
        entity_state: Some("7".to_owned()),
        operations: vec![proto::OperationRequest {
            operation: "spread".to_owned(),
            request_id: "r".to_owned(),
            input: Some("\"friend\"".to_owned()),
            trace_context: Some(context.clone()),
        }],
        ..Default::default()
    };
    let mut carried = Vec::new();
    with_worker(async |fake, items| {
        items.send("t", Item::EntityRequest(older)).await;
        for action in batch(fake).await.actions {
            let carrier = match action.operation_action_type.unwrap() {
                Sent::SendSignal(signal) => signal.parent_trace_context,
                Sent::StartNewOrchestration(start) => start.parent_trace_context,
            };
            carried.push(carrier.unwrap().trace_parent);
        }
    })
    .await;
    let spans = of_trace(&context);
    assert_eq!(
        told(&spans),
        [
            "Producer create_orchestration:report@(2) [event.target_instance_id=report-1, task.instance_id=@counter@older, type=entity] 0s",
            "Producer entity:counter:add [entity.operation=add, event.target_instance_id=@counter@friend, task.instance_id=@counter@older, task.operation=signal_entity, type=entity] 0s",
            "Server entity:counter:spread [entity.operation=spread, task.instance_id=@counter@older, task.operation=call_entity, type=entity] 0s",
        ]
    );
    let span = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let operation = span("entity:counter:spread");
    assert_eq!(operation.parent_span_id.to_string(), "b7ad6b7169203331");
    let sent = [
        span("entity:counter:add"),
        span("create_orchestration:report@(2)"),
    ];
    assert_eq!(carried.len(), sent.len());
    for (carried, span) in carried.iter().zip(sent) {
        assert_eq!(span.parent_span_id, operation.span_context.span_id());
        assert!(carried.contains(&span.span_context.span_id().to_string()));
    }
}

#[tokio::test]
async fn the_callers_side_of_entities_is_recorded_once() {
    let context = traced("00-0af7651916cd43dd8448eb211c80319e-b7ad6b7169203331-01");
    let mut past = at(
        0,
        vec![(
            -1,
            EventType::ExecutionStarted(proto::ExecutionStartedEvent {
                name: "asks".to_owned(),
                input: Some("7".to_owned()),
                parent_trace_context: Some(context.clone()),
                ..Default::default()
            }),
        )],
    );
    with_worker(async |fake, items| {
        let run = async |fake: &mut Fake, token: &str, request: proto::OrchestratorRequest| {
            items.send(token, Item::OrchestratorRequest(request)).await;
            fake.orchestration().await
        };
        let first = run(fake, "t1", turn(past.clone())).await;
        let call = called(&first);
        past.push(event(0, EventType::EntityOperationCalled(call.clone())));
        // A replay of the call, whose answer came three seconds later.
        let answer = EventType::EntityOperationCompleted(proto::EntityOperationCompletedEvent {
            request_id: call.request_id,
            output: Some("11".to_owned()),
        });
        let replayed = proto::OrchestratorRequest {
            past_events: past.clone(),
            ..turn(at(3, vec![(-1, answer)]))
        };
        let second = run(fake, "t2", replayed).await;
        // A turn of the live execution.
        let failed = EventType::EntityOperationFailed(proto::EntityOperationFailedEvent {
            request_id: called(&second).request_id,
            failure_details: Some(proto::TaskFailureDetails {
                error_message: "it is broken".to_owned(),
                ..Default::default()
            }),
        });
        run(fake, "t3", continuing("t2", at(8, vec![(-1, failed)]))).await;
    })
    .await;
    let mut spans = of_trace(&context);
    spans.retain(|span| !span.name.starts_with("orchestration"));
    for span in &spans {
        assert_eq!(span.parent_span_id.to_string(), "b7ad6b7169203331");
    }
    assert_eq!(
        told(&spans),
        [
            "Client entity:counter:add [entity.operation=add, event.target_instance_id=@counter@a, task.instance_id=abc, task.operation=call_entity, type=entity] 3s",
            "Client entity:counter:break [entity.operation=break, event.target_instance_id=@counter@a, task.instance_id=abc, task.operation=call_entity, type=entity] 5s, failed: it is broken",
            "Producer entity:counter:add [entity.operation=add, event.target_instance_id=@counter@a, task.instance_id=abc, task.operation=signal_entity, type=entity] 0s",
        ]
    );
}

/// The call of an entity that a turn decided.
fn called(response: &proto::OrchestratorResponse) -> proto::EntityOperationCalledEvent {
    use proto::orchestrator_action::OrchestratorActionType::SendEntityMessage;
    use proto::send_entity_message_action::EntityMessageType::EntityOperationCalled;
    let calls = response.actions.iter().filter_map(|action| {
        let Some(SendEntityMessage(message)) = &action.orchestrator_action_type else {
            return None;
        };
        match &message.entity_message_type {
            Some(EntityOperationCalled(call)) => Some(call.clone()),
            _ => None,
        }
    });
    let calls: Vec<_> = calls.collect();
    assert_eq!(calls.len(), 1, "{response:?}");
    calls.into_iter().next().unwrap()
}
