//! Cron schedules, across the changes of the clocks.

#![cfg(feature = "cron")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use chrono::{DateTime, Utc};
use durabletask_core::cron::{CronError, CronSchedule};

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The next instants of a schedule after `after`.
fn check(expression: &str, zone: &str, after: &str, expected: &[&str]) {
    let schedule = CronSchedule::parse(expression, zone).unwrap();
    let mut at = utc(after);
    for instant in expected {
        at = schedule.next_after(at).unwrap();
        assert_eq!(at, utc(instant), "{schedule}");
    }
}

#[test]
fn instants_follow_the_time_zone() {
    check(
        "30 7 * * MON-FRI",
        "Europe/Berlin",
        "2026-03-27T06:30:00Z",
        // From Friday to Monday, and into summer time.
        &["2026-03-30T05:30:00Z", "2026-03-31T05:30:00Z"],
    );
    check(
        "0 0 29 2 *",
        "UTC",
        "2026-01-01T00:00:00Z",
        &["2028-02-29T00:00:00Z"],
    );
    check(
        "0 12 * * *",
        "Asia/Kolkata",
        "2026-01-01T00:00:00Z",
        &["2026-01-01T06:30:00Z", "2026-01-02T06:30:00Z"],
    );
}

#[test]
fn what_is_not_a_schedule_is_refused_with_a_reason() {
    assert!(matches!(
        CronSchedule::parse("every day", "UTC"),
        Err(CronError::Expression { .. })
    ));
    assert_eq!(
        CronSchedule::parse("0 7 * * *", "Berlin"),
        Err(CronError::Zone("Berlin".into()))
    );
    let never = CronSchedule::parse("0 0 30 2 *", "UTC").unwrap();
    assert_eq!(never.next_after(utc("2026-01-01T00:00:00Z")), None);
}
