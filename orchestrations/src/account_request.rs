//! One request on an account that is in the vault: look it up, wait for an approval, do it.

use chrono::{DateTime, Utc};
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::account_request::{
    AccountRequest, RequestKind, RequestOutcome, RequestProgress, RequestedAct,
};
use countersign_enrollment::contract::{
    APPROVAL, AccountRef, AccountState, CLAIM, DESCRIBE_ACCOUNT, DISABLE_ACCOUNT, DescribedAccount,
    PURGE_ACCOUNT, RESTORE_ACCOUNT, SEAL_ACCOUNT, SET_RECOVERY_CODES, SealedAccount,
    SetRecoveryCodes, VERIFY_REQUEST_DECISION, VerifiedDecision, VerifyDecision,
};
use countersign_enrollment::decision::{ApprovalDecision, RaisedDecision};
use countersign_enrollment::ids::{CallerId, RequestId};
use countersign_enrollment::mandate::SignedMandate;
use countersign_enrollment::notice::NoticeEvent;
use countersign_enrollment::recovery::{RecoveryCodes, WithRecovery};
use countersign_enrollment::sealed::{Kept, Sealed};
use durabletask_core::{Activity, Either, Failure, OrchestrationContext, select};
use serde::Serialize;

use crate::approval::{Decision, after, await_decision, counted, ignored};
use crate::policy::retried;
use crate::question::{Counted, Question, Terms, said, signed};
use crate::{notify, policy};

/// Does something with an account, once enough people have agreed. For as long as it can
/// be undone, one who decides against it stops it and brings things back.
///
/// # Errors
///
/// Only when the system could not do its work. A refusal, a missed deadline and an account
/// that is gone are outcomes.
pub async fn account_request(
    ctx: OrchestrationContext,
    request: AccountRequest,
) -> Result<RequestOutcome, Failure> {
    // The instance id is the request's id, and an instance started under any other kind
    // of name is nobody's request.
    let id: RequestId = ctx
        .instance_id()
        .parse()
        .map_err(|error| Failure::from(error).permanent())?;
    let account = AccountRef {
        mandate: request.mandate,
        request: id,
        decisions: Vec::new(),
    };
    let described = ctx.call_activity_with(&DESCRIBE_ACCOUNT, &account, retried(policy::STORE));
    let (preview, fingerprint) = match described.await? {
        DescribedAccount::Found {
            preview,
            fingerprint,
        } => (preview, fingerprint),
        DescribedAccount::Unknown => return Ok(RequestOutcome::Unavailable),
    };
    let mut run = Run {
        asked: RequestedAct {
            account: request.account,
            act: request.act,
            preview,
            fingerprint,
            requested_by: request.requested_by,
            reason: request.reason,
        },
        account,
        terms: Terms::of(request.approval),
        approvals: Vec::new(),
        ctx,
    };
    if let Some(terms) = run.terms.clone() {
        match await_decision(&run.ctx, &run, &terms).await? {
            Decision::Approved(decisions) => {
                run.account.decisions = signed(&decisions);
                run.approvals = decisions;
            }
            Decision::Rejected(decision) => return Ok(run.refused(decision)),
            Decision::Expired(deadline) => {
                let asked = run.asked;
                return Ok(RequestOutcome::Expired { asked, deadline });
            }
        }
    }
    match run.asked.act.clone() {
        RequestKind::Read { reads, seconds } => run.grant(reads, seconds).await,
        RequestKind::Export { seconds } => run.grant(1, seconds).await,
        RequestKind::Transfer { .. } => run.transfer().await,
        RequestKind::Delete { seconds } => run.delete(seconds).await,
        RequestKind::RecoveryCodes { .. } => run.set_recovery(request.codes).await,
    }
}

/// A request that has begun.
struct Run {
    ctx: OrchestrationContext,
    account: AccountRef,
    asked: RequestedAct,
    terms: Option<Terms>,
    approvals: Vec<Counted>,
}

impl Run {
    /// Lets claims through: at most `most`, and for `seconds`.
    async fn grant(self, most: u32, seconds: u64) -> Result<RequestOutcome, Failure> {
        let until = after(&self.ctx, seconds);
        let mut over = self.ctx.create_timer_at(until);
        let mut claims: Vec<String> = Vec::new();
        let mut claim = self.ctx.wait_for_event(&CLAIM);
        let mut decision = self.ctx.wait_for_event(&APPROVAL);
        while claims.len() < usize::try_from(most).unwrap_or(usize::MAX) {
            self.ctx.set_custom_status(&RequestProgress::Granted {
                asked: self.asked.clone(),
                approvals: said(&self.approvals),
                until,
                claims: claims.clone(),
            })?;
            let raised = select(&mut claim, &mut decision);
            match select(raised, &mut over).await {
                Either::Left(Either::Left(claimed)) => {
                    claim = self.ctx.wait_for_event(&CLAIM);
                    match claimed {
                        Ok(claimed) if !claims.contains(&claimed.id) => claims.push(claimed.id),
                        Ok(_) => ignored(&self.ctx, "a repeated claim"),
                        Err(error) => {
                            ignored(&self.ctx, &format!("a claim that cannot be read: {error}"));
                        }
                    }
                }
                Either::Left(Either::Right(raised)) => {
                    decision = self.ctx.wait_for_event(&APPROVAL);
                    if let Some(refusal) = self.refusal(raised).await? {
                        return Ok(self.refused(refusal));
                    }
                }
                Either::Right(()) => break,
            }
        }
        if claims.is_empty() {
            return Ok(RequestOutcome::Lapsed {
                asked: self.asked,
                approvals: said(&self.approvals),
            });
        }
        Ok(RequestOutcome::Done {
            asked: self.asked,
            approvals: said(&self.approvals),
            claims,
            package: None,
        })
    }

    /// Seals the account for the other installation, then disables it here.
    async fn transfer(self) -> Result<RequestOutcome, Failure> {
        self.ctx.set_custom_status(&RequestProgress::Acting {
            asked: self.asked.clone(),
            approvals: said(&self.approvals),
        })?;
        let sealed =
            self.ctx
                .call_activity_with(&SEAL_ACCOUNT, &self.account, retried(policy::STORE));
        let package = match sealed.await? {
            SealedAccount::Sealed { package } => package,
            SealedAccount::Unknown => return Ok(RequestOutcome::Unavailable),
        };
        // Without that the package is handed to nobody.
        if self.change(&DISABLE_ACCOUNT).await? == AccountState::Gone {
            return Ok(RequestOutcome::Unavailable);
        }
        Ok(RequestOutcome::Done {
            asked: self.asked,
            approvals: said(&self.approvals),
            claims: Vec::new(),
            package: Some(package),
        })
    }

    /// Keeps recovery codes beside the account's secret.
    async fn set_recovery(
        self,
        codes: Option<Sealed<RecoveryCodes>>,
    ) -> Result<RequestOutcome, Failure> {
        let missing = || Failure::new("Request", "it has no recovery codes").permanent();
        let input = SetRecoveryCodes {
            account: self.account.clone(),
            codes: codes.ok_or_else(missing)?,
        };
        self.ctx.set_custom_status(&RequestProgress::Acting {
            asked: self.asked.clone(),
            approvals: said(&self.approvals),
        })?;
        let set = self
            .ctx
            .call_activity_with(&SET_RECOVERY_CODES, &input, retried(policy::STORE));
        match set.await? {
            AccountState::InUse => Ok(RequestOutcome::Done {
                asked: self.asked,
                approvals: said(&self.approvals),
                claims: Vec::new(),
                package: None,
            }),
            AccountState::Disabled | AccountState::Gone => Ok(RequestOutcome::Unavailable),
        }
    }

    /// Disables the account, and destroys it after `seconds` unless someone
    /// decides against it.
    async fn delete(self, seconds: u64) -> Result<RequestOutcome, Failure> {
        self.ctx.set_custom_status(&RequestProgress::Acting {
            asked: self.asked.clone(),
            approvals: said(&self.approvals),
        })?;
        if self.change(&DISABLE_ACCOUNT).await? == AccountState::Gone {
            return Ok(RequestOutcome::Unavailable);
        }
        let at = after(&self.ctx, seconds);
        let mut due = self.ctx.create_timer_at(at);
        self.ctx.set_custom_status(&RequestProgress::Removing {
            asked: self.asked.clone(),
            approvals: said(&self.approvals),
            at,
        })?;
        while let Either::Left(raised) = select(self.ctx.wait_for_event(&APPROVAL), &mut due).await
        {
            if let Some(refusal) = self.refusal(raised).await? {
                self.change(&RESTORE_ACCOUNT).await?;
                return Ok(self.refused(refusal));
            }
        }
        let asked = self.asked.clone();
        match self.change(&PURGE_ACCOUNT).await? {
            AccountState::InUse | AccountState::Disabled => Ok(RequestOutcome::Kept { asked }),
            AccountState::Gone => Ok(RequestOutcome::Done {
                asked,
                approvals: said(&self.approvals),
                claims: Vec::new(),
                package: None,
            }),
        }
    }

    async fn change(
        &self,
        activity: &Activity<AccountRef, AccountState>,
    ) -> Result<AccountState, Failure> {
        let changed = self
            .ctx
            .call_activity_with(activity, &self.account, retried(policy::STORE));
        Ok(changed.await?)
    }

    /// The refusal that was raised after the approval, if it is one and counts.
    async fn refusal(
        &self,
        raised: Result<RaisedDecision, durabletask_core::TaskError>,
    ) -> Result<Option<ApprovalDecision>, Failure> {
        if raised.as_ref().is_ok_and(|raised| raised.decision.approved) {
            return Ok(None);
        }
        // What nobody had to agree to can be taken back by a signed decision only.
        let alone = Terms::of_nobody();
        let terms = self.terms.as_ref().unwrap_or(&alone);
        let refusal = counted(&self.ctx, self, terms, &self.approvals, raised).await?;
        if refusal.is_some() {
            notify::tell(&self.ctx, self, terms, NoticeEvent::Stopped, 0);
        }
        Ok(refusal.map(|it| it.decision))
    }

    fn refused(self, decision: ApprovalDecision) -> RequestOutcome {
        let asked = self.asked;
        if decision.by == asked.requested_by {
            RequestOutcome::Withdrawn { asked, decision }
        } else {
            RequestOutcome::Rejected { asked, decision }
        }
    }
}

impl Question for Run {
    fn requested_by(&self) -> &CallerId {
        &self.asked.requested_by
    }

    fn can_be_taken_back(&self) -> bool {
        true
    }

    fn status(&self, deadline: DateTime<Utc>, agreed: &[Counted]) -> impl Serialize {
        RequestProgress::AwaitingApproval {
            asked: self.asked.clone(),
            deadline,
            approved_by: agreed.iter().map(|it| it.decision.by.clone()).collect(),
        }
    }

    fn mandate(&self) -> &SignedMandate {
        &self.account.mandate
    }

    fn verification(&self) -> Activity<VerifyDecision, VerifiedDecision> {
        VERIFY_REQUEST_DECISION
    }

    fn account(&self) -> Option<&Kept<WithRecovery<TotpAccount>>> {
        None
    }
}
