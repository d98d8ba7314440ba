//! Waiting for somebody's decision.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use countersign_enrollment::contract::APPROVAL;
use countersign_enrollment::decision::{ApprovalDecision, RaisedDecision};
use countersign_enrollment::ids::CallerId;
use durabletask_core::{Either, Failure, OrchestrationContext, TaskError, select};
use serde::Serialize;

/// How the waiting ended.
pub(crate) enum Decision {
    /// Everybody who had to has agreed, in this order.
    Approved(Vec<ApprovalDecision>),
    Rejected(ApprovalDecision),
    /// Not enough agreed before this instant.
    Expired(DateTime<Utc>),
}

/// How many have to agree, until when, and what makes a decision count.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) deadline_seconds: u64,
    pub(crate) approvals: u8,
    pub(crate) signed: bool,
}

/// Something that people decide on.
pub(crate) trait Question {
    /// Who asked. They cannot approve it.
    fn requested_by(&self) -> &CallerId;

    /// Whether it can be taken back: by who asked, and by somebody who agreed before.
    fn can_be_taken_back(&self) -> bool;

    /// The status to show while it waits.
    fn status(&self, deadline: DateTime<Utc>, agreed: &[ApprovalDecision]) -> impl Serialize;

    /// Whether the front door has signed a decision on exactly this.
    async fn is_signed(
        &self,
        ctx: &OrchestrationContext,
        raised: &RaisedDecision,
    ) -> Result<bool, Failure>;
}

/// Shows what is to be approved and waits until enough people other than the requester
/// have agreed, one of them has refused, or the deadline has passed.
///
/// An event that cannot be read, that nobody vouches for, that carries the requester's
/// own consent, or that comes from somebody who has agreed already counts for nothing:
/// anybody who can reach the task hub could have raised it. It stays in the history.
pub(crate) async fn await_decision(
    ctx: &OrchestrationContext,
    question: &impl Question,
    terms: Terms,
) -> Result<Decision, Failure> {
    let deadline = after(ctx, terms.deadline_seconds);
    let mut expired = ctx.create_timer_at(deadline);
    let mut agreed: Vec<ApprovalDecision> = Vec::new();
    ctx.set_custom_status(&question.status(deadline, &agreed))?;
    loop {
        let raised = match select(ctx.wait_for_event(&APPROVAL), &mut expired).await {
            Either::Left(raised) => raised,
            Either::Right(()) => return Ok(Decision::Expired(deadline)),
        };
        let Some(decision) = counted(ctx, question, terms, &agreed, raised).await? else {
            continue;
        };
        if !decision.approved {
            return Ok(Decision::Rejected(decision));
        }
        agreed.push(decision);
        if agreed.len() >= usize::from(terms.approvals) {
            return Ok(Decision::Approved(agreed));
        }
        ctx.set_custom_status(&question.status(deadline, &agreed))?;
    }
}

/// The decision that was raised, if it counts.
pub(crate) async fn counted(
    ctx: &OrchestrationContext,
    question: &impl Question,
    terms: Terms,
    agreed: &[ApprovalDecision],
    raised: Result<RaisedDecision, TaskError>,
) -> Result<Option<ApprovalDecision>, Failure> {
    let raised = match raised {
        Ok(raised) => raised,
        Err(error) => {
            tracing::warn!(%error, "ignored an approval event");
            return Ok(None);
        }
    };
    let RaisedDecision { decision, .. } = &raised;
    let takes_back = !decision.approved && question.can_be_taken_back();
    if decision.by == *question.requested_by() && !takes_back {
        tracing::warn!("ignored a decision by the requester");
    } else if agreed.iter().any(|earlier| earlier.by == decision.by) && !takes_back {
        tracing::warn!("ignored a second decision by the same approver");
    } else if is_authentic(ctx, question, terms, &raised).await? {
        return Ok(Some(raised.decision));
    } else {
        tracing::warn!("ignored a decision that nobody vouches for");
    }
    Ok(None)
}

async fn is_authentic(
    ctx: &OrchestrationContext,
    question: &impl Question,
    terms: Terms,
    raised: &RaisedDecision,
) -> Result<bool, Failure> {
    if !terms.signed {
        return Ok(true);
    }
    if raised.signature.is_none() {
        return Ok(false);
    }
    question.is_signed(ctx, raised).await
}

/// The instant that is this many seconds after the replay clock's present one.
pub(crate) fn after(ctx: &OrchestrationContext, seconds: u64) -> DateTime<Utc> {
    TimeDelta::from_std(Duration::from_secs(seconds))
        .ok()
        .and_then(|wait| ctx.current_utc().checked_add_signed(wait))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}
