//! Waiting for somebody's decision.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use countersign_enrollment::contract::APPROVAL;
use countersign_enrollment::decision::{ApprovalDecision, RaisedDecision};
use countersign_enrollment::ids::CallerId;
use countersign_enrollment::notice::NoticeEvent;
use countersign_enrollment::request::Approval;
use durabletask_core::{Either, Failure, OrchestrationContext, TaskError, Timer, select};
use serde::Serialize;

use crate::notify::{self, Told};

/// How the waiting ended.
pub(crate) enum Decision {
    /// Everybody who had to has agreed, in this order.
    Approved(Vec<ApprovalDecision>),
    Rejected(ApprovalDecision),
    /// Not enough agreed before this instant.
    Expired(DateTime<Utc>),
}

/// How many have to agree, until when, and what makes a decision count.
#[derive(Clone)]
pub(crate) struct Terms {
    pub(crate) deadline_seconds: u64,
    pub(crate) approvals: u8,
    pub(crate) signed: bool,
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
            signed: true,
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
                signed,
                from,
                reminder_seconds,
                notify,
            } => Some(Self {
                deadline_seconds,
                approvals,
                signed,
                from,
                reminder_seconds,
                notify,
            }),
        }
    }
}

/// Something that people decide on.
pub(crate) trait Question {
    /// Who asked. They cannot approve it.
    fn requested_by(&self) -> &CallerId;

    /// Whether who asked can take it back by refusing it.
    fn can_be_taken_back(&self) -> bool;

    /// The status to show while it waits.
    fn status(&self, deadline: DateTime<Utc>, agreed: &[ApprovalDecision]) -> impl Serialize;

    /// What others are told of it.
    fn told(&self) -> Told<'_>;

    /// Whether the front door has signed a decision on exactly this.
    async fn is_signed(
        &self,
        ctx: &OrchestrationContext,
        raised: &RaisedDecision,
    ) -> Result<bool, Failure>;
}

/// Shows what is to be approved and waits until enough people other than the requester
/// have agreed, one of them has refused, or the deadline has passed. Meanwhile, others are
/// told and reminded, if that is asked for.
///
/// An event that cannot be read, that nobody vouches for, that carries the requester's
/// own consent, that of somebody in none of the groups that are asked or a second one of
/// somebody who has agreed already counts for nothing: anybody who can reach the task hub
/// could have raised it. It stays in the history. Whoever has agreed can still refuse.
pub(crate) async fn await_decision(
    ctx: &OrchestrationContext,
    question: &impl Question,
    terms: &Terms,
) -> Result<Decision, Failure> {
    let deadline = after(ctx, terms.deadline_seconds);
    let mut expired = ctx.create_timer_at(deadline);
    let mut reminders = Reminders::new(ctx, terms, deadline);
    let mut agreed: Vec<ApprovalDecision> = Vec::new();
    let tell = |event, agreed: &[ApprovalDecision], decision: Option<&ApprovalDecision>| {
        notify::tell(
            ctx,
            question.told(),
            terms,
            event,
            deadline,
            agreed,
            decision,
        );
    };
    ctx.set_custom_status(&question.status(deadline, &agreed))?;
    tell(NoticeEvent::Requested, &agreed, None);
    loop {
        let raised = match next(ctx, &mut expired, &mut reminders).await {
            Next::Raised(raised) => raised,
            Next::Reminder => {
                reminders.go_on(ctx);
                tell(NoticeEvent::Reminder, &agreed, None);
                continue;
            }
            Next::Expired => {
                tell(NoticeEvent::Expired, &agreed, None);
                return Ok(Decision::Expired(deadline));
            }
        };
        let Some(decision) = counted(ctx, question, terms, &agreed, raised).await? else {
            continue;
        };
        if !decision.approved {
            tell(NoticeEvent::Decided, &agreed, Some(&decision));
            return Ok(Decision::Rejected(decision));
        }
        agreed.push(decision);
        if agreed.len() >= usize::from(terms.approvals) {
            tell(NoticeEvent::Decided, &agreed, agreed.last());
            return Ok(Decision::Approved(agreed));
        }
        ctx.set_custom_status(&question.status(deadline, &agreed))?;
    }
}

enum Next {
    Raised(Result<RaisedDecision, TaskError>),
    Reminder,
    Expired,
}

async fn next(ctx: &OrchestrationContext, expired: &mut Timer, reminders: &mut Reminders) -> Next {
    let decided = select(ctx.wait_for_event(&APPROVAL), expired);
    let first = match &mut reminders.next {
        None => decided.await,
        Some(reminder) => match select(decided, reminder).await {
            Either::Left(first) => first,
            Either::Right(()) => return Next::Reminder,
        },
    };
    match first {
        Either::Left(raised) => Next::Raised(raised),
        Either::Right(()) => Next::Expired,
    }
}

/// The moments to remind of a decision, one timer at a time.
struct Reminders {
    next: Option<Timer>,
    later: std::vec::IntoIter<DateTime<Utc>>,
}

impl Reminders {
    fn new(ctx: &OrchestrationContext, terms: &Terms, deadline: DateTime<Utc>) -> Self {
        let mut moments: Vec<_> = terms
            .reminder_seconds
            .iter()
            .filter(|_| terms.notify)
            .map(|seconds| after(ctx, *seconds))
            .filter(|moment| *moment < deadline)
            .collect();
        moments.sort_unstable();
        moments.dedup();
        let mut reminders = Self {
            next: None,
            later: moments.into_iter(),
        };
        reminders.go_on(ctx);
        reminders
    }

    fn go_on(&mut self, ctx: &OrchestrationContext) {
        self.next = self.later.next().map(|moment| ctx.create_timer_at(moment));
    }
}

/// The decision that was raised, if it counts.
pub(crate) async fn counted(
    ctx: &OrchestrationContext,
    question: &impl Question,
    terms: &Terms,
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
    } else if decision.approved && agreed.iter().any(|earlier| earlier.by == decision.by) {
        tracing::warn!("ignored a second decision by the same approver");
    } else if decision.approved && !is_asked(terms, decision) {
        tracing::warn!("ignored the consent of somebody who is in none of the groups");
    } else if is_authentic(ctx, question, terms, &raised).await? {
        return Ok(Some(raised.decision));
    } else {
        tracing::warn!("ignored a decision that nobody vouches for");
    }
    Ok(None)
}

/// Whether a decision was made for one of the groups that are asked.
fn is_asked(terms: &Terms, decision: &ApprovalDecision) -> bool {
    terms.from.is_empty()
        || decision
            .groups
            .iter()
            .any(|group| terms.from.contains(group))
}

async fn is_authentic(
    ctx: &OrchestrationContext,
    question: &impl Question,
    terms: &Terms,
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
