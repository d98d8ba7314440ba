//! Decisions: checked, signed and recorded, then raised as an event.

use chrono::SubsecRound as _;
use countersign_authority::{MandatedAct, Refusal, shown};
use countersign_enrollment::contract::APPROVAL;
use countersign_enrollment::decision::{ApprovalDecision, RaisedDecision};
use countersign_enrollment::ids::{CallerId, EnrollmentId};
use countersign_enrollment::mandate::{Digest, SignedMandate};

use super::error::{hub, internal};
use super::patience::patiently;
use super::{DECISION_SEEN, Decider, EARLY, Hub, HubError, RequestSnapshot, Snapshot, Stage};
use crate::mandates::NewDecision;

/// Who has already taken part in a pending decision, and who may.
pub(crate) struct Ballot {
    requested_by: String,
    approved_by: Vec<CallerId>,
    persons: Vec<String>,
    /// The groups whose members must approve; any approver if there are none.
    from: Vec<String>,
    /// Whether the ledger has the mandate, without which nothing can be decided.
    in_ledger: bool,
}

impl From<&Snapshot> for Ballot {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            requested_by: snapshot.requested_by.clone(),
            approved_by: snapshot.approved_by.clone(),
            persons: snapshot.persons.clone(),
            from: snapshot.approvers.clone(),
            in_ledger: snapshot.in_ledger,
        }
    }
}

impl From<&RequestSnapshot> for Ballot {
    fn from(snapshot: &RequestSnapshot) -> Self {
        Self {
            requested_by: snapshot.requested_by.clone(),
            approved_by: snapshot.approved_by.clone(),
            persons: snapshot.persons.clone(),
            from: snapshot.approvers.clone(),
            in_ledger: snapshot.in_ledger,
        }
    }
}

impl Ballot {
    /// Whether this approver is the requester.
    fn is_by(&self, caller: &str) -> bool {
        self.requested_by == caller
    }

    /// Whether this approver may reject it: anyone except the requester, who can only withdraw it.
    pub(crate) fn may_refuse(&self, caller: &str) -> bool {
        self.in_ledger && !self.is_by(caller)
    }
}

impl Hub {
    /// Why this approver cannot approve, if so: for clients that choose what to offer. The ledger
    /// checks each decision itself.
    pub(crate) fn may_agree(&self, ballot: &Ballot, decider: Decider<'_>) -> Result<(), HubError> {
        if !ballot.in_ledger {
            return Err(HubError::Refused(Refusal::NoMandate));
        }
        if ballot.is_by(decider.id) {
            return Err(HubError::SelfApproval);
        }
        if ballot
            .approved_by
            .iter()
            .any(|by| by.as_str() == decider.id)
        {
            return Err(HubError::AlreadyDecided);
        }
        if ballot
            .persons
            .contains(&self.mandates.pseudonym(decider.person))
        {
            return Err(HubError::SamePerson);
        }
        let asked = |group: &String| decider.groups.iter().any(|own| own.as_str() == group);
        if !ballot.from.is_empty() && !ballot.from.iter().any(asked) {
            return Err(HubError::NotAnApprover);
        }
        Ok(())
    }

    /// Decides on an enrollment that waits for it.
    pub(crate) async fn decide(
        &self,
        id: &EnrollmentId,
        decider: Decider<'_>,
        approved: bool,
        comment: Option<String>,
    ) -> Result<Snapshot, HubError> {
        if !approved {
            return self.reject(id, decider, comment).await;
        }
        let caller = decider.id;
        let mut snapshot = self.get(id, None).await?;
        if snapshot.approval_required && is_early(&snapshot) {
            if snapshot.requested_by == caller {
                return Err(HubError::SelfApproval);
            }
            // A decision that arrives this early waits a moment instead of being refused.
            snapshot = self
                .until(snapshot, EARLY, |latest| !is_early(latest))
                .await?;
            self.check(&mut snapshot).await?;
        }
        if snapshot.stage != Stage::AwaitingApproval {
            return Err(not_awaiting(&snapshot));
        }
        if snapshot.has_agreed(caller) {
            return Err(HubError::AlreadyDecided);
        }
        let preview = snapshot.preview.as_ref();
        let preview = preview.ok_or(HubError::NotAwaiting)?;
        // What the task hub shows is signed with the decision: the worker compares it with
        // the very account.
        let shown = shown(preview, &snapshot.secret_fingerprint);
        let verdict = self.verdict(decider, true, comment, &snapshot.approvers, shown)?;
        self.leave_one_mandate(id.as_str()).await?;
        let (signed, _) = self
            .mandates
            .latest(id.as_str())
            .await?
            .ok_or(HubError::Refused(Refusal::NoMandate))?;
        self.raise(&signed, id.as_str(), verdict).await?;
        // Waits a moment until it has arrived, so that the next reader sees it.
        let mut latest = self
            .until(snapshot, DECISION_SEEN, |latest: &Snapshot| {
                latest.stage != Stage::AwaitingApproval || latest.has_agreed(caller)
            })
            .await?;
        self.check(&mut latest).await?;
        Ok(latest)
    }

    async fn reject(
        &self,
        id: &EnrollmentId,
        decider: Decider<'_>,
        comment: Option<String>,
    ) -> Result<Snapshot, HubError> {
        let rejection = self
            .record_rejection(id.as_str(), decider, comment, None)
            .await;
        let snapshot = self.get(id, None).await?;
        if snapshot.stage.has_ended() {
            return Err(not_awaiting(&snapshot));
        }
        self.tell(id.as_str(), rejection?).await?;
        let since = snapshot.stage;
        let mut latest = self
            .until(snapshot, DECISION_SEEN, |latest: &Snapshot| {
                latest.stage != since
            })
            .await?;
        self.check(&mut latest).await?;
        Ok(latest)
    }

    /// Records a rejection, whatever stage the task hub shows: a hub that lies cannot keep
    /// it out. Only the ledger is consulted, unless it has several mandates, of which one is used.
    /// With `only`, it applies to this requester alone.
    pub(super) async fn record_rejection(
        &self,
        about: &str,
        decider: Decider<'_>,
        comment: Option<String>,
        only: Option<&str>,
    ) -> Result<RaisedDecision, HubError> {
        self.leave_one_mandate(about).await?;
        let (signed, mandate) = self
            .mandates
            .latest(about)
            .await?
            .ok_or(HubError::Refused(Refusal::NoMandate))?;
        if only.is_some_and(|caller| mandate.requested_by.as_str() != caller) {
            return Err(HubError::Unknown);
        }
        // An approved enrollment is being stored already. A request can be stopped for longer.
        if !matches!(mandate.act, MandatedAct::Request { .. })
            && self.mandates.agreed(&signed, about).await?
        {
            return Err(HubError::AlreadyDecided);
        }
        // A rejection concerns the whole request, whatever was shown.
        let shown = Digest::of_parts([]);
        let verdict = self.verdict(decider, false, comment, &mandate.terms.from, shown)?;
        self.sign(&signed, about, verdict).await
    }

    /// A decision, with those of the approver's groups that are required.
    pub(super) fn verdict(
        &self,
        decider: Decider<'_>,
        approved: bool,
        comment: Option<String>,
        from: &[String],
        shown: Digest,
    ) -> Result<NewDecision, HubError> {
        let groups = decider.groups.iter();
        Ok(NewDecision {
            approved,
            by: decider.id.parse().map_err(internal)?,
            person: self.mandates.pseudonym(decider.person),
            groups: groups
                .map(|group| group.as_str().to_owned())
                .filter(|group| from.contains(group))
                .collect(),
            comment,
            shown,
        })
    }

    /// Signs and records a decision, then notifies the orchestration.
    pub(super) async fn raise(
        &self,
        mandate: &SignedMandate,
        about: &str,
        verdict: NewDecision,
    ) -> Result<(), HubError> {
        let raised = self.sign(mandate, about, verdict).await?;
        self.tell(about, raised).await
    }

    async fn sign(
        &self,
        mandate: &SignedMandate,
        about: &str,
        verdict: NewDecision,
    ) -> Result<RaisedDecision, HubError> {
        let signed = self.mandates.decide(mandate, about, &verdict).await?;
        Ok(RaisedDecision {
            decision: ApprovalDecision {
                approved: verdict.approved,
                by: verdict.by,
                comment: verdict.comment,
                decided_at: self.clock.now().trunc_subsecs(3),
                groups: verdict.groups,
            },
            signed,
            signature: None,
        })
    }

    /// Notifies the orchestration of a recorded decision.
    pub(super) async fn tell(&self, about: &str, raised: RaisedDecision) -> Result<(), HubError> {
        // A decision is signed and recorded: told twice, it counts once.
        let event = APPROVAL;
        patiently(|| self.client.raise_event(about, &event, &raised))
            .await
            .map_err(hub)?;
        let approved = raised.decision.approved;
        tracing::info!(instance_id = %about, approved, "decision sent");
        Ok(())
    }
}

/// Whether it has not reached its approval yet.
const fn is_early(snapshot: &Snapshot) -> bool {
    matches!(
        snapshot.stage,
        Stage::Pending | Stage::Decoding | Stage::Validating
    )
}

/// The error for a decision on an enrollment that is not waiting for approval.
fn not_awaiting(snapshot: &Snapshot) -> HubError {
    match snapshot.stage {
        Stage::Expired => HubError::ApprovalExpired,
        Stage::Pending | Stage::Decoding | Stage::Validating => HubError::NotAwaiting,
        _ if snapshot.approval_required
            && (snapshot.decision.is_some() || snapshot.stage == Stage::Storing) =>
        {
            HubError::AlreadyDecided
        }
        _ => HubError::NotAwaiting,
    }
}
