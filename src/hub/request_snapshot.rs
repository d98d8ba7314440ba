//! A request, as its instance's state reports it.

use chrono::{DateTime, Utc};
use countersign_enrollment::account_request::{
    AccountRequest, RequestKind, RequestOutcome, RequestProgress, RequestedAct,
};
use countersign_enrollment::decision::ApprovalDecision;
use countersign_enrollment::ids::{CallerId, EnrollmentId, RequestId};
use countersign_enrollment::package::Package;
use durabletask::client::{InstanceState, Status};
use serde::Serialize;

use super::{FromState, Reported, reported};

macro_rules! stages {
    ($($(#[$doc:meta])* $stage:ident),+ $(,)?) => {
        /// A request's stage.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
        pub(crate) enum RequestStage {
            $($(#[$doc])* $stage),+
        }

        impl RequestStage {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$stage),+];

            /// The name in answers and parameters.
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$stage => stringify!($stage)),+
                }
            }
        }
    };
}

stages! {
    Pending,
    AwaitingApproval,
    /// The requester may read codes, or fetch the URI.
    Granted,
    Acting,
    /// The account is disabled and will be destroyed.
    Removing,
    Done,
    /// Granted, and not used.
    Lapsed,
    Rejected,
    Withdrawn,
    Expired,
    /// Enabled again before it was destroyed.
    Kept,
    /// The account was destroyed.
    Unavailable,
    Failed,
    Terminated,
}

impl RequestStage {
    /// The stage with this name, in any case.
    pub(crate) fn named(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|stage| stage.as_str().eq_ignore_ascii_case(text))
    }

    /// The runtime status that an instance in this stage has.
    pub(super) const fn runtime_status(self) -> Status {
        match self {
            Self::Pending => Status::Pending,
            Self::AwaitingApproval | Self::Granted | Self::Acting | Self::Removing => {
                Status::Running
            }
            Self::Done
            | Self::Lapsed
            | Self::Rejected
            | Self::Withdrawn
            | Self::Expired
            | Self::Kept
            | Self::Unavailable => Status::Completed,
            Self::Failed => Status::Failed,
            Self::Terminated => Status::Terminated,
        }
    }

    /// Whether it has finished.
    pub(crate) fn has_ended(self) -> bool {
        !matches!(self.runtime_status(), Status::Pending | Status::Running)
    }
}

/// A request at one moment.
#[derive(Clone, Debug)]
pub(crate) struct RequestSnapshot {
    pub(crate) id: RequestId,
    pub(crate) account: EnrollmentId,
    pub(crate) act: RequestKind,
    pub(crate) reason: Option<String>,
    pub(crate) stage: RequestStage,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) last_updated_at: DateTime<Utc>,
    pub(crate) requested_by: String,
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
    /// Until when it waits for a decision.
    pub(crate) deadline: Option<DateTime<Utc>>,
    /// The last decision that counted.
    pub(crate) decision: Option<ApprovalDecision>,
    /// The account as found in the vault and shown to approvers.
    pub(crate) asked: Option<RequestedAct>,
    /// Until when what was granted can be used.
    pub(crate) until: Option<DateTime<Utc>>,
    /// When the account is destroyed.
    pub(crate) removal_at: Option<DateTime<Utc>>,
    /// The account, sealed for the installation that it is transferred to.
    pub(crate) package: Option<Package>,
    /// How many times it was used, if the ledger was asked.
    pub(super) used: Option<usize>,
    pub(super) claims: Vec<String>,
    fingerprint: String,
}

impl RequestSnapshot {
    pub(super) fn just_started(
        id: &RequestId,
        request: &AccountRequest,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            id: id.clone(),
            account: request.account.clone(),
            act: request.act.clone(),
            reason: request.reason.clone(),
            stage: RequestStage::Pending,
            created_at: now,
            last_updated_at: now,
            requested_by: request.requested_by.to_string(),
            approvals_needed: request.approval.needed(),
            approvers: request.approval.from().to_vec(),
            approved_by: Vec::new(),
            persons: Vec::new(),
            in_ledger: false,
            deadline: None,
            decision: None,
            asked: None,
            until: None,
            removal_at: None,
            package: None,
            used: None,
            claims: Vec::new(),
            fingerprint: request.fingerprint.clone(),
        }
    }

    /// How many codes can still be read, if codes are what was granted.
    pub(crate) fn reads_left(&self) -> Option<u32> {
        let RequestKind::Read { reads, .. } = self.act else {
            return None;
        };
        let granted = self.stage == RequestStage::Granted;
        let used = self.used.unwrap_or(self.claims.len());
        let used = u32::try_from(used).unwrap_or(u32::MAX);
        granted.then(|| reads.saturating_sub(used))
    }

    pub(super) fn has_agreed(&self, caller: &str) -> bool {
        self.approved_by.iter().any(|by| by.as_str() == caller)
    }

    fn agreed(&mut self, approvals: Vec<ApprovalDecision>) {
        self.approved_by = approvals.iter().map(|it| it.by.clone()).collect();
        self.decision = approvals.into_iter().next_back();
    }

    fn apply_progress(&mut self, progress: RequestProgress) {
        match progress {
            RequestProgress::AwaitingApproval {
                asked,
                deadline,
                approved_by,
            } => {
                self.stage = RequestStage::AwaitingApproval;
                self.asked = Some(asked);
                self.deadline = Some(deadline);
                self.approved_by = approved_by;
            }
            RequestProgress::Granted {
                asked,
                approvals,
                until,
                claims,
            } => {
                self.stage = RequestStage::Granted;
                self.asked = Some(asked);
                self.until = Some(until);
                self.claims = claims;
                self.agreed(approvals);
            }
            RequestProgress::Acting { asked, approvals } => {
                self.stage = RequestStage::Acting;
                self.asked = Some(asked);
                self.agreed(approvals);
            }
            RequestProgress::Removing {
                asked,
                approvals,
                at,
            } => {
                self.stage = RequestStage::Removing;
                self.asked = Some(asked);
                self.removal_at = Some(at);
                self.agreed(approvals);
            }
        }
    }

    fn apply_outcome(&mut self, outcome: RequestOutcome) {
        let (stage, asked) = match outcome {
            RequestOutcome::Done {
                asked,
                approvals,
                claims,
                package,
            } => {
                self.claims = claims;
                self.package = package;
                self.agreed(approvals);
                (RequestStage::Done, Some(asked))
            }
            RequestOutcome::Lapsed { asked, approvals } => {
                self.agreed(approvals);
                (RequestStage::Lapsed, Some(asked))
            }
            RequestOutcome::Rejected { asked, decision } => {
                self.decision = Some(decision);
                (RequestStage::Rejected, Some(asked))
            }
            RequestOutcome::Withdrawn { asked, decision } => {
                self.decision = Some(decision);
                (RequestStage::Withdrawn, Some(asked))
            }
            RequestOutcome::Expired { asked, deadline } => {
                self.deadline = Some(deadline);
                (RequestStage::Expired, Some(asked))
            }
            RequestOutcome::Kept { asked } => (RequestStage::Kept, Some(asked)),
            RequestOutcome::Unavailable => (RequestStage::Unavailable, None),
        };
        self.stage = stage;
        self.asked = asked;
    }
}

impl FromState for RequestSnapshot {
    fn read(state: &InstanceState) -> Option<Self> {
        let id: RequestId = state.instance_id.parse().ok()?;
        let request: AccountRequest = state.input().ok()?;
        let created_at = state.created_at.unwrap_or_default();
        let mut snapshot = Self {
            last_updated_at: state.last_updated_at.unwrap_or(created_at),
            ..Self::just_started(&id, &request, created_at)
        };
        match reported(state) {
            Reported::Nothing => {}
            Reported::Progress(progress) => snapshot.apply_progress(progress),
            Reported::Outcome(outcome) => snapshot.apply_outcome(outcome),
            Reported::Failed => snapshot.stage = RequestStage::Failed,
            Reported::Terminated => snapshot.stage = RequestStage::Terminated,
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
        for stage in RequestStage::ALL {
            assert_eq!(
                RequestStage::named(&stage.as_str().to_lowercase()),
                Some(*stage)
            );
        }
        assert_eq!(RequestStage::named("nowhere"), None);
    }
}
