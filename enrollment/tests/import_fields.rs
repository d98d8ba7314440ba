//! What exports hold in places where it is easily passed over: fields and notes that people
//! have added, and what an earlier release of an app kept elsewhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use countersign_enrollment::import::ImportFile;
use countersign_enrollment::otpauth;

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

#[track_caller]
fn check(document: &str, expected: &[(&str, &str)]) {
    let document = document.replace("{S}", SECRET);
    let file = ImportFile::read(document.as_bytes(), None)
        .unwrap_or_else(|problem| panic!("{document}: {problem:?}"));
    let read: Vec<(String, String)> = file
        .list
        .entries
        .iter()
        .map(|entry| {
            let read = entry.content.clone().and_then(|text| otpauth::parse(&text));
            let content = match read {
                Ok(parsed) => parsed.account.to_uri().replace(SECRET, "{S}"),
                Err(problem) => problem.code().to_owned(),
            };
            (entry.name.clone(), content)
        })
        .collect();
    let expected: Vec<(String, String)> = expected
        .iter()
        .map(|(name, content)| ((*name).to_owned(), (*content).to_owned()))
        .collect();
    assert_eq!(read, expected, "{document}");
}

#[test]
fn bitwarden_items_with_codes_in_fields_and_notes() {
    check(
        r#"{"encrypted": false, "items": [
            {"type": 1, "name": "GitHub", "login": {"username": "alice", "totp": "{S}"},
             "fields": [{"name": "old", "type": 1, "value": "otpauth://totp/x?secret={S}&digits=8"},
                        {"name": "pin", "type": 0, "value": "1234"}, {"name": "empty", "value": null}]},
            {"type": 2, "name": "A note", "fields": null,
             "notes": "see steam://run/440\nTOTP: otpauth://totp/Bank:me?secret={S}&period=60\nbye"},
            {"type": 1, "name": "Twice", "login": {"username": "bob", "totp": "otpauth://totp/a?secret={S}"},
             "notes": "otpauth://totp/a?secret={S}"},
            {"type": 1, "name": "No code", "login": {"username": "carol", "totp": null}, "notes": null}
        ]}"#,
        &[
            (
                "GitHub: alice",
                "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub",
            ),
            (
                "GitHub: alice",
                "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub&digits=8",
            ),
            (
                "A note",
                "otpauth://totp/A%20note:me?secret={S}&issuer=A%20note&period=60",
            ),
            (
                "Twice: bob",
                "otpauth://totp/Twice:bob?secret={S}&issuer=Twice",
            ),
        ],
    );
}

#[test]
fn proton_pass_items_with_codes_in_added_fields() {
    check(
        r#"{"version": "1.21.2", "encrypted": false, "vaults": {"v": {"name": "Personal", "items": [
            {"itemId": "1", "data": {"metadata": {"name": "GitHub", "note": ""}, "type": "login",
             "extraFields": [
                {"fieldName": "second", "type": "totp", "data": {"totpUri": "otpauth://totp/x?secret={S}&digits=8"}},
                {"fieldName": "hint", "type": "text", "data": {"content": "no"}}],
             "content": {"itemUsername": "alice", "totpUri": "otpauth://totp/x?secret={S}"}}},
            {"itemId": "2", "data": {"metadata": {"name": "Bank"}, "type": "custom", "extraFields": [
                {"fieldName": "code", "type": "totp", "data": {"totpUri": "{S}"}}], "content": {}}}
        ]}}}"#,
        &[
            (
                "GitHub: alice",
                "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub",
            ),
            (
                "GitHub: alice",
                "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub&digits=8",
            ),
            ("Bank", "otpauth://totp/Bank:Bank?secret={S}&issuer=Bank"),
        ],
    );
}

#[test]
fn two_fas_services_that_say_it_in_a_link_only() {
    check(
        r#"{"services": [
            {"name": "Bank", "secret": "{S}", "otp": {"account": "me",
             "link": "otpauth://totp/Bank:me?secret={S}&digits=8&period=60&algorithm=SHA256"}},
            {"name": "Fields", "secret": "{S}", "otp": {"account": "me", "digits": 7, "period": 10,
             "algorithm": "SHA512", "link": "otpauth://totp/Bank:me?secret={S}&digits=8"}},
            {"name": "Partly", "secret": "{S}", "otp": {"account": "me", "digits": 6,
             "link": "otpauth://totp/Bank:me?secret={S}&digits=8&period=60"}},
            {"name": "Damaged", "secret": "{S}", "otp": {"account": "me",
             "link": "otpauth://totp/Bank:me?secret={S}&digts=8"}},
            {"name": "None", "secret": "{S}", "otp": {"account": "me", "link": null}}
        ], "schemaVersion": 1}"#,
        &[
            (
                "Bank: me",
                "otpauth://totp/Bank:me?secret={S}&issuer=Bank&algorithm=SHA256&digits=8&period=60",
            ),
            (
                "Fields: me",
                "otpauth://totp/Fields:me?secret={S}&issuer=Fields&algorithm=SHA512&digits=7&period=10",
            ),
            (
                "Partly: me",
                "otpauth://totp/Partly:me?secret={S}&issuer=Partly&period=60",
            ),
            ("Damaged: me", "param-damaged"),
            ("None: me", "otpauth://totp/None:me?secret={S}&issuer=None"),
        ],
    );
}

#[test]
fn key_vault_secrets_without_tags_are_called_as_the_secret_is() {
    check(
        r#"[{"id": "https://v.vault.azure.net/secrets/github-bot/1", "name": "github-bot",
             "value": "{S}", "tags": {"type": "totp-secret"}},
            {"id": "https://v.vault.azure.net/secrets/from-id/1", "value": "{S}",
             "tags": {"type": "totp-secret", "issuer": "undefined"}}]"#,
        &[
            ("github-bot", "otpauth://totp/github-bot?secret={S}"),
            ("from-id", "otpauth://totp/from-id?secret={S}"),
        ],
    );
}
