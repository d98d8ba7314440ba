//! `store-secret`: a sealed account becomes an entry of the vault, once.

use std::error::Error as _;

use countersign_enrollment::contract::{SecretStored, StoreSecret};
use durabletask_core::Failure;

use crate::Activities;

impl Activities {
    /// Stores an account under its enrollment's id. Storing it again changes nothing.
    ///
    /// # Errors
    ///
    /// Retriable while the vault does not answer, permanent otherwise.
    pub(crate) async fn store_secret(&self, input: &StoreSecret) -> Result<SecretStored, Failure> {
        let account = self
            .keys
            .open(&input.enrollment, &input.account)
            .map_err(|error| Failure::from(error).permanent())?;
        match self
            .vault
            .store_for(&input.enrollment, &account, input.pending_for.as_ref())
            .await
        {
            Ok(stored) => {
                tracing::info!(instance_id = %input.enrollment, ?stored, "secret stored");
                Ok(SecretStored {
                    id: input.enrollment.clone(),
                })
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
