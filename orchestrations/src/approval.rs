//! Waiting for someone's decision.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use countersign_enrollment::contract::{APPROVAL, VerifiedDecision, VerifyDecision};
use countersign_enrollment::decision::{ApprovalDecision, RaisedDecision};
use countersign_enrollment::notice::NoticeEvent;
use durabletask_core::{Either, Failure, OrchestrationContext, TaskError, Timer, select};

use crate::policy::retried;
use crate::question::{Counted, Question, Terms};
use crate::{notify, policy};

/// How the waiting ended.
pub(crate) enum Decision {
    /// Everyone who had to has agreed, in this order.
    Approved(Vec<Counted>),
    Rejected(ApprovalDecision),
    /// Not enough agreed before this instant.
    Expired(DateTime<Utc>),
}

/// Shows what is to be approved and waits until enough people other than the requester
/// have agreed, one of them has refused, or the deadline has passed. In the meantime, others are
/// notified and reminded, if that is requested.
///
/// This decides the order of things only: what acts on the outcome gets the signed decisions
/// and judges them on its own.
///
/// An event that cannot be read, that nobody vouches for, that carries the requester's
/// own consent, that of someone in none of the groups that are asked or a second one of
/// someone who has agreed already has no effect: anyone who can reach the task hub
/// could have raised it. It stays in the history. An approver can still reject.
pub(crate) async fn await_decision(
    ctx: &OrchestrationContext,
    question: &impl Question,
    terms: &Terms,
) -> Result<Decision, Failure> {
    let deadline = after(ctx, terms.deadline_seconds);
    let mut expired = ctx.create_timer_at(deadline);
    let mut reminders = Reminders::new(ctx, terms, deadline);
    let mut agreed: Vec<Counted> = Vec::new();
    let mut reminded = 0;
    let tell = |event, number| notify::tell(ctx, question, terms, event, number);
    ctx.set_custom_status(&question.status(deadline, &agreed))?;
    tell(NoticeEvent::Requested, 0);
    loop {
        let raised = match next(ctx, &mut expired, &mut reminders).await {
            Next::Raised(raised) => raised,
            Next::Reminder => {
                reminders.go_on(ctx);
                tell(NoticeEvent::Reminder, reminded);
                reminded = reminded.saturating_add(1);
                continue;
            }
            Next::Expired => {
                tell(NoticeEvent::Expired, 0);
                return Ok(Decision::Expired(deadline));
            }
        };
        let Some(one) = counted(ctx, question, terms, &agreed, raised).await? else {
            continue;
        };
        let approved = one.decision.approved;
        agreed.push(one);
        if !approved {
            tell(NoticeEvent::Decided, 0);
            let last = agreed.pop().map(|it| it.decision);
            return last
                .map(Decision::Rejected)
                .ok_or_else(|| Failure::new("Approval", "a decision was lost").permanent());
        }
        if agreed.len() >= usize::from(terms.approvals) {
            tell(NoticeEvent::Decided, 0);
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
    agreed: &[Counted],
    raised: Result<RaisedDecision, TaskError>,
) -> Result<Option<Counted>, Failure> {
    let raised = match raised {
        Ok(raised) => raised,
        Err(error) => {
            ignored(
                ctx,
                &format!("an approval event that cannot be read: {error}"),
            );
            return Ok(None);
        }
    };
    let former = question.mandate().is_empty();
    if former && !was_checked(question, terms, agreed, &raised) {
        return Ok(None);
    }
    let signed = raised.signed;
    if !former && signed.is_empty() {
        ignored(ctx, "a decision without a front door's signature");
        return Ok(None);
    }
    let input = VerifyDecision {
        mandate: question.mandate().clone(),
        about: ctx.instance_id().to_owned(),
        account: question.account().cloned(),
        decision: signed.clone(),
    };
    let verified = ctx.call_activity_with(&question.verification(), &input, retried(policy::READ));
    let VerifiedDecision::Authentic { decision } = verified.await? else {
        ignored(ctx, "an invalid decision");
        return Ok(None);
    };
    let decision = decision.unwrap_or(raised.decision);
    let takes_back = !decision.approved && question.can_be_taken_back();
    if decision.by == *question.requested_by() && !takes_back {
        ignored(ctx, "a decision by the requester");
    } else if decision.approved && agreed.iter().any(|it| it.decision.by == decision.by) {
        ignored(ctx, "a second decision by the same approver");
    } else if decision.approved && !is_asked(terms, &decision) {
        ignored(ctx, "an approval by someone in none of the required groups");
    } else {
        return Ok(Some(Counted { decision, signed }));
    }
    Ok(None)
}

/// How many events this process has ignored.
static IGNORED: AtomicU64 = AtomicU64::new(0);
/// How many of them are logged one by one; after that every second, fourth, eighth … is.
const LOGGED: u64 = 30;

/// Logs that an event was ignored. Anyone who can reach the task hub can raise any number of
/// them, and a log that they fill is worth nothing.
pub(crate) fn ignored(ctx: &OrchestrationContext, what: &str) {
    if ctx.is_replaying() {
        return;
    }
    let number = IGNORED.fetch_add(1, Ordering::Relaxed) + 1;
    if number <= LOGGED || number.is_power_of_two() {
        let instance_id = ctx.instance_id();
        tracing::warn!(instance_id, number, "ignored {what}");
    }
}

/// Whether a release before mandates had this decision checked: it looked at what is judged
/// below first. Only for its histories, which have to replay.
fn was_checked(
    question: &impl Question,
    terms: &Terms,
    agreed: &[Counted],
    raised: &RaisedDecision,
) -> bool {
    let decision = &raised.decision;
    let takes_back = !decision.approved && question.can_be_taken_back();
    let own = decision.by == *question.requested_by() && !takes_back;
    let second = decision.approved && agreed.iter().any(|it| it.decision.by == decision.by);
    let asked = !decision.approved || is_asked(terms, decision);
    !own && !second && asked && raised.signature.is_some()
}

/// Whether a decision was made for one of the groups that are asked.
fn is_asked(terms: &Terms, decision: &ApprovalDecision) -> bool {
    terms.from.is_empty()
        || decision
            .groups
            .iter()
            .any(|group| terms.from.contains(group))
}

/// The instant that is this many seconds after the replay clock's present one.
pub(crate) fn after(ctx: &OrchestrationContext, seconds: u64) -> DateTime<Utc> {
    TimeDelta::from_std(Duration::from_secs(seconds))
        .ok()
        .and_then(|wait| ctx.current_utc().checked_add_signed(wait))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}
