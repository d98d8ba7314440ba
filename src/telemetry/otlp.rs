//! Exporters and providers of OpenTelemetry: traces and logs to a collector, over gRPC.
//!
//! Nothing here ever waits for the collector on behalf of anyone else: spans and log
//! records go into bounded queues, what does not fit is dropped and counted in the log,
//! and threads of their own send what is there.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, LogExporter, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;

use durabletask::telemetry::SpanIds;

/// What OpenTelemetry calls a process that was given no name.
const NAMELESS: &str = "unknown_service";
const SERVICE_NAME: &str = "service.name";

/// How long what is left may take to be sent when the process ends.
pub(super) const FLUSH: Duration = Duration::from_secs(10);

/// Who this process is: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, else ours.
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

/// The provider of spans that are sent to `endpoint`. To be made inside a runtime.
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

/// The provider of log records that are sent to `endpoint`. To be made inside a runtime.
pub(super) fn logs(endpoint: &str) -> Result<SdkLoggerProvider, ExporterBuildError> {
    Ok(SdkLoggerProvider::builder()
        .with_batch_exporter(log_exporter(endpoint)?)
        .with_resource(resource())
        .build())
}

/// What sends log records to `endpoint`. To be made inside a runtime.
pub(crate) fn log_exporter(endpoint: &str) -> Result<LogExporter, ExporterBuildError> {
    LogExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
}
