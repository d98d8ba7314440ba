//! The store, on each of its engines, against a plain model in memory: the same random operations, and
//! after each of them both must agree on everything that is visible.

mod operations;
mod plain;
mod stored;

use durabletask_proto::history_event::EventType as Event;
use durabletask_proto::{
    EventRaisedEvent, ExecutionTerminatedEvent, OrchestrationStatus as Status,
};
use operations::{Actions, IDS, Op, op};
use plain::{Model, One, SeenEvent, ended};
use proptest::prelude::*;
use stored::Sql;

use super::instances::timestamp;
use super::{
    ActivityAnswer, Narrow, Slice, Sort, StoreError, browse, history_page, inbox, state, testing,
};

const HUB: i64 = 1;

/// Runs the same operation on both and compares the results.
fn apply(op: &Op, model: &mut Model, sql: &mut Sql) -> Result<(), TestCaseError> {
    match *op {
        Op::Start { at, delay, tag } => {
            let id = IDS[at];
            prop_assert_eq!(model.start(id, delay, tag), sql.start(id, delay, tag));
        }
        Op::Raise { at, payload } => {
            let id = IDS[at];
            let known = model.tell(id, SeenEvent::Raised(payload.to_string()));
            let raised = EventRaisedEvent {
                name: "go".to_owned(),
                input: Some(payload.to_string()),
            };
            let outcome = sql.write(|tx| tx.raise(HUB, id, Event::EventRaised(raised)));
            prop_assert_eq!(known, outcome.is_ok());
        }
        Op::Terminate { at } => {
            let id = IDS[at];
            let known = model.tell(id, SeenEvent::Terminated);
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
            sql.write(|tx| tx.fire_due(u32::MAX, Slice::endless()))
                .unwrap();
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
            sql.write(|tx| tx.fire_due(u32::MAX, Slice::endless()))
                .unwrap();
        }
        Op::Purge { at } => {
            let id = IDS[at];
            let purged = sql.write(|tx| tx.purge(HUB, id, false, Slice::endless()));
            let purged = purged.unwrap().deleted;
            prop_assert_eq!(i32::from(model.purge(id)), purged);
        }
        Op::Reopen => sql.reopen(),
    }
    Ok(())
}

/// Compares everything that is visible.
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
        let waiting: Vec<SeenEvent> = waiting
            .iter()
            .map(|(_, event)| SeenEvent::of(event))
            .collect();
        prop_assert_eq!(&waiting, &one.inbox, "the inbox of {}", id);
        let history = history_page(&sql.conn, key, 0, usize::MAX).unwrap();
        let history: Vec<SeenEvent> = history
            .events
            .iter()
            .map(SeenEvent::of)
            .filter(|told| *told != SeenEvent::Other)
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
        .query_row("SELECT min(fire_us) FROM timers", (), |row| row.get(0))
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

fn agree(ops: &[Op], mut sql: Sql) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    for op in ops {
        apply(op, &mut model, &mut sql)?;
        compare(&model, &sql)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_store_and_the_model_agree(ops in proptest::collection::vec(op(), 1..60)) {
        agree(&ops, Sql::file())?;
    }
}

#[test]
fn the_store_on_postgresql_and_the_model_agree() {
    let Some((_, database)) = testing::database() else {
        return;
    };
    let config = ProptestConfig {
        cases: 24,
        ..ProptestConfig::default()
    };
    proptest!(config, |(ops in proptest::collection::vec(op(), 1..60))| {
        agree(&ops, Sql::database(&database))?;
    });
}
