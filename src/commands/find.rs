//! Accounts, enrollments and requests by id, the beginning of an id, or
//! an account's name. An ambiguous name is refused, with the matches listed.

use countersign_enrollment::ids::{EnrollmentId, ImportId, RequestId};
use serde_json::Value;

use super::client::{Api, encode};
use super::output::{account_label, text};
use super::{Exit, Fault};
use crate::called::{begins_id, fitting, sought};

/// Rows on one page: the most that the server gives.
const PAGE: usize = 200;
/// How many matches are listed.
const MOST_LISTED: usize = 20;
/// Which accounts are searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Among {
    InUse,
    Removed,
}

/// What the found enrollment or request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// To show or end it.
    Any,
    /// To decide on it: it is waiting for approval.
    Waiting,
    /// To use what it granted: it is a request.
    Request,
}

impl Api {
    /// The id of the account that `text` refers to.
    pub(super) async fn account(&self, text: &str, among: Among) -> Result<String, Fault> {
        let text = text.trim();
        if text.parse::<EnrollmentId>().is_ok() {
            return Ok(text.to_owned());
        }
        let search = sought(text);
        let removed = match among {
            Among::InUse => "",
            Among::Removed => "&removed=true",
        };
        let path = format!(
            "/api/accounts?limit={PAGE}&search={}{removed}",
            encode(search)
        );
        let mut rows = self.every(&path, "accounts").await?;
        if rows.is_empty() && !search.is_empty() && begins_id(text) {
            let path = format!("/api/accounts?limit={PAGE}{removed}");
            rows = self.every(&path, "accounts").await?;
        }
        one(text, "account", rows.iter().map(|row| (row, row)))
    }

    /// The id of the enrollment or request that `text` refers to.
    pub(super) async fn matter(&self, text: &str, wanted: Wanted) -> Result<String, Fault> {
        let text = text.trim();
        let is_id = text.parse::<EnrollmentId>().is_ok()
            || text.parse::<ImportId>().is_ok()
            || text.parse::<RequestId>().is_ok();
        if is_id {
            return Ok(text.to_owned());
        }
        let stage = match wanted {
            Wanted::Waiting => "&stage=AwaitingApproval",
            Wanted::Any | Wanted::Request => "",
        };
        let requests = self
            .every(&format!("/api/requests?limit={PAGE}{stage}"), "requests")
            .await?;
        let enrollments = match wanted {
            Wanted::Request => Vec::new(),
            // Callers that may only read accounts see requests, but no enrollments.
            _ => self
                .every(
                    &format!("/api/enrollments?limit={PAGE}{stage}"),
                    "enrollments",
                )
                .await
                .or_else(|fault| match fault.exit {
                    Exit::NotAllowed => Ok(Vec::new()),
                    _ => Err(fault),
                })?,
        };
        let kind = match wanted {
            Wanted::Any => "enrollment or request",
            Wanted::Waiting => "pending enrollment or request",
            Wanted::Request => "request",
        };
        let requests = requests.iter().map(|row| (row, &row["account"]));
        let enrollments = enrollments.iter().map(|row| (row, &row["preview"]));
        one(text, kind, requests.chain(enrollments))
    }

    /// The rows of every page at `path`, which has a query.
    pub(super) async fn every(&self, path: &str, member: &str) -> Result<Vec<Value>, Fault> {
        let mut rows = Vec::new();
        let mut at = path.to_owned();
        loop {
            let mut page = self.get(&at).await?;
            if let Some(more) = page[member].as_array_mut() {
                rows.append(more);
            }
            match page["next"].as_str() {
                Some(next) => at = format!("{path}&cursor={}", encode(next)),
                None => return Ok(rows),
            }
        }
    }
}

/// The only match among `rows`, each with the value that names its account.
fn one<'a>(
    wanted: &str,
    kind: &str,
    rows: impl Iterator<Item = (&'a Value, &'a Value)>,
) -> Result<String, Fault> {
    let found = fitting(wanted, rows);
    match found.as_slice() {
        [] => Err(Fault::new(
            Exit::NotFound,
            format!("there is no {kind} with this id or name; see `countersign list`"),
        )),
        [(row, _)] => Ok(row["id"].as_str().unwrap_or_default().to_owned()),
        several => {
            let mut message = format!("{} match; give more of the name, or an id:", several.len());
            for (row, account) in several.iter().take(MOST_LISTED) {
                let parts = [text(row, "id"), account_label(account), text(row, "stage")];
                let parts = parts.into_iter().filter(|part| !part.is_empty());
                message.push_str("\n  ");
                message.push_str(&parts.collect::<Vec<_>>().join("  "));
            }
            if several.len() > MOST_LISTED {
                message.push_str("\n  \u{2026}");
            }
            Err(Fault::new(Exit::Ambiguous, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn account(id: &str, issuer: &str, name: &str) -> Value {
        json!({ "id": id, "issuer": issuer, "accountName": name })
    }

    #[test]
    fn a_whole_name_goes_before_the_beginning_of_another() {
        let rows = [
            account("totp-aaaa1", "GitHub", "octo"),
            account("totp-aaab2", "GitHub", "octocat"),
            account("totp-bbbb3", "GitLab", "octo"),
        ];
        let found = |text: &str| {
            one(text, "account", rows.iter().map(|row| (row, row))).map_err(|fault| fault.exit)
        };
        for (text, id) in [
            ("GitHub: octo", "totp-aaaa1"),
            ("github octo", "totp-aaaa1"),
            ("octocat", "totp-aaab2"),
            ("GITLAB", "totp-bbbb3"),
            ("gitlab:o", "totp-bbbb3"),
            ("octoc", "totp-aaab2"),
            ("totp-aaab", "totp-aaab2"),
            ("bbbb", "totp-bbbb3"),
        ] {
            assert_eq!(found(text).as_deref(), Ok(id), "{text}");
        }
        for text in ["octo", "git", "GitHub", "totp-aaa", "aaa"] {
            let expected = match text {
                // Too short for an id, and no name.
                "aaa" => Exit::NotFound,
                _ => Exit::Ambiguous,
            };
            assert_eq!(found(text), Err(expected), "{text}");
        }
        // An account by its full name is that account, and no other whose name begins so.
        assert_eq!(found("GitHub: octoc"), Err(Exit::NotFound));
        assert_eq!(found("nobody"), Err(Exit::NotFound));
        assert_eq!(found(""), Err(Exit::NotFound));
    }
}
