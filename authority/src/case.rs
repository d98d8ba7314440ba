//! A case to judge, and the checks that precede every judgment.

use chrono::{DateTime, Utc};
use countersign_enrollment::mandate::{Digest, SignedDecision, SignedMandate};

use crate::decision::Decision;
use crate::keys::CheckingKeys;
use crate::mandate::{Mandate, MandatedAct};
use crate::matter::{Matter, MatterState, Status};
use crate::refusal::Refusal;

/// Everything that a judgment depends on.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The signed mandate, as it was passed in.
    pub mandate: &'a SignedMandate,
    /// The enrollment, import or request that is acted on.
    pub about: &'a str,
    /// The signed decisions, as they were passed in.
    pub evidence: &'a [SignedDecision],
    /// What the ledger holds of the run that the mandate names, and of `about`.
    pub state: &'a MatterState,
    /// The keys that check signatures.
    pub keys: &'a CheckingKeys,
    /// The moment.
    pub now: DateTime<Utc>,
}

/// A case whose mandate is authentic, registered and for this matter.
pub struct Checked<'a> {
    pub(crate) case: Case<'a>,
    pub(crate) mandate: Mandate,
    pub(crate) digest: Digest,
    pub(crate) status: Status,
}

impl<'a> Case<'a> {
    /// Checks the conditions of every act.
    pub(crate) fn check(self) -> Result<Checked<'a>, Refusal> {
        let mandate = self.keys.read_mandate(self.mandate)?;
        if mandate.ledger != self.state.ledger {
            return Err(Refusal::OtherLedger);
        }
        let digest = self.mandate.digest();
        if self.state.mandate.as_ref() != Some(&digest) {
            return Err(Refusal::Unregistered);
        }
        let within = matches!(mandate.act, MandatedAct::Import { .. });
        if mandate.id != self.about && !within {
            return Err(Refusal::OtherMatter);
        }
        // An import has as many matters as the worker has planned; others have one.
        let status = self.state.status.ok_or(Refusal::OtherMatter)?;
        Ok(Checked {
            case: self,
            mandate,
            digest,
            status,
        })
    }
}

impl Checked<'_> {
    pub(crate) fn matter(&self) -> Matter {
        Matter {
            run: self.mandate.run.clone(),
            about: self.case.about.to_owned(),
        }
    }

    /// It is in progress: it has not ended in any way.
    pub(crate) fn open(&self) -> Result<(), Refusal> {
        match self.status {
            Status::Open if self.rejection().is_some() => Err(Refusal::Rejected),
            Status::Open => Ok(()),
            Status::Rejected => Err(Refusal::Rejected),
            ended => Err(Refusal::Ended(ended)),
        }
    }

    /// The first rejection in the ledger. It stands, whatever approvals follow.
    pub(crate) fn rejection(&self) -> Option<Decision> {
        self.recorded().find(|decision| !decision.approved)
    }

    /// The recorded decisions on this matter that a front door has signed.
    fn recorded(&self) -> impl Iterator<Item = Decision> {
        self.case
            .state
            .decisions
            .iter()
            .filter_map(|signed| self.case.keys.read_decision(signed).ok())
            .filter(|decision| self.is_about_this(decision))
    }

    /// Whether a decision was made on this run of this matter, under this mandate.
    pub(crate) fn is_about_this(&self, decision: &Decision) -> bool {
        decision.ledger == self.mandate.ledger
            && decision.run == self.mandate.run
            && decision.about == self.case.about
            && decision.mandate == self.digest
    }
}
