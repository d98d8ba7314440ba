//! Schedules that workers and clients of the official Python package share with ours.

use std::process::Stdio;
use std::time::Duration;

use durabletask::client::{InstanceQuery, Payloads, Status};
use durabletask::schedules::{
    self, Recurrence, Schedule, ScheduleOptions, ScheduleStatus, Schedules,
};
use durabletask::worker::WorkItemFilters;
use durabletask::{Failure, Orchestration, OrchestrationContext, Registry};
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{Feature, row};
use crate::backend::{DEADLINE, Hub, fresh};

pub fn features() -> Vec<Feature> {
    vec![
        row!(
            "python-changes-our-schedules",
            Registry::new,
            python_changes_ours
        ),
        row!("we-read-pythons-schedules", Registry::new, we_read_pythons),
    ]
}

/// What the schedules start; it returns its input.
const VERSE: Orchestration<Value, Value> = Orchestration::new("verse");

fn registry() -> Registry {
    Registry::new().orchestration(&VERSE, async |_: OrchestrationContext, input: Value| {
        Ok::<_, Failure>(input)
    })
}

/// `mixed_schedules.py`.
struct Python {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Python {
    async fn start(hub: &Hub, role: Option<&str>) -> Self {
        let mut child = Command::new(std::env::var("CONFORMANCE_PYTHON").unwrap())
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../mixed_schedules.py"
            ))
            .arg(hub.connection.endpoint())
            .arg(hub.connection.task_hub())
            .args(role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next_line().await.unwrap();
        assert_eq!(first.as_deref(), Some("ready"));
        Self {
            child,
            input,
            lines,
        }
    }

    async fn ask(&mut self, operation: Value) -> Value {
        let line = format!("{operation}\n");
        self.input.write_all(line.as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(DEADLINE, self.lines.next_line()).await;
        let answer = answer.unwrap().unwrap();
        let answer = answer.unwrap_or_else(|| panic!("no answer to {operation}"));
        serde_json::from_str(&answer).unwrap()
    }

    async fn stop(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// Waits for a round of the schedule and yields what it returned.
async fn round(hub: &Hub, id: &str) -> Value {
    let rounds = InstanceQuery::new()
        .instance_id_prefix(format!("{id}-"))
        .statuses([Status::Completed])
        .payloads(Payloads::Include);
    let one = async {
        loop {
            let done: Vec<_> = hub
                .client
                .list_instances(rounds.clone())
                .try_collect()
                .await
                .unwrap();
            if let Some(round) = done.first() {
                return round.output::<Value>().unwrap();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(DEADLINE, one).await.unwrap()
}

async fn schedule(schedules: &Schedules, id: &str) -> Schedule {
    schedules.get(id).await.unwrap().unwrap()
}

fn every(seconds: u64) -> ScheduleOptions {
    ScheduleOptions::new(Recurrence::Every(Duration::from_secs(seconds)))
}

/// Our worker keeps the schedules; clients of both change them.
async fn python_changes_ours(hub: Hub) {
    let ours = hub.worker(schedules::register(registry()), |builder| {
        builder.work_item_filters(WorkItemFilters::Registered)
    });
    let schedules = Schedules::new(&hub.client).with_timeout(DEADLINE);
    let mut python = Python::start(&hub, None).await;
    let input = json!({ "verse": [1, "Grüße"] });

    // Theirs, seen and changed by ours.
    let id = fresh("theirs");
    assert_eq!(
        python.ask(json!(["create", id, "verse", 1.5, input])).await,
        Value::Null
    );
    assert_eq!(round(&hub, &id).await, input);
    let there = schedule(&schedules, &id).await;
    assert_eq!(there.orchestration, "verse");
    assert_eq!(
        there.options.recurrence,
        Recurrence::Every(Duration::from_millis(1_500))
    );
    schedules.pause(&id).await.unwrap();
    let described = python.ask(json!(["describe", id])).await;
    assert_eq!(described, json!(["Paused", "verse", 1.5, input]));

    // Changed by both in turn.
    python.ask(json!(["resume", id])).await;
    python.ask(json!(["update", id, 90])).await;
    let there = schedule(&schedules, &id).await;
    assert_eq!(there.status, ScheduleStatus::Active);
    assert_eq!(
        there.options.recurrence,
        Recurrence::Every(Duration::from_secs(90))
    );
    schedules
        .put(&id, &VERSE, &json!("north"), every(60))
        .await
        .unwrap();
    let described = python.ask(json!(["describe", id])).await;
    assert_eq!(described, json!(["Active", "verse", 60.0, "north"]));

    // A plan that they have no form for is not theirs, and comes back with its age.
    let cron = ScheduleOptions::new(Recurrence::Cron {
        expression: "0 7 * * *".to_owned(),
        time_zone: "UTC".to_owned(),
    });
    let created_at = schedule(&schedules, &id).await.created_at;
    schedules
        .put(&id, &VERSE, &json!("north"), cron.clone())
        .await
        .unwrap();
    assert_eq!(python.ask(json!(["describe", id])).await, Value::Null);
    let there = schedule(&schedules, &id).await;
    assert_eq!((there.options, there.created_at), (cron, created_at));
    schedules
        .put(&id, &VERSE, &json!("north"), every(30))
        .await
        .unwrap();
    assert_eq!(schedule(&schedules, &id).await.created_at, created_at);
    let listed = python.ask(json!(["list"])).await;
    assert!(listed.as_array().unwrap().contains(&json!(id)), "{listed}");

    python.ask(json!(["delete", id])).await;
    assert_eq!(schedules.get(&id).await.unwrap(), None);
    python.stop().await;
    ours.stop().await;
}

/// A Python worker keeps the schedules.
async fn we_read_pythons(hub: Hub) {
    let ours = hub.worker(registry(), |builder| {
        builder.work_item_filters(WorkItemFilters::Registered)
    });
    let schedules = Schedules::new(&hub.client).with_timeout(DEADLINE);
    let mut python = Python::start(&hub, Some("worker")).await;
    let id = fresh("pythons");
    python.ask(json!(["create", id, "verse", 1, "north"])).await;
    assert_eq!(round(&hub, &id).await, json!("north"));
    let there = schedule(&schedules, &id).await;
    assert_eq!(there.options, every(1));
    assert_eq!(there.input_json.as_deref(), Some("\"north\""));
    python.ask(json!(["pause", id])).await;
    let listed: Vec<Schedule> = schedules.list().try_collect().await.unwrap();
    let paused = listed.iter().find(|schedule| schedule.id == id).unwrap();
    assert_eq!(paused.status, ScheduleStatus::Paused);
    python.stop().await;
    ours.stop().await;
}
