//! The store over a PostgreSQL database that several nodes share.

use std::sync::Arc;

use super::database;
use super::directory::Directory;
use super::engine::{Connection, Session};
use super::ownership::{Node, Standing};
use super::readers::{Browsers, Pool};
use super::writer::{Committed, Counters, Home, Office, Pieces, Writer};
use super::{Counts, Readers, Shared, Store, pending, transfer};
use crate::config::DatabaseStorage;
use crate::metrics::Commits;
use crate::{OpenError, SchedulerConfig};

impl Store {
    /// Connects, brings the schema up, and asks for the task hubs.
    pub(super) fn open_shared(
        config: &SchedulerConfig,
        storage: &DatabaseStorage,
        committed: Arc<dyn Committed>,
        commits: Arc<Commits>,
    ) -> Result<Self, OpenError> {
        let database = database::open(storage)?;
        transfer::refuse_unfinished(&database)?;
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
