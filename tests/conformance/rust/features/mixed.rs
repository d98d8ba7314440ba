//! A worker of ours and one of the official Python package in one task hub.

use std::collections::BTreeMap;
use std::process::Stdio;

use durabletask::azure::BlobCompression;
use durabletask::client::Status;
use durabletask::payloads::LargePayloads;
use durabletask::worker::WorkItemFilters;
use durabletask::{
    Activity, ActivityContext, Event, Failure, Orchestration, OrchestrationContext, Registry,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::{Feature, blobs, row};
use crate::backend::{Hub, Running};

pub fn features() -> Vec<Feature> {
    vec![
        row!("rust-calls-python", Registry::new, rust_calls_python),
        row!("python-calls-rust", Registry::new, python_calls_rust),
    ]
}

/// The same with payloads that lie in a blob service.
pub fn features_with_blobs() -> Vec<Feature> {
    vec![
        row!(
            "blobs-rust-calls-python",
            Registry::new,
            rust_calls_python_with_blobs
        ),
        row!(
            "blobs-python-calls-rust",
            Registry::new,
            python_calls_rust_with_blobs
        ),
    ]
}

/// Every kind of JSON value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Parcel {
    text: String,
    count: i64,
    weight: f64,
    fragile: bool,
    note: Option<String>,
    labels: BTreeMap<String, Vec<u8>>,
}

/// A parcel whose text is repeated so often.
fn parcel(times: usize) -> Parcel {
    Parcel {
        text: "Grüße, \u{1F4E6} \"quoted\"\n".repeat(times),
        count: 9_007_199_254_740_993,
        weight: 0.1,
        fragile: true,
        note: None,
        labels: BTreeMap::from([("first".to_owned(), vec![0, 255]), (String::new(), vec![])]),
    }
}

// What the Python worker has; see mixed_worker.py.
const PY_ECHO: Activity<Parcel, Parcel> = Activity::new("py_echo");
const PY_FAIL: Activity<String, ()> = Activity::new("py_fail");
const PY_CHILD: Orchestration<Parcel, Parcel> = Orchestration::new("py_child");
const PY_OUTER: Orchestration<Parcel, (Parcel, Parcel, Parcel, String)> =
    Orchestration::new("py_outer");

// What this process has.
const RUST_ECHO: Activity<Parcel, Parcel> = Activity::new("rust_echo");
const RUST_FAIL: Activity<String, ()> = Activity::new("rust_fail");
const RUST_CHILD: Orchestration<Parcel, Parcel> = Orchestration::new("rust_child");
const RUST_OUTER: Orchestration<Parcel, (Parcel, Parcel, String)> =
    Orchestration::new("rust_outer");
const PARCEL: Event<Parcel> = Event::new("parcel");

async fn outer(
    ctx: OrchestrationContext,
    parcel: Parcel,
) -> Result<(Parcel, Parcel, String), Failure> {
    let echoed = ctx.call_activity(&PY_ECHO, &parcel).await?;
    let from_child = ctx.call_sub_orchestration(&PY_CHILD, &parcel).await?;
    match ctx.call_activity(&PY_FAIL, &"from rust".to_owned()).await {
        Ok(()) => Err(Failure::new(
            "NoFailure",
            "the Python activity did not fail",
        )),
        Err(error) => Ok((echoed, from_child, error.to_string())),
    }
}

fn registry() -> Registry {
    Registry::new()
        .activity(&RUST_ECHO, async |_: ActivityContext, parcel: Parcel| {
            Ok(parcel)
        })
        .activity(&RUST_FAIL, async |_: ActivityContext, why: String| {
            Err(Failure::new(
                "RustFailure",
                format!("a Rust activity failed: {why}"),
            ))
        })
        .orchestration(
            &RUST_CHILD,
            async |ctx: OrchestrationContext, parcel: Parcel| {
                Ok(ctx.call_activity(&RUST_ECHO, &parcel).await?)
            },
        )
        .orchestration(&RUST_OUTER, outer)
}

/// Both workers in one hub.
struct Fleet {
    hub: Hub,
    ours: Running,
    theirs: Child,
}

impl Fleet {
    async fn start(hub: Hub) -> Self {
        let ours = hub.worker(registry(), |builder| {
            builder.work_item_filters(WorkItemFilters::Registered)
        });
        let theirs = python_worker(&hub, None).await;
        Self { hub, ours, theirs }
    }

    /// Each puts its large payloads into the blob service, as the Python package does by
    /// default.
    async fn start_with_blobs(mut hub: Hub) -> Self {
        let store = blobs::store().compression(BlobCompression::GzipUnmarked);
        let large = LargePayloads::new(store);
        hub.client = hub.client.with_large_payloads(large.clone());
        let ours = hub.worker(registry(), |builder| {
            builder
                .work_item_filters(WorkItemFilters::Registered)
                .large_payloads(large)
        });
        let connection_string = std::env::var(blobs::VARIABLE).unwrap();
        let theirs = python_worker(&hub, Some(connection_string)).await;
        Self { hub, ours, theirs }
    }

    async fn rust_calls_python(self, parcel: Parcel) {
        let (echoed, from_child, error) = self.hub.run(&RUST_OUTER, &parcel).await;
        for returned in [echoed, from_child] {
            assert!(returned == parcel, "a payload changed on the way");
        }
        assert!(
            error.contains("a Python activity failed: from rust"),
            "{error}"
        );
        self.stop().await;
    }

    async fn python_calls_rust(self, parcel: Parcel) {
        let id = self.hub.start(&PY_OUTER, &parcel).await;
        self.hub
            .client
            .raise_event(&id, &PARCEL, &parcel)
            .await
            .unwrap();
        let state = self.hub.end(&id).await;
        assert_eq!(state.status, Status::Completed, "{:?}", state.failure);
        let (echoed, from_child, from_event, error) =
            state.output::<(Parcel, Parcel, Parcel, String)>().unwrap();
        for returned in [echoed, from_child, from_event] {
            assert!(returned == parcel, "a payload changed on the way");
        }
        assert!(
            error.contains("a Rust activity failed: from python"),
            "{error}"
        );
        self.stop().await;
    }

    async fn stop(mut self) {
        self.theirs.kill().await.unwrap();
        self.ours.stop().await;
    }
}

/// Starts the Python worker of `mixed_worker.py` and waits until it runs.
async fn python_worker(hub: &Hub, blobs: Option<String>) -> Child {
    let python = std::env::var("CONFORMANCE_PYTHON").unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../mixed_worker.py");
    let mut child = Command::new(python)
        .arg(script)
        .arg(hub.connection.endpoint())
        .arg(hub.connection.task_hub())
        .args(blobs)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next_line().await.unwrap();
    assert_eq!(first.as_deref(), Some("ready"));
    child
}

async fn rust_calls_python(hub: Hub) {
    Fleet::start(hub).await.rust_calls_python(parcel(1)).await;
}

async fn python_calls_rust(hub: Hub) {
    Fleet::start(hub).await.python_calls_rust(parcel(1)).await;
}

/// So often that a parcel is larger than what travels in messages.
const LARGE: usize = 20_000;

async fn rust_calls_python_with_blobs(hub: Hub) {
    let fleet = Fleet::start_with_blobs(hub).await;
    fleet.rust_calls_python(parcel(LARGE)).await;
}

async fn python_calls_rust_with_blobs(hub: Hub) {
    let fleet = Fleet::start_with_blobs(hub).await;
    fleet.python_calls_rust(parcel(LARGE)).await;
}
