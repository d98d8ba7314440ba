//! The audit log of front doors that share it, sent to a collector.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use countersign_database::testing::Postgres;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::installation::{ADMIN, Installation, PATIENCE, at};

/// A collector in this process: the sequences of the entries, as they come.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<i64>>>);

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let resources = request.into_inner().resource_logs.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_logs);
        for record in scopes.flat_map(|scope| scope.log_records) {
            let mut attributes = record.attributes.into_iter();
            let sequence = attributes.find(|it| it.key == "countersign.audit.sequence");
            if let Some(Any::IntValue(sequence)) = sequence
                .and_then(|it| it.value)
                .and_then(|value| value.value)
            {
                self.0.lock().unwrap().push(sequence);
            }
        }
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

impl Collector {
    async fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = tonic::transport::Server::builder()
            .add_service(LogsServiceServer::new(self.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(served);
        url
    }

    /// Waits until it has everything up to `last`.
    async fn has(&self, last: i64) -> Vec<i64> {
        let begun = Instant::now();
        loop {
            let came = self.0.lock().unwrap().clone();
            if came.contains(&last) {
                return came;
            }
            assert!(begun.elapsed() < PATIENCE, "{last} of {came:?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_each_entry_once_from_all_front_doors_together() {
    let Some(server) = tokio::task::block_in_place(Postgres::shared) else {
        return;
    };
    let name = tokio::task::block_in_place(|| server.make());
    let at = at(server.port(), &name);
    let collector = Collector::default();
    let url = collector.listen().await;
    let both = Installation::start_with(&at, &at, |config| {
        config.otlp.logs = Some(url.clone());
    })
    .await;
    for number in 0..30 {
        let door = [&both.one, &both.other][number % 2];
        let name = format!("key-{number}");
        let body = json!({"name": name, "role": "reader"});
        door.done(Method::POST, "/api/keys", ADMIN, body).await;
    }
    let newest = both.one.get("/api/audit?limit=1", ADMIN).await;
    let newest: Value = newest.json().await.unwrap();
    let last = newest["entries"][0]["sequence"].as_i64().unwrap();
    let came = collector.has(last).await;
    // In their order, each once, none left out.
    let expected: Vec<i64> = (1..=last).collect();
    assert_eq!(&came[..expected.len()], expected);

    // The other one sends what the first has left, and nothing again.
    let folder = both.stop().await;
    let archive = folder.path().join("archive");
    let archived = crate::installation::run(
        &folder.path().join("other"),
        &at,
        &[
            "audit",
            "archive",
            archive.to_str().unwrap(),
            "--older-than",
            "1ms",
            "--json",
        ],
    );
    assert!(archived.status.success(), "{archived:?}");
    let archived: Value = serde_json::from_slice(&archived.stdout).unwrap();
    let through = archived["through"].as_str().unwrap();
    let through: i64 = through.split(':').next().unwrap().parse().unwrap();
    assert!(through >= last, "{through} of {last}");
    let mut came = collector.has(through).await;
    let all = came.len();
    came.dedup();
    assert_eq!(came.len(), all, "none twice: {came:?}");
}
