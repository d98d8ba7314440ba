//! Why something cannot be started, shown or changed.

use std::error::Error as StdError;

use countersign_authority::Refusal;
use durabletask::ClientError;
use thiserror::Error;

use crate::mandates::MandateError;

/// Why an enrollment, import or request cannot be started, shown or changed.
#[derive(Debug, Error)]
pub(crate) enum HubError {
    #[error("no such enrollment")]
    Unknown,
    #[error("the idempotency key was used for something else")]
    KeyReused,
    #[error("the id is in use")]
    IdTaken,
    #[error("the requester may not decide")]
    SelfApproval,
    #[error("both keys belong to the same person")]
    SamePerson,
    #[error("not awaiting approval")]
    NotAwaiting,
    #[error("already decided")]
    AlreadyDecided,
    #[error("the deadline for a decision has passed")]
    ApprovalExpired,
    #[error("already ended")]
    AlreadyEnded,
    #[error("the caller is in none of the approver groups")]
    NotAnApprover,
    #[error("no such request")]
    RequestUnknown,
    #[error("the request grants nothing, or no longer does")]
    NotGranted,
    #[error("the vault has a different secret than the approved one")]
    AccountChanged,
    #[error("not permitted: {0}")]
    Refused(#[source] Refusal),
    #[error("the ledger is unavailable")]
    LedgerUnavailable(#[source] Box<dyn StdError + Send + Sync>),
    #[error("the task hub is unavailable")]
    HubUnavailable(#[source] Box<dyn StdError + Send + Sync>),
    #[error("the enrollment could not be handled")]
    Internal(#[source] Box<dyn StdError + Send + Sync>),
}

pub(super) fn internal(error: impl StdError + Send + Sync + 'static) -> HubError {
    HubError::Internal(Box::new(error))
}

pub(super) fn hub(error: ClientError) -> HubError {
    match error {
        ClientError::NotFound { .. } => HubError::Unknown,
        error @ (ClientError::Unavailable(_)
        | ClientError::DeadlineExceeded(_)
        | ClientError::Cancelled(_)
        | ClientError::Timeout { .. }) => HubError::HubUnavailable(Box::new(error)),
        error => HubError::Internal(Box::new(error)),
    }
}

impl From<MandateError> for HubError {
    fn from(error: MandateError) -> Self {
        match error {
            MandateError::Refused(refusal) => refusal.into(),
            MandateError::Ledger(error) => Self::LedgerUnavailable(Box::new(error)),
            error => internal(error),
        }
    }
}

impl From<Refusal> for HubError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::OwnRequest => Self::SelfApproval,
            Refusal::SamePerson => Self::SamePerson,
            Refusal::NotAnApprover => Self::NotAnApprover,
            Refusal::NotAwaiting => Self::NotAwaiting,
            Refusal::TooLate => Self::ApprovalExpired,
            Refusal::AlreadyDecided | Refusal::Rejected | Refusal::Ended(_) => Self::AlreadyDecided,
            Refusal::NotApproved { .. }
            | Refusal::UsedUp
            | Refusal::Lapsed
            | Refusal::NotCovered => Self::NotGranted,
            Refusal::OtherCaller => Self::RequestUnknown,
            Refusal::OtherSecret => Self::AccountChanged,
            refusal => Self::Refused(refusal),
        }
    }
}
