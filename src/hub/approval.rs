//! Who asks and who decides, and the rules of approval.

use std::time::Duration;

use crate::access::Group;

/// Someone who asks for something.
#[derive(Clone, Copy)]
pub(crate) struct Requester<'a> {
    pub(crate) id: &'a str,
    /// From whose hand its credential comes, as [`Access`](crate::access::Access) says.
    pub(crate) hand: &'a str,
}

/// Someone who decides.
#[derive(Clone, Copy)]
pub(crate) struct Decider<'a> {
    pub(crate) id: &'a str,
    /// See [`Requester::hand`].
    pub(crate) hand: &'a str,
    pub(crate) groups: &'a [Group],
}

/// What an enrollment that needs approval needs.
#[derive(Clone, Debug)]
pub(crate) struct ApprovalPolicy {
    /// How long it waits.
    pub(crate) timeout: Duration,
    /// Whether every enrollment does, asked for or not.
    pub(crate) always: bool,
    /// How many people have to agree.
    pub(crate) approvals: u8,
    /// How many people have to agree to a request on an account; nobody has to if 0.
    pub(crate) request_approvals: u8,
    /// The groups whose members have to agree; everyone who may decide if none.
    pub(crate) from: Vec<String>,
    /// When to remind of it, counted from its start.
    pub(crate) reminders: Vec<Duration>,
    /// Whether there is someone to tell.
    pub(crate) notify: bool,
}

impl ApprovalPolicy {
    /// The rules in words, as mandates carry them for people.
    pub(super) fn in_words(&self, prove_all: bool) -> String {
        let from = match self.from.as_slice() {
            [] => "anyone who may decide".to_owned(),
            groups => groups.join(", "),
        };
        format!(
            "enrollments: approval {}, by {} of {from}; requests: by {} of {from}; proof {}",
            if self.always {
                "always"
            } else {
                "where asked for"
            },
            self.approvals,
            self.request_approvals,
            if prove_all {
                "always"
            } else {
                "where asked for"
            },
        )
    }
}
