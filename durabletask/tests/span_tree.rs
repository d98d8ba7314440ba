//! The spans of an instance as a tree, whichever worker records which of them.

#![cfg(feature = "opentelemetry-sdk")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use durabletask::telemetry::SpanIds;
use durabletask::{
    Activity, ActivityContext, Orchestration, OrchestrationContext, Outcome, Registry, Worker,
};
use durabletask_proto as proto;
use fake::items::{completed, event, only_action, started, turn};
use fake::{Fake, WorkItems};
use opentelemetry::trace::SpanKind;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use proto::history_event::EventType;
use proto::orchestrator_action::OrchestratorActionType as Action;
use proto::work_item::Request as Item;
use tokio_util::sync::CancellationToken;

const ECHO: Activity<u32, u32> = Activity::new("echo");
const STORY: Orchestration<u32, u32> = Orchestration::new("story");
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const START: &str = "b7ad6b7169203331";

fn registry() -> Registry {
    Registry::new()
        .activity(&ECHO, async |_: ActivityContext, n: u32| Ok(n))
        .continuing(&STORY, async |ctx: OrchestrationContext, n: u32| {
            let n = ctx.call_activity(&ECHO, &n).await?;
            if n > 7 {
                return Ok(Outcome::continue_as_new(0));
            }
            Ok(Outcome::Done(n))
        })
}

/// Runs a worker for as long as `work` takes.
async fn with_worker<T>(fake: &mut Fake, work: impl AsyncFnOnce(&mut Fake, &WorkItems) -> T) -> T {
    let worker = Worker::builder(&fake.connection())
        .registry(registry())
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker.run_until(stop.clone().cancelled_owned()));
    let items = fake.stream().await;
    let result = work(fake, &items).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    result
}

async fn run(
    fake: &mut Fake,
    items: &WorkItems,
    request: proto::OrchestratorRequest,
) -> proto::OrchestratorResponse {
    items.send("t", Item::OrchestratorRequest(request)).await;
    fake.orchestration().await
}

// One test, because the tracer provider is that of the process.
#[tokio::test]
async fn spans_nest_callee_under_call_under_caller() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .with_id_generator(SpanIds::new())
        .build();
    opentelemetry::global::set_tracer_provider(provider);
    let mut fake = Fake::start().await;
    let mut past = started("story");
    if let Some(EventType::ExecutionStarted(started)) = &mut past[1].event_type {
        started.parent_trace_context = Some(proto::TraceContext {
            trace_parent: format!("00-{TRACE}-{START}-01"),
            ..Default::default()
        });
    }

    // One worker decides the call, the next runs it, a third learns how it ended.
    let first = with_worker(&mut fake, async |fake, items| {
        run(fake, items, turn(past.clone())).await
    })
    .await;
    let kept = first.orchestration_trace_context.clone().unwrap();
    let Action::ScheduleTask(call) = only_action(&first) else {
        panic!("not a call: {first:?}");
    };
    let context = call.parent_trace_context.clone().unwrap();
    with_worker(&mut fake, async |fake, items| {
        let activity = proto::ActivityRequest {
            name: "echo".to_owned(),
            input: Some("7".to_owned()),
            parent_trace_context: Some(context.clone()),
            ..Default::default()
        };
        items.send("t", Item::ActivityRequest(activity)).await;
        fake.activity().await;
    })
    .await;
    past.push(event(
        0,
        EventType::TaskScheduled(proto::TaskScheduledEvent {
            name: "echo".to_owned(),
            parent_trace_context: Some(context.clone()),
            ..Default::default()
        }),
    ));
    let last = |result: &str| proto::OrchestratorRequest {
        past_events: past.clone(),
        orchestration_trace_context: Some(kept.clone()),
        ..turn(completed(0, result))
    };
    let ended = with_worker(&mut fake, async |fake, items| {
        run(fake, items, last("7")).await
    })
    .await;
    assert_eq!(ended.orchestration_trace_context, Some(kept.clone()));

    let spans = exporter.get_finished_spans().unwrap();
    let span = |kind: SpanKind, name: &str| -> &SpanData {
        let found: Vec<_> = spans
            .iter()
            .filter(|span| span.span_kind == kind && span.name == name)
            .collect();
        assert_eq!(found.len(), 1, "{spans:?}");
        found[0]
    };
    let orchestration = span(SpanKind::Server, "orchestration:story");
    let call = span(SpanKind::Client, "activity:echo");
    let activity = span(SpanKind::Server, "activity:echo");
    assert_eq!(orchestration.parent_span_id.to_string(), START);
    for (child, parent) in [(call, orchestration), (activity, call)] {
        assert_eq!(child.parent_span_id, parent.span_context.span_id());
    }
    assert_eq!(
        kept.span_id.clone().unwrap(),
        orchestration.span_context.span_id().to_string()
    );
    assert_eq!(
        context.trace_parent,
        format!("00-{TRACE}-{}-01", call.span_context.span_id())
    );

    // The next execution begins a span of its own.
    let continued = with_worker(&mut fake, async |fake, items| {
        run(fake, items, last("8")).await
    })
    .await;
    assert_eq!(
        continued.orchestration_trace_context,
        Some(proto::OrchestrationTraceContext::default())
    );
}
