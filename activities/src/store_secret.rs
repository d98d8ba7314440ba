//! `store-secret`: a kept account becomes an entry of the vault, once.

use std::error::Error as _;

use countersign_authority::{Open, Status, Store, shown};
use countersign_enrollment::contract::{SecretStored, StoreSecret};
use durabletask_core::Failure;

use crate::Activities;

/// What it is called where it is refused and noted.
const ACTION: &str = "store";

impl Activities {
    /// Stores an account under its enrollment's id, once enough people have agreed to exactly
    /// this account. Storing it again changes nothing.
    ///
    /// # Errors
    ///
    /// Permanent when it is not permitted; retriable while the vault or the ledger does not
    /// answer; permanent otherwise.
    pub(crate) async fn store_secret(&self, input: &StoreSecret) -> Result<SecretStored, Failure> {
        let about = input.enrollment.as_str();
        let standing = self.authority.look(ACTION, &input.mandate, about).await?;
        let permit = standing.permit(ACTION, &[], Open { source: None }).await?;
        let account = self
            .keys
            .open_kept(
                &permit,
                &standing.digest(),
                &input.enrollment,
                &input.account,
            )
            .map_err(|error| Failure::from(error).permanent())?;
        let fingerprint = self.fingerprints.fingerprint(&account)?;
        let deed = Store {
            account: input.enrollment.clone(),
            shown: shown(&account.preview(), &fingerprint),
        };
        let (permit, started) = standing.begin(ACTION, &input.decisions, deed).await?;
        let answer = SecretStored {
            id: input.enrollment.clone(),
        };
        if started.done_before().is_some() {
            return Ok(answer);
        }
        match self.vault.store(&permit, &account).await {
            Ok(stored) => {
                started.finish(None, Some(Status::Done)).await?;
                tracing::info!(instance_id = %input.enrollment, ?stored, "secret stored");
                Ok(answer)
            }
            Err(error) => {
                let retriable = error.is_retriable();
                tracing::warn!(
                    instance_id = %input.enrollment,
                    retriable,
                    cause = error.source().map(tracing::field::display),
                    %error,
                    "secret not stored"
                );
                let failure = Failure::from(error);
                Err(if retriable {
                    failure
                } else {
                    failure.permanent()
                })
            }
        }
    }
}
