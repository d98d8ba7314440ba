//! What other programs export, one file each. The encrypted vault was made with another
//! program's AES and scrypt.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use countersign_enrollment::code_parts::CodePart;
use countersign_enrollment::import::{
    Budget, CodesBeside, Cost, Exceeded, ImportEntry, ImportFile, ImportList, MAX_ACCOUNTS,
};
use countersign_enrollment::otpauth;
use countersign_enrollment::problem::{ImportFormat, InputProblem};
use countersign_enrollment::recovery::RecoveryCodes;
use countersign_enrollment::sealed::Sealable as _;
use proptest::prelude::*;

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

fn data(name: &str) -> Vec<u8> {
    std::fs::read(format!(
        "{}/tests/data/import/{name}",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap()
}

/// Names and canonical URIs, or codes of problems.
fn told(file: &ImportFile) -> Vec<(String, String)> {
    let told = |entry: &ImportEntry| {
        let content = match &entry.content {
            Ok(text) => match otpauth::parse(text) {
                Ok(parsed) => parsed.account.to_uri().to_string(),
                Err(problem) => problem.code().to_owned(),
            },
            Err(problem) => problem.code().to_owned(),
        };
        (entry.name.clone(), content)
    };
    file.list.entries.iter().map(told).collect()
}

#[track_caller]
fn check(name: &str, password: Option<&str>, format: ImportFormat, expected: &[(&str, String)]) {
    let file = ImportFile::read(&data(name), password).unwrap();
    assert_eq!(file.format, format);
    let expected: Vec<(String, String)> = expected
        .iter()
        .map(|(name, content)| ((*name).to_owned(), content.clone()))
        .collect();
    assert_eq!(told(&file), expected);
}

fn aegis() -> Vec<(&'static str, String)> {
    let long = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA";
    vec![
        (
            "GitHub: octo@example.com",
            format!("otpauth://totp/GitHub:octo@example.com?secret={SECRET}&issuer=GitHub"),
        ),
        (
            "Bank: Bank:me",
            format!(
                "otpauth://totp/Bank:me?secret={long}&issuer=Bank&algorithm=SHA256&digits=8&period=60"
            ),
        ),
        (
            "Steam: gordon",
            format!("otpauth://steam/Steam:gordon?secret={SECRET}&issuer=Steam"),
        ),
        ("Token: old", "hotp-unsupported".to_owned()),
        ("Yandex: ya", "type-unsupported".to_owned()),
        ("Odd: md5", "algorithm-unsupported".to_owned()),
    ]
}

#[test]
fn aegis_plain_and_encrypted() {
    check("aegis-plain.json", None, ImportFormat::Aegis, &aegis());
    check(
        "aegis-encrypted.json",
        Some("correct horse"),
        ImportFormat::Aegis,
        &aegis(),
    );
    let encrypted = data("aegis-encrypted.json");
    for (password, problem) in [
        (
            None,
            InputProblem::ImportPasswordMissing {
                format: Some(ImportFormat::Aegis),
            },
        ),
        (
            Some("wrong horse"),
            InputProblem::ImportPasswordWrong {
                format: Some(ImportFormat::Aegis),
                certain: true,
            },
        ),
    ] {
        assert_eq!(ImportFile::read(&encrypted, password), Err(problem));
    }
    // Damage is not taken for a wrong password, and a derivation that would take all
    // memory is refused.
    let text = String::from_utf8(encrypted).unwrap();
    let malformed = InputProblem::ImportMalformed {
        format: ImportFormat::Aegis,
    };
    let costly = |exceeded| InputProblem::ImportTooCostly { exceeded };
    let long_salt = format!("\"salt\": \"{}", "00".repeat(2_000));
    for (what, with, problem) in [
        ("\"n\": 4096", "\"n\": 4294967296", costly(Exceeded::Memory)),
        ("\"n\": 4096", "\"n\": 4095", malformed.clone()),
        ("\"n\": 4096", "\"n\": 0", malformed.clone()),
        ("\"n\": 4096", "\"n\": 1", malformed.clone()),
        ("\"r\": 8", "\"r\": 65536", costly(Exceeded::Memory)),
        ("\"r\": 8", "\"r\": 0", malformed.clone()),
        ("\"db\": \"", "\"db\": \"AAAA", malformed.clone()),
        ("\"p\": 1", "\"p\": 4000000000", costly(Exceeded::Memory)),
        ("\"p\": 1", "\"p\": 4000", costly(Exceeded::Work)),
        ("\"p\": 1", "\"p\": 0", malformed.clone()),
        ("\"salt\": \"", &long_salt, malformed.clone()),
    ] {
        let damaged = text.replace(what, with);
        assert_ne!(damaged, text, "{what}");
        assert_eq!(
            ImportFile::read(damaged.as_bytes(), Some("correct horse")),
            Err(problem),
            "{with}"
        );
    }
}

#[test]
fn two_fas() {
    check(
        "2fas.json",
        None,
        ImportFormat::TwoFas,
        &[
            (
                "GitHub: octo@example.com",
                format!("otpauth://totp/GitHub:octo@example.com?secret={SECRET}&issuer=GitHub"),
            ),
            (
                "Plain",
                "otpauth://totp/Plain:Plain?secret=JBSWY3DPEHPK3PXP&issuer=Plain".to_owned(),
            ),
            (
                "Steam: gordon",
                format!("otpauth://steam/Steam:gordon?secret={SECRET}&issuer=Steam"),
            ),
            ("Counter", "hotp-unsupported".to_owned()),
        ],
    );
}

#[test]
fn bitwarden() {
    check(
        "bitwarden.json",
        None,
        ImportFormat::Bitwarden,
        &[
            (
                "GitHub: octo@example.com",
                format!("otpauth://totp/GitHub:octo@example.com?secret={SECRET}&issuer=GitHub"),
            ),
            (
                "Mail: me",
                format!("otpauth://totp/Mail:me?secret={SECRET}&issuer=Mail"),
            ),
            (
                "Steam: gordon",
                format!("otpauth://steam/Steam:gordon?secret={SECRET}&issuer=Steam"),
            ),
            ("Damaged: me", "secret-not-base32".to_owned()),
        ],
    );
    for encrypted in [
        r#"{"encrypted": true, "passwordProtected": false, "salt": "x", "data": "y"}"#,
        r#"{"encrypted": true, "encKeyValidation_DO_NOT_EDIT": "x", "items": []}"#,
    ] {
        assert_eq!(
            ImportFile::read(encrypted.as_bytes(), None),
            Err(InputProblem::ImportEncrypted {
                format: ImportFormat::Bitwarden
            })
        );
    }
}

#[test]
fn entries_of_a_key_vault() {
    let expected = [
        (
            "2FAS: Test Token",
            "otpauth://totp/2FAS:Test%20Token?secret=2FASTEST&issuer=2FAS".to_owned(),
        ),
        (
            "GitHub: GitHub:octo@x.com",
            "otpauth://totp/GitHub:octo@x.com?secret=JBSWY3DPEHPK3PXP&issuer=GitHub".to_owned(),
        ),
        (
            "Example",
            format!("otpauth://totp/Example:Example?secret={SECRET}&issuer=Example"),
        ),
    ];
    check("key-vault.json", None, ImportFormat::KeyVault, &expected);
    let all: Vec<serde_json::Value> = serde_json::from_slice(&data("key-vault.json")).unwrap();
    let first = serde_json::to_vec(&all[0]).unwrap();
    let file = ImportFile::read(&first, None).unwrap();
    assert_eq!(told(&file)[0].1, expected[0].1);
    // A secret of another kind is none of ours.
    let other = serde_json::to_vec(&all[3]).unwrap();
    assert_eq!(
        ImportFile::read(&other, None),
        Err(InputProblem::ImportEmpty)
    );
}

#[test]
fn lists_of_uris() {
    let uri = format!("otpauth://totp/a?secret={SECRET}");
    let text = format!("\u{feff}# accounts\r\n\r\n{uri}\r\n  {uri}&issuer=b  \nnonsense\n");
    let file = ImportFile::read(text.as_bytes(), None).unwrap();
    assert_eq!(file.format, ImportFormat::UriList);
    let codes: Vec<String> = told(&file)
        .into_iter()
        .map(|(_, content)| content)
        .collect();
    assert_eq!(
        codes,
        [
            uri.clone(),
            format!("otpauth://totp/b:a?secret={SECRET}&issuer=b"),
            "not-otpauth".to_owned()
        ]
    );
    let json = serde_json::to_vec(&[&uri, &uri]).unwrap();
    assert_eq!(ImportFile::read(&json, None).unwrap().list.entries.len(), 2);

    for (text, problem) in [
        (String::new(), InputProblem::ImportEmpty),
        ("# nothing\n".to_owned(), InputProblem::ImportEmpty),
        ("[]".to_owned(), InputProblem::ImportEmpty),
        ("just a text".to_owned(), InputProblem::ImportUnknown),
        ("{}".to_owned(), InputProblem::ImportUnknown),
        (
            "{\"items\": ".to_owned(),
            InputProblem::ImportMalformed {
                format: ImportFormat::Bitwarden,
            },
        ),
        (
            "{\"items\": 3}".to_owned(),
            InputProblem::ImportMalformed {
                format: ImportFormat::Bitwarden,
            },
        ),
        (
            format!("{uri}\n").repeat(MAX_ACCOUNTS + 1),
            InputProblem::ImportTooMany { limit: 500 },
        ),
    ] {
        assert_eq!(ImportFile::read(text.as_bytes(), None), Err(problem));
    }
    assert_eq!(
        ImportFile::read(b"\xff\xfe", None),
        Err(InputProblem::ImportEmpty)
    );
    assert_eq!(
        ImportFile::read(b"caf\xe9 and more", None).map_err(|problem| problem.code()),
        Err("text-undecodable")
    );
}

#[test]
fn no_message_repeats_a_secret() {
    for name in [
        "aegis-plain.json",
        "2fas.json",
        "bitwarden.json",
        "key-vault.json",
    ] {
        let file = ImportFile::read(&data(name), None).unwrap();
        let shown = format!("{file:?}");
        for secret in [&SECRET[..8], "2FASTEST", "jbsw", "JBSW", "hunter2"] {
            assert!(!shown.contains(secret), "{name}: {shown}");
        }
    }
}

fn entry() -> impl Strategy<Value = ImportEntry> {
    let content = prop_oneof![
        any::<String>().prop_map(|text| Ok(text.into())),
        Just(Err(InputProblem::HotpUnsupported)),
        Just(Err(InputProblem::SecretTooLong { limit: 3 })),
    ];
    let codes = prop::collection::vec("[\"\\\\a-z0-9äß-]{1,9}", 0..4);
    let beside = (codes, 0..3_u32).prop_map(|(codes, unread)| CodesBeside {
        codes: RecoveryCodes::new(codes.iter().map(String::as_str)).unwrap(),
        unread,
    });
    (any::<String>(), content, beside).prop_map(|(name, content, beside)| ImportEntry {
        name,
        content,
        beside,
    })
}

fn part() -> impl Strategy<Value = CodePart> {
    let said = (any::<u8>(), any::<u8>(), any::<u8>());
    let content = (any::<Vec<u8>>(), any::<String>());
    (said, content).prop_map(|((index, of, parity), (bytes, text))| CodePart {
        index,
        of,
        parity,
        bytes: bytes.into(),
        text: text.into(),
        region: None,
    })
}

proptest! {
    #[test]
    fn a_list_survives_its_envelopes_form(
        entries in prop::collection::vec(entry(), 0..20),
        parts in prop::collection::vec(part(), 0..5),
    ) {
        let list = ImportList { entries, parts };
        prop_assert_eq!(ImportList::from_plaintext(list.to_plaintext()), Some(list));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        // Longer ones could be databases of OTPClient, whose keys take time to derive.
        let password = (bytes.len() < 128).then_some("password");
        let _ = ImportFile::read(&bytes, password);
        let _ = ImportList::from_plaintext(bytes.into());
    }

    /// Files that are cut, spliced and damaged at any place are read or refused.
    #[test]
    fn damaged_files_never_panic(
        name in prop::sample::select(vec![
            "aegis-plain.json", "2fas.json", "bitwarden.json", "key-vault.json",
        ]),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = data(name);
        for (index, value) in hits {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        bytes.truncate(cut.index(bytes.len() * 2).max(1));
        if let Ok(file) = ImportFile::read(&bytes, None) {
            for entry in &file.list.entries {
                if let Ok(text) = &entry.content {
                    let _ = otpauth::parse(text);
                }
            }
        }
    }
}

#[test]
fn one_budget_is_for_all_files_of_a_request() {
    let encrypted = data("aegis-encrypted.json");
    let over = |exceeded| Err(InputProblem::ImportTooCostly { exceeded });
    let budget = Budget::new();
    while budget.spend(Cost::bytes(1 << 28)).is_ok() {}
    while budget.spend(Cost::bytes(1 << 24)).is_ok() {}
    let read = |bytes: &[u8]| ImportFile::read_within(bytes, Some("wrong"), &budget);
    // Less than 16 MiB are left; a try at the file goes twice over 4 MiB.
    let answers: Vec<_> = (0..3).map(|_| read(&encrypted)).collect();
    assert_eq!(answers.last(), Some(&over(Exceeded::Work)), "{answers:?}");
    // What costs nothing is still read, until nobody waits for it any more.
    let plain = b"otpauth://totp/a?secret=JBSWY3DPEHPK3PXP";
    assert!(read(plain).is_ok());
    drop(budget.canceller());
    assert_eq!(read(plain), over(Exceeded::Time));
}
