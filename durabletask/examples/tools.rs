//! Names of the run time: a plan that comes as data says which activities are called, and
//! each approval is waited for under a name of its own.
//!
//! `cargo run -p durabletask-sdk --example tools` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::time::Duration;

use durabletask::testing::TestHub;
use durabletask::{Activity, Event, Failure, Orchestration, OrchestrationContext, Registry};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Serialize, Deserialize)]
struct Step {
    tool: String,
    input: Value,
    needs_approval: bool,
}

const FOLLOW: Orchestration<Vec<Step>, Vec<Value>> = Orchestration::new("follow-plan");

const PATIENCE: Duration = Duration::from_secs(24 * 3600);

fn approval(number: usize) -> Event<bool> {
    Event::named(format!("approval-{number}"))
}

async fn follow(ctx: OrchestrationContext, plan: Vec<Step>) -> Result<Vec<Value>, Failure> {
    let mut results = Vec::new();
    for (number, step) in plan.iter().enumerate() {
        if step.needs_approval {
            let approved = ctx
                .wait_for_event_within(&approval(number), PATIENCE)
                .await?;
            if !approved.unwrap_or(false) {
                results.push(json!("refused"));
                continue;
            }
        }
        let tool: Activity<Value, Value> = Activity::named(&step.tool);
        results.push(ctx.call_activity(&tool, &step.input).await?);
    }
    Ok(results)
}

/// Follows a plan of three steps; two need an approval, and one of them is refused.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let step = |tool: &str, needs_approval| Step {
        tool: tool.to_owned(),
        input: json!({"for": "order-1"}),
        needs_approval,
    };
    let plan = vec![
        step("search", false),
        step("buy", true),
        step("delete", true),
    ];
    let hour = Duration::from_secs(3600);
    let run = TestHub::new(Registry::new().orchestration(&FOLLOW, follow))
        .raise_event(hour, &approval(1), &true)
        .raise_event(hour, &approval(2), &false)
        .run(&FOLLOW, &plan, |tool, _| Ok(json!(format!("{tool} done"))));
    let results = run.output()?;
    println!("{results:?}");
    assert_eq!(
        results,
        [json!("search done"), json!("buy done"), json!("refused")]
    );
    Ok(())
}
