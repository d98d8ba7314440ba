//! The database: its connections, and transactions on them.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use deadpool::managed::{Object, Pool, PoolError, Timeouts};
use deadpool_postgres::{ClientWrapper, Transaction};
use futures_util::future::BoxFuture;
use rand::RngExt as _;
use tokio::sync::Semaphore;
use tokio_postgres::{Client, IsolationLevel};

use crate::connection::Connector;
use crate::schema::{self, COUNTERSIGN, Look, Schema};
use crate::stamp::{Followed, Stamps};
use crate::trouble::{LastTrouble, Trouble};
use crate::{Changes, DatabaseError, DatabaseUrl, PasswordSource, Stamp, Subscription};

/// How long a piece of work may take, with all its statements.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// How often work is done again because others were changing the same.
const ATTEMPTS: u32 = 12;
/// The oldest PostgreSQL that will do.
const OLDEST: i32 = 13;

/// What a piece of work is doing in a transaction.
pub type Step<'t, T, E> = BoxFuture<'t, Result<T, E>>;

/// An error of work in the database, which may be the database's own.
pub trait Failure: From<DatabaseError> + Send {
    /// The database's own error, if this is one.
    fn of_database(&self) -> Option<&DatabaseError>;

    /// Whether the same work may succeed at once when it is done again from its beginning.
    fn is_conflict(&self) -> bool {
        self.of_database().is_some_and(DatabaseError::is_conflict)
    }
}

impl Failure for DatabaseError {
    fn of_database(&self) -> Option<&DatabaseError> {
        Some(self)
    }
}

/// A database that several front doors and workers share. Clones share one instance.
#[derive(Clone)]
pub struct Database {
    pool: Pool<Connector>,
    connector: Connector,
    pub(crate) size: usize,
    /// For everyone in the process who asks for stamps, from the first one on.
    followed: Arc<OnceLock<Arc<Followed>>>,
    /// For everyone in the process.
    last_trouble: Arc<LastTrouble>,
    /// How many more turns this process may have: half of its connections hold one at most, since
    /// what is done in a turn needs connections too.
    pub(crate) turns: Arc<Semaphore>,
}

impl Database {
    /// Connects with at most `size` connections, checks that the database can be used, and
    /// brings its schema up.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`], whose text says what to do.
    pub async fn open(
        url: DatabaseUrl,
        passwords: Option<Arc<dyn PasswordSource>>,
        size: usize,
    ) -> Result<Self, DatabaseError> {
        Self::open_schema(url, passwords, size, &COUNTERSIGN).await
    }

    /// The same for another program's tables, in a schema of their own.
    ///
    /// # Errors
    ///
    /// As [`Database::open`].
    pub async fn open_schema(
        url: DatabaseUrl,
        passwords: Option<Arc<dyn PasswordSource>>,
        size: usize,
        schema: &'static Schema,
    ) -> Result<Self, DatabaseError> {
        let database = Self::connect(url, passwords, size, schema).await?;
        let mut session = database.session().await?;
        schema::bring_up(&mut session, schema).await?;
        drop(session);
        Ok(database)
    }

    /// A connection outside the pool, for a caller with transactions and a runtime of its own: the
    /// one on which this is called drives it until the client is dropped.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`].
    pub async fn link(&self) -> Result<Client, DatabaseError> {
        self.connector.link().await
    }

    /// Connects as [`Database::open`] does, and changes nothing: what is there.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`], also for what [`Database::open`] would find out first, such as a right
    /// that is missing for the migrations that it would apply.
    pub async fn look(
        url: DatabaseUrl,
        passwords: Option<Arc<dyn PasswordSource>>,
    ) -> Result<(Self, Look), DatabaseError> {
        Self::look_schema(url, passwords, &COUNTERSIGN).await
    }

    /// The same for another program's tables.
    ///
    /// # Errors
    ///
    /// As [`Database::look`].
    pub async fn look_schema(
        url: DatabaseUrl,
        passwords: Option<Arc<dyn PasswordSource>>,
        schema: &'static Schema,
    ) -> Result<(Self, Look), DatabaseError> {
        let database = Self::connect(url, passwords, 1, schema).await?;
        let mut session = database.session().await?;
        let look = schema::look(&mut session, schema).await?;
        drop(session);
        Ok((database, look))
    }

    /// Connects, and refuses a server that will not do.
    async fn connect(
        url: DatabaseUrl,
        passwords: Option<Arc<dyn PasswordSource>>,
        size: usize,
        schema: &'static Schema,
    ) -> Result<Self, DatabaseError> {
        if url.is_exposed() {
            tracing::warn!(database = %url, "connections to the database leave this machine without TLS");
        }
        let connector = Connector::new(url, passwords, schema)?;
        let pool = Pool::builder(connector.clone())
            .max_size(size)
            .runtime(deadpool::Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(PATIENCE),
                create: None,
                recycle: None,
            })
            .build()
            // There is a runtime, which is all that it asks for.
            .map_err(|_| DatabaseError::Late(PATIENCE))?;
        let database = Self {
            pool,
            connector,
            size,
            followed: Arc::default(),
            last_trouble: Arc::default(),
            turns: Arc::new(Semaphore::new((size / 2).max(1))),
        };
        database.check().await?;
        Ok(database)
    }

    /// Where it is, without the password.
    #[must_use]
    pub fn at(&self) -> &DatabaseUrl {
        self.connector.at()
    }

    pub(crate) const fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Lets `subscription` follow what is changed in it, by this process and by others.
    #[must_use]
    pub fn follow(&self, subscription: Arc<dyn Subscription>) -> Changes {
        Changes::follow(self.connector.clone(), subscription)
    }

    /// A number that is another one once something of `topic` may have been changed. To be
    /// called on the runtime.
    #[must_use]
    pub fn stamp(&self, topic: &'static str) -> Stamp {
        let followed = self.followed.get_or_init(|| {
            let stamps = Arc::new(Stamps::default());
            let changes = self.follow(Arc::<Stamps>::clone(&stamps));
            Arc::new(Followed { stamps, changes })
        });
        Stamp::of(Arc::clone(followed), topic)
    }

    /// What went wrong with it in the last ten seconds.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.last_trouble.now()
    }

    /// Whether it answers now and takes changes.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`].
    pub async fn ping(&self) -> Result<(), DatabaseError> {
        let session = self.session().await?;
        let answered = tokio::time::timeout(PATIENCE, takes_changes(&session)).await;
        match answered {
            Ok(answered) => answered,
            Err(_) => {
                // The next caller gets another one.
                drop(Object::take(session));
                Err(DatabaseError::Late(PATIENCE))
            }
        }
    }

    /// Reads, all from one moment.
    ///
    /// # Errors
    ///
    /// What `work` answers, or [`DatabaseError`].
    pub async fn read<T, E, W>(&self, work: W) -> Result<T, E>
    where
        T: Send,
        E: Failure,
        W: for<'t> Fn(&'t Transaction<'t>) -> Step<'t, T, E> + Send + Sync,
    {
        let done = self.run(Kind::Read, work).await;
        self.note(&done);
        done
    }

    /// Changes something: all of it, or nothing where `work` answers with an error. When it
    /// has returned `Ok`, the change is on the database's disk. Statements see what was
    /// committed before each of them: what has to stay as it was read is locked by the work
    /// (`FOR UPDATE`). The work is done again from its beginning where the database says
    /// that others were in the way.
    ///
    /// # Errors
    ///
    /// What `work` answers, or [`DatabaseError`].
    pub async fn write<T, E, W>(&self, work: W) -> Result<T, E>
    where
        T: Send,
        E: Failure,
        W: for<'t> Fn(&'t Transaction<'t>) -> Step<'t, T, E> + Send + Sync,
    {
        let done = self.run(Kind::Write, work).await;
        self.note(&done);
        done
    }

    /// Closes the connections that nothing uses at the moment.
    pub fn release(&self) {
        self.pool.retain(|_, _| false);
    }

    fn note<T, E: Failure>(&self, done: &Result<T, E>) {
        if let Err(error) = done
            && let Some(error) = error.of_database()
        {
            self.last_trouble.note(error.trouble());
        }
    }

    async fn run<T, E, W>(&self, kind: Kind, work: W) -> Result<T, E>
    where
        T: Send,
        E: Failure,
        W: for<'t> Fn(&'t Transaction<'t>) -> Step<'t, T, E> + Send + Sync,
    {
        let mut attempt = 1;
        loop {
            let mut session = self.session().await?;
            let done = tokio::time::timeout(PATIENCE, once(&mut session, kind, &work)).await;
            match done {
                Ok(Err(error)) if error.is_conflict() && attempt < ATTEMPTS => {
                    drop(session);
                    let most = 2_u64.pow(attempt.min(6));
                    let pause = rand::rng().random_range(0..=most);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    attempt += 1;
                }
                Ok(done) => return done,
                Err(_) => {
                    drop(Object::take(session));
                    return Err(DatabaseError::Late(PATIENCE).into());
                }
            }
        }
    }

    pub(crate) async fn session(&self) -> Result<Object<Connector>, DatabaseError> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => error,
            _ => DatabaseError::Exhausted(self.size),
        })
    }

    /// Refuses a server that will not do.
    async fn check(&self) -> Result<(), DatabaseError> {
        let first = self.session().await?;
        let row = first
            .query_one(
                "SELECT current_setting('server_version_num')::int / 10000, pg_backend_pid(),
                        current_setting('search_path')",
                &[],
            )
            .await?;
        let (version, process, path): (i32, i32, String) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if version < OLDEST {
            return Err(DatabaseError::TooOld {
                found: version,
                needed: OLDEST,
            });
        }
        takes_changes(&first).await?;
        // While the first one is held, a second session is another process of the server,
        // unless something in between hands out one that happens to be free.
        let (second, wire) = self.connector.connect().await?;
        let wire = tokio::spawn(wire.drive());
        let row = second.query_one("SELECT pg_backend_pid()", &[]).await;
        wire.abort();
        let other: i32 = row?.try_get(0)?;
        if other == process || path != self.connector.schema().name {
            return Err(DatabaseError::Pooler);
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Read,
    Write,
}

async fn once<T, E, W>(session: &mut ClientWrapper, kind: Kind, work: &W) -> Result<T, E>
where
    T: Send,
    E: Failure,
    W: for<'t> Fn(&'t Transaction<'t>) -> Step<'t, T, E> + Send + Sync,
{
    let builder = session.build_transaction();
    let builder = match kind {
        // One moment for all statements.
        Kind::Read => builder
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true),
        Kind::Write => builder.isolation_level(IsolationLevel::ReadCommitted),
    };
    let transaction = builder.start().await.map_err(DatabaseError::from)?;
    // Dropping it rolls it back.
    let done = work(&transaction).await?;
    transaction.commit().await.map_err(DatabaseError::from)?;
    Ok(done)
}

async fn takes_changes(session: &ClientWrapper) -> Result<(), DatabaseError> {
    let row = session
        .query_one(
            "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool",
            &[],
        )
        .await?;
    match row.try_get(0)? {
        true => Err(DatabaseError::ReadOnly),
        false => Ok(()),
    }
}
