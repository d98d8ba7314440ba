//! Five greetings, one after the other: worker and client in one process.
//!
//! Reads `DTS_CONNECTION_STRING`, or speaks to the emulator's address.

#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use durabletask::{
    Activity, ActivityContext, Client, Connection, Failure, Orchestration, OrchestrationContext,
    Registry, Worker,
};

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
    let worker = Worker::builder(&connection)
        .registry(registry)
        .build()?
        .spawn();

    let client = Client::new(&connection)?;
    let cities = ["Tokyo", "Lima", "Oslo", "Cairo", "Quito"];
    let greetings = client.start(&HELLO_CITIES, &cities).send().await?;
    for greeting in greetings.result().await? {
        println!("{greeting}");
    }

    worker.stop().await?;
    Ok(())
}
