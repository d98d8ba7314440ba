//! `send-notice`: its content comes from the mandate and the signed decisions, not
//! of what the task hub says.

use chrono::{DateTime, Utc};
use countersign_authority::{Decision, Mandate, MandatedAct, Notify};
use countersign_enrollment::contract::SendNotice;
use countersign_enrollment::decision::MAX_REMINDERS;
use countersign_enrollment::mandate::{Digest, SignedDecision};
use countersign_enrollment::notice::{Notice, NoticeEvent, NoticeSent};
use durabletask_core::Failure;

use crate::Activities;
use crate::authority::CheckedMandate;
use crate::verify_decision::as_told;

const ACTION: &str = "notify";
/// How much of a run's id is in a notice's.
const RUN_CHARS: usize = 8;

impl Activities {
    /// Sends a notice, once it is permitted. One that was delivered is not sent again.
    ///
    /// # Errors
    ///
    /// Permanent when it is not permitted or the receiver will never take it; retriable
    /// otherwise.
    pub(crate) async fn send_notice(&self, input: &SendNotice) -> Result<NoticeSent, Failure> {
        let Some(webhook) = &self.webhook else {
            return Ok(NoticeSent::Nobody);
        };
        let name = name(input)?;
        let checked = self
            .authority
            .look(ACTION, &input.mandate, &input.about)
            .await?;
        let (shown, account) = self
            .what_was_shown(ACTION, &checked, &input.about, input.account.as_ref())
            .await?;
        let preview = match (&checked.mandate().act, &account) {
            (MandatedAct::Request { preview, .. }, _) => preview.clone(),
            (_, Some(account)) => account.preview(),
            (_, None) => return Ok(NoticeSent::Nobody),
        };
        // What was decided is in the ledger, whatever a task hub hands over or leaves out.
        let recorded = checked.recorded();
        let decisions = authentic(&checked, &recorded, &shown);
        let act = Notify {
            event: input.event,
            name,
            number: input.number,
            shown,
        };
        let (permit, started) = checked.begin(ACTION, &recorded, act).await?;
        if started.done_before().is_some() {
            return Ok(NoticeSent::Delivered);
        }
        let notice = notice(permit.mandate(), input, preview, decisions);
        let sent = webhook.send(&permit, &notice).await?;
        started.finish(None, None).await?;
        Ok(sent)
    }
}

/// The notice's name among those of the matter. There are as many as can be asked for.
fn name(input: &SendNotice) -> Result<String, Failure> {
    let most = match input.event {
        NoticeEvent::Reminder => MAX_REMINDERS,
        _ => 1,
    };
    if usize::from(input.number) >= most {
        return Err(Failure::new("Notice", "there is no such notice").permanent());
    }
    Ok(match input.event {
        NoticeEvent::Reminder => format!("{}-{}", input.event.as_str(), input.number),
        event => event.as_str().to_owned(),
    })
}

/// The recorded decisions that count, in their order.
fn authentic(
    checked: &CheckedMandate<'_>,
    recorded: &[SignedDecision],
    shown: &Digest,
) -> Vec<Decision> {
    recorded
        .iter()
        .filter_map(|signed| checked.examine(signed, shown).ok())
        .collect()
}

fn notice(
    mandate: &Mandate,
    input: &SendNotice,
    preview: countersign_enrollment::account::AccountPreview,
    decisions: Vec<Decision>,
) -> Notice {
    let by_decision = matches!(input.event, NoticeEvent::Decided | NoticeEvent::Stopped);
    // A rejection stands, whatever approvals precede or follow it.
    let rejection = decisions.iter().find(|decision| !decision.approved);
    let decision = rejection
        .or(decisions.last())
        .filter(|_| by_decision)
        .cloned();
    let at: DateTime<Utc> = match (input.event, &decision) {
        (NoticeEvent::Requested, _) => mandate.issued_at,
        (NoticeEvent::Expired, _) => mandate.terms.deadline,
        (_, Some(decision)) => decision.decided_at,
        (_, None) => Utc::now(),
    };
    let run: String = mandate.run.as_str().chars().take(RUN_CHARS).collect();
    let event = input.event.as_str();
    let number = match input.event {
        NoticeEvent::Reminder => format!("-{}", input.number),
        _ => String::new(),
    };
    Notice {
        id: format!("notice-{}-{run}-{event}{number}", input.about),
        event: input.event,
        at,
        about: input.about.clone(),
        kind: mandate.kind().to_owned(),
        preview,
        requested_by: mandate.requested_by.clone(),
        reason: mandate.reason.clone(),
        deadline: mandate.terms.deadline,
        needed: mandate.terms.needed,
        from: mandate.terms.from.clone(),
        approved_by: decisions
            .into_iter()
            .filter(|decision| decision.approved)
            .map(|decision| decision.by)
            .collect(),
        decision: decision.map(as_told),
    }
}
