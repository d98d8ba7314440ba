//! What many others cost: work that nobody takes, timers that come due together, and neighbors.
//!
//! - *backlog*: N instances with an input of 1 kB wait without a worker: the memory that takes,
//!   also after a restart, and how fast a worker then runs them.
//! - *due*: N scheduled starts come due in the same second, without a worker: the same.
//! - *neighbors*: start to end of an orchestration of three activities, alone, beside eight
//!   dashboards that load their pages again and again, and beside a purge of N ended instances;
//!   what the dashboard's pages take with N instances; and the size of the file before and after.
//! - *steps*: from the end of an activity to the beginning of the next one of its instance, at
//!   several rates.
//!
//! Scheduler (on a SQLite file, synchronous=FULL), worker and client are one process, over loopback
//! gRPC, so each figure of memory is that of all three.
//!
//! ```text
//! cargo bench --bench pressure -- [backlog] [due] [neighbors] [steps] [--count N]
//! ```
//!
//! Without a name all run, with N = 100,000 (50,000 timers). `--count 1000000` is the long form. It
//! never fails on time, only when something is lost.

#![allow(clippy::print_stdout, clippy::expect_used)]

mod support;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chrono::Utc;
use durabletask::client::{Payloads, PurgeFilter, Status};
use durabletask::{
    Activity, ActivityContext, Client, Failure, Orchestration, OrchestrationContext, Registry,
};
use futures_util::StreamExt as _;
use support::{Hub, memory, percentile, print_times, resident};
use tokio_util::sync::CancellationToken;

const NOTHING: Orchestration<String, ()> = Orchestration::new("nothing");
const THREE: Orchestration<(), u32> = Orchestration::new("three");
const STEP: Activity<u32, u32> = Activity::new("step");
const PACED: Orchestration<(u32, u32), ()> = Orchestration::new("paced");
const TICK: Activity<u32, ()> = Activity::new("tick");

const COUNT: usize = 100_000;
const TIMERS: usize = 50_000;
/// Calls in progress at once.
const IN_FLIGHT: usize = 256;
/// Orchestrations that are measured one after the other.
const SAMPLES: usize = 300;
const DASHBOARDS: usize = 8;
/// Steps a second, over how many instances.
const RATES: [(u32, u32); 4] = [(1, 1), (100, 10), (1_000, 100), (5_000, 500)];
const TIMEOUT: Duration = Duration::from_secs(3600);

async fn nothing(_: OrchestrationContext, _: String) -> Result<(), Failure> {
    Ok(())
}

async fn step(_: ActivityContext, number: u32) -> Result<u32, Failure> {
    Ok(number + 1)
}

async fn three(ctx: OrchestrationContext, (): ()) -> Result<u32, Failure> {
    let mut number = 0;
    for _ in 0..3 {
        number = ctx.call_activity(&STEP, &number).await?;
    }
    Ok(number)
}

async fn paced(ctx: OrchestrationContext, (steps, pause): (u32, u32)) -> Result<(), Failure> {
    for _ in 0..steps {
        ctx.call_activity(&TICK, &pause).await?;
    }
    Ok(())
}

/// When the last activity of each instance ended, and how long it was from there to the next one.
#[derive(Default)]
struct Gaps {
    ended: HashMap<String, Instant>,
    gaps: Vec<Duration>,
}

fn registry(gaps: &Arc<Mutex<Gaps>>) -> Registry {
    let gaps = Arc::clone(gaps);
    let tick = move |ctx: ActivityContext, pause: u32| {
        let gaps = Arc::clone(&gaps);
        async move {
            let begun = Instant::now();
            let known = |gaps: &Mutex<Gaps>, change: &dyn Fn(&mut Gaps)| {
                change(&mut gaps.lock().unwrap_or_else(PoisonError::into_inner));
            };
            known(&gaps, &|gaps| {
                if let Some(ended) = gaps.ended.get(ctx.instance_id()) {
                    let gap = begun.saturating_duration_since(*ended);
                    gaps.gaps.push(gap);
                }
            });
            tokio::time::sleep(Duration::from_millis(u64::from(pause))).await;
            known(&gaps, &|gaps| {
                gaps.ended
                    .insert(ctx.instance_id().to_owned(), Instant::now());
            });
            Ok(())
        }
    };
    Registry::new()
        .orchestration(&NOTHING, nothing)
        .orchestration(&THREE, three)
        .orchestration(&PACED, paced)
        .activity(&STEP, step)
        .activity(&TICK, tick)
}

struct Options {
    shapes: Vec<String>,
    count: Option<usize>,
    /// Where another run of this program has left its instances.
    folder: Option<PathBuf>,
}

impl Options {
    fn from_args() -> Self {
        let mut options = Self {
            shapes: Vec::new(),
            count: None,
            folder: None,
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--count" => {
                    let value = args.next().expect("--count takes a number");
                    options.count = Some(value.parse().expect("--count takes a number"));
                }
                "--folder" => options.folder = args.next().map(PathBuf::from),
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
}

fn main() {
    let options = Options::from_args();
    tokio::runtime::Runtime::new()
        .expect("a runtime can be made")
        .block_on(run(options));
}

async fn run(options: Options) {
    if let Some(folder) = &options.folder {
        return run_off(folder, options.count.unwrap_or(COUNT)).await;
    }
    if options.runs("backlog") {
        backlog(options.count.unwrap_or(COUNT)).await;
    }
    if options.runs("due") {
        due(options.count.unwrap_or(TIMERS)).await;
    }
    if options.runs("neighbors") {
        neighbors(options.count.unwrap_or(COUNT)).await;
    }
    if options.runs("steps") {
        steps().await;
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

/// Starts instances of `nothing`, at a time or now; the ids begin with `prefix`.
async fn start(client: &Client, count: usize, prefix: &str, wait: Option<Duration>, size: usize) {
    let input = "x".repeat(size);
    let at = wait.map(|wait| Utc::now() + wait);
    let started = futures_util::stream::iter(0..count)
        .map(|number| {
            let (client, input) = (client.clone(), &input);
            let id = format!("{prefix}-{number:07}");
            async move {
                // A tag that a tenth of them shares, as a customer's would be.
                let customer = (number % 10).to_string();
                let start = client.start(&NOTHING, input).instance_id(id);
                let start = start.tag("customer", customer);
                let start = match at {
                    Some(at) => start.start_at(at),
                    None => start,
                };
                start.send().await.expect("an instance starts");
            }
        })
        .buffer_unordered(IN_FLIGHT)
        .count()
        .await;
    assert_eq!(started, count, "all are started");
}

fn print_memory(what: &str) {
    if let (Some(now), Some(peak)) = (resident(), memory("VmHWM:")) {
        println!("  {what:<24} {now:6} MiB resident, {peak} MiB at most");
    }
}

async fn backlog(count: usize) {
    println!("backlog, {count} instances with 1 kB that no worker takes");
    let folder = folder();
    let hub = Hub::on_file(folder.path()).await;
    let begun = Instant::now();
    start(&hub.client, count, "backlog", None, 1024).await;
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "  started                  {:6.0} /s",
        count as f64 / seconds
    );
    print_memory("waiting");
    hub.stop().await;
    again(folder.path(), count);
}

async fn due(count: usize) {
    println!("due, {count} scheduled starts in the same second, without a worker");
    let folder = folder();
    let hub = Hub::on_file(folder.path()).await;
    let wait = Duration::from_secs(5 + count as u64 / 2_000);
    let at = Instant::now() + wait;
    start(&hub.client, count, "due", Some(wait), 100).await;
    print_memory("scheduled");
    assert!(Instant::now() < at, "they are started before they are due");
    tokio::time::sleep_until(at.into()).await;
    let begun = Instant::now();
    while queued(&hub).await < count {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("  all due ones queued      {seconds:6.1} s");
    print_memory("due");
    hub.stop().await;
    again(folder.path(), count);
}

/// Lets a new process run what waits in a folder.
fn again(folder: &Path, count: usize) {
    let program = std::env::current_exe().expect("the program has a path");
    let status = std::process::Command::new(program)
        .arg("--folder")
        .arg(folder)
        .args(["--count", &count.to_string()])
        .status()
        .expect("the program starts again");
    assert!(status.success(), "nothing is lost over a restart");
}

async fn run_off(folder: &Path, count: usize) {
    let begun = Instant::now();
    let hub = Hub::on_file(folder).await;
    println!(
        "  restart                  {:6.1} s",
        begun.elapsed().as_secs_f64()
    );
    assert_eq!(queued(&hub).await, count, "all wait again");
    print_memory("after the restart");
    let begun = Instant::now();
    let worker = hub.worker(registry(&Arc::default()));
    while ended(&hub).await < count {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "  run by one worker        {:6.0} /s",
        count as f64 / seconds
    );
    print_memory("afterwards");
    worker.stop().await;
    hub.stop().await;
}

async fn page(hub: &Hub, path: &str) -> String {
    load(&reqwest::Client::new(), hub.dashboard, path).await
}

async fn load(client: &reqwest::Client, dashboard: SocketAddr, path: &str) -> String {
    let asked = client.get(format!("http://{dashboard}{path}")).send();
    let answer = asked.await.expect("the dashboard answers");
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    answer.text().await.expect("the answer is text")
}

/// A browser that loads the pages again and again, in a thread of its own, until it is stopped; how
/// many it has loaded.
fn browser(dashboard: SocketAddr, first: usize, stop: CancellationToken) -> JoinHandle<usize> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        runtime.block_on(async {
            let client = reqwest::Client::new();
            let mut pages = 0;
            while !stop.is_cancelled() {
                let path = PAGES.get((first + pages) % PAGES.len());
                load(&client, dashboard, path.expect("there is one")).await;
                pages += 1;
            }
            pages
        })
    })
}

/// How many instances wait for a worker.
async fn queued(hub: &Hub) -> usize {
    let metrics = page(hub, "/metrics").await;
    let depth = metrics.lines().find(|line| {
        line.starts_with("durabletask_scheduler_queue_depth{") && line.contains("orchestration")
    });
    depth
        .and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or(0)
}

/// How many instances have completed.
async fn ended(hub: &Hub) -> usize {
    let hubs: serde_json::Value =
        serde_json::from_str(&page(hub, "/api/hubs").await).expect("the answer is JSON");
    let completed = &hubs["hubs"][0]["instances"]["COMPLETED"];
    usize::try_from(completed.as_u64().unwrap_or(0)).unwrap_or(usize::MAX)
}

/// What the pages of a dashboard load.
const PAGES: [&str; 7] = [
    "/api/hubs",
    "/api/hubs/default/names",
    "/api/hubs/default/instances?sort=-created",
    "/api/hubs/default/instances?sort=-created&status=COMPLETED",
    "/api/hubs/default/instances?sort=-created&prefix=ended-00",
    "/api/hubs/default/instances?sort=-created&tag=customer%3D7",
    "/api/hubs/default/instances?sort=-created&tag=customer",
];

async fn neighbors(count: usize) {
    println!("neighbors, {count} ended instances");
    let folder = folder();
    let hub = Hub::on_file(folder.path()).await;
    let worker = hub.worker(registry(&Arc::default()));
    start(&hub.client, count, "ended", None, 100).await;
    while ended(&hub).await < count {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let client = reqwest::Client::new();
    for path in PAGES {
        let mut times = Vec::new();
        for _ in 0..20 {
            let begun = Instant::now();
            load(&client, hub.dashboard, path).await;
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        println!("  {:6.2} ms  GET {path}", percentile(&times, 50) * 1e3);
    }
    let alone = sampled(&hub.client, |done| done >= SAMPLES).await;
    print_times("  alone", alone, 1e3, "ms");

    let stop = CancellationToken::new();
    let dashboards: Vec<_> = (0..DASHBOARDS)
        .map(|number| browser(hub.dashboard, number, stop.clone()))
        .collect();
    let begun = Instant::now();
    let beside = sampled(&hub.client, |done| done >= SAMPLES).await;
    stop.cancel();
    let mut pages = 0;
    for dashboard in dashboards {
        pages += dashboard.join().expect("a dashboard loads its pages");
    }
    let rate = pages as f64 / begun.elapsed().as_secs_f64();
    print_times("  dashboards", beside, 1e3, "ms");
    println!("  pages/s          {rate:8.0}");

    let size = || {
        let file = folder.path().join("scheduler.sqlite3");
        std::fs::metadata(file).map_or(0, |about| about.len() / 1024 / 1024)
    };
    let before = size();
    let client = hub.client.clone();
    let begun = Instant::now();
    let purging = tokio::spawn(async move {
        let filter = PurgeFilter::new().statuses([Status::Completed]);
        client
            .purge_all_where(&filter)
            .await
            .expect("the purge succeeds");
        begun.elapsed()
    });
    let beside = sampled(&hub.client, |_| purging.is_finished()).await;
    let took = purging.await.expect("the purge ends");
    print_times("  purge", beside, 1e3, "ms");
    println!(
        "  purged           {:8.0} /s",
        count as f64 / took.as_secs_f64()
    );
    // Whatever gives the space back may take its time, but not for long.
    let begun = Instant::now();
    while size() > before / 4 && begun.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("  file             {:8} MiB, {before} MiB before", size());
    worker.stop().await;
    hub.stop().await;
}

/// Start to end of single orchestrations, one after the other, until it is enough.
async fn sampled(client: &Client, enough: impl Fn(usize) -> bool) -> Vec<Duration> {
    let mut times = Vec::new();
    while !enough(times.len()) {
        let begun = Instant::now();
        let id = client
            .start(&THREE, &())
            .send()
            .await
            .expect("an instance starts")
            .into_id();
        let state = client
            .wait_for_completion(&id, Payloads::Include, TIMEOUT)
            .await
            .expect("the instance ends");
        assert_eq!(state.status, Status::Completed, "{id} completes");
        times.push(begun.elapsed());
    }
    times
}

async fn steps() {
    println!("steps, from the end of an activity to the beginning of the next one");
    println!("  steps/s  instances      p50      p99");
    for (rate, instances) in RATES {
        let folder = folder();
        let hub = Hub::on_file(folder.path()).await;
        let gaps: Arc<Mutex<Gaps>> = Arc::default();
        let worker = hub.worker(registry(&gaps));
        let pause = 1000 * instances / rate;
        // About ten seconds each.
        let each = (10 * rate / instances).max(10);
        let mut ids = Vec::new();
        for number in 0..instances {
            let start = hub.client.start(&PACED, &(each, pause));
            let start = start.instance_id(format!("paced-{number}"));
            ids.push(start.send().await.expect("an instance starts").into_id());
        }
        for id in &ids {
            let ended = hub.client.wait_for_completion(id, Payloads::Omit, TIMEOUT);
            ended.await.expect("an instance ends");
        }
        let mut times = gaps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .gaps
            .clone();
        times.sort_unstable();
        println!(
            "  {rate:7}  {instances:9}  {:5.2} ms {:5.2} ms",
            percentile(&times, 50) * 1e3,
            percentile(&times, 99) * 1e3
        );
        worker.stop().await;
        hub.stop().await;
    }
}
