//! One suite of the SDK against every backend that is at hand, with a table of what works.
//!
//! Always against our own scheduler, in this process. Against others where a variable
//! gives a connection string:
//!
//! - `CONFORMANCE_OWN_POSTGRES`: our own scheduler over PostgreSQL;
//! - `CONFORMANCE_PYTHON_BACKEND`: the in-memory backend of the official Python package;
//! - `CONFORMANCE_GO_SIDECAR`: the official Go sidecar over SQLite;
//! - `DTS_CONNECTION_STRING`: a hosted scheduler or its emulator.
//!
//! `CONFORMANCE_PYTHON` and `CONFORMANCE_BLOBS` add rows; see `features::all`.
//!
//! Arguments name features; none runs all. What a backend cannot do stands in
//! `exclusions.tsv` with the reason; an exclusion that is not needed fails the run. A backend that
//! loses work through no fault of ours stands there as well, and gets a second try.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test program that reports to its reader"
)]

mod backend;
mod features;
mod report;

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use backend::{Backend, Hub};
use features::Feature;
use report::{Report, Verdict};

/// Only a broken feature waits this long.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long a feature may take that is expected to fail.
const SHORT_PATIENCE: Duration = Duration::from_secs(15);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    // cargo passes the flags of its own harness; names are what is left.
    let only: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    note_panics();
    let mut report = Report::read();
    for backend in Backend::at_hand().await {
        let chosen = features::all()
            .into_iter()
            .filter(|feature| only.is_empty() || only.iter().any(|name| name == feature.name));
        for feature in chosen {
            let patience = match report.excluded(backend.name, feature.name) {
                Some(_) => SHORT_PATIENCE,
                None => PATIENCE,
            };
            let mut verdict = check(&backend, feature, patience).await;
            // A failure that was expected needs no second try.
            let again = report
                .tried_again(backend.name)
                .filter(|_| report.excluded(backend.name, feature.name).is_none());
            if let (Verdict::Failed(_), Some(reason)) = (&verdict, again) {
                println!("{} {} ... {verdict}", backend.name, feature.name);
                println!("{} {} once more: {reason}", backend.name, feature.name);
                verdict = check(&backend, feature, patience).await;
            }
            println!("{} {} ... {verdict}", backend.name, feature.name);
            report.add(backend.name, feature.name, verdict);
        }
        backend.stop().await;
    }
    report.print();
    report.exit_code()
}

/// Runs one feature in a hub, with a worker, of its own.
async fn check(backend: &Backend, feature: Feature, patience: Duration) -> Verdict {
    let hub = Hub::open(backend, feature.name);
    let registry = (feature.registry)();
    // A worker without handlers would fail what the feature's own workers are for.
    let idle = registry.orchestration_names().next().is_none();
    let worker = (!idle).then(|| hub.worker(registry, |builder| builder));
    let checks = (feature.check)(hub);
    let task = tokio::spawn(tokio::time::timeout(patience, checks));
    let verdict = match task.await {
        Ok(Ok(())) => Verdict::Passed,
        Ok(Err(_)) => Verdict::Failed(format!("no end within {} s", patience.as_secs())),
        Err(_) => Verdict::Failed(LAST_PANIC.lock().unwrap().take().unwrap_or_default()),
    };
    if let Some(worker) = worker {
        worker.stop().await;
    }
    verdict
}

/// What the last panic said: the message that a failed assertion leaves.
static LAST_PANIC: Mutex<Option<String>> = Mutex::new(None);

fn note_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("a panic");
        let place = panic.location().map(ToString::to_string);
        let line = format!("{} at {}", message, place.unwrap_or_default());
        *LAST_PANIC.lock().unwrap() = Some(line.split_whitespace().collect::<Vec<_>>().join(" "));
    }));
}
