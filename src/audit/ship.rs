//! Sends the audit log to an OpenTelemetry collector: each entry at least once.
//!
//! The log itself remains authoritative. How far it was sent is kept beside it, so a collector that
//! is down for an hour receives that hour when it is back, and entries that commands on the host
//! write are sent too. Front doors that share a log send it in turns, so a collector receives it
//! once. An entry's sequence tells a collector whether one is missing or duplicated.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::logs::{LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::{InstrumentationScope, Key};
use opentelemetry_otlp::{ExporterBuildError, LogExporter};
use opentelemetry_sdk::logs::{
    LogBatch, LogExporter as _, SdkLogRecord, SdkLogger, SdkLoggerProvider,
};
use tokio_util::sync::CancellationToken;

use super::entry::{Entry, Outcome};
use super::error::AuditError;
use super::export::changes_text;
use super::mark::{Mark, MarkError};
use super::store::AuditQuery;
use super::writer::AuditReader;
use crate::telemetry::otlp;

/// The name of these log records and of their instrumentation scope.
const EVENT: &str = "countersign.audit";
/// How many entries are sent at a time.
const BATCH: usize = 256;
/// How often it checks for entries of other processes.
const LOOK: Duration = Duration::from_secs(30);
/// How long sending the rest may take when the process ends.
const LAST: Duration = Duration::from_secs(5);
/// The wait while another front door is sending.
const ELSEWHERE: Duration = Duration::from_secs(1);
/// The wait after a failure: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The task that sends entries.
pub(crate) struct Shipper {
    audit: AuditReader,
    mark: Mark,
    exporter: LogExporter,
    logger: SdkLogger,
    scope: InstrumentationScope,
}

/// Why a batch was not sent.
enum Unsent {
    Log(AuditError),
    Collector(String),
    Mark(MarkError),
    /// The process ends and does not wait any longer.
    Late,
}

/// What an attempt to send has ended with.
enum Sent {
    /// Everything that there was.
    All,
    /// Nothing: another front door is sending.
    Elsewhere,
}

/// Waits until a stop was requested and the time after it is over.
async fn overdue(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(LAST).await;
}

impl Shipper {
    /// Sends what `audit` holds to `endpoint`, starting where it was sent to, which the file `mark`
    /// says unless the log is shared. Must be called on a runtime.
    pub(crate) fn new(
        audit: AuditReader,
        mark: PathBuf,
        endpoint: &str,
    ) -> Result<Self, ExporterBuildError> {
        let mut exporter = otlp::log_exporter(endpoint)?;
        exporter.set_resource(&otlp::resource());
        Ok(Self {
            mark: Mark::of(&audit, mark),
            audit,
            exporter,
            // Only creates records; nothing is emitted through it.
            logger: SdkLoggerProvider::builder().build().logger(EVENT),
            scope: InstrumentationScope::builder(EVENT).build(),
        })
    }

    /// Sends until asked to stop; then what is left, for as long as [`LAST`].
    pub(crate) async fn run(self, stop: CancellationToken) {
        // What was sent and could not be noted is not sent again by this process.
        let sent = AtomicU64::new(0);
        let mut wait = RETRY.0;
        // Begins once, so that retries at the end do not postpone it.
        let mut overdue = pin!(overdue(&stop));
        loop {
            let stopping = stop.is_cancelled();
            let outcome = tokio::select! {
                outcome = self.send_all(&sent) => outcome,
                () = &mut overdue => Err(Unsent::Late),
            };
            if stopping || matches!(outcome, Err(Unsent::Late)) {
                if outcome.is_err() {
                    tracing::warn!(
                        "unsent audit entries remain; they are sent after the next start"
                    );
                }
                return;
            }
            match outcome {
                Ok(Sent::Elsewhere) => {
                    tokio::select! {
                        () = tokio::time::sleep(ELSEWHERE) => {}
                        () = stop.cancelled() => {}
                    }
                }
                Ok(Sent::All) => {
                    wait = RETRY.0;
                    tokio::select! {
                        () = self.audit.appended() => {}
                        () = tokio::time::sleep(LOOK) => {}
                        () = stop.cancelled() => {}
                    }
                }
                // New entries do not shorten the wait.
                Err(unsent) => {
                    unsent.log(wait);
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = stop.cancelled() => {}
                    }
                    wait = (wait * 2).min(RETRY.1);
                }
            }
        }
    }

    /// Sends every entry after what is noted and `sent`, and advances both.
    async fn send_all(&self, sent: &AtomicU64) -> Result<Sent, Unsent> {
        let Some(mut sending) = self.mark.begin().await.map_err(Unsent::Mark)? else {
            return Ok(Sent::Elsewhere);
        };
        loop {
            let after = sending.after.max(sent.load(Ordering::Relaxed));
            let query = AuditQuery {
                after: Some(after),
                limit: BATCH,
                ..AuditQuery::default()
            };
            let entries = self.audit.query(query).await.map_err(Unsent::Log)?;
            let Some(last) = entries.last() else { break };
            let (last, full) = (last.sequence, entries.len() == BATCH);
            let records: Vec<SdkLogRecord> = entries.iter().map(|e| self.record(e)).collect();
            let batch: Vec<_> = records.iter().map(|record| (record, &self.scope)).collect();
            self.exporter
                .export(LogBatch::new(&batch))
                .await
                .map_err(|error| Unsent::Collector(error.to_string()))?;
            sent.store(last, Ordering::Relaxed);
            sending.note(last).await.map_err(Unsent::Mark)?;
            if !full {
                break;
            }
        }
        sending.end().await;
        Ok(Sent::All)
    }

    fn record(&self, entry: &Entry) -> SdkLogRecord {
        let event = &entry.event;
        let mut record = self.logger.create_log_record();
        let severity = match event.outcome {
            Outcome::Done => Severity::Info,
            Outcome::Refused => Severity::Warn,
            Outcome::Failed => Severity::Error,
        };
        record.set_event_name(EVENT);
        record.set_timestamp(event.at.into());
        record.set_observed_timestamp(std::time::SystemTime::now());
        record.set_severity_number(severity);
        record.set_severity_text(severity.name());
        record.set_body(format!("{} {}", event.action, event.outcome.as_str()).into());
        let sequence = i64::try_from(entry.sequence).unwrap_or(i64::MAX);
        record.add_attribute("countersign.audit.sequence", sequence);
        let from = event.from.map(|address| address.to_string());
        let changes = changes_text(event);
        let texts = [
            ("countersign.audit.action", Some(event.action.as_str())),
            ("countersign.audit.outcome", Some(event.outcome.as_str())),
            ("countersign.audit.hash", Some(entry.hash.as_str())),
            ("countersign.caller", Some(event.caller.as_str())),
            (
                "countersign.audit.subject",
                event.subject.as_ref().map(|subject| subject.0.as_str()),
            ),
            ("client.address", from.as_deref()),
            ("error.type", event.problem.as_deref()),
            ("countersign.audit.reason", event.reason.as_deref()),
            ("countersign.request_id", event.request_id.as_deref()),
            ("countersign.audit.changes", changes.as_deref()),
            ("countersign.audit.instance", event.instance.as_deref()),
        ];
        if let Some(repeats) = event.repeats {
            let repeats = i64::try_from(repeats).unwrap_or(i64::MAX);
            record.add_attribute("countersign.audit.repeats", repeats);
        }
        if let Some(place) = event.journal {
            let place = i64::try_from(place).unwrap_or(i64::MAX);
            record.add_attribute("countersign.audit.journal", place);
        }
        for (name, text) in texts {
            if let Some(text) = text {
                record.add_attribute(Key::from_static_str(name), text.to_owned());
            }
        }
        record
    }
}

impl Unsent {
    fn log(&self, wait: Duration) {
        let seconds = wait.as_secs();
        match self {
            Self::Log(error) => tracing::error!(%error, "sending the audit log failed"),
            Self::Collector(error) => tracing::warn!(
                error,
                "the collector did not accept the audit entries; retrying in {seconds} s"
            ),
            Self::Late => tracing::warn!("audit entries were not sent in time"),
            Self::Mark(error) => tracing::error!(
                %error,
                "cannot read or store how far the audit log was sent; some entries may be sent again"
            ),
        }
    }
}
