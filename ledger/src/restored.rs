//! A ledger that was restored from a backup: its content is from an earlier moment.

use std::path::Path;

use countersign_authority::LedgerId;
use data_encoding::BASE64URL_NOPAD;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::LedgerError;

/// A summary of a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerContents {
    /// Its name.
    pub id: LedgerId,
    /// How many mandates it holds.
    pub mandates: u64,
    /// How many matters are open.
    pub open: u64,
}

/// What is in the ledger at `path`: of a copy that nobody changes in the meantime. Changes nothing.
/// Blocks.
///
/// # Errors
///
/// [`LedgerError`] when it cannot be read, or is not a ledger.
pub fn contents(path: &Path) -> Result<LedgerContents, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    let (id, mandates, open): (String, i64, i64) = connection.query_row(
        "SELECT (SELECT id FROM ledger), (SELECT count(*) FROM mandates),
                (SELECT count(*) FROM matters WHERE status = 'open')",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    Ok(LedgerContents {
        id: id.parse().map_err(|_| LedgerError::Malformed)?,
        mandates: u64::try_from(mandates).unwrap_or(0),
        open: u64::try_from(open).unwrap_or(0),
    })
}

pub(crate) fn withdraw_granted(connection: &Connection) -> Result<Vec<String>, LedgerError> {
    let open: Vec<(i64, String, String, i64)> = connection
        .prepare(
            "SELECT matters.number, matters.about, mandates.token,
                    (SELECT count(*) FROM decisions WHERE matter = matters.number)
             FROM matters JOIN mandates ON mandates.run = matters.run
             WHERE matters.status = 'open' ORDER BY matters.number",
        )?
        .query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut withdrawn = Vec::new();
    for (number, about, token, decisions) in open {
        if !lets_out(&token, decisions) {
            continue;
        }
        connection
            .prepare_cached(
                "UPDATE matters SET status = 'withdrawn', version = version + 1 WHERE number = ?1",
            )?
            .execute([number])?;
        withdrawn.push(about);
    }
    Ok(withdrawn)
}

/// Whether a mandate lets codes or a URI out, and has enough approvals. One that
/// cannot be read counts as such; nothing is permitted by it, so its signature is not checked.
fn lets_out(token: &str, decisions: i64) -> bool {
    let payload = token
        .split('.')
        .nth(1)
        .and_then(|part| BASE64URL_NOPAD.decode(part.as_bytes()).ok())
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let Some(mandate) = payload else {
        return true;
    };
    let of_kind = match mandate["act"]["deed"].as_str() {
        Some("request") => {
            let kind = mandate["act"]["act"]["kind"].as_str();
            !matches!(kind, Some("transfer" | "delete" | "recoveryCodes"))
        }
        Some(_) => false,
        None => true,
    };
    let needed = mandate["terms"]["needed"].as_i64().unwrap_or(0);
    of_kind && decisions >= needed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(mandate: &Value) -> String {
        let payload = BASE64URL_NOPAD.encode(mandate.to_string().as_bytes());
        format!("head.{payload}.signature")
    }

    #[test]
    fn only_what_is_granted_and_counted_is_withdrawn() {
        let request = |kind: &str, needed: u32| {
            token(&json!({
                "act": {"deed": "request", "act": {"kind": kind}},
                "terms": {"needed": needed},
            }))
        };
        for (kind, needed, decisions, withdrawn) in [
            ("read", 1, 1, true),
            ("export", 2, 2, true),
            ("read", 0, 0, true),
            ("read", 1, 0, false),
            ("export", 2, 1, false),
            ("delete", 1, 1, false),
            ("transfer", 1, 1, false),
            ("recoveryCodes", 1, 1, false),
            ("of a later release", 1, 1, true),
        ] {
            assert_eq!(
                lets_out(&request(kind, needed), decisions),
                withdrawn,
                "{kind} {needed} {decisions}"
            );
        }
        let enroll = token(&json!({"act": {"deed": "enroll"}, "terms": {"needed": 1}}));
        assert!(!lets_out(&enroll, 1));
        assert!(lets_out("not a mandate", 0));
    }
}
