//! Which decisions count as approvals, and whether they are enough.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use countersign_enrollment::mandate::{Digest, SignedDecision};

use crate::case::Checked;
use crate::decision::Decision;
use crate::refusal::{Discounted, Refusal};

/// The decisions that count as approvals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Approvals {
    /// Those that count, in the order of evidence.
    pub(crate) counted: Vec<Decision>,
    /// Why the first of the others does not.
    pub(crate) reason: Option<Discounted>,
}

/// Counts the approvals among `evidence`: signed by a front door, recorded in the ledger, on
/// this run after `shown` was shown, in time, and from different people among requester and
/// deciders together.
pub(crate) fn approvals(
    checked: &Checked<'_>,
    evidence: &[SignedDecision],
    shown: &Digest,
) -> Approvals {
    let mandate = &checked.mandate;
    let mut persons = BTreeSet::from([mandate.person.clone()]);
    let mut deciders = BTreeSet::from([mandate.requested_by.clone()]);
    let mut nonces = BTreeSet::new();
    let mut counted = Vec::new();
    let mut reason = None;
    for signed in evidence {
        match approval(checked, signed, shown) {
            Ok(decision) if !nonces.insert(decision.nonce.clone()) => {}
            Ok(decision) if decision.by == mandate.requested_by => {
                reason.get_or_insert(Discounted::OwnRequest);
            }
            Ok(decision)
                if persons.contains(&decision.person) || deciders.contains(&decision.by) =>
            {
                reason.get_or_insert(Discounted::SamePerson);
            }
            Ok(decision) => {
                persons.insert(decision.person.clone());
                deciders.insert(decision.by.clone());
                counted.push(decision);
            }
            Err(why) => {
                reason.get_or_insert(why);
            }
        }
    }
    Approvals { counted, reason }
}

/// The approval in a signed text, regardless of others.
pub(crate) fn approval(
    checked: &Checked<'_>,
    signed: &SignedDecision,
    shown: &Digest,
) -> Result<Decision, Discounted> {
    let case = &checked.case;
    let decision = case
        .keys
        .read_decision(signed)
        .map_err(|_| Discounted::NotSigned)?;
    if !decision.approved || !checked.is_about_this(&decision) || decision.shown != *shown {
        return Err(Discounted::Elsewhere);
    }
    if !case.state.decisions.contains(signed) {
        return Err(Discounted::NotRecorded);
    }
    let terms = &checked.mandate.terms;
    let times = checked.mandate.issued_at..=terms.deadline;
    if !times.contains(&decision.decided_at) {
        return Err(Discounted::OutOfTime);
    }
    if !is_approver(&terms.from, &decision) {
        return Err(Discounted::NotAnApprover);
    }
    Ok(decision)
}

/// Whether a decision was made for one of the groups whose members must approve.
pub(crate) fn is_approver(from: &[String], decision: &Decision) -> bool {
    from.is_empty() || decision.groups.iter().any(|group| from.contains(group))
}

impl Checked<'_> {
    /// Enough people have approved, by decisions that were passed in and recorded, after `shown` was
    /// shown. Returns since when.
    pub(crate) fn approved(&self, shown: &Digest) -> Result<DateTime<Utc>, Refusal> {
        let Approvals { counted, reason } = approvals(self, self.case.evidence, shown);
        let needed = self.mandate.terms.needed;
        let Some(last) = usize::from(needed).checked_sub(1) else {
            return Ok(self.mandate.issued_at);
        };
        match counted.get(last) {
            Some(decision) => Ok(decision.decided_at),
            None => Err(Refusal::NotApproved {
                needed,
                counted: u8::try_from(counted.len()).unwrap_or(u8::MAX),
                reason,
            }),
        }
    }
}
