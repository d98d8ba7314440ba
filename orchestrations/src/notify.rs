//! Telling others: each notice is a sub-orchestration that nothing waits for, so that a
//! receiver that is away delays no decision.

use countersign_enrollment::contract::{NOTIFY, SEND_NOTICE, SendNotice};
use countersign_enrollment::notice::{NoticeEvent, NoticeSent};
use durabletask_core::{Failure, OrchestrationContext, SubOrchestrationOptions};

use crate::policy;
use crate::policy::retried;
use crate::question::{Question, Terms};

/// Sends one notice for as long as it takes, within the bounds of the policy.
///
/// # Errors
///
/// When nobody has taken it in that time.
pub async fn notify(ctx: OrchestrationContext, notice: SendNotice) -> Result<NoticeSent, Failure> {
    let sent = ctx.call_activity_with(&SEND_NOTICE, &notice, retried(policy::NOTIFY));
    Ok(sent.await?)
}

/// Starts a notice, if anyone is to be notified at all.
pub(crate) fn tell(
    ctx: &OrchestrationContext,
    question: &impl Question,
    terms: &Terms,
    event: NoticeEvent,
    number: u8,
) {
    if !terms.notify {
        return;
    }
    let about = ctx.instance_id();
    // The same on every replay, and its own for each reminder.
    let id = format!(
        "notice-{about}-{}-{}",
        event.as_str(),
        ctx.current_utc().timestamp_millis()
    );
    let notice = SendNotice {
        mandate: question.mandate().clone(),
        about: about.to_owned(),
        event,
        number,
        account: question.account().cloned(),
    };
    let options = SubOrchestrationOptions::new().instance_id(id);
    // It continues on its own: dropping the task gives up the answer, not the work.
    drop(ctx.call_sub_orchestration_with(&NOTIFY, &notice, options));
}
