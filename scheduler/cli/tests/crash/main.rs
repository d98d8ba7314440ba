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
use std::time::{Duration, Instant};

use countersign_database::testing::Postgres;
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

/// Which numbers a run draws, said so that it can be repeated.
fn random(kills: u64) -> Random {
    let seed = std::env::var("CRASH_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()));
    println!("CRASH_SEED={seed} CRASH_KILLS={kills}");
    Random(seed)
}

/// Clients and workers that do not mind that their scheduler dies.
struct Running {
    load: Load,
    address: watch::Sender<String>,
    clients: JoinSet<()>,
    workers: JoinSet<()>,
    finished: CancellationToken,
}

impl Running {
    fn against(process: &Process) -> Self {
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
        Self {
            load,
            address,
            clients,
            workers,
            finished,
        }
    }

    /// From now on they call this one.
    fn moves_to(&self, process: &Process) {
        self.address.send_replace(process.grpc.clone());
    }

    /// Lets everything end, and compares it with what was acknowledged.
    async fn check(mut self, what: &str) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.load.stop.cancel();
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        let acknowledged = self.load.acknowledged.lock().unwrap().clone();
        let client = self.load.client();
        check::all_ends(&client, &acknowledged).await;
        self.finished.cancel();
        while let Some(ended) = self.workers.join_next().await {
            ended.unwrap();
        }
        // With the results that workers handed in until the end.
        let acknowledged = self.load.acknowledged.lock().unwrap().clone();
        check::nothing_is_lost_or_doubled(&client, &acknowledged).await;
        println!(
            "{what}: {} instances, {} results, {} events, {} signals and {} loops \
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
}

async fn survive(kills: u64) {
    let mut random = random(kills);
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), &[]);
    let running = Running::against(&process);
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
        running.moves_to(&process);
    }
    let what = format!("{kills} kills, {in_a_start} during startup");
    running.check(&what).await;
}

/// The same with two nodes on one database: the owner of the task hubs is killed, or frozen and let
/// go once the other has taken its place.
async fn survive_on_a_database(kills: u64) {
    let Some(server) = Postgres::shared() else {
        return;
    };
    let (port, name) = (server.port(), server.make());
    let url = format!("postgresql://countersign@127.0.0.1:{port}/{name}");
    let mut random = random(kills);
    let mut owner = Process::node(&url, "node-0", &["--log", "error"]);
    owner.until_ready().await;
    let running = Running::against(&owner);
    let (mut frozen, mut slowest) = (0, Duration::ZERO);
    let mut standby = Process::node(&url, "node-1", &["--log", "error"]);
    for kill in 0..kills {
        tokio::time::sleep(random.millis_up_to(600)).await;
        let begun = Instant::now();
        let freezes = random.next().is_multiple_of(2);
        if freezes {
            owner.signal("STOP");
        } else {
            owner.signal("KILL");
        }
        standby.until_ready().await;
        slowest = slowest.max(begun.elapsed());
        running.moves_to(&standby);
        let next = match freezes {
            true => {
                frozen += 1;
                tokio::time::sleep(random.millis_up_to(300)).await;
                owner.signal("CONT");
                owner
            }
            false => Process::node(&url, &format!("node-{}", kill + 2), &["--log", "error"]),
        };
        (owner, standby) = (standby, next);
    }
    let what = format!(
        "{} kills and {frozen} freezes of the owner, another answered after {slowest:?} at most",
        kills - frozen
    );
    running.check(&what).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_survives_kills_and_freezes_of_nodes_on_a_database() {
    survive_on_a_database(kills(4)).await;
}
