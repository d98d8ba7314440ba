//! Decisions: judged, signed and recorded, then told to the orchestration.

use chrono::SubsecRound as _;
use countersign_authority::shown;
use countersign_enrollment::contract::APPROVAL;
use countersign_enrollment::decision::{ApprovalDecision, RaisedDecision};
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::mandate::{Digest, SignedMandate};

use super::error::{hub, internal};
use super::{DECISION_SEEN, Decider, EnrollmentError, Enrollments, Snapshot, Stage};
use crate::mandates::Verdict;

impl Enrollments {
    /// Decides on an enrollment that waits for it.
    pub(crate) async fn decide(
        &self,
        id: &EnrollmentId,
        decider: Decider<'_>,
        approved: bool,
        comment: Option<String>,
    ) -> Result<Snapshot, EnrollmentError> {
        let caller = decider.id;
        let snapshot = self.get(id, None).await?;
        match snapshot.stage {
            Stage::AwaitingApproval => {}
            Stage::Expired => return Err(EnrollmentError::ApprovalExpired),
            Stage::Pending | Stage::Decoding | Stage::Validating => {
                return Err(EnrollmentError::NotAwaiting);
            }
            _ if snapshot.decision.is_some() || snapshot.stage == Stage::Storing => {
                return Err(if snapshot.approval_required {
                    EnrollmentError::AlreadyDecided
                } else {
                    EnrollmentError::NotAwaiting
                });
            }
            _ => return Err(EnrollmentError::NotAwaiting),
        }
        if approved && snapshot.has_agreed(caller) {
            return Err(EnrollmentError::AlreadyDecided);
        }
        let preview = snapshot.preview.as_ref();
        let preview = preview.ok_or(EnrollmentError::NotAwaiting)?;
        // What the task hub shows is signed with the decision: the worker compares it with
        // the very account.
        let shown = shown(preview, &snapshot.secret_fingerprint);
        let verdict = self.verdict(decider, approved, comment, &snapshot.approvers, shown)?;
        self.raise(&snapshot.mandate, id.as_str(), verdict).await?;
        // Waits a moment until it has arrived, so that whoever comes next finds it.
        self.until(snapshot, DECISION_SEEN, |latest: &Snapshot| {
            latest.stage != Stage::AwaitingApproval || (approved && latest.has_agreed(caller))
        })
        .await
    }

    /// What somebody decides. Of its groups those count that are asked.
    pub(super) fn verdict(
        &self,
        decider: Decider<'_>,
        approved: bool,
        comment: Option<String>,
        from: &[String],
        shown: Digest,
    ) -> Result<Verdict, EnrollmentError> {
        let groups = decider.groups.iter();
        Ok(Verdict {
            approved,
            by: decider.id.parse().map_err(internal)?,
            hand: self.mandates.hand(decider.hand),
            groups: groups
                .map(|group| group.as_str().to_owned())
                .filter(|group| from.contains(group))
                .collect(),
            comment,
            shown,
        })
    }

    /// Signs and records a decision, then tells the orchestration of it.
    pub(super) async fn raise(
        &self,
        mandate: &SignedMandate,
        about: &str,
        verdict: Verdict,
    ) -> Result<(), EnrollmentError> {
        let signed = self.mandates.decide(mandate, about, &verdict).await?;
        let raised = RaisedDecision {
            decision: ApprovalDecision {
                approved: verdict.approved,
                by: verdict.by,
                comment: verdict.comment,
                decided_at: self.clock.now().trunc_subsecs(3),
                groups: verdict.groups,
            },
            signed,
            signature: None,
        };
        self.client
            .raise_event(about, &APPROVAL, &raised)
            .await
            .map_err(hub)?;
        tracing::info!(instance_id = %about, approved = verdict.approved, "decision sent");
        Ok(())
    }
}
