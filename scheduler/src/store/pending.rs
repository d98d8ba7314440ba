//! What was pending when the storage was last closed.

use super::engine::{Connection, StorageError};
use durabletask_proto::ActivityRequest;
use prost::Message;

use super::hubs::ensure_hubs;
use super::rows::{is_paused, status};
use super::writer::Counters;
use super::{EntityHeader, StoreError};

/// Work to queue again at start. Payloads stay on disk until it is dispatched.
#[derive(Debug)]
pub(crate) enum Pending {
    /// An instance with events in its inbox; those that have waited longest come first.
    Instance(PendingInstance),
    Activity(PendingActivity),
    /// An entity with an operation that can run.
    Entity(EntityHeader),
    /// When the first timer is due.
    Timer(i64),
}

/// An instance with events in its inbox.
#[derive(Debug)]
pub(crate) struct PendingInstance {
    pub(crate) hub: i64,
    pub(crate) key: i64,
    pub(crate) instance_id: String,
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    /// Whether it is kept from workers.
    pub(crate) paused: bool,
}

/// An activity that nobody has completed.
#[derive(Debug)]
pub(crate) struct PendingActivity {
    pub(crate) hub: i64,
    pub(crate) instance: i64,
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    /// The version of its orchestration.
    pub(crate) wanted_by: Option<String>,
}

/// Passes on what is pending, one after the other: there may be millions. Creates missing task hubs
/// before, and removes what is left of deleted ones.
pub(crate) fn load(
    conn: &Connection,
    hubs: &[String],
    found: &mut dyn FnMut(Pending),
) -> Result<(), StorageError> {
    conn.begin()?;
    if let Err(error) = tidy(conn, hubs).and_then(|()| conn.commit()) {
        conn.roll_back();
        return Err(error);
    }
    // Only numbers are sorted, and the rest is looked up.
    let mut select = conn.prepare_cached(
        "SELECT i.hub, i.key, i.id, i.name, i.version, i.status, i.next_seq
         FROM (SELECT instance, min(seq) AS first FROM inbox GROUP BY instance ORDER BY first) b
         CROSS JOIN instances i ON i.key = b.instance WHERE i.held = 0 ORDER BY b.first",
    )?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        let has_history = row.get::<_, i64>(6)? > 0;
        found(Pending::Instance(PendingInstance {
            hub: row.get(0)?,
            key: row.get(1)?,
            instance_id: row.get(2)?,
            name: row.get(3)?,
            version: row.get(4)?,
            paused: is_paused(status(row.get(5)?), has_history),
        }));
    }
    let mut select = conn.prepare_cached(
        "SELECT i.hub, a.instance, a.id, a.request, i.version FROM activities a JOIN instances i ON i.key = a.instance ORDER BY a.id",
    )?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        let bytes: Vec<u8> = row.get(3)?;
        let request = ActivityRequest::decode(&*bytes).unwrap_or_default();
        found(Pending::Activity(PendingActivity {
            hub: row.get(0)?,
            instance: row.get(1)?,
            id: row.get(2)?,
            name: request.name,
            version: request.version,
            wanted_by: row.get(4)?,
        }));
    }
    super::entities::runnable(conn, &mut |header| found(Pending::Entity(header)))?;
    let first_timer: Option<i64> =
        conn.query_row("SELECT min(fire_us) FROM timers", (), |row| row.get(0))?;
    if let Some(at) = first_timer {
        found(Pending::Timer(at));
    }
    Ok(())
}

fn tidy(conn: &Connection, hubs: &[String]) -> Result<(), StorageError> {
    ensure_hubs(conn, hubs)?;
    clear_deleted_hubs(conn)?;
    // Nobody waits for the result of a purged instance's activity.
    conn.prepare_cached("DELETE FROM activities WHERE instance NOT IN (SELECT key FROM instances)")?
        .run(())
}

/// Removes the rest of task hubs that were being deleted when the process ended.
fn clear_deleted_hubs(conn: &Connection) -> Result<(), StorageError> {
    const LEFT: &str = "SELECT key FROM instances WHERE hub NOT IN (SELECT id FROM hubs)
        UNION ALL SELECT key FROM entities WHERE hub NOT IN (SELECT id FROM hubs)";
    if !conn.prepare_cached(LEFT)?.exists(())? {
        return Ok(());
    }
    for (table, column) in [
        ("payloads", "instance"),
        ("history", "instance"),
        ("inbox", "instance"),
        ("timers", "instance"),
        ("activities", "instance"),
        ("entity_inbox", "entity"),
    ] {
        conn.prepare_cached(&format!("DELETE FROM {table} WHERE {column} IN ({LEFT})"))?
            .run(())?;
    }
    for table in ["instances", "entities"] {
        let sql = format!("DELETE FROM {table} WHERE hub NOT IN (SELECT id FROM hubs)");
        conn.prepare_cached(&sql)?.run(())?;
    }
    Ok(())
}

pub(crate) fn counters(conn: &Connection) -> Result<Counters, StorageError> {
    let max = |sql: &str| conn.query_row(sql, (), |row| row.get::<_, i64>(0));
    Ok(Counters {
        instance: max("SELECT coalesce(max(key), 0) FROM instances")?
            .max(max("SELECT coalesce(max(instance), 0) FROM activities")?)
            .max(max("SELECT coalesce(max(key), 0) FROM entities")?)
            // A purged parent's number must not make others' children its own.
            .max(max(
                "SELECT coalesce(max(parent_key), 0) FROM instances WHERE parent_key IS NOT NULL",
            )?),
        // The lowest bit of an inbox's numbers has a meaning of its own.
        inbox: (max("SELECT coalesce(max(seq), 0) FROM inbox")? >> 1)
            .max(max("SELECT coalesce(max(seq), 0) FROM entity_inbox")?),
        activity: max("SELECT coalesce(max(id), 0) FROM activities")?,
        timer: max("SELECT coalesce(max(id), 0) FROM timers")?,
    })
}

impl super::Store {
    /// The request of an activity that is still pending.
    pub(crate) async fn activity(&self, id: i64) -> Result<Option<ActivityRequest>, StoreError> {
        use super::engine::OptionalExtension;
        self.read(move |conn| {
            let bytes: Option<Vec<u8>> = conn
                .prepare_cached("SELECT request FROM activities WHERE id = ?1")?
                .query_row([id], |row| row.get(0))
                .optional()?;
            Ok(bytes
                .map(|bytes| ActivityRequest::decode(&*bytes))
                .transpose()?)
        })
        .await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_deleted_hub_is_not_pending() {
        let conn = super::super::schema::open_memory().unwrap();
        conn.execute_batch(
            "INSERT INTO hubs (id, name) VALUES (1, 'kept');
             INSERT INTO instances SELECT column1, column2, 'a', 'e', 'Hello', NULL, 0, 0, 0, 1, 1,
                 NULL, NULL, NULL, NULL, x'', NULL, 0, 0, NULL, NULL, 0 FROM (VALUES (10, 1), (20, 2));
             INSERT INTO payloads (instance) VALUES (10), (20);
             INSERT INTO history VALUES (10, 0, x''), (20, 0, x'');
             INSERT INTO inbox VALUES (10, 1, x''), (20, 2, x'');
             INSERT INTO timers VALUES (10, 1, 5, x''), (20, 2, 4, x'');
             INSERT INTO activities VALUES (1, 10, x''), (2, 20, x'');
             INSERT INTO entities (key, hub, id, modified_us) VALUES (30, 2, '@e@k', 1), (40, 1, '@e@k', 1);
             INSERT INTO entity_inbox VALUES (30, 3, 0, NULL, NULL, x''), (40, 4, 0, NULL, NULL, x'');",
        )
        .unwrap();
        let mut found = Vec::new();
        load(&conn, &[], &mut |pending| {
            found.push(match pending {
                Pending::Instance(instance) => ("instance", instance.key),
                Pending::Activity(activity) => ("activity", activity.instance),
                Pending::Entity(entity) => ("entity", entity.key),
                Pending::Timer(at) => ("timer", at),
            });
        })
        .unwrap();
        let expected = [
            ("instance", 10),
            ("activity", 10),
            ("entity", 40),
            ("timer", 5),
        ];
        assert_eq!(found, expected);
        for table in [
            "instances",
            "payloads",
            "history",
            "inbox",
            "timers",
            "activities",
            "entities",
            "entity_inbox",
        ] {
            let count: i64 = conn
                .query_row(&format!("SELECT count(*) FROM {table}"), (), |row| {
                    row.get(0)
                })
                .unwrap();
            assert_eq!(count, 1, "{table}");
        }
    }
}
