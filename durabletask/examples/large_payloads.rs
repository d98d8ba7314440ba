//! Large payloads: what is too large for a message goes to a store, and a token
//! travels through the scheduler in its place. Code does not notice.
//!
//! Reads `DTS_CONNECTION_STRING`, or speaks to the emulator's address:
//! `cargo run -p durabletask-sdk --example large_payloads`.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use durabletask::payloads::{InMemoryPayloadStore, LargePayloads};
use durabletask::{
    Activity, ActivityContext, Client, Connection, Failure, Orchestration, OrchestrationContext,
    Registry, Worker,
};

const EMULATOR: &str = "Endpoint=http://127.0.0.1:8080;TaskHub=default;Authentication=None";

const REVERSE: Activity<String, String> = Activity::new("reverse");
const MIRROR: Orchestration<String, usize> = Orchestration::new("mirror");

async fn reverse(_: ActivityContext, text: String) -> Result<String, Failure> {
    Ok(text.chars().rev().collect())
}

async fn mirror(ctx: OrchestrationContext, text: String) -> Result<usize, Failure> {
    let reversed = ctx.call_activity(&REVERSE, &text).await?;
    Ok(text.len() + reversed.len())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let connection = std::env::var("DTS_CONNECTION_STRING").unwrap_or_else(|_| EMULATOR.to_owned());
    let connection = Connection::parse(&connection)?;
    // Worker and client are one process here; otherwise the store must be shared, as
    // `azure::BlobPayloadStore` (feature `azure-blob`) is.
    let store = InMemoryPayloadStore::new();
    let large = LargePayloads::new(store.clone());

    let registry = Registry::new()
        .activity(&REVERSE, reverse)
        .orchestration(&MIRROR, mirror);
    let worker = Worker::builder(&connection)
        .registry(registry)
        .large_payloads(large.clone())
        .build()?
        .spawn();

    let client = Client::new(&connection)?.with_large_payloads(large);
    let text = "x".repeat(2 * 1024 * 1024);
    let mirrored = client.start(&MIRROR, &text).send().await?;
    println!(
        "{} bytes in all; the store keeps {} payloads",
        mirrored.result().await?,
        store.len()
    );

    worker.stop().await?;
    Ok(())
}
