//! Span ids that are known before their spans are recorded.
//!
//! A call carries the id of its caller's span, which is recorded when the call
//! has ended, perhaps by another worker. The tracing API has no way to record a
//! span under a given id; a generator that returns that id is one.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use durabletask_core::TraceContext;
use opentelemetry::trace::SpanId;

/// Whether a [`SpanIds`] was made, so that ids given out now can be kept later.
static IN_USE: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The id of the span that this thread is about to begin.
    static NEXT: Cell<Option<SpanId>> = const { Cell::new(None) };
}

/// Generates the ids of spans so that those of an instance form a tree: what an
/// orchestration calls is recorded below the call, and the call below the
/// orchestration. Without it they are siblings. Give it to the tracer provider
/// of every process that runs workers of a task hub.
///
/// ```
/// use durabletask::telemetry::SpanIds;
/// use opentelemetry_sdk::trace::SdkTracerProvider;
///
/// let provider = SdkTracerProvider::builder()
///     .with_id_generator(SpanIds::new())
///     .build();
/// opentelemetry::global::set_tracer_provider(provider);
/// ```
#[cfg(feature = "opentelemetry-sdk")]
#[derive(Debug)]
pub struct SpanIds {
    others: opentelemetry_sdk::trace::RandomIdGenerator,
}

#[cfg(feature = "opentelemetry-sdk")]
impl SpanIds {
    /// A generator. From now on workers of this process give out the ids of
    /// spans that they record later, so make it only to use it.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "making one has an effect on the process"
    )]
    pub fn new() -> Self {
        IN_USE.store(true, Ordering::Relaxed);
        Self {
            others: opentelemetry_sdk::trace::RandomIdGenerator::default(),
        }
    }
}

#[cfg(feature = "opentelemetry-sdk")]
impl opentelemetry_sdk::trace::IdGenerator for SpanIds {
    fn new_trace_id(&self) -> opentelemetry::trace::TraceId {
        self.others.new_trace_id()
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.take().unwrap_or_else(|| self.others.new_span_id())
    }
}

pub(super) fn are_kept() -> bool {
    IN_USE.load(Ordering::Relaxed)
}

/// Begins a span by `begin`, under the id `wanted` if the generator is in use.
pub(super) fn with<T>(wanted: Option<SpanId>, begin: impl FnOnce() -> T) -> T {
    NEXT.set(wanted);
    let begun = begin();
    // Nobody may have asked for it.
    NEXT.set(None);
    begun
}

/// An id for a span that is to be recorded later.
pub(super) fn fresh() -> SpanId {
    SpanId::from(rand::random_range(1..=u64::MAX))
}

/// The same trace, with another span.
pub(super) fn within(context: &TraceContext, span: SpanId) -> Option<TraceContext> {
    let mut parts = context.parent.splitn(4, '-');
    let (version, trace, _, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some(TraceContext {
        parent: format!("{version}-{trace}-{span}-{flags}"),
        state: context.state.clone(),
    })
}
