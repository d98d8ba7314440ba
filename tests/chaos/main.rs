//! Front door, worker and scheduler as three processes on one data folder, each of them
//! killed with SIGKILL at random moments and started again, while callers enroll, decide
//! and end enrollments and ask again where they get no answer. Afterwards every accepted
//! enrollment has ended as it should, the vault holds exactly one secret for each enrolled
//! account and no other, one `Idempotency-Key` has always been one enrollment, the chain of
//! the audit log is intact, and every change that was answered is in it.
//!
//! `CHAOS_ENROLLMENTS`, `CHAOS_KILLS` (of each process) and `CHAOS_SEED` set how many and
//! repeat a run's choices; `tests/chaos/run` does so by flags.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod check;
mod load;
mod parts;
mod shared;
#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "each test program uses a part of it"
)]
mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use tokio::sync::watch;

use load::{APPROVER, ENROLLER, Ended, Load, Submission};
use parts::{Fate, Installation, Lives, Part};

/// How long anything may take before the test gives up on it. Only a failure waits this
/// long.
const PATIENCE: Duration = Duration::from_secs(180);
/// How many enrollments are seen to their end at a time.
const IN_FLIGHT: usize = 64;

/// How much of it.
struct Settings {
    enrollments: usize,
    kills: u64,
    seed: u64,
}

impl Settings {
    /// What the environment says, or else these numbers and another seed each time.
    fn or(enrollments: usize, kills: u64) -> Self {
        Self {
            enrollments: number("CHAOS_ENROLLMENTS").unwrap_or(enrollments),
            kills: number("CHAOS_KILLS").unwrap_or(kills),
            seed: number("CHAOS_SEED").unwrap_or_else(rand::random),
        }
    }
}

fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

async fn survive(settings: Settings) {
    let Settings {
        enrollments,
        kills,
        seed,
    } = settings;
    println!("CHAOS_ENROLLMENTS={enrollments} CHAOS_KILLS={kills} CHAOS_SEED={seed}");
    let begun = Instant::now();
    let at = Installation::new().await;
    let enroller = at.key(ENROLLER, "enroller").await;
    let approver = at.key(APPROVER, "approver").await;
    let reader = at.key("dashboard-wall", "reader").await;
    let load = Load::new(at.door.url(), enroller, approver);
    let (counted, counting) = watch::channel(0);
    // Together: each makes what is not there yet.
    let (mut scheduler, mut worker, mut door) = tokio::join!(
        Lives::begin(&at, Part::Scheduler, seed, &counted),
        Lives::begin(&at, Part::Worker(0), seed, &counted),
        Lives::begin(&at, Part::FrontDoor(0), seed, &counted),
    );

    let all_kills = kills * Part::ALL.len() as u64;
    let enrolling = stream::iter(0..enrollments)
        .map(|number| {
            // Spread over all of the kills.
            let after = all_kills * number as u64 / enrollments as u64;
            load.enroll(number, after, counting.clone())
        })
        .buffer_unordered(IN_FLIGHT)
        .collect::<Vec<Ended>>();
    let (ended, (), (), ()) = tokio::join!(
        enrolling,
        scheduler.be_killed(kills),
        worker.be_killed(kills),
        door.be_killed(kills),
    );
    let took = begun.elapsed();

    let sent = load.answered.lock().unwrap().len();
    check::each_has_its_outcome(&load, &ended).await;
    check::there_are_no_other_enrollments(&load, &ended, &[]).await;
    let stored = check::stored_in(&at.data());
    check::each_has_its_secret(&load, &reader, &stored, &ended, &[]).await;
    let fates = [
        door.stop().await,
        worker.stop().await,
        scheduler.stop().await,
    ];
    let entries = check::the_audit_log_is_complete(&load, &at, &ended).await;
    let fates = Part::ALL.into_iter().rev().zip(fates);
    report(&load, &ended, took, fates, (sent, entries));
}

fn report(
    load: &Load,
    ended: &[Ended],
    took: Duration,
    fates: impl IntoIterator<Item = (Part, Fate)>,
    (sent, entries): (usize, usize),
) {
    for (part, fate) in fates {
        println!(
            "{part:?}: {} kills, {} during startup; peak RSS {} MiB",
            fate.kills, fate.during_startup, fate.memory
        );
    }
    let mut stages: BTreeMap<&str, usize> = BTreeMap::new();
    for each in ended {
        if let Some(stage) = Submission::of(each.number).stage() {
            *stages.entry(stage).or_default() += 1;
        }
    }
    let stages: Vec<String> = stages
        .iter()
        .map(|(stage, count)| format!("{count} {stage}"))
        .collect();
    let accepted = ended.iter().filter(|each| each.id.is_some()).count();
    println!(
        "{accepted} accepted, all finished: {}; {} refused at the door",
        stages.join(", "),
        ended.len() - accepted
    );
    let tries = *load.tries.lock().unwrap();
    println!(
        "{sent} changes answered, {} attempts without an answer, {} answered with \"retry later\"",
        tries.unanswered, tries.put_off
    );
    let mut times: Vec<Duration> = ended.iter().map(|each| each.took).collect();
    times.sort();
    let share = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64();
    println!(
        "{:.1} s in all; from start to end p50 {:.2} s, p99 {:.2} s, max {:.2} s",
        took.as_secs_f64(),
        share(0.5),
        share(0.99),
        share(1.0)
    );
    println!("audit log intact, {entries} entries, none missing; one secret each, no other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_accepted_enrollment_ends_once_whatever_is_killed() {
    survive(Settings::or(100, 6)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; tests/chaos/run runs it"]
async fn a_thousand_enrollments_end_once_whatever_is_killed() {
    survive(Settings::or(1_000, 60)).await;
}
