//! What people decide on, by which terms, and their decisions.

use chrono::{DateTime, Utc};
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::contract::{VerifiedDecision, VerifyDecision};
use countersign_enrollment::decision::ApprovalDecision;
use countersign_enrollment::ids::CallerId;
use countersign_enrollment::mandate::{SignedDecision, SignedMandate};
use countersign_enrollment::recovery::WithRecovery;
use countersign_enrollment::request::Approval;
use countersign_enrollment::sealed::Kept;
use durabletask_core::Activity;
use serde::Serialize;

/// Something that people decide on.
pub(crate) trait Question {
    /// Who asked. They cannot approve it.
    fn requested_by(&self) -> &CallerId;

    /// Whether who asked can take it back by refusing it.
    fn can_be_taken_back(&self) -> bool;

    /// The status to show while it waits.
    fn status(&self, deadline: DateTime<Utc>, agreed: &[Counted]) -> impl Serialize;

    /// What the front door has accepted.
    fn mandate(&self) -> &SignedMandate;

    /// The activity that says whether a decision counts.
    fn verification(&self) -> Activity<VerifyDecision, VerifiedDecision>;

    /// The account that would be stored, for an enrollment.
    fn account(&self) -> Option<&Kept<WithRecovery<TotpAccount>>>;
}

/// How many have to agree, until when, and what makes a decision count.
#[derive(Clone)]
pub(crate) struct Terms {
    pub(crate) deadline_seconds: u64,
    pub(crate) approvals: u8,
    pub(crate) from: Vec<String>,
    pub(crate) reminder_seconds: Vec<u64>,
    pub(crate) notify: bool,
}

impl Terms {
    /// Those of what nobody has to agree to.
    pub(crate) const fn of_nobody() -> Self {
        Self {
            deadline_seconds: 0,
            approvals: 0,
            from: Vec::new(),
            reminder_seconds: Vec::new(),
            notify: false,
        }
    }

    /// The terms of an approval; none if nobody has to agree.
    pub(crate) fn of(approval: Approval) -> Option<Self> {
        match approval {
            Approval::NotRequired => None,
            Approval::Required {
                deadline_seconds,
                approvals,
                from,
                reminder_seconds,
                notify,
            } => Some(Self {
                deadline_seconds,
                approvals,
                from,
                reminder_seconds,
                notify,
            }),
        }
    }
}

/// A decision that counts: what it says, and the signed text that proves it.
#[derive(Clone)]
pub(crate) struct Counted {
    pub(crate) decision: ApprovalDecision,
    pub(crate) signed: SignedDecision,
}

/// What the decisions say.
pub(crate) fn said(counted: &[Counted]) -> Vec<ApprovalDecision> {
    counted.iter().map(|it| it.decision.clone()).collect()
}

/// What proves the decisions.
pub(crate) fn signed(counted: &[Counted]) -> Vec<SignedDecision> {
    counted.iter().map(|it| it.signed.clone()).collect()
}
