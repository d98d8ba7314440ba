//! Saga: when a step fails, what the steps before it did is undone, last first.
//!
//! `cargo run -p durabletask-sdk --example saga` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use durabletask::testing::TestHub;
use durabletask::{
    Activity, Failure, Orchestration, OrchestrationContext, Registry, Saga, TaskError,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

const BOOK_FLIGHT: Activity<String, String> = Activity::new("book-flight");
const CANCEL_FLIGHT: Activity<String, ()> = Activity::new("cancel-flight");
const BOOK_HOTEL: Activity<String, String> = Activity::new("book-hotel");
const CANCEL_HOTEL: Activity<String, ()> = Activity::new("cancel-hotel");
const CHARGE: Activity<String, String> = Activity::new("charge");
const BOOK_TRIP: Orchestration<String, Trip> = Orchestration::new("book-trip");

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Trip {
    Booked { flight: String, hotel: String },
    Undone { because: String },
}

async fn book(ctx: &OrchestrationContext, city: &str, saga: &mut Saga) -> Result<Trip, TaskError> {
    let flight = ctx.call_activity(&BOOK_FLIGHT, city).await?;
    saga.undo_by(&CANCEL_FLIGHT, &flight)?;
    let hotel = ctx.call_activity(&BOOK_HOTEL, city).await?;
    saga.undo_by(&CANCEL_HOTEL, &hotel)?;
    ctx.call_activity(&CHARGE, city).await?;
    Ok(Trip::Booked { flight, hotel })
}

async fn book_trip(ctx: OrchestrationContext, city: String) -> Result<Trip, Failure> {
    let mut saga = Saga::new(&ctx);
    let booked = book(&ctx, &city, &mut saga).await;
    // What the traveller has to know is an outcome; what could not be undone is a failure.
    match saga.settle(booked).await {
        Ok(trip) => Ok(trip),
        Err(error) if error.not_undone.is_empty() => Ok(Trip::Undone {
            because: error.cause.to_string(),
        }),
        Err(error) => Err(error.into()),
    }
}

/// Books a trip whose payment is declined.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hub = TestHub::new(Registry::new().orchestration(&BOOK_TRIP, book_trip));
    let run = hub.run(&BOOK_TRIP, "Lima", |activity, _| match activity {
        "charge" => Err(Failure::new("Declined", "the card is declined").permanent()),
        "book-flight" => Ok(json!("flight-7")),
        "book-hotel" => Ok(json!("hotel-3")),
        _ => Ok(json!(null)),
    });
    let trip = run.output()?;
    let calls: Vec<&str> = run.calls.iter().map(|(name, _)| name.as_str()).collect();
    println!("{trip:?} by {calls:?}");
    assert_eq!(calls[3..], ["cancel-hotel", "cancel-flight"]);
    assert!(matches!(trip, Trip::Undone { because } if because.contains("declined")));
    Ok(())
}
