//! Histories that version 0.1 recorded replay under this version.
//!
//! `golden/0.1` was written by 0.1 before its public face changed (its in-memory hub, these programs in
//! its spelling). The files are never written again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use durabletask_core::testing::{StoredHistoryError, parse_history, replay_json};
use durabletask_core::{
    ActionKind, Activity, CompletionStatus, Either, Entity, EntityContext, EntityHandlers, Event,
    Execution, Failure, HistoryEvent, HistoryPayload, Operation, Orchestration,
    OrchestrationContext, Outcome, Registry, RetryPolicy, SubOrchestrationOptions, TaskOptions,
    select, when_all,
};
use serde_json::Value;

const RESERVE: Activity<String, u32> = Activity::new("reserve");
const CHARGE: Activity<u32, String> = Activity::new("charge");
const REFUND: Activity<String, ()> = Activity::new("refund");
const NOTIFY: Activity<String, ()> = Activity::new("notify");
const SHIP: Orchestration<u32, String> = Orchestration::new("ship");
const ORDER: Orchestration<Vec<String>, (String, String)> = Orchestration::new("order");
const PURCHASE: Orchestration<u32, String> = Orchestration::new("purchase");
const APPROVED: Event<bool> = Event::new("approved");
const ACCOUNT: Entity<i64> = Entity::new("account");
const DEPOSIT: Operation<i64, i64, i64> = Operation::new("deposit");
const TRANSFER: Orchestration<i64, i64> = Orchestration::new("transfer");
const COUNT: Orchestration<u32, u32> = Orchestration::new("count");
const TICK: Event<u32> = Event::new("tick");
const RELEASE: Orchestration<(), String> = Orchestration::new("release");

/// A fan-out with retries, a child that fails, its compensation, another child.
async fn order(ctx: OrchestrationContext, items: Vec<String>) -> Result<(String, String), Failure> {
    let number = ctx.new_uuid().to_string();
    let retrying =
        || TaskOptions::new().retry(RetryPolicy::new(3, Duration::from_secs(5)).backoff(2.0));
    let reserving = items
        .iter()
        .map(|item| ctx.call_activity_with(&RESERVE, item, retrying()));
    let reserved = when_all(reserving).await?;
    ctx.set_custom_status(&"reserved")?;
    let receipt = ctx
        .call_activity(&CHARGE, &reserved.iter().sum::<u32>())
        .await?;
    let options = SubOrchestrationOptions::new().instance_id("parcel-7");
    match ctx.call_sub_orchestration_with(&SHIP, &1, options).await {
        Ok(parcel) => Ok((number, parcel)),
        Err(_) => {
            ctx.call_activity(&REFUND, &receipt).await?;
            let parcel = ctx.call_sub_orchestration(&SHIP, &2).await?;
            Ok((number, parcel))
        }
    }
}

/// Events against timers.
async fn purchase(ctx: OrchestrationContext, _: u32) -> Result<String, Failure> {
    for day in 1..4 {
        let asked = ctx.wait_for_event_within(&APPROVED, Duration::from_secs(24 * 3600));
        match asked.await? {
            Some(true) => return Ok(format!("approved on day {day}")),
            Some(false) => return Err(Failure::new("Refused", "not this time")),
            None => ctx.call_activity(&NOTIFY, &format!("day {day}")).await?,
        }
    }
    Ok("forgotten".to_owned())
}

/// Signals, a critical section, calls, an event for another instance.
async fn transfer(ctx: OrchestrationContext, amount: i64) -> Result<i64, Failure> {
    let (from, to) = (ACCOUNT.id("ada"), ACCOUNT.id("bob"));
    ctx.signal_entity(&to, &DEPOSIT, &1)?;
    let section = ctx.lock_entities([&from, &to]).await?;
    ctx.call_entity(&from, &DEPOSIT, &-amount).await?;
    let balance = ctx.call_entity(&to, &DEPOSIT, &amount).await?;
    section.release();
    ctx.send_event("elsewhere", &APPROVED, &true)?;
    Ok(balance)
}

/// The last of several executions, with events that the one before it kept.
async fn count(ctx: OrchestrationContext, sum: u32) -> Result<Outcome<u32, u32>, Failure> {
    let next = ctx.wait_for_event(&TICK).await?;
    ctx.create_timer(Duration::from_secs(10)).await;
    match sum + next {
        sum if sum < 6 => Ok(Outcome::continue_as_new(sum)),
        sum => Ok(Outcome::Done(sum)),
    }
}

/// A version, a tag, an activity against a timer.
async fn release(ctx: OrchestrationContext, (): ()) -> Result<String, Failure> {
    if ctx.version_at_least("2") {
        ctx.call_activity(&NOTIFY, "new").await?;
    }
    let quick = ctx.call_activity(&NOTIFY, "quick");
    let slow = ctx.create_timer(Duration::from_secs(60));
    match select(slow, quick).await {
        Either::Left(()) => Ok("slow".to_owned()),
        Either::Right(done) => {
            done?;
            Ok(format!("quick, {}", ctx.tags()["team"]))
        }
    }
}

fn registry() -> Registry {
    let deposit = |balance: &mut i64, _: &EntityContext, amount: i64| {
        *balance += amount;
        Ok::<_, Failure>(*balance)
    };
    Registry::new()
        .orchestration(&ORDER, order)
        .orchestration(&PURCHASE, purchase)
        .orchestration(&TRANSFER, transfer)
        .continuing(&COUNT, count)
        .orchestration(&RELEASE, release)
        .entity(&ACCOUNT, EntityHandlers::new().operation(&DEPOSIT, deposit))
}

/// An instance that 0.1 ran.
struct Golden {
    name: String,
    instance_id: String,
    json: String,
    history: Vec<HistoryEvent>,
    ended: Value,
}

fn golden() -> Vec<Golden> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/0.1");
    let mut files: Vec<_> = folder
        .read_dir()
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let read = |path: std::path::PathBuf| {
        let json = std::fs::read_to_string(&path).unwrap();
        let ended: Value = serde_json::from_str(&json).unwrap();
        Golden {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            instance_id: ended["instanceId"].as_str().unwrap().to_owned(),
            history: parse_history(&json).unwrap(),
            json,
            ended,
        }
    };
    files.into_iter().map(read).collect()
}

/// The positions at which turns begin.
fn turns(history: &[HistoryEvent]) -> Vec<usize> {
    let begins = |event: &HistoryEvent| event.payload == HistoryPayload::OrchestratorStarted;
    (0..history.len())
        .filter(|at| begins(&history[*at]))
        .collect()
}

#[test]
fn each_history_replays_without_a_divergence() {
    let golden = golden();
    assert_eq!(golden.len(), 7);
    for Golden {
        name,
        instance_id,
        json,
        ..
    } in golden
    {
        replay_json(registry(), &instance_id, &json)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// A worker of this version takes over at any turn: the steps that it decides on are those that 0.1 recorded,
/// and so is the end.
#[test]
fn a_worker_takes_over_at_any_turn() {
    for Golden {
        name,
        instance_id,
        history,
        ended,
        ..
    } in golden()
    {
        let begins = turns(&history);
        for (number, begin) in begins.iter().enumerate() {
            let end = begins.get(number + 1).copied().unwrap_or(history.len());
            let turn = &history[*begin..end];
            let decided = turn
                .iter()
                .position(|event| event.event_id >= 0)
                .unwrap_or(turn.len());
            let new: Vec<_> = turn[..decided]
                .iter()
                .filter(|event| !matches!(event.payload, HistoryPayload::ExecutionCompleted { .. }))
                .cloned()
                .collect();
            let mut execution = Execution::new(instance_id.as_str(), None, Arc::new(registry()));
            execution.replay(history[..*begin].iter().cloned());
            let result = execution.turn(new);
            let steps: Vec<i32> = result
                .actions
                .iter()
                .filter(|action| !matches!(action.kind, ActionKind::Complete { .. }))
                .map(|action| action.id)
                .collect();
            let recorded: Vec<i32> = turn[decided..]
                .iter()
                .filter(|event| !matches!(event.payload, HistoryPayload::ExecutionCompleted { .. }))
                .map(|event| event.event_id)
                .collect();
            assert_eq!(steps, recorded, "{name}: turn {number}");
            let is_last = end == history.len();
            let completion = result.actions.iter().find_map(|action| match &action.kind {
                ActionKind::Complete {
                    status,
                    result,
                    failure,
                    ..
                } => Some((status, result, failure)),
                _ => None,
            });
            match (completion, ended["status"].as_str().unwrap()) {
                (Some((CompletionStatus::Completed, output, None)), "Completed") => {
                    assert_eq!(output.as_deref(), ended["output"].as_str(), "{name}");
                }
                (Some((CompletionStatus::Failed, _, Some(failure))), "Failed") => {
                    assert_eq!(
                        serde_json::to_value(failure).unwrap(),
                        ended["failure"],
                        "{name}"
                    );
                }
                (Some((CompletionStatus::Terminated, ..)), "Terminated") => {}
                (None, _) => assert!(!is_last, "{name} has not ended"),
                (other, status) => panic!("{name} is {status}, not {other:?}"),
            }
            assert!(is_last || !result.completed, "{name}: turn {number}");
        }
    }
}

/// The check is one that can fail.
#[test]
fn other_code_diverges_from_them() {
    let other = || {
        Registry::new().orchestration(&ORDER, async |ctx: OrchestrationContext, _: Vec<String>| {
            ctx.call_activity(&NOTIFY, "first").await?;
            Err::<(String, String), _>(Failure::new("Other", "other code"))
        })
    };
    let golden = golden();
    let order = golden.iter().find(|golden| golden.name == "order").unwrap();
    let error = replay_json(other(), &order.instance_id, &order.json).unwrap_err();
    assert!(matches!(&error, StoredHistoryError::Diverges(_)), "{error}");
    assert!(
        error.to_string().contains("'reserve' as step #0"),
        "{error}"
    );
}
