//! Waiting for somebody's decision.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use countersign_enrollment::account::AccountPreview;
use countersign_enrollment::contract::APPROVAL;
use countersign_enrollment::decision::ApprovalDecision;
use countersign_enrollment::ids::CallerId;
use countersign_enrollment::otpauth::Warning;
use countersign_enrollment::progress::Progress;
use durabletask_core::{Either, Failure, OrchestrationContext, select};

/// How the waiting ended.
pub(crate) enum Decision {
    Approved(ApprovalDecision),
    Rejected(ApprovalDecision),
    /// Nobody decided before this instant.
    Expired(DateTime<Utc>),
}

/// Shows what is to be approved and waits until somebody other than the requester has
/// decided, or the deadline has passed.
///
/// An event that cannot be read, or that carries the requester's own decision, counts
/// for nothing: anybody who can reach the task hub could have raised it.
pub(crate) async fn await_decision(
    ctx: &OrchestrationContext,
    preview: &AccountPreview,
    warnings: &[Warning],
    requested_by: CallerId,
    deadline_seconds: u64,
) -> Result<Decision, Failure> {
    let deadline = deadline(ctx.current_utc(), deadline_seconds);
    ctx.set_custom_status(&Progress::AwaitingApproval {
        preview: preview.clone(),
        warnings: warnings.to_vec(),
        requested_by: requested_by.clone(),
        deadline,
    })?;
    let mut expired = ctx.create_timer_at(deadline);
    loop {
        match select(ctx.wait_for_event(&APPROVAL), &mut expired).await {
            Either::Left(Ok(decision)) if decision.by == requested_by => {
                tracing::warn!("ignored a decision by the requester");
            }
            Either::Left(Ok(decision)) if decision.approved => {
                return Ok(Decision::Approved(decision));
            }
            Either::Left(Ok(decision)) => return Ok(Decision::Rejected(decision)),
            Either::Left(Err(error)) => tracing::warn!(%error, "ignored an approval event"),
            Either::Right(()) => return Ok(Decision::Expired(deadline)),
        }
    }
}

fn deadline(now: DateTime<Utc>, seconds: u64) -> DateTime<Utc> {
    TimeDelta::from_std(Duration::from_secs(seconds))
        .ok()
        .and_then(|wait| now.checked_add_signed(wait))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}
