//! The spans that clients and workers record.

#![cfg(feature = "opentelemetry")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod entities;
#[path = "../fake/mod.rs"]
mod fake;
mod recorded;

use std::time::Duration;

use durabletask::{
    Activity, ActivityContext, Client, Event, Failure, Orchestration, OrchestrationContext,
    Registry, Worker,
};
use durabletask_proto as proto;
use fake::items::{continuing, event, started, turn};
use fake::{Fake, Got};
use opentelemetry::trace::{SpanKind, Status};
use proto::history_event::EventType;
use proto::work_item::Request as Item;
use recorded::{attribute, of_trace, told};
use tokio_util::sync::CancellationToken;

const FAILS: Activity<u32, u32> = Activity::new("fails");
const QUOTE: Activity<u32, u32> = Activity::new("quote");
const STORY: Orchestration<u32, u32> = Orchestration::new("story");
const CALLER: Orchestration<u32, u32> = Orchestration::new("caller");
const GO: Event<u32> = Event::new("go");

#[tokio::test]
async fn an_instance_is_one_trace() {
    recorded::begin();
    let mut fake = Fake::start().await;
    let client = Client::new(&fake.connection()).unwrap();
    client
        .start(&STORY, &7)
        .instance_id("abc")
        .version("2")
        .send()
        .await
        .unwrap();
    client.raise_event("abc", &GO, &1).await.unwrap();
    let Got::Started(request) = fake.next().await else {
        panic!("not a start");
    };
    assert!(matches!(fake.next().await, Got::Raised(_)));
    let context = request.parent_trace_context.unwrap();

    let registry = Registry::new()
        .activity(&FAILS, async |_: ActivityContext, _: u32| {
            Err::<u32, _>(Failure::new("Bad", "out of luck"))
        })
        .orchestration(&STORY, async |_: OrchestrationContext, n: u32| Ok(n));
    let worker = Worker::builder(&fake.connection())
        .registry(registry)
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker.run_until(stop.clone().cancelled_owned()));
    let items = fake.stream().await;
    let activity = proto::ActivityRequest {
        name: "fails".to_owned(),
        input: Some("7".to_owned()),
        task_id: 3,
        parent_trace_context: Some(context.clone()),
        ..Default::default()
    };
    items.send("t1", Item::ActivityRequest(activity)).await;
    fake.activity().await;
    let mut events = started("story");
    if let Some(EventType::ExecutionStarted(started)) = &mut events[1].event_type {
        started.parent_trace_context = Some(context.clone());
    }
    items
        .send("t2", Item::OrchestratorRequest(turn(events)))
        .await;
    let response = fake.orchestration().await;
    assert!(
        response
            .orchestration_trace_context
            .unwrap()
            .span_start_time
            .is_some()
    );
    stop.cancel();
    running.await.unwrap().unwrap();

    let spans = of_trace(&context);
    let span = |name: &str| {
        spans
            .iter()
            .find(|span| span.name == name)
            .unwrap_or_else(|| panic!("no span {name} in {spans:?}"))
    };
    let created = span("create_orchestration:story@(2)");
    assert_eq!(created.span_kind, SpanKind::Producer);
    assert_eq!(
        attribute(created, "durabletask.task.instance_id").as_deref(),
        Some("abc")
    );
    // A client's event is not part of the trace of whom it reaches.
    let spans = recorded::all();
    let raised = spans
        .iter()
        .find(|span| {
            span.name == "orchestration_event:go"
                && attribute(span, "durabletask.task.instance_id").is_none()
        })
        .unwrap();
    assert_eq!(raised.span_kind, SpanKind::Producer);
    assert_eq!(
        attribute(raised, "durabletask.event.target_instance_id").as_deref(),
        Some("abc")
    );
    let activity = span("activity:fails");
    assert_eq!(activity.span_kind, SpanKind::Server);
    assert_eq!(
        attribute(activity, "durabletask.task.task_id").as_deref(),
        Some("3")
    );
    assert!(
        matches!(&activity.status, Status::Error { description } if description == "out of luck")
    );
    let orchestration = span("orchestration:story");
    assert_eq!(
        attribute(orchestration, "durabletask.task.status").as_deref(),
        Some("Completed")
    );
    for span in [activity, orchestration] {
        assert_eq!(
            span.span_context.trace_id(),
            created.span_context.trace_id()
        );
        assert_eq!(span.parent_span_id, created.span_context.span_id());
    }
}

/// The events of a turn that began `seconds` after the first.
fn at(seconds: i64, events: Vec<(i32, EventType)>) -> Vec<proto::HistoryEvent> {
    let began = EventType::OrchestratorStarted(proto::OrchestratorStartedEvent {});
    std::iter::once((-1, began))
        .chain(events)
        .map(|(id, event_type)| {
            let mut event = event(id, event_type);
            event.timestamp.as_mut().unwrap().seconds += seconds;
            event
        })
        .collect()
}

fn call_completed() -> EventType {
    EventType::TaskCompleted(proto::TaskCompletedEvent {
        task_scheduled_id: 0,
        result: Some("7".to_owned()),
    })
}

#[tokio::test]
async fn the_callers_side_is_recorded_once() {
    recorded::begin();
    let context = proto::TraceContext {
        trace_parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
        ..Default::default()
    };
    let registry = Registry::new().orchestration(
        &CALLER,
        async |ctx: OrchestrationContext, n: u32| -> Result<u32, Failure> {
            let n = ctx.call_activity(&QUOTE, &n).await?;
            let failed = ctx.call_sub_orchestration(&STORY, &n).await.is_err();
            ctx.create_timer(Duration::from_secs(60)).await;
            ctx.send_event("friend", &GO, &u32::from(failed))?;
            Ok(n)
        },
    );
    let mut fake = Fake::start().await;
    let worker = Worker::builder(&fake.connection())
        .registry(registry)
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker.run_until(stop.clone().cancelled_owned()));
    let items = fake.stream().await;
    let run = async |fake: &mut Fake, token: &str, request: proto::OrchestratorRequest| {
        items.send(token, Item::OrchestratorRequest(request)).await;
        fake.orchestration().await
    };

    let mut past = at(
        0,
        vec![(
            -1,
            EventType::ExecutionStarted(proto::ExecutionStartedEvent {
                name: "caller".to_owned(),
                input: Some("7".to_owned()),
                parent_trace_context: Some(context.clone()),
                ..Default::default()
            }),
        )],
    );
    run(&mut fake, "t1", turn(past.clone())).await;

    // The turn is not taken at first: then it did not happen.
    past.push(event(
        0,
        EventType::TaskScheduled(proto::TaskScheduledEvent {
            name: "quote".to_owned(),
            version: Some("2".to_owned()),
            ..Default::default()
        }),
    ));
    let new = at(3, vec![(-1, call_completed()), (-1, call_completed())]);
    let replayed = proto::OrchestratorRequest {
        past_events: past.clone(),
        ..turn(new.clone())
    };
    fake.answer_completions(vec![Err(tonic::Status::not_found("stale"))]);
    run(&mut fake, "t2", replayed.clone()).await;
    run(&mut fake, "t3", replayed).await;

    // A turn of a live execution: the beginning of the call is that of its turn.
    let failed =
        EventType::SubOrchestrationInstanceFailed(proto::SubOrchestrationInstanceFailedEvent {
            task_scheduled_id: 1,
            failure_details: Some(proto::TaskFailureDetails {
                error_type: "Bad".to_owned(),
                error_message: "out of luck".to_owned(),
                ..Default::default()
            }),
        });
    let live = at(8, vec![(-1, failed.clone())]);
    run(&mut fake, "t4", continuing("t3", live)).await;

    // A replay of all of that, and the timer.
    past.extend(new);
    past.push(event(
        1,
        EventType::SubOrchestrationInstanceCreated(proto::SubOrchestrationInstanceCreatedEvent {
            name: "story".to_owned(),
            ..Default::default()
        }),
    ));
    past.extend(at(8, vec![(-1, failed)]));
    let fire_at = Some(prost_types::Timestamp {
        seconds: 1_700_000_068,
        nanos: 0,
    });
    let timer = EventType::TimerCreated(proto::TimerCreatedEvent { fire_at });
    past.extend(at(8, vec![(2, timer)]).split_off(1));
    let fired = EventType::TimerFired(proto::TimerFiredEvent {
        fire_at,
        timer_id: 2,
    });
    let last = proto::OrchestratorRequest {
        past_events: past,
        ..turn(at(68, vec![(-1, fired)]))
    };
    run(&mut fake, "t5", last).await;
    stop.cancel();
    running.await.unwrap().unwrap();

    let mut spans = of_trace(&context);
    spans.retain(|span| span.span_kind != SpanKind::Server);
    for span in &spans {
        assert_eq!(span.parent_span_id.to_string(), "b7ad6b7169203331");
    }
    assert_eq!(
        told(&spans),
        [
            "Client activity:quote@(2) [task.instance_id=abc, task.name=quote, task.task_id=0, task.version=2, type=activity] 3s",
            "Client orchestration:story [task.instance_id=abc, task.name=story, task.task_id=1, type=orchestration] 5s, failed: out of luck",
            "Internal orchestration:caller:timer [fire_at=2023-11-14T22:14:28.000000000Z, task.instance_id=abc, task.name=caller, task.task_id=2, type=timer] 60s",
            "Producer orchestration_event:go [event.target_instance_id=friend, task.execution_id=exec, task.instance_id=abc, task.name=go, type=event] 0s",
        ]
    );
}
