//! What is changed about keys and grants, within a transaction.

use countersign_database::{Row, Transaction, announce, execute, one, one_at_a_time};

use super::rows::granted;
use super::{COLUMNS, TOPIC};
use crate::access::grants::{Grant, Granted, Grantee};
use crate::access::identity::Group;
use crate::access::key_error::KeyError;
use crate::access::keys::KeyRecord;
use crate::access::oidc::is_oidc_id;
use crate::access::store::SecretHash;

pub(super) async fn insert(
    transaction: &Transaction<'_>,
    record: &KeyRecord,
    hash: &SecretHash,
    maker: Option<&str>,
) -> Result<(), KeyError> {
    let groups: Vec<&str> = record.groups.iter().map(Group::as_str).collect();
    let written = execute(
        transaction,
        "INSERT INTO access_keys
             (id, name, role, hash, created_at, expires_at, granted_only, member_of)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (name) DO NOTHING",
        &[
            &record.id,
            &record.name,
            &record.role.as_str(),
            &hash.as_slice(),
            &record.created_at.timestamp(),
            &record.expires_at.map(|at| at.timestamp()),
            &record.granted_only,
            &groups,
        ],
    )
    .await?;
    if written == 0 {
        return Err(KeyError::Taken(record.name.clone()));
    }
    if let Some(maker) = maker {
        execute(
            transaction,
            "INSERT INTO access_makers (name, maker) VALUES ($1, $2)",
            &[&record.name, &maker],
        )
        .await?;
    }
    Ok(())
}

/// The key of a caller, which stays as it is until the transaction ends.
pub(super) async fn locked(
    transaction: &Transaction<'_>,
    name: &str,
) -> Result<Option<Row>, KeyError> {
    let sql = format!("SELECT {COLUMNS} FROM access_keys WHERE name = $1 FOR UPDATE");
    Ok(one(transaction, &sql, &[&name]).await?)
}

pub(super) async fn end_sessions(transaction: &Transaction<'_>, key: &str) -> Result<(), KeyError> {
    let subject = format!("k.{key}");
    let sql = "DELETE FROM access_sessions WHERE subject = $1";
    execute(transaction, sql, &[&subject]).await?;
    Ok(())
}

pub(super) async fn put(
    transaction: &Transaction<'_>,
    grant: &Grant,
    keep: bool,
) -> Result<Granted, KeyError> {
    if let Grantee::Caller(id) = &grant.to
        // Nobody knows who there is at another issuer.
        && !is_oidc_id(id)
    {
        let sql = "SELECT granted_only, revoked_at IS NOT NULL FROM access_keys WHERE name = $1";
        let row = one(transaction, sql, &[id]).await?;
        let row = row.ok_or_else(|| KeyError::Unknown(id.clone()))?;
        if row.try_get::<_, bool>(1)? {
            return Err(KeyError::Over(id.clone()));
        }
        if !row.try_get::<_, bool>(0)? {
            return Err(KeyError::NotLimited(id.clone()));
        }
    }
    let (kind, grantee) = grant.to.columns();
    // There may be no row yet that could be locked.
    one_at_a_time(
        transaction,
        "grant",
        &format!("{kind} {grantee} {}", grant.account),
    )
    .await?;
    let before = one(
        transaction,
        "SELECT until, reads_left, reads_granted FROM access_grants
         WHERE kind = $1 AND grantee = $2 AND account = $3 FOR UPDATE",
        &[&kind, &grantee, &grant.account],
    )
    .await?;
    let before = before
        .map(|row| granted(&row, grant.to.clone(), grant.account.clone()))
        .transpose()?;
    if let Some(same) = before
        .as_ref()
        .filter(|it| keep && it.has_the_terms_of(grant))
    {
        return Ok(Granted::Before(same.clone()));
    }
    execute(
        transaction,
        "INSERT INTO access_grants (kind, grantee, account, until, reads_left, reads_granted)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (kind, grantee, account) DO UPDATE
         SET until = excluded.until, reads_left = excluded.reads_left,
             reads_granted = excluded.reads_granted",
        &[
            &kind,
            &grantee,
            &grant.account,
            &grant.until.map(|at| at.timestamp()),
            &grant.reads.map(|reads| i64::from(reads.left())),
            &grant.reads.map(|reads| i64::from(reads.granted())),
        ],
    )
    .await?;
    announce(transaction, TOPIC, &grant.account).await?;
    Ok(Granted::Now(before))
}
