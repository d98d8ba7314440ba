//! What a collector of OpenTelemetry gets: one trace for an enrollment, the log lines in
//! it and the audit log; and that nobody waits for one that does not answer.

use std::collections::BTreeMap;
use std::time::Instant;

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::collector::{Collector, told};
use crate::separate_processes::SeparateProcesses;
use crate::support::{App, PATIENCE, SEED_URI};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// The spans of one trace.
struct Trace(Vec<Span>);

impl Trace {
    fn of(collector: &Collector, id: &str) -> Self {
        let spans = collector.spans().into_iter();
        Self(spans.filter(|span| hex(&span.trace_id) == id).collect())
    }

    /// The only span of this name and kind.
    fn one(&self, name: &str, kind: SpanKind) -> &Span {
        let mut found = self
            .0
            .iter()
            .filter(|span| span.name == name && span.kind() == kind);
        let first = found.next();
        let first = first.unwrap_or_else(|| panic!("no {kind:?} {name} in {:?}", self.names()));
        assert!(found.next().is_none(), "{name} twice in {:?}", self.names());
        first
    }

    /// Asserts that each step of an enrollment is in it, below the one that it belongs to; the
    /// first and the last.
    fn is_one_from_request_to_vault(&self) -> (&Span, &Span) {
        let request = self.one("POST /api/enrollments", SpanKind::Server);
        assert_eq!(hex(&request.parent_span_id), CALLER);
        let start = self.one("create_orchestration:enroll", SpanKind::Producer);
        let orchestration = self.one("orchestration:enroll", SpanKind::Server);
        let call = self.one("activity:store-secret", SpanKind::Client);
        let activity = self.one("activity:store-secret", SpanKind::Server);
        let vault = self.one("vault store", SpanKind::Client);
        for (parent, child) in [
            (request, start),
            (start, orchestration),
            (orchestration, call),
            (call, activity),
            (activity, vault),
        ] {
            assert_eq!(
                child.parent_span_id, parent.span_id,
                "{} is below {}",
                child.name, parent.name
            );
        }
        // Nothing of the trace hangs in the air.
        for span in &self.0 {
            let parent = hex(&span.parent_span_id);
            let known = |other: &Span| hex(&other.span_id) == parent;
            assert!(parent == CALLER || self.0.iter().any(known), "{span:?}");
        }
        (request, vault)
    }

    fn names(&self) -> Vec<(&str, SpanKind)> {
        let named = |span| (Span::kind(span), span);
        let spans = self.0.iter().map(named);
        spans
            .map(|(kind, span)| (span.name.as_str(), kind))
            .collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

#[tokio::test]
async fn an_enrollment_is_one_trace_from_the_request_to_the_vault() {
    let collector = Collector::start().await;
    let mut app = App::start_with(&["--otlp-endpoint", &collector.url()]).await;
    let admin = app.admin();
    let request = admin
        .request(Method::POST, "/api/enrollments")
        .header("traceparent", format!("00-{TRACE}-{CALLER}-01"))
        .json(&json!({ "uri": SEED_URI }));
    let id = admin.send(request).await.id();
    admin.ended(&id).await;
    assert_eq!(app.stop().await, Some(0), "{}", app.logs());

    assert_eq!(collector.service(), "countersign");
    let trace = Trace::of(&collector, TRACE);
    let (request, vault) = trace.is_one_from_request_to_vault();
    let attributes = told(&request.attributes);
    assert_eq!(attributes["http.route"], "/api/enrollments");
    assert_eq!(attributes["http.response.status_code"], "202");
    assert_eq!(attributes["countersign.caller"], "admin");
    assert_eq!(told(&vault.attributes)["countersign.account.id"], id);
    // The log lines say which trace they belong to, and which enrollment.
    let in_trace = |message: &str| {
        collector.logs().into_iter().find(|record| {
            hex(&record.trace_id) == TRACE && format!("{:?}", record.body).contains(message)
        })
    };
    for message in ["enrollment started", "secret stored"] {
        let line = in_trace(message).unwrap_or_else(|| panic!("{message} is in the trace"));
        assert_eq!(told(&line.attributes)["instance_id"], id, "{line:?}");
    }
}

#[tokio::test]
async fn an_enrollment_is_one_trace_across_three_processes() {
    let collector = Collector::start().await;
    let url = collector.url();
    let apart = SeparateProcesses::start(&["--otlp-endpoint", &url]).await;
    let request = apart
        .request(Method::POST, "/api/enrollments")
        .header("traceparent", format!("00-{TRACE}-{CALLER}-01"))
        .json(&json!({ "uri": SEED_URI }));
    let started: Value = request.send().await.unwrap().json().await.unwrap();
    let path = started["statusQueryGetUri"].as_str().unwrap();
    let begun = Instant::now();
    loop {
        let poll = apart.request(Method::GET, &format!("{path}?wait=1"));
        let state: Value = poll.send().await.unwrap().json().await.unwrap();
        if state["stage"] == "Enrolled" {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{state}");
    }
    apart.stop().await;

    let trace = Trace::of(&collector, TRACE);
    trace.is_one_from_request_to_vault();
    for span in &trace.0 {
        let own = span.name.starts_with("POST") || span.name.starts_with("create_orchestration");
        let process = if own { "front-door" } else { "worker" };
        assert_eq!(collector.service_of(span), process, "{}", span.name);
    }
}

#[tokio::test]
async fn a_failed_call_of_the_vault_is_reported_without_what_it_was_about() {
    let collector = Collector::start().await;
    let mut app = App::start_with(&["--otlp-endpoint", &collector.url()]).await;
    let vault = rusqlite::Connection::open(app.data_dir().join("vault.sqlite3")).unwrap();
    vault
        .execute_batch("ALTER TABLE accounts RENAME TO elsewhere")
        .unwrap();
    let answer = app
        .admin()
        .get("/api/accounts?search=JBSWY3DPEHPK3PXP")
        .await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    app.stop().await;

    let spans = collector.spans();
    let listing = spans.iter().find(|span| span.name == "vault list").unwrap();
    assert_eq!(told(&listing.attributes)["error.type"], "unavailable");
    let request = spans
        .iter()
        .find(|span| span.span_id == listing.parent_span_id);
    assert_eq!(request.unwrap().name, "GET /api/accounts");
    // Failed, both of them, as OpenTelemetry counts.
    for span in [listing, request.unwrap()] {
        assert_eq!(span.status.as_ref().unwrap().code, 2, "{span:?}");
    }
    let collected = collector.bytes();
    assert_eq!(memchr::memmem::find(&collected, b"JBSWY3DPEHPK3PXP"), None);
}

#[tokio::test]
async fn a_collector_that_never_answers_slows_nothing_and_gets_the_audit_log_later() {
    // Connections are taken by the system and never served.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", deaf.local_addr().unwrap());
    let mut app = App::start_with(&["--otlp-endpoint", &url]).await;
    let reader = app.new_caller("dashboard-wall", "reader");
    let admin = app.admin();
    let id = admin.enroll(SEED_URI, false).await;
    let ended = admin.ended(&id).await;
    assert_eq!(ended.body["stage"], "Enrolled", "{ended:?}");
    let request = reader
        .request(Method::GET, &format!("/api/tokens?id={id}"))
        .header("countersign-reason", "nightly deploy");
    assert_eq!(reader.send(request).await.status, StatusCode::OK);
    assert_eq!(app.stop().await, Some(0), "{}", app.logs());

    let collector = Collector::start().await;
    app.launch_with(&["--otlp-endpoint", &collector.url()])
        .await;
    // The key was made by a command that is no server and sends nothing on its own.
    collector.until_audit(4).await;
    app.stop().await;
    app.launch_with(&["--otlp-endpoint", &collector.url()])
        .await;
    app.admin().get(&format!("/api/tokens?id={id}")).await;
    collector.until_audit(5).await;

    let exported = app.command(&["audit", "export"]);
    let exported = String::from_utf8(exported.stdout).unwrap();
    let record: Vec<BTreeMap<String, String>> = exported.lines().map(entry).collect();
    // The key, the enrollment, what the worker did for it, and two readings.
    assert_eq!(record.len(), 5, "{exported}");
    let reason = |entry: &BTreeMap<_, _>| entry.get("countersign.audit.reason").cloned();
    let reasons: Vec<String> = record.iter().filter_map(reason).collect();
    assert_eq!(reasons, ["nightly deploy"]);
    assert_eq!(collector.audit(), record);
}

/// An exported entry, under the names that its log record has.
fn entry(line: &str) -> BTreeMap<String, String> {
    let entry: Value = serde_json::from_str(line).unwrap();
    [
        ("sequence", "countersign.audit.sequence"),
        ("action", "countersign.audit.action"),
        ("outcome", "countersign.audit.outcome"),
        ("hash", "countersign.audit.hash"),
        ("caller", "countersign.caller"),
        ("subject", "countersign.audit.subject"),
        ("from", "client.address"),
        ("problem", "error.type"),
        ("reason", "countersign.audit.reason"),
        ("requestId", "countersign.request_id"),
        ("changes", "countersign.audit.changes"),
        ("instance", "countersign.audit.instance"),
        ("journal", "countersign.audit.journal"),
    ]
    .into_iter()
    .filter_map(|(from, to)| match &entry[from] {
        Value::Null => None,
        Value::String(text) => Some((to.to_owned(), text.clone())),
        other => Some((to.to_owned(), other.to_string())),
    })
    .collect()
}
