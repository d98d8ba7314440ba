//! The journal: what was done and refused, in order, for the audit log.

use chrono::{DateTime, Utc};

/// The longest text of an entry, in bytes.
const MAX_TEXT: usize = 500;

/// How an action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused.
    Refused,
}

impl Outcome {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }

    pub(crate) fn named(word: &str) -> Option<Self> {
        [Self::Done, Self::Refused]
            .into_iter()
            .find(|outcome| outcome.as_str() == word)
    }
}

/// An entry to write. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// The time.
    pub at: DateTime<Utc>,
    /// The enrollment, import or request, as far as it was known.
    pub about: String,
    /// The account, if there is one.
    pub account: Option<String>,
    /// The action, as a stable word.
    pub action: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The reason, if there is one.
    pub reason: Option<String>,
}

impl NewEntry {
    /// The same with texts of bounded length and without control characters, since some of
    /// them may come from anyone.
    #[must_use]
    pub(crate) fn bounded(mut self) -> Self {
        for text in [
            Some(&mut self.about),
            self.account.as_mut(),
            self.reason.as_mut(),
        ]
        .into_iter()
        .flatten()
        {
            text.retain(|c| !c.is_control());
            if text.len() > MAX_TEXT {
                let end = (0..=MAX_TEXT)
                    .rev()
                    .find(|at| text.is_char_boundary(*at))
                    .unwrap_or(0);
                text.truncate(end);
            }
        }
        self
    }
}

/// An entry with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// The number, from 1, without gaps as long as nothing is lost.
    pub seq: u64,
    /// The entry.
    pub entry: NewEntry,
}
