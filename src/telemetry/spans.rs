//! Spans of the front door and of the vault, beside those that the Durable Task SDK
//! records of orchestrations and activities.
//!
//! They are created explicitly, not from the fields of log lines, so that only what
//! process is what [`Told`] names and nothing else.

use std::borrow::Cow;
use std::sync::OnceLock;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use countersign_enrollment::ids::EnrollmentId;
use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::trace::{
    FutureExt as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags,
    TraceId, TraceState, Tracer as _,
};
use opentelemetry::{Context, KeyValue};

/// The header by which a caller names the trace that its request belongs to.
const TRACEPARENT: &str = "traceparent";

/// Set once spans are exported.
static TRACER: OnceLock<BoxedTracer> = OnceLock::new();

/// Enables spans, with the global provider.
pub(super) fn enable() {
    TRACER.get_or_init(|| global::tracer("countersign"));
}

/// Whether spans are exported.
pub(crate) fn are_made() -> bool {
    TRACER.get().is_some()
}

/// Every value that our spans may contain. A secret, a code, a token, a key and an
/// otpauth URI have no variant, and their types convert into none.
pub(crate) enum Told<'a> {
    /// A method of HTTP.
    Method(&'a Method),
    /// A route as it is written in the router, so without what a caller put into it.
    Route(&'a str),
    /// The status of an answer.
    Status(StatusCode),
    /// The id of a request: generated, or the caller's if that is well-formed.
    RequestId(&'a str),
    /// The name of an authenticated caller.
    Caller(&'a str),
    /// An account's id.
    Account(&'a EnrollmentId),
    /// An operation of a vault.
    Operation(&'static str),
    /// The kind of an error.
    Error(&'static str),
}

impl From<Told<'_>> for KeyValue {
    fn from(told: Told<'_>) -> Self {
        match told {
            Told::Method(method) => Self::new("http.request.method", known(method)),
            Told::Route(route) => Self::new("http.route", route.to_owned()),
            Told::Status(status) => {
                Self::new("http.response.status_code", i64::from(status.as_u16()))
            }
            Told::RequestId(id) => Self::new("countersign.request_id", id.to_owned()),
            Told::Caller(name) => Self::new("countersign.caller", name.to_owned()),
            Told::Account(id) => Self::new("countersign.account.id", id.to_string()),
            Told::Operation(name) => Self::new("countersign.vault.operation", name),
            Told::Error(kind) => Self::new("error.type", kind),
        }
    }
}

/// A method's name; an invented one is not repeated.
pub(crate) fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "_OTHER",
    }
}

/// A span in progress, or nothing if spans are disabled. It ends when it is dropped.
pub(crate) struct Span {
    context: Option<Context>,
}

impl Span {
    /// The span of a request, below the caller's if it names one.
    pub(crate) fn request(method: &Method, route: &str, id: &str, headers: &HeaderMap) -> Self {
        Self::begin(SpanKind::Server, || {
            let name = format!("{} {route}", known(method));
            let told = vec![
                Told::Method(method).into(),
                Told::Route(route).into(),
                Told::RequestId(id).into(),
            ];
            let parent =
                caller(headers).map(|caller| Context::new().with_remote_span_context(caller));
            (name.into(), told, parent)
        })
    }

    /// The span of a call of a vault, below the current span.
    pub(super) fn vault(operation: &'static str, account: Option<&EnrollmentId>) -> Self {
        Self::begin(SpanKind::Client, || {
            let mut told = vec![Told::Operation(operation).into()];
            told.extend(account.map(|id| Told::Account(id).into()));
            (format!("vault {operation}").into(), told, None)
        })
    }

    fn begin(
        kind: SpanKind,
        what: impl FnOnce() -> (Cow<'static, str>, Vec<KeyValue>, Option<Context>),
    ) -> Self {
        let context = TRACER.get().map(|tracer| {
            let (name, told, parent) = what();
            let span = tracer
                .span_builder(name)
                .with_kind(kind)
                .with_attributes(told);
            let current = Context::current();
            let span = span.start_with_context(tracer, parent.as_ref().unwrap_or(&current));
            current.with_span(span)
        });
        Self { context }
    }

    /// Runs `work` with the span as the current one.
    pub(crate) async fn around<F: Future>(&self, work: F) -> F::Output {
        match &self.context {
            Some(context) => work.with_context(context.clone()).await,
            None => work.await,
        }
    }

    /// Adds a value.
    pub(crate) fn tell(&self, told: Told<'_>) {
        if let Some(context) = &self.context {
            context.span().set_attribute(told.into());
        }
    }

    /// Adds the status of a request's answer.
    pub(crate) fn answered(&self, status: StatusCode) {
        self.tell(Told::Status(status));
        if status.is_server_error() {
            self.failed();
        }
    }

    /// Marks the span as failed.
    pub(super) fn failed(&self) {
        if let Some(context) = &self.context {
            context.span().set_status(Status::error(""));
        }
    }
}

/// The caller's span: version, trace, span and flags of W3C Trace Context. Anything else that
/// a caller sends (`tracestate`, `baggage`) is ignored: it would be stored with
/// the instance that the request starts.
fn caller(headers: &HeaderMap) -> Option<SpanContext> {
    let mut given = headers.get_all(TRACEPARENT).iter();
    let text = given.next()?.to_str().ok()?;
    if given.next().is_some() {
        return None;
    }
    let mut parts = text.trim().split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // A later version may have more parts; this one has none.
    let last = parts.next().is_none();
    let lengths = [version.len(), trace.len(), span.len(), flags.len()] == [2, 32, 16, 2];
    let digits = [version, trace, span, flags]
        .iter()
        .flat_map(|part| part.bytes())
        .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !lengths || !digits || version == "ff" || (version == "00" && !last) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        flags,
        true,
        TraceState::NONE,
    );
    context.is_valid().then_some(context)
}

/// The current span as a header, for a request that is made on its behalf.
pub(crate) fn traceparent() -> Option<(HeaderName, HeaderValue)> {
    TRACER.get()?;
    let current = Context::current();
    let span = current.span();
    let context = span.span_context();
    if !context.is_valid() {
        return None;
    }
    let flags = context.trace_flags().to_u8();
    let text = format!(
        "00-{}-{}-{flags:02x}",
        context.trace_id(),
        context.span_id()
    );
    let value = HeaderValue::from_str(&text).ok()?;
    Some((HeaderName::from_static(TRACEPARENT), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn named(values: &[&str]) -> Option<(String, String, bool)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_str(value).unwrap());
        }
        let context = caller(&headers)?;
        Some((
            context.trace_id().to_string(),
            context.span_id().to_string(),
            context.is_sampled(),
        ))
    }

    #[test]
    fn a_callers_span_is_used_only_if_it_is_well_formed() {
        let told = |flags: &str| format!("00-{TRACE}-{SPAN}-{flags}");
        let read = |sampled| Some((TRACE.to_owned(), SPAN.to_owned(), sampled));
        assert_eq!(named(&[&told("01")]), read(true));
        assert_eq!(named(&[&told("00")]), read(false));
        assert_eq!(named(&[&told("03")]), read(true));
        let later = format!("cc-{TRACE}-{SPAN}-01-more");
        assert_eq!(named(&[&later]), read(true));
        for wrong in [
            "",
            "00",
            &format!("ff-{TRACE}-{SPAN}-01"),
            &format!("00-{TRACE}-{SPAN}-01-more"),
            &format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            &format!("00-{}-{SPAN}-01", "0".repeat(32)),
            &format!("00-{TRACE}-{}-01", "0".repeat(16)),
            &format!("00-{TRACE}-{SPAN}-1"),
            &format!("00-{SPAN}-{TRACE}-01"),
        ] {
            assert_eq!(named(&[wrong]), None, "{wrong}");
        }
        assert_eq!(named(&[&told("01"), &told("00")]), None);
    }

    #[test]
    fn an_invented_method_is_not_repeated() {
        let secret = Method::from_bytes(b"JBSWY3DPEHPK3PXP").unwrap();
        assert_eq!(known(&secret), "_OTHER");
        assert_eq!(known(&Method::PATCH), "PATCH");
    }
}
