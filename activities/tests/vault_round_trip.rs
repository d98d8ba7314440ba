//! What is stored comes back as the same account, which writes an equal URI and QR code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use countersign_activities::images::ReadLimits;
use countersign_activities::vault::{EmbeddedVault, SecretVault as _, Stored};
use countersign_activities::{qr, totp};
use countersign_enrollment::account::{Algorithm, CodeParameters, Labels, TotpAccount, TotpSecret};
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::otpauth;
use proptest::prelude::*;
use zeroize::Zeroizing;

fn account() -> impl Strategy<Value = TotpAccount> {
    let text = "[a-cA-C:%+#@\u{e9}\u{1f511} ]{0,12}";
    let algorithm =
        prop::sample::select(vec![Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512]);
    let parameters = prop_oneof![
        1 => Just(CodeParameters::STEAM),
        5 => (algorithm, 6_u8..=8, 1_u32..=86_400).prop_map(|(algorithm, digits, period)| {
            CodeParameters::new(algorithm, digits, period).unwrap()
        }),
    ];
    let secret = prop::collection::vec(any::<u8>(), 1..64);
    let labels = (prop::option::of(text), text, prop::option::of(text));
    (labels, parameters, secret).prop_map(|((issuer, name, label_issuer), parameters, secret)| {
        let labels = Labels::new(issuer.as_deref(), &name)
            .unwrap()
            .with_label_issuer(label_issuer.as_deref());
        let secret = TotpSecret::new(Zeroizing::new(secret)).unwrap();
        TotpAccount::new(labels, parameters, secret)
    })
}

/// What the QR code of `uri` says, as an image of its own.
fn through_a_picture(uri: &str) -> Vec<String> {
    let code = qrcode::QrCode::new(uri).unwrap();
    let picture = code.render::<image::Luma<u8>>().build();
    let mut png = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let limits = ReadLimits {
        deadline: Duration::from_secs(20),
        ..ReadLimits::default()
    };
    let read = qr::read_codes(png.get_ref(), &limits).unwrap();
    read.iter()
        .map(|payload| payload.expose().to_owned())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn every_account_survives_the_vault(accounts in prop::collection::vec(account(), 1..12)) {
        let folder = tempfile::tempdir().unwrap();
        let vault = EmbeddedVault::open(folder.path()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for account in accounts {
            let id = EnrollmentId::random();
            // As an enrollment does it: from a URI.
            let parsed = otpauth::parse(&account.to_uri()).unwrap().account;
            let read = runtime.block_on(async {
                assert_eq!(vault.store(&id, &parsed).await.unwrap(), Stored::Created);
                vault.read(&id).await.unwrap()
            });
            prop_assert_eq!(&read, &account);
            prop_assert_eq!(&*read.to_uri(), &*account.to_uri());
            prop_assert_eq!(through_a_picture(&read.to_uri()), [&**read.to_uri()]);
            prop_assert_eq!(
                totp::code_at(&read, 1_700_000_000),
                totp::code_at(&account, 1_700_000_000)
            );
        }
    }
}
