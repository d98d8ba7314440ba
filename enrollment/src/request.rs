//! What is asked for: the orchestration's input.

use serde::{Deserialize, Serialize};

use crate::ids::CallerId;
use crate::sealed::{ImageBytes, OtpauthText, Sealed};

/// One request to enroll an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnrollmentRequest {
    /// Where the account comes from.
    pub source: Source,
    /// Whether somebody else has to agree.
    pub approval: Approval,
    /// Who asks. They cannot approve it.
    pub requested_by: CallerId,
    /// Whether the requester has to prove with the other service that the account's
    /// codes are accepted before anybody gets them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prove: bool,
    /// A keyed hash of what was uploaded, made by the front door. It tells a repeated
    /// request from another one under the same idempotency key.
    pub fingerprint: String,
}

/// What was uploaded, sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// A picture of a QR code.
    Image(Sealed<ImageBytes>),
    /// A text that should be an otpauth URI.
    Uri(Sealed<OtpauthText>),
}

/// Whether somebody else has to agree before the secret is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Approval {
    /// Nobody has to.
    NotRequired,
    /// Somebody other than the requester has to.
    Required {
        /// How long to wait for the decision, in seconds.
        deadline_seconds: u64,
        /// How many different people have to agree; one refusal is enough against it.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        approvals: u8,
        /// Whether only decisions that the front door has signed count. Requests of
        /// releases before signatures do not ask for them.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        signed: bool,
    },
}

const fn one() -> u8 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_one(number: &u8) -> bool {
    *number == 1
}
