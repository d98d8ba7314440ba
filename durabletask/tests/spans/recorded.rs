//! What was recorded.

use std::sync::LazyLock;

use durabletask_proto as proto;
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};

pub(crate) fn attribute(span: &SpanData, key: &str) -> Option<String> {
    span.attributes
        .iter()
        .find(|attribute| attribute.key.as_str() == key)
        .map(|attribute| attribute.value.to_string())
}

/// The spans of this process, since there is one tracer provider for all its tests.
static RECORDED: LazyLock<InMemorySpanExporter> = LazyLock::new(|| {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    opentelemetry::global::set_tracer_provider(provider);
    exporter
});

/// From now on spans are recorded.
pub(crate) fn begin() {
    LazyLock::force(&RECORDED);
}

/// All spans recorded so far.
pub(crate) fn all() -> Vec<SpanData> {
    RECORDED.get_finished_spans().unwrap()
}

/// The spans recorded so far whose trace is that of `context`.
pub(crate) fn of_trace(context: &proto::TraceContext) -> Vec<SpanData> {
    let trace = context.trace_parent.split('-').nth(1).unwrap();
    let mut spans = all();
    spans.retain(|span| span.span_context.trace_id().to_string() == trace);
    spans
}

/// Of each span what the official SDKs say in it, sorted.
pub(crate) fn told(spans: &[SpanData]) -> Vec<String> {
    let mut told: Vec<String> = spans
        .iter()
        .map(|span| {
            let mut attributes: Vec<String> = span
                .attributes
                .iter()
                .map(|attribute| {
                    let key = attribute.key.as_str().trim_start_matches("durabletask.");
                    format!("{key}={}", attribute.value)
                })
                .collect();
            attributes.sort();
            let took = span.end_time.duration_since(span.start_time).unwrap();
            format!(
                "{:?} {} [{}] {}{}",
                span.span_kind,
                span.name,
                attributes.join(", "),
                // What has no beginning in history lasts no time to speak of.
                if span.span_kind == SpanKind::Producer {
                    0
                } else {
                    took.as_secs()
                },
                match &span.status {
                    Status::Error { description } => format!("s, failed: {description}"),
                    _ => "s".to_owned(),
                }
            )
        })
        .collect();
    told.sort();
    told
}
