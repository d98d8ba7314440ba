//! Five greetings, one after the other: worker and client in one process.
//!
//! Reads `DTS_CONNECTION_STRING`, or speaks to the emulator's address.

#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::time::Duration;

use durabletask::{
    Activity, ActivityContext, Client, Connection, Failure, Orchestration, OrchestrationContext,
    Payloads, Registry, Worker,
};
use tokio_util::sync::CancellationToken;

const EMULATOR: &str = "Endpoint=http://127.0.0.1:8080;TaskHub=default;Authentication=None";

const SAY_HELLO: Activity<String, String> = Activity::new("say-hello");
const HELLO_CITIES: Orchestration<Vec<String>, Vec<String>> = Orchestration::new("hello-cities");

async fn say_hello(_: ActivityContext, city: String) -> Result<String, Failure> {
    Ok(format!("Hello, {city}!"))
}

async fn hello_cities(
    ctx: OrchestrationContext,
    cities: Vec<String>,
) -> Result<Vec<String>, Failure> {
    let mut greetings = Vec::with_capacity(cities.len());
    for city in &cities {
        greetings.push(ctx.call_activity(&SAY_HELLO, city).await?);
    }
    Ok(greetings)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = std::env::var("DTS_CONNECTION_STRING").unwrap_or_else(|_| EMULATOR.to_owned());
    let connection = Connection::parse(&text)?;

    let registry = Registry::new()
        .activity(&SAY_HELLO, say_hello)
        .orchestration(&HELLO_CITIES, hello_cities);
    let stop = CancellationToken::new();
    let worker = Worker::builder(&connection).registry(registry).build()?;
    let running = tokio::spawn(worker.run(stop.clone()));

    let client = Client::new(&connection)?;
    let cities = ["Tokyo", "Lima", "Oslo", "Cairo", "Quito"].map(str::to_owned);
    let id = client.start(&HELLO_CITIES, &cities.to_vec()).send().await?;
    let state = client
        .wait_for_completion(&id, Payloads::Include, Duration::from_secs(30))
        .await?;
    for greeting in state.output::<Vec<String>>()? {
        println!("{greeting}");
    }

    stop.cancel();
    running.await??;
    Ok(())
}
