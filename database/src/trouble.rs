//! What is wrong with the database, in a word that callers and dashboards can act on.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;

use crate::DatabaseError;

/// How long something that went wrong is reported after it has happened for the last time.
const REPORTED: Duration = Duration::from_secs(10);

/// Why the database cannot be used now. It names neither a host nor a user nor a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing answers there, or the connection was lost.
    Unreachable,
    /// It does not let this process in, or does not prove who it is.
    LoginRefused,
    /// The server takes no more connections.
    TooManyConnections,
    /// All connections of this process are in use.
    PoolExhausted,
    /// It takes no changes: a replica, or read-only by a setting.
    ReadOnly,
    /// It is starting, stopping or recovering.
    InRecovery,
    /// It has no room.
    Full,
    /// A later release has changed the schema in a way that this one does not understand.
    SchemaNewer,
    /// The schema is not what this release needs.
    SchemaWrong,
    /// The user lacks a right.
    Denied,
    /// It did not answer in time.
    Late,
    /// Others changed the same again and again.
    Conflict,
    /// It is not proven that everything that was changed there was heard.
    Unheard,
    /// It cannot be used in the way that is needed.
    Unusable,
}

impl Trouble {
    /// A stable word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::LoginRefused => "login-refused",
            Self::TooManyConnections => "too-many-connections",
            Self::PoolExhausted => "pool-exhausted",
            Self::ReadOnly => "read-only",
            Self::InRecovery => "in-recovery",
            Self::Full => "full",
            Self::SchemaNewer => "schema-newer",
            Self::SchemaWrong => "schema-wrong",
            Self::Denied => "right-missing",
            Self::Late => "late",
            Self::Conflict => "conflict",
            Self::Unheard => "unheard",
            Self::Unusable => "unusable",
        }
    }

    /// A sentence about the database, without its end.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unreachable => "cannot be reached",
            Self::LoginRefused => "refuses this server's login, or its certificate is not trusted",
            Self::TooManyConnections => "takes no more connections",
            Self::PoolExhausted => "is busy: all of this server's connections to it are in use",
            Self::ReadOnly => "takes no changes: it is read-only, or a replica",
            Self::InRecovery => "is starting, stopping or recovering",
            Self::Full => "has no space left",
            Self::SchemaNewer => "has the schema of a later release",
            Self::SchemaWrong => "does not have the schema that this release needs",
            Self::Denied => "does not give this server a right that it needs",
            Self::Late => "did not answer in time",
            Self::Conflict => "was changed by others at the same time",
            Self::Unheard => {
                "does not notify this server of changes, so it is not known what has been revoked"
            }
            Self::Unusable => "cannot be used",
        }
    }
}

impl DatabaseError {
    /// What is wrong, in a word.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Unreachable { .. } | Self::Lost => Trouble::Unreachable,
            Self::Untrusted { .. }
            | Self::NoTls { .. }
            | Self::Login { .. }
            | Self::Password(_)
            | Self::Missing { .. } => Trouble::LoginRefused,
            Self::Root { .. }
            | Self::NoRoots
            | Self::Tls(_)
            | Self::TooOld { .. }
            | Self::Pooler => Trouble::Unusable,
            Self::Denied(_) | Self::NoUser(_) => Trouble::Denied,
            Self::ReadOnly => Trouble::ReadOnly,
            Self::Newer { .. } => Trouble::SchemaNewer,
            Self::Incomplete { .. } | Self::Foreign(_) => Trouble::SchemaWrong,
            Self::Crowded => Trouble::TooManyConnections,
            Self::Exhausted(_) => Trouble::PoolExhausted,
            Self::Full => Trouble::Full,
            Self::Late(_) => Trouble::Late,
            Self::Conflict => Trouble::Conflict,
            Self::Unavailable(error) => match error.code() {
                Some(
                    &SqlState::CANNOT_CONNECT_NOW
                    | &SqlState::ADMIN_SHUTDOWN
                    | &SqlState::CRASH_SHUTDOWN,
                ) => Trouble::InRecovery,
                // Class 42: what a statement names is not there.
                Some(code) if code.code().starts_with("42") => Trouble::SchemaWrong,
                Some(_) => Trouble::Unusable,
                None => Trouble::Unreachable,
            },
        }
    }
}

/// What went wrong last.
#[derive(Debug, Default)]
pub(crate) struct LastTrouble(Mutex<Option<(Trouble, Instant)>>);

impl LastTrouble {
    pub(crate) fn note(&self, trouble: Trouble) {
        // Others were faster, which says nothing about the database.
        if trouble != Trouble::Conflict {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((trouble, Instant::now()));
        }
    }

    pub(crate) fn now(&self) -> Option<Trouble> {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|(_, at)| at.elapsed() < REPORTED)
            .map(|(trouble, _)| trouble)
    }
}
