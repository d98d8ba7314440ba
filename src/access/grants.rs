//! Grants: which accounts a key that reads only granted ones may read, until when and
//! how often.

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension as _, params};
use serde::Serialize;

use super::keys::{KeyError, KeyStore};

/// One account that a key may read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// The caller's name.
    pub name: String,
    /// The account's id.
    pub account: String,
    /// Until when; for ever if none.
    pub until: Option<DateTime<Utc>>,
    /// How many codes may still be read; as many as wanted if none.
    pub reads_left: Option<u32>,
}

impl KeyStore {
    /// Lets the caller `name` read an account, in place of what it was granted before.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unknown`], [`KeyError::NotLimited`] when the key reads every account
    /// anyway, or [`KeyError::Store`].
    pub fn grant(&self, grant: &Grant) -> Result<(), KeyError> {
        let connection = self.lock();
        let key: Option<(String, bool)> = connection
            .query_row(
                "SELECT id, granted_only FROM keys WHERE name = ?1",
                [&grant.name],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        match key {
            None => Err(KeyError::Unknown(grant.name.clone())),
            Some((_, false)) => Err(KeyError::NotLimited(grant.name.clone())),
            Some((id, true)) => {
                connection.execute(
                    "INSERT INTO grants (key_id, account, until, reads_left)
                     VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (key_id, account) DO UPDATE
                     SET until = excluded.until, reads_left = excluded.reads_left",
                    params![
                        id,
                        grant.account,
                        grant.until.map(|time| time.timestamp()),
                        grant.reads_left
                    ],
                )?;
                Ok(())
            }
        }
    }

    /// Takes a grant back; whether there was one.
    ///
    /// # Errors
    ///
    /// [`KeyError::Store`].
    pub fn withdraw(&self, name: &str, account: &str) -> Result<bool, KeyError> {
        let changed = self.lock().execute(
            "DELETE FROM grants WHERE account = ?2
             AND key_id = (SELECT id FROM keys WHERE name = ?1)",
            [name, account],
        )?;
        Ok(changed > 0)
    }

    /// Every grant, used up and past ones too, by name and account.
    ///
    /// # Errors
    ///
    /// [`KeyError::Store`].
    pub fn grants(&self) -> Result<Vec<Grant>, KeyError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT name, account, until, reads_left FROM grants
             JOIN keys ON keys.id = grants.key_id ORDER BY name COLLATE NOCASE, account",
        )?;
        let rows = statement.query_map([], |row| {
            let until: Option<i64> = row.get(2)?;
            Ok(Grant {
                name: row.get(0)?,
                account: row.get(1)?,
                until: until.and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
                reads_left: row.get(3)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The accounts that the key with this id may read at `now`.
    pub(super) fn granted(
        &self,
        key_id: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<String>, KeyError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT account FROM grants WHERE key_id = ?1
             AND (until IS NULL OR until > ?2) AND (reads_left IS NULL OR reads_left > 0)",
        )?;
        let rows = statement.query_map(params![key_id, now.timestamp()], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether the key with this id may read an account at `now`.
    pub(super) fn may_read(
        &self,
        key_id: &str,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, KeyError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT 1 FROM grants WHERE key_id = ?1 AND account = ?2
             AND (until IS NULL OR until > ?3) AND (reads_left IS NULL OR reads_left > 0)",
        )?;
        Ok(statement.exists(params![key_id, account, now.timestamp()])?)
    }

    /// Takes one read from a grant; whether there was one left.
    pub(super) fn take_read(
        &self,
        key_id: &str,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, KeyError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "UPDATE grants SET reads_left = reads_left - 1 WHERE key_id = ?1 AND account = ?2
             AND (until IS NULL OR until > ?3) AND (reads_left IS NULL OR reads_left > 0)",
        )?;
        let changed = statement.execute(params![key_id, account, now.timestamp()])?;
        Ok(changed > 0)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::access::{KeyLimits, Role};

    #[test]
    fn a_grant_ends_by_time_or_by_use() {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::open(&folder.path().join("access.sqlite3")).unwrap();
        let now = Utc::now();
        let limits = KeyLimits {
            granted_only: true,
            ..KeyLimits::default()
        };
        let (record, _) = store
            .create_limited("bot", Role::Reader, limits, now)
            .unwrap();
        let grant = |account: &str, until, reads_left| Grant {
            name: "bot".to_owned(),
            account: account.to_owned(),
            until,
            reads_left,
        };
        let end = now + TimeDelta::hours(1);
        store.grant(&grant("always", None, None)).unwrap();
        store.grant(&grant("twice", None, Some(2))).unwrap();
        store.grant(&grant("briefly", Some(end), None)).unwrap();

        let take = |account: &str, at| {
            let may = store.may_read(&record.id, account, at).unwrap();
            assert_eq!(store.take_read(&record.id, account, at).unwrap(), may);
            may
        };
        assert!(take("always", now) && take("always", end));
        assert!(take("twice", now) && take("twice", now) && !take("twice", now));
        assert!(take("briefly", now) && !take("briefly", end));
        assert!(!take("never", now));
        assert_eq!(
            store.granted(&record.id, now).unwrap(),
            ["always", "briefly"]
        );
        assert_eq!(store.granted(&record.id, end).unwrap(), ["always"]);
        assert!(store.withdraw("bot", "always").unwrap());
        assert!(!store.withdraw("bot", "always").unwrap());
        assert!(!take("always", now));

        store.create("all", Role::Reader, now).unwrap();
        let for_all = Grant {
            name: "all".to_owned(),
            ..grant("a", None, None)
        };
        assert!(matches!(
            store.grant(&for_all),
            Err(KeyError::NotLimited(_))
        ));
        assert!(matches!(
            store.create_limited("e", Role::Enroller, limits, now),
            Err(KeyError::ReadersOnly)
        ));
    }
}
