//! Why something is not permitted.

use thiserror::Error;

use crate::matter::Status;

/// Why something is not permitted, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no mandate: an earlier release started it, or something other than a front
    /// door did.
    #[error(
        "this was not signed by a front door; if an earlier release started it, submit it again"
    )]
    NoMandate,
    /// The signature or the form is not what a front door makes.
    #[error("the mandate or decision was not signed by a front door of this installation")]
    Forged,
    /// The key that it names is retired.
    #[error("it was signed with the retired key {key}; submit it again")]
    RetiredKey {
        /// The key's id.
        key: String,
    },
    /// The key that it names is not known here.
    #[error(
        "it was signed with the unknown key {key}; it belongs to another installation, or the \
         front door has not published its key"
    )]
    UnknownKey {
        /// The key's id, as it claims.
        key: String,
    },
    /// Another release's front door has signed it.
    #[error("it has version {version}, which this release does not know; update the worker")]
    OtherVersion {
        /// Its version.
        version: u32,
    },
    /// It is authentic and has parts that this release does not know.
    #[error("it has parts that this release does not know; update the worker")]
    NotUnderstood,
    /// It is written in another ledger.
    #[error(
        "it is in a different ledger than this one; front door and worker must share one data \
         folder, and what was started before the ledger was replaced has to be submitted again"
    )]
    OtherLedger,
    /// The ledger does not know it.
    #[error(
        "the ledger does not know it; if an older copy of the ledger was restored, submit it again"
    )]
    Unregistered,
    /// It is a mandate for something else.
    #[error("the mandate is for another enrollment or request")]
    OtherMatter,
    /// The input is not what the mandate names.
    #[error("the input is not the one that was accepted")]
    OtherSource,
    /// Other things may be done by this mandate, but not this.
    #[error("the mandate does not cover this")]
    NotCovered,
    /// It has ended already.
    #[error("it has finished already: {}", .0.as_str())]
    Ended(Status),
    /// Not enough people have agreed.
    #[error("{counted} of {needed} approvals count{}", because(*.reason))]
    NotApproved {
        /// How many must approve.
        needed: u8,
        /// How many valid approvals there are.
        counted: u8,
        /// Why the first of the others does not count.
        reason: Option<Discounted>,
    },
    /// Someone rejected it.
    #[error("it was rejected")]
    Rejected,
    /// Nobody rejected it, so there is nothing to restore.
    #[error("the request was not rejected")]
    NotRejected,
    /// It was decided already.
    #[error("it was decided already")]
    AlreadyDecided,
    /// There is nothing to decide.
    #[error("it is not waiting for a decision")]
    NotAwaiting,
    /// The deadline for a decision has passed.
    #[error("the deadline for a decision has passed")]
    TooLate,
    /// It is not time yet.
    #[error("the waiting time is not over")]
    TooEarly,
    /// The requester may not approve their own request.
    #[error("the requester may not decide")]
    OwnRequest,
    /// Requester and decider, or two deciders, may be one person.
    #[error("this credential belongs to the same person as one whose approval is already counted")]
    SamePerson,
    /// The decider is in none of the required groups.
    #[error("the decider is in none of the approver groups")]
    NotAnApprover,
    /// Another caller requested it.
    #[error("another caller requested it")]
    OtherCaller,
    /// The vault has another secret than the one that was approved.
    #[error("the account has a different secret than the approved one")]
    OtherSecret,
    /// Everything that was granted has been used.
    #[error("everything that was granted has been used")]
    UsedUp,
    /// The time for using it has passed.
    #[error("the time to use it has passed")]
    Lapsed,
}

impl Refusal {
    /// A stable word for it, for logs and the audit log.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoMandate => "no-mandate",
            Self::Forged => "forged",
            Self::RetiredKey { .. } => "retired-key",
            Self::UnknownKey { .. } => "unknown-key",
            Self::OtherVersion { .. } => "other-version",
            Self::NotUnderstood => "not-understood",
            Self::OtherLedger => "other-ledger",
            Self::Unregistered => "unregistered",
            Self::OtherMatter => "other-matter",
            Self::OtherSource => "other-source",
            Self::NotCovered => "not-covered",
            Self::Ended(_) => "ended",
            Self::NotApproved { .. } => "not-approved",
            Self::Rejected => "objected",
            Self::NotRejected => "not-objected",
            Self::AlreadyDecided => "already-decided",
            Self::NotAwaiting => "not-awaiting",
            Self::TooLate => "too-late",
            Self::TooEarly => "too-early",
            Self::OwnRequest => "own-request",
            Self::SamePerson => "one-hand",
            Self::NotAnApprover => "not-asked",
            Self::OtherCaller => "other-caller",
            Self::OtherSecret => "other-secret",
            Self::UsedUp => "used-up",
            Self::Lapsed => "lapsed",
        }
    }
}

/// Why a decision does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discounted {
    /// It is not signed by a front door of this installation, or with a retired
    /// key.
    NotSigned,
    /// It is on another matter or run, or was made after something else was shown.
    Elsewhere,
    /// The ledger does not hold it.
    NotRecorded,
    /// It was made before the request or after its deadline.
    OutOfTime,
    /// The requester made it.
    OwnRequest,
    /// It comes from the same person as the request or an earlier decision.
    SamePerson,
    /// The decider is in none of the required groups.
    NotAnApprover,
}

impl Discounted {
    const fn text(self) -> &'static str {
        match self {
            Self::NotSigned => "one was not signed by a front door of this installation",
            Self::Elsewhere => "one is for something else",
            Self::NotRecorded => "one is not in the ledger",
            Self::OutOfTime => "one was made too early or too late",
            Self::OwnRequest => "one was made by the requester",
            Self::SamePerson => "one belongs to a person whose approval is already counted",
            Self::NotAnApprover => "one comes from someone who is not an approver",
        }
    }
}

fn because(reason: Option<Discounted>) -> String {
    reason.map_or_else(String::new, |reason| format!("; {}", reason.text()))
}
