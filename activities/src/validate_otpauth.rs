//! `validate-uri`: a sealed text becomes a sealed account, with what may be shown of it.

use std::time::Duration;

use countersign_authority::{Mandate, MandatedAct, Permit};
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::contract::{UriSource, ValidateUri, ValidatedUri};
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::otpauth::{self, Warning};
use countersign_enrollment::package::PackedAccount;
use countersign_enrollment::problem::InputProblem;
use countersign_enrollment::recovery::WithRecovery;
use countersign_enrollment::sealed::EnvelopeError;
use durabletask_core::Failure;

use crate::{Activities, totp};

/// How many accounts with the same content are named.
pub(crate) const MAX_TOLD: usize = 5;
/// How long the vault may take to say whether the same account is there, where that is only
/// told.
const PATIENCE: Duration = Duration::from_secs(2);

impl Activities {
    /// Checks that codes can be made from a URI.
    ///
    /// # Errors
    ///
    /// Permanent when it is not permitted or the envelope does not open; retriable while the
    /// vault does not answer. Where another
    /// installation has closed it, that is a result instead: what was sent is damaged, or for
    /// another account.
    pub(crate) async fn validate_uri(&self, input: &ValidateUri) -> Result<ValidatedUri, Failure> {
        let mandate = input.mandate.digest();
        let source = match &input.uri {
            UriSource::Sent(uri) => Some(uri.digest()),
            UriSource::Packed(account) => Some(account.digest()),
            UriSource::Read(_) => None,
        };
        let permit = self
            .permit_open(&input.mandate, input.enrollment.as_str(), source)
            .await?;
        let received = matches!(
            permit.mandate().act,
            MandatedAct::Enroll { received: true, .. }
        );
        // What came from another installation says which recovery codes were sealed with it;
        // earlier releases, and a task hub that lies, pass it on as a URI that does not.
        let mut whole = !received || !names_recovery(permit.mandate());
        let opened = match &input.uri {
            UriSource::Sent(uri) => {
                let opened = self.keys.open(&permit, &input.enrollment, uri);
                opened.map(WithRecovery::from)
            }
            UriSource::Packed(account) => {
                let opened = self.keys.open(&permit, &input.enrollment, account);
                opened.map(|packed| {
                    whole = is_whole(permit.mandate(), &packed);
                    packed.uri.into()
                })
            }
            UriSource::Read(uri) => self
                .keys
                .open_kept(&permit, &mandate, &input.enrollment, uri),
        };
        let WithRecovery {
            value: text,
            recovery,
        } = match opened {
            Ok(opened) => opened,
            Err(EnvelopeError::DoesNotOpen) if received => {
                let problem = InputProblem::PackageUnreadable;
                return Ok(ValidatedUri::Invalid { problem });
            }
            Err(error) => return Err(Failure::from(error).permanent()),
        };
        if received && !self.opens_moved(input).await? {
            let problem = InputProblem::PackageUnreadable;
            return Ok(ValidatedUri::Invalid { problem });
        }
        if !whole {
            let problem = InputProblem::PackageIncomplete;
            return Ok(ValidatedUri::Invalid { problem });
        }
        let steam = matches!(
            permit.mandate().act,
            MandatedAct::Enroll { steam: true, .. }
        );
        let parsed = otpauth::parse(text.expose()).and_then(|parsed| match steam {
            true => parsed.into_steam(),
            false => Ok(parsed),
        });
        let mut parsed = match parsed {
            Ok(parsed) => parsed,
            Err(problem) => return Ok(ValidatedUri::Invalid { problem }),
        };
        let refuses = matches!(
            permit.mandate().act,
            MandatedAct::Enroll {
                unless_there: true,
                ..
            }
        );
        let accounts = match refuses {
            true => {
                self.same_as(&permit, &input.enrollment, &parsed.account)
                    .await?
            }
            false => {
                self.same_as_far_as_known(&permit, &input.enrollment, &parsed.account)
                    .await
            }
        };
        if !accounts.is_empty() {
            if refuses {
                let problem = InputProblem::AccountThere { accounts };
                return Ok(ValidatedUri::Invalid { problem });
            }
            parsed.warnings.push(Warning::Duplicate { accounts });
        }
        // An account that is stored must be able to give codes; the moment is any.
        totp::code_at(&parsed.account, 0).map_err(|error| Failure::from(error).permanent())?;
        let account = WithRecovery {
            value: parsed.account,
            recovery,
        };
        Ok(ValidatedUri::Valid {
            preview: account.value.preview(),
            warnings: parsed.warnings,
            fingerprint: self.fingerprints.fingerprint(&account.value)?,
            account: self.keys.keep(&mandate, &input.enrollment, &account)?,
        })
    }

    /// Whether the recovery codes that came with an account of another installation open: they
    /// are stored later, and what cannot be is said now.
    async fn opens_moved(&self, input: &ValidateUri) -> Result<bool, Failure> {
        let Some(moved) = &input.moved else {
            return Ok(true);
        };
        let about = input.enrollment.as_str();
        let source = Some(moved.digest());
        let permit = self.permit_open(&input.mandate, about, source).await?;
        match self.keys.open(&permit, &input.enrollment, moved) {
            Ok(_) => Ok(true),
            Err(EnvelopeError::DoesNotOpen) => Ok(false),
            Err(error) => Err(Failure::from(error).permanent()),
        }
    }

    /// The other accounts in use with the content of this one, however they came in.
    async fn same_as<D>(
        &self,
        permit: &Permit<D>,
        enrollment: &EnrollmentId,
        account: &TotpAccount,
    ) -> Result<Vec<EnrollmentId>, Failure> {
        let same = match self.vault.same_as(permit, account).await {
            Ok(same) => same,
            Err(error) if error.is_retriable() => return Err(error.into()),
            Err(error) => return Err(Failure::from(error).permanent()),
        };
        let same = same.into_iter().map(|record| record.id);
        // This may run again after the account was stored.
        let same = same.filter(|id| id != enrollment);
        Ok(same.take(MAX_TOLD).collect())
    }

    /// The same, or none: a vault that cannot say keeps nobody from enrolling.
    pub(crate) async fn same_as_far_as_known<D>(
        &self,
        permit: &Permit<D>,
        enrollment: &EnrollmentId,
        account: &TotpAccount,
    ) -> Vec<EnrollmentId> {
        let looking = self.same_as(permit, enrollment, account);
        match tokio::time::timeout(PATIENCE, looking).await {
            Ok(Ok(accounts)) => accounts,
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(instance_id = %enrollment, "cannot search for duplicates");
                Vec::new()
            }
        }
    }
}

/// Whether recovery codes came with what the mandate enrolls.
const fn names_recovery(mandate: &Mandate) -> bool {
    matches!(
        mandate.act,
        MandatedAct::Enroll {
            recovery: Some(_),
            ..
        }
    )
}

/// Whether an account came with exactly those recovery codes that were sealed with it.
fn is_whole(mandate: &Mandate, packed: &PackedAccount) -> bool {
    match &mandate.act {
        MandatedAct::Enroll { recovery, .. } => *recovery == packed.recovery,
        MandatedAct::Import { .. } | MandatedAct::Request { .. } => false,
    }
}
