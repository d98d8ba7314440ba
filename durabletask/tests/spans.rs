//! The spans that clients and workers record.

#![cfg(feature = "opentelemetry")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use durabletask::{
    Activity, ActivityContext, Client, Event, Failure, Orchestration, OrchestrationContext,
    Registry, Worker,
};
use durabletask_proto as proto;
use fake::items::{started, turn};
use fake::{Fake, Got};
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use proto::history_event::EventType;
use proto::work_item::Request as Item;
use tokio_util::sync::CancellationToken;

const FAILS: Activity<u32, u32> = Activity::new("fails");
const STORY: Orchestration<u32, u32> = Orchestration::new("story");
const GO: Event<u32> = Event::new("go");

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    span.attributes
        .iter()
        .find(|attribute| attribute.key.as_str() == key)
        .map(|attribute| attribute.value.to_string())
}

// One test, because the tracer provider is that of the process.
#[tokio::test]
async fn an_instance_is_one_trace() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    opentelemetry::global::set_tracer_provider(provider.clone());

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
    let running = tokio::spawn(worker.run(stop.clone()));
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
        started.parent_trace_context = Some(context);
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

    provider.force_flush().unwrap();
    let spans = exporter.get_finished_spans().unwrap();
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
    let raised = span("orchestration_event:go");
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
