//! The ids of imported accounts: the same account is the same enrollment.

use crate::account::TotpAccount;
use crate::ids::{EnrollmentId, uuid_of};
use crate::sealed::ImportKey;

impl EnrollmentId {
    /// The id that belongs to `account` under `key`: the same account has the same id,
    /// and without the key nobody can tell an account from its id, not even by trying
    /// all short secrets. Names count as much as the secret: two accounts may share one.
    #[must_use]
    pub fn derived(key: &ImportKey, account: &TotpAccount) -> Self {
        Self::from_uuid(uuid_of(&key.mac(account.to_uri().as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_one_derived_id_under_one_key() {
        let account = |uri: &str| crate::otpauth::parse(uri).unwrap().account;
        let key = ImportKey::new([1; 32]);
        let one = account("otpauth://totp/I:a?secret=2FASTEST");
        let id = EnrollmentId::derived(&key, &one);
        assert_eq!(
            id,
            EnrollmentId::derived(&key, &account("otpauth://totp/a?secret=2fastest&issuer=I"))
        );
        for other in [
            "otpauth://totp/I:b?secret=2FASTEST",
            "otpauth://totp/I:a?secret=2FASTESU",
            "otpauth://totp/I:a?secret=2FASTEST&digits=8",
        ] {
            assert_ne!(id, EnrollmentId::derived(&key, &account(other)));
        }
        assert_ne!(id, EnrollmentId::derived(&ImportKey::new([2; 32]), &one));
    }
}
