//! Logs: one subscriber for the process, to standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat};

/// Installs the subscriber. Later calls in the same process change nothing, which
/// lets tests start the product several times.
pub fn init(config: &LogConfig) {
    // Config has already checked the filter, so the fallback is never taken in
    // practice; it keeps a mistake here from costing the logs altogether.
    let filter = EnvFilter::try_new(&config.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let outcome = match config.format {
        LogFormat::Text => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_ansi(std::io::stderr().is_terminal())
                    .with_writer(std::io::stderr),
            )
            .try_init(),
        LogFormat::Json => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_writer(std::io::stderr),
            )
            .try_init(),
    };
    if outcome.is_err() {
        tracing::debug!("a log subscriber is already installed");
    }
}

/// Names the enrollment or import that the present span is about, for every log line in it.
/// A span without an `instance_id` field stays as it is.
pub(crate) fn about(id: &impl std::fmt::Display) {
    tracing::Span::current().record("instance_id", tracing::field::display(id));
}
