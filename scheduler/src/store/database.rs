//! The database that several nodes share: its tables, and how it is opened.

use countersign_database::{Database, DatabaseError, Look, Migration, Schema};

use crate::OpenError;
use crate::config::DatabaseStorage;

/// The task hubs' tables.
const SCHEMA: Schema = Schema {
    name: "durabletask",
    // `DTDB` and the number of its use.
    lock: 0x4454_4442_0001,
    migrations: &[
        Migration {
            number: 1,
            sql: include_str!("../../migrations/0001_hubs.sql"),
            tables: &[
                "hubs",
                "instances",
                "payloads",
                "history",
                "inbox",
                "activities",
                "timers",
                "entities",
                "entity_inbox",
                "tags",
                "nodes",
                "ownership",
                "terms",
            ],
            needs: 1,
        },
        Migration {
            number: 2,
            sql: include_str!("../../migrations/0002_peers.sql"),
            tables: &[],
            needs: 1,
        },
    ],
};

/// Opens the database, and brings the schema up.
pub(super) fn open(storage: &DatabaseStorage) -> Result<Database, OpenError> {
    let storage = storage.clone();
    apart(async move {
        let (url, passwords) = (storage.url, storage.passwords);
        let database = Database::open_schema(url, passwords, 1, &SCHEMA).await?;
        // Its connections end with this runtime.
        database.release();
        Ok(database)
    })
}

/// Runs `work` on a thread with a runtime of its own, since this may be called by an asynchronous task.
pub(super) fn apart<T: Send>(
    work: impl Future<Output = Result<T, OpenError>> + Send,
) -> Result<T, OpenError> {
    std::thread::scope(|scope| {
        let running = std::thread::Builder::new()
            .name("scheduler-opener".to_owned())
            .spawn_scoped(scope, || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(OpenError::Thread)?;
                runtime.block_on(work)
            });
        running.map_err(OpenError::Thread).and_then(|running| {
            let ended = std::io::Error::other("the thread that opens the database has panicked");
            running.join().unwrap_or(Err(OpenError::Thread(ended)))
        })
    })
}

/// Connects to a database and changes nothing: what is there.
///
/// # Errors
/// [`DatabaseError`], also for what [`Scheduler::open`](crate::Scheduler::open) would find out first.
pub async fn look_database(storage: &DatabaseStorage) -> Result<Look, DatabaseError> {
    let (url, passwords) = (storage.url.clone(), storage.passwords.clone());
    let (_, look) = Database::look_schema(url, passwords, &SCHEMA).await?;
    Ok(look)
}
