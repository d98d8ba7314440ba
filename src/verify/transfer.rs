//! Accepted codes on their way between a data folder and the shared database. Wrong ones count
//! for five minutes; a folder keeps them in memory, so they stay behind.

use chrono::{DateTime, TimeDelta, Utc};
use countersign_database::tables::{Column, Table};
use rusqlite::{Connection, OptionalExtension as _, params};

/// The longest that a code from before a restore can still be accepted: the period before it, its
/// own and the one after, of a day each.
const LONGEST: TimeDelta = TimeDelta::days(3);

/// Their tables.
pub(crate) const TABLES: &[Table] = &[Table {
    rows: "accounts with an accepted code",
    shared: "verify_accepted",
    folder: "accepted",
    columns: &[Column::text("account"), Column::number("step")],
    key: 1,
    numbered: false,
}];

/// After a restore, codes from before it are refused by their time. The database only knows the
/// last step of each account: so this says for each of `periods`, by the account's id, that the
/// last such step was accepted. Whether that is enough: it is not while the periods of accounts
/// elsewhere are not known.
pub(crate) fn settle_restore(
    connection: &Connection,
    periods: Option<&[(String, i64)]>,
    now: DateTime<Utc>,
) -> rusqlite::Result<bool> {
    let since: Option<i64> = connection
        .query_row("SELECT max(second) FROM since", [], |row| row.get(0))
        .optional()?
        .flatten();
    let Some(since) = since.filter(|since| *since >= (now - LONGEST).timestamp()) else {
        return Ok(true);
    };
    let Some(periods) = periods else {
        return Ok(false);
    };
    let transaction = connection.unchecked_transaction()?;
    for (account, period) in periods {
        let step = since.div_euclid((*period).max(1)) + 1;
        transaction
            .prepare_cached(
                "INSERT INTO accepted (account, step) VALUES (?1, ?2)
                 ON CONFLICT (account) DO UPDATE SET step = max(step, excluded.step)",
            )?
            .execute(params![account, step])?;
    }
    transaction.commit()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_a_restore_refuses_stays_refused() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE accepted (account TEXT PRIMARY KEY, step INTEGER NOT NULL) STRICT;
                 CREATE TABLE since (only INTEGER PRIMARY KEY, second INTEGER NOT NULL) STRICT;
                 INSERT INTO accepted VALUES ('later', 900);",
            )
            .unwrap();
        let now = DateTime::from_timestamp(1_010, 0).unwrap();
        let periods = [("quick".to_owned(), 30), ("later".to_owned(), 60)];
        assert!(
            settle_restore(&connection, None, now).unwrap(),
            "no restore"
        );
        connection
            .execute("INSERT INTO since VALUES (1, 1000)", [])
            .unwrap();
        assert!(!settle_restore(&connection, None, now).unwrap());
        assert!(settle_restore(&connection, None, now + LONGEST).unwrap());
        assert!(settle_restore(&connection, Some(&periods), now).unwrap());
        let step = |account| -> i64 {
            let sql = "SELECT step FROM accepted WHERE account = ?1";
            connection
                .query_row(sql, [account], |row| row.get(0))
                .unwrap()
        };
        // Step 34 may be used one step early, at 990; step 35 not before 1020.
        assert_eq!(step("quick"), 34);
        assert_eq!(step("later"), 900);
    }
}
