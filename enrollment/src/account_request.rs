//! Requests to do something with an account that is in the vault: to read its codes for a
//! while, to hand out its secret, to move it to another vault, or to remove it permanently.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::account::AccountPreview;
use crate::decision::ApprovalDecision;
use crate::ids::{CallerId, EnrollmentId};
use crate::mandate::{Digest, SignedMandate};
use crate::package::Package;
use crate::recovery::RecoveryCodes;
use crate::request::Approval;
use crate::sealed::Sealed;

/// The longest reason for a request, in characters.
pub const MAX_REASON_CHARS: usize = 500;
/// The most codes that one request lets its requester read.
pub const MAX_READS: u32 = 50;

/// What is to be done with an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum RequestKind {
    /// Let the requester read its codes, a number of times and for a time.
    Read {
        /// How many codes, 1 to 50.
        reads: u32,
        /// For how long, in seconds from the approval.
        seconds: u64,
    },
    /// Give the requester the account's URI and QR code, once.
    Export {
        /// For how long it can be fetched, in seconds from the approval.
        seconds: u64,
    },
    /// Seal the account for another installation, and disable it here.
    Transfer {
        /// The other installation's seal key, as its `GET /api/system` returns it.
        to: String,
    },
    /// Store recovery codes with the account, replacing any others.
    RecoveryCodes {
        /// How many; 0 removes all of them.
        count: u32,
        /// Whether they replace others, which are then destroyed.
        replaces: bool,
        /// The digest of the sealed codes.
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        source: Digest,
    },
    /// Disable the account immediately, and destroy it later.
    Delete {
        /// How much later, in seconds from the approval.
        seconds: u64,
    },
}

impl RequestKind {
    /// The kind, as in JSON.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Read { .. } => "read",
            Self::Export { .. } => "export",
            Self::Transfer { .. } => "transfer",
            Self::Delete { .. } => "delete",
            Self::RecoveryCodes { .. } => "recoveryCodes",
        }
    }

    /// What the caller asked for, in one text that no other act has, to compare repeated
    /// requests by. What the front door adds is left out: whether there are recovery codes
    /// to replace changes once they are set, and sealing the same codes again yields other
    /// bytes. The codes themselves are compared beside this.
    #[must_use]
    pub fn terms(&self) -> String {
        let kind = self.kind();
        match self {
            Self::Read { reads, seconds } => format!("{kind} {reads} {seconds}"),
            Self::Export { seconds } | Self::Delete { seconds } => format!("{kind} {seconds}"),
            Self::Transfer { to } => format!("{kind} {to}"),
            Self::RecoveryCodes { count, .. } => format!("{kind} {count}"),
        }
    }
}

/// One request: the orchestration's input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountRequest {
    /// What the front door has accepted, signed; see
    /// [`EnrollmentRequest::mandate`](crate::request::EnrollmentRequest::mandate).
    #[serde(default)]
    pub mandate: SignedMandate,
    /// The account.
    pub account: EnrollmentId,
    /// What is to be done with it.
    pub act: RequestKind,
    /// Why, as the requester says; at most [`MAX_REASON_CHARS`] characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The recovery codes that are to be kept, where that is requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codes: Option<Sealed<RecoveryCodes>>,
    /// Whether someone else has to agree.
    pub approval: Approval,
    /// Who asks. They cannot approve it.
    pub requested_by: CallerId,
    /// A keyed hash of what was requested, made by the front door. It tells a repeated
    /// request from another one under the same idempotency key.
    pub fingerprint: String,
}

/// What is requested, with the account as the vault has it: what approvers are shown and
/// what their decision is signed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestedAct {
    /// The account.
    pub account: EnrollmentId,
    /// What is to be done with it.
    pub act: RequestKind,
    /// What may be shown of it.
    pub preview: AccountPreview,
    /// What tells its secret from any other, see
    /// [`FingerprintKey`](crate::fingerprint::FingerprintKey).
    pub fingerprint: String,
    /// Who asks.
    pub requested_by: CallerId,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How far a request is: the orchestration's custom status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all_fields = "camelCase")]
pub enum RequestProgress {
    /// Someone has to decide.
    AwaitingApproval {
        /// What on.
        asked: RequestedAct,
        /// When it is too late.
        deadline: DateTime<Utc>,
        /// Who has agreed so far.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        approved_by: Vec<CallerId>,
    },
    /// The requester may read or fetch what was requested.
    Granted {
        /// What was requested.
        asked: RequestedAct,
        /// Who agreed, in this order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        approvals: Vec<ApprovalDecision>,
        /// Until when.
        until: DateTime<Utc>,
        /// The ids of the claims that were let through.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        claims: Vec<String>,
    },
    /// It is being done.
    Acting {
        /// What was requested.
        asked: RequestedAct,
        /// Who agreed, in this order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        approvals: Vec<ApprovalDecision>,
    },
    /// The account is disabled and waits for its end.
    Removing {
        /// What was requested.
        asked: RequestedAct,
        /// Who agreed, in this order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        approvals: Vec<ApprovalDecision>,
        /// When it is destroyed.
        at: DateTime<Utc>,
    },
}

/// An expected end of a request: the orchestration's output. That the system could not
/// do its work is a failure of the orchestration, and not among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all_fields = "camelCase")]
pub enum RequestOutcome {
    /// What was requested was done.
    Done {
        /// What was requested.
        asked: RequestedAct,
        /// Who agreed, in this order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        approvals: Vec<ApprovalDecision>,
        /// The ids of the claims that were let through.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        claims: Vec<String>,
        /// The account, sealed for the installation that it was handed to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        package: Option<Package>,
    },
    /// It was granted, and nobody made use of it in time.
    Lapsed {
        /// What was requested.
        asked: RequestedAct,
        /// Who agreed, in this order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        approvals: Vec<ApprovalDecision>,
    },
    /// Someone decided against it, before it was done or while it could be undone.
    Rejected {
        /// What was requested.
        asked: RequestedAct,
        /// Who decided so, and why.
        decision: ApprovalDecision,
    },
    /// The requester took it back, before it was done or while it could be undone.
    Withdrawn {
        /// What was requested.
        asked: RequestedAct,
        /// When, and why.
        decision: ApprovalDecision,
    },
    /// Nobody decided in time.
    Expired {
        /// What was requested.
        asked: RequestedAct,
        /// When it was too late.
        deadline: DateTime<Utc>,
    },
    /// Someone enabled the account again while it waited for its end, so it was
    /// not destroyed.
    Kept {
        /// What was requested.
        asked: RequestedAct,
    },
    /// There is no such account, or no longer.
    Unavailable,
}

/// Someone's wish to make use of what was granted: the payload of the claim event.
///
/// It proves nothing: the front door gives a code or a URI only to the requester, and only
/// for a claim that it has made itself and that the orchestration has let through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Random: tells this claim from any other.
    pub id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_acts_have_the_same_terms() {
        let acts = [
            RequestKind::Read {
                reads: 1,
                seconds: 60,
            },
            RequestKind::Read {
                reads: 16,
                seconds: 0,
            },
            RequestKind::Export { seconds: 60 },
            RequestKind::Delete { seconds: 60 },
            RequestKind::Transfer {
                to: "60".to_owned(),
            },
        ];
        let terms: std::collections::BTreeSet<_> = acts.iter().map(RequestKind::terms).collect();
        assert_eq!(terms.len(), acts.len());
        let json = serde_json::to_value(&acts[0]).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"kind": "read", "reads": 1, "seconds": 60})
        );
    }
}
