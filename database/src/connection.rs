//! Making connections: for the pool, and the one for notifications.

use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{NoTlsStream, TlsStream};
use tokio_postgres::{Client, Config, Connection, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::url::DatabaseAddress;
use crate::{DatabaseError, DatabaseUrl, PasswordSource, Schema, tls};

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one statement may take, for the server to give up on.
pub(crate) const STATEMENT: Duration = Duration::from_secs(4);
/// What a session is set to, besides its schema, which is named once and for all. A transaction
/// whose client is gone without a word does not keep its locks.
const SESSION: &str = "
    SET statement_timeout = '4s';
    SET lock_timeout = '4s';
    SET idle_in_transaction_session_timeout = '10s';
    SET synchronous_commit = on;
    SET client_encoding = 'UTF8';
    SET timezone = 'UTC';
";

/// Reads and writes of one connection, by TLS or not.
pub(crate) enum Wire<T: TlsStream> {
    Tls(Connection<Socket, T>),
    Plain(Connection<Socket, NoTlsStream>),
}

type TlsSocket = <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<Socket>>::Stream;
/// Reads and writes of a connection that [`Connector::connect`] made.
pub(crate) type AnyWire = Wire<TlsSocket>;

/// Makes connections to one database.
#[derive(Clone)]
pub(crate) struct Connector {
    url: Arc<DatabaseUrl>,
    config: Config,
    tls: Option<MakeRustlsConnect>,
    passwords: Option<Arc<dyn PasswordSource>>,
    schema: &'static Schema,
}

impl Connector {
    /// Blocks while it reads certificates.
    pub(crate) fn new(
        url: DatabaseUrl,
        passwords: Option<Arc<dyn PasswordSource>>,
        schema: &'static Schema,
    ) -> Result<Self, DatabaseError> {
        let mut config = Config::new();
        match &url.place {
            DatabaseAddress::Host(host) => config.host(host),
            DatabaseAddress::Folder(folder) => config.host_path(folder),
        };
        config
            .port(url.port)
            .user(&url.user)
            .dbname(&url.database)
            .application_name(schema.name)
            .connect_timeout(CONNECT)
            .tcp_user_timeout(CONNECT)
            .keepalives_idle(Duration::from_secs(10));
        let tls = match url.tls {
            true => {
                config.ssl_mode(SslMode::Require);
                Some(tls::connector(url.root())?)
            }
            false => {
                config.ssl_mode(SslMode::Disable);
                None
            }
        };
        Ok(Self {
            url: Arc::new(url),
            config,
            tls,
            passwords,
            schema,
        })
    }

    /// One that logs in to another database of the same server in the same way.
    pub(crate) fn to(&self, database: &str) -> Result<Self, DatabaseError> {
        let mut url = DatabaseUrl::clone(&self.url);
        database.clone_into(&mut url.database);
        Self::new(url, self.passwords.clone(), self.schema)
    }

    pub(crate) const fn schema(&self) -> &'static Schema {
        self.schema
    }

    /// A connection that is set up, driven by the runtime until its client is dropped.
    pub(crate) async fn link(&self) -> Result<Client, DatabaseError> {
        let (client, wire) = self.connect().await?;
        tokio::spawn(async move {
            if let Err(error) = wire.drive().await {
                tracing::warn!(%error, "a connection to the database was lost");
            }
        });
        self.prepare(&client).await?;
        Ok(client)
    }

    /// Sets a session to what everything here relies on.
    pub(crate) async fn prepare(&self, client: &Client) -> Result<(), DatabaseError> {
        let session = format!("SET search_path = {};{SESSION}", self.schema.name);
        let prepared = tokio::time::timeout(CONNECT, client.batch_execute(&session)).await;
        Ok(prepared.map_err(|_| DatabaseError::Late(CONNECT))??)
    }

    /// Where it connects to, without the password.
    pub(crate) fn at(&self) -> &DatabaseUrl {
        &self.url
    }

    /// A connection that is logged in. Nothing happens on it until its wire is driven.
    pub(crate) async fn connect(&self) -> Result<(Client, AnyWire), DatabaseError> {
        let mut config = self.config.clone();
        // A source of passwords goes first: it was asked for.
        match (&self.passwords, &self.url.password) {
            (Some(source), _) => {
                let password = tokio::time::timeout(CONNECT, source.password());
                let password = password.await.map_err(|_| DatabaseError::Late(CONNECT))?;
                config.password(password.map_err(DatabaseError::Password)?.as_str());
            }
            (None, Some(password)) => {
                config.password(password.as_str());
            }
            (None, None) => {}
        }
        let connecting = async {
            Ok(match &self.tls {
                Some(tls) => {
                    let (client, wire) = config.connect(tls.clone()).await?;
                    (client, Wire::Tls(wire))
                }
                None => {
                    let (client, wire) = config.connect(NoTls).await?;
                    (client, Wire::Plain(wire))
                }
            })
        };
        // The library's own bound covers the first packet only.
        tokio::time::timeout(CONNECT, connecting)
            .await
            .map_err(|_| DatabaseError::Late(CONNECT))?
            .map_err(|error| DatabaseError::connecting(&self.url, error))
    }
}

impl AnyWire {
    /// Drives the connection until it ends.
    pub(crate) async fn drive(self) -> Result<(), tokio_postgres::Error> {
        match self {
            Self::Tls(wire) => wire.await,
            Self::Plain(wire) => wire.await,
        }
    }
}

impl Manager for Connector {
    type Type = ClientWrapper;
    type Error = DatabaseError;

    async fn create(&self) -> Result<ClientWrapper, DatabaseError> {
        let (client, wire) = self.connect().await?;
        // It ends with the client.
        let task = tokio::spawn(async move {
            if let Err(error) = wire.drive().await {
                tracing::warn!(%error, "a connection to the database was lost");
            }
        });
        let client = ClientWrapper::new(client, task);
        self.prepare(&client).await?;
        Ok(client)
    }

    async fn recycle(
        &self,
        client: &mut ClientWrapper,
        _: &Metrics,
    ) -> RecycleResult<DatabaseError> {
        match client.is_closed() {
            true => Err(RecycleError::message("it was closed")),
            false => Ok(()),
        }
    }
}
