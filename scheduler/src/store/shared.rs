//! The store over a PostgreSQL database that several nodes share.

use std::sync::Arc;

use countersign_database::{Database, Migration, Schema};

use super::directory::Directory;
use super::engine::{Connection, Session};
use super::ownership::{Node, Standing};
use super::readers::{Browsers, Pool};
use super::writer::{Committed, Counters, Home, Office, Pieces, Writer};
use super::{Counts, Readers, Shared, Store, pending};
use crate::config::DatabaseStorage;
use crate::metrics::Commits;
use crate::{OpenError, SchedulerConfig};

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

impl Store {
    /// Connects, brings the schema up, and asks for the task hubs.
    pub(super) fn open_shared(
        config: &SchedulerConfig,
        storage: &DatabaseStorage,
        committed: Arc<dyn Committed>,
        commits: Arc<Commits>,
    ) -> Result<Self, OpenError> {
        let database = open(storage)?;
        let standing = Arc::new(Standing::new());
        let id: Arc<str> = match &config.peers {
            Some(port) => port.node().id,
            None => uuid::Uuid::new_v4().to_string().into(),
        };
        let session = || -> Result<Connection, OpenError> {
            let session = Session::new(database.clone()).map_err(OpenError::Thread)?;
            Ok(Connection::Postgres(Box::new(session)))
        };
        let readers = Readers::Others {
            pool: Pool::open(
                config.read_connections,
                session,
                Some(Arc::clone(&standing)),
            )?,
            browsers: Browsers::start(session, Some(&standing))?,
        };
        let directory = Directory::start(
            Arc::clone(&id),
            storage.node.clone(),
            config.peers.clone(),
            Arc::clone(&standing),
            session()?,
        )?;
        let counts: Arc<Counts> = Arc::default();
        let home = Home {
            conn: session()?,
            lock: None,
            counters: Counters::default(),
            office: Some(Office::new(
                Node::new(id.to_string(), storage.node.clone()),
                Arc::clone(&standing),
                config.hub_names(),
                |conn, hubs, found| {
                    pending::load(conn, hubs, found)?;
                    Ok((pending::counters(conn)?, Counts::load(conn)?))
                },
            )),
        };
        let pieces = Pieces {
            counts: Arc::clone(&counts),
            clock: Arc::clone(&config.clock),
            committed,
            commits,
        };
        let (writer, _thread) = Writer::start(home, pieces).map_err(OpenError::Thread)?;
        Ok(Self {
            writer,
            readers,
            counts,
            file: None,
            shared: Some(Shared {
                standing,
                directory,
            }),
        })
    }
}

/// Opens the database on a thread of its own, since this may be called by an asynchronous task.
pub(super) fn open(storage: &DatabaseStorage) -> Result<Database, OpenError> {
    std::thread::scope(|scope| {
        let opening = std::thread::Builder::new()
            .name("scheduler-opener".to_owned())
            .spawn_scoped(scope, || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(OpenError::Thread)?;
                let opening = async {
                    let database = Database::open_schema(
                        storage.url.clone(),
                        storage.passwords.clone(),
                        1,
                        &SCHEMA,
                    )
                    .await?;
                    // Its connections end with this runtime.
                    database.release();
                    Ok(database)
                };
                runtime.block_on(opening).map_err(OpenError::SharedDatabase)
            });
        opening.map_err(OpenError::Thread).and_then(|opening| {
            let ended = std::io::Error::other("the thread that opens the database has panicked");
            opening.join().unwrap_or(Err(OpenError::Thread(ended)))
        })
    })
}
