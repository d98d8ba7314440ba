//! Compares what is stored with what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use durabletask_proto::history_event::EventType as Event;
use durabletask_proto::*;

use super::load::{ACTIVITIES, Acknowledged};
use super::loops::{LoopProgress, REASON};
use super::support::*;

/// How long everything may take to end once nobody kills any more.
const SETTLE: Duration = Duration::from_secs(180);
const AGAIN: Duration = Duration::from_millis(50);

/// Waits until every instance has ended and every signal has been applied.
pub(crate) async fn all_ends(client: &Client, acknowledged: &Acknowledged) {
    for id in &acknowledged.started {
        ended(client, id).await;
    }
    for (id, told) in &acknowledged.loops {
        let state = at_end(client, id).await;
        check_loop(id, told, &state);
    }
    let begun = tokio::time::Instant::now();
    for (entity, signals) in &acknowledged.signals {
        loop {
            let applied: BTreeSet<String> = applied(client, entity).await.into_iter().collect();
            let missing: Vec<_> = signals.difference(&applied).collect();
            if missing.is_empty() {
                break;
            }
            assert!(
                begun.elapsed() < SETTLE,
                "{entity} has not got {missing:?}, which were acknowledged"
            );
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Checks each instance's history and each entity's state.
pub(crate) async fn nothing_is_lost_or_doubled(client: &Client, acknowledged: &Acknowledged) {
    for ((id, task), results) in &acknowledged.results {
        assert_eq!(
            results.len(),
            1,
            "two results of {id} {task} were accepted: {results:?}"
        );
    }
    for id in &acknowledged.started {
        check_instance(client, acknowledged, id).await;
    }
    for entity in acknowledged.signals.keys() {
        let mut seen = BTreeSet::new();
        for signal in applied(client, entity).await {
            assert!(seen.insert(signal.clone()), "{entity}: {signal} came twice");
        }
    }
}

async fn check_instance(client: &Client, acknowledged: &Acknowledged, id: &str) {
    let (state, history) = (ended(client, id).await, history(client, id).await);
    let mut answers: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    let mut events = Vec::new();
    let mut counts: BTreeMap<&str, i32> = BTreeMap::new();
    for event in history {
        *counts.entry(event_kind(&event)).or_default() += 1;
        match event.event_type {
            Some(Event::TaskCompleted(done)) => answers
                .entry(done.task_scheduled_id)
                .or_default()
                .push(done.result.unwrap_or_default()),
            Some(Event::EventRaised(raised)) => events.push(raised.input.unwrap_or_default()),
            _ => {}
        }
    }
    for (kind, times) in [
        ("ExecutionStarted", 1),
        ("TaskScheduled", ACTIVITIES),
        ("SubOrchestrationInstanceCreated", 1),
        ("SubOrchestrationInstanceCompleted", 1),
        ("TimerCreated", 1),
        ("TimerFired", 1),
        ("ExecutionCompleted", 1),
    ] {
        assert_eq!(counts.get(kind), Some(&times), "{id}: {kind}");
    }
    let mut output = Vec::new();
    for task in 0..ACTIVITIES {
        let results = answers.remove(&task).unwrap_or_default();
        assert_eq!(results.len(), 1, "{id} {task} was answered by {results:?}");
        if let Some(accepted) = acknowledged.results.get(&(id.to_owned(), task)) {
            assert_eq!(
                &results, accepted,
                "{id} {task}: the accepted result counts"
            );
        }
        output.extend(results);
    }
    assert!(answers.is_empty(), "{id}: {answers:?}");
    assert_eq!(
        state.output.as_deref(),
        Some(output.join(",").as_str()),
        "{id}"
    );
    // An event that comes after the end is accepted and dropped; the first one of an
    // instance cannot, for the end waits for it.
    assert!(!events.is_empty(), "{id} was told to go");
    if let Some(payload) = acknowledged.raised.get(id) {
        let times = events.iter().filter(|each| *each == payload).count();
        assert!(times <= 1, "{id}: event {payload} came {times} times");
    }
}

fn check_loop(id: &str, progress: &LoopProgress, state: &OrchestrationState) {
    if progress.terminated {
        assert_eq!(
            (state.orchestration_status, state.output.as_deref()),
            (OrchestrationStatus::Terminated as i32, Some(REASON)),
            "{id} was asked to end"
        );
        return;
    }
    assert_eq!(
        state.orchestration_status,
        OrchestrationStatus::Completed as i32,
        "{id}"
    );
    let taken = state.output.clone().unwrap_or_default();
    let taken: Vec<&str> = taken.split_terminator(',').collect();
    let once: BTreeSet<&&str> = taken.iter().collect();
    assert_eq!(
        once.len(),
        taken.len(),
        "{id} took an event twice: {taken:?}"
    );
    // Unacknowledged ones may be in between.
    let accepted: Vec<&str> = taken
        .into_iter()
        .filter(|payload| progress.raised.iter().any(|raised| raised == payload))
        .collect();
    assert_eq!(accepted, progress.raised, "{id} takes its events in order");
}

async fn ended(client: &Client, id: &str) -> OrchestrationState {
    let state = at_end(client, id).await;
    assert_eq!(
        state.orchestration_status,
        OrchestrationStatus::Completed as i32,
        "{id}: {state:?}"
    );
    state
}

async fn at_end(client: &Client, id: &str) -> OrchestrationState {
    let begun = tokio::time::Instant::now();
    loop {
        let get = GetInstanceRequest {
            instance_id: id.to_owned(),
            get_inputs_and_outputs: true,
        };
        let answer = client
            .clone()
            .get_instance(to_hub("default", get))
            .await
            .unwrap();
        let state = answer.into_inner().orchestration_state;
        let state = state.unwrap_or_else(|| panic!("{id} was acknowledged and is lost"));
        if state.completed_timestamp.is_some() {
            return state;
        }
        assert!(begun.elapsed() < SETTLE, "{id} ends: {state:?}");
        tokio::time::sleep(AGAIN).await;
    }
}

async fn history(client: &Client, id: &str) -> Vec<HistoryEvent> {
    let request = StreamInstanceHistoryRequest {
        instance_id: id.to_owned(),
        ..Default::default()
    };
    let stream = client
        .clone()
        .stream_instance_history(to_hub("default", request))
        .await;
    let mut stream = stream.unwrap().into_inner();
    let mut events = Vec::new();
    while let Some(chunk) = stream.message().await.unwrap() {
        events.extend(chunk.events);
    }
    events
}

/// The signals that an entity has applied.
async fn applied(client: &Client, entity: &str) -> Vec<String> {
    let get = GetEntityRequest {
        instance_id: entity.to_owned(),
        include_state: true,
    };
    let answer = client.clone().get_entity(to_hub("default", get)).await;
    let state = answer.unwrap().into_inner().entity;
    state
        .and_then(|entity| entity.serialized_state)
        .unwrap_or_default()
        .split_terminator(',')
        .map(str::to_owned)
        .collect()
}
