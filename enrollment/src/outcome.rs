//! How an enrollment ended: the orchestration's output.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::account::AccountPreview;
use crate::decision::ApprovalDecision;
use crate::ids::EnrollmentId;
use crate::otpauth::Warning;
use crate::problem::InputProblem;

/// An expected end of an enrollment. That the system could not do its work is a
/// failure of the orchestration, and not among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all_fields = "camelCase")]
pub enum EnrollmentOutcome {
    /// The secret is stored; codes are available.
    Enrolled {
        /// The name of the secret in the vault.
        id: EnrollmentId,
        /// What was enrolled.
        preview: AccountPreview,
        /// What was odd about it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<Warning>,
        /// Who agreed, when that was requested.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approval: Option<ApprovalDecision>,
        /// Who agreed before the last one did, when several had to.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        earlier_approvals: Vec<ApprovalDecision>,
    },
    /// What was uploaded cannot be enrolled.
    Invalid {
        /// Why.
        problem: InputProblem,
    },
    /// Someone decided against it. Nothing is stored.
    Rejected {
        /// What would have been enrolled.
        preview: AccountPreview,
        /// Who decided so, and why.
        decision: ApprovalDecision,
    },
    /// Nobody decided in time. Nothing is stored.
    Expired {
        /// What would have been enrolled.
        preview: AccountPreview,
        /// When it was too late.
        deadline: DateTime<Utc>,
    },
}
