//! Accounts of Key Vault by what they hold. Tags tell the secrets apart that this program has
//! stored; the others are read once for each of their versions.

use countersign_activities::vault::{AccountRecord, MAX_SAME, VaultError, order};
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::fingerprint::{FingerprintKey, FingerprintKeyError};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::error::KeyVaultError;
use super::{KeyVault, secret_name};

/// How many secrets are read at once.
const READS_AT_ONCE: usize = 8;

impl KeyVault {
    /// What the tags of `account` tell it apart by, if there is a key for that.
    pub(super) fn fingerprint(&self, account: &TotpAccount) -> Result<Option<String>, VaultError> {
        let key = self.fingerprints.get();
        key.map(|key| key.fingerprint(account).map_err(unusable))
            .transpose()
    }

    pub(super) async fn find_same(
        &self,
        account: &TotpAccount,
    ) -> Result<Vec<AccountRecord>, VaultError> {
        let Some(key) = self.fingerprints.get() else {
            return Ok(Vec::new());
        };
        let wanted = key.fingerprint(account).map_err(unusable)?;
        let (accounts, fingerprints) = self.directory.listed(&self.client).await?;
        let preview = account.preview();
        let mut alike: Vec<AccountRecord> = accounts
            .iter()
            .filter(|record| {
                let kept = &record.preview;
                (kept.algorithm, kept.digits, kept.period)
                    == (preview.algorithm, preview.digits, preview.period)
            })
            .cloned()
            .collect();
        let name = order::keys(account.issuer(), account.account_name());
        alike.sort_by_key(|record| {
            let preview = &record.preview;
            let keys = order::keys(preview.issuer.as_deref(), &preview.account_name);
            (keys != name, record.created_at)
        });
        stream::iter(alike)
            .map(|record| {
                let tagged = fingerprints.get(&record.id).cloned();
                self.of_record(key, record, tagged)
            })
            .buffered(READS_AT_ONCE)
            .try_filter_map(async |(record, fingerprint)| {
                Ok((fingerprint.as_ref() == Some(&wanted)).then_some(record))
            })
            .take(MAX_SAME)
            .try_collect()
            .await
    }

    /// The fingerprint of an account in the list; none of one that is gone or that cannot be
    /// read, which is the same as no other then.
    async fn of_record(
        &self,
        key: &FingerprintKey,
        record: AccountRecord,
        tagged: Option<String>,
    ) -> Result<(AccountRecord, Option<String>), VaultError> {
        let known = match tagged {
            Some(tagged) => Some(tagged),
            None => self.directory.read_before(&record).await,
        };
        if known.is_some() {
            return Ok((record, known));
        }
        let read = match self.client.get(&secret_name(&record.id)?).await {
            Ok((metadata, value)) => metadata.account(&value).ok(),
            Err(KeyVaultError::NotFound | KeyVaultError::Forbidden { .. }) => None,
            Err(error) if error.may_be_disabled() => None,
            Err(error) => return Err(error.into()),
        };
        let Some(account) = read else {
            return Ok((record, None));
        };
        let fingerprint = key.fingerprint(&account).map_err(unusable)?;
        self.directory.keep_read(&record, &fingerprint).await;
        Ok((record, Some(fingerprint)))
    }
}

const fn unusable(_: FingerprintKeyError) -> VaultError {
    VaultError::Corrupt {
        reason: "the fingerprint key cannot be used",
    }
}
