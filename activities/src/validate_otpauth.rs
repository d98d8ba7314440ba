//! `validate-uri`: a sealed text becomes a sealed account, with what may be shown of it.

use countersign_enrollment::contract::{ValidateUri, ValidatedUri};
use countersign_enrollment::otpauth;
use durabletask_core::Failure;

use crate::{Activities, totp};

impl Activities {
    /// Checks that codes can be made from a URI.
    ///
    /// # Errors
    ///
    /// Permanent when the envelope does not open.
    pub(crate) fn validate_uri(&self, input: &ValidateUri) -> Result<ValidatedUri, Failure> {
        let text = self
            .keys
            .open(&input.enrollment, &input.uri)
            .map_err(|error| Failure::from(error).permanent())?;
        let parsed = match otpauth::parse(text.expose()) {
            Ok(parsed) => parsed,
            Err(problem) => return Ok(ValidatedUri::Invalid { problem }),
        };
        // An account that is stored must be able to give codes; the moment is any.
        totp::code_at(&parsed.account, 0).map_err(|error| Failure::from(error).permanent())?;
        Ok(ValidatedUri::Valid {
            preview: parsed.account.preview(),
            warnings: parsed.warnings,
            fingerprint: self.decisions.fingerprint(&parsed.account)?,
            account: self
                .keys
                .seal_key()
                .seal(&input.enrollment, &parsed.account)?,
        })
    }
}
