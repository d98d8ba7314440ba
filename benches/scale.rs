//! Three shapes that grow: one wide instance, one long one, and very many idle ones.
//!
//! - *fan-out*: one instance calls N activities at once and waits for all of them.
//! - *long*: one instance takes N events, one after the other, each in a turn of its own;
//!   the cost of a turn at the end is told beside the one at the beginning.
//! - *waiting*: N instances wait for an event; the memory that takes, and how long it is
//!   from raising an event to the end of its instance.
//!
//! Our scheduler on a SQLite file (synchronous=FULL), our worker and our client in one
//! process, over loopback gRPC.
//!
//! ```text
//! cargo bench --bench scale -- [fan-out] [long] [waiting] [--scale 1.0] [--memory]
//! ```
//!
//! Without a name all three run. `--scale 0.1` takes a tenth of each N. It never fails on
//! time, only when something is lost or wrong.

#![allow(clippy::print_stdout, clippy::expect_used)]

mod support;

use std::time::{Duration, Instant};

use durabletask::client::{Payloads, Status};
use durabletask::{
    Activity, ActivityContext, Client, Event, Failure, Orchestration, OrchestrationContext,
    Registry, when_all,
};
use futures_util::StreamExt as _;
use support::{System, print_times, resident};

const STEP: Activity<u32, u32> = Activity::new("step");
const FAN_OUT: Orchestration<u32, u32> = Orchestration::new("fan-out");
const LONG: Orchestration<u32, u32> = Orchestration::new("long");
const WAITING: Orchestration<(), ()> = Orchestration::new("waiting");
const GO: Event<u32> = Event::new("go");

const ACTIVITIES: f64 = 10_000.0;
const EVENTS: f64 = 10_000.0;
const INSTANCES: f64 = 100_000.0;
/// How many of the waiting instances are woken, one at a time.
const WOKEN: usize = 500;
/// Calls in progress at once.
const IN_FLIGHT: usize = 256;
const TIMEOUT: Duration = Duration::from_secs(600);

async fn step(_: ActivityContext, number: u32) -> Result<u32, Failure> {
    Ok(number + 1)
}

async fn fan_out(ctx: OrchestrationContext, width: u32) -> Result<u32, Failure> {
    let steps = (0..width).map(|number| ctx.call_activity(&STEP, &number));
    let results = when_all(steps).await?;
    Ok(u32::try_from(results.len()).unwrap_or(u32::MAX))
}

async fn long(ctx: OrchestrationContext, events: u32) -> Result<u32, Failure> {
    let mut sum = 0;
    for number in 0..events {
        sum += ctx.wait_for_event(&GO).await?;
        // Told to whoever raises the events, so that each gets a turn of its own.
        ctx.set_custom_status(&(number + 1))?;
    }
    Ok(sum)
}

async fn waiting(ctx: OrchestrationContext, (): ()) -> Result<(), Failure> {
    ctx.wait_for_event(&GO).await?;
    Ok(())
}

struct Options {
    shapes: Vec<String>,
    scale: f64,
    memory: bool,
}

impl Options {
    fn from_args() -> Self {
        let mut options = Self {
            shapes: Vec::new(),
            scale: 1.0,
            memory: false,
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--scale" => {
                    let value = args.next().expect("--scale takes a number");
                    options.scale = value.parse().expect("--scale takes a number");
                }
                "--memory" => options.memory = true,
                // Cargo passes --bench to every benchmark.
                "--bench" => {}
                shape => options.shapes.push(shape.to_owned()),
            }
        }
        options
    }

    fn runs(&self, shape: &str) -> bool {
        self.shapes.is_empty() || self.shapes.iter().any(|each| each == shape)
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn of(&self, full: f64) -> u32 {
        (full * self.scale).max(1.0) as u32
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
        .orchestration(&FAN_OUT, fan_out)
        .orchestration(&LONG, long)
        .orchestration(&WAITING, waiting)
        .activity(&STEP, step);
    let system = System::start(options.memory, None, registry).await;
    let client = &system.client;
    println!("{}", system.storage);

    if options.runs("fan-out") {
        measure_fan_out(client, options.of(ACTIVITIES)).await;
    }
    if options.runs("long") {
        measure_long(client, options.of(EVENTS)).await;
    }
    if options.runs("waiting") {
        measure_waiting(client, options.of(INSTANCES) as usize).await;
    }

    system.stop().await;
}

async fn measure_fan_out(client: &Client, width: u32) {
    let mut times = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let id = client
            .start(&FAN_OUT, &width)
            .send()
            .await
            .expect("the instance starts")
            .into_id();
        assert_eq!(result(client, &id).await, width, "every activity has run");
        times.push(begun.elapsed());
    }
    let total: f64 = times.iter().map(Duration::as_secs_f64).sum();
    // Each activity, and the turns, of which there are at least two.
    let items = f64::from(width + 2) * times.len() as f64;
    println!(
        "fan-out, one instance × {width} activities, {} times",
        times.len()
    );
    println!("  work items/s     {:8.0}", items / total);
    print_times("  one fan-out", times, 1e0, "s");
}

async fn measure_long(client: &Client, events: u32) {
    let id = client
        .start(&LONG, &events)
        .send()
        .await
        .expect("the instance starts")
        .into_id();
    let begun = Instant::now();
    let mut times = Vec::new();
    for number in 0..events {
        let begun = Instant::now();
        client
            .raise_event(&id, &GO, &1)
            .await
            .expect("an event is raised");
        taken(client, &id, number + 1).await;
        times.push(begun.elapsed());
    }
    assert_eq!(
        result(client, &id).await,
        events,
        "every event has been taken"
    );
    println!("long, one instance × {events} events, a turn each");
    println!(
        "  work items/s     {:8.0}",
        f64::from(events + 1) / begun.elapsed().as_secs_f64()
    );
    let tenth = (times.len() / 10).max(1);
    let last = times[times.len() - tenth..].to_vec();
    print_times("  first tenth", times[..tenth].to_vec(), 1e3, "ms");
    print_times("  last tenth", last, 1e3, "ms");
}

/// Waits until the instance has taken so many events.
async fn taken(client: &Client, id: &str, events: u32) {
    loop {
        let state = client
            .get(id, Payloads::Include)
            .await
            .expect("the instance can be read")
            .expect("the instance is there");
        let so_far: Option<u32> = state.custom_status().expect("the status is a number");
        if so_far.is_some_and(|so_far| so_far >= events) || state.status == Status::Completed {
            return;
        }
    }
}

async fn measure_waiting(client: &Client, instances: usize) {
    let before = resident();
    let begun = Instant::now();
    let ids: Vec<String> = futures_util::stream::iter(0..instances)
        .map(|_| {
            let client = client.clone();
            async move {
                client
                    .start(&WAITING, &())
                    .send()
                    .await
                    .expect("an instance starts")
                    .into_id()
            }
        })
        .buffer_unordered(IN_FLIGHT)
        .collect()
        .await;
    // Each of them waits once its first turn is done.
    for id in &ids {
        client
            .wait_for_start(id, Payloads::Omit, TIMEOUT)
            .await
            .expect("an instance starts");
    }
    let started = begun.elapsed();
    let after = resident();
    let mut times = Vec::new();
    let pace = (ids.len() / WOKEN).max(1);
    for id in ids.iter().step_by(pace).take(WOKEN) {
        let begun = Instant::now();
        client
            .raise_event(id, &GO, &1)
            .await
            .expect("an event is raised");
        client
            .wait_for_completion(id, Payloads::Omit, TIMEOUT)
            .await
            .expect("an instance ends");
        times.push(begun.elapsed());
    }
    println!("waiting, {instances} instances that wait for an event");
    println!("  all wait after   {:8.2} s", started.as_secs_f64());
    println!(
        "  work items/s     {:8.0}",
        instances as f64 / started.as_secs_f64()
    );
    if let (Some(before), Some(after)) = (before, after) {
        // Scheduler, worker and client are one process here, so this is an upper bound.
        println!("  memory           {after:8} MiB resident, {before} MiB before");
    }
    print_times("  raise to end", times, 1e3, "ms");
}

async fn result(client: &Client, id: &str) -> u32 {
    let state = client
        .wait_for_completion(id, Payloads::Include, TIMEOUT)
        .await
        .expect("the instance ends");
    assert_eq!(state.status, Status::Completed, "{id} completes");
    let output: Option<u32> = state.output().expect("the output is a number");
    output.expect("there is an output")
}
