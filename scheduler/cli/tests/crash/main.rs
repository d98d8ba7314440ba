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
mod running;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use countersign_database::testing::Postgres;

use running::Running;
use support::{Process, Random};

/// Which numbers a run draws, said so that it can be repeated.
fn random(kills: u64) -> Random {
    let random = Random::seeded("CRASH_SEED");
    println!("CRASH_KILLS={kills}");
    random
}

async fn survive(kills: u64) {
    let mut random = random(kills);
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), &[]);
    let running = Running::against(vec![process.grpc.clone()]);
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
        running.moves_to(vec![process.grpc.clone()]);
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
    let running = Running::against(vec![owner.grpc.clone()]);
    let (mut frozen, mut slowest) = (0, Duration::ZERO);
    let mut standby = Process::node(&url, "node-1", &["--log", "error"]);
    for kill in 0..kills {
        running.until_more().await;
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
        running.moves_to(vec![standby.grpc.clone()]);
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
