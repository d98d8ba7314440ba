//! What tells a secret from any other, to those who hold a key, and says nothing to anyone
//! else.

use std::fmt;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::account::TotpAccount;
use crate::ids::EnrollmentId;

const PURPOSE: &[u8] = b"countersign secret fingerprint v1";
const RECOVERY: &[u8] = b"countersign recovery code v1";
/// How many bytes of a fingerprint are kept: enough that no two secrets share one.
const FINGERPRINT_BYTES: usize = 16;

/// The key cannot be used by the algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the fingerprint key cannot be used")]
pub struct FingerprintKeyError;

/// The key that front door and worker share to name a secret without showing it. It proves
/// nothing: what is permitted is signed with other keys. Wiped when dropped.
#[derive(Clone)]
pub struct FingerprintKey(Zeroizing<[u8; 32]>);

impl FingerprintKey {
    /// A key of 256 random bits.
    #[must_use]
    pub const fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self(key)
    }

    /// What tells an account's secret from any other: an HMAC-SHA256 (RFC 2104), cut to 16
    /// bytes, in hexadecimal. Without the key nobody can find the secret by trying.
    ///
    /// # Errors
    ///
    /// [`FingerprintKeyError`].
    pub fn fingerprint(&self, account: &TotpAccount) -> Result<String, FingerprintKeyError> {
        self.mac(&[PURPOSE, account.secret().expose()])
    }

    /// What tells a recovery code of an account from any other, to those who have the key: as
    /// [`FingerprintKey::fingerprint`].
    ///
    /// # Errors
    ///
    /// [`FingerprintKeyError`].
    pub fn of_recovery_code(
        &self,
        account: &EnrollmentId,
        code: &str,
    ) -> Result<String, FingerprintKeyError> {
        self.mac(&[RECOVERY, account.as_str().as_bytes(), code.as_bytes()])
    }

    fn mac(&self, parts: &[&[u8]]) -> Result<String, FingerprintKeyError> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.0).map_err(|_| FingerprintKeyError)?;
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Ok(HEXLOWER.encode(&mac.finalize().into_bytes()[..FINGERPRINT_BYTES]))
    }
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otpauth;

    #[test]
    fn a_fingerprint_is_of_one_secret_under_one_key() {
        let account = |uri| otpauth::parse(uri).unwrap().account;
        let one = account("otpauth://totp/ACME:ci?secret=GEZDGNBVGY3TQOJQ&issuer=ACME");
        let renamed = account("otpauth://totp/ACME:cd?secret=GEZDGNBVGY3TQOJQ&issuer=ACME");
        let other = account("otpauth://totp/ACME:ci?secret=JBSWY3DPEHPK3PXP&issuer=ACME");
        let key = |byte| FingerprintKey::new(Zeroizing::new([byte; 32]));
        let print = |byte, account| key(byte).fingerprint(account).unwrap();
        assert_eq!(print(1, &one), print(1, &renamed));
        assert_ne!(print(1, &one), print(1, &other));
        assert_ne!(print(1, &one), print(2, &one));
        assert_eq!(print(1, &one).len(), 2 * FINGERPRINT_BYTES);
    }
}
