//! The lifecycle of an instance against a small reference: random commands and answers,
//! batched at random, through the service itself, with raw stubs for workers. What comes
//! out must be what the reference allows, after each step.
//!
//! `MODEL_CASES` sets how many cases are tried, `MODEL_SEED` with which one it begins,
//! `MODEL_SHORTEN` for how many seconds a case that fails is made shorter:
//!
//! ```console
//! $ MODEL_CASES=1000000 cargo test --release -p durabletask-scheduler --test model -- --nocapture
//! ```
//!
//! `faults/` has a patch for each fault that this once found or would have found;
//! `faults.sh` makes sure that each of them is found.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing
)]

mod case;
mod operations;
mod reference;
#[path = "../support/mod.rs"]
mod support;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use case::Case;
use operations::{Op, Random, ops};
use support::{Client, Hub, PATIENCE};
use tokio::task::JoinSet;

/// How many cases run side by side.
const WIDTH: usize = 32;
/// How many cases share a hub, whose memory grows with the instances in it.
const CASES_PER_HUB: u64 = 20_000;
/// How long a case that fails is made shorter.
const SHORTEN: u64 = 30;

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
        Err(_) => default,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_does_what_the_reference_allows() {
    // A database takes longer, and finds the same.
    let cases = setting("MODEL_CASES", if support::ON_POSTGRES { 100 } else { 3000 });
    let first = setting("MODEL_SEED", 1);
    let started = Instant::now();
    let mut seed = first;
    let per_hub = CASES_PER_HUB.min(cases.div_ceil(2));
    let mut reads_all = false;
    while seed < first + cases {
        let end = first.saturating_add(cases).min(seed + per_hub);
        agrees(seed..end, reads_all).await;
        reads_all = !reads_all;
        seed = end;
        let done = seed - first;
        if done < cases {
            let rate = done as f64 / started.elapsed().as_secs_f64();
            println!("{done} cases of {cases} agree, {rate:.0}/s");
        }
    }
    println!("{cases} cases from MODEL_SEED={first} on: the service and the reference agree");
}

/// Runs the cases with these seeds on a hub of their own, which keeps what waits for a worker in
/// memory or reads all of it when it hands it out. Panics with the first that fails.
async fn agrees(seeds: Range<u64>, reads_all: bool) {
    let hub = Hub::with(|config| {
        if reads_all {
            config.waiting_bytes = 0;
        }
    })
    .await;
    let next = Arc::new(AtomicU64::new(seeds.start));
    let mut running = JoinSet::new();
    for _ in 0..WIDTH {
        let (client, next) = (hub.client.clone(), Arc::clone(&next));
        running.spawn(async move {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return Ok(());
                }
                let ops = ops(&mut Random(seed));
                let case = Case::new(client.clone(), format!("case-{seed}"), PATIENCE);
                case.run(&ops).await.map_err(|wrong| (seed, ops, wrong))?;
            }
        });
    }
    while let Some(ended) = running.join_next().await {
        if let Err((seed, ops, wrong)) = ended.unwrap() {
            running.abort_all();
            let (ops, wrong) = shorten(&hub.client, ops, wrong).await;
            panic!("MODEL_SEED={seed} MODEL_CASES=1: {wrong}\n  all steps: {ops:#?}");
        }
    }
    hub.crash().await;
}

/// Leaves out steps while the case still fails.
async fn shorten(client: &Client, mut ops: Vec<Op>, mut wrong: String) -> (Vec<Op>, String) {
    let deadline = Instant::now() + Duration::from_secs(setting("MODEL_SHORTEN", SHORTEN));
    let mut attempts = 0;
    let mut at = ops.len();
    while at > 0 && Instant::now() < deadline {
        at -= 1;
        attempts += 1;
        let mut fewer = ops.clone();
        fewer.remove(at);
        let id = format!("shorter-{attempts}");
        let case = Case::new(client.clone(), id, Duration::from_secs(1));
        if let Err(still) = case.run(&fewer).await {
            (ops, wrong) = (fewer, still);
            at = ops.len().min(at + 1);
        }
    }
    (ops, wrong)
}
