//! What a node counts about its calls to others.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::TypedMetric as _;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Unit;

/// How a forwarded call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The owner's whole answer was passed on, whatever it was.
    Answered,
    /// The caller went away.
    Canceled,
    /// The other node does not own the task hub; the call was repeated elsewhere.
    Refused,
    /// The other node could not be reached, or had too many calls.
    Unreachable,
    /// The connection broke under the call.
    Broken,
    /// The task hub moved to another node under the call.
    Moved,
    /// The token that opened the stream was removed.
    Revoked,
    /// This node stopped.
    Stopped,
}

const OUTCOMES: [(Outcome, &str); 8] = [
    (Outcome::Answered, "answered"),
    (Outcome::Canceled, "canceled"),
    (Outcome::Refused, "refused"),
    (Outcome::Unreachable, "unreachable"),
    (Outcome::Broken, "broken"),
    (Outcome::Moved, "moved"),
    (Outcome::Revoked, "revoked"),
    (Outcome::Stopped, "stopped"),
];

/// The counters of a node.
#[derive(Debug)]
pub(crate) struct Meters {
    outcomes: [Counter; OUTCOMES.len()],
    /// From when a call was sent on to the head of its answer.
    latency: Histogram,
    open: AtomicI64,
    held: AtomicI64,
    received: Counter,
    pub(super) connections: AtomicI64,
    pub(super) failed_connections: Counter,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            outcomes: std::array::from_fn(|_| Counter::default()),
            // 0.1 ms to 6.6 s.
            latency: Histogram::new(exponential_buckets(0.0001, 4.0, 9)),
            open: AtomicI64::new(0),
            held: AtomicI64::new(0),
            received: Counter::default(),
            connections: AtomicI64::new(0),
            failed_connections: Counter::default(),
        }
    }
}

impl Meters {
    /// A call arrived from another node.
    pub(super) fn received(&self) {
        self.received.inc();
    }

    /// The head of an answer arrived.
    pub(super) fn head(&self, sent: Instant) {
        self.latency.observe(sent.elapsed().as_secs_f64());
    }

    fn ended(&self, outcome: Outcome) {
        for ((each, _), counter) in OUTCOMES.iter().zip(&self.outcomes) {
            if *each == outcome {
                counter.inc();
            }
        }
    }

    /// Adds these metrics to a scrape.
    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut calls = encoder.encode_descriptor(
            "forwarded_calls",
            "Calls sent to the node that owns their task hub, by how they ended",
            None,
            Counter::<u64>::TYPE,
        )?;
        for ((_, name), counter) in OUTCOMES.iter().zip(&self.outcomes) {
            counter.encode(calls.encode_family(&[("outcome", *name)])?)?;
        }
        let latency = encoder.encode_descriptor(
            "forwarded_call",
            "From when a call was sent to another node to the head of its answer",
            Some(&Unit::Seconds),
            Histogram::TYPE,
        )?;
        self.latency.encode(latency)?;
        for (name, help, value) in [
            (
                "forwarded_calls_open",
                "Calls and streams that are open at other nodes",
                &self.open,
            ),
            (
                "calls_waiting_for_owner",
                "Calls that wait for a node that owns their task hub and can be reached",
                &self.held,
            ),
            (
                "peer_connections",
                "Open connections to other nodes",
                &self.connections,
            ),
        ] {
            let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value.load(Ordering::Relaxed)).encode(gauge)?;
        }
        for (name, help, counter) in [
            (
                "peer_calls_received",
                "Calls that other nodes sent here",
                &self.received,
            ),
            (
                "peer_connections_failed",
                "Attempts to connect to another node that failed",
                &self.failed_connections,
            ),
        ] {
            let family = encoder.encode_descriptor(name, help, None, Counter::<u64>::TYPE)?;
            counter.encode(family)?;
        }
        Ok(())
    }
}

/// Counts a forwarded call until it is dropped: as canceled, unless something else was noted.
pub(super) struct OpenCall {
    meters: std::sync::Arc<Meters>,
    outcome: Outcome,
}

impl OpenCall {
    pub(super) fn begin(meters: &std::sync::Arc<Meters>) -> Self {
        meters.open.fetch_add(1, Ordering::Relaxed);
        Self {
            meters: std::sync::Arc::clone(meters),
            outcome: Outcome::Canceled,
        }
    }

    pub(super) fn note(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    pub(super) fn end(mut self, outcome: Outcome) {
        self.note(outcome);
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.meters.open.fetch_sub(1, Ordering::Relaxed);
        self.meters.ended(self.outcome);
    }
}

/// Counts a waiting call until it is dropped.
pub(super) struct Held<'a>(&'a Meters);

impl<'a> Held<'a> {
    pub(super) fn begin(meters: &'a Meters) -> Self {
        meters.held.fetch_add(1, Ordering::Relaxed);
        Self(meters)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}
