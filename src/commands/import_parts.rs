//! More accounts than one import takes: sent in several parts, reported as one.

use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::import::{
    self as import_list, Budget, CodesBeside, ImportFile, MAX_ACCOUNTS,
};
use countersign_enrollment::problem::InputProblem;
use countersign_enrollment::recovery::RecoveryCodes;
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::client::Api;
use super::{Exit, Fault, Outcome, import, output};
use crate::cli::ImportArgs;
use crate::memory;

/// The accounts of some files, in order.
pub(super) struct ImportParts {
    accounts: Vec<FoundAccount>,
}

struct FoundAccount {
    /// Its name in the source; may be empty.
    name: String,
    account: Result<TotpAccount, InputProblem>,
    /// The recovery codes beside it.
    beside: CodesBeside,
}

impl ImportParts {
    /// Reads the files here. None if they contain what only the server can read, which is
    /// images, or parts of an export without the others.
    pub(super) fn of(contents: &[Zeroizing<Vec<u8>>], password: Option<&str>) -> Option<Self> {
        let budget = Budget::new().with_spare_memory(memory::to_spare());
        let mut entries = Vec::new();
        for content in contents {
            let file = ImportFile::read_all(content, password, &budget).ok()?;
            if !file.images.is_empty() {
                return None;
            }
            entries.extend(file.list.entries);
        }
        let (found, problems) = import_list::expand(&entries);
        let accounts = found.into_iter().map(|found| FoundAccount {
            name: found.name,
            account: found.parsed.map(|parsed| parsed.account),
            beside: found.beside,
        });
        problems.is_empty().then(|| Self {
            accounts: accounts.collect(),
        })
    }

    /// Imports one part after the other, waits for each, and reports all of them together.
    pub(super) async fn import(&self, api: &Api, args: &ImportArgs, path: &str) -> Outcome {
        if args.no_wait {
            return Err(Fault::new(
                Exit::Usage,
                format!(
                    "more than {MAX_ACCOUNTS} accounts are imported in several parts, one after \
                     the other, which --no-wait does not support"
                ),
            ));
        }
        let count = self.accounts.len();
        output::note(&format!(
            "{count} accounts are more than one import can take; importing them in several parts."
        ));
        let mut whole = Whole::default();
        for (number, part) in (1..).zip(self.accounts.chunks(MAX_ACCOUNTS)) {
            let sent = list(part)?;
            let ended = if part.iter().all(|found| found.account.is_err()) {
                json!({"accounts": []})
            } else {
                let mut request = api
                    .request(Method::POST, path)?
                    .header("content-type", "application/json")
                    .body(sent.to_vec());
                if let Some(key) = &args.idempotency_key {
                    request = request.header("idempotency-key", format!("{key}-{number}"));
                }
                match api.try_send(request).await? {
                    Ok(started) => import::wait(api, started).await?,
                    Err(refusal) => return Err(refusal.into_fault()),
                }
            };
            whole.add(part, &ended);
        }
        import::report(&whole.state(args.dry_run), args.server.json)
    }
}

/// An account as it is sent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SentAccount<'a> {
    uri: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recovery_codes: Vec<&'a str>,
}

/// The accounts of a part that can be enrolled, with their recovery codes.
fn list(part: &[FoundAccount]) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let of_account = |found: &FoundAccount| Some(found.account.as_ref().ok()?.to_uri());
    let uris: Vec<_> = part.iter().map(of_account).collect();
    let accounts = part.iter().zip(&uris);
    document(
        accounts.filter_map(|(found, uri)| Some((uri.as_ref()?.as_str(), &found.beside.codes))),
    )
}

/// A list of accounts with their recovery codes, in the form that imports read.
pub(super) fn document<'a>(
    accounts: impl IntoIterator<Item = (&'a str, &'a RecoveryCodes)>,
) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let accounts: Vec<SentAccount<'_>> = accounts
        .into_iter()
        .map(|(uri, recovery)| SentAccount {
            uri,
            recovery_codes: recovery.expose().collect(),
        })
        .collect();
    // Room for everything, so that no copy stays behind when it grows: an escaped character
    // takes at most six times its length.
    let room = accounts.iter().map(|account| {
        let codes = account.recovery_codes.iter();
        64 + 6 * (account.uri.len() + codes.map(|code| code.len() + 1).sum::<usize>())
    });
    let mut sent = Zeroizing::new(Vec::with_capacity(room.sum()));
    serde_json::to_writer(&mut *sent, &accounts).map_err(Fault::failed)?;
    Ok(sent)
}

/// The result of all parts.
#[derive(Default)]
struct Whole {
    ids: Vec<String>,
    stages: Vec<String>,
    approval_required: bool,
    accounts: Vec<Value>,
    problems: Vec<Value>,
}

impl Whole {
    fn add(&mut self, part: &[FoundAccount], ended: &Value) {
        let before = self.accounts.len();
        self.ids.extend(ended["id"].as_str().map(ToOwned::to_owned));
        self.stages
            .extend(ended["stage"].as_str().map(ToOwned::to_owned));
        self.approval_required |= ended["approvalRequired"] == true;
        self.problems
            .extend(ended["problems"].as_array().into_iter().flatten().cloned());
        let mut answers = ended["accounts"].as_array().into_iter().flatten();
        for found in part {
            let mut account = match &found.account {
                Ok(_) => answers.next().cloned().unwrap_or_else(|| json!({})),
                Err(problem) => json!({
                    "result": "invalid",
                    "recoveryCodes": found.beside.count(),
                    "problem": {
                        "code": problem.code(),
                        "detail": problem.detail(),
                        "nextStep": problem.next_step(),
                    },
                }),
            };
            // What was not read here is not sent, and the server cannot say so.
            if let Some(warning) = found.beside.warning() {
                let mut told = json!(&warning);
                told["detail"] = json!(warning.detail());
                match account["warnings"].as_array_mut() {
                    Some(warnings) => warnings.push(told),
                    None => account["warnings"] = json!([told]),
                }
            }
            account["position"] = json!(self.accounts.len() + 1);
            if let Some(of) = account["repeats"].as_u64() {
                account["repeats"] = json!(place(part, of).map(|at| before + at));
            }
            if !found.name.is_empty() {
                account["name"] = json!(found.name);
            }
            self.accounts.push(account);
        }
    }

    fn state(self, dry_run: bool) -> Value {
        let ended_otherwise = self.stages.iter().find(|stage| *stage != "Done");
        json!({
            "id": self.ids.join(" "),
            "stage": ended_otherwise.map_or("Done", String::as_str),
            "dryRun": dry_run,
            "approvalRequired": self.approval_required,
            "accounts": self.accounts,
            "problems": self.problems,
        })
    }
}

/// The index of the account that its part sent at `position`, counted from 1.
fn place(part: &[FoundAccount], position: u64) -> Option<usize> {
    let index = usize::try_from(position.checked_sub(1)?).ok()?;
    let sent = part
        .iter()
        .enumerate()
        .filter(|(_, found)| found.account.is_ok());
    sent.map(|(at, _)| at + 1).nth(index)
}
