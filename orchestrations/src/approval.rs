//! Waiting for somebody's decision.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use countersign_enrollment::account::{AccountPreview, TotpAccount};
use countersign_enrollment::contract::{
    APPROVAL, VERIFY_DECISION, VerifiedDecision, VerifyDecision,
};
use countersign_enrollment::decision::{ApprovalDecision, RaisedDecision};
use countersign_enrollment::ids::{CallerId, EnrollmentId};
use countersign_enrollment::otpauth::Warning;
use countersign_enrollment::progress::Progress;
use countersign_enrollment::sealed::Sealed;
use durabletask_core::{Either, Failure, OrchestrationContext, select};

use crate::enroll::retried;
use crate::policy;

/// How the waiting ended.
pub(crate) enum Decision {
    /// Everybody who had to has agreed, in this order.
    Approved(Vec<ApprovalDecision>),
    Rejected(ApprovalDecision),
    /// Not enough agreed before this instant.
    Expired(DateTime<Utc>),
}

/// What is to be decided, and by how many.
pub(crate) struct Asked {
    pub(crate) enrollment: EnrollmentId,
    pub(crate) preview: AccountPreview,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) account: Sealed<TotpAccount>,
    pub(crate) fingerprint: String,
    pub(crate) requested_by: CallerId,
    pub(crate) deadline_seconds: u64,
    pub(crate) approvals: u8,
    pub(crate) signed: bool,
}

/// Shows what is to be approved and waits until enough people other than the requester
/// have agreed, one of them has refused, or the deadline has passed.
///
/// An event that cannot be read, that nobody vouches for, that carries the requester's
/// own decision, or that comes from somebody who has agreed already counts for nothing:
/// anybody who can reach the task hub could have raised it. It stays in the history.
pub(crate) async fn await_decision(
    ctx: &OrchestrationContext,
    asked: &Asked,
) -> Result<Decision, Failure> {
    let deadline = deadline(ctx.current_utc(), asked.deadline_seconds);
    let mut expired = ctx.create_timer_at(deadline);
    let mut agreed: Vec<ApprovalDecision> = Vec::new();
    show(ctx, asked, deadline, &agreed)?;
    loop {
        let raised = match select(ctx.wait_for_event(&APPROVAL), &mut expired).await {
            Either::Left(Ok(raised)) => raised,
            Either::Left(Err(error)) => {
                tracing::warn!(%error, "ignored an approval event");
                continue;
            }
            Either::Right(()) => return Ok(Decision::Expired(deadline)),
        };
        let by = &raised.decision.by;
        if *by == asked.requested_by {
            tracing::warn!("ignored a decision by the requester");
        } else if agreed.iter().any(|earlier| earlier.by == *by) {
            tracing::warn!("ignored a second decision by the same approver");
        } else if is_authentic(ctx, asked, &raised).await? {
            let decision = raised.decision;
            if !decision.approved {
                return Ok(Decision::Rejected(decision));
            }
            agreed.push(decision);
            if agreed.len() >= usize::from(asked.approvals) {
                return Ok(Decision::Approved(agreed));
            }
            show(ctx, asked, deadline, &agreed)?;
        } else {
            tracing::warn!("ignored a decision that nobody vouches for");
        }
    }
}

fn show(
    ctx: &OrchestrationContext,
    asked: &Asked,
    deadline: DateTime<Utc>,
    agreed: &[ApprovalDecision],
) -> Result<(), Failure> {
    ctx.set_custom_status(&Progress::AwaitingApproval {
        preview: asked.preview.clone(),
        warnings: asked.warnings.clone(),
        requested_by: asked.requested_by.clone(),
        deadline,
        fingerprint: asked.fingerprint.clone(),
        approved_by: agreed.iter().map(|decision| decision.by.clone()).collect(),
    })
}

async fn is_authentic(
    ctx: &OrchestrationContext,
    asked: &Asked,
    raised: &RaisedDecision,
) -> Result<bool, Failure> {
    if !asked.signed {
        return Ok(true);
    }
    if raised.signature.is_none() {
        return Ok(false);
    }
    let input = VerifyDecision {
        enrollment: asked.enrollment.clone(),
        account: asked.account.clone(),
        decision: raised.clone(),
    };
    let verified = ctx.call_activity_with(&VERIFY_DECISION, &input, retried(policy::READ));
    Ok(verified.await? == VerifiedDecision::Authentic)
}

fn deadline(now: DateTime<Utc>, seconds: u64) -> DateTime<Utc> {
    TimeDelta::from_std(Duration::from_secs(seconds))
        .ok()
        .and_then(|wait| now.checked_add_signed(wait))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}
