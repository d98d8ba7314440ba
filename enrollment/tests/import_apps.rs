//! What authenticator apps and password managers export, one file each; docs/IMPORT.md says
//! which version of which app each was written against, and by what.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod exports;

use countersign_enrollment::import::{Exceeded, ImportEntry, ImportFile};
use countersign_enrollment::otpauth;
use countersign_enrollment::problem::{ImportFormat, InputProblem};
use exports::{data, told};
use proptest::prelude::*;

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const LONG: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA";
const PASSWORD: &str = "correct horse";

#[track_caller]
fn check(name: &str, format: ImportFormat, expected: &[(&str, String)]) {
    let file = ImportFile::read(&data(name), Some(PASSWORD))
        .unwrap_or_else(|problem| panic!("{name}: {problem:?}"));
    assert_eq!(file.format, format, "{name}");
    let expected: Vec<(String, String)> = expected
        .iter()
        .map(|(name, content)| ((*name).to_owned(), content.clone()))
        .collect();
    assert_eq!(told(&file.list.entries), expected, "{name}");
    assert!(file.images.is_empty(), "{name}");
    let shown = format!("{file:?}");
    for secret in [&SECRET[..8], "hunter2", PASSWORD] {
        assert!(!shown.contains(secret), "{name}: {shown}");
    }
}

fn github(label: &str) -> String {
    format!("otpauth://totp/{label}?secret={SECRET}&issuer=GitHub")
}

fn bank() -> String {
    format!("otpauth://totp/Bank:me?secret={LONG}&issuer=Bank&algorithm=SHA256&digits=8&period=60")
}

fn steam() -> String {
    format!("otpauth://steam/Steam:gordon?secret={SECRET}&issuer=Steam")
}

#[test]
fn authenticator_apps() {
    use ImportFormat as F;
    let (alice, me, gordon) = ("GitHub: alice", "Bank: me", "Steam: gordon");
    let old = ("Token: old", "hotp-unsupported".to_owned());
    let three = [
        (alice, github("GitHub:alice")),
        (me, bank()),
        (gordon, steam()),
    ];
    let [first, second, third] = three.clone();
    check(
        "2fauth.json",
        F::TwoFAuth,
        &[first.clone(), second.clone(), third.clone(), old.clone()],
    );
    check(
        "2fauth-uris.json",
        F::TwoFAuth,
        &[("", first.1.clone()), ("", second.1.clone())],
    );
    // The app shows the name as the account's, and the issuer of the URI.
    let proton = [
        ("alice", first.1.clone()),
        ("My bank", bank().replace("Bank:me", "Bank:My%20bank")),
        ("gordon", steam()),
    ];
    check("proton-authenticator.json", F::ProtonAuthenticator, &proton);
    check(
        "proton-authenticator-encrypted.json",
        F::ProtonAuthenticator,
        &proton,
    );
    let unnamed = three.clone().map(|(_, uri)| ("", uri));
    check("ente.txt", F::UriList, &unnamed);
    check("ente-encrypted.json", F::Ente, &unnamed);
    let bytes = "32W353YBAIBQIBIG";
    let other = format!(
        "otpauth://totp/Bank:me?secret={bytes}&issuer=Bank&algorithm=SHA256&digits=8&period=60"
    );
    check(
        "freeotp-plus.json",
        F::FreeOtpPlus,
        &[first.clone(), (me, other), third.clone(), old.clone()],
    );
    let stratum = [
        first.clone(),
        second.clone(),
        third.clone(),
        ("Token", "hotp-unsupported".to_owned()),
        ("mOTP: m", "type-unsupported".to_owned()),
    ];
    check("stratum.json", F::Stratum, &stratum);
    check("stratum-encrypted.stratum", F::Stratum, &stratum);
    check("stratum-earlier.authpro", F::Stratum, &stratum);
    let bob = format!("otpauth://totp/Mail:bob?secret={SECRET}&issuer=Mail");
    let and_otp = [
        first.clone(),
        second.clone(),
        third.clone(),
        ("Mail: bob", bob),
    ];
    check("andotp.json", F::AndOtp, &and_otp);
    check("andotp-encrypted.json.aes", F::AndOtp, &and_otp);
    check("andotp-earlier.json.aes", F::AndOtp, &and_otp);
    let raivo = [first.clone(), second.clone(), old.clone()];
    check("raivo.json", F::Raivo, &raivo);
    check("raivo-encrypted.zip", F::Raivo, &raivo);
    check(
        "otpclient.json",
        F::OtpClient,
        &[first.clone(), second.clone(), third.clone(), old],
    );
    check(
        "lastpass-authenticator.json",
        F::LastPassAuthenticator,
        &[first, second],
    );
    check("steam.maFile", F::SteamMaFile, std::slice::from_ref(&third));
    check("steam-app.json", F::UriList, &[third]);
    let plain = ImportFile::read(&data("2fas.json"), None).unwrap();
    let encrypted = ImportFile::read(&data("2fas-encrypted.json"), Some(PASSWORD)).unwrap();
    assert_eq!(encrypted, plain);
}

#[test]
fn what_phones_keep() {
    use ImportFormat as F;
    let alice = ("GitHub: alice", github("GitHub:alice"));
    let of = |label: &str, more: &str| format!("otpauth://totp/{label}?secret={SECRET}{more}");
    let totp_authenticator = [
        alice.clone(),
        ("Mail: me", of("Mail:me", "&issuer=Mail")),
        ("plain", of("plain", "&digits=8&period=60")),
    ];
    for name in ["totp-authenticator.encrypt", "totp-authenticator.xml"] {
        check(name, F::TotpAuthenticator, &totp_authenticator);
    }
    let usual = "totp-authenticator-usual.encrypt";
    check(usual, F::TotpAuthenticator, &totp_authenticator);
    let without = ImportFile::read(&data(usual), None).unwrap();
    assert_eq!(without.list.entries.len(), totp_authenticator.len());
    check(
        "authy.xml",
        F::Authy,
        &[
            alice.clone(),
            ("Mail: bob", of("Mail:bob", "&issuer=Mail&digits=8")),
            ("Bank: me", "import-unsupported".to_owned()),
            (
                "Twilio",
                of("Twilio:Twilio", "&issuer=Twilio&digits=7&period=10"),
            ),
        ],
    );
    check(
        "duo.json",
        F::Duo,
        &[
            ("alice", of("alice", "")),
            ("counter", "hotp-unsupported".to_owned()),
            ("Acme", "type-unsupported".to_owned()),
        ],
    );
    let three = [
        alice,
        ("Bank: me", bank()),
        ("Steam: gordon", steam()),
        ("Token: old", "hotp-unsupported".to_owned()),
    ];
    for name in [
        "otpclient-database.enc",
        "otpclient-database-2.enc",
        "otpclient-database-1.enc",
    ] {
        check(name, F::OtpClient, &three);
    }
}

#[test]
fn password_managers() {
    use ImportFormat as F;
    let alice = ("GitHub: alice", github("GitHub:alice"));
    let me = ("Bank: me", bank());
    let gordon = ("Steam: gordon", steam());
    check(
        "proton-pass.json",
        F::ProtonPass,
        std::slice::from_ref(&alice),
    );
    check(
        "bitwarden.csv",
        F::Bitwarden,
        &[
            alice.clone(),
            (
                "Bank, the: me",
                bank()
                    .replace("Bank:", "Bank%2C%20the:")
                    .replace("=Bank", "=Bank%2C%20the"),
            ),
            gordon.clone(),
        ],
    );
    let plain = ImportFile::read(&data("bitwarden.json"), None).unwrap();
    for protected in [
        "bitwarden-protected.json",
        "bitwarden-protected-argon2.json",
    ] {
        let opened = ImportFile::read(&data(protected), Some(PASSWORD)).unwrap();
        assert_eq!(opened, plain, "{protected}");
    }
    for file in ["1password.csv", "1password.1pif"] {
        check(file, F::OnePassword, &[alice.clone(), me.clone()]);
    }
    check(
        "1password.1pux",
        F::OnePassword,
        &[alice.clone(), ("Bank", bank())],
    );
    check("roboform.csv", F::Table, &[alice.clone(), me.clone()]);
    let apple =
        github("github.com%20%28alice%29:alice").replace("=GitHub", "=github.com%20%28alice%29");
    check(
        "apple-passwords.csv",
        F::ApplePasswords,
        &[("github.com (alice): alice", apple), ("bank: me", bank())],
    );
    check("dashlane.csv", F::Dashlane, &[alice.clone(), me.clone()]);
    check(
        "dashlane-earlier.csv",
        F::Dashlane,
        std::slice::from_ref(&alice),
    );
    for (name, format) in [
        ("enpass.json", F::Enpass),
        ("enpass.csv", F::Enpass),
        ("safe-in-cloud.xml", F::SafeInCloud),
    ] {
        let mut expected = vec![alice.clone(), me.clone()];
        if format == F::SafeInCloud {
            expected.push(("Old", "entry-in-bin".to_owned()));
        }
        check(name, format, &expected);
    }
    for name in ["enpass.csv", "safe-in-cloud.xml"] {
        let file = ImportFile::read(&data(name), None).unwrap();
        let codes = |entry: &ImportEntry| entry.beside.codes.len();
        let codes: Vec<usize> = file.list.entries.iter().map(codes).collect();
        assert_eq!(codes[..2], [2, 0], "{name}");
    }
    check(
        "table.csv",
        F::Table,
        &[
            alice.clone(),
            me.clone(),
            ("Odd: x", "digits-unsupported".to_owned()),
        ],
    );
    let of = |label: &str, issuer: &str, more: &str| {
        format!("otpauth://totp/{label}?secret={SECRET}&issuer={issuer}{more}")
    };
    check(
        "keepass.xml",
        F::KeePass,
        &[
            (
                "GitHub & co: alice",
                of("GitHub%20%26%20co:alice", "GitHub%20%26%20co", ""),
            ),
            (
                "Bank: me",
                of("Bank:me", "Bank", "&algorithm=SHA256&digits=8&period=60"),
            ),
            ("Text: t", of("Text:t", "Text", "")),
            ("Base64: b", of("Base64:b", "Base64", "")),
            ("KeeOtp: k", of("KeeOtp:k", "KeeOtp", "&digits=8&period=60")),
            ("Tray: t", of("Tray:t", "Tray", "&digits=8&period=60")),
            gordon.clone(),
            (
                "XC: x",
                format!("otpauth://steam/XC:x?secret={SECRET}&issuer=XC"),
            ),
            ("Counter: c", "hotp-unsupported".to_owned()),
        ],
    );
    // Written by KeePassXC.
    let xc = [
        (
            "GitHub & co: alice",
            of(
                "GitHub%20%26%20co:alice",
                "GitHub%20%26%20co",
                "&algorithm=SHA256&digits=8&period=60",
            ),
        ),
        gordon,
    ];
    check("keepassxc.xml", F::KeePass, &xc);
    check("keepassxc.csv", F::KeePass, &xc);
}

#[test]
fn pages_and_key_vaults() {
    use ImportFormat as F;
    check(
        "page.html",
        F::Page,
        &[("", github("GitHub:alice")), ("", bank())],
    );
    let page = ImportFile::read(&data("page-pictures.html"), None).unwrap();
    assert_eq!((page.list.entries.len(), page.images.len()), (0, 1));
    assert!(page.images[0].bytes.starts_with(b"\x89PNG"));
    check(
        "key-vault-row.json",
        F::KeyVault,
        &[("GitHub: alice", github("GitHub:alice")), ("bank", bank())],
    );
    assert_eq!(
        ImportFile::read(&data("key-vault-list.json"), None),
        Err(InputProblem::ImportValuesMissing)
    );
}

const ENCRYPTED: [(&str, ImportFormat); 13] = [
    ("aegis-encrypted.json", ImportFormat::Aegis),
    ("2fas-encrypted.json", ImportFormat::TwoFas),
    ("bitwarden-protected.json", ImportFormat::Bitwarden),
    ("bitwarden-protected-argon2.json", ImportFormat::Bitwarden),
    (
        "proton-authenticator-encrypted.json",
        ImportFormat::ProtonAuthenticator,
    ),
    ("ente-encrypted.json", ImportFormat::Ente),
    ("stratum-encrypted.stratum", ImportFormat::Stratum),
    ("stratum-earlier.authpro", ImportFormat::Stratum),
    ("andotp-encrypted.json.aes", ImportFormat::AndOtp),
    ("raivo-encrypted.zip", ImportFormat::Raivo),
    ("otpclient-database.enc", ImportFormat::OtpClient),
    ("otpclient-database-2.enc", ImportFormat::OtpClient),
    (
        "totp-authenticator.encrypt",
        ImportFormat::TotpAuthenticator,
    ),
];

#[test]
fn an_encrypted_file_is_named_before_its_password_is_asked_for() {
    for (name, format) in ENCRYPTED {
        // These keep something that the password alone opens.
        let certain = matches!(
            format,
            ImportFormat::Aegis | ImportFormat::TwoFas | ImportFormat::Bitwarden
        );
        let format = Some(format);
        for nothing in [None, Some("")] {
            assert_eq!(
                ImportFile::read(&data(name), nothing),
                Err(InputProblem::ImportPasswordMissing { format }),
                "{name}"
            );
        }
        assert_eq!(
            ImportFile::read(&data(name), Some("wrong horse")),
            Err(InputProblem::ImportPasswordWrong { format, certain }),
            "{name}"
        );
    }
    // Earlier files of these are told by nothing but a password that fits.
    for name in ["andotp-earlier.json.aes", "otpclient-database-1.enc"] {
        let problem = ImportFile::read(&data(name), Some("wrong horse"));
        assert!(
            matches!(problem, Err(InputProblem::TextUndecodable { .. })),
            "{name}"
        );
    }
}

#[test]
fn damage_is_distinguished_from_a_wrong_password_where_the_format_allows_it() {
    let malformed = |format| Err(InputProblem::ImportMalformed { format });
    let text = |name: &str| String::from_utf8(data(name)).unwrap();
    // Both have a value beside the data that only the right password opens.
    let backup = text("2fas-encrypted.json");
    let at = backup.find("servicesEncrypted\": \"").unwrap() + 30;
    let mut damaged = backup.into_bytes();
    damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
    assert_eq!(
        ImportFile::read(&damaged, Some(PASSWORD)),
        malformed(ImportFormat::TwoFas)
    );
    let export = text("bitwarden-protected.json");
    let at = export.find("\"data\": \"").unwrap() + 60;
    let mut damaged = export.into_bytes();
    damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
    assert_eq!(
        ImportFile::read(&damaged, Some(PASSWORD)),
        malformed(ImportFormat::Bitwarden)
    );
    // An archive's password has a check of its own.
    let mut damaged = data("raivo-encrypted.zip");
    let at = damaged.len() / 2 - 40;
    damaged[at] ^= 0x55;
    assert_eq!(
        ImportFile::read(&damaged, Some(PASSWORD)),
        malformed(ImportFormat::Raivo)
    );
    for (name, _) in ENCRYPTED {
        let mut cut = data(name);
        cut.truncate(cut.len() * 2 / 3);
        let problem = ImportFile::read(&cut, Some(PASSWORD)).unwrap_err();
        assert!(problem.detail().ends_with('.'), "{name}: {problem:?}");
    }
}

#[test]
fn derivations_that_cost_too_much_are_refused_before_they_begin() {
    let ente = String::from_utf8(data("ente-encrypted.json")).unwrap();
    let bitwarden = String::from_utf8(data("bitwarden-protected.json")).unwrap();
    let argon2 = String::from_utf8(data("bitwarden-protected-argon2.json")).unwrap();
    let mut and_otp = data("andotp-encrypted.json.aes");
    and_otp[..4].copy_from_slice(&999_999_u32.to_be_bytes());
    for (bytes, exceeded) in [
        (
            ente.replace("8388608", "1099511627776").into_bytes(),
            Exceeded::Memory,
        ),
        (
            ente.replace("\"opsLimit\": 3", "\"opsLimit\": 4000000000")
                .into_bytes(),
            Exceeded::Work,
        ),
        (
            bitwarden.replace("5000", "4000000000").into_bytes(),
            Exceeded::Work,
        ),
        (
            argon2
                .replace("\"kdfMemory\": 16", "\"kdfMemory\": 400000")
                .into_bytes(),
            Exceeded::Memory,
        ),
    ] {
        assert_eq!(
            ImportFile::read(&bytes, Some(PASSWORD)),
            Err(InputProblem::ImportTooCostly { exceeded })
        );
    }
    assert!(ImportFile::read(&and_otp, Some(PASSWORD)).is_err());
}

#[test]
fn files_are_named_for_what_they_are() {
    for (bytes, told) in [
        (&b"\x03\xd9\xa2\x9a\x67\xfb\x4b\xb5"[..], "KeePass database"),
        (b"7z\xbc\xaf\x27\x1c\0\x04", "7z"),
        (b"Rar!\x1a\x07\x01\0", "RAR"),
        (b"SQLite format 3\0", "SQLite"),
        (b"-----BEGIN PGP MESSAGE-----\n\nx", "PGP"),
        (b"Salted__12345678", "OpenSSL"),
        (b"OTPClient\x02\0\0\0", "OTPClient"),
        (
            br#"{"encrypted":true,"entries":[{"encryption_iv":"x","encryption_salt":"y","filename":"1.maFile","steamid":1}],"periodic_checking":false}"#,
            "Steam Desktop Authenticator",
        ),
        (br#"{"encrypted":true,"encKeyValidation_DO_NOT_EDIT":"2.x","items":[]}"#, "Bitwarden"),
        (b"Title,Username\nx,y\xe9\n", "Windows-1252"),
    ] {
        let problem = ImportFile::read(bytes, None).unwrap_err();
        assert!(problem.detail().contains(told), "{}", problem.detail());
    }
}

#[test]
fn one_rule_for_characters_holds_in_files() {
    let uri = github("GitHub:alice");
    let utf16 = |text: &str| -> Vec<u8> {
        let units = text.encode_utf16();
        [0xff, 0xfe]
            .into_iter()
            .chain(units.flat_map(u16::to_le_bytes))
            .collect()
    };
    let json = String::from_utf8(data("andotp.json")).unwrap();
    let csv = String::from_utf8(data("1password.csv")).unwrap();
    let xml = String::from_utf8(data("keepassxc.xml")).unwrap();
    for (bytes, count) in [
        (utf16(&uri), 1),
        (utf16(&format!("{uri}\r\n{uri}&digits=8\r\n")), 2),
        (utf16(&json), 4),
        (utf16(&csv), 2),
        (utf16(&xml), 2),
        (format!("\u{feff}{json}").into_bytes(), 4),
        (format!("\u{feff}{csv}").into_bytes(), 2),
        (
            format!("\u{feff}{uri}\n\u{200b}{uri}&digits=8").into_bytes(),
            2,
        ),
        (csv.replace('\n', "\r\n").into_bytes(), 2),
        (csv.replace(',', "\t").into_bytes(), 2),
    ] {
        let file = ImportFile::read(&bytes, None).unwrap();
        let good = told(&file.list.entries);
        assert_eq!(good.len(), count, "{good:?}");
        assert!(
            good.iter().all(|(_, uri)| uri.starts_with("otpauth://")),
            "{good:?}"
        );
    }
}

#[test]
fn a_list_with_broken_lines_is_put_together_and_never_ends_in_a_usual_value() {
    let whole = bank();
    let expected = whole.clone();
    for cut in (30..whole.len()).filter(|at| whole.is_char_boundary(*at)) {
        for line_end in ["\n", "\r\n", "\n  "] {
            let broken = format!("{}{line_end}{}\n{}\n", &whole[..cut], &whole[cut..], whole);
            let file = ImportFile::read(broken.as_bytes(), None).unwrap();
            for (_, content) in told(&file.list.entries) {
                assert!(
                    content == expected || !content.starts_with("otpauth://"),
                    "{broken:?}: {content}"
                );
            }
        }
    }
}

#[test]
fn a_damaged_member_takes_no_other_with_it() {
    for (name, from, to) in [
        ("aegis-plain.json", "\"info\": {", "\"info\": 3, \"x\": {"),
        ("2fas.json", "\"otp\": {", "\"otp\": 3, \"x\": {"),
        ("2fauth.json", "\"account\": \"alice\"", "\"account\": 3"),
        ("stratum.json", "\"Issuer\": \"GitHub\"", "\"Issuer\": []"),
        ("andotp.json", "\"label\": \"alice\"", "\"label\": {}"),
        ("raivo.json", "\"issuer\": \"GitHub\"", "\"issuer\": 1"),
        ("freeotp-plus.json", "\"label\": \"alice\"", "\"label\": 1"),
        ("enpass.json", "\"title\": \"GitHub\"", "\"title\": 1"),
        ("bitwarden.json", "\"name\": \"GitHub\"", "\"name\": 1"),
    ] {
        let text = String::from_utf8(data(name)).unwrap();
        let damaged = text.replacen(from, to, 1);
        assert_ne!(damaged, text, "{name}");
        let before = ImportFile::read(text.as_bytes(), None).unwrap();
        let after = ImportFile::read(damaged.as_bytes(), None).unwrap();
        let (before, after) = (told(&before.list.entries), told(&after.list.entries));
        assert_eq!(before.len(), after.len(), "{name}");
        assert_eq!(after[0].1, "entry-malformed", "{name}");
        assert_ne!(after[0].0, "", "{name}");
        assert_eq!(before[1..], after[1..], "{name}");
    }
}

#[test]
fn names_are_those_that_the_person_sees() {
    let name = |json: String| {
        let file = ImportFile::read(json.as_bytes(), None).unwrap();
        told(&file.list.entries)
            .into_iter()
            .map(|(_, uri)| otpauth::parse(&uri).unwrap().account)
            .map(|account| {
                let issuer = account.issuer().unwrap_or_default().to_owned();
                format!("{issuer}: {}", account.account_name())
            })
            .collect::<Vec<_>>()
    };
    let item = |title: &str, user: &str, totp: &str| {
        format!(
            r#"{{"items": [{{"name": "{title}", "login": {{"username": "{user}", "totp": "{totp}"}}}}]}}"#
        )
    };
    for (title, user, totp, shown) in [
        (
            "GitHub",
            "alice",
            "otpauth://totp/?secret=MFRGGZDF",
            "GitHub: alice",
        ),
        (
            "GitHub",
            "alice",
            "otpauth://totp?secret=MFRGGZDF",
            "GitHub: alice",
        ),
        (
            "GitHub",
            "",
            "otpauth://totp/?secret=MFRGGZDF",
            "GitHub: GitHub",
        ),
        (
            "GitHub",
            "alice",
            "otpauth://totp/octo?secret=MFRGGZDF",
            "GitHub: alice",
        ),
        (
            "GitHub",
            "",
            "otpauth://totp/octo?secret=MFRGGZDF",
            "GitHub: octo",
        ),
        (
            "",
            "alice",
            "otpauth://totp/GitHub:octo?secret=MFRGGZDF",
            "GitHub: alice",
        ),
        (
            "",
            "",
            "otpauth://totp/GitHub:octo?secret=MFRGGZDF",
            "GitHub: octo",
        ),
        (
            "Work",
            "alice",
            "otpauth://totp/GitHub:octo?secret=MFRGGZDF&issuer=GitHub",
            "Work: alice",
        ),
        ("GitHub", "alice", "MFRG GZDF", "GitHub: alice"),
        ("GitHub: work", "alice", "MFRGGZDF", "GitHub: work: alice"),
    ] {
        assert_eq!(
            name(item(title, user, totp)),
            [shown],
            "{title} {user} {totp}"
        );
    }
    let service = |name: &str, issuer: &str| {
        format!(
            r#"{{"name": "{name}", "secret": "MFRGGZDF", "otp": {{"issuer": "{issuer}", "account": "akadmin"}}}}"#
        )
    };
    let two = format!(
        r#"{{"services": [{}, {}]}}"#,
        service("authentik production", "authentik"),
        service("authentik staging", "authentik")
    );
    assert_eq!(
        name(two),
        [
            "authentik production: akadmin",
            "authentik staging: akadmin"
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Files that are cut and damaged at any place are read or refused.
    #[test]
    fn damaged_files_never_panic(
        name in prop::sample::select(vec![
            "2fauth.json", "proton-authenticator.json", "proton-pass.json", "ente.txt",
            "freeotp-plus.json", "stratum.json", "andotp.json", "raivo.json", "otpclient.json",
            "lastpass-authenticator.json", "steam.maFile", "bitwarden.csv", "1password.csv",
            "1password.1pux", "1password.1pif", "roboform.csv", "apple-passwords.csv", "dashlane.csv", "enpass.json", "table.csv",
            "keepass.xml", "keepassxc.xml", "keepassxc.csv", "page.html", "page-pictures.html",
            "key-vault-row.json", "key-vault-list.json", "raivo-encrypted.zip",
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
            told(&file.list.entries);
        }
    }
}
