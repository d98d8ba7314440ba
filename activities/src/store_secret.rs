//! `store-secret`: a kept account becomes an entry of the vault, once.

use std::error::Error as _;

use countersign_authority::{ActName, MandatedAct, Open, Permit, Status, Store, shown};
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::contract::{SecretStored, StoreSecret};
use countersign_enrollment::recovery::{RecoveryCodes, WithRecovery};
use countersign_enrollment::request::RecoverySource;
use countersign_enrollment::sealed::EnvelopeError;
use durabletask_core::Failure;

use crate::Activities;
use crate::authority::CheckedMandate;
use crate::validate_otpauth::MAX_TOLD;
use crate::vault::{StoredUnlessThere, VaultError};

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
        let checked = self.authority.look(ACTION, &input.mandate, about).await?;
        let permit = checked.permit(ACTION, &[], Open { source: None }).await?;
        let WithRecovery {
            value: account,
            recovery: found,
        } = self
            .keys
            .open_kept(
                &permit,
                &checked.digest(),
                &input.enrollment,
                &input.account,
            )
            .map_err(|error| Failure::from(error).permanent())?;
        let recovery = self.recovery_with(&checked, input, found).await?;
        let fingerprint = self.fingerprints.fingerprint(&account)?;
        let act = Store {
            account: input.enrollment.clone(),
            shown: shown(&account.preview(), &fingerprint),
        };
        let (permit, started) = checked.begin(ACTION, &input.decisions, act).await?;
        if started.done_before().is_some() {
            return Ok(self.is_stored(&permit, input, &account).await);
        }
        if let Some(recovery) = &recovery {
            // What was given out elsewhere is never to be given, not even for a moment.
            let marks = self.recovery_marks(&input.enrollment, &recovery.given)?;
            self.authority
                .give_recovery(&permit, &input.enrollment, &marks)
                .await?;
        }
        let stored = async {
            let stored = match self.vault.store(&permit, &account).await? {
                StoredUnlessThere::Stored(stored) => stored,
                there @ StoredUnlessThere::There(_) => return Ok::<_, VaultError>(there),
            };
            if let Some(recovery) = &recovery {
                self.vault.set_recovery(&permit, &recovery.codes).await?;
            }
            Ok(StoredUnlessThere::Stored(stored))
        };
        match stored.await {
            Ok(StoredUnlessThere::There(there)) => {
                started.end().await?;
                Ok(SecretStored {
                    id: input.enrollment.clone(),
                    same: Vec::new(),
                    there: there.into_iter().take(MAX_TOLD).collect(),
                })
            }
            Ok(StoredUnlessThere::Stored(stored)) => {
                started.finish(None, Some(Status::Done)).await?;
                tracing::info!(instance_id = %input.enrollment, ?stored, "secret stored");
                Ok(self.is_stored(&permit, input, &account).await)
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

    /// That the account is in the vault, and which others like it are.
    async fn is_stored<D>(
        &self,
        permit: &Permit<D>,
        input: &StoreSecret,
        account: &TotpAccount,
    ) -> SecretStored {
        let id = input.enrollment.clone();
        let same = self.same_as_far_as_known(permit, &id, account).await;
        SecretStored {
            id,
            same,
            there: Vec::new(),
        }
    }

    /// The recovery codes that came with the account: those that the mandate names, or those
    /// that an import has found beside it and a worker has kept in one envelope with it. Not
    /// fewer, if a task hub leaves them out, and no others.
    async fn recovery_with(
        &self,
        checked: &CheckedMandate<'_>,
        input: &StoreSecret,
        found: RecoveryCodes,
    ) -> Result<Option<Recovery>, Failure> {
        let closed = |error: EnvelopeError| Failure::from(error).permanent();
        let named = match &checked.mandate().act {
            MandatedAct::Enroll { .. } if !found.is_empty() => {
                return Err(closed(EnvelopeError::DoesNotOpen));
            }
            MandatedAct::Import { .. } if input.recovery.is_none() => {
                let given = RecoveryCodes::default();
                let found = Recovery {
                    codes: found,
                    given,
                };
                return Ok((!found.codes.is_empty()).then_some(found));
            }
            MandatedAct::Enroll { recovery, .. } => recovery.clone(),
            MandatedAct::Import { .. } | MandatedAct::Request { .. } => None,
        };
        match (&input.recovery, named) {
            (None, None) => Ok(None),
            // Only the answer was lost.
            (Some(_), Some(_)) if checked.has_done(ActName::Store) => Ok(None),
            (Some(sealed), Some(digest)) => {
                let source = Some(digest);
                let permit = checked.permit(ACTION, &[], Open { source }).await?;
                let scope = &input.enrollment;
                let opened = match sealed {
                    RecoverySource::Sent(codes) => {
                        self.keys.open(&permit, scope, codes).map(|codes| Recovery {
                            codes,
                            given: RecoveryCodes::default(),
                        })
                    }
                    RecoverySource::Moved(codes) => {
                        self.keys.open(&permit, scope, codes).map(|moved| Recovery {
                            codes: moved.codes().clone(),
                            given: moved.given(),
                        })
                    }
                };
                opened.map(Some).map_err(closed)
            }
            (Some(_), None) | (None, Some(_)) => Err(closed(EnvelopeError::DoesNotOpen)),
        }
    }
}

/// The recovery codes that came with an account.
struct Recovery {
    codes: RecoveryCodes,
    /// Those that were given out where the account comes from.
    given: RecoveryCodes,
}
