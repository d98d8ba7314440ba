//! `verify-decision`: whether a decision counts, so that the orchestration can continue.

use countersign_authority::{Decision, MandatedAct, Open, shown};
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::contract::{VerifiedDecision, VerifyDecision};
use countersign_enrollment::decision::ApprovalDecision;
use countersign_enrollment::mandate::Digest;
use countersign_enrollment::recovery::WithRecovery;
use countersign_enrollment::sealed::Kept;
use durabletask_core::Failure;

use crate::Activities;
use crate::authority::CheckedMandate;

const ACTION: &str = "verify-decision";

impl Activities {
    /// Says whether a front door has signed and recorded a decision on exactly this.
    ///
    /// Its answer is nobody's proof: what acts on the decision gets the signed text and
    /// judges it on its own.
    ///
    /// # Errors
    ///
    /// Permanent when the mandate does not hold or the envelope does not open; retriable
    /// while the ledger does not answer.
    pub(crate) async fn verify_decision(
        &self,
        input: &VerifyDecision,
    ) -> Result<VerifiedDecision, Failure> {
        let checked = self
            .authority
            .look(ACTION, &input.mandate, &input.about)
            .await?;
        let (shown, _) = self
            .what_was_shown(ACTION, &checked, &input.about, input.account.as_ref())
            .await?;
        match checked.examine(&input.decision, &shown) {
            Ok(decision) => Ok(VerifiedDecision::Authentic {
                decision: Some(as_told(decision)),
            }),
            Err(refusal) => {
                self.authority.ignored(&input.about, &refusal);
                Ok(VerifiedDecision::Forged)
            }
        }
    }

    /// The digest of what deciders are shown, and the account that would be stored, where
    /// there is one: computed from the very account, not from what anyone says about it.
    pub(crate) async fn what_was_shown(
        &self,
        action: &'static str,
        checked: &CheckedMandate<'_>,
        about: &str,
        kept: Option<&Kept<WithRecovery<TotpAccount>>>,
    ) -> Result<(Digest, Option<TotpAccount>), Failure> {
        if let MandatedAct::Request {
            preview,
            fingerprint,
            ..
        } = &checked.mandate().act
        {
            return Ok((shown(preview, fingerprint), None));
        }
        let missing = || Failure::new("NoAccount", "there is no account to decide on").permanent();
        let kept = kept.ok_or_else(missing)?;
        let enrollment: countersign_enrollment::ids::EnrollmentId = about
            .parse()
            .map_err(|error| Failure::from(error).permanent())?;
        let permit = checked.permit(action, &[], Open { source: None }).await?;
        let account = self
            .keys
            .open_kept(&permit, &checked.digest(), &enrollment, kept)
            .map_err(|error| Failure::from(error).permanent())?
            .value;
        let fingerprint = self.fingerprints.fingerprint(&account)?;
        Ok((shown(&account.preview(), &fingerprint), Some(account)))
    }
}

/// A decision in the form that people see.
pub(crate) fn as_told(decision: Decision) -> ApprovalDecision {
    ApprovalDecision {
        approved: decision.approved,
        by: decision.by,
        comment: decision.comment,
        decided_at: decision.decided_at,
        groups: decision.groups,
    }
}
