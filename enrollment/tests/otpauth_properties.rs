//! What holds for every account and every text.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use countersign_enrollment::account::{Algorithm, CodeParameters, Labels, TotpAccount, TotpSecret};
use countersign_enrollment::otpauth;
use countersign_enrollment::sealed::Sealable as _;
use proptest::prelude::*;
use zeroize::Zeroizing;

/// Text as labels have it, with a liking for what readers disagree on.
fn label() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-cA-C:%+#@ /?&=]{0,12}",
        "\\PC{0,24}",
        "[a-b]{1,2}(:[A-B]{1,2}){0,3}",
    ]
}

fn parameters() -> impl Strategy<Value = CodeParameters> {
    let algorithm = prop_oneof![
        Just(Algorithm::Sha1),
        Just(Algorithm::Sha256),
        Just(Algorithm::Sha512)
    ];
    prop_oneof![
        1 => Just(CodeParameters::STEAM),
        6 => (algorithm, 6_u8..=8, prop_oneof![Just(30_u32), 1_u32..=86_400])
            .prop_map(|(algorithm, digits, period)| {
                CodeParameters::new(algorithm, digits, period).unwrap()
            }),
    ]
}

fn account() -> impl Strategy<Value = TotpAccount> {
    let secret = prop::collection::vec(any::<u8>(), 1..80);
    (
        prop::option::of(label()),
        label(),
        prop::option::of(label()),
        parameters(),
        secret,
    )
        .prop_map(|(issuer, account_name, label_issuer, parameters, secret)| {
            let labels = Labels::new(issuer.as_deref(), &account_name)
                .unwrap()
                .with_label_issuer(label_issuer.as_deref());
            TotpAccount::new(
                labels,
                parameters,
                TotpSecret::new(Zeroizing::new(secret)).unwrap(),
            )
        })
}

/// Texts that are nearly otpauth URIs.
fn nearly_otpauth() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[ -~]{0,6}",
        "\\PC{0,4}",
        prop::sample::select(vec![
            "%",
            "%3A",
            "%FF",
            ":",
            "#",
            "?",
            "&",
            "=",
            "+",
            "/",
            "secret=",
            "issuer=",
            "digits=",
            "period=",
            "algorithm=",
            "encoder=steam",
            "SECRET=",
            "GEZDGNBV",
            "7",
            "\u{202e}",
        ])
        .prop_map(str::to_owned),
    ];
    let start = prop::sample::select(vec![
        "otpauth://totp/",
        "otpauth://",
        "otpauth:",
        "OTPAUTH://TOTP/",
        "otpauth://steam/",
        "",
    ]);
    (start, prop::collection::vec(piece, 0..24))
        .prop_map(|(start, pieces)| format!("{start}{}", pieces.concat()))
}

/// Whether a name has an escape in it.
fn looks_escaped(name: &str) -> bool {
    name.as_bytes()
        .windows(3)
        .any(|three| three[0] == b'%' && three[1..].iter().all(u8::is_ascii_hexdigit))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_account_survives_its_uri(account in account()) {
        // A name that looks as if it had been escaped twice is shown as it was before.
        let names = [account.issuer(), Some(account.account_name()), account.labels().label_issuer()];
        prop_assume!(!names.into_iter().flatten().any(looks_escaped));
        // In mail, `3D` in front of a secret is rather the rest of an equals sign.
        prop_assume!(!account.to_uri().contains("secret=3D"));
        let uri = account.to_uri();
        let parsed = otpauth::parse(&uri).map_err(|problem| {
            TestCaseError::fail(format!("{}: {problem:?}", *uri))
        })?;
        prop_assert_eq!(&parsed.account, &account, "{}", *uri);
        prop_assert_eq!(&*parsed.account.to_uri(), &*uri, "the canonical form is one form");
        let shown = account.preview().labels();
        prop_assert_eq!(shown.as_ref(), Ok(account.labels()));
    }

    #[test]
    fn every_account_survives_its_sealed_form(account in account()) {
        let kept = TotpAccount::from_plaintext(account.to_plaintext());
        prop_assert_eq!(kept, Some(account));
    }

    #[test]
    fn every_text_is_read_or_refused(text in nearly_otpauth()) {
        match otpauth::parse(&text) {
            Ok(parsed) => {
                // What was read is an account like any other.
                let uri = parsed.account.to_uri();
                let again = otpauth::parse(&uri).map_err(|problem| {
                    TestCaseError::fail(format!("{text} -> {}: {problem:?}", *uri))
                })?;
                prop_assert_eq!(again.account, parsed.account, "{}", text);
            }
            Err(problem) => prop_assert!(problem.detail().ends_with('.')),
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = otpauth::parse(&text);
    }
}
