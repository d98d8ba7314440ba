//! Whether one login reaches what another one keeps: the task hub is not trusted, so its role must not
//! be able to read or change Countersign's tables, in whichever database of a server they are.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::connection::Connector;
use crate::schema::COUNTERSIGN;
use crate::{DatabaseError, DatabaseUrl, PasswordSource};

/// How long one statement may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The role of this session, and its process at the server.
const WHO: &str = "SELECT current_user::text, pg_backend_pid()";
/// Whether the session `$1` that calls itself `$2` is one of this server.
const HERE: &str = "
    SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_stat_activity WHERE pid = $1 AND application_name = $2)
";
/// What lets the role `$1` reach everything of this session's role; none if nothing does.
const POWER: &str = "
    SELECT CASE
        WHEN r.rolsuper THEN 'it is a superuser'
        WHEN r.rolreplication THEN 'it may copy the whole server (REPLICATION)'
        WHEN r.rolcreaterole AND current_setting('server_version_num')::int < 160000
            THEN 'it may give itself other roles (CREATEROLE)'
        WHEN pg_has_role(r.oid, current_user, 'MEMBER')
            THEN format('it is a member of Countersign''s role %I', current_user)
        WHEN EXISTS (
            SELECT 1 FROM pg_catalog.pg_roles p
            WHERE p.rolname IN ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program')
                AND pg_has_role(r.oid, p.oid, 'MEMBER')
        ) THEN 'it may use files or programs of the server'
        WHEN EXISTS (
            SELECT 1 FROM pg_catalog.pg_database d
            WHERE d.datname = current_database() AND pg_has_role(r.oid, d.datdba, 'MEMBER')
        ) THEN 'it owns the database'
    END
    FROM pg_catalog.pg_roles r WHERE r.rolname = $1
";
/// A table of Countersign that the role `$1` may read or change, itself or as a member of another
/// role; no row if there is none.
const TABLES: &str = "
    SELECT c.relname::text, m.rolname::text
    FROM pg_catalog.pg_namespace n
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    JOIN pg_catalog.pg_roles r ON r.rolname = $1
    JOIN pg_catalog.pg_roles m ON pg_has_role(r.oid, m.oid, 'MEMBER')
    WHERE n.nspname = 'countersign'
        AND has_schema_privilege(m.oid, n.oid, 'USAGE')
        AND (
            has_table_privilege(m.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
            OR has_any_column_privilege(m.oid, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
        )
    ORDER BY 1 LIMIT 1
";

/// How someone logs in to a database.
#[derive(Clone)]
pub struct Login {
    /// Where, and as whom.
    pub url: DatabaseUrl,
    /// Gives the password, unless the URL has one or none is needed.
    pub passwords: Option<Arc<dyn PasswordSource>>,
}

/// Why a login is refused for the task hub.
#[derive(Debug, Error)]
pub enum ReachError {
    /// One of the databases cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// It is the role of Countersign itself.
    #[error(
        "the task hub logs in to its database as {role}, which is the role of Countersign itself on \
         the same server: the task hub is not trusted with keys, grants, ledger and audit log. {}",
        ADVICE
    )]
    SameRole {
        /// The role.
        role: String,
    },
    /// It can read or change what Countersign keeps.
    #[error(
        "the task hub's role {role} can reach Countersign's own tables ({how}): the task hub is not \
         trusted with keys, grants, ledger and audit log. {}",
        ADVICE
    )]
    Reaches {
        /// The role.
        role: String,
        /// What lets it.
        how: String,
    },
}

/// What to do about it.
const ADVICE: &str = "Give it a role and a database of its own (CREATE ROLE hub LOGIN PASSWORD '...'; \
     CREATE DATABASE hub OWNER hub), without other rights, and name these in --hub-database-url";

/// Refuses a login of the task hub that can read or change what Countersign keeps: in the hub's own
/// database, or in the one that Countersign logs in to as `own`, also if that has another address of
/// the same server.
///
/// # Errors
///
/// [`ReachError`], whose text says what to do.
pub async fn refuse_reach(own: Option<&Login>, hub: &Login) -> Result<(), ReachError> {
    let hub = Session::open(hub).await?;
    hub.refuse_tables(&hub.role).await?;
    let Some(own) = own else {
        return Ok(());
    };
    let own = Session::open(own).await?;
    if !own.is_beside(&hub).await? {
        return Ok(());
    }
    if own.role == hub.role {
        return Err(ReachError::SameRole { role: hub.role });
    }
    let row = own.first(POWER, &hub.role).await?;
    let power = row.map_or(Ok(None), |row| row.try_get(0));
    if let Some(how) = power.map_err(DatabaseError::from)? {
        let role = hub.role;
        return Err(ReachError::Reaches { role, how });
    }
    own.refuse_tables(&hub.role).await
}

/// A session for a few questions.
struct Session {
    client: Client,
    role: String,
    process: i32,
    name: String,
}

impl Session {
    async fn open(login: &Login) -> Result<Self, DatabaseError> {
        let connector = Connector::new(login.url.clone(), login.passwords.clone(), &COUNTERSIGN)?;
        let client = connector.link().await?;
        let name = format!("countersign {:032x}", rand::random::<u128>());
        let asked = async {
            // A name has no characters that would have to be quoted.
            client
                .batch_execute(&format!("SET application_name = '{name}'"))
                .await?;
            client.query_one(WHO, &[]).await
        };
        let row = within(asked).await?;
        Ok(Self {
            role: row.try_get(0)?,
            process: row.try_get(1)?,
            client,
            name,
        })
    }

    /// Whether another session is one of the same server, by whatever address.
    async fn is_beside(&self, other: &Self) -> Result<bool, DatabaseError> {
        let asked: [&(dyn ToSql + Sync); 2] = [&other.process, &other.name];
        let row = within(self.client.query_one(HERE, &asked)).await?;
        Ok(row.try_get(0)?)
    }

    async fn first(
        &self,
        sql: &str,
        role: &String,
    ) -> Result<Option<tokio_postgres::Row>, DatabaseError> {
        within(self.client.query_opt(sql, &[role])).await
    }

    /// Refuses a role that may use tables of Countersign in this database.
    async fn refuse_tables(&self, role: &String) -> Result<(), ReachError> {
        let Some(row) = self.first(TABLES, role).await? else {
            return Ok(());
        };
        let read =
            || Ok::<(String, String), tokio_postgres::Error>((row.try_get(0)?, row.try_get(1)?));
        let (table, by) = read().map_err(DatabaseError::from)?;
        let how = match by == *role {
            true => format!("it has rights on countersign.{table}"),
            false => format!("as a member of {by} it has rights on countersign.{table}"),
        };
        Err(ReachError::Reaches {
            role: role.clone(),
            how,
        })
    }
}

async fn within<T>(
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, DatabaseError> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(DatabaseError::Late(PATIENCE)),
    }
}
