//! The store's entities against a plain model: the same random commands must leave the
//! same queues, locks, grants and order of execution.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::engine::Connection;
use chrono::{DateTime, Utc};
use durabletask_proto::history_event::EventType;
use durabletask_proto::operation_result::ResultType;
use durabletask_proto::{
    EntityBatchResult, EntityOperationCalledEvent, EntityOperationSignaledEvent,
    ExecutionStartedEvent, OperationResult, OperationResultSuccess, OrchestrationInstance,
};
use durabletask_scheduler_core::{Caller, EntityMessage, LockRequest, OperationMessage, event};
use proptest::prelude::*;

use super::instances::Start;
use super::pending::counters;
use super::writer::{Counters, Tx};
use super::{EntityBatch, Note, entity_batch, inbox, schema, testing};

const HUB: i64 = 1;
const ENTITIES: usize = 3;
const HOLDERS: usize = 3;

#[derive(Clone, Debug)]
enum Command {
    Signal(usize),
    Call(usize, usize),
    /// A lock of the entities of a bit set; an orchestration asks once.
    Lock(usize, u8),
    Unlock(usize, usize),
    /// A worker takes the next batch of an entity.
    Take(usize),
    /// It reports this many results.
    Finish(usize, usize),
    /// The orchestration was removed.
    End(usize),
}

fn command() -> impl Strategy<Value = Command> {
    let (entity, holder) = (0..ENTITIES, 0..HOLDERS);
    prop_oneof![
        3 => entity.clone().prop_map(Command::Signal),
        3 => (holder.clone(), entity.clone()).prop_map(|(o, e)| Command::Call(o, e)),
        2 => (holder.clone(), 1..8_u8).prop_map(|(o, set)| Command::Lock(o, set)),
        2 => (holder.clone(), entity.clone()).prop_map(|(o, e)| Command::Unlock(o, e)),
        4 => entity.clone().prop_map(Command::Take),
        4 => (entity, 0..4_usize).prop_map(|(e, n)| Command::Finish(e, n)),
        1 => holder.prop_map(Command::End),
    ]
}

fn entity_id(entity: usize) -> String {
    format!("@e@{entity}")
}

fn holder_id(holder: usize) -> String {
    format!("o{holder}")
}

fn lock_set(set: u8) -> Vec<usize> {
    (0..ENTITIES).filter(|e| set & (1 << e) != 0).collect()
}

// The model.

#[derive(Clone, Debug, PartialEq)]
enum Waiting {
    Operation { id: usize, caller: Option<usize> },
    Lock { holder: usize, set: Vec<usize> },
}

#[derive(Debug, Default)]
struct Entity {
    queue: VecDeque<Waiting>,
    locked_by: Option<usize>,
    out: Option<Vec<usize>>,
    done: Vec<usize>,
}

#[derive(Debug, Default)]
struct Model {
    entities: Vec<Entity>,
    ended: BTreeSet<usize>,
    granted: BTreeSet<usize>,
}

impl Model {
    fn push(&mut self, entity: usize, waiting: Waiting) {
        self.entities[entity].queue.push_back(waiting);
        self.settle(entity);
    }

    fn settle(&mut self, entity: usize) {
        while self.entities[entity].locked_by.is_none() {
            let Some(Waiting::Lock { holder, set }) = self.entities[entity].queue.front().cloned()
            else {
                return;
            };
            self.entities[entity].queue.pop_front();
            if self.ended.contains(&holder) {
                continue;
            }
            self.entities[entity].locked_by = Some(holder);
            match set.iter().find(|next| **next > entity) {
                Some(next) => self.push(*next, Waiting::Lock { holder, set }),
                None => {
                    self.granted.insert(holder);
                }
            }
        }
    }

    fn release(&mut self, entity: usize, holder: usize) {
        if self.entities[entity].locked_by == Some(holder) {
            self.entities[entity].locked_by = None;
            self.settle(entity);
        }
    }

    fn runnable(&self, entity: usize) -> Vec<usize> {
        let entity = &self.entities[entity];
        let mut runnable = Vec::new();
        for waiting in &entity.queue {
            match (waiting, entity.locked_by) {
                (Waiting::Operation { id, .. }, None) => runnable.push(*id),
                (Waiting::Lock { .. }, None) => break,
                (
                    Waiting::Operation {
                        id,
                        caller: Some(caller),
                    },
                    Some(holder),
                ) if *caller == holder => runnable.push(*id),
                _ => {}
            }
        }
        runnable
    }

    fn finish(&mut self, entity: usize, results: usize) {
        let Some(out) = self.entities[entity].out.take() else {
            return;
        };
        for id in out.into_iter().take(results) {
            self.entities[entity].done.push(id);
            self.entities[entity].queue.retain(
                |waiting| !matches!(waiting, Waiting::Operation { id: other, .. } if *other == id),
            );
        }
        self.settle(entity);
    }
}

// The store.

struct Stored {
    conn: Connection,
    ids: Counters,
    out: BTreeMap<usize, (i64, EntityBatch)>,
    done: Vec<Vec<usize>>,
    /// Whether dispatch was last told that an entity has something to run, by its key.
    told: BTreeMap<i64, bool>,
}

impl Stored {
    fn new(conn: Connection) -> Self {
        let ids = counters(&conn).unwrap();
        let mut stored = Self {
            conn,
            ids,
            out: BTreeMap::new(),
            done: vec![Vec::new(); ENTITIES],
            told: BTreeMap::new(),
        };
        for holder in 0..HOLDERS {
            stored.write(|tx| {
                tx.start(&Start {
                    hub: HUB,
                    started: ExecutionStartedEvent {
                        name: "story".into(),
                        orchestration_instance: Some(OrchestrationInstance {
                            instance_id: holder_id(holder),
                            execution_id: Some("e".into()),
                        }),
                        ..Default::default()
                    },
                    policy: None,
                    parent_key: None,
                })
                .unwrap();
            });
        }
        stored
    }

    fn write(&mut self, work: impl FnOnce(&mut Tx<'_>)) {
        self.conn.begin().unwrap();
        let mut tx = Tx::new(&self.conn, DateTime::<Utc>::UNIX_EPOCH, &mut self.ids);
        work(&mut tx);
        self.conn.commit().unwrap();
        for note in tx.notes {
            match note {
                Note::Entity { header, runnable } => {
                    self.told.insert(header.key, runnable);
                }
                Note::EntityGone { key, .. } => {
                    self.told.remove(&key);
                }
                _ => {}
            }
        }
    }

    fn send(&mut self, message: EntityMessage) {
        self.write(|tx| tx.entity_messages(HUB, [message]).unwrap());
    }

    fn key(&self, entity: usize) -> Option<i64> {
        self.conn
            .query_row(
                "SELECT key FROM entities WHERE id = ?1",
                [entity_id(entity)],
                |row| row.get(0),
            )
            .ok()
    }

    fn locked_by(&self, entity: usize) -> Option<String> {
        self.conn
            .query_row(
                "SELECT locked_by FROM entities WHERE id = ?1",
                [entity_id(entity)],
                |row| row.get(0),
            )
            .unwrap_or(None)
    }

    fn runnable(&self, entity: usize) -> Vec<usize> {
        self.key(entity)
            .and_then(|key| entity_batch(&self.conn, key, usize::MAX).unwrap())
            .map_or_else(Vec::new, |batch| ids(&batch))
    }

    fn granted(&self, holder: usize) -> bool {
        let key: Option<i64> = self
            .conn
            .query_row(
                "SELECT key FROM instances WHERE id = ?1",
                [holder_id(holder)],
                |row| row.get(0),
            )
            .ok();
        key.is_some_and(|key| {
            inbox(&self.conn, key, usize::MAX)
                .unwrap()
                .iter()
                .any(|(_, event)| matches!(event.event_type, Some(EventType::EntityLockGranted(_))))
        })
    }
}

fn ids(batch: &EntityBatch) -> Vec<usize> {
    batch
        .operations
        .iter()
        .map(|(_, event)| match event.event_type.as_ref().unwrap() {
            EventType::EntityOperationCalled(call) => call.request_id.parse().unwrap(),
            EventType::EntityOperationSignaled(signal) => signal.request_id.parse().unwrap(),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn operation(id: usize, entity: usize, caller: Option<usize>) -> EntityMessage {
    let now = prost_types::Timestamp::default();
    let event_type = match caller {
        Some(caller) => EventType::EntityOperationCalled(EntityOperationCalledEvent {
            request_id: id.to_string(),
            parent_instance_id: Some(holder_id(caller)),
            parent_execution_id: Some("e".into()),
            ..Default::default()
        }),
        None => EventType::EntityOperationSignaled(EntityOperationSignaledEvent {
            request_id: id.to_string(),
            ..Default::default()
        }),
    };
    EntityMessage::Operation(Box::new(OperationMessage {
        entity_id: entity_id(entity),
        event: event(-1, now, event_type),
        caller: caller.map(|caller| Caller {
            instance_id: holder_id(caller),
            execution_id: "e".into(),
        }),
        due: None,
    }))
}

fn agree(commands: Vec<Command>, mut stored: Stored) -> Result<(), TestCaseError> {
    let mut model = Model {
        entities: (0..ENTITIES).map(|_| Entity::default()).collect(),
        ..Model::default()
    };
    let mut asked = BTreeSet::new();
    for (id, command) in commands.into_iter().enumerate() {
        match command {
            Command::Signal(entity) => {
                model.push(entity, Waiting::Operation { id, caller: None });
                stored.send(operation(id, entity, None));
            }
            Command::Call(holder, entity) => {
                model.push(
                    entity,
                    Waiting::Operation {
                        id,
                        caller: Some(holder),
                    },
                );
                stored.send(operation(id, entity, Some(holder)));
            }
            Command::Lock(holder, set) => {
                if !asked.insert(holder) {
                    continue;
                }
                let set = lock_set(set);
                model.push(
                    set[0],
                    Waiting::Lock {
                        holder,
                        set: set.clone(),
                    },
                );
                stored.send(EntityMessage::Lock(LockRequest {
                    critical_section_id: "s".into(),
                    lock_set: set.into_iter().map(entity_id).collect(),
                    position: 0,
                    caller: Caller {
                        instance_id: holder_id(holder),
                        execution_id: "e".into(),
                    },
                }));
            }
            Command::Unlock(holder, entity) => {
                model.release(entity, holder);
                stored.send(EntityMessage::Unlock {
                    entity_id: entity_id(entity),
                    critical_section_id: "s".into(),
                    instance_id: holder_id(holder),
                });
            }
            Command::Take(entity) => {
                let runnable = model.runnable(entity);
                if model.entities[entity].out.is_some() || runnable.is_empty() {
                    continue;
                }
                let key = stored.key(entity).unwrap();
                let batch = entity_batch(&stored.conn, key, usize::MAX)
                    .unwrap()
                    .unwrap();
                prop_assert_eq!(ids(&batch), runnable.clone());
                model.entities[entity].out = Some(runnable);
                stored.out.insert(entity, (key, batch));
            }
            Command::Finish(entity, results) => {
                // Without a result the service gives the batch back instead.
                let Some((key, batch)) = stored.out.remove(&entity) else {
                    continue;
                };
                let results = results.clamp(1, batch.operations.len());
                model.finish(entity, results);
                stored.done[entity].extend(ids(&batch).into_iter().take(results));
                let result = EntityBatchResult {
                    results: vec![
                        OperationResult {
                            result_type: Some(ResultType::Success(
                                OperationResultSuccess::default()
                            )),
                        };
                        results
                    ],
                    ..EntityBatchResult::default()
                };
                stored.write(|tx| tx.complete_batch(key, &batch, &result).unwrap());
            }
            Command::End(holder) => {
                if !model.ended.insert(holder) {
                    continue;
                }
                model.granted.remove(&holder);
                // In the store's order: that of their keys.
                let mut held: Vec<usize> = (0..ENTITIES)
                    .filter(|entity| model.entities[*entity].locked_by == Some(holder))
                    .collect();
                held.sort_by_key(|entity| stored.key(*entity));
                for entity in held {
                    model.release(entity, holder);
                }
                stored.write(|tx| {
                    let id = holder_id(holder);
                    let slim = tx.slim_by_id(HUB, &id).unwrap().unwrap();
                    tx.remove(HUB, slim.header.key, &id).unwrap();
                });
            }
        }
        for entity in 0..ENTITIES {
            let expected = &model.entities[entity];
            prop_assert_eq!(stored.locked_by(entity), expected.locked_by.map(holder_id));
            prop_assert_eq!(stored.runnable(entity), model.runnable(entity));
            prop_assert_eq!(&stored.done[entity], &expected.done);
            // Dispatch knows of everything that could run and is not at a worker.
            if expected.out.is_none() {
                let told = stored
                    .key(entity)
                    .and_then(|key| stored.told.get(&key).copied());
                prop_assert_eq!(told.unwrap_or(false), !model.runnable(entity).is_empty());
            }
            // An entity without content is removed.
            let idle = expected.queue.is_empty() && expected.locked_by.is_none();
            prop_assert_eq!(stored.key(entity).is_none(), idle);
        }
        for holder in 0..HOLDERS {
            prop_assert_eq!(stored.granted(holder), model.granted.contains(&holder));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn store_and_model_agree(commands in proptest::collection::vec(command(), 1..80)) {
        agree(commands, Stored::new(schema::open_memory().unwrap()))?;
    }
}

#[test]
fn store_on_postgresql_and_model_agree() {
    let Some((_, database)) = testing::database() else {
        return;
    };
    proptest!(ProptestConfig::with_cases(40), |(commands in proptest::collection::vec(command(), 1..80))| {
        agree(commands, Stored::new(testing::emptied(&database)))?;
    });
}
