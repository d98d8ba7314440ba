//! The activities of a request: describing an account, believing a decision on it, sealing
//! it for somebody else, and taking it out of use, back or away.

use std::error::Error as _;

use countersign_enrollment::contract::{
    AccountRef, AccountState, DescribedAccount, SealAccount, SealedAccount, VerifiedDecision,
    VerifyRequestDecision,
};
use countersign_enrollment::ids::RequestId;
use countersign_enrollment::sealed::{OtpauthText, SealKey};
use durabletask_core::Failure;

use crate::Activities;
use crate::vault::VaultError;

impl Activities {
    /// What the vault has under an id.
    ///
    /// # Errors
    ///
    /// Retriable while the vault does not answer, permanent otherwise.
    pub(crate) async fn describe_account(
        &self,
        input: &AccountRef,
    ) -> Result<DescribedAccount, Failure> {
        match self.vault.read(&input.account).await {
            Ok(account) => Ok(DescribedAccount::Found {
                preview: account.preview(),
                fingerprint: self.decisions.fingerprint(&account)?,
            }),
            Err(VaultError::NotFound | VaultError::Deleted) => Ok(DescribedAccount::Unknown),
            Err(error) => Err(failure(&input.request, "describe", error)),
        }
    }

    /// Checks the signature over a decision and over what will be done.
    pub(crate) fn verify_request_decision(
        &self,
        input: &VerifyRequestDecision,
    ) -> VerifiedDecision {
        let VerifyRequestDecision {
            request,
            asked,
            decision,
        } = input;
        if self.decisions.has_signed_request(request, decision, asked) {
            return VerifiedDecision::Authentic;
        }
        tracing::warn!(
            instance_id = %request,
            claimed_by = %decision.decision.by,
            "a decision that the front door has not signed is ignored"
        );
        VerifiedDecision::Forged
    }

    /// Seals the account that was approved for another installation. It opens there for
    /// the account's id only.
    ///
    /// # Errors
    ///
    /// Permanent when the key is none, or when another secret than the approved one is
    /// kept under the id; retriable while the vault does not answer.
    pub(crate) async fn seal_account(&self, input: &SealAccount) -> Result<SealedAccount, Failure> {
        let key =
            SealKey::from_text(&input.to).map_err(|error| Failure::from(error).permanent())?;
        let account = match self.vault.read(&input.account).await {
            Ok(account) => account,
            Err(VaultError::NotFound | VaultError::Deleted) => return Ok(SealedAccount::Unknown),
            Err(error) => return Err(failure(&input.request, "seal", error)),
        };
        if self.decisions.fingerprint(&account)? != input.fingerprint {
            let error = VaultError::Conflict;
            return Err(failure(&input.request, "seal", error));
        }
        let text = OtpauthText::new(account.to_uri());
        Ok(SealedAccount::Sealed {
            package: key.seal(&input.account, &text)?,
        })
    }

    /// Takes an account out of use. Doing it again changes nothing.
    ///
    /// # Errors
    ///
    /// Retriable while the vault does not answer, permanent otherwise.
    pub(crate) async fn disable_account(
        &self,
        input: &AccountRef,
    ) -> Result<AccountState, Failure> {
        match self.vault.delete(&input.account).await {
            Ok(()) => {
                tracing::info!(instance_id = %input.request, account = %input.account, "account out of use");
                Ok(AccountState::Disabled)
            }
            Err(VaultError::NotFound) => Ok(AccountState::Gone),
            Err(error) => Err(failure(&input.request, "disable", error)),
        }
    }

    /// Brings an account back into use. Doing it again changes nothing.
    ///
    /// # Errors
    ///
    /// As [`Activities::disable_account`].
    pub(crate) async fn restore_account(
        &self,
        input: &AccountRef,
    ) -> Result<AccountState, Failure> {
        match self.vault.recover(&input.account).await {
            Ok(_) => {
                tracing::info!(instance_id = %input.request, account = %input.account, "account back in use");
                Ok(AccountState::InUse)
            }
            Err(VaultError::NotFound) => Ok(AccountState::Gone),
            Err(error) => Err(failure(&input.request, "restore", error)),
        }
    }

    /// Destroys an account that is out of use. One that somebody has brought back stays.
    ///
    /// # Errors
    ///
    /// As [`Activities::disable_account`].
    pub(crate) async fn purge_account(&self, input: &AccountRef) -> Result<AccountState, Failure> {
        match self.vault.purge(&input.account).await {
            Ok(()) => {
                tracing::info!(instance_id = %input.request, account = %input.account, "account destroyed");
                Ok(AccountState::Gone)
            }
            Err(VaultError::NotFound) => Ok(AccountState::Gone),
            Err(VaultError::Conflict) => Ok(AccountState::InUse),
            Err(error) => Err(failure(&input.request, "purge", error)),
        }
    }
}

/// A failure of the vault as one of the activity, logged once.
fn failure(request: &RequestId, step: &'static str, error: VaultError) -> Failure {
    let retriable = error.is_retriable();
    tracing::warn!(
        instance_id = %request,
        step,
        retriable,
        cause = error.source().map(tracing::field::display),
        %error,
        "a request's step failed"
    );
    let failure = Failure::from(error);
    if retriable {
        failure
    } else {
        failure.permanent()
    }
}
