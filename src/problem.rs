//! Problem documents (RFC 9457) as text.

use serde_json::Value;

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
