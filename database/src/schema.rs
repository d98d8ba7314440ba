//! The schema, and the migrations that make it.
//!
//! Migrations only add, so that the release before continues to work during an upgrade and
//! after it was rolled back. Each says which schema a release has to understand to
//! work with what it leaves: a release that does not is refused, every other one may continue.
//! All that are missing are applied in one transaction, by one process at a time.

use deadpool_postgres::{ClientWrapper, Transaction};

use crate::DatabaseError;

/// Held while the schema is brought up, so that processes that start together do not try it
/// at once: `CSDB` and the number of its use.
const LOCK: i64 = 0x4353_4442_0001;

/// A step from one schema to the next.
struct Migration {
    /// Its number, from 1.
    number: i32,
    sql: &'static str,
    /// The tables that it makes.
    tables: &'static [&'static str],
    /// Which schema a release has to understand to work with what this one leaves.
    needs: i32,
}

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
];

const FIRST: &str = "
    CREATE SCHEMA IF NOT EXISTS countersign;
    CREATE TABLE countersign.migrations (
        number integer PRIMARY KEY,
        -- Of the statements, in hexadecimal.
        digest text NOT NULL,
        -- Which schema a release has to understand to work with this one.
        needs integer NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    );
";

/// The newest schema that this release understands.
fn known() -> i32 {
    MIGRATIONS.last().map_or(0, |last| last.number)
}

/// Brings the schema up to what this release writes, and checks what is there.
pub(crate) async fn bring_up(session: &mut ClientWrapper) -> Result<(), DatabaseError> {
    let transaction = session.transaction().await?;
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])
        .await?;
    let applied = match exists(&transaction, "migrations").await? {
        true => check(&transaction).await?,
        false => {
            let tables: i64 = transaction
                .query_one(
                    "SELECT count(*) FROM pg_catalog.pg_class
                     WHERE relnamespace = to_regnamespace('countersign')",
                    &[],
                )
                .await?
                .try_get(0)?;
            if tables > 0 {
                return Err(DatabaseError::Foreign);
            }
            transaction.batch_execute(FIRST).await?;
            0
        }
    };
    for migration in MIGRATIONS.iter().filter(|it| it.number > applied) {
        transaction.batch_execute(migration.sql).await?;
        transaction
            .execute(
                "INSERT INTO migrations (number, digest, needs)
                 VALUES ($1, encode(sha256(convert_to($2, 'UTF8')), 'hex'), $3)",
                &[&migration.number, &migration.sql, &migration.needs],
            )
            .await?;
        tracing::info!(
            migration = migration.number,
            "the database's schema was brought up"
        );
    }
    transaction.commit().await?;
    Ok(())
}

/// The number of the last migration that was applied, once all of them were found whole.
async fn check(transaction: &Transaction<'_>) -> Result<i32, DatabaseError> {
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
            return Err(DatabaseError::Incomplete(format!(
                "migration {missing} is missing"
            )));
        }
        applied = number;
        needed = needed.max(needs);
        let Some(migration) = MIGRATIONS.iter().find(|it| it.number == number) else {
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
            return Err(DatabaseError::Incomplete(format!(
                "migration {number} is another one than this release's"
            )));
        }
        for table in migration.tables {
            if !exists(transaction, table).await? {
                return Err(DatabaseError::Incomplete(format!(
                    "the table {table} is missing"
                )));
            }
        }
    }
    if needed > known() {
        return Err(DatabaseError::Newer {
            found: applied,
            needed,
            known: known(),
        });
    }
    Ok(applied)
}

async fn exists(transaction: &Transaction<'_>, table: &str) -> Result<bool, DatabaseError> {
    let name = format!("countersign.{table}");
    let row = transaction
        .query_one("SELECT to_regclass($1) IS NOT NULL", &[&name])
        .await?;
    Ok(row.try_get(0)?)
}
