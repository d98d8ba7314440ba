//! Requesters, approvers and the rules of approval.

use std::time::Duration;

use crate::access::Group;

/// The caller that started something.
#[derive(Clone, Copy)]
pub(crate) struct Requester<'a> {
    pub(crate) id: &'a str,
    /// The person behind its credential, by [`Access`](crate::access::Access).
    pub(crate) hand: &'a str,
}

/// The caller that decides.
#[derive(Clone, Copy)]
pub(crate) struct Decider<'a> {
    pub(crate) id: &'a str,
    /// See [`Requester::hand`].
    pub(crate) hand: &'a str,
    pub(crate) groups: &'a [Group],
}

/// The rules of approval.
#[derive(Clone, Debug)]
pub(crate) struct ApprovalPolicy {
    /// How long it waits.
    pub(crate) timeout: Duration,
    /// Whether every enrollment needs approval, requested or not.
    pub(crate) always: bool,
    /// How many people must approve.
    pub(crate) approvals: u8,
    /// How many people must approve a request on an account; 0 for none.
    pub(crate) request_approvals: u8,
    /// The groups whose members must approve; any approver if there are none.
    pub(crate) from: Vec<String>,
    /// When to send reminders, counted from the start.
    pub(crate) reminders: Vec<Duration>,
    /// Whether a webhook is configured.
    pub(crate) notify: bool,
}

impl ApprovalPolicy {
    /// The rules in words, which mandates carry for people.
    pub(super) fn in_words(&self, prove_all: bool) -> String {
        let from = match self.from.as_slice() {
            [] => "any approver".to_owned(),
            groups => groups.join(", "),
        };
        format!(
            "enrollments: approval {}, by {} of {from}; requests: by {} of {from}; proof {}",
            if self.always {
                "always"
            } else {
                "where requested"
            },
            self.approvals,
            self.request_approvals,
            if prove_all {
                "always"
            } else {
                "where requested"
            },
        )
    }
}
