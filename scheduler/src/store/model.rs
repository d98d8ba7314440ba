//! The SQLite store against a plain model in memory: the same random operations, and
//! after each of them both must tell the same about everything that can be seen.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use durabletask_proto::history_event::EventType as Event;
use durabletask_proto::orchestrator_action::OrchestratorActionType as Action;
use durabletask_proto::{
    ActivityRequest, CompleteOrchestrationAction, CreateTimerAction, EventRaisedEvent,
    ExecutionStartedEvent, ExecutionTerminatedEvent, HistoryEvent, OrchestrationInstance,
    OrchestrationStatus as Status, OrchestratorAction, OrchestratorResponse, ScheduleTaskAction,
};
use proptest::prelude::*;
use prost::Message as _;
use rusqlite::Connection;

use super::instances::{Start, timestamp};
use super::writer::{Counters, Tx};
use super::{
    ActivityAnswer, FinishedTurn, Narrow, Sort, StoreError, browse, history_page, inbox, pending,
    schema, state,
};

const HUB: i64 = 1;
const IDS: [&str; 3] = ["a", "b", "c"];

/// What somebody does. Instances are numbers into [`IDS`].
#[derive(Clone, Debug)]
enum Op {
    Start {
        at: usize,
        delay: u8,
        tag: bool,
    },
    Raise {
        at: usize,
        payload: u8,
    },
    Terminate {
        at: usize,
    },
    Turn {
        at: usize,
        take: usize,
        tasks: u8,
        timer: Option<u8>,
        end: End,
    },
    /// The n-th activity that waits, over all.
    Finish {
        nth: usize,
        result: u8,
    },
    Advance {
        seconds: u8,
    },
    Reschedule {
        at: usize,
        delay: u8,
    },
    Purge {
        at: usize,
    },
    /// Close the file and open it again.
    Reopen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    GoesOn,
    Completes,
    ContinuesAsNew,
}

fn op() -> impl Strategy<Value = Op> {
    let at = 0..IDS.len();
    let end = prop_oneof![
        6 => Just(End::GoesOn),
        2 => Just(End::Completes),
        1 => Just(End::ContinuesAsNew),
    ];
    let turn = (
        at.clone(),
        1_usize..4,
        0_u8..3,
        proptest::option::of(0_u8..20),
        end,
    )
        .prop_map(|(at, take, tasks, timer, end)| Op::Turn {
            at,
            take,
            tasks,
            timer,
            end,
        });
    prop_oneof![
        3 => (at.clone(), prop_oneof![2 => Just(0_u8), 1 => 1_u8..20], any::<bool>())
            .prop_map(|(at, delay, tag)| Op::Start { at, delay, tag }),
        3 => (at.clone(), any::<u8>()).prop_map(|(at, payload)| Op::Raise { at, payload }),
        1 => at.clone().prop_map(|at| Op::Terminate { at }),
        8 => turn,
        5 => (0_usize..6, any::<u8>()).prop_map(|(nth, result)| Op::Finish { nth, result }),
        3 => (1_u8..10).prop_map(|seconds| Op::Advance { seconds }),
        1 => (at.clone(), 0_u8..20).prop_map(|(at, delay)| Op::Reschedule { at, delay }),
        1 => at.prop_map(|at| Op::Purge { at }),
        1 => Just(Op::Reopen),
    ]
}

/// An event, as far as the two are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Started,
    Raised(String),
    Terminated,
    Scheduled(i32),
    Done(i32, String),
    TimerSet(i32),
    Fired(i32),
    Ended(i32),
    Other,
}

impl Told {
    fn of(event: &HistoryEvent) -> Self {
        match &event.event_type {
            Some(Event::ExecutionStarted(_)) => Self::Started,
            Some(Event::EventRaised(e)) => Self::Raised(e.input.clone().unwrap_or_default()),
            Some(Event::ExecutionTerminated(_)) => Self::Terminated,
            Some(Event::TaskScheduled(_)) => Self::Scheduled(event.event_id),
            Some(Event::TaskCompleted(e)) => {
                Self::Done(e.task_scheduled_id, e.result.clone().unwrap_or_default())
            }
            Some(Event::TimerCreated(_)) => Self::TimerSet(event.event_id),
            Some(Event::TimerFired(e)) => Self::Fired(e.timer_id),
            Some(Event::ExecutionCompleted(e)) => Self::Ended(e.orchestration_status),
            _ => Self::Other,
        }
    }
}

/// One instance of the model.
#[derive(Clone, Debug)]
struct One {
    order: u64,
    execution: u64,
    status: Status,
    /// When a scheduled start happens.
    held: Option<i64>,
    tagged: bool,
    inbox: Vec<Told>,
    history: Vec<Told>,
    timers: Vec<(i64, u64, i32)>,
    next_id: i32,
    turns: usize,
}

/// The plain model.
#[derive(Debug, Default)]
struct Model {
    now: i64,
    number: u64,
    instances: BTreeMap<&'static str, One>,
    /// Instance, execution and task of each activity that waits, in order.
    activities: Vec<(&'static str, u64, i32)>,
}

impl Model {
    fn number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn start(&mut self, id: &'static str, delay: u8, tagged: bool) -> bool {
        if self.instances.get(id).is_some_and(|one| !ended(one.status)) {
            return false;
        }
        let (order, execution) = (self.number(), self.number());
        let one = One {
            order,
            execution,
            status: Status::Pending,
            held: (delay > 0).then(|| self.now + i64::from(delay)),
            tagged,
            inbox: vec![Told::Started],
            history: vec![],
            timers: vec![],
            next_id: 0,
            turns: 0,
        };
        self.instances.insert(id, one);
        true
    }

    fn tell(&mut self, id: &str, told: Told) -> bool {
        let Some(one) = self.instances.get_mut(id) else {
            return false;
        };
        if ended(one.status) {
            return true;
        }
        if one.held.is_some() && told == Told::Terminated {
            // No worker has seen it, so it ends without one.
            one.history.append(&mut one.inbox);
            one.history
                .extend([told, Told::Ended(Status::Terminated as i32)]);
            one.held = None;
            one.status = Status::Terminated;
        } else {
            one.inbox.push(told);
        }
        true
    }

    fn turn(&mut self, id: &'static str, take: usize, actions: &Actions) {
        let now = self.now;
        let execution = self.number();
        let mut scheduled = Vec::new();
        let mut numbers = self.number;
        let Some(one) = self.instances.get_mut(id) else {
            return;
        };
        one.status = Status::Running;
        let mut taken: Vec<Told> = one.inbox.drain(..take).collect();
        one.history.append(&mut taken);
        for task in &actions.tasks {
            one.history.push(Told::Scheduled(*task));
            scheduled.push((id, one.execution, *task));
        }
        if let Some((timer, delay)) = actions.timer {
            one.history.push(Told::TimerSet(timer));
            numbers += 1;
            one.timers.push((now + i64::from(delay), numbers, timer));
        }
        one.next_id = actions.next_id;
        one.turns += 1;
        match actions.end {
            End::GoesOn => {}
            End::Completes => {
                one.history.push(Told::Ended(Status::Completed as i32));
                one.status = Status::Completed;
                one.inbox.clear();
                one.timers.clear();
            }
            End::ContinuesAsNew => {
                // Of what is not taken yet, only what came from outside goes on.
                one.inbox
                    .retain(|told| matches!(told, Told::Raised(_) | Told::Terminated));
                one.inbox.insert(0, Told::Started);
                one.history.clear();
                one.timers.clear();
                one.execution = execution;
                one.next_id = 0;
                one.turns = 0;
            }
        }
        self.number = numbers;
        self.activities.extend(scheduled);
    }

    fn finish(&mut self, nth: usize, result: &str) {
        let (id, execution, task) = self.activities.remove(nth);
        if let Some(one) = self.instances.get_mut(id)
            && one.execution == execution
            && !ended(one.status)
        {
            one.inbox.push(Told::Done(task, result.to_owned()));
        }
    }

    fn advance(&mut self, seconds: u8) {
        self.now += i64::from(seconds);
        let now = self.now;
        for one in self.instances.values_mut() {
            one.held = one.held.filter(|at| *at > now);
            let (mut due, later) = std::mem::take(&mut one.timers)
                .into_iter()
                .partition::<Vec<_>, _>(|(at, ..)| *at <= now);
            one.timers = later;
            due.sort_unstable();
            one.inbox
                .extend(due.into_iter().map(|(.., timer)| Told::Fired(timer)));
        }
    }

    fn purge(&mut self, id: &str) -> bool {
        let gone = self.instances.get(id).is_some_and(|one| ended(one.status));
        if gone {
            self.instances.remove(id);
        }
        gone
    }
}

const fn ended(status: Status) -> bool {
    matches!(status, Status::Completed | Status::Terminated)
}

/// What a turn answers.
struct Actions {
    tasks: Vec<i32>,
    timer: Option<(i32, u8)>,
    end: End,
    next_id: i32,
}

impl Actions {
    fn new(first: i32, tasks: u8, timer: Option<u8>, end: End) -> Self {
        let ids: Vec<i32> = (0..i32::from(tasks)).map(|n| first + n).collect();
        let next = first + i32::from(tasks);
        Self {
            tasks: ids,
            timer: timer.map(|delay| (next, delay)),
            end,
            next_id: next + 1,
        }
    }

    fn response(&self, now: DateTime<Utc>) -> OrchestratorResponse {
        let mut actions: Vec<OrchestratorAction> = Vec::new();
        let mut push = |id, action| {
            actions.push(OrchestratorAction {
                id,
                orchestrator_action_type: Some(action),
            });
        };
        for task in &self.tasks {
            let name = "step".to_owned();
            push(
                *task,
                Action::ScheduleTask(ScheduleTaskAction {
                    name,
                    ..Default::default()
                }),
            );
        }
        if let Some((timer, delay)) = self.timer {
            let fire_at = Some(timestamp(now + chrono::TimeDelta::seconds(delay.into())));
            push(timer, Action::CreateTimer(CreateTimerAction { fire_at }));
        }
        let status = match self.end {
            End::GoesOn => None,
            End::Completes => Some(Status::Completed),
            End::ContinuesAsNew => Some(Status::ContinuedAsNew),
        };
        if let Some(status) = status {
            let complete = CompleteOrchestrationAction {
                orchestration_status: status as i32,
                ..Default::default()
            };
            push(self.next_id, Action::CompleteOrchestration(complete));
        }
        OrchestratorResponse {
            actions,
            ..Default::default()
        }
    }
}

/// The store, driven as the writer thread drives it.
struct Sql {
    folder: tempfile::TempDir,
    conn: Connection,
    ids: Counters,
    now: DateTime<Utc>,
    executions: u64,
}

impl Sql {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let conn = Self::connect(&folder);
        schema::ensure_hubs(&conn, &["default".to_owned()]).unwrap();
        let ids = pending::counters(&conn).unwrap();
        Self {
            folder,
            conn,
            ids,
            now: DateTime::<Utc>::from_timestamp(1_700_000_000, 0).unwrap(),
            executions: 0,
        }
    }

    fn connect(folder: &tempfile::TempDir) -> Connection {
        let conn = schema::open_file(&folder.path().join("model.sqlite3")).unwrap();
        // What is compared here is content; flushes have tests of their own.
        conn.pragma_update(None, "synchronous", "OFF").unwrap();
        conn
    }

    fn reopen(&mut self) {
        let conn = Self::connect(&self.folder);
        self.conn = conn;
        self.ids = pending::counters(&self.conn).unwrap();
    }

    fn write<T>(
        &mut self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut tx = Tx {
            conn: &self.conn,
            notes: Vec::new(),
            now: self.now,
            ids: &mut self.ids,
        };
        let outcome = work(&mut tx);
        let end = if outcome.is_ok() {
            "COMMIT"
        } else {
            "ROLLBACK"
        };
        self.conn.execute_batch(end).unwrap();
        outcome
    }

    fn execution(&mut self) -> String {
        self.executions += 1;
        format!("e{}", self.executions)
    }

    fn start(&mut self, id: &str, delay: u8, tagged: bool) -> bool {
        let started = ExecutionStartedEvent {
            name: "Hello".to_owned(),
            orchestration_instance: Some(OrchestrationInstance {
                instance_id: id.to_owned(),
                execution_id: Some(self.execution()),
            }),
            scheduled_start_timestamp: (delay > 0)
                .then(|| timestamp(self.now + chrono::TimeDelta::seconds(delay.into()))),
            tags: tagged
                .then(|| ("colour".to_owned(), "red".to_owned()))
                .into_iter()
                .collect(),
            ..Default::default()
        };
        let start = Start {
            hub: HUB,
            started,
            policy: None,
            parent_key: None,
        };
        self.write(|tx| tx.start(&start)).is_ok()
    }

    fn turn(&mut self, id: &str, take: usize, actions: &Actions) {
        let next_execution_id = self.execution();
        let now = self.now;
        self.write(|tx| {
            let slim = tx.slim_by_id(HUB, id)?.unwrap();
            let key = slim.header.key;
            let events: Vec<(i64, HistoryEvent)> = inbox(tx.conn, key, usize::MAX)?
                .into_iter()
                .take(take)
                .collect();
            tx.complete_turn(FinishedTurn {
                key,
                execution_id: slim.header.execution_id,
                through: events.last().unwrap().0,
                delivered: events.into_iter().map(|(_, event)| event).collect(),
                response: actions.response(now),
                next_execution_id: next_execution_id.clone(),
                max_history: u64::MAX,
            })
        })
        .unwrap();
    }

    /// The rows of activities that wait, in order: id, instance key, request.
    fn activities(&self) -> Vec<(i64, i64, ActivityRequest)> {
        let mut select = self
            .conn
            .prepare("SELECT id, instance, request FROM activities ORDER BY id")
            .unwrap();
        let rows = select
            .query_map([], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, Vec<u8>>(2)?))
            })
            .unwrap();
        rows.map(|row| {
            let (id, instance, bytes) = row.unwrap();
            (id, instance, ActivityRequest::decode(&*bytes).unwrap())
        })
        .collect()
    }

    /// Those of them that their instance waits for still: instance and task.
    fn awaited(&self) -> Vec<(String, i32)> {
        self.activities()
            .into_iter()
            .filter_map(|(_, _, request)| {
                let of = request.orchestration_instance?;
                let (_, state) = state(&self.conn, HUB, &of.instance_id, false).unwrap()?;
                (state.execution_id == of.execution_id).then_some((of.instance_id, request.task_id))
            })
            .collect()
    }
}

/// Does the same to both and compares what they answer.
fn apply(op: &Op, model: &mut Model, sql: &mut Sql) -> Result<(), TestCaseError> {
    match *op {
        Op::Start { at, delay, tag } => {
            let id = IDS[at];
            prop_assert_eq!(model.start(id, delay, tag), sql.start(id, delay, tag));
        }
        Op::Raise { at, payload } => {
            let id = IDS[at];
            let known = model.tell(id, Told::Raised(payload.to_string()));
            let raised = EventRaisedEvent {
                name: "go".to_owned(),
                input: Some(payload.to_string()),
            };
            let outcome = sql.write(|tx| tx.raise(HUB, id, Event::EventRaised(raised)));
            prop_assert_eq!(known, outcome.is_ok());
        }
        Op::Terminate { at } => {
            let id = IDS[at];
            let known = model.tell(id, Told::Terminated);
            let terminated = Event::ExecutionTerminated(ExecutionTerminatedEvent::default());
            prop_assert_eq!(known, sql.write(|tx| tx.raise(HUB, id, terminated)).is_ok());
        }
        Op::Turn {
            at,
            take,
            tasks,
            timer,
            end,
        } => {
            let id = IDS[at];
            let Some(one) = model.instances.get(id) else {
                return Ok(());
            };
            if one.held.is_some() || one.inbox.is_empty() || ended(one.status) {
                return Ok(());
            }
            let take = take.min(one.inbox.len());
            let actions = Actions::new(one.next_id, tasks, timer, end);
            model.turn(id, take, &actions);
            sql.turn(id, take, &actions);
        }
        Op::Finish { nth, result } => {
            // By what is awaited, for both count those alike.
            let awaited = sql.awaited();
            let Some((id, task)) = awaited.get(nth).cloned() else {
                return Ok(());
            };
            let Some(place) = model
                .activities
                .iter()
                .position(|(each, execution, number)| {
                    *each == id
                        && *number == task
                        && model
                            .instances
                            .get(each)
                            .is_some_and(|one| one.execution == *execution)
                })
            else {
                return Err(TestCaseError::fail(format!(
                    "the model awaits no {id} {task}"
                )));
            };
            model.finish(place, &result.to_string());
            let (row, instance, request) = sql
                .activities()
                .into_iter()
                .find(|(_, _, request)| {
                    request.task_id == task
                        && request.orchestration_instance.as_ref().is_some_and(|of| {
                            of.instance_id == id && {
                                let found = state(&sql.conn, HUB, &id, false).unwrap();
                                found.is_some_and(|(_, s)| s.execution_id == of.execution_id)
                            }
                        })
                })
                .unwrap();
            let answer = ActivityAnswer::Completed(Some(result.to_string()));
            sql.write(|tx| tx.complete_activity(row, instance, &request, &answer))
                .unwrap();
            let again = sql.write(|tx| tx.complete_activity(row, instance, &request, &answer));
            prop_assert!(
                matches!(again, Err(StoreError::WorkItemGone)),
                "{:?}",
                again
            );
        }
        Op::Advance { seconds } => {
            model.advance(seconds);
            sql.now += chrono::TimeDelta::seconds(seconds.into());
            sql.write(|tx| tx.fire_due(u32::MAX)).unwrap();
        }
        Op::Reschedule { at, delay } => {
            let id = IDS[at];
            let when = timestamp(sql.now + chrono::TimeDelta::seconds(delay.into()));
            let outcome = sql.write(|tx| tx.reschedule(HUB, id, when));
            let now = model.now;
            let held = model.instances.get_mut(id).filter(|one| one.held.is_some());
            prop_assert_eq!(held.is_some(), outcome.is_ok());
            if let Some(one) = held {
                one.held = Some(now + i64::from(delay));
            }
            // A time that has come is fired as the timer loop would.
            model.advance(0);
            sql.write(|tx| tx.fire_due(u32::MAX)).unwrap();
        }
        Op::Purge { at } => {
            let id = IDS[at];
            let purged = sql.write(|tx| tx.purge(HUB, id, false)).unwrap();
            prop_assert_eq!(i32::from(model.purge(id)), purged);
        }
        Op::Reopen => sql.reopen(),
    }
    Ok(())
}

/// Compares everything that can be seen.
fn compare(model: &Model, sql: &Sql) -> Result<(), TestCaseError> {
    for id in IDS {
        let found = state(&sql.conn, HUB, id, true).unwrap();
        let Some(one) = model.instances.get(id) else {
            prop_assert!(found.is_none(), "{} is gone", id);
            continue;
        };
        let Some((key, stored)) = found else {
            return Err(TestCaseError::fail(format!("{id} is stored")));
        };
        prop_assert_eq!(stored.orchestration_status, one.status as i32, "{}", id);
        let waiting = inbox(&sql.conn, key, usize::MAX).unwrap();
        let waiting: Vec<Told> = waiting.iter().map(|(_, event)| Told::of(event)).collect();
        prop_assert_eq!(&waiting, &one.inbox, "the inbox of {}", id);
        let history = history_page(&sql.conn, key, 0, usize::MAX).unwrap();
        let history: Vec<Told> = history
            .events
            .iter()
            .map(Told::of)
            .filter(|told| *told != Told::Other)
            .collect();
        prop_assert_eq!(&history, &one.history, "the history of {}", id);
    }
    let mut awaited: Vec<(String, i32)> = model
        .activities
        .iter()
        .filter(|(id, execution, _)| {
            model
                .instances
                .get(id)
                .is_some_and(|one| one.execution == *execution)
        })
        .map(|(id, _, task)| ((*id).to_owned(), *task))
        .collect();
    let mut stored = sql.awaited();
    awaited.sort_unstable();
    stored.sort_unstable();
    prop_assert_eq!(stored, awaited, "the activities");

    let listed = |narrow: Narrow| -> Vec<String> {
        let page = browse(&sql.conn, HUB, &narrow, (Sort::Created, false), None, 100).unwrap();
        page.states
            .into_iter()
            .map(|state| state.instance_id)
            .collect()
    };
    let expected = |wanted: &dyn Fn(&One) -> bool| -> Vec<String> {
        let mut all: Vec<(u64, &str)> = model
            .instances
            .iter()
            .filter(|(_, one)| wanted(one))
            .map(|(id, one)| (one.order, *id))
            .collect();
        all.sort_unstable();
        all.into_iter().map(|(_, id)| id.to_owned()).collect()
    };
    prop_assert_eq!(listed(Narrow::default()), expected(&|_| true));
    let tag = Some(("colour".to_owned(), Some("red".to_owned())));
    prop_assert_eq!(
        listed(Narrow {
            tag,
            ..Narrow::default()
        }),
        expected(&|one| one.tagged)
    );
    let statuses = vec![Status::Completed as i32];
    prop_assert_eq!(
        listed(Narrow {
            statuses,
            ..Narrow::default()
        }),
        expected(&|one| one.status == Status::Completed)
    );
    let first: Option<i64> = sql
        .conn
        .query_row("SELECT min(fire_us) FROM timers", [], |row| row.get(0))
        .unwrap();
    let due = model
        .instances
        .values()
        .flat_map(|one| {
            one.held
                .into_iter()
                .chain(one.timers.iter().map(|(at, ..)| *at))
        })
        .min()
        .map(|at| (1_700_000_000 + at) * 1_000_000);
    prop_assert_eq!(first, due, "the next timer");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_store_and_the_model_agree(ops in proptest::collection::vec(op(), 1..60)) {
        let (mut model, mut sql) = (Model::default(), Sql::new());
        for op in &ops {
            apply(op, &mut model, &mut sql)?;
            compare(&model, &sql)?;
        }
    }
}
