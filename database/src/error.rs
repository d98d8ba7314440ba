//! What can be wrong with the database, and what to do.

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tokio_postgres::error::SqlState;

use crate::PasswordFailure;

/// Why the shared database cannot be used, and what to do. No text holds a password.
#[derive(Debug, Error)]
pub enum DatabaseError {
    /// No server answers there.
    #[error(
        "the database {at} cannot be reached; check that it is running and that no firewall blocks this machine"
    )]
    Unreachable {
        /// Which one.
        at: String,
        /// What happened.
        #[source]
        source: tokio_postgres::Error,
    },
    /// It does not prove who it is.
    #[error(
        "the certificate of the database {at} is not trusted ({reason}); check the host in \
         the URL, and name the certificate of its authority with sslrootcert=FILE if the system \
         does not know it"
    )]
    Untrusted {
        /// Which one.
        at: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It offers no TLS.
    #[error(
        "the database {at} offers no TLS; turn it on there, or set sslmode=disable in the URL if \
         you trust the network to it"
    )]
    NoTls {
        /// Which one.
        at: String,
    },
    /// The certificates to trust cannot be read.
    #[error("{} cannot be used as sslrootcert: {reason}", path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The system has no certificates to trust.
    #[error(
        "the system has no certificates to trust; install them (ca-certificates), or set sslrootcert=FILE in the database's URL"
    )]
    NoRoots,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// It does not let this user in.
    #[error("the database {at} refuses the login: {said}")]
    Login {
        /// Which one, with the user.
        at: String,
        /// What it says.
        said: String,
    },
    /// There is no password to log in with.
    #[error("no password for the database: {0}")]
    Password(#[source] PasswordFailure),
    /// The database is not there.
    #[error("there is no database {at}; create it, owned by the user in the URL")]
    Missing {
        /// Which one.
        at: String,
    },
    /// The user may not do what has to be done.
    #[error(
        "the database's user lacks a right: {0}; grant it CREATE on the database, or run `countersign \
         migrate schema --grant-to` with this user's name as the owner"
    )]
    Denied(String),
    /// The user to be given rights is not there.
    #[error("the database has no user {0}; create it first (CREATE ROLE … LOGIN)")]
    NoUser(String),
    /// It is a copy that takes no changes.
    #[error(
        "the database takes no changes: it is a read-only replica, or default_transaction_read_only \
         is on; name the primary in the URL"
    )]
    ReadOnly,
    /// It is too old.
    #[error("the database is PostgreSQL {found}; {needed} or later is needed")]
    TooOld {
        /// Its version.
        found: i32,
        /// The oldest that will do.
        needed: i32,
    },
    /// Something between here and the database gives each transaction another session.
    #[error(
        "the database's URL leads to a pooler that gives each transaction another session; \
         notifications and prepared statements need one of their own: name the database itself, \
         or a pooler in session mode"
    )]
    Pooler,
    /// A later release has changed the schema in a way that this one does not understand.
    #[error(
        "the database has schema {found}, which needs a release that supports schema {needed}; this \
         release supports {known}: use a later release"
    )]
    Newer {
        /// The newest migration there.
        found: i32,
        /// What has to be understood.
        needed: i32,
        /// What this release understands.
        known: i32,
    },
    /// The schema is not what its migrations made of it.
    #[error(
        "the schema `{schema}` in the database is incomplete or was changed manually: {what}; \
         restore it from a backup"
    )]
    Incomplete {
        /// Its name.
        schema: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// The schema belongs to another program.
    #[error("the schema `{0}` in the database belongs to another program; use another database")]
    Foreign(&'static str),
    /// It takes no more connections.
    #[error(
        "the database takes no more connections; raise its max_connections, or run fewer processes"
    )]
    Crowded,
    /// All connections are in use.
    #[error("all {0} connections to the database are in use")]
    Exhausted(usize),
    /// It has no room.
    #[error("the database's disk is full; free some space")]
    Full,
    /// It did not answer in time.
    #[error("the database did not answer within {0:?}")]
    Late(Duration),
    /// Others changed the same again and again.
    #[error("other processes changed the same data at the same time; try again")]
    Conflict,
    /// The connection for notifications was lost.
    #[error("the connection to the database was lost")]
    Lost,
    /// The connection was lost, or it failed in another way.
    #[error("the database cannot be read or written")]
    Unavailable(#[source] tokio_postgres::Error),
}

impl DatabaseError {
    /// The same work may succeed at once when it is done again from its beginning.
    #[must_use]
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict)
    }

    /// What went wrong when connecting to `at`.
    pub(crate) fn connecting(at: &impl ToString, error: tokio_postgres::Error) -> Self {
        let at = at.to_string();
        if let Some(said) = error.as_db_error() {
            let code = said.code();
            // Class 28: invalid authorization specification.
            if code.code().starts_with("28") {
                return Self::Login {
                    at,
                    said: said.message().to_owned(),
                };
            }
            if *code == SqlState::INVALID_CATALOG_NAME {
                return Self::Missing { at };
            }
            return error.into();
        }
        if let Some(reason) = untrusted(&error) {
            return Self::Untrusted { at, reason };
        }
        // The library has neither a type nor a code for these.
        let text = error.source().map(ToString::to_string).unwrap_or_default();
        if text.contains("does not support TLS") {
            return Self::NoTls { at };
        }
        if text.contains("password missing") {
            return Self::Login {
                at,
                said: "it asks for a password, and the URL has none".to_owned(),
            };
        }
        Self::Unreachable { at, source: error }
    }
}

impl From<tokio_postgres::Error> for DatabaseError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(said) = error.as_db_error() else {
            return Self::Unavailable(error);
        };
        match *said.code() {
            SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => Self::Conflict,
            // Statements that one session prepared and another one is asked for.
            SqlState::DUPLICATE_PSTATEMENT | SqlState::INVALID_SQL_STATEMENT_NAME => Self::Pooler,
            SqlState::READ_ONLY_SQL_TRANSACTION => Self::ReadOnly,
            SqlState::INSUFFICIENT_PRIVILEGE => Self::Denied(said.message().to_owned()),
            SqlState::TOO_MANY_CONNECTIONS => Self::Crowded,
            SqlState::DISK_FULL => Self::Full,
            SqlState::QUERY_CANCELED | SqlState::LOCK_NOT_AVAILABLE => {
                Self::Late(crate::connection::STATEMENT)
            }
            _ => Self::Unavailable(error),
        }
    }
}

/// What is wrong with the server's certificate, if that is what went wrong.
fn untrusted(error: &tokio_postgres::Error) -> Option<String> {
    let io = error.source()?.downcast_ref::<std::io::Error>()?;
    let tls = io.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(tls.to_string())
}
