//! What is requested: the orchestration's input.

use serde::{Deserialize, Serialize};

use crate::ids::CallerId;
use crate::mandate::{Digest, SignedMandate};
use crate::package::PackedAccount;
use crate::recovery::{MovedCodes, RecoveryCodes, WithRecovery};
use crate::sealed::{ImageBytes, Kept, OtpauthText, Sealed};

/// One request to enroll an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnrollmentRequest {
    /// What the front door has accepted, signed; for an account of an import, the import's.
    /// The rest of this says the same for the orchestration and for people who look at the
    /// history, and is believed by nobody who acts on it. Empty in what releases before
    /// mandates have started.
    #[serde(default)]
    pub mandate: SignedMandate,
    /// Where the account comes from.
    pub source: Source,
    /// Whether someone else has to agree.
    pub approval: Approval,
    /// Who asks. They cannot approve it.
    pub requested_by: CallerId,
    /// Whether the requester has to prove with the other service that the account's
    /// codes are accepted before anyone gets them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prove: bool,
    /// Whether another installation has sealed the source, and someone sent it as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub received: bool,
    /// The account's recovery codes, if some came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoverySource>,
    /// A keyed hash of what was uploaded, made by the front door. It tells a repeated
    /// request from another one under the same idempotency key.
    pub fingerprint: String,
}

/// What was uploaded, sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// An image of a QR code.
    Image(Sealed<ImageBytes>),
    /// A text that should be an otpauth URI.
    Uri(Sealed<OtpauthText>),
    /// An account that another installation has sealed. Earlier releases called it a URI.
    Packed(Sealed<PackedAccount>),
    /// The URI of an account that a worker has found in an import, with its recovery codes.
    Planned(Kept<WithRecovery<OtpauthText>>),
}

/// Where the recovery codes come from that are kept with an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RecoverySource {
    /// Another installation has sealed them with the account.
    Moved(Sealed<MovedCodes>),
    /// They were sent with the account. The only ones that earlier releases knew.
    #[serde(untagged)]
    Sent(Sealed<RecoveryCodes>),
}

impl RecoverySource {
    /// The digest of what was sealed.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Self::Moved(codes) => codes.digest(),
            Self::Sent(codes) => codes.digest(),
        }
    }
}

/// Whether someone else has to agree before the secret is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Approval {
    /// Nobody has to.
    NotRequired,
    /// Someone other than the requester has to.
    Required {
        /// How long to wait for the decision, in seconds.
        deadline_seconds: u64,
        /// How many different people have to agree; one refusal is enough against it.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        approvals: u8,
        /// The groups whose members have to agree; anyone who may decide if none.
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

    /// The groups whose members have to; anyone who may decide if none.
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
