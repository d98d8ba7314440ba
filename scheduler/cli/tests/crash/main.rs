//! The real scheduler is killed with SIGKILL at random moments, many times, under load.
//! Everything that was acknowledged must have been done: no acknowledged start,
//! event, signal or result is lost, none is applied twice, and every instance ends.
//!
//! `CRASH_KILLS` sets how often, `CRASH_SEED` repeats a run's choices:
//!
//! ```console
//! $ CRASH_KILLS=1000 cargo test --test crash -- --ignored --nocapture
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod check;
mod load;
mod loops;
mod results;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use load::Load;
use support::Process;

const CLIENTS: usize = 4;
/// Whether they hand results in on the stream for them.
const WORKERS: [bool; 2] = [true, false];

/// Numbers that look random and are the same for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn millis_up_to(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.next() % (most + 1))
    }
}

async fn survive(kills: u64) {
    let seed = std::env::var("CRASH_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()));
    println!("CRASH_SEED={seed} CRASH_KILLS={kills}");
    let mut random = Random(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), &[]);
    let (address, addresses) = watch::channel(process.grpc.clone());
    let load = Load {
        address: addresses,
        acknowledged: Arc::default(),
        numbers: Arc::default(),
        stop: CancellationToken::new(),
    };
    let finished = CancellationToken::new();
    let mut clients = JoinSet::new();
    let mut workers = JoinSet::new();
    (0..CLIENTS).for_each(|_| drop(clients.spawn(load.clone().clients())));
    for streams in WORKERS {
        workers.spawn(load.clone().worker(finished.clone(), streams));
    }

    let mut in_a_start = 0;
    for kill in 0..kills {
        // Every fourth time during a start, which also sees what the kill before left.
        if kill % 4 == 3 {
            process.kill();
            Process::kill_while_it_starts(folder.path(), random.millis_up_to(40)).await;
            in_a_start += 1;
        } else {
            // From during the first calls to during full load.
            tokio::time::sleep(random.millis_up_to(300)).await;
            process.kill();
        }
        process = Process::start(folder.path(), &[]);
        address.send_replace(process.grpc.clone());
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    load.stop.cancel();
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let acknowledged = load.acknowledged.lock().unwrap().clone();
    let client = load.client();
    check::all_ends(&client, &acknowledged).await;
    finished.cancel();
    while let Some(ended) = workers.join_next().await {
        ended.unwrap();
    }
    // With the results that workers handed in until the end.
    let acknowledged = load.acknowledged.lock().unwrap().clone();
    check::nothing_is_lost_or_doubled(&client, &acknowledged).await;
    println!(
        "{kills} kills, {in_a_start} during startup: {} instances, {} results, {} events, {} signals and {} loops \
         were acknowledged, none lost or duplicated",
        acknowledged.started.len(),
        acknowledged.results.len(),
        acknowledged.raised.len(),
        acknowledged
            .signals
            .values()
            .map(|ids| ids.len())
            .sum::<usize>(),
        acknowledged.loops.len(),
    );
    assert!(!acknowledged.started.is_empty(), "the load did something");
}

fn kills(default: u64) -> u64 {
    match std::env::var("CRASH_KILLS") {
        Ok(kills) => kills.parse().expect("CRASH_KILLS is a number"),
        Err(_) => default,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_survives_kills_under_load() {
    survive(kills(24)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; run it with --ignored, and CRASH_KILLS for another number"]
async fn what_is_acknowledged_survives_hundreds_of_kills() {
    survive(kills(300)).await;
}
