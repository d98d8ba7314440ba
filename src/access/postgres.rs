//! Keys, grants and sessions in the shared database: PostgreSQL, for any number of front
//! doors.
//!
//! A change is announced to all front doors in its own transaction.

mod changes;
mod login;
mod rows;

use std::collections::BTreeSet;

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use countersign_database::{Database, Row, Stamp, all, announce, execute, one, one_at_a_time};
use futures_util::FutureExt as _;
use zeroize::Zeroizing;

use super::grants::{Grant, Granted, Grantee, Spent};
use super::identity::CallerRef;
use super::key_error::KeyError;
use super::keys::{KeyRecord, NewKey, key_text};
use super::persons::LONGEST_LINE;
use super::secret;
use super::session::MOST_SESSIONS;
use super::store::{AccessStore, SecretHash};
use changes::{end_sessions, insert, locked, put};
use rows::{granted, group, moment, record};

/// The topic under which its changes are announced.
const TOPIC: &str = "access";

const COLUMNS: &str = "id, name, role, created_at, revoked_at, expires_at, last_used_at, \
                       granted_only, member_of, hash, former_hash, former_until";

/// Which grants are a caller's own or its groups', and hold at a moment. The parameters:
/// the caller's id, its groups, and the moment.
const HOLDING: &str = "
    (kind = 'caller' AND grantee = $1 OR kind = 'group' AND grantee = ANY($2::text[]))
    AND (until IS NULL OR until > $3) AND (reads_left IS NULL OR reads_left > 0)";

/// The keys, grants and sessions of an installation, in its shared database.
pub struct PostgresAccess {
    database: Database,
    stamp: Stamp,
}

impl PostgresAccess {
    /// What `database` holds of it. To be called on the runtime.
    #[must_use]
    pub fn new(database: Database) -> Self {
        let stamp = database.stamp(TOPIC);
        Self { database, stamp }
    }

    /// Waits until changes are heard, which takes a moment after the start.
    pub async fn ready(&self) {
        self.stamp.until_live().await;
    }

    /// This process goes by what it has changed at once.
    fn changed<T>(&self, done: Result<T, KeyError>) -> Result<T, KeyError> {
        self.stamp.touch();
        done
    }
}

#[async_trait]
impl AccessStore for PostgresAccess {
    fn stamp(&self) -> Result<u64, KeyError> {
        self.stamp.now().ok_or(KeyError::Unproven)
    }

    async fn create(
        &self,
        new: NewKey,
        maker: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<(KeyRecord, Zeroizing<String>), KeyError> {
        let (record, key) = new.with_key(now)?;
        let (hash, maker) = (secret::hash(&key), maker.map(str::to_owned));
        let written = record.clone();
        self.database
            .write(move |transaction| {
                let (record, maker) = (written.clone(), maker.clone());
                async move { insert(transaction, &record, &hash, maker.as_deref()).await }.boxed()
            })
            .await?;
        Ok((record, key))
    }

    async fn list(&self) -> Result<Vec<KeyRecord>, KeyError> {
        self.database
            .read(|transaction| {
                async move {
                    let sql =
                        format!("SELECT {COLUMNS} FROM access_keys ORDER BY lower(name), name");
                    let rows = all(transaction, &sql, &[]).await?;
                    rows.iter().map(record).collect()
                }
                .boxed()
            })
            .await
    }

    async fn revoke(&self, name: &str, now: DateTime<Utc>) -> Result<KeyRecord, KeyError> {
        let name = name.to_owned();
        let revoked = self.database.write(move |transaction| {
            let name = name.clone();
            async move {
                let before = locked(transaction, &name).await?;
                let before = record(&before.ok_or(KeyError::Unknown(name.clone()))?)?;
                execute(
                    transaction,
                    "UPDATE access_keys SET revoked_at = coalesce(revoked_at, $2) WHERE name = $1",
                    &[&name, &now.timestamp()],
                )
                .await?;
                end_sessions(transaction, &before.id).await?;
                announce(transaction, TOPIC, &name).await?;
                Ok(before)
            }
            .boxed()
        });
        self.changed(revoked.await)
    }

    async fn rotate(
        &self,
        name: &str,
        held: Option<&SecretHash>,
        overlap: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<(KeyRecord, Zeroizing<String>), KeyError> {
        let (name, held) = (name.to_owned(), held.copied());
        let random = secret::random_hex()?;
        let rotated = self.database.write(move |transaction| {
            let (name, random) = (name.clone(), random.clone());
            async move {
                let row = locked(transaction, &name).await?;
                let row = row.ok_or_else(|| KeyError::Unknown(name.clone()))?;
                let mut found = record(&row)?;
                if found.revoked_at.is_some() || !found.works_at(now) {
                    return Err(KeyError::Over(name));
                }
                let hash: &[u8] = row.try_get("hash")?;
                if held.is_some_and(|held| !secret::same(hash, &held)) {
                    return Err(KeyError::NotCurrent);
                }
                let key = key_text(&found.id, &random);
                let until = (now + overlap).trunc_subsecs(0);
                found.former_key_until = Some(until);
                execute(
                    transaction,
                    "UPDATE access_keys SET former_hash = hash, former_until = $2, hash = $3
                     WHERE name = $1",
                    &[&name, &until.timestamp(), &secret::hash(&key).as_slice()],
                )
                .await?;
                end_sessions(transaction, &found.id).await?;
                announce(transaction, TOPIC, &name).await?;
                Ok((found, key))
            }
            .boxed()
        });
        self.changed(rotated.await)
    }

    async fn verify(
        &self,
        text: &str,
        hash: &SecretHash,
        now: DateTime<Utc>,
    ) -> Result<Option<KeyRecord>, KeyError> {
        let Some((id, _)) = text.strip_prefix("cs_").and_then(|t| t.split_once('_')) else {
            return Ok(None);
        };
        let Some(row) = self.key(id).await? else {
            return Ok(None);
        };
        let mut found = record(&row)?;
        let kept: &[u8] = row.try_get("hash")?;
        if !secret::same(kept, hash) {
            // One that was renewed ends with its overlap.
            let former: Option<&[u8]> = row.try_get("former_hash")?;
            let (Some(former), Some(until)) = (former, found.former_key_until) else {
                return Ok(None);
            };
            if !secret::same(former, hash) {
                return Ok(None);
            }
            found.expires_at = Some(found.expires_at.map_or(until, |end| end.min(until)));
        }
        self.used(found, now).await
    }

    async fn active(&self, id: &str, now: DateTime<Utc>) -> Result<Option<KeyRecord>, KeyError> {
        match self.key(id).await? {
            Some(row) => self.used(record(&row)?, now).await,
            None => Ok(None),
        }
    }

    async fn person(&self, caller: &str) -> Result<String, KeyError> {
        let caller = caller.to_owned();
        self.database
            .read(move |transaction| {
                let caller = caller.clone();
                async move {
                    let row = one(
                        transaction,
                        "WITH RECURSIVE line (name, length) AS (
                             SELECT $1::text, 0
                             UNION ALL
                             SELECT makers.maker, length + 1
                             FROM line JOIN access_makers AS makers ON makers.name = line.name
                             WHERE length < $2
                         )
                         SELECT name FROM line ORDER BY length DESC LIMIT 1",
                        &[&caller, &LONGEST_LINE.cast_signed()],
                    )
                    .await?;
                    Ok(row.ok_or(KeyError::Malformed)?.try_get(0)?)
                }
                .boxed()
            })
            .await
    }

    async fn grant(&self, grant: &Grant, keep: bool) -> Result<Granted, KeyError> {
        let grant = grant.clone();
        let granted = self.database.write(move |transaction| {
            let grant = grant.clone();
            async move { put(transaction, &grant, keep).await }.boxed()
        });
        self.changed(granted.await)
    }

    async fn take_back(&self, from: &Grantee, account: &str) -> Result<Option<Grant>, KeyError> {
        let (from, account) = (from.clone(), account.to_owned());
        let taken = self.database.write(move |transaction| {
            let (from, account) = (from.clone(), account.clone());
            async move {
                let (kind, grantee) = from.columns();
                let row = one(
                    transaction,
                    "DELETE FROM access_grants WHERE kind = $1 AND grantee = $2 AND account = $3
                     RETURNING until, reads_left, reads_granted",
                    &[&kind, &grantee, &account],
                )
                .await?;
                announce(transaction, TOPIC, &account).await?;
                row.map(|row| granted(&row, from.clone(), account.clone()))
                    .transpose()
            }
            .boxed()
        });
        self.changed(taken.await)
    }

    async fn grants(&self) -> Result<Vec<Grant>, KeyError> {
        self.database
            .read(|transaction| {
                async move {
                    let rows = all(
                        transaction,
                        "SELECT until, reads_left, reads_granted, kind, grantee, account
                         FROM access_grants
                         ORDER BY kind, lower(grantee), grantee, account",
                        &[],
                    )
                    .await?;
                    rows.iter()
                        .map(|row| {
                            let grantee: String = row.try_get(4)?;
                            let kind: &str = row.try_get(3)?;
                            let to = match kind {
                                "caller" => Grantee::Caller(grantee),
                                _ => Grantee::Group(group(&grantee)?),
                            };
                            granted(row, to, row.try_get(5)?)
                        })
                        .collect()
                }
                .boxed()
            })
            .await
    }

    async fn granted(
        &self,
        caller: CallerRef<'_>,
        now: DateTime<Utc>,
    ) -> Result<Vec<String>, KeyError> {
        let (id, groups) = owned(caller);
        self.database
            .read(move |transaction| {
                let (id, groups) = (id.clone(), groups.clone());
                async move {
                    let sql = format!(
                        "SELECT DISTINCT account FROM access_grants WHERE {HOLDING} ORDER BY account"
                    );
                    let rows = all(transaction, &sql, &[&id, &groups, &now.timestamp()]).await?;
                    let accounts: Result<_, _> = rows.iter().map(|row| row.try_get(0)).collect();
                    Ok(accounts?)
                }
                .boxed()
            })
            .await
    }

    async fn may_read(
        &self,
        caller: CallerRef<'_>,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, KeyError> {
        let sql = format!("SELECT 1 FROM access_grants WHERE {HOLDING} AND account = $4 LIMIT 1");
        Ok(!self.of(caller, account, now, sql).await?.is_empty())
    }

    async fn spent(
        &self,
        caller: CallerRef<'_>,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Spent>, KeyError> {
        let sql = "SELECT bool_or(until IS NULL OR until > $3) FROM access_grants
                   WHERE (kind = 'caller' AND grantee = $1
                          OR kind = 'group' AND grantee = ANY($2::text[]))
                   AND account = $4";
        let rows = self.of(caller, account, now, sql.to_owned()).await?;
        let row = rows.first().ok_or(KeyError::Malformed)?;
        let in_time: Option<bool> = row.try_get(0)?;
        Ok(in_time.map(|in_time| match in_time {
            true => Spent::UsedUp,
            false => Spent::Over,
        }))
    }

    async fn free_until(
        &self,
        caller: CallerRef<'_>,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, KeyError> {
        let sql = format!(
            "SELECT until FROM access_grants
             WHERE {HOLDING} AND account = $4 AND reads_left IS NULL
             ORDER BY until DESC NULLS FIRST LIMIT 1"
        );
        let rows = self.of(caller, account, now, sql).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        Ok(Some(moment(row.try_get(0)?)?.unwrap_or(super::NEVER)))
    }

    async fn take_counted(
        &self,
        caller: CallerRef<'_>,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, KeyError> {
        let ((id, groups), account) = (owned(caller), account.to_owned());
        self.database
            .write(move |transaction| {
                let (id, groups, account) = (id.clone(), groups.clone(), account.clone());
                async move {
                    // All of them are locked, and looked at again by the database where
                    // another front door has just taken from one.
                    let sql = format!(
                        "SELECT id FROM access_grants
                         WHERE {HOLDING} AND account = $4 AND reads_left IS NOT NULL
                         ORDER BY kind, id FOR UPDATE"
                    );
                    let rows = all(
                        transaction,
                        &sql,
                        &[&id, &groups, &now.timestamp(), &account],
                    )
                    .await?;
                    let Some(first) = rows.first() else {
                        return Ok(false);
                    };
                    let first: i64 = first.try_get(0)?;
                    execute(
                        transaction,
                        "UPDATE access_grants SET reads_left = reads_left - 1 WHERE id = $1",
                        &[&first],
                    )
                    .await?;
                    Ok(true)
                }
                .boxed()
            })
            .await
    }

    async fn guard(&self, account: &str, guarded: bool) -> Result<bool, KeyError> {
        let account = account.to_owned();
        let changed = self.database.write(move |transaction| {
            let account = account.clone();
            async move {
                let sql = match guarded {
                    true => {
                        "INSERT INTO access_guarded (account) VALUES ($1) ON CONFLICT DO NOTHING"
                    }
                    false => "DELETE FROM access_guarded WHERE account = $1",
                };
                let changed = execute(transaction, sql, &[&account]).await? > 0;
                announce(transaction, TOPIC, &account).await?;
                Ok::<bool, KeyError>(guarded != changed)
            }
            .boxed()
        });
        self.changed(changed.await)
    }

    async fn guarded(&self) -> Result<BTreeSet<String>, KeyError> {
        self.database
            .read(|transaction| {
                async move {
                    let rows = all(transaction, "SELECT account FROM access_guarded", &[]).await?;
                    let accounts: Result<_, _> = rows.iter().map(|row| row.try_get(0)).collect();
                    Ok(accounts?)
                }
                .boxed()
            })
            .await
    }

    async fn begin_session(
        &self,
        id: &SecretHash,
        who: &str,
        until: i64,
        now: i64,
    ) -> Result<(), KeyError> {
        let (id, who) = (*id, who.to_owned());
        self.database
            .write(move |transaction| {
                let who = who.clone();
                async move {
                    // So that two at once do not both find room for the last one.
                    one_at_a_time(transaction, "session", &who).await?;
                    execute(
                        transaction,
                        "DELETE FROM access_sessions WHERE until <= $1",
                        &[&now],
                    )
                    .await?;
                    execute(
                        transaction,
                        "DELETE FROM access_sessions WHERE id IN (
                             SELECT id FROM access_sessions WHERE subject = $1
                             ORDER BY until DESC OFFSET $2
                         )",
                        &[&who, &i64::from(MOST_SESSIONS - 1)],
                    )
                    .await?;
                    execute(
                        transaction,
                        "INSERT INTO access_sessions (id, subject, until) VALUES ($1, $2, $3)",
                        &[&id.as_slice(), &who, &until],
                    )
                    .await?;
                    Ok(())
                }
                .boxed()
            })
            .await
    }

    async fn has_session(&self, id: &SecretHash, now: i64) -> Result<bool, KeyError> {
        let id = *id;
        self.database
            .read(move |transaction| {
                async move {
                    let sql = "SELECT 1 FROM access_sessions WHERE id = $1 AND until > $2";
                    Ok(one(transaction, sql, &[&id.as_slice(), &now])
                        .await?
                        .is_some())
                }
                .boxed()
            })
            .await
    }

    async fn end_session(&self, id: &SecretHash) -> Result<bool, KeyError> {
        let id = *id;
        self.database
            .write(move |transaction| {
                async move {
                    let sql = "DELETE FROM access_sessions WHERE id = $1";
                    Ok(execute(transaction, sql, &[&id.as_slice()]).await? > 0)
                }
                .boxed()
            })
            .await
    }

    async fn keep_login_code(
        &self,
        code: &SecretHash,
        who: &str,
        now: DateTime<Utc>,
    ) -> Result<(), KeyError> {
        self.keep_code(code, who, now).await
    }

    async fn whose_login_code(
        &self,
        code: &SecretHash,
        now: DateTime<Utc>,
    ) -> Result<Option<String>, KeyError> {
        self.whose_code(code, now).await
    }

    async fn redeem_login_code(
        &self,
        code: &SecretHash,
        now: DateTime<Utc>,
    ) -> Result<bool, KeyError> {
        self.redeem_code(code, now).await
    }
}

impl PostgresAccess {
    /// The key with this id, unless it was revoked.
    async fn key(&self, id: &str) -> Result<Option<Row>, KeyError> {
        let id = id.to_owned();
        self.database
            .read(move |transaction| {
                let id = id.clone();
                async move {
                    let sql = format!(
                        "SELECT {COLUMNS} FROM access_keys WHERE id = $1 AND revoked_at IS NULL"
                    );
                    Ok(one(transaction, &sql, &[&id]).await?)
                }
                .boxed()
            })
            .await
    }

    /// Notes the use of a key now and then; nothing if it works no more.
    async fn used(
        &self,
        found: KeyRecord,
        now: DateTime<Utc>,
    ) -> Result<Option<KeyRecord>, KeyError> {
        if !found.works_at(now) {
            return Ok(None);
        }
        if !found.use_is_noted(now) {
            let id = found.id.clone();
            self.database
                .write(move |transaction| {
                    let id = id.clone();
                    async move {
                        execute(
                            transaction,
                            "UPDATE access_keys SET last_used_at = $2 WHERE id = $1
                             AND (last_used_at IS NULL OR last_used_at < $2)",
                            &[&id, &now.timestamp()],
                        )
                        .await?;
                        Ok::<(), KeyError>(())
                    }
                    .boxed()
                })
                .await?;
        }
        Ok(Some(found))
    }

    /// The rows that `sql` finds of a caller and an account at a moment.
    async fn of(
        &self,
        caller: CallerRef<'_>,
        account: &str,
        now: DateTime<Utc>,
        sql: String,
    ) -> Result<Vec<Row>, KeyError> {
        let ((id, groups), account) = (owned(caller), account.to_owned());
        self.database
            .read(move |transaction| {
                let (id, groups, account) = (id.clone(), groups.clone(), account.clone());
                let sql = sql.clone();
                async move {
                    let now = now.timestamp();
                    Ok(all(transaction, &sql, &[&id, &groups, &now, &account]).await?)
                }
                .boxed()
            })
            .await
    }
}

fn owned(caller: CallerRef<'_>) -> (String, Vec<String>) {
    let groups = caller.groups.iter().map(ToString::to_string).collect();
    (caller.id.to_owned(), groups)
}
