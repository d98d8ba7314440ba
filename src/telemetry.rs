//! Logs and traces of the process: to standard error, and to a collector if one is set.

pub(crate) mod otlp;
pub(crate) mod spans;
mod vault;

use std::io::IsTerminal as _;

use opentelemetry_appender_tracing::layer::{OpenTelemetryTracingBridge, TracingSpanAttributes};
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Metadata;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

use crate::config::{Config, LogConfig, LogFormat};

pub(crate) use vault::TracedVault;

/// The crates whose log lines a collector gets: our own. What the libraries
/// underneath log about sending would itself be sent, in an endless loop.
const OURS: [&str; 2] = ["countersign", "durabletask"];
/// Lines that never appear: of a library that prints whole messages, which contain codes.
const NEVER: &str = "rmcp=off";
/// Which fields of the surrounding spans a log record carries.
const SPAN_FIELDS: [&str; 3] = ["instance_id", "request_id", "caller"];

/// What sends traces and logs; the process should call [`Telemetry::stop`] before it ends.
#[must_use = "unsent telemetry is lost unless this is shut down"]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    logs: Option<SdkLoggerProvider>,
    filter: LogFilter,
}

/// Changes the log filter while the process runs.
#[derive(Clone)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

impl LogFilter {
    /// Replaces the filter.
    pub(crate) fn set(&self, filter: &str) {
        // Missing, like the subscriber, if another one was installed before.
        if self.0.reload(parsed(filter)).is_err() {
            tracing::warn!("the log filter cannot be changed in this process");
        }
    }
}

impl Telemetry {
    /// As [`init`] and, where a collector is set, what sends traces and logs to it. Must be
    /// called on a runtime.
    ///
    /// # Errors
    ///
    /// [`ExporterBuildError`] when a variable of OpenTelemetry cannot be used. Whether
    /// the collector answers is not checked.
    pub fn start(config: &Config) -> Result<Self, ExporterBuildError> {
        let traces = config
            .otlp
            .traces
            .as_deref()
            .map(otlp::traces)
            .transpose()?;
        let logs = config.otlp.logs.as_deref().map(otlp::logs).transpose()?;
        if let Some(provider) = &traces {
            opentelemetry::global::set_tracer_provider(provider.clone());
            spans::enable();
        }
        let filter = subscribe(&config.log, logs.as_ref());
        Ok(Self {
            traces,
            logs,
            filter,
        })
    }

    /// The handle that changes the log filter.
    pub(crate) fn filter(&self) -> LogFilter {
        self.filter.clone()
    }

    /// Sends what is left, for as long as [`otlp::FLUSH`], and ends.
    pub async fn stop(self) {
        let traces = self.traces.map(|provider| {
            flushed("traces", move || {
                provider.shutdown_with_timeout(otlp::FLUSH)
            })
        });
        let logs = self
            .logs
            .map(|provider| flushed("logs", move || provider.shutdown_with_timeout(otlp::FLUSH)));
        for ending in [traces, logs].into_iter().flatten() {
            if ending.await.is_err() {
                tracing::warn!("sending the remaining telemetry panicked");
            }
        }
    }
}

/// Installs the subscriber of logs. Later calls in the same process change nothing, which
/// lets tests start the product several times.
pub fn init(config: &LogConfig) -> LogFilter {
    subscribe(config, None)
}

/// Config has already checked the filter, so the fallback is not used in practice; it prevents
/// a mistake here from disabling logs entirely.
fn parsed(filter: &str) -> EnvFilter {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    match NEVER.parse() {
        Ok(never) => filter.add_directive(never),
        Err(_) => filter,
    }
}

fn subscribe(config: &LogConfig, collected: Option<&SdkLoggerProvider>) -> LogFilter {
    let (filter, handle) = reload::Layer::new(parsed(&config.filter));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match config.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let bridge = collected.map(|provider| {
        OpenTelemetryTracingBridge::builder(provider)
            .with_tracing_span_attributes(TracingSpanAttributes::allowlist(SPAN_FIELDS))
            .build()
            .with_filter(filter_fn(is_ours))
    });
    let outcome = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .with(bridge)
        .try_init();
    if outcome.is_err() {
        tracing::debug!("a log subscriber is already installed");
    }
    LogFilter(handle)
}

/// Ends a provider on a thread that may block.
fn flushed(
    signal: &'static str,
    end: impl FnOnce() -> Result<(), OTelSdkError> + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_blocking(move || {
        if let Err(error) = end() {
            tracing::warn!(signal, %error, "the collector did not accept all remaining telemetry");
        }
    })
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    OURS.iter()
        .any(|package| metadata.target().starts_with(package))
}

/// Adds the id of an enrollment or import to the current span, for every log line in it.
/// A span without an `instance_id` field is unchanged.
pub(crate) fn about(id: &impl std::fmt::Display) {
    tracing::Span::current().record("instance_id", tracing::field::display(id));
}
