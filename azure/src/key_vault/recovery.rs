//! Recovery codes in Key Vault: a member of the account's own secret, so that they are kept,
//! deleted and destroyed with it. Setting them makes another version of the secret. The service
//! has no condition for that, so each process compares and sets them one at a time; of two
//! processes that set those of one account in the same moment, the later one may replace the
//! codes of the other.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use countersign_activities::vault::VaultError;
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::recovery::RecoveryCodes;
use zeroize::Zeroizing;

use super::entry::{self, Kind, Metadata};
use super::error::KeyVaultError;
use super::{KeyVault, foreign, secret_name};

/// After this a version that is made has a later time than one that is there.
const ONE_TICK: Duration = Duration::from_millis(1_100);

impl KeyVault {
    pub(super) async fn keep_recovery(
        &self,
        id: &EnrollmentId,
        replaced: &RecoveryCodes,
        codes: &RecoveryCodes,
    ) -> Result<(), VaultError> {
        let _one_at_a_time = self.setting_recovery.lock().await;
        let (metadata, value) = self.of_account(id).await?;
        let kept = entry::recovery(&value)?;
        if kept == *codes {
            return Ok(());
        }
        if kept != *replaced {
            return Err(VaultError::RecoveryConflict);
        }
        let account = metadata.account(&value)?;
        let value = entry::value_with(&account, codes).ok_or(VaultError::Corrupt {
            reason: "the account cannot be written as JSON",
        })?;
        // Which of two versions is the later one tell their times, in whole seconds.
        let fresh = metadata
            .created
            .is_none_or(|created| Utc::now() - created < TimeDelta::seconds(2));
        if fresh {
            tokio::time::sleep(ONE_TICK).await;
        }
        let name = secret_name(id)?;
        let tags = metadata.tags.clone();
        self.client.set_once(&name, &value, tags, true).await?;
        Ok(())
    }

    pub(super) async fn kept_recovery(
        &self,
        id: &EnrollmentId,
    ) -> Result<RecoveryCodes, VaultError> {
        let (_, value) = self.of_account(id).await?;
        entry::recovery(&value)
    }

    /// The secret of an account in use.
    async fn of_account(
        &self,
        id: &EnrollmentId,
    ) -> Result<(Metadata, Zeroizing<String>), VaultError> {
        match self.client.get(&secret_name(id)?).await {
            Ok((metadata, value)) => match metadata.kind(id) {
                Kind::Enrolled | Kind::Adopted => Ok((metadata, value)),
                Kind::Purged => Err(VaultError::NotFound),
                Kind::Foreign => Err(foreign()),
            },
            Err(KeyVaultError::NotFound) => Err(match self.find(id).await?.deleted {
                Some(_) => VaultError::Deleted,
                None => VaultError::NotFound,
            }),
            Err(error) => Err(error.into()),
        }
    }
}
