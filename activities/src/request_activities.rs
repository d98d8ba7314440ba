//! The activities of a request: describing an account, sealing it for someone else, and
//! disabling it, enabling it again, or destroying it. Each judges the mandate and the decisions on its own.

use std::error::Error as _;

use countersign_authority::{
    ActName, Describe, Disable, MandatedAct, Open, Permit, Purge, Restore, Seal, SetRecovery,
    Status,
};
use countersign_enrollment::account_request::RequestKind;
use countersign_enrollment::contract::{
    AccountRef, AccountState, DescribedAccount, SealedAccount, SetRecoveryCodes,
};
use countersign_enrollment::ids::RequestId;
use countersign_enrollment::package::Package;
use countersign_enrollment::recovery::MovedCodes;
use countersign_enrollment::sealed::EnvelopeError;
use countersign_ledger::Gives;
use durabletask_core::Failure;

use crate::Activities;
use crate::authority::CheckedMandate;
use crate::permitted::seal_for;
use crate::vault::VaultError;

impl Activities {
    /// What the vault has of the mandate's account.
    ///
    /// # Errors
    ///
    /// Permanent when it is not permitted; retriable while the vault or the ledger does not
    /// answer; permanent otherwise.
    pub(crate) async fn describe_account(
        &self,
        input: &AccountRef,
    ) -> Result<DescribedAccount, Failure> {
        let checked = self.check("describe", input).await?;
        let permit = checked.permit("describe", &[], Describe).await?;
        match self.vault.read(&permit).await {
            Ok(account) => Ok(DescribedAccount::Found {
                preview: account.preview(),
                fingerprint: self.fingerprints.fingerprint(&account)?,
            }),
            Err(VaultError::NotFound | VaultError::Deleted) => {
                checked.end().await?;
                Ok(DescribedAccount::Unknown)
            }
            Err(error) => Err(failure(&input.request, "describe", error)),
        }
    }

    /// Seals the account that was approved for the installation that the mandate names. It
    /// opens there for the account's id only.
    ///
    /// # Errors
    ///
    /// Permanent when it is not permitted, or when another secret than the approved one is
    /// kept under the id; retriable while the vault or the ledger does not answer.
    pub(crate) async fn seal_account(&self, input: &AccountRef) -> Result<SealedAccount, Failure> {
        let checked = self.check("seal", input).await?;
        let (permit, started) = checked.begin("seal", &input.decisions, Seal).await?;
        if let Some(Some(package)) = started.done_before() {
            let package =
                Package::from_text(package).map_err(|error| Failure::from(error).permanent())?;
            return Ok(SealedAccount::Sealed { package });
        }
        let read = async {
            let account = self.vault.read_to_seal(&permit).await?;
            Ok((account, self.vault.recovery_to_seal(&permit).await?))
        };
        let (account, codes) = match read.await {
            Ok(read) => read,
            Err(VaultError::NotFound | VaultError::Deleted) => {
                started.end().await?;
                return Ok(SealedAccount::Unknown);
            }
            Err(error) => return Err(failure(&input.request, "seal", error)),
        };
        if Some(self.fingerprints.fingerprint(&account)?.as_str()) != approved(&permit) {
            started.end().await?;
            let error = VaultError::Conflict;
            return Err(failure(&input.request, "seal", error));
        }
        let MandatedAct::Request { account: id, .. } = &permit.mandate().act else {
            return Err(closed(EnvelopeError::DoesNotOpen));
        };
        let marks = self.recovery_marks(id, &codes)?;
        let given = self.authority.recovery_given(id, &marks).await?;
        let moved = (!codes.is_empty()).then(|| MovedCodes::new(codes, given.clone()));
        let package = seal_for(&permit, &account, moved.as_ref())?;
        // What is in the package is given out, so that nobody takes it here any more.
        let gives = moved.is_some().then_some(Gives {
            account: id,
            marks: &marks,
            given: &given,
        });
        // Kept, so that it is handed out as it was made, whatever a task hub says it was.
        started
            .finish_giving(Some(&package.to_text()), None, gives)
            .await?;
        Ok(SealedAccount::Sealed { package })
    }

    /// Disables the mandate's account. Doing it again changes nothing.
    ///
    /// # Errors
    ///
    /// As [`Activities::describe_account`].
    pub(crate) async fn disable_account(
        &self,
        input: &AccountRef,
    ) -> Result<AccountState, Failure> {
        let checked = self.check("disable", input).await?;
        let (permit, started) = checked.begin("disable", &input.decisions, Disable).await?;
        if started.done_before().is_some() {
            return Ok(AccountState::Disabled);
        }
        let ends = match &permit.mandate().act {
            MandatedAct::Request {
                act: RequestKind::Transfer { .. },
                ..
            } => Some(Status::Done),
            _ => None,
        };
        match self.vault.disable(&permit).await {
            Ok(()) => {
                started.finish(None, ends).await?;
                tracing::info!(instance_id = %input.request, "account disabled");
                Ok(AccountState::Disabled)
            }
            Err(VaultError::NotFound) => {
                started.end().await?;
                Ok(AccountState::Gone)
            }
            Err(error) => Err(failure(&input.request, "disable", error)),
        }
    }

    /// Keeps the recovery codes that the mandate names beside its account's secret.
    ///
    /// # Errors
    ///
    /// As [`Activities::describe_account`]; permanent when the account has others by now that
    /// the mandate does not say are replaced.
    pub(crate) async fn set_recovery_codes(
        &self,
        input: &SetRecoveryCodes,
    ) -> Result<AccountState, Failure> {
        let request = &input.account;
        let checked = self.check("set-recovery", request).await?;
        if checked.has_done(ActName::SetRecovery) {
            return Ok(AccountState::InUse);
        }
        let MandatedAct::Request { account, act, .. } = &checked.mandate().act else {
            return Err(closed(EnvelopeError::DoesNotOpen));
        };
        let source = match act {
            RequestKind::RecoveryCodes { source, .. } => Some(source.clone()),
            _ => None,
        };
        let open = checked.permit("set-recovery", &[], Open { source }).await?;
        let codes = self.keys.open(&open, account, &input.codes);
        let codes = codes.map_err(closed)?;
        let (permit, started) = checked
            .begin("set-recovery", &request.decisions, SetRecovery)
            .await?;
        if started.done_before().is_some() {
            return Ok(AccountState::InUse);
        }
        match self.vault.replace_recovery(&permit, &codes).await {
            Ok(()) => {
                started.finish(None, Some(Status::Done)).await?;
                tracing::info!(instance_id = %request.request, "recovery codes set");
                Ok(AccountState::InUse)
            }
            Err(VaultError::NotFound | VaultError::Deleted) => {
                started.end().await?;
                Ok(AccountState::Gone)
            }
            Err(error) => {
                if matches!(error, VaultError::RecoveryConflict) {
                    started.end().await?;
                }
                Err(failure(&request.request, "set-recovery", error))
            }
        }
    }

    /// Enables the mandate's account again. Doing it again changes nothing.
    ///
    /// # Errors
    ///
    /// As [`Activities::describe_account`].
    pub(crate) async fn restore_account(
        &self,
        input: &AccountRef,
    ) -> Result<AccountState, Failure> {
        let checked = self.check("restore", input).await?;
        let (permit, started) = checked.begin("restore", &input.decisions, Restore).await?;
        if started.done_before().is_some() {
            return Ok(AccountState::InUse);
        }
        match self.vault.restore(&permit).await {
            Ok(_) => {
                started.finish(None, None).await?;
                tracing::info!(instance_id = %input.request, "account enabled");
                Ok(AccountState::InUse)
            }
            Err(VaultError::NotFound) => Ok(AccountState::Gone),
            Err(error) => Err(failure(&input.request, "restore", error)),
        }
    }

    /// Destroys the mandate's account, which is disabled. One that someone has brought
    /// back stays.
    ///
    /// # Errors
    ///
    /// As [`Activities::describe_account`]; retriable while it is too early.
    pub(crate) async fn purge_account(&self, input: &AccountRef) -> Result<AccountState, Failure> {
        let checked = self.check("purge", input).await?;
        let (permit, started) = checked.begin("purge", &input.decisions, Purge).await?;
        if started.done_before().is_some() {
            return Ok(AccountState::Gone);
        }
        match self.vault.purge(&permit).await {
            Ok(()) => {
                started.finish(None, Some(Status::Done)).await?;
                tracing::info!(instance_id = %input.request, "account destroyed");
                Ok(AccountState::Gone)
            }
            Err(VaultError::NotFound) => {
                started.end().await?;
                Ok(AccountState::Gone)
            }
            // Someone has restored it: the removal is over, and does not continue later.
            Err(VaultError::Conflict) => {
                started.end().await?;
                Ok(AccountState::InUse)
            }
            Err(error) => Err(failure(&input.request, "purge", error)),
        }
    }

    async fn check<'a>(
        &'a self,
        action: &'static str,
        input: &'a AccountRef,
    ) -> Result<CheckedMandate<'a>, Failure> {
        self.authority
            .look(action, &input.mandate, input.request.as_str())
            .await
    }
}

fn closed(error: EnvelopeError) -> Failure {
    Failure::from(error).permanent()
}

/// What tells the secret that was approved from any other.
fn approved(permit: &Permit<Seal>) -> Option<&str> {
    match &permit.mandate().act {
        MandatedAct::Request { fingerprint, .. } => Some(fingerprint),
        MandatedAct::Enroll { .. } | MandatedAct::Import { .. } => None,
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
        "activity of a request failed"
    );
    let failure = Failure::from(error);
    if retriable {
        failure
    } else {
        failure.permanent()
    }
}
