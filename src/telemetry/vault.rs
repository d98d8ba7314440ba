//! A vault whose calls are traced.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_activities::vault::{
    AccountPage, AccountRecord, Change, Filter, Reading, SecretVault, Stored, VaultError,
};
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::ids::{CallerId, EnrollmentId};
use countersign_enrollment::recovery::RecoveryCodes;

use super::spans::{Span, Told};

/// The same vault, with a span around each call.
pub(crate) struct TracedVault {
    vault: Arc<dyn SecretVault>,
}

impl TracedVault {
    pub(crate) fn new(vault: Arc<dyn SecretVault>) -> Self {
        Self { vault }
    }
}

async fn traced<T>(
    operation: &'static str,
    id: Option<&EnrollmentId>,
    call: impl Future<Output = Result<T, VaultError>>,
) -> Result<T, VaultError> {
    let span = Span::vault(operation, id);
    let answer = span.around(call).await;
    if let Err(error) = &answer {
        span.tell(Told::Error(kind(error)));
        // An unknown account is an ordinary answer.
        if !matches!(error, VaultError::NotFound | VaultError::Deleted) {
            span.failed();
        }
    }
    answer
}

/// An error's kind alone: its text may quote a remote vault's answer.
const fn kind(error: &VaultError) -> &'static str {
    match error {
        VaultError::NotFound => "not-found",
        VaultError::Deleted => "deleted",
        VaultError::Conflict | VaultError::RecoveryConflict => "conflict",
        VaultError::Full { .. } => "full",
        VaultError::InvalidCursor => "invalid-cursor",
        VaultError::Unavailable { .. } => "unavailable",
        VaultError::Corrupt { .. } => "corrupt",
        VaultError::Denied { .. } => "denied",
    }
}

#[async_trait]
impl SecretVault for TracedVault {
    async fn store_for(
        &self,
        id: &EnrollmentId,
        account: &TotpAccount,
        pending_for: Option<&CallerId>,
    ) -> Result<Stored, VaultError> {
        let call = self.vault.store_for(id, account, pending_for);
        traced("store", Some(id), call).await
    }

    async fn read(&self, id: &EnrollmentId) -> Result<TotpAccount, VaultError> {
        traced("read", Some(id), self.vault.read(id)).await
    }

    async fn read_for_code(&self, id: &EnrollmentId) -> Result<Arc<Reading>, VaultError> {
        traced("read_for_code", Some(id), self.vault.read_for_code(id)).await
    }

    async fn describe(&self, id: &EnrollmentId) -> Result<AccountRecord, VaultError> {
        traced("describe", Some(id), self.vault.describe(id)).await
    }

    async fn set_recovery(
        &self,
        id: &EnrollmentId,
        replaced: &RecoveryCodes,
        codes: &RecoveryCodes,
    ) -> Result<(), VaultError> {
        let setting = self.vault.set_recovery(id, replaced, codes);
        traced("set_recovery", Some(id), setting).await
    }

    async fn recovery(&self, id: &EnrollmentId) -> Result<RecoveryCodes, VaultError> {
        traced("recovery", Some(id), self.vault.recovery(id)).await
    }

    async fn same_as(&self, account: &TotpAccount) -> Result<Vec<AccountRecord>, VaultError> {
        traced("same_as", None, self.vault.same_as(account)).await
    }

    async fn list_by(
        &self,
        filter: &Filter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<AccountPage, VaultError> {
        traced("list", None, self.vault.list_by(filter, cursor, limit)).await
    }

    async fn change(
        &self,
        id: &EnrollmentId,
        change: &Change,
    ) -> Result<AccountRecord, VaultError> {
        traced("change", Some(id), self.vault.change(id, change)).await
    }

    async fn delete(&self, id: &EnrollmentId) -> Result<(), VaultError> {
        traced("delete", Some(id), self.vault.delete(id)).await
    }

    async fn recover(&self, id: &EnrollmentId) -> Result<AccountRecord, VaultError> {
        traced("recover", Some(id), self.vault.recover(id)).await
    }

    async fn purge(&self, id: &EnrollmentId) -> Result<(), VaultError> {
        traced("purge", Some(id), self.vault.purge(id)).await
    }

    async fn check(&self) -> Result<(), VaultError> {
        traced("check", None, self.vault.check()).await
    }

    fn stamp(&self) -> u64 {
        self.vault.stamp()
    }
}
