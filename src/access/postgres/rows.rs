//! Rows of the shared database, read.

use chrono::{DateTime, Utc};
use countersign_database::Row;

use crate::access::grants::{Grant, Grantee, Reads};
use crate::access::identity::Group;
use crate::access::key_error::KeyError;
use crate::access::keys::KeyRecord;

/// A grant whose first three columns are its end, the number of reads left, and that granted.
pub(super) fn granted(row: &Row, to: Grantee, account: String) -> Result<Grant, KeyError> {
    let (left, granted): (Option<i64>, Option<i64>) = (row.try_get(1)?, row.try_get(2)?);
    let count = |reads: i64| u32::try_from(reads).map_err(|_| KeyError::Malformed);
    Ok(Grant {
        to,
        account,
        until: moment(row.try_get(0)?)?,
        reads: match granted.zip(left) {
            Some((granted, left)) => Some(Reads::stored(count(granted)?, count(left)?)),
            None => None,
        },
    })
}

pub(super) fn record(row: &Row) -> Result<KeyRecord, KeyError> {
    let created_at = moment(Some(row.try_get("created_at")?))?;
    let groups: Vec<String> = row.try_get("member_of")?;
    let role: &str = row.try_get("role")?;
    Ok(KeyRecord {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        role: role.parse().map_err(|_| KeyError::Malformed)?,
        created_at: created_at.ok_or(KeyError::Malformed)?,
        revoked_at: moment(row.try_get("revoked_at")?)?,
        expires_at: moment(row.try_get("expires_at")?)?,
        last_used_at: moment(row.try_get("last_used_at")?)?,
        granted_only: row.try_get("granted_only")?,
        groups: groups
            .iter()
            .map(|name| group(name))
            .collect::<Result<_, _>>()?,
        former_key_until: moment(row.try_get("former_until")?)?,
    })
}

pub(super) fn group(name: &str) -> Result<Group, KeyError> {
    name.parse().map_err(|_| KeyError::Malformed)
}

pub(super) fn moment(seconds: Option<i64>) -> Result<Option<DateTime<Utc>>, KeyError> {
    seconds
        .map(|seconds| DateTime::from_timestamp(seconds, 0).ok_or(KeyError::Malformed))
        .transpose()
}
