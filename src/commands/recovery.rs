//! `countersign recovery-codes`: counts, takes and sets an account's recovery codes.

use countersign_enrollment::recovery::{MAX_CODE_BYTES, MAX_CODES, RecoveryCodes};
use countersign_enrollment::text;
use reqwest::Method;
use serde_json::json;

use super::client::{Api, encode, is_request};
use super::find::{Among, Wanted};
use super::request::{granted, report, stage, wait};
use super::{Exit, Fault, Outcome, input, output, status};
use crate::cli::{AskArgs, RecoveryCommand};

/// The longest file of codes, in bytes: twice what UTF-16 needs.
const MAX_FILE: u64 = 4 * (MAX_CODES * (MAX_CODE_BYTES + 2)) as u64;

pub(super) async fn run(command: RecoveryCommand) -> Outcome {
    match command {
        RecoveryCommand::Count { id, server } => {
            let api = Api::find(&server)?;
            let id = api.account(&id, Among::InUse).await?;
            let path = format!("/api/accounts/{}/recovery-codes", encode(&id));
            let count = api.send(api.request(Method::GET, &path)?).await?;
            if server.json {
                return output::document(&count);
            }
            output::line(&format!("{} of {} left", count["left"], count["total"]));
            Ok(())
        }
        RecoveryCommand::Take { id, server } => {
            let api = Api::find(&server)?;
            let taken = if is_request(&id) {
                let id = api.matter(&id, Wanted::Request).await?;
                granted(&api, &id, "recovery-code", None).await?
            } else {
                let id = api.account(&id, Among::InUse).await?;
                let path = format!("/api/accounts/{}/recovery-code", encode(&id));
                api.post(&path).await?
            };
            if server.json {
                return output::document(&taken);
            }
            output::line(taken["code"].as_str().unwrap_or_default());
            output::note(&format!("{} left", taken["left"]));
            Ok(())
        }
        RecoveryCommand::Set { file, ask } => {
            let codes = read(&file)?;
            if codes.is_empty() {
                let message = "the file contains no codes: to remove existing ones, use \
                               `countersign recovery-codes remove`";
                return Err(Fault::new(Exit::Usage, message));
            }
            set(&codes, ask).await
        }
        RecoveryCommand::Remove { ask } => set(&RecoveryCodes::default(), ask).await,
    }
}

async fn set(codes: &RecoveryCodes, args: AskArgs) -> Outcome {
    let api = Api::find(&args.server)?;
    let id = api.account(&args.account, Among::InUse).await?;
    let path = format!("/api/accounts/{}/recovery-codes", encode(&id));
    let codes: Vec<&str> = codes.expose().collect();
    let body = json!({"codes": codes, "reason": args.reason});
    let mut request = api.request(Method::PUT, &path)?.json(&body);
    if let Some(key) = &args.idempotency_key {
        request = request.header("idempotency-key", key);
    }
    let started = api.send(request).await?;
    if args.no_wait && stage(&started) != "Done" {
        return status::started(&started, args.server.json);
    }
    let state = wait(&api, started, false).await?;
    report(&state, args.server.json)
}

/// The codes in a file, one a line.
pub(super) fn read(file: &str) -> Result<RecoveryCodes, Fault> {
    let bytes = input::read(file, MAX_FILE + 1)?;
    if bytes.len() as u64 > MAX_FILE {
        let message = format!("the file contains more than {MAX_CODES} recovery codes");
        return Err(Fault::new(Exit::Usage, message));
    }
    let text = text::decode(&bytes).map_err(|unknown| {
        let message = format!(
            "the file is not in UTF-8 or UTF-16 but in {}",
            unknown.looks_like
        );
        Fault::new(Exit::Usage, message)
    })?;
    RecoveryCodes::of_lines(&text).map_err(|error| Fault::new(Exit::Usage, error.to_string()))
}
