//! Telling others: each notice is a sub-orchestration that nothing waits for, so that a
//! receiver that is away delays no decision.

use chrono::{DateTime, Utc};
use countersign_enrollment::account::AccountPreview;
use countersign_enrollment::contract::{NOTIFY, SEND_NOTICE};
use countersign_enrollment::decision::ApprovalDecision;
use countersign_enrollment::ids::CallerId;
use countersign_enrollment::notice::{Notice, NoticeEvent, NoticeSent};
use durabletask_core::{Failure, OrchestrationContext, SubOrchestrationOptions};

use crate::approval::Terms;
use crate::enroll::retried;
use crate::policy;

/// What others are told of something that is decided on.
pub(crate) struct Told<'a> {
    pub(crate) kind: &'static str,
    pub(crate) preview: &'a AccountPreview,
    pub(crate) requested_by: &'a CallerId,
    pub(crate) reason: Option<&'a str>,
}

/// Sends one notice for as long as it takes, within the bounds of the policy.
///
/// # Errors
///
/// When nobody has taken it in that time.
pub async fn notify(ctx: OrchestrationContext, notice: Notice) -> Result<NoticeSent, Failure> {
    let sent = ctx.call_activity_with(&SEND_NOTICE, &notice, retried(policy::NOTIFY));
    Ok(sent.await?)
}

/// Starts a notice, if others are to be told at all.
pub(crate) fn tell(
    ctx: &OrchestrationContext,
    told: Told<'_>,
    terms: &Terms,
    event: NoticeEvent,
    deadline: DateTime<Utc>,
    agreed: &[ApprovalDecision],
    decision: Option<&ApprovalDecision>,
) {
    if !terms.notify {
        return;
    }
    let at = ctx.current_utc();
    let about = ctx.instance_id();
    // The same on every replay, and of its own for each reminder.
    let id = format!(
        "notice-{about}-{}-{}",
        event.as_str(),
        at.timestamp_millis()
    );
    let notice = Notice {
        id: id.clone(),
        event,
        at,
        about: about.to_owned(),
        kind: told.kind.to_owned(),
        preview: told.preview.clone(),
        requested_by: told.requested_by.clone(),
        reason: told.reason.map(str::to_owned),
        deadline,
        needed: terms.approvals,
        from: terms.from.clone(),
        approved_by: agreed.iter().map(|decision| decision.by.clone()).collect(),
        decision: decision.cloned(),
    };
    let options = SubOrchestrationOptions {
        instance_id: Some(id),
        ..SubOrchestrationOptions::default()
    };
    // It goes on by itself: dropping the task gives up the answer, not the work.
    drop(ctx.call_sub_orchestration_with(&NOTIFY, &notice, options));
}
