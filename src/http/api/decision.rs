//! The body of a decision, on an enrollment or a request.

use countersign_enrollment::decision::MAX_COMMENT_CHARS;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::audit::Action;
use crate::http::edge::error::ApiError;
use crate::http::edge::facts::Facts;
use crate::http::edge::parameters::short_text;

/// A decision.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DecisionBody {
    approved: bool,
    /// The reason, for readers of the audit log.
    #[schema(max_length = 500)]
    comment: Option<String>,
}

impl DecisionBody {
    /// Whether it is approved, and the comment; both noted for the audit log.
    pub(super) fn read(self, facts: &mut Facts) -> Result<(bool, Option<String>), ApiError> {
        let comment = short_text("comment", self.comment, MAX_COMMENT_CHARS)?;
        facts.action = Some(if self.approved {
            Action::Approve
        } else {
            Action::Reject
        });
        facts.reason.clone_from(&comment);
        Ok((self.approved, comment))
    }
}
