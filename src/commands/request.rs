//! `countersign request`: requests an action on an account, and follows the
//! request.

use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Api, another_than, encode, path_of, with_reason};
use super::find::Among;
use super::output::{self, Progress, account_label, text};
use super::stages::exit;
use super::{Exit, Fault, Outcome, status};
use crate::cli::{AskArgs, RequestCommand};
use crate::duration;

pub(super) async fn run(command: RequestCommand) -> Outcome {
    let (wish, args) = wish(command)?;
    let api = Api::find(&args.server)?;
    let account = api.account(&args.account, Among::InUse).await?;
    let path = format!("/api/accounts/{}/requests", encode(&account));
    let mut request = api.request(Method::POST, &path)?.json(&wish);
    if let Some(key) = &args.idempotency_key {
        request = request.header("idempotency-key", key);
    }
    let started = api.send(request).await?;
    if args.no_wait && !is_settled(&stage(&started), true) {
        return status::started(&started, args.server.json);
    }
    let state = wait(&api, started, false).await?;
    report(&state, args.server.json)
}

/// The body to send, and the arguments of every kind.
fn wish(command: RequestCommand) -> Result<(Value, AskArgs), Fault> {
    let (mut wish, args) = match command {
        RequestCommand::Read { reads, time, ask } => (
            json!({"kind": "read", "reads": reads, "seconds": seconds("for", time)?}),
            ask,
        ),
        RequestCommand::Export { time, ask } => (
            json!({"kind": "export", "seconds": seconds("for", time)?}),
            ask,
        ),
        RequestCommand::Transfer { to, ask } => (json!({"kind": "transfer", "to": to}), ask),
        RequestCommand::Delete { after, now, ask } => {
            let seconds = if now {
                Some(0)
            } else {
                seconds("after", after)?
            };
            (json!({"kind": "delete", "seconds": seconds}), ask)
        }
    };
    wish["reason"] = json!(args.reason);
    Ok((wish, args))
}

/// A length of time in whole seconds, as requests need it.
fn seconds(flag: &str, text: Option<String>) -> Result<Option<u64>, Fault> {
    let Some(text) = text else { return Ok(None) };
    let wrong = |reason: &str| Fault::new(Exit::Usage, format!("--{flag}: {reason}, not {text:?}"));
    let time = duration::parse(&text).map_err(|reason| wrong(&reason))?;
    if time.subsec_nanos() != 0 {
        return Err(wrong("use whole seconds"));
    }
    Ok(Some(time.as_secs()))
}

/// Follows a request until it has finished or is granted; or, unless people and dates are
/// waited for too, until it depends on those.
pub(super) async fn wait(api: &Api, state: Value, follow: bool) -> Result<Value, Fault> {
    let mut progress = Progress::new();
    let mut state = state;
    let path = path_of(&text(&state, "id"));
    loop {
        let stage = stage(&state);
        if is_settled(&stage, follow) {
            progress.end();
            return Ok(state);
        }
        progress.show(words(&stage));
        let query = another_than(&stage);
        state = api.follow(&path, &query, &mut progress).await?;
    }
}

/// Prints a request and ends with the exit code that belongs to its stage.
pub(super) fn report(state: &Value, json: bool) -> Outcome {
    let stage = stage(state);
    if json {
        output::document(state)?;
    } else {
        describe(state, &stage);
    }
    match exit(&stage) {
        None => Ok(()),
        Some(exit) => Err(Fault::quiet(exit)),
    }
}

/// What a request grants: a `code` or a `recovery-code`, with the `reason` for using it. If it grants nothing now, the exit
/// code belongs to its stage, as that of `status` does.
pub(super) async fn granted(
    api: &Api,
    id: &str,
    what: &str,
    reason: Option<&str>,
) -> Result<Value, Fault> {
    let path = path_of(id);
    let asked = api.request(Method::POST, &format!("{path}/{what}"))?;
    let refusal = match api.try_send(with_reason(asked, reason)).await? {
        Ok(given) => return Ok(given),
        Err(refusal) => refusal,
    };
    if refusal.problem["code"] != "not-granted" {
        return Err(refusal.into_fault());
    }
    let stage = stage(&api.get(&path).await?);
    let Some(exit) = exit(&stage) else {
        return Err(refusal.into_fault());
    };
    let message = match exit {
        Exit::StillRunning => format!(
            "the request is {stage}, so there is no code yet: wait for the decision with \
             `countersign status {id} --follow`"
        ),
        _ => format!("the request is {stage}: there is no code. Make a new request"),
    };
    Err(Fault::new(exit, message))
}

/// `read`, `export`, `transfer`, `delete` or `recoveryCodes`.
pub(super) fn kind(state: &Value) -> &str {
    state["kind"].as_str().unwrap_or_default()
}

pub(super) fn stage(state: &Value) -> String {
    text(state, "stage")
}

/// Whether to stop waiting.
fn is_settled(stage: &str, follow: bool) -> bool {
    match stage {
        "Pending" | "Acting" => false,
        "AwaitingApproval" | "Removing" => !follow,
        _ => true,
    }
}

fn words(stage: &str) -> &'static str {
    match stage {
        "Pending" => "waiting for a worker",
        "AwaitingApproval" => "waiting for approval",
        "Removing" => "waiting for its date",
        _ => "in progress",
    }
}

fn describe(state: &Value, stage: &str) {
    let id = text(state, "id");
    let account = &state["account"];
    let label = account_label(account);
    output::line(&format!("{id}  {stage}"));
    output::line(format!("  account   {}  {label}", text(account, "id")).trim_end());
    output::line(&format!("  request   {}", terms(state)));
    output::line(&format!("  by        {}", text(state, "requestedBy")));
    for (member, title) in [
        ("reason", "reason"),
        ("until", "until"),
        ("removalAt", "removal"),
    ] {
        let said = text(state, member);
        if !said.is_empty() {
            output::line(&format!("  {title:<8}  {said}"));
        }
    }
    if let Some(reads) = state["readsLeft"].as_u64() {
        output::line(&format!("  reads     {reads} left"));
    }
    status::describe_decision(&state["approval"]["decision"]);
    match (stage, kind(state)) {
        ("AwaitingApproval", _) => output::note(&format!(
            "Another person must approve it by {}: countersign approve {id}",
            text(&state["approval"], "deadline")
        )),
        ("Granted", "read") => output::note(&format!("Next: countersign token {id}")),
        ("Granted", _) => output::note(&format!("Next: countersign export {id} --output FILE")),
        ("Removing", _) => output::note(&format!(
            "The account is disabled now. It is destroyed on that date unless someone cancels the \
             removal: countersign cancel {id}"
        )),
        ("Done", "transfer") => output::note(&format!(
            "Next: countersign export {id} --output FILE here, countersign receive FILE there"
        )),
        _ => {}
    }
}

/// The request's terms, in a few words.
fn terms(state: &Value) -> String {
    let time = span(state["seconds"].as_u64().unwrap_or_default());
    match kind(state) {
        "read" => match state["reads"].as_u64() {
            Some(1) => format!("read a code within {time}"),
            _ => format!("read {} codes within {time}", state["reads"]),
        },
        "export" => format!("export it within {time}"),
        "transfer" => format!("transfer it to {}", text(state, "to")),
        "delete" => format!("delete it after {time}"),
        "recoveryCodes" if state["count"] == 0 => "remove its recovery codes".to_owned(),
        "recoveryCodes" => format!("set {} recovery codes", state["count"]),
        _ => text(state, "kind"),
    }
}

/// A length of time in its largest whole unit.
fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let whole = units
        .into_iter()
        .find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit));
    match whole {
        Some((unit, name)) => format!("{}{name}", seconds / unit),
        None => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_seconds_both_ways() {
        for (text, read) in [("15m", 900), ("7d", 604_800), ("1h30m", 5_400)] {
            assert_eq!(seconds("for", Some(text.to_owned())).unwrap(), Some(read));
        }
        assert_eq!(seconds("for", None).unwrap(), None);
        for text in ["250ms", "1500ms", "0s", "soon"] {
            let wrong = seconds("after", Some(text.to_owned())).unwrap_err();
            assert_eq!(wrong.exit, Exit::Usage);
            assert!(wrong.message.unwrap().contains("--after"), "{text}");
        }
        for (seconds, text) in [(0, "0s"), (900, "15m"), (604_800, "7d"), (5_401, "5401s")] {
            assert_eq!(span(seconds), text);
        }
    }
}
