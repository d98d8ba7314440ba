//! Exporters and providers of OpenTelemetry: traces and logs to a collector, over gRPC.
//!
//! No other work ever waits for the collector: spans and log
//! records go into bounded queues, what does not fit is dropped, and the number is logged,
//! and separate threads send them.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, LogExporter, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;

use durabletask::telemetry::SpanIds;

/// OpenTelemetry's name for a process without one.
const NAMELESS: &str = "unknown_service";
const SERVICE_NAME: &str = "service.name";

/// How long sending the rest may take when the process ends.
pub(super) const FLUSH: Duration = Duration::from_secs(10);

/// The process's resource: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, else ours.
pub(crate) fn resource() -> Resource {
    let given = Resource::builder().build();
    let named = given
        .get(&SERVICE_NAME.into())
        .is_some_and(|name| !name.as_str().starts_with(NAMELESS));
    let mut builder = Resource::builder();
    if !named {
        builder = builder.with_service_name("countersign");
    }
    builder
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

/// The provider of spans that are sent to `endpoint`. Must be called on a runtime.
pub(super) fn traces(endpoint: &str) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        // So that orchestrations, activities and what they call form one tree.
        .with_id_generator(SpanIds::new())
        .with_resource(resource())
        .build())
}

/// The provider of log records that are sent to `endpoint`. Must be called on a runtime.
pub(super) fn logs(endpoint: &str) -> Result<SdkLoggerProvider, ExporterBuildError> {
    Ok(SdkLoggerProvider::builder()
        .with_batch_exporter(log_exporter(endpoint)?)
        .with_resource(resource())
        .build())
}

/// The exporter of log records to `endpoint`. Must be called on a runtime.
pub(crate) fn log_exporter(endpoint: &str) -> Result<LogExporter, ExporterBuildError> {
    LogExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
}
