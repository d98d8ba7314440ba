//! Updatable timer: a deadline that can be put off or brought forward while it is waited for.
//!
//! `cargo run -p durabletask-sdk --example updatable_timer` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::time::Duration;

use durabletask::chrono::{DateTime, TimeDelta, Utc};
use durabletask::testing::{TestHub, epoch};
use durabletask::{Either, Event, Failure, Orchestration, OrchestrationContext, Registry, select};

const NEW_DEADLINE: Event<DateTime<Utc>> = Event::new("new-deadline");
/// The input is the first deadline, the output the one that was kept.
const WAIT: Orchestration<DateTime<Utc>, DateTime<Utc>> = Orchestration::new("wait");

async fn wait(
    ctx: OrchestrationContext,
    mut deadline: DateTime<Utc>,
) -> Result<DateTime<Utc>, Failure> {
    loop {
        // The timer that loses is taken back.
        let changed = ctx.wait_for_event(&NEW_DEADLINE);
        match select(changed, ctx.create_timer_at(deadline)).await {
            Either::Left(new) => deadline = new?,
            Either::Right(()) => return Ok(deadline),
        }
    }
}

/// Waits for tomorrow, which becomes the day after, and then an hour from now.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let day = |days| epoch() + TimeDelta::days(days);
    let soon = epoch() + TimeDelta::hours(5);
    let run = TestHub::new(Registry::new().orchestration(&WAIT, wait))
        .raise_event(Duration::from_secs(3600), &NEW_DEADLINE, &day(2))
        .raise_event(Duration::from_secs(4 * 3600), &NEW_DEADLINE, &soon)
        .run(&WAIT, &day(1), |name, _| {
            Err(Failure::new("Unexpected", name))
        });
    println!("it waited until {}", run.output()?);
    assert_eq!(run.output()?, soon);
    Ok(())
}
