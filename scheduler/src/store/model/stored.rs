//! The store, as the model drives it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use countersign_database::Database;
use durabletask_proto::{
    ActivityRequest, ExecutionStartedEvent, HistoryEvent, OrchestrationInstance,
};
use prost::Message as _;

use super::HUB;
use super::operations::Actions;
use crate::store::counts::Counts;
use crate::store::engine::Connection;
use crate::store::hubs::ensure_hubs;
use crate::store::instances::{Start, timestamp};
use crate::store::writer::{Counters, Tx};
use crate::store::{FinishedTurn, StoreError, inbox, pending, state, testing};

/// Where a store is kept.
#[derive(Clone)]
pub(super) enum Place {
    Folder(Arc<tempfile::TempDir>),
    Database(Box<Database>),
}

/// The store, driven as the writer thread drives it.
pub(super) struct Sql {
    place: Place,
    pub(super) conn: Connection,
    ids: Counters,
    pub(super) now: DateTime<Utc>,
    executions: u64,
    counts: Counts,
}

impl Sql {
    pub(super) fn file() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let conn = testing::file(folder.path());
        Self::over(Place::Folder(folder), conn)
    }

    /// Over a database, which is emptied before.
    pub(super) fn database(database: &Database) -> Self {
        let conn = testing::emptied(database);
        Self::over(Place::Database(Box::new(database.clone())), conn)
    }

    fn over(place: Place, conn: Connection) -> Self {
        conn.begin().unwrap();
        ensure_hubs(&conn, &["default".to_owned()]).unwrap();
        conn.commit().unwrap();
        let ids = pending::counters(&conn).unwrap();
        Self {
            place,
            conn,
            ids,
            now: DateTime::<Utc>::from_timestamp(1_700_000_000, 0).unwrap(),
            executions: 0,
            counts: Counts::default(),
        }
    }

    /// Another process takes the place of this one.
    pub(super) fn reopen(&mut self) {
        self.conn = match &self.place {
            Place::Folder(folder) => testing::file(folder.path()),
            Place::Database(database) => testing::successor(database),
        };
        self.ids = pending::counters(&self.conn).unwrap();
    }

    pub(super) fn write<T>(
        &mut self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.conn.begin().unwrap();
        let mut tx = Tx::new(&self.conn, self.now, &mut self.ids);
        let outcome = work(&mut tx);
        let changes = tx.counts;
        if outcome.is_ok() {
            self.conn.commit().unwrap();
            self.counts.apply(changes);
        } else {
            self.conn.roll_back();
        }
        let counted = Counts::load(&self.conn).unwrap();
        assert_eq!(self.counts.all(), counted.all(), "kept and counted");
        outcome
    }

    pub(super) fn execution(&mut self) -> String {
        self.executions += 1;
        format!("e{}", self.executions)
    }

    pub(super) fn start(&mut self, id: &str, delay: u8, tagged: bool) -> bool {
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

    pub(super) fn turn(&mut self, id: &str, take: usize, actions: &Actions) {
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
    pub(super) fn activities(&self) -> Vec<(i64, i64, ActivityRequest)> {
        let mut select = self
            .conn
            .prepare_cached("SELECT id, instance, request FROM activities ORDER BY id")
            .unwrap();
        let rows = select
            .query_map((), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, Vec<u8>>(2)?))
            })
            .unwrap();
        rows.map(|row| {
            let (id, instance, bytes) = row.unwrap();
            (id, instance, ActivityRequest::decode(&*bytes).unwrap())
        })
        .collect()
    }

    /// Those that their instance still waits for: instance and task.
    pub(super) fn awaited(&self) -> Vec<(String, i32)> {
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
