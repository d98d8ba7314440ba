//! Problem documents (RFC 9457) in words.

use serde_json::Value;

/// What a problem document says, as sentences; none if it says nothing.
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
