//! Problem documents (RFC 9457) as text.

use serde_json::Value;

/// The command that does what a problem asks for, where the server names a path of its API.
const COMMANDS: [(&str, &str); 5] = [
    (
        "approval-needed",
        "Another person must approve each reading of this account's codes. Request one with \
         `countersign request read ACCOUNT`.",
    ),
    (
        "account-pending",
        "The person who enrolled it must first prove that the other service accepts two of its \
         codes, with `countersign prove ACCOUNT`.",
    ),
    (
        "already-proved",
        "There is nothing to prove; read its codes with `countersign token ACCOUNT`.",
    ),
    (
        "key-unknown",
        "There is no API key with this name. See `countersign key list`.",
    ),
    (
        "grant-unknown",
        "This account is not granted to this caller or group. See `countersign grant list`.",
    ),
];

/// What the API's texts say, and what commands say instead.
const FLAGS: [(&str, &str); 4] = [
    ("Idempotency-Key", "--idempotency-key"),
    ("`minValidity`", "--min-validity"),
    (
        "Send a URI as text/plain or in the JSON member `uri`, and a QR code as a PNG or JPEG image.",
        "Name an image of a QR code, or give an otpauth:// URI. For lists and exports of other \
         apps, use `countersign import`.",
    ),
    (
        "`sealKey` in its GET /api/system",
        "which `countersign seal-key` prints there",
    ),
];

/// A problem as someone at a command line needs it: commands and flags in place of paths and
/// parameters of the API.
pub(crate) fn for_commands(problem: &Value) -> Value {
    let mut told = problem.clone();
    for member in ["title", "detail", "nextStep"] {
        if let Some(text) = told[member].as_str() {
            let text = FLAGS.iter().fold(text.to_owned(), |text, (name, flag)| {
                text.replace(name, flag)
            });
            told[member] = Value::from(text);
        }
    }
    let code = problem["code"].as_str().unwrap_or_default();
    if let Some((_, said)) = COMMANDS.iter().find(|(known, _)| *known == code) {
        told["detail"] = Value::from(*said);
    }
    told
}

/// A problem document as sentences; none if it has neither title nor detail.
pub(crate) fn sentence(problem: &Value) -> Option<String> {
    let said: Vec<String> = ["title", "detail", "nextStep"]
        .into_iter()
        .filter_map(|name| problem[name].as_str())
        .map(|text| {
            if text.ends_with(['.', '?', '!']) {
                text.to_owned()
            } else {
                format!("{text}.")
            }
        })
        .collect();
    (!said.is_empty()).then(|| said.join(" "))
}
