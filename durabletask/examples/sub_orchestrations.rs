//! Sub-orchestrations: a large piece of work is cut into instances with
//! histories, retries and ids of their own.
//!
//! `cargo run -p durabletask-sdk --example sub_orchestrations` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::time::Duration;

use durabletask::orchestration::SubOrchestrationOptions;
use durabletask::testing::TestHub;
use durabletask::{
    Activity, Failure, Orchestration, OrchestrationContext, Registry, RetryPolicy, when_all,
};
use serde_json::json;

const INSTALL: Activity<String, ()> = Activity::new("install");
const PROBE: Activity<String, bool> = Activity::new("probe");
const SET_UP_SITE: Orchestration<String, String> = Orchestration::new("set-up-site");
const SET_UP_ALL: Orchestration<Vec<String>, Vec<String>> = Orchestration::new("set-up-all");

async fn set_up_site(ctx: OrchestrationContext, site: String) -> Result<String, Failure> {
    ctx.call_activity(&INSTALL, &site).await?;
    ctx.create_timer(Duration::from_secs(60)).await;
    if !ctx.call_activity(&PROBE, &site).await? {
        return Err(Failure::new("NotUp", format!("{site} does not answer")));
    }
    Ok(format!("{site} is up"))
}

async fn set_up_all(ctx: OrchestrationContext, sites: Vec<String>) -> Result<Vec<String>, Failure> {
    let children = sites.iter().map(|site| {
        let options =
            SubOrchestrationOptions::new().retry(RetryPolicy::new(3, Duration::from_secs(300)));
        ctx.call_sub_orchestration_with(&SET_UP_SITE, site, options)
    });
    Ok(when_all(children).await?)
}

/// Sets up two sites; one of them needs a second attempt.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let registry = Registry::new()
        .orchestration(&SET_UP_ALL, set_up_all)
        .orchestration(&SET_UP_SITE, set_up_site);
    let sites = ["north", "south"].map(str::to_owned).to_vec();
    let mut first_probe_of_south = true;
    let run = TestHub::new(registry).run(&SET_UP_ALL, &sites, |activity, site| {
        Ok(match activity {
            "probe" if site == json!("south") => {
                json!(!std::mem::take(&mut first_probe_of_south))
            }
            "probe" => json!(true),
            _ => json!(null),
        })
    });
    let sites = run.output()?;
    println!("{sites:?}");
    assert_eq!(sites, ["north is up", "south is up"]);
    Ok(())
}
