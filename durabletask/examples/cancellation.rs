//! Work that can be called off: the activity that nobody needs any more ends, and what it has
//! begun is cleaned up. After Temporal's sample `cancellation`.
//!
//! `cargo run -p durabletask-sdk --example cancellation` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::time::Duration;

use durabletask::testing::TestHub;
use durabletask::{
    Activity, ActivityContext, Either, Event, Failure, Orchestration, OrchestrationContext,
    Registry, select,
};
use serde_json::json;

const RENDER: Activity<String, String> = Activity::new("render");
const CLEAN_UP: Activity<String, ()> = Activity::new("clean-up");
const CANCEL: Event<String> = Event::new("cancel");
const MAKE_FILM: Orchestration<String, String> = Orchestration::new("make-film");

/// Ends as soon as the orchestration has given it up, where worker and caller are one process.
async fn render(ctx: ActivityContext, film: String) -> Result<String, Failure> {
    let frames = async {
        for _ in 0..10_000 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = frames => Ok(format!("{film}.mkv")),
        () = ctx.cancelled() => Err("nobody needs it any more".into()),
    }
}

async fn make_film(ctx: OrchestrationContext, film: String) -> Result<String, Failure> {
    let canceled = ctx.wait_for_event(&CANCEL);
    // Which of the two loses is given up.
    match select(canceled, ctx.call_activity(&RENDER, &film)).await {
        Either::Left(reason) => {
            let reason = reason?;
            ctx.call_activity(&CLEAN_UP, &film).await?;
            Err(Failure::new("Canceled", reason))
        }
        Either::Right(file) => Ok(file?),
    }
}

/// One film is called off after an hour, the other is made.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let registry = Registry::new()
        .activity(&RENDER, render)
        .orchestration(&MAKE_FILM, make_film);
    let hub = TestHub::new(registry).activity_takes(&RENDER, Duration::from_secs(10_000));
    let answer = |activity: &str, _| match activity {
        "render" => Ok(json!("film.mkv")),
        _ => Ok(json!(null)),
    };
    assert_eq!(hub.run(&MAKE_FILM, "film", answer).output()?, "film.mkv");

    let hub = hub.raise_event(Duration::from_secs(3600), &CANCEL, "too expensive");
    let run = hub.run(&MAKE_FILM, "film", answer);
    let Err(failure) = run.output() else {
        return Err("it was called off".into());
    };
    println!("{failure}");
    assert_eq!(failure.error_type, "Canceled");
    assert_eq!(
        run.calls.last().map(|(name, _)| name.as_str()),
        Some("clean-up")
    );
    Ok(())
}
