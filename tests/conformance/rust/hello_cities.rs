//! Hello-cities with our SDK against a scheduler that runs already, and how long it took.
//!
//! Arguments: how many instances, the connection string of an empty task hub, and how many starts
//! and waits are in progress at once. Prints the seconds from the first start to the last completion,
//! and nothing else. Never fails on time, only when an instance is lost or wrong. `hello_cities.sh`
//! runs it against every backend.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measuring program that reports to its reader"
)]

use std::time::{Duration, Instant};

use durabletask::client::{Payloads, Status};
use durabletask::{
    Activity, ActivityContext, Client, Connection, Failure, Orchestration, OrchestrationContext,
    Registry, Worker,
};
use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;

const SAY_HELLO: Activity<String, String> = Activity::new("say_hello");
const HELLO_CITIES: Orchestration<(), Vec<String>> = Orchestration::new("hello_cities");
const CITIES: [&str; 5] = ["Tokyo", "Seattle", "London", "Amsterdam", "Nairobi"];

/// Instances that run before the clock does.
const WARM_UP: usize = 20;
/// Longer than any machine takes.
const PATIENCE: Duration = Duration::from_secs(3600);

async fn hello_cities(ctx: OrchestrationContext, (): ()) -> Result<Vec<String>, Failure> {
    let mut greetings = Vec::with_capacity(CITIES.len());
    for city in CITIES {
        greetings.push(ctx.call_activity(&SAY_HELLO, &city.to_owned()).await?);
    }
    Ok(greetings)
}

#[tokio::main]
async fn main() {
    // Cargo passes --bench to every benchmark.
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"));
    let (Some(instances), Some(connection), Some(in_flight)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        println!("hello_cities: needs instances, a connection string and a number of calls");
        return;
    };
    let in_flight = in_flight.parse().expect("a number of calls");
    let instances = instances.parse().expect("a number of instances");
    let connection = Connection::parse(&connection).expect("a connection string");
    let registry = Registry::new()
        .orchestration(&HELLO_CITIES, hello_cities)
        .activity(&SAY_HELLO, async |_: ActivityContext, city: String| {
            Ok(format!("Hello, {city}!"))
        });
    let worker = Worker::builder(&connection)
        .registry(registry)
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    let working = tokio::spawn(worker.run_until(stop.clone().cancelled_owned()));
    let client = Client::new(&connection).unwrap();

    run(&client, WARM_UP, in_flight).await;
    let begun = Instant::now();
    run(&client, instances, in_flight).await;
    println!("{:.3}", begun.elapsed().as_secs_f64());

    stop.cancel();
    working.await.unwrap().unwrap();
}

/// Starts all instances, then waits for all of them.
async fn run(client: &Client, instances: usize, in_flight: usize) {
    let started: Vec<String> = futures_util::stream::iter(0..instances)
        .map(|_| async {
            client
                .start(&HELLO_CITIES, &())
                .send()
                .await
                .unwrap()
                .into_id()
        })
        .buffer_unordered(in_flight)
        .collect()
        .await;
    let finished = futures_util::stream::iter(&started)
        .map(|id| expect_greetings(client, id))
        .buffer_unordered(in_flight)
        .count()
        .await;
    assert_eq!(finished, instances, "no instance is lost");
}

async fn expect_greetings(client: &Client, id: &str) {
    let state = client
        .wait_for_completion(id, Payloads::Include, PATIENCE)
        .await
        .unwrap();
    assert_eq!(state.status, Status::Completed, "{:?}", state.failure);
    let greetings: Vec<String> = state.output().unwrap();
    assert_eq!(greetings, CITIES.map(|city| format!("Hello, {city}!")));
}
