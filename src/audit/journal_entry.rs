//! What workers write into their journal, and how the audit log says it.

use chrono::{DateTime, Utc};

use super::change::misleads;
use super::entry::{Action, Event, Outcome};
use super::error::AuditError;
use super::redact::without_secrets;

/// The longest id or name from the journal that is kept, in characters.
const MAX_NAME: usize = 128;

/// One thing that a worker did or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// Its place.
    pub seq: u64,
    /// When.
    pub at: DateTime<Utc>,
    /// The enrollment or request that it belonged to.
    pub instance: String,
    /// The account, where there is one.
    pub account: Option<String>,
    /// The action: `store`, `seal`, `disable`, `restore`, `purge`, `notify` or another code.
    pub action: String,
    /// How it ended.
    pub outcome: JournalOutcome,
    /// Why it was refused, as a code, or a detail of what was done.
    pub reason: Option<String>,
    /// The caller: `worker`.
    pub by: String,
}

/// How a worker's action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalOutcome {
    /// It was done.
    Done,
    /// It was refused.
    Refused,
}

impl JournalEntry {
    /// The entry as an event of the audit log.
    fn event(&self) -> Event {
        let action = match self.action.as_str() {
            "store" => Action::Store,
            "seal" => Action::Seal,
            "disable" => Action::Disable,
            "restore" => Action::Restore,
            "purge" => Action::Purge,
            "notify" => Action::Notify,
            _ => Action::Work,
        };
        let mut event = Event::new(action, &name(&self.by), self.at);
        event.outcome = match self.outcome {
            JournalOutcome::Done => Outcome::Done,
            JournalOutcome::Refused => Outcome::Refused,
        };
        let said = self.reason.as_deref().unwrap_or_default();
        if event.outcome == Outcome::Refused && is_code(said) {
            event.problem = Some(said.to_owned());
        }
        let reason = match (action, event.problem.is_some()) {
            (Action::Work, true) => name(&self.action),
            (Action::Work, false) => format!("{} {said}", name(&self.action)),
            (_, true) => String::new(),
            (_, false) => said.to_owned(),
        };
        event = event.because(&reason);
        event.instance = Some(name(&self.instance));
        event.journal = Some(self.seq);
        event.to(name(self.account.as_deref().unwrap_or(&self.instance)))
    }
}

/// A name as it is kept. An instance's id may be any text that a client gave to the hub.
fn name(text: &str) -> String {
    let text = without_secrets(text);
    let shown = text
        .chars()
        .map(|c| if misleads(c) { '\u{fffd}' } else { c });
    shown.take(MAX_NAME).collect()
}

/// Whether a text is a code rather than a sentence.
fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Entries that come after `from` as events of the record, and the place of the last one.
pub(super) fn events(from: u64, entries: &[JournalEntry]) -> Result<(Vec<Event>, u64), AuditError> {
    let mut last = from;
    for entry in entries {
        if entry.seq <= last {
            let place = entry.seq;
            return Err(AuditError::Journal(format!(
                "its entry {place} comes after entry {last}"
            )));
        }
        last = entry.seq;
    }
    Ok((entries.iter().map(JournalEntry::event).collect(), last))
}
