//! `verify-decision`: whether a decision is the front door's.

use countersign_enrollment::contract::{VerifiedDecision, VerifyDecision};
use countersign_enrollment::decision::Shown;
use durabletask_core::Failure;

use crate::Activities;

impl Activities {
    /// Checks the signature over the decision and over what the account shows.
    ///
    /// The account is opened for that: the signature is compared with the very secret
    /// that would be stored, not with what anybody says about it.
    ///
    /// # Errors
    ///
    /// Permanent when the envelope does not open.
    pub(crate) fn verify_decision(
        &self,
        input: &VerifyDecision,
    ) -> Result<VerifiedDecision, Failure> {
        let account = self
            .keys
            .open(&input.enrollment, &input.account)
            .map_err(|error| Failure::from(error).permanent())?;
        let fingerprint = self.decisions.fingerprint(&account)?;
        let shown = Shown {
            preview: &account.preview(),
            fingerprint: &fingerprint,
        };
        let signed = self
            .decisions
            .has_signed(&input.enrollment, &input.decision, shown);
        if signed {
            return Ok(VerifiedDecision::Authentic);
        }
        tracing::warn!(
            instance_id = %input.enrollment,
            claimed_by = %input.decision.decision.by,
            "a decision that the front door has not signed is ignored"
        );
        Ok(VerifiedDecision::Forged)
    }
}
