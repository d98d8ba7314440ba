//! "Hello cities": N instances started at once, five sequential activities each.
//!
//! Runs our scheduler on a SQLite file (synchronous=FULL) or a PostgreSQL database, our worker and our
//! client in one process, over loopback gRPC, and prints how long it took, how
//! many work items per second that is (an instance is 11 of them: six turns and
//! five activities) and the latency of single instances on the idle system.
//!
//! ```text
//! cargo bench --bench hello_cities -- [--instances 5000] [--memory | --database-url URL]
//! ```
//!
//! It never fails on time, only when an instance is lost or wrong.

#![allow(clippy::print_stdout, clippy::expect_used)]

mod support;

use std::time::{Duration, Instant};

use durabletask::client::{Payloads, Status};
use durabletask::{
    Activity, ActivityContext, Client, Failure, Orchestration, OrchestrationContext, Registry,
};
use futures_util::StreamExt as _;
use support::System;

const SAY_HELLO: Activity<String, String> = Activity::new("say-hello");
const HELLO_CITIES: Orchestration<(), Vec<String>> = Orchestration::new("hello-cities");
const CITIES: [&str; 5] = ["Tokyo", "Seattle", "London", "Amsterdam", "Nairobi"];

/// Turns and activities of one instance.
const WORK_ITEMS: usize = 11;
const TIMEOUT: Duration = Duration::from_secs(600);
const LATENCY_SAMPLES: usize = 200;
/// Starts and waits in progress at once.
const IN_FLIGHT: usize = 256;

async fn say_hello(_: ActivityContext, city: String) -> Result<String, Failure> {
    Ok(format!("Hello, {city}!"))
}

async fn hello_cities(ctx: OrchestrationContext, (): ()) -> Result<Vec<String>, Failure> {
    let mut greetings = Vec::with_capacity(CITIES.len());
    for city in CITIES {
        greetings.push(ctx.call_activity(&SAY_HELLO, &city.to_owned()).await?);
    }
    Ok(greetings)
}

struct Options {
    instances: usize,
    memory: bool,
    database: Option<String>,
}

impl Options {
    fn from_args() -> Self {
        let mut options = Self {
            instances: 5_000,
            memory: false,
            database: None,
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--instances" => {
                    let value = args.next().expect("--instances takes a number");
                    options.instances = value.parse().expect("--instances takes a number");
                }
                "--memory" => options.memory = true,
                "--database-url" => options.database = args.next(),
                // Cargo passes --bench to every benchmark.
                _ => {}
            }
        }
        options
    }
}

fn main() {
    let options = Options::from_args();
    tokio::runtime::Runtime::new()
        .expect("a runtime can be made")
        .block_on(run(options));
}

async fn run(options: Options) {
    let registry = Registry::new()
        .orchestration(&HELLO_CITIES, hello_cities)
        .activity(&SAY_HELLO, say_hello);
    let system = System::start(options.memory, options.database.as_deref(), registry).await;
    let client = &system.client;

    // Warm up: connections, prepared statements, the worker's stream.
    for _ in 0..20 {
        one_instance(client).await;
    }

    println!(
        "hello-cities, {} instances, {}",
        options.instances, system.storage
    );
    let begun = Instant::now();
    let ids: Vec<String> = futures_util::stream::iter(0..options.instances)
        .map(|_| {
            let client = client.clone();
            async move {
                client
                    .start(&HELLO_CITIES, &())
                    .send()
                    .await
                    .expect("an instance starts")
                    .into_id()
            }
        })
        .buffer_unordered(IN_FLIGHT)
        .collect()
        .await;
    let started = begun.elapsed();
    let finished = futures_util::stream::iter(&ids)
        .map(|id| expect_greetings(client, id))
        .buffer_unordered(IN_FLIGHT)
        .count()
        .await;
    let total = begun.elapsed();
    assert_eq!(finished, options.instances, "no instance is lost");

    let seconds = total.as_secs_f64();
    println!("  all started after   {:8.2} s", started.as_secs_f64());
    println!("  all finished after  {seconds:8.2} s");
    println!(
        "  instances/s         {:8.0}",
        options.instances as f64 / seconds
    );
    println!(
        "  work items/s        {:8.0}",
        (options.instances * WORK_ITEMS) as f64 / seconds
    );

    let mut latencies = Vec::with_capacity(LATENCY_SAMPLES);
    for _ in 0..LATENCY_SAMPLES {
        let begun = Instant::now();
        one_instance(client).await;
        latencies.push(begun.elapsed());
    }
    latencies.sort_unstable();
    println!(
        "  one instance alone  p50 {:.2} ms, p99 {:.2} ms",
        latencies[LATENCY_SAMPLES / 2].as_secs_f64() * 1e3,
        latencies[LATENCY_SAMPLES * 99 / 100].as_secs_f64() * 1e3
    );

    system.stop().await;
}

async fn one_instance(client: &Client) {
    let id = client
        .start(&HELLO_CITIES, &())
        .send()
        .await
        .expect("an instance starts")
        .into_id();
    expect_greetings(client, &id).await;
}

async fn expect_greetings(client: &Client, id: &str) {
    let state = client
        .wait_for_completion(id, Payloads::Include, TIMEOUT)
        .await
        .expect("an instance finishes");
    assert_eq!(state.status, Status::Completed, "{id} completes");
    let greetings: Option<Vec<String>> = state.output().expect("the output is a list");
    assert_eq!(greetings.map_or(0, |list| list.len()), CITIES.len());
}
