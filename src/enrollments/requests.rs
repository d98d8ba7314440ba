//! Requests on accounts: started, followed, decided and made use of through the task hub
//! like enrollments.

use std::time::Duration;

use chrono::{DateTime, Utc};
use countersign_authority::{Mandate, MandatedAct, Permit, Release, shown};
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::account_request::{
    AccountRequest, Act, Asked, Claim, RequestOutcome, RequestProgress,
};
use countersign_enrollment::contract::{ACCOUNT_REQUEST, CLAIM};
use countersign_enrollment::decision::ApprovalDecision;
use countersign_enrollment::ids::{CallerId, EnrollmentId, RequestId};
use countersign_enrollment::mandate::SignedMandate;
use countersign_enrollment::sealed::{OtpauthText, Sealed};
use durabletask::{IdReuse, InstanceState, Status};
use serde::Serialize;
use uuid::Uuid;

use super::list::{Listed, Page};
use super::{
    Cursor, DECISION_SEEN, Decider, EnrollmentError, Enrollments, Requester, Said, Seen, Staged,
    Starting, hub, internal, said,
};
use crate::mandates::MandateError;
use crate::telemetry;

/// What to ask for.
pub(crate) struct NewRequest<'a> {
    pub(crate) id: EnrollmentId,
    /// The account as the vault has it.
    pub(crate) account: &'a TotpAccount,
    pub(crate) act: Act,
    pub(crate) reason: Option<String>,
    pub(crate) caller: Requester<'a>,
    pub(crate) idempotency_key: Option<&'a str>,
}

/// Which requests to list.
pub(crate) struct RequestQuery {
    /// Only those in this stage.
    pub(crate) stage: Option<RequestStage>,
    /// Only those on this account.
    pub(crate) account: Option<EnrollmentId>,
    /// Only those that this caller asked for.
    pub(crate) only: Option<String>,
    /// After the page that ended here.
    pub(crate) cursor: Option<Cursor>,
    /// How many at most.
    pub(crate) limit: usize,
}

macro_rules! stages {
    ($($(#[$doc:meta])* $stage:ident),+ $(,)?) => {
        /// How far a request is, in one word.
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
    /// The account is out of use and will be destroyed.
    Removing,
    Done,
    /// Granted, and not made use of.
    Lapsed,
    Rejected,
    Withdrawn,
    Expired,
    /// Brought back into use before it was destroyed.
    Kept,
    /// The account is gone.
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
    const fn runtime_status(self) -> Status {
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

    /// Whether nothing more will happen.
    pub(crate) fn has_ended(self) -> bool {
        !matches!(self.runtime_status(), Status::Pending | Status::Running)
    }
}

/// A request at one moment.
#[derive(Clone, Debug)]
pub(crate) struct RequestSnapshot {
    pub(crate) id: RequestId,
    pub(crate) account: EnrollmentId,
    pub(crate) act: Act,
    pub(crate) reason: Option<String>,
    pub(crate) stage: RequestStage,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) last_updated_at: DateTime<Utc>,
    pub(crate) requested_by: String,
    /// How many people have to agree; 0 if none.
    pub(crate) approvals_needed: u8,
    /// The groups whose members have to; anybody who may decide if none.
    pub(crate) approvers: Vec<String>,
    /// Who has agreed so far.
    pub(crate) approved_by: Vec<CallerId>,
    /// Until when it waits for a decision.
    pub(crate) deadline: Option<DateTime<Utc>>,
    /// The last decision that counted.
    pub(crate) decision: Option<ApprovalDecision>,
    /// What was found in the vault and shown to approvers.
    pub(crate) asked: Option<Asked>,
    /// Until when what was granted can be made use of.
    pub(crate) until: Option<DateTime<Utc>>,
    /// When the account is destroyed.
    pub(crate) removal_at: Option<DateTime<Utc>>,
    /// The account, sealed for the installation that it was handed to.
    pub(crate) package: Option<Sealed<OtpauthText>>,
    /// The mandate that the task hub shows: a claim, to be checked where it matters.
    pub(crate) mandate: SignedMandate,
    /// How many times it was made use of, where the ledger was asked.
    used: Option<usize>,
    claims: Vec<String>,
    fingerprint: String,
}

impl RequestSnapshot {
    fn just_started(id: &RequestId, request: &AccountRequest, now: DateTime<Utc>) -> Self {
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
            deadline: None,
            decision: None,
            asked: None,
            until: None,
            removal_at: None,
            package: None,
            mandate: request.mandate.clone(),
            used: None,
            claims: Vec::new(),
            fingerprint: request.fingerprint.clone(),
        }
    }

    /// How many codes can still be read, if codes are what was granted.
    pub(crate) fn reads_left(&self) -> Option<u32> {
        let Act::Read { reads, .. } = self.act else {
            return None;
        };
        let granted = self.stage == RequestStage::Granted;
        let used = self.used.unwrap_or(self.claims.len());
        let used = u32::try_from(used).unwrap_or(u32::MAX);
        granted.then(|| reads.saturating_sub(used))
    }

    /// What was asked for, as the front door has signed it.
    fn as_signed(&mut self, mandate: Mandate) {
        let MandatedAct::Request {
            account,
            act,
            preview,
            ..
        } = mandate.act
        else {
            return;
        };
        self.account = account;
        self.act = act;
        self.reason = mandate.reason;
        self.requested_by = mandate.requested_by.to_string();
        self.approvals_needed = mandate.terms.needed;
        self.approvers = mandate.terms.from;
        if let Some(asked) = &mut self.asked {
            asked.preview = preview;
        }
    }

    fn has_agreed(&self, caller: &str) -> bool {
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

impl Seen for RequestSnapshot {
    fn read(state: &InstanceState) -> Option<Self> {
        let id: RequestId = state.instance_id.parse().ok()?;
        let request: AccountRequest = state.input().ok()?;
        let created_at = state.created_at.unwrap_or_default();
        let mut snapshot = Self {
            last_updated_at: state.last_updated_at.unwrap_or(created_at),
            ..Self::just_started(&id, &request, created_at)
        };
        match said(state) {
            Said::Nothing => {}
            Said::Progress(progress) => snapshot.apply_progress(progress),
            Said::Outcome(outcome) => snapshot.apply_outcome(outcome),
            Said::Failed => snapshot.stage = RequestStage::Failed,
            Said::Terminated => snapshot.stage = RequestStage::Terminated,
        }
        Some(snapshot)
    }

    fn requested_by(&self) -> &str {
        &self.requested_by
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

impl Staged for RequestSnapshot {
    type Stage = RequestStage;

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn stage(&self) -> RequestStage {
        self.stage
    }

    fn has_ended(&self) -> bool {
        self.stage.has_ended()
    }
}

impl Enrollments {
    /// Starts a request, or finds the one that the same caller started with the same
    /// idempotency key for the same.
    pub(crate) async fn start_request(
        &self,
        new: NewRequest<'_>,
    ) -> Result<RequestSnapshot, EnrollmentError> {
        let caller = new.caller;
        let id = match new.idempotency_key {
            None => RequestId::random(),
            Some(key) => RequestId::from_uuid(self.uuid_for(b"request", caller.id, key)),
        };
        telemetry::about(&id);
        let reason = new.reason.as_deref().unwrap_or_default();
        let fingerprint = self.fingerprint(&[
            b"request",
            new.id.as_str().as_bytes(),
            new.act.terms().as_bytes(),
            reason.as_bytes(),
        ]);
        let approval = self.required(self.policy.request_approvals);
        let act = MandatedAct::Request {
            account: new.id.clone(),
            act: new.act.clone(),
            preview: new.account.preview(),
            fingerprint: self.mandates.fingerprint(new.account)?,
        };
        let mandate = self
            .accept(id.as_str(), act, &approval, caller, new.reason.clone())
            .await?;
        let request = AccountRequest {
            mandate: mandate.clone(),
            account: new.id,
            act: new.act,
            reason: new.reason,
            approval,
            requested_by: caller.id.parse().map_err(internal)?,
            fingerprint,
        };
        let starting = Starting {
            start: self
                .client
                .start(&ACCOUNT_REQUEST, &request)
                .reuse(IdReuse::Never),
            id: id.as_str(),
            caller: caller.id,
            fingerprint: &request.fingerprint,
            mandate: &mandate,
        };
        self.start_once(starting, || {
            tracing::info!(instance_id = %id, kind = request.act.kind(), "request started");
            RequestSnapshot::just_started(&id, &request, self.clock.now())
        })
        .await
    }

    /// The request as it is, if there is one and `only`, if given, asked for it.
    pub(crate) async fn get_request(
        &self,
        id: &RequestId,
        only: Option<&str>,
    ) -> Result<RequestSnapshot, EnrollmentError> {
        let mut snapshot: RequestSnapshot = self.look(id.as_str(), only).await.map_err(unknown)?;
        self.check(&mut snapshot).await?;
        Ok(snapshot)
    }

    /// Replaces what the task hub says of what was asked for, of uses and of packages by what
    /// the ledger holds: people decide on what they are shown.
    async fn check(&self, snapshot: &mut RequestSnapshot) -> Result<(), EnrollmentError> {
        match self.mandates.latest(snapshot.id.as_str()).await {
            Ok(Some((_, mandate))) => snapshot.as_signed(mandate),
            // Nobody can decide on it or make use of it.
            Ok(None) | Err(MandateError::Refused(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if snapshot.stage == RequestStage::Granted {
            snapshot.used = Some(match self.mandates.releases(&snapshot.mandate).await {
                Ok(used) => used,
                Err(MandateError::Refused(_)) => usize::MAX,
                Err(error) => return Err(error.into()),
            });
        }
        if snapshot.package.take().is_some() {
            let package = match self.mandates.package(&snapshot.mandate).await {
                Ok(package) => package,
                // The task hub shows one that no worker of ours has made.
                Err(MandateError::Refused(_)) => None,
                Err(error) => return Err(error.into()),
            };
            snapshot.package = package.and_then(|text| Sealed::from_text(text).ok());
        }
        Ok(())
    }

    /// Waits until the request is in another stage than `since`, has ended, or `time` is over.
    pub(crate) async fn follow_request(
        &self,
        snapshot: RequestSnapshot,
        since: RequestStage,
        time: Duration,
    ) -> Result<RequestSnapshot, EnrollmentError> {
        let mut latest = self.until_past(snapshot, since, time).await?;
        self.check(&mut latest).await?;
        Ok(latest)
    }

    /// One page of requests, newest first.
    pub(crate) async fn list_requests(
        &self,
        query: RequestQuery,
    ) -> Result<Page<RequestSnapshot>, EnrollmentError> {
        let RequestQuery {
            stage,
            account,
            only,
            ..
        } = query;
        let listed = Listed {
            prefix: "request-",
            statuses: stage.map(|s| vec![s.runtime_status()]).unwrap_or_default(),
            filtered: stage.is_some() || account.is_some() || only.is_some(),
        };
        let mut page = self
            .page(
                &listed,
                query.cursor,
                query.limit,
                |request: &RequestSnapshot| {
                    stage.is_none_or(|stage| request.stage == stage)
                        && account.as_ref().is_none_or(|id| request.account == *id)
                        && only
                            .as_ref()
                            .is_none_or(|caller| request.requested_by == *caller)
                },
            )
            .await?;
        for request in &mut page.items {
            self.check(request).await?;
        }
        Ok(page)
    }

    /// Decides on a request that waits for it, or stops one that can still be undone. The
    /// requester may only stop it.
    pub(crate) async fn decide_request(
        &self,
        id: &RequestId,
        decider: Decider<'_>,
        approved: bool,
        comment: Option<String>,
    ) -> Result<RequestSnapshot, EnrollmentError> {
        let caller = decider.id;
        let snapshot = self.get_request(id, None).await?;
        match snapshot.stage {
            RequestStage::AwaitingApproval => {}
            RequestStage::Granted | RequestStage::Removing if !approved => {}
            RequestStage::Expired => return Err(EnrollmentError::ApprovalExpired),
            RequestStage::Pending | RequestStage::Acting => {
                return Err(EnrollmentError::NotAwaiting);
            }
            _ if snapshot.decision.is_some() => return Err(EnrollmentError::AlreadyDecided),
            _ => return Err(EnrollmentError::NotAwaiting),
        }
        if approved && snapshot.has_agreed(caller) {
            return Err(EnrollmentError::AlreadyDecided);
        }
        // What is decided on is what the front door has signed, not what the task hub shows.
        let (signed, mandate) = self
            .mandates
            .latest(id.as_str())
            .await?
            .ok_or(EnrollmentError::RequestUnknown)?;
        let MandatedAct::Request {
            preview,
            fingerprint,
            ..
        } = &mandate.act
        else {
            return Err(EnrollmentError::RequestUnknown);
        };
        let shown = shown(preview, fingerprint);
        let verdict = self.verdict(decider, approved, comment, &mandate.terms.from, shown)?;
        self.raise(&signed, id.as_str(), verdict)
            .await
            .map_err(unknown)?;
        let since = snapshot.stage;
        // Waits a moment until it has arrived, so that whoever comes next finds it.
        let mut latest = self
            .until(snapshot, DECISION_SEEN, |latest: &RequestSnapshot| {
                latest.stage != since || (approved && latest.has_agreed(caller))
            })
            .await
            .map_err(unknown)?;
        self.check(&mut latest).await?;
        Ok(latest)
    }

    /// What `caller` asked for by a request, as the front door has signed it.
    pub(crate) async fn mandated(
        &self,
        id: &RequestId,
        caller: &str,
    ) -> Result<Mandated, EnrollmentError> {
        let (signed, mandate) = self
            .mandates
            .latest(id.as_str())
            .await?
            .ok_or(EnrollmentError::RequestUnknown)?;
        let by_caller = mandate.requested_by.as_str() == caller;
        let (MandatedAct::Request { account, act, .. }, true) = (mandate.act, by_caller) else {
            return Err(EnrollmentError::RequestUnknown);
        };
        Ok(Mandated {
            id: id.clone(),
            signed,
            account,
            act,
            reason: mandate.reason,
            requested_by: mandate.requested_by,
            approvals_needed: mandate.terms.needed,
        })
    }

    /// Takes one use of what a request has granted; when this returns, it is written down,
    /// and the code or the URI of `account` may be given out once.
    pub(crate) async fn claim(
        &self,
        request: &Mandated,
        kind: &'static str,
        account: &TotpAccount,
    ) -> Result<Permit<Release>, EnrollmentError> {
        let permit = self
            .mandates
            .release(&request.signed, &request.requested_by, kind, account)
            .await
            .map_err(EnrollmentError::from)
            .map_err(|error| match error {
                EnrollmentError::AlreadyDecided => EnrollmentError::NotGranted,
                error => error,
            })?;
        // The orchestration shows it to those who look at the history; nothing depends on it.
        let claim = Claim {
            id: Uuid::new_v4().simple().to_string(),
        };
        if let Err(error) = self.tell_of_claim(&request.id, &claim).await {
            tracing::warn!(instance_id = %request.id, %error, "the task hub has not heard of a use");
        }
        Ok(permit)
    }

    /// Waits a moment until the use has arrived, so that whoever looks next finds it.
    async fn tell_of_claim(&self, id: &RequestId, claim: &Claim) -> Result<(), EnrollmentError> {
        self.client
            .raise_event(id.as_str(), &CLAIM, claim)
            .await
            .map_err(hub)?;
        let snapshot = self.get_request(id, None).await?;
        self.until(snapshot, DECISION_SEEN, |latest: &RequestSnapshot| {
            latest.claims.contains(&claim.id) || latest.has_ended()
        })
        .await
        .map(drop)
    }
}

/// A request as the front door has signed it.
pub(crate) struct Mandated {
    pub(crate) id: RequestId,
    signed: SignedMandate,
    pub(crate) account: EnrollmentId,
    pub(crate) act: Act,
    pub(crate) reason: Option<String>,
    requested_by: CallerId,
    /// How many people had to agree; 0 if none.
    pub(crate) approvals_needed: u8,
}

/// What is unknown here is a request.
fn unknown(error: EnrollmentError) -> EnrollmentError {
    match error {
        EnrollmentError::Unknown => EnrollmentError::RequestUnknown,
        error => error,
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
