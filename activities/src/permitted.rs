//! The vault and the keys as the activities have them: nothing is opened, changed, sealed or
//! destroyed without a permit for exactly that.

use std::sync::{Arc, PoisonError, RwLock};

use countersign_authority::{
    Describe, Disable, MandatedAct, Open, Permit, Plan, Purge, Restore, Seal, SetRecovery, Store,
};
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::account_request::RequestKind;
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::mandate::Digest;
use countersign_enrollment::package::{Package, PackedAccount};
use countersign_enrollment::recovery::{MovedCodes, RecoveryCodes};
use countersign_enrollment::sealed::{
    EnvelopeError, Kept, OpenKeyring, OtpauthText, Scope, SealError, SealKey, Sealable, Sealed,
};
use durabletask_core::Failure;

use crate::vault::{AccountRecord, SecretVault, StoredUnlessThere, VaultError};

/// The vault, behind permits.
#[derive(Clone)]
pub(crate) struct PermittedVault(Arc<dyn SecretVault>);

impl PermittedVault {
    pub(crate) fn new(vault: Arc<dyn SecretVault>) -> Self {
        Self(vault)
    }

    /// Stores an account under the id that the permit names, to be proved by the requester
    /// where the mandate says so; unless it is there, where the mandate says that.
    pub(crate) async fn store(
        &self,
        permit: &Permit<Store>,
        account: &TotpAccount,
    ) -> Result<StoredUnlessThere, VaultError> {
        let mandate = permit.mandate();
        let pending_for = match mandate.act {
            MandatedAct::Enroll { prove: true, .. } => Some(&mandate.requested_by),
            _ => None,
        };
        let id = &permit.act().account;
        let unless_there = matches!(
            mandate.act,
            MandatedAct::Enroll {
                unless_there: true,
                ..
            }
        );
        match unless_there {
            true => self.0.store_unless_there(id, account, pending_for).await,
            false => {
                let stored = self.0.store_for(id, account, pending_for).await?;
                Ok(StoredUnlessThere::Stored(stored))
            }
        }
    }

    /// What is known of an account that an import would enroll.
    pub(crate) async fn describe(
        &self,
        _permit: &Permit<Plan>,
        id: &EnrollmentId,
    ) -> Result<AccountRecord, VaultError> {
        self.0.describe(id).await
    }

    /// Whether an account that an import has found in use has all of these recovery codes.
    pub(crate) async fn has_recovery(
        &self,
        _permit: &Permit<Plan>,
        id: &EnrollmentId,
        codes: &RecoveryCodes,
    ) -> Result<bool, VaultError> {
        let kept = self.0.recovery(id).await?;
        Ok(codes
            .expose()
            .all(|code| kept.expose().any(|kept| kept == code)))
    }

    /// The accounts in use that have the content of one that is to be enrolled.
    pub(crate) async fn same_as<D>(
        &self,
        _permit: &Permit<D>,
        account: &TotpAccount,
    ) -> Result<Vec<AccountRecord>, VaultError> {
        self.0.same_as(account).await
    }

    /// The mandate's account, to say what may be shown of it.
    pub(crate) async fn read(&self, permit: &Permit<Describe>) -> Result<TotpAccount, VaultError> {
        self.0.read(account(permit)?).await
    }

    /// The mandate's account, to seal it for another installation.
    pub(crate) async fn read_to_seal(
        &self,
        permit: &Permit<Seal>,
    ) -> Result<TotpAccount, VaultError> {
        self.0.read(account(permit)?).await
    }

    /// The recovery codes of the mandate's account, to seal them for another installation.
    pub(crate) async fn recovery_to_seal(
        &self,
        permit: &Permit<Seal>,
    ) -> Result<RecoveryCodes, VaultError> {
        self.0.recovery(account(permit)?).await
    }

    /// Keeps the recovery codes that came with an account. It replaces none that someone has
    /// set since the account was stored.
    pub(crate) async fn set_recovery(
        &self,
        permit: &Permit<Store>,
        codes: &RecoveryCodes,
    ) -> Result<(), VaultError> {
        let none = RecoveryCodes::default();
        self.0
            .set_recovery(&permit.act().account, &none, codes)
            .await
    }

    /// Keeps recovery codes in place of any others. Where the mandate does not say that there
    /// are others, there may be none.
    pub(crate) async fn replace_recovery(
        &self,
        permit: &Permit<SetRecovery>,
        codes: &RecoveryCodes,
    ) -> Result<(), VaultError> {
        let id = account(permit)?;
        let replaces = matches!(
            permit.mandate().act,
            MandatedAct::Request {
                act: RequestKind::RecoveryCodes { replaces: true, .. },
                ..
            }
        );
        // The vault compares and sets at once: of several requests that find no codes, one
        // sets its own.
        let replaced = match replaces {
            true => self.0.recovery(id).await?,
            false => RecoveryCodes::default(),
        };
        self.0.set_recovery(id, &replaced, codes).await
    }

    pub(crate) async fn disable(&self, permit: &Permit<Disable>) -> Result<(), VaultError> {
        self.0.delete(account(permit)?).await
    }

    pub(crate) async fn restore(
        &self,
        permit: &Permit<Restore>,
    ) -> Result<AccountRecord, VaultError> {
        self.0.recover(account(permit)?).await
    }

    pub(crate) async fn purge(&self, permit: &Permit<Purge>) -> Result<(), VaultError> {
        self.0.purge(account(permit)?).await
    }
}

/// The account that a mandate names. An act on an account is permitted by no other mandate.
fn account<D>(permit: &Permit<D>) -> Result<&EnrollmentId, VaultError> {
    match &permit.mandate().act {
        MandatedAct::Request { account, .. } => Ok(account),
        MandatedAct::Enroll { .. } | MandatedAct::Import { .. } => Err(VaultError::NotFound),
    }
}

/// The keys that open sealed values, behind permits.
#[derive(Clone)]
pub(crate) struct PermittedKeys(OpeningKeys);

/// The keys that open sealed values. Others may take their place while they are in use. Clones
/// are the same keys.
#[derive(Clone)]
pub struct OpeningKeys(Arc<RwLock<Arc<OpenKeyring>>>);

impl OpeningKeys {
    /// These, at first.
    #[must_use]
    pub fn new(keys: OpenKeyring) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(keys))))
    }

    /// Opens with these keys from now on.
    pub fn replace(&self, keys: OpenKeyring) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    fn now(&self) -> Arc<OpenKeyring> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PermittedKeys {
    pub(crate) const fn new(keys: OpeningKeys) -> Self {
        Self(keys)
    }

    /// Opens what was sent: the permit names its digest.
    pub(crate) fn open<T: Sealable>(
        &self,
        permit: &Permit<Open>,
        scope: &impl Scope,
        sealed: &Sealed<T>,
    ) -> Result<T, EnvelopeError> {
        if permit.act().source.as_ref() != Some(&sealed.digest()) {
            return Err(EnvelopeError::DoesNotOpen);
        }
        self.0.now().open(scope, sealed)
    }

    /// Opens what a worker has kept under the same mandate.
    pub(crate) fn open_kept<T: Sealable>(
        &self,
        _permit: &Permit<Open>,
        mandate: &Digest,
        scope: &impl Scope,
        kept: &Kept<T>,
    ) -> Result<T, EnvelopeError> {
        self.0.now().open_kept(scope, mandate, kept)
    }

    /// Keeps a value for the next activity under the same mandate.
    pub(crate) fn keep<T: Sealable>(
        &self,
        mandate: &Digest,
        scope: &impl Scope,
        value: &T,
    ) -> Result<Kept<T>, SealError> {
        self.0.now().keep(scope, mandate, value)
    }
}

/// Seals an account with its recovery codes for the installation that the mandate names.
pub(crate) fn seal_for(
    permit: &Permit<Seal>,
    account: &TotpAccount,
    recovery: Option<&MovedCodes>,
) -> Result<Package, Failure> {
    let MandatedAct::Request {
        account: id,
        act: RequestKind::Transfer { to },
        ..
    } = &permit.mandate().act
    else {
        return Err(
            Failure::new("Seal", "the mandate names no installation to seal for").permanent(),
        );
    };
    let key = SealKey::from_text(to).map_err(|error| Failure::from(error).permanent())?;
    let recovery = recovery.map(|codes| key.seal(id, codes)).transpose()?;
    let packed = PackedAccount {
        uri: OtpauthText::new(account.to_uri()),
        recovery: recovery.as_ref().map(Sealed::digest),
    };
    Ok(Package {
        account: key.seal(id, &packed)?,
        recovery,
    })
}
