//! Human interaction: an orchestration asks for an approval, shows that it
//! waits, and gives up after three days.
//!
//! `cargo run -p durabletask-sdk --example human_interaction` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::time::Duration;

use durabletask::testing::TestHub;
use durabletask::{Activity, Event, Failure, Orchestration, OrchestrationContext, Registry};
use serde::{Deserialize, Serialize};
use serde_json::json;

const ASK: Activity<String, ()> = Activity::new("ask");
const APPROVAL: Event<Approval> = Event::new("approval");
const EXPENSE: Orchestration<String, Outcome> = Orchestration::new("expense");

const PATIENCE: Duration = Duration::from_secs(3 * 24 * 3600);

#[derive(Debug, Serialize, Deserialize)]
struct Approval {
    by: String,
    approved: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Outcome {
    Paid { approved_by: String },
    Refused,
    Expired,
}

async fn expense(ctx: OrchestrationContext, what: String) -> Result<Outcome, Failure> {
    ctx.call_activity(&ASK, &what).await?;
    ctx.set_custom_status(&json!({"waitsFor": "approval"}))?;
    // An expected end is a value, not a failure.
    Ok(
        match ctx.wait_for_event_within(&APPROVAL, PATIENCE).await? {
            Some(approval) if approval.approved => Outcome::Paid {
                approved_by: approval.by,
            },
            Some(_) => Outcome::Refused,
            None => Outcome::Expired,
        },
    )
}

/// One run with an approval after an hour, one in which nobody answers.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hub = TestHub::new(Registry::new().orchestration(&EXPENSE, expense));
    let run = |hub: &TestHub| {
        hub.run(&EXPENSE, "train to Oslo", |_, _| Ok(json!(null)))
            .output()
    };
    let approval = Approval {
        by: "ada".to_owned(),
        approved: true,
    };
    let answered = hub
        .clone()
        .raise_event(Duration::from_secs(3600), &APPROVAL, &approval);
    let paid = run(&answered)?;
    let expired = run(&hub)?;
    println!("{paid:?}, {expired:?}");
    assert_eq!(
        paid,
        Outcome::Paid {
            approved_by: "ada".to_owned()
        }
    );
    assert_eq!(expired, Outcome::Expired);
    Ok(())
}
