//! How far an enrollment is: the orchestration's custom status.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::account::AccountPreview;
use crate::ids::CallerId;
use crate::otpauth::Warning;

/// The step that an enrollment is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all_fields = "camelCase")]
pub enum Progress {
    /// The QR code is being looked for.
    Decoding,
    /// The URI is being checked.
    Validating,
    /// Someone has to decide.
    AwaitingApproval {
        /// What would be enrolled.
        preview: AccountPreview,
        /// What is odd about it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<Warning>,
        /// Who asked for it. They cannot decide.
        requested_by: CallerId,
        /// When it is too late.
        deadline: DateTime<Utc>,
        /// Tells the secret from any other to those who hold the decision key, and
        /// says nothing to anyone else. Empty if decisions are not signed.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        fingerprint: String,
        /// Who has agreed so far.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        approved_by: Vec<CallerId>,
    },
    /// The secret is being stored.
    Storing,
}
