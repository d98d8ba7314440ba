//! The schema, and the migrations that make it.
//!
//! Migrations only add, so that the release before continues to work during an upgrade and
//! after it was rolled back. Each says which schema a release has to understand to
//! work with what it leaves: a release that does not is refused, every other one may continue.
//! All that are missing are applied in one transaction, by one process at a time.

use deadpool_postgres::{ClientWrapper, Transaction};
use tokio_postgres::error::SqlState;

use crate::DatabaseError;

/// Held while the schema is brought up, so that processes that start together do not try it
/// at once: `CSDB` and the number of its use.
pub(crate) const LOCK: i64 = 0x4353_4442_0001;

/// A program's tables, in a schema of their own.
#[derive(Debug)]
pub struct Schema {
    /// Its name, a word in lower case.
    pub name: &'static str,
    /// The number of the lock that is held while it is brought up.
    pub lock: i64,
    /// From an empty schema to the newest one, numbered from 1.
    pub migrations: &'static [Migration],
}

/// A step from one schema to the next.
#[derive(Debug)]
pub struct Migration {
    /// Its number, from 1.
    pub number: i32,
    /// Its statements, which only add.
    pub sql: &'static str,
    /// The tables that it makes.
    pub tables: &'static [&'static str],
    /// Which schema a release has to understand to work with what this one leaves.
    pub needs: i32,
}

/// Countersign's own.
pub(crate) const COUNTERSIGN: Schema = Schema {
    name: "countersign",
    lock: LOCK,
    migrations: MIGRATIONS,
};

const MIGRATIONS: &[Migration] = &[
    Migration {
        number: 1,
        sql: include_str!("../migrations/0001_ledger.sql"),
        tables: &[
            "ledger",
            "ledger_mandates",
            "ledger_matters",
            "ledger_decisions",
            "ledger_uses",
            "ledger_journal",
            "ledger_journal_end",
            "ledger_recovery_given",
        ],
        needs: 1,
    },
    Migration {
        number: 2,
        sql: include_str!("../migrations/0002_access.sql"),
        tables: &[
            "access_keys",
            "access_makers",
            "access_grants",
            "access_guarded",
            "access_sessions",
        ],
        needs: 1,
    },
    Migration {
        number: 3,
        sql: include_str!("../migrations/0003_vault.sql"),
        tables: &[
            "vault_keys",
            "vault_accounts",
            "vault_recovery_codes",
            "vault_purged",
        ],
        needs: 1,
    },
    Migration {
        number: 4,
        sql: include_str!("../migrations/0004_audit.sql"),
        tables: &["audit_entries", "audit_end"],
        needs: 1,
    },
    Migration {
        number: 5,
        sql: include_str!("../migrations/0005_front_doors.sql"),
        tables: &[
            "access_login_codes",
            "verify_accepted",
            "verify_wrong",
            "audit_marks",
            "installation_keys",
        ],
        needs: 1,
    },
    Migration {
        number: 6,
        sql: include_str!("../migrations/0006_moving.sql"),
        tables: &["installation_move", "audit_archived"],
        needs: 1,
    },
    Migration {
        number: 7,
        sql: include_str!("../migrations/0007_rotation.sql"),
        tables: &["vault_former_keys"],
        needs: 1,
    },
    Migration {
        number: 8,
        sql: include_str!("../migrations/0008_audit_key.sql"),
        tables: &[],
        needs: 1,
    },
];

const FIRST: &str = "
    CREATE SCHEMA IF NOT EXISTS {schema};
    CREATE TABLE {schema}.migrations (
        number integer PRIMARY KEY,
        -- Of the statements, in hexadecimal.
        digest text NOT NULL,
        -- Which schema a release has to understand to work with this one.
        needs integer NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    );
";

/// What a database is like, before anything is changed in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The version of PostgreSQL.
    pub server: String,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// The last migration that was applied, 0 if there is no schema yet.
    pub applied: i32,
    /// How many migrations the first start applies.
    pub missing: usize,
    /// By how many seconds its clock differs from this machine's.
    pub clock_off: i64,
}

/// Looks at the schema, and whether it could be brought up.
pub(crate) async fn look(
    session: &mut ClientWrapper,
    schema: &Schema,
) -> Result<Look, DatabaseError> {
    let transaction = session.build_transaction().read_only(true).start().await?;
    let applied = found(&transaction, schema).await?.unwrap_or(0);
    let missing = schema
        .migrations
        .iter()
        .filter(|it| it.number > applied)
        .count();
    let row = transaction
        .query_one(
            "SELECT current_setting('server_version'),
                    coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false),
                    extract(epoch FROM clock_timestamp())::bigint,
                    has_database_privilege(current_database(), 'CREATE'),
                    coalesce(has_schema_privilege(to_regnamespace($1), 'CREATE'), true),
                    current_user::text",
            &[&schema.name],
        )
        .await?;
    let (makes_schema, makes_tables): (bool, bool) = (row.try_get(3)?, row.try_get(4)?);
    let is_enough = match applied {
        0 => makes_schema,
        _ => makes_tables,
    };
    if missing > 0 && !is_enough {
        let user: String = row.try_get(5)?;
        return Err(DatabaseError::Denied(format!(
            "{user} may not make the {missing} parts of the schema that are missing"
        )));
    }
    if missing == 0 {
        may_write(&transaction, schema).await?;
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    let there: i64 = row.try_get(2)?;
    Ok(Look {
        server: row.try_get(0)?,
        encrypted: row.try_get(1)?,
        applied,
        missing,
        clock_off: there - now,
    })
}

/// Refuses a user who may not read and change every table.
async fn may_write(transaction: &Transaction<'_>, schema: &Schema) -> Result<(), DatabaseError> {
    for table in schema.migrations.iter().flat_map(|it| it.tables) {
        let name = format!("{}.{table}", schema.name);
        let rights = "SELECT, INSERT, UPDATE, DELETE";
        for right in rights.split(", ") {
            let row = transaction
                .query_one("SELECT has_table_privilege($1, $2)", &[&name, &right])
                .await?;
            if !row.try_get::<_, bool>(0)? {
                return Err(DatabaseError::Denied(format!("{right} on {name}")));
            }
        }
    }
    Ok(())
}

impl Schema {
    /// The newest one that this release understands.
    fn known(&self) -> i32 {
        self.migrations.last().map_or(0, |last| last.number)
    }

    /// The schema is not what the migrations before this one leave.
    fn not_applied(&self, migration: &Migration, error: tokio_postgres::Error) -> DatabaseError {
        // Class 42: what a statement names is there already, or is not there, or may not be changed.
        let other = error.as_db_error().filter(|said| {
            said.code().code().starts_with("42") && *said.code() != SqlState::INSUFFICIENT_PRIVILEGE
        });
        match other.map(|said| said.message().to_owned()) {
            Some(said) => {
                let number = migration.number;
                self.incomplete(format!("migration {number} cannot be applied: {said}"))
            }
            None => error.into(),
        }
    }

    fn incomplete(&self, what: String) -> DatabaseError {
        DatabaseError::Incomplete {
            schema: self.name,
            what,
        }
    }
}

/// Brings the schema up to what this release writes, and checks what is there.
pub(crate) async fn bring_up(
    session: &mut ClientWrapper,
    schema: &Schema,
) -> Result<(), DatabaseError> {
    let transaction = session.transaction().await?;
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&schema.lock])
        .await?;
    let applied = match found(&transaction, schema).await? {
        Some(applied) => applied,
        None => {
            let first = FIRST.replace("{schema}", schema.name);
            transaction.batch_execute(&first).await?;
            0
        }
    };
    for migration in schema.migrations.iter().filter(|it| it.number > applied) {
        let ran = transaction.batch_execute(migration.sql).await;
        ran.map_err(|error| schema.not_applied(migration, error))?;
        transaction
            .execute(
                "INSERT INTO migrations (number, digest, needs)
                 VALUES ($1, encode(sha256(convert_to($2, 'UTF8')), 'hex'), $3)",
                &[&migration.number, &migration.sql, &migration.needs],
            )
            .await?;
        tracing::info!(
            migration = migration.number,
            "the database's schema was upgraded"
        );
    }
    transaction.commit().await?;
    Ok(())
}

/// The number of the last migration that was applied; none if there is no schema.
async fn found(
    transaction: &Transaction<'_>,
    schema: &Schema,
) -> Result<Option<i32>, DatabaseError> {
    if exists(transaction, schema, "migrations").await? {
        return check(transaction, schema).await.map(Some);
    }
    let tables: i64 = transaction
        .query_one(
            "SELECT count(*) FROM pg_catalog.pg_class
             WHERE relnamespace = to_regnamespace($1)",
            &[&schema.name],
        )
        .await?
        .try_get(0)?;
    match tables {
        0 => Ok(None),
        _ => Err(DatabaseError::Foreign(schema.name)),
    }
}

/// The number of the last migration that was applied, once all of them were found whole.
async fn check(transaction: &Transaction<'_>, schema: &Schema) -> Result<i32, DatabaseError> {
    let rows = transaction
        .query(
            "SELECT number, digest, needs FROM migrations ORDER BY number",
            &[],
        )
        .await?;
    let mut applied = 0;
    let mut needed = 0;
    for row in rows {
        let (number, digest, needs): (i32, String, i32) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if number != applied + 1 {
            let missing = applied + 1;
            return Err(schema.incomplete(format!("migration {missing} is missing")));
        }
        applied = number;
        needed = needed.max(needs);
        let Some(migration) = schema.migrations.iter().find(|it| it.number == number) else {
            continue;
        };
        let same: bool = transaction
            .query_one(
                "SELECT encode(sha256(convert_to($1, 'UTF8')), 'hex') = $2",
                &[&migration.sql, &digest],
            )
            .await?
            .try_get(0)?;
        if !same {
            return Err(schema.incomplete(format!(
                "migration {number} is another one than this release's"
            )));
        }
        for table in migration.tables {
            if !exists(transaction, schema, table).await? {
                return Err(schema.incomplete(format!("the table {table} is missing")));
            }
        }
    }
    if needed > schema.known() {
        return Err(DatabaseError::Newer {
            found: applied,
            needed,
            known: schema.known(),
        });
    }
    Ok(applied)
}

async fn exists(
    transaction: &Transaction<'_>,
    schema: &Schema,
    table: &str,
) -> Result<bool, DatabaseError> {
    let name = format!("{}.{table}", schema.name);
    let row = transaction
        .query_one("SELECT to_regclass($1) IS NOT NULL", &[&name])
        .await?;
    Ok(row.try_get(0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a migration may not do, since the release before goes on with what it leaves: take
    /// something away, or ask of old statements what they do not give.
    #[test]
    fn migrations_only_add() {
        for migration in MIGRATIONS {
            let statements: String = migration
                .sql
                .lines()
                .filter(|line| !line.trim_start().starts_with("--"))
                .collect::<Vec<_>>()
                .join(" ")
                .to_uppercase();
            // What is new in this migration may be of any form.
            let statements: Vec<String> = statements
                .split(';')
                .map(|it| it.split_whitespace().collect::<Vec<_>>().join(" "))
                .filter(|it| !it.is_empty())
                .collect();
            for statement in &statements {
                let begins = |with: &[&str]| with.iter().any(|it| statement.starts_with(it));
                let new_column = statement.starts_with("ALTER TABLE")
                    && statement.contains(" ADD COLUMN ")
                    && !statement.contains(" ALTER ")
                    && !statement.contains(" DROP ")
                    && (!statement.contains("NOT NULL") || statement.contains(" DEFAULT "));
                // Parts of a function's body, which end with a semicolon too.
                let in_a_body = begins(&["END $$", "RAISE", "RETURN"]);
                let adds = new_column
                    || in_a_body
                    || begins(&[
                        "CREATE TABLE ",
                        "CREATE INDEX ",
                        "CREATE FUNCTION ",
                        "CREATE TRIGGER ",
                        "INSERT INTO ",
                    ]);
                assert!(adds, "migration {}: {statement}", migration.number);
                // A trigger or a unique index on a table that was there could refuse old statements.
                let before = MIGRATIONS.iter().filter(|it| it.number < migration.number);
                let on = before.flat_map(|it| it.tables).find(|table| {
                    statement.starts_with("CREATE TRIGGER")
                        && statement.contains(&format!(" ON {} ", table.to_uppercase()))
                });
                assert!(on.is_none(), "migration {}: {statement}", migration.number);
            }
        }
    }
}
