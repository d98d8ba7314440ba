//! Requests on accounts: started, followed, decided on and used through the task hub
//! like enrollments.

use std::time::Duration;

use countersign_authority::{MandatedAct, Permit, Refusal, Release, shown};
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::account_request::{AccountRequest, Claim, RequestKind, RequestedAct};
use countersign_enrollment::contract::{ACCOUNT_REQUEST, CLAIM};
use countersign_enrollment::ids::{CallerId, EnrollmentId, RequestId};
use countersign_enrollment::mandate::SignedMandate;
use countersign_enrollment::package::Package;
use countersign_enrollment::recovery::RecoveryCodes;
use countersign_enrollment::sealed::Sealed;
use durabletask::client::IdReuse;
use uuid::Uuid;

use super::list::{Listed, Page};
use super::{
    Cursor, DECISION_SEEN, Decider, EARLY, Hub, HubError, RequestSnapshot, RequestStage, Requester,
    StartId, Starting, hub, internal,
};
use crate::telemetry;

/// What to request.
pub(crate) struct NewRequest<'a> {
    pub(crate) id: EnrollmentId,
    /// The account as in the vault.
    pub(crate) account: &'a TotpAccount,
    pub(crate) act: RequestKind,
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
    /// Only those that this caller started.
    pub(crate) only: Option<String>,
    /// After the page that ended here.
    pub(crate) cursor: Option<Cursor>,
    /// The most items on the page.
    pub(crate) limit: usize,
}

impl Hub {
    /// Starts a request, or finds the one that the same caller started with the same
    /// idempotency key for the same purpose.
    pub(crate) async fn start_request(
        &self,
        new: NewRequest<'_>,
    ) -> Result<RequestSnapshot, HubError> {
        self.request(new, self.policy.request_approvals, &[], None)
            .await
    }

    /// The same with a number of approvals, and with the sealed `codes` that `content`
    /// identifies.
    pub(super) async fn request(
        &self,
        new: NewRequest<'_>,
        needed: u8,
        content: &[u8],
        codes: Option<Sealed<RecoveryCodes>>,
    ) -> Result<RequestSnapshot, HubError> {
        let caller = new.caller;
        let id = match new.idempotency_key {
            None => StartId::drawn(RequestId::random()),
            Some(key) => {
                let id = self.uuid_for(b"request", caller.id, key);
                StartId::given(RequestId::from_uuid(id))
            }
        };
        telemetry::about(&id);
        let reason = new.reason.as_deref().unwrap_or_default();
        let terms = new.act.terms();
        let mut parts: Vec<&[u8]> = vec![
            b"request",
            new.id.as_str().as_bytes(),
            terms.as_bytes(),
            reason.as_bytes(),
        ];
        parts.extend(codes.is_some().then_some(content));
        let fingerprint = self.fingerprint(&parts);
        let approval = self.required(needed);
        if let Some(before) = self.started_before(&id, &fingerprint).await? {
            return Ok(before);
        }
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
            codes,
            approval,
            requested_by: caller.id.parse().map_err(internal)?,
            fingerprint,
        };
        let starting = Starting {
            start: || {
                self.client
                    .start(&ACCOUNT_REQUEST, &request)
                    .reuse(IdReuse::Never)
            },
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

    /// The request's state, if there is one and `only`, if given, started it.
    pub(crate) async fn get_request(
        &self,
        id: &RequestId,
        only: Option<&str>,
    ) -> Result<RequestSnapshot, HubError> {
        let mut snapshot: RequestSnapshot = self.look(id.as_str(), only).await.map_err(unknown)?;
        self.check_request(&mut snapshot).await?;
        match only {
            Some(caller) if snapshot.requested_by != caller => Err(HubError::RequestUnknown),
            _ => Ok(snapshot),
        }
    }

    /// Replaces what the task hub reports of a request, its approvals and its use
    /// by what the ledger holds, since people base decisions on it.
    async fn check_request(&self, snapshot: &mut RequestSnapshot) -> Result<(), HubError> {
        // The package that the task hub shows may not come from one of our workers.
        snapshot.package = None;
        let Some(current) = self.mandates.current(snapshot.id.as_str()).await? else {
            snapshot.used = Some(usize::MAX);
            return Ok(());
        };
        snapshot.used = Some(current.releases);
        current.correct(&mut snapshot.approved_by, &mut snapshot.decision);
        snapshot.persons = current.persons();
        snapshot.in_ledger = true;
        let package = current.package;
        snapshot.package = package.and_then(|text| Package::from_text(&text).ok());
        let mandate = current.mandate;
        let MandatedAct::Request {
            account,
            act,
            preview,
            fingerprint,
        } = mandate.act
        else {
            return Err(HubError::RequestUnknown);
        };
        snapshot.approvals_needed = mandate.terms.needed;
        snapshot.approvers = mandate.terms.from;
        if snapshot.asked.is_some() {
            snapshot.asked = Some(RequestedAct {
                account: account.clone(),
                act: act.clone(),
                preview,
                fingerprint,
                requested_by: mandate.requested_by.clone(),
                reason: mandate.reason.clone(),
            });
        }
        snapshot.account = account;
        snapshot.act = act;
        snapshot.reason = mandate.reason;
        snapshot.requested_by = mandate.requested_by.to_string();
        Ok(())
    }

    /// Waits until the request's stage differs from `since`, it has finished, or `time` has elapsed.
    pub(crate) async fn follow_request(
        &self,
        snapshot: RequestSnapshot,
        since: RequestStage,
        time: Duration,
    ) -> Result<RequestSnapshot, HubError> {
        let mut latest = self
            .until(snapshot, time, |latest: &RequestSnapshot| {
                latest.stage != since
            })
            .await?;
        self.check_request(&mut latest).await?;
        Ok(latest)
    }

    /// One page of requests, newest first.
    pub(crate) async fn list_requests(
        &self,
        query: RequestQuery,
    ) -> Result<Page<RequestSnapshot>, HubError> {
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
            self.check_request(request).await?;
        }
        page.items.retain(|request| {
            account.as_ref().is_none_or(|id| request.account == *id)
                && only
                    .as_ref()
                    .is_none_or(|caller| request.requested_by == *caller)
        });
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
    ) -> Result<RequestSnapshot, HubError> {
        if !approved {
            let rejected = self.reject_request(id, decider, comment, None).await?;
            return match rejected {
                Some(latest) => Ok(latest),
                None => Err(not_awaiting(&self.get_request(id, None).await?)),
            };
        }
        let caller = decider.id;
        let mut snapshot = self.get_request(id, None).await?;
        if snapshot.stage == RequestStage::Pending && snapshot.approvals_needed > 0 {
            if snapshot.requested_by == caller {
                return Err(HubError::SelfApproval);
            }
            // A decision that arrives this early waits a moment instead of being refused.
            snapshot = self
                .until(snapshot, EARLY, |latest: &RequestSnapshot| {
                    latest.stage != RequestStage::Pending
                })
                .await?;
            self.check_request(&mut snapshot).await?;
        }
        if snapshot.stage != RequestStage::AwaitingApproval {
            return Err(not_awaiting(&snapshot));
        }
        if snapshot.has_agreed(caller) {
            return Err(HubError::AlreadyDecided);
        }
        self.leave_one_mandate(id.as_str()).await?;
        // The decision is on what the front door has signed, not on what the task hub shows.
        let (signed, mandate) = self
            .mandates
            .latest(id.as_str())
            .await?
            .ok_or(HubError::Refused(Refusal::NoMandate))?;
        let MandatedAct::Request {
            preview,
            fingerprint,
            ..
        } = &mandate.act
        else {
            return Err(HubError::RequestUnknown);
        };
        let shown = shown(preview, fingerprint);
        let verdict = self.verdict(decider, true, comment, &mandate.terms.from, shown)?;
        self.raise(&signed, id.as_str(), verdict)
            .await
            .map_err(unknown)?;
        let since = snapshot.stage;
        // Waits a moment until it has arrived, so that the next reader sees it.
        let mut latest = self
            .until(snapshot, DECISION_SEEN, |latest: &RequestSnapshot| {
                latest.stage != since || latest.has_agreed(caller)
            })
            .await
            .map_err(unknown)?;
        self.check_request(&mut latest).await?;
        Ok(latest)
    }

    /// Rejects a request, or withdraws it; with `only`, as its requester. It is recorded
    /// before the task hub is called, whatever that shows. None if the
    /// request has finished.
    pub(crate) async fn reject_request(
        &self,
        id: &RequestId,
        decider: Decider<'_>,
        comment: Option<String>,
        only: Option<&str>,
    ) -> Result<Option<RequestSnapshot>, HubError> {
        let rejection = self
            .record_rejection(id.as_str(), decider, comment, only)
            .await;
        let snapshot = self.get_request(id, only).await?;
        if snapshot.stage.has_ended() {
            // It was terminated in the task hub, and what it did can still be undone manually:
            // the rejection is recorded and stands.
            let cut_off = matches!(
                snapshot.stage,
                RequestStage::Terminated | RequestStage::Failed
            );
            return Ok((rejection.is_ok() && cut_off).then_some(snapshot));
        }
        let raised = rejection.map_err(unknown)?;
        self.tell(id.as_str(), raised).await.map_err(unknown)?;
        let since = snapshot.stage;
        let mut latest = self
            .until(snapshot, DECISION_SEEN, |latest: &RequestSnapshot| {
                latest.stage != since
            })
            .await
            .map_err(unknown)?;
        self.check_request(&mut latest).await?;
        Ok(Some(latest))
    }

    /// Whether a request exists and someone other than `caller` made it.
    pub(crate) async fn is_of_another(
        &self,
        id: &RequestId,
        caller: &str,
    ) -> Result<bool, HubError> {
        let latest = self.mandates.latest(id.as_str()).await?;
        Ok(latest.is_some_and(|(_, mandate)| mandate.requested_by.as_str() != caller))
    }

    /// The request of `caller`, as the front door has signed it.
    pub(crate) async fn mandated(
        &self,
        id: &RequestId,
        caller: &str,
    ) -> Result<Mandated, HubError> {
        self.leave_one_mandate(id.as_str()).await?;
        let (signed, mandate) = self
            .mandates
            .latest(id.as_str())
            .await?
            .ok_or(HubError::RequestUnknown)?;
        let by_caller = mandate.requested_by.as_str() == caller;
        let (MandatedAct::Request { account, act, .. }, true) = (mandate.act, by_caller) else {
            return Err(HubError::RequestUnknown);
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

    /// Takes one use of what a request has granted; when this returns, the use is recorded,
    /// and the code or the URI of `account` may be given out once.
    pub(crate) async fn claim(
        &self,
        request: &Mandated,
        kind: &'static str,
        account: &TotpAccount,
    ) -> Result<Permit<Release>, HubError> {
        let permit = self
            .mandates
            .release(&request.signed, &request.requested_by, kind, account)
            .await
            .map_err(HubError::from)
            .map_err(|error| match error {
                HubError::AlreadyDecided => HubError::NotGranted,
                error => error,
            })?;
        // Only for readers of the history; nothing depends on it.
        let claim = Claim {
            id: Uuid::new_v4().simple().to_string(),
        };
        if let Err(error) = self.tell_of_claim(&request.id, &claim).await {
            tracing::warn!(instance_id = %request.id, %error, "the use was recorded in the ledger, but the event to the task hub failed");
        }
        Ok(permit)
    }

    /// Waits a moment until the use has arrived, so that the next reader sees it.
    async fn tell_of_claim(&self, id: &RequestId, claim: &Claim) -> Result<(), HubError> {
        self.client
            .raise_event(id.as_str(), &CLAIM, claim)
            .await
            .map_err(hub)?;
        let snapshot = self.get_request(id, None).await?;
        self.until(snapshot, DECISION_SEEN, |latest: &RequestSnapshot| {
            latest.claims.contains(&claim.id) || latest.stage.has_ended()
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
    pub(crate) act: RequestKind,
    pub(crate) reason: Option<String>,
    requested_by: CallerId,
    /// How many people had to approve; 0 if none.
    pub(crate) approvals_needed: u8,
}

/// The error for a decision on a request that is not waiting for approval.
fn not_awaiting(snapshot: &RequestSnapshot) -> HubError {
    match snapshot.stage {
        RequestStage::Expired => HubError::ApprovalExpired,
        RequestStage::Pending | RequestStage::Acting => HubError::NotAwaiting,
        _ if snapshot.decision.is_some() => HubError::AlreadyDecided,
        _ => HubError::NotAwaiting,
    }
}

/// Turns an unknown instance into an unknown request.
fn unknown(error: HubError) -> HubError {
    match error {
        HubError::Unknown => HubError::RequestUnknown,
        error => error,
    }
}
