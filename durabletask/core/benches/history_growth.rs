//! What a turn costs as the history grows: `cargo bench -p durabletask-core`.
//!
//! A live execution pays for what is new; one that must be replayed pays for
//! the whole past.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "it measures wall time and prints it; nothing here is replayed"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use durabletask_core::testing::HistoryBuilder;
use durabletask_core::{
    Activity, Execution, HistoryEvent, Orchestration, OrchestrationContext, Registry,
};

const STEP: Activity<u64, u64> = Activity::new("step");
const STORY: Orchestration<u64, u64> = Orchestration::new("story");

/// Events per step: a turn begins, a call is answered, a call is made.
const EVENTS_PER_STEP: usize = 3;
/// Over how many turns the cost of one is averaged.
const WINDOW: usize = 100;
const REPLAYS: u32 = 5;

fn execution() -> Execution {
    let registry =
        Registry::new().orchestration(&STORY, async |ctx: OrchestrationContext, steps: u64| {
            let mut sum = 0;
            for step in 0..steps {
                sum += ctx.call_activity(&STEP, &step).await?;
            }
            Ok(sum)
        });
    Execution::new("bench", Some("execution".to_owned()), Arc::new(registry))
}

fn answer(id: usize) -> Vec<HistoryEvent> {
    let id = i32::try_from(id).expect("few steps");
    HistoryBuilder::new()
        .orchestrator_started()
        .task_completed(id, "1")
        .build()
}

/// The cost of a turn at the end of a history of `events` events: when the
/// execution has lived through it, and when it has to be replayed.
fn measure(events: usize) -> (Duration, Duration) {
    let steps = events / EVENTS_PER_STEP + WINDOW;
    let begin = HistoryBuilder::new()
        .orchestrator_started()
        .execution_started("story", &steps.to_string())
        .build();
    let mut live = execution();
    live.turn(begin.clone());
    let mut history = begin;
    let scheduled = |id: usize| {
        HistoryBuilder::new()
            .task_scheduled(i32::try_from(id).expect("few steps"), "step")
            .build()
    };
    history.extend(scheduled(0));
    let past = events / EVENTS_PER_STEP;
    for id in 0..past {
        live.turn(answer(id));
        history.extend(answer(id));
        history.extend(scheduled(id + 1));
    }
    let started = Instant::now();
    for id in past..past + WINDOW - 1 {
        assert_eq!(live.turn(answer(id)).actions.len(), 1);
    }
    let per_turn = started.elapsed() / u32::try_from(WINDOW - 1).expect("a small number");

    let mut replayed = Duration::MAX;
    for _ in 0..REPLAYS {
        let past_events = history.clone();
        let new = answer(past);
        let started = Instant::now();
        let mut fresh = execution();
        fresh.replay(past_events);
        assert_eq!(fresh.turn(new).actions.len(), 1);
        replayed = replayed.min(started.elapsed());
    }
    (per_turn, replayed)
}

fn main() {
    println!("events in the history | turn of a live execution | turn after a replay");
    for events in [10, 100, 1_000, 10_000] {
        let (live, replayed) = measure(events);
        println!("{events:>21} | {live:>24.1?} | {replayed:>19.1?}");
    }
}
