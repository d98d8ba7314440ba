//! Accounts, enrollments and requests by id, the beginning of an id, or
//! an account's name. An ambiguous name is refused, with the matches listed.

use countersign_enrollment::ids::{EnrollmentId, ImportId, RequestId};
use reqwest::StatusCode;
use serde_json::Value;

use super::client::{Api, encode};
use super::output::{account_label, text};
use super::{Exit, Fault, stages};
use crate::name_match::{self, best_matches, may_begin_id, search_term};

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

/// What an enrollment or a request is looked for to do. Of several with one name, those that
/// it can be done with go before the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// To look at it; those that have not ended go first.
    Any,
    /// To end it: it has not ended.
    Open,
    /// To decide on it: it waits for that.
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
        let search = search_term(text);
        let removed = match among {
            Among::InUse => "",
            Among::Removed => "&removed=true",
        };
        let path = format!(
            "/api/accounts?limit={PAGE}&search={}{removed}",
            encode(search)
        );
        let mut rows = self.every(&path, "accounts").await?;
        if rows.is_empty() && !search.is_empty() && may_begin_id(text) {
            let path = format!("/api/accounts?limit={PAGE}{removed}");
            rows = self.every(&path, "accounts").await?;
        }
        let (kind, listed) = match among {
            Among::InUse => ("account", "`countersign list`"),
            Among::Removed => ("removed account", "`countersign list --removed`"),
        };
        let found = only(
            kind,
            listed,
            &best_matches(text, rows.iter().map(|row| (row, row))),
        );
        match found {
            Err(fault) if fault.exit == Exit::NotFound => {
                let spent = match among {
                    Among::InUse => self.no_longer_granted(text).await,
                    Among::Removed => None,
                };
                spent.ok_or_else(|| {
                    suggesting(fault, &name_match::names_that_begin_with(text, &rows))
                })
            }
            found => found,
        }
    }

    /// The account that is called `text` among those whose grant is used up or over: the server
    /// says so of its id. None where nothing was granted to the caller.
    async fn no_longer_granted(&self, text: &str) -> Option<String> {
        let own = self.get("/api/grants/mine").await.ok()?;
        let spent = name_match::used_up(&own);
        let found = best_matches(text, spent.iter().map(|row| (row, row)));
        let (row, _) = found.first()?;
        Some(row["id"].as_str()?.to_owned())
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
            Wanted::Any | Wanted::Open | Wanted::Request => "",
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
        let both = "`countersign list --enrollments` and `countersign list --requests`";
        let (kind, listed) = match wanted {
            Wanted::Any | Wanted::Open => ("enrollment or request", both),
            Wanted::Waiting => ("pending enrollment or request", both),
            Wanted::Request => ("request", "`countersign list --requests`"),
        };
        let requests = requests.iter().map(|row| (row, &row["account"]));
        let enrollments = enrollments.iter().map(|row| (row, &row["preview"]));
        let found = best_matches(text, requests.chain(enrollments));
        let mut best: Vec<_> = found
            .iter()
            .copied()
            .filter(|(row, _)| suits(wanted, row))
            .collect();
        if best.is_empty() {
            if wanted == Wanted::Open && found.len() > 1 {
                let message = format!(
                    "none of the {} enrollments and requests with this name is open",
                    found.len()
                );
                return Err(Fault::new(Exit::NotFound, message));
            }
            best = found;
        }
        only(kind, listed, &best)
    }

    /// The id of the account that is called `text` and waits to be proved. Who may not see
    /// accounts finds those that they enrolled.
    pub(super) async fn unproved(&self, text: &str) -> Result<String, Fault> {
        match self.account(text, Among::InUse).await {
            Err(fault) if fault.exit == Exit::NotAllowed => {}
            found => return found,
        }
        let path = format!("/api/enrollments?limit={PAGE}&stage=Enrolled");
        let enrollments = self.every(&path, "enrollments").await?;
        let asked = enrollments
            .iter()
            .filter(|row| row["proofRequired"] == true);
        one(
            text.trim(),
            "account that waits for its proof",
            asked.map(|row| (row, &row["preview"])),
        )
    }

    /// The rows of every page at `path`, which has a query.
    pub(super) async fn every(&self, path: &str, member: &str) -> Result<Vec<Value>, Fault> {
        let mut rows = Vec::new();
        let mut at = path.to_owned();
        loop {
            let mut page = self.get(&at).await?;
            let more = page.get_mut(member).and_then(Value::as_array_mut);
            rows.append(more.ok_or_else(|| self.is_another(StatusCode::OK))?);
            let Some(next) = page["next"].as_str() else {
                return Ok(rows);
            };
            let next = format!("{path}&cursor={}", encode(next));
            // The same page again and again is no list.
            if next == at {
                return Err(self.is_another(StatusCode::OK));
            }
            at = next;
        }
    }
}

/// Whether what is wanted of a matter can be done with this one.
fn suits(wanted: Wanted, row: &Value) -> bool {
    match wanted {
        Wanted::Request => row["stage"] == "Granted",
        Wanted::Waiting => true,
        Wanted::Any | Wanted::Open => stages::is_open(row),
    }
}

/// A fault for a name that nothing has, with those that it may have been meant for.
fn suggesting(fault: Fault, near: &[&Value]) -> Fault {
    if near.is_empty() {
        return fault;
    }
    let mut message = "there is no account with exactly this name; did you mean:".to_owned();
    for account in near.iter().take(MOST_LISTED) {
        message.push_str("\n  ");
        message.push_str(&account_label(account));
    }
    Fault::new(fault.exit, message)
}

/// The only match among `rows`, each with the value that names its account.
fn one<'a>(
    wanted: &str,
    kind: &str,
    rows: impl Iterator<Item = (&'a Value, &'a Value)>,
) -> Result<String, Fault> {
    only(kind, "`countersign list`", &best_matches(wanted, rows))
}

/// The id of the only one of those that fit; `listed` names the commands that list all.
fn only(kind: &str, listed: &str, found: &[(&Value, &Value)]) -> Result<String, Fault> {
    match found {
        [] => Err(Fault::new(
            Exit::NotFound,
            format!("there is no {kind} with this id or name; see {listed}"),
        )),
        [(row, _)] => Ok(row["id"].as_str().unwrap_or_default().to_owned()),
        several => {
            let kinds: Vec<_> = kind.split(" or ").map(|one| format!("{one}s")).collect();
            let mut message = format!(
                "the name matches {} {}; give more of it, or an id:",
                several.len(),
                kinds.join(" or ")
            );
            for (row, account) in several.iter().take(MOST_LISTED) {
                let parts = [
                    text(row, "id"),
                    account_label(account),
                    text(row, "stage"),
                    since(row),
                ];
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

/// When it came to be what it is, which tells apart what has one name.
fn since(row: &Value) -> String {
    let (word, member) = match (row["removedAt"].is_string(), row["stage"].is_string()) {
        (true, _) => ("removed", "removedAt"),
        (false, true) => ("started", "createdAt"),
        (false, false) => ("added", "createdAt"),
    };
    match text(row, member) {
        at if at.is_empty() => at,
        at => format!("{word} {at}"),
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
