//! An enrollment, as its instance's state reports it.

use chrono::{DateTime, Utc};
use countersign_enrollment::account::AccountPreview;
use countersign_enrollment::decision::ApprovalDecision;
use countersign_enrollment::ids::{CallerId, EnrollmentId};
use countersign_enrollment::otpauth::Warning;
use countersign_enrollment::outcome::EnrollmentOutcome;
use countersign_enrollment::problem::InputProblem;
use countersign_enrollment::progress::Progress;
use countersign_enrollment::request::{Approval, EnrollmentRequest};
use durabletask::client::{InstanceState, Status};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{FromState, Reported, reported};

/// An enrollment's stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) enum Stage {
    Pending,
    Decoding,
    Validating,
    AwaitingApproval,
    Storing,
    Enrolled,
    Invalid,
    Rejected,
    Expired,
    Failed,
    Terminated,
}

impl Stage {
    pub(crate) const ALL: [Self; 11] = [
        Self::Pending,
        Self::Decoding,
        Self::Validating,
        Self::AwaitingApproval,
        Self::Storing,
        Self::Enrolled,
        Self::Invalid,
        Self::Rejected,
        Self::Expired,
        Self::Failed,
        Self::Terminated,
    ];

    /// The name in answers and parameters.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Decoding => "Decoding",
            Self::Validating => "Validating",
            Self::AwaitingApproval => "AwaitingApproval",
            Self::Storing => "Storing",
            Self::Enrolled => "Enrolled",
            Self::Invalid => "Invalid",
            Self::Rejected => "Rejected",
            Self::Expired => "Expired",
            Self::Failed => "Failed",
            Self::Terminated => "Terminated",
        }
    }

    /// The stage with this name, in any case.
    pub(crate) fn named(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|stage| stage.as_str().eq_ignore_ascii_case(text))
    }

    /// Whether it has finished.
    pub(crate) const fn has_ended(self) -> bool {
        matches!(
            self,
            Self::Enrolled
                | Self::Invalid
                | Self::Rejected
                | Self::Expired
                | Self::Failed
                | Self::Terminated
        )
    }

    /// The runtime status that an instance in this stage has.
    pub(crate) const fn runtime_status(self) -> Status {
        match self {
            Self::Pending => Status::Pending,
            Self::Decoding | Self::Validating | Self::AwaitingApproval | Self::Storing => {
                Status::Running
            }
            Self::Enrolled | Self::Invalid | Self::Rejected | Self::Expired => Status::Completed,
            Self::Failed => Status::Failed,
            Self::Terminated => Status::Terminated,
        }
    }
}

/// An enrollment at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) id: EnrollmentId,
    pub(crate) stage: Stage,
    pub(crate) runtime_status: Status,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) last_updated_at: DateTime<Utc>,
    pub(crate) requested_by: String,
    pub(crate) approval_required: bool,
    /// Whether the account must be proved before it is in use.
    pub(crate) proof_required: bool,
    /// How many people must approve; 0 if none.
    pub(crate) approvals_needed: u8,
    /// The groups whose members must; any approver if there are none.
    pub(crate) approvers: Vec<String>,
    /// Who has approved so far.
    pub(crate) approved_by: Vec<CallerId>,
    /// The people who are counted already, if the ledger was asked.
    pub(crate) persons: Vec<String>,
    /// Whether the ledger has its mandate, if the ledger was asked.
    pub(crate) in_ledger: bool,
    pub(crate) deadline: Option<DateTime<Utc>>,
    pub(crate) decision: Option<ApprovalDecision>,
    pub(crate) preview: Option<AccountPreview>,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) problem: Option<InputProblem>,
    pub(super) fingerprint: String,
    /// The fingerprint of the secret that is decided on.
    pub(super) secret_fingerprint: String,
}

impl Snapshot {
    /// An enrollment whose start the task hub has just acknowledged.
    pub(super) fn just_started(
        id: &EnrollmentId,
        request: &EnrollmentRequest,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            id: id.clone(),
            stage: Stage::Pending,
            runtime_status: Status::Pending,
            created_at: now,
            last_updated_at: now,
            requested_by: request.requested_by.to_string(),
            approval_required: matches!(request.approval, Approval::Required { .. }),
            proof_required: request.prove,
            approvals_needed: request.approval.needed(),
            approvers: request.approval.from().to_vec(),
            approved_by: Vec::new(),
            persons: Vec::new(),
            in_ledger: false,
            deadline: None,
            decision: None,
            preview: None,
            warnings: Vec::new(),
            problem: None,
            fingerprint: request.fingerprint.clone(),
            secret_fingerprint: String::new(),
        }
    }

    /// The same, without the ids of accounts that the reader may not see.
    pub(crate) fn shown_to(mut self, sees: impl Fn(&EnrollmentId) -> bool) -> Self {
        for warning in &mut self.warnings {
            if let Warning::Duplicate { accounts } = warning {
                accounts.retain(&sees);
            }
        }
        if let Some(InputProblem::AccountThere { accounts }) = &mut self.problem {
            accounts.retain(&sees);
        }
        self
    }

    /// The existing accounts in its warnings.
    pub(crate) fn duplicates(&self) -> impl Iterator<Item = &Warning> {
        let warnings = self.warnings.iter();
        warnings.filter(|warning| matches!(warning, Warning::Duplicate { .. }))
    }

    /// Whether this caller started it and it has ended without an account.
    pub(super) fn failed_for(&self, caller: &CallerId) -> bool {
        self.stage.has_ended()
            && self.stage != Stage::Enrolled
            && self.requested_by == caller.as_str()
    }

    /// Whether this caller has approved it already.
    pub(super) fn has_agreed(&self, caller: &str) -> bool {
        self.approved_by.iter().any(|by| by.as_str() == caller)
    }

    fn apply_progress(&mut self, progress: Progress) {
        match progress {
            Progress::Decoding => self.stage = Stage::Decoding,
            Progress::Validating => self.stage = Stage::Validating,
            Progress::AwaitingApproval {
                preview,
                warnings,
                deadline,
                fingerprint,
                approved_by,
                ..
            } => {
                self.stage = Stage::AwaitingApproval;
                self.preview = Some(preview);
                self.warnings = warnings;
                self.deadline = Some(deadline);
                self.secret_fingerprint = fingerprint;
                self.approved_by = approved_by;
            }
            Progress::Storing => self.stage = Stage::Storing,
        }
    }

    /// Its last progress still says which account it was about, if it had come that far.
    fn end_without_outcome(&mut self, stage: Stage, state: &InstanceState) {
        if let Ok(Progress::AwaitingApproval { preview, .. }) = state.custom_status() {
            self.preview = Some(preview);
        }
        self.stage = stage;
    }

    fn apply_outcome(&mut self, outcome: EnrollmentOutcome) {
        match outcome {
            EnrollmentOutcome::Enrolled {
                preview,
                warnings,
                approval,
                earlier_approvals,
                ..
            } => {
                self.stage = Stage::Enrolled;
                self.preview = Some(preview);
                self.warnings = warnings;
                self.approved_by = earlier_approvals
                    .into_iter()
                    .chain(approval.clone())
                    .map(|decision| decision.by)
                    .collect();
                self.decision = approval;
            }
            EnrollmentOutcome::Invalid { problem } => {
                self.stage = Stage::Invalid;
                self.problem = Some(problem);
            }
            EnrollmentOutcome::Rejected { preview, decision } => {
                self.stage = Stage::Rejected;
                self.preview = Some(preview);
                self.decision = Some(decision);
            }
            EnrollmentOutcome::Expired { preview, deadline } => {
                self.stage = Stage::Expired;
                self.preview = Some(preview);
                self.deadline = Some(deadline);
            }
        }
    }
}

impl FromState for Snapshot {
    fn read(state: &InstanceState) -> Option<Self> {
        let id: EnrollmentId = state.instance_id.parse().ok()?;
        let request: EnrollmentRequest = state.input().ok()?;
        let created_at = state.created_at.unwrap_or_default();
        let mut snapshot = Self {
            runtime_status: state.status,
            last_updated_at: state.last_updated_at.unwrap_or(created_at),
            ..Self::just_started(&id, &request, created_at)
        };
        match reported(state) {
            Reported::Nothing => {}
            Reported::Progress(progress) => snapshot.apply_progress(progress),
            Reported::Outcome(outcome) => snapshot.apply_outcome(outcome),
            Reported::Failed => snapshot.end_without_outcome(Stage::Failed, state),
            Reported::Terminated => snapshot.end_without_outcome(Stage::Terminated, state),
        }
        Some(snapshot)
    }

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn requested_by(&self) -> &str {
        &self.requested_by
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn has_ended(&self) -> bool {
        self.stage.has_ended()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_have_one_name_each() {
        for stage in Stage::ALL {
            assert_eq!(Stage::named(&stage.as_str().to_lowercase()), Some(stage));
            assert_eq!(
                serde_json::to_string(&stage).unwrap(),
                format!("\"{}\"", stage.as_str())
            );
        }
        assert_eq!(Stage::named("nowhere"), None);
    }
}
