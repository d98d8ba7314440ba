//! What an approver decided: the payload of the approval event.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};

use crate::ids::CallerId;

/// The longest comment, in characters.
pub const MAX_COMMENT_CHARS: usize = 500;

/// A decision on an enrollment.
///
/// Whoever raises the event vouches for `by`: the front door has authenticated the
/// caller. A payload whose comment is too long is refused when it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalDecision {
    /// Whether the secret may be stored.
    pub approved: bool,
    /// Who decided.
    pub by: CallerId,
    /// Why, at most [`MAX_COMMENT_CHARS`] characters.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "short_comment"
    )]
    pub comment: Option<String>,
    /// When.
    pub decided_at: DateTime<Utc>,
}

fn short_comment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let comment = Option::<String>::deserialize(deserializer)?;
    if comment
        .as_ref()
        .is_some_and(|text| text.chars().count() > MAX_COMMENT_CHARS)
    {
        return Err(serde::de::Error::custom("the comment is too long"));
    }
    Ok(comment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_short() {
        let decision = |chars| {
            serde_json::from_value::<ApprovalDecision>(serde_json::json!({
                "approved": true,
                "by": "mallory",
                "comment": "é".repeat(chars),
                "decidedAt": "2026-01-02T03:04:05Z",
            }))
        };
        assert!(decision(MAX_COMMENT_CHARS).is_ok());
        assert!(decision(MAX_COMMENT_CHARS + 1).is_err());
    }
}
