//! The journal: what was done and refused, in order, for the audit log.

use chrono::{DateTime, Utc};

/// The longest text of an entry, in bytes.
const MAX_TEXT: usize = 500;

/// How it ended.
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

/// An entry that is to be written. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// When.
    pub at: DateTime<Utc>,
    /// The enrollment, import or request, as far as it was known.
    pub about: String,
    /// The account, if there is one.
    pub account: Option<String>,
    /// What, as a stable word.
    pub action: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, if there is anything to say.
    pub reason: Option<String>,
}

impl NewEntry {
    /// The same with texts of bounded length and without control characters, since a part of
    /// them may be anyone's.
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
    /// The number, from 1, without gaps for as long as nothing was lost.
    pub seq: u64,
    /// What it says.
    pub entry: NewEntry,
}
