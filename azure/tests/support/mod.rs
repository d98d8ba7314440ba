//! A vault on the fake, with limits that suit a test.

#![allow(dead_code, clippy::unwrap_used)]

use std::time::Duration;

use countersign_azure::key_vault::Limits;
use countersign_azure::{Identity, IdentitySettings, KeyVault, KeyVaultSettings, Selection};
use countersign_enrollment::account::TotpAccount;
use countersign_enrollment::fingerprint::FingerprintKey;
use countersign_enrollment::otpauth;
use zeroize::Zeroizing;

use crate::fake::FakeKeyVault;

pub(crate) const SECRET: &str = "JBSWY3DPEHPK3PXP";

pub(crate) fn account() -> TotpAccount {
    let uri = format!("otpauth://totp/ACME:ann%40example.com?secret={SECRET}&issuer=ACME");
    otpauth::parse(&uri).unwrap().account
}

/// Long enough for a machine that is busy with other things.
pub(crate) fn limits() -> Limits {
    Limits {
        read_try: Duration::from_secs(20),
        read: Duration::from_secs(60),
        write_try: Duration::from_secs(20),
        write: Duration::from_secs(60),
        writes_per_second: 1_000,
        list_age: Duration::from_secs(600),
    }
}

pub(crate) fn settings(fake: &FakeKeyVault, limits: Limits) -> KeyVaultSettings {
    KeyVaultSettings {
        emulator: true,
        ca_file: Some(fake.ca_file()),
        limits,
        ..KeyVaultSettings::new(fake.url().parse().unwrap())
    }
}

pub(crate) fn identity() -> Identity {
    Identity::new(&IdentitySettings {
        selection: Selection::Unsigned,
        ..IdentitySettings::default()
    })
}

pub(crate) fn vault(fake: &FakeKeyVault) -> KeyVault {
    vault_with(fake, limits())
}

pub(crate) fn vault_with(fake: &FakeKeyVault, limits: Limits) -> KeyVault {
    let vault = KeyVault::new(&settings(fake, limits), identity()).unwrap();
    vault.tell_apart_by(FingerprintKey::new(Zeroizing::new([7; 32])));
    vault
}
