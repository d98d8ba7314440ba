//! A matter, and what the ledger holds of it: the facts for the judgment that the task hub cannot
//! reach.

use chrono::{DateTime, Utc};
use countersign_enrollment::mandate::{Digest, SignedDecision};

use crate::mandate::{LedgerId, RunId};

/// A matter, which is judged on its own: a run of an enrollment or a request, or one account
/// of an import.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Matter {
    /// The run.
    pub run: RunId,
    /// The enrollment, import or request; for an account of an import, its enrollment.
    pub about: String,
}

/// What became of a matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is in progress.
    Open,
    /// It was carried out.
    Done,
    /// Someone rejected it.
    Rejected,
    /// The requester withdrew it, someone ended it, or it never began.
    Withdrawn,
}

impl Status {
    /// The word for it, as the ledger keeps it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Done => "done",
            Self::Rejected => "refused",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// The status with this word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        [Self::Open, Self::Done, Self::Rejected, Self::Withdrawn]
            .into_iter()
            .find(|status| status.as_str() == word)
    }
}

/// The acts that the ledger counts: each can be done once or a limited number of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ActName {
    /// A secret was put into the vault.
    Store,
    /// An account was sealed for another installation.
    Seal,
    /// An account was disabled.
    Disable,
    /// An account was enabled again.
    Restore,
    /// An account was destroyed.
    Purge,
    /// An account's recovery codes were set.
    SetRecovery,
    /// A code or a URI was given out.
    Release,
    /// A notice was delivered.
    Notify,
}

impl ActName {
    const ALL: [Self; 8] = [
        Self::Store,
        Self::Seal,
        Self::Disable,
        Self::Restore,
        Self::Purge,
        Self::SetRecovery,
        Self::Release,
        Self::Notify,
    ];

    /// The word for it, as the ledger and the audit log keep it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Seal => "seal",
            Self::Disable => "disable",
            Self::Restore => "restore",
            Self::Purge => "purge",
            Self::SetRecovery => "set-recovery",
            Self::Release => "release",
            Self::Notify => "notify",
        }
    }

    /// The act with this word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.as_str() == word)
    }
}

/// One use that was made of a mandate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// What was done.
    pub act: ActName,
    /// Which one, if there are several: the notice's name. Empty otherwise.
    pub name: String,
    /// When it was begun.
    pub begun_at: DateTime<Utc>,
    /// When it was done; none while it is in progress.
    pub done_at: Option<DateTime<Utc>>,
    /// Its result, if that is kept: the package of a [`ActName::Seal`].
    pub result: Option<String>,
}

/// What the ledger holds of one matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatterState {
    /// Which ledger this is.
    pub ledger: LedgerId,
    /// The digest of the mandate that was registered for the run; none if there is none.
    pub mandate: Option<Digest>,
    /// What became of the matter; none if the mandate has no such matter.
    pub status: Option<Status>,
    /// Grows with every write about the matter: a judgment on an older one must be
    /// repeated.
    pub version: u64,
    /// The decisions that were recorded, in that order.
    pub decisions: Vec<SignedDecision>,
    /// The uses that were recorded, in that order.
    pub uses: Vec<Use>,
}

impl MatterState {
    /// How often an act was begun.
    #[must_use]
    pub fn count(&self, act: ActName) -> usize {
        self.uses.iter().filter(|it| it.act == act).count()
    }

    /// The use that was begun of an act that is done once.
    #[must_use]
    pub fn of(&self, act: ActName) -> Option<&Use> {
        self.uses.iter().find(|it| it.act == act)
    }

    /// The use of an act that is done once, if it is done.
    #[must_use]
    pub fn done(&self, act: ActName) -> Option<&Use> {
        self.of(act).filter(|it| it.done_at.is_some())
    }
}
