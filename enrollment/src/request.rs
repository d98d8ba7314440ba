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
    /// Whether another installation has sealed the source, and somebody sent it as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub received: bool,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
        /// The groups whose members have to agree; anybody who may decide if none.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        from: Vec<String>,
        /// After how many seconds each to remind of it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reminder_seconds: Vec<u64>,
        /// Whether to tell others what is waited for and how it ends. Where to, the
        /// worker knows.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        notify: bool,
    },
}

impl Approval {
    /// How many people have to agree; 0 if nobody has to.
    #[must_use]
    pub const fn needed(&self) -> u8 {
        match self {
            Self::NotRequired => 0,
            Self::Required { approvals, .. } => *approvals,
        }
    }

    /// The groups whose members have to; anybody who may decide if none.
    #[must_use]
    pub fn from(&self) -> &[String] {
        match self {
            Self::NotRequired => &[],
            Self::Required { from, .. } => from,
        }
    }
}

const fn one() -> u8 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_one(number: &u8) -> bool {
    *number == 1
}
