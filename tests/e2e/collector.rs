//! A collector of OpenTelemetry in the test's own process: OTLP over gRPC.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::support::PATIENCE;

/// Takes what is sent to it and keeps it.
pub(crate) struct Collector {
    address: SocketAddr,
    kept: Kept,
}

#[derive(Clone, Default)]
struct Kept {
    traces: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    logs: Arc<Mutex<Vec<ExportLogsServiceRequest>>>,
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Kept {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.logs.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

impl Collector {
    /// Listens until the test's runtime ends.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Kept::default();
        let served = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(kept.clone()))
            .add_service(LogsServiceServer::new(kept.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(served);
        Self { address, kept }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every span so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let requests = self.kept.traces.lock().unwrap();
        let resources = requests.iter().flat_map(|r| &r.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// Every log record so far.
    pub(crate) fn logs(&self) -> Vec<LogRecord> {
        let requests = self.kept.logs.lock().unwrap();
        let resources = requests.iter().flat_map(|r| &r.resource_logs);
        let scopes = resources.flat_map(|resource| &resource.scope_logs);
        scopes.flat_map(|scope| scope.log_records.clone()).collect()
    }

    /// The entries of the audit log so far, in the order of their arrival. One that
    /// was sent again, since a process ended before it knew, is left out.
    pub(crate) fn audit(&self) -> Vec<BTreeMap<String, String>> {
        let mut entries = Vec::new();
        for record in self.logs() {
            let entry = told(&record.attributes);
            if record.event_name == "countersign.audit" && !entries.contains(&entry) {
                entries.push(entry);
            }
        }
        entries
    }

    /// The name of the service that all of this came from.
    pub(crate) fn service(&self) -> String {
        let requests = self.kept.traces.lock().unwrap();
        let resource = requests[0].resource_spans[0].resource.as_ref().unwrap();
        told(&resource.attributes)["service.name"].clone()
    }

    /// The name of the service that a span came from.
    pub(crate) fn service_of(&self, span: &Span) -> String {
        let requests = self.kept.traces.lock().unwrap();
        let mut resources = requests.iter().flat_map(|r| &r.resource_spans);
        let from = resources.find(|resource| {
            let mut spans = resource.scope_spans.iter().flat_map(|scope| &scope.spans);
            spans.any(|other| other.span_id == span.span_id)
        });
        let resource = from.and_then(|from| from.resource.as_ref()).unwrap();
        told(&resource.attributes)["service.name"].clone()
    }

    /// All that came, as it came.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let traces = self.kept.traces.lock().unwrap();
        let logs = self.kept.logs.lock().unwrap();
        let traces = traces.iter().map(Message::encode_to_vec);
        traces
            .chain(logs.iter().map(Message::encode_to_vec))
            .flatten()
            .collect()
    }

    /// Waits until so many audit entries have come.
    pub(crate) async fn until_audit(&self, count: usize) {
        let begun = Instant::now();
        while self.audit().len() < count {
            let come = self.audit();
            assert!(begun.elapsed() < PATIENCE, "only {come:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Attributes as texts.
pub(crate) fn told(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|v| v.value.clone()) {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes
        .iter()
        .map(|attribute| (attribute.key.clone(), text(&attribute.value)))
        .collect()
}
