//! Replaying stored histories, in every form in which they are written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use durabletask_core::testing::{
    StoredHistoryError, TestHub, parse_history, replay_history, replay_json,
};
use durabletask_core::{
    Activity, Event, Failure, HistoryPayload, Orchestration, OrchestrationContext, Registry,
};
use serde_json::json;

const RESERVE: Activity<u32, u32> = Activity::new("reserve");
const CHARGE: Activity<u32, u32> = Activity::new("charge");
const PAID: Event<u32> = Event::new("paid");
const SHOP: Orchestration<u32, u32> = Orchestration::new("shop");

fn registry() -> Registry {
    Registry::new().orchestration(&SHOP, async |ctx: OrchestrationContext, n: u32| {
        let n = ctx.call_activity(&RESERVE, &n).await?;
        let paid = ctx.wait_for_event(&PAID).await?;
        Ok(ctx.call_activity(&CHARGE, &(n + paid)).await?)
    })
}

/// The same history in the protobuf form and in the flat form.
const PROTOBUF: &str = r#"{"events": [
    {"eventId": -1, "timestamp": "2026-01-02T03:04:05.123Z", "orchestratorStarted": {}},
    {"eventId": -1, "timestamp": "2026-01-02T03:04:05.123Z", "executionStarted": {
        "name": "shop", "input": "5",
        "orchestrationInstance": {"instanceId": "order-1", "executionId": {"value": "e1"}},
        "parentInstance": {"taskScheduledId": 4, "orchestrationInstance": {"instanceId": "p"}},
        "tags": {"team": "blue"}}},
    {"eventId": 0, "taskScheduled": {"name": "reserve", "input": "5"}},
    {"eventId": -1, "orchestratorStarted": {}},
    {"eventId": -1, "taskCompleted": {"taskScheduledId": 0, "result": "6"}},
    {"eventId": -1, "orchestratorStarted": {}},
    {"eventId": -1, "eventRaised": {"name": "PAID", "input": "2"}},
    {"eventId": 1, "taskScheduled": {"name": "charge"}},
    {"eventId": -1, "taskFailed": {"taskScheduledId": 1, "failureDetails": {
        "errorType": "Declined", "errorMessage": "no", "isNonRetriable": true,
        "innerFailure": {"errorType": "Bank"}}}},
    {"eventId": 2, "executionCompleted": {"orchestrationStatus": 3}}
]}"#;

const FLAT: &str = r#"[
    {"EventType": "OrchestratorStarted", "EventId": -1, "Timestamp": "2026-01-02T03:04:05Z"},
    {"EventType": "ExecutionStartedEvent", "EventId": -1, "Name": "shop", "Input": 5},
    {"EventType": "TaskScheduled", "EventId": 0, "Name": "reserve"},
    {"EventType": "OrchestratorCompleted", "EventId": -1},
    {"EventType": "OrchestratorStarted", "EventId": -1},
    {"EventType": "TaskCompleted", "EventId": -1, "TaskScheduledId": 0, "Result": "6"}
]"#;

#[test]
fn a_history_of_another_backend_replays() {
    for json in [PROTOBUF, FLAT] {
        replay_json(registry(), "order-1", json).unwrap();
    }
    let events = parse_history(PROTOBUF).unwrap();
    let HistoryPayload::ExecutionStarted(started) = &events[1].payload else {
        panic!("not a start");
    };
    assert_eq!(started.execution_id.as_deref(), Some("e1"));
    assert_eq!(started.parent.as_ref().unwrap().instance_id, "p");
    assert_eq!(started.tags["team"], "blue");
    assert_eq!(events[1].timestamp.unwrap().timestamp_subsec_millis(), 123);
    let HistoryPayload::TaskFailed { failure, .. } = &events[8].payload else {
        panic!("not a failure");
    };
    assert!(failure.non_retriable);
    assert_eq!(failure.inner.as_ref().unwrap().error_type, "Bank");
}

#[test]
fn our_own_form_is_read_as_it_is_written() {
    let run = TestHub::new(registry())
        .raise_event(std::time::Duration::from_secs(1), &PAID, &2)
        .run(&SHOP, &5, |_, input| Ok(input));
    assert_eq!(run.output().unwrap(), 7);
    let json = serde_json::to_string(&run.history).unwrap();
    assert_eq!(parse_history(&json).unwrap(), run.history);
    replay_json(registry(), "order-1", &json).unwrap();
    replay_history(registry(), "order-1", &run.history).unwrap();
}

#[test]
fn a_divergence_is_reported_with_its_place_and_cause() {
    const HOLD: Activity<u32, u32> = Activity::new("hold");
    let changed =
        Registry::new().orchestration(&SHOP, async |ctx: OrchestrationContext, n: u32| {
            let n = ctx.call_activity(&HOLD, &n).await?;
            Ok::<u32, Failure>(n)
        });
    let StoredHistoryError::Diverges(divergence) =
        replay_json(changed, "order-1", PROTOBUF).unwrap_err()
    else {
        panic!("it was read");
    };
    assert_eq!(divergence.position, 2);
    assert_eq!(divergence.event.as_ref().unwrap().event_id, 0);
    assert_eq!(divergence.details.error_type, "NonDeterminismError");
    let text = divergence.to_string();
    assert!(text.contains("'reserve' as step #0"), "{text}");
    assert!(
        text.contains("attempts a call of the activity 'hold'"),
        "{text}"
    );

    // One that shows only at the end: a step that the history does not have.
    let longer = Registry::new().orchestration(&SHOP, async |ctx: OrchestrationContext, n: u32| {
        let _ = (
            ctx.call_activity(&RESERVE, &n),
            ctx.call_activity(&CHARGE, &n),
        );
        ctx.wait_for_event(&PAID).await?;
        Ok::<u32, Failure>(n)
    });
    let StoredHistoryError::Diverges(divergence) =
        replay_json(longer, "order-1", FLAT).unwrap_err()
    else {
        panic!("it was read");
    };
    assert_eq!((divergence.position, divergence.event), (6, None));
}

#[test]
fn what_is_not_a_history_is_refused_with_its_place() {
    for (json, reason) in [
        ("{", "EOF"),
        ("7", "not an array"),
        (r#"{"a": []}"#, "no array of events"),
        (
            r#"[{"eventType": "TimerFired"}, 7]"#,
            "event 1 is not an object",
        ),
        (r#"[{"eventId": 3}]"#, "event 0 names no kind"),
    ] {
        let error = parse_history(json).unwrap_err().to_string();
        assert!(error.contains(reason), "{json}: {error}");
    }
    let unknown = parse_history(r#"[{"eventType": "Firework"}]"#).unwrap();
    assert_eq!(
        serde_json::to_value(&unknown[0].payload).unwrap(),
        json!({"kind": "other", "name": "Firework"})
    );
}
