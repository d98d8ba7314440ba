//! Decisions.

use chrono::{DateTime, Utc};
use countersign_enrollment::account::AccountPreview;
use countersign_enrollment::ids::CallerId;
use countersign_enrollment::mandate::Digest;
use serde::{Deserialize, Serialize};

use crate::mandate::{LedgerId, RunId};

/// A decision on one run of one enrollment or request: what is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decision {
    /// [`VERSION`](crate::VERSION).
    pub v: u32,
    /// The ledger that it is recorded in.
    pub ledger: LedgerId,
    /// The run that was decided on.
    pub run: RunId,
    /// The enrollment or request; for an import, one of its enrollments.
    pub about: String,
    /// The digest of the signed mandate.
    pub mandate: Digest,
    /// What the decider was shown, by [`shown`].
    pub shown: Digest,
    /// Whether it is approved.
    pub approved: bool,
    /// The decider.
    pub by: CallerId,
    /// The person behind the decider's credential; see
    /// [`Mandate::person`](crate::Mandate::person).
    #[serde(rename = "hand")]
    pub person: String,
    /// The approver groups that the decider represents, if there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The time.
    pub decided_at: DateTime<Utc>,
    /// Random: no two decisions have the same.
    pub nonce: RunId,
}

/// The digest of what a decider is shown: the account's labels and parameters, and the
/// fingerprint of its secret.
///
/// Field by field, so that a member that a later release adds to what is shown does not make
/// its front door and an older worker disagree.
#[must_use]
pub fn shown(preview: &AccountPreview, fingerprint: &str) -> Digest {
    let issuer = match &preview.issuer {
        Some(issuer) => format!("+{issuer}"),
        None => String::new(),
    };
    let digits = [preview.digits];
    let period = preview.period.to_be_bytes();
    let parts: [&[u8]; 7] = [
        b"countersign shown v1",
        issuer.as_bytes(),
        preview.account_name.as_bytes(),
        preview.algorithm.as_str().as_bytes(),
        &digits,
        &period,
        fingerprint.as_bytes(),
    ];
    Digest::of_parts(parts)
}
