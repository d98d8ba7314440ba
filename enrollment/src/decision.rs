//! What an approver decided: the payload of the approval event.
//!
//! Anyone who can reach the task hub can raise an event. So the front door, which has
//! authenticated the approver, signs the decision, and what acts on it checks the signed
//! text; what is next to it is for people who look at the history.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};

use crate::ids::CallerId;
use crate::mandate::SignedDecision;

/// The longest comment, in characters.
pub const MAX_COMMENT_CHARS: usize = 500;
/// The most people that can be asked to agree to one enrollment.
pub const MAX_APPROVALS: u8 = 10;
/// The most groups that can be asked.
pub const MAX_APPROVER_GROUPS: usize = 10;
/// The most reminders of one decision.
pub const MAX_REMINDERS: usize = 10;

/// A decision on an enrollment or a request.
// A payload whose comment is too long is refused when it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ApprovalDecision {
    /// Whether it may be done.
    pub approved: bool,
    /// Who decided.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub by: CallerId,
    /// The reason, at most 500 characters.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "short_comment"
    )]
    pub comment: Option<String>,
    /// When it was decided.
    #[serde(serialize_with = "crate::time::millis")]
    pub decided_at: DateTime<Utc>,
    /// For which of the required groups, if there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// A decision as it is raised: with what the front door has signed, or without it when
/// something else raised it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaisedDecision {
    /// What is claimed to be decided.
    #[serde(flatten)]
    pub decision: ApprovalDecision,
    /// What was decided, signed.
    #[serde(default, skip_serializing_if = "SignedDecision::is_empty")]
    pub signed: SignedDecision,
    /// What releases before mandates raised instead. It has no effect; that it is there
    /// tells how such an orchestration continued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<FormerSignature>,
}

/// The signature of a release before mandates. Its content is not looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerSignature {}

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
            serde_json::from_value::<RaisedDecision>(serde_json::json!({
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
