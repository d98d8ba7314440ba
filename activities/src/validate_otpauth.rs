//! `validate-uri`: a sealed text becomes a sealed account, with what may be shown of it.

use countersign_authority::MandatedAct;
use countersign_enrollment::contract::{UriSource, ValidateUri, ValidatedUri};
use countersign_enrollment::otpauth;
use countersign_enrollment::problem::InputProblem;
use countersign_enrollment::sealed::OpenError;
use durabletask_core::Failure;

use crate::{Activities, totp};

impl Activities {
    /// Checks that codes can be made from a URI.
    ///
    /// # Errors
    ///
    /// Permanent when it is not permitted or the envelope does not open. Where another
    /// installation has closed it, that is a result instead: what was sent is damaged, or for
    /// another account.
    pub(crate) async fn validate_uri(&self, input: &ValidateUri) -> Result<ValidatedUri, Failure> {
        let mandate = input.mandate.digest();
        let source = match &input.uri {
            UriSource::Sent(uri) => Some(uri.digest()),
            UriSource::Read(_) => None,
        };
        let permit = self
            .permit_open(&input.mandate, input.enrollment.as_str(), source)
            .await?;
        let received = matches!(
            permit.mandate().act,
            MandatedAct::Enroll { received: true, .. }
        );
        let opened = match &input.uri {
            UriSource::Sent(uri) => self.keys.open(&permit, &input.enrollment, uri),
            UriSource::Read(uri) => self
                .keys
                .open_kept(&permit, &mandate, &input.enrollment, uri),
        };
        let text = match opened {
            Ok(text) => text,
            Err(OpenError::DoesNotOpen) if received => {
                let problem = InputProblem::PackageUnreadable;
                return Ok(ValidatedUri::Invalid { problem });
            }
            Err(error) => return Err(Failure::from(error).permanent()),
        };
        let parsed = match otpauth::parse(text.expose()) {
            Ok(parsed) => parsed,
            Err(problem) => return Ok(ValidatedUri::Invalid { problem }),
        };
        // An account that is stored must be able to give codes; the moment is any.
        totp::code_at(&parsed.account, 0).map_err(|error| Failure::from(error).permanent())?;
        Ok(ValidatedUri::Valid {
            preview: parsed.account.preview(),
            warnings: parsed.warnings,
            fingerprint: self.fingerprints.fingerprint(&parsed.account)?,
            account: self
                .keys
                .keep(&mandate, &input.enrollment, &parsed.account)?,
        })
    }
}
