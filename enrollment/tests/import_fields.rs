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

#[test]
fn a_uri_that_was_wrapped_in_a_note_is_one() {
    let half = &SECRET[..20];
    let rest = &SECRET[20..];
    let wrapped = format!("otpauth://totp/Acme:bob?secret={half}\\n{rest}&issuer=Acme&digits=8");
    check(
        &format!(r#"{{"items": [{{"type": 2, "name": "N", "notes": "{wrapped}\nbye"}}]}}"#),
        &[("N", "otpauth://totp/N:bob?secret={S}&issuer=N&digits=8")],
    );
    check(
        &format!(
            r#"{{"items": [{{"type": 1, "name": "N", "login": {{"username": "u"}},
                "fields": [{{"name": "code", "value": "{wrapped}"}}]}}]}}"#
        ),
        &[("N: u", "otpauth://totp/N:u?secret={S}&issuer=N&digits=8")],
    );
    check(
        &format!(
            r#"{{"accounts": [{{"vaults": [{{"items": [{{"overview": {{"title": "N"}},
                "details": {{"loginFields": [], "sections": [], "notesPlain": "{wrapped}"}}}}]}}]}}]}}"#
        ),
        &[(
            "N",
            "otpauth://totp/Acme:bob?secret={S}&issuer=Acme&digits=8",
        )],
    );
    // A word behind a whole secret is not its rest.
    let doubtful = format!("otpauth://totp/Acme:bob?secret={SECRET}\\nHOME&issuer=Acme");
    check(
        &format!(r#"{{"items": [{{"type": 2, "name": "N", "notes": "{doubtful}"}}]}}"#),
        &[("N", "secret-unclear")],
    );
}

#[test]
fn notes_and_added_fields_of_tables_without_names() {
    let alice = "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub";
    let bank = "otpauth://totp/Bank:alice?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Bank";
    check(
        &format!(
            "F,GitHub,alice,hunter2,https://a,\"see\n{bank}\",,TFC:Keeper,{alice}\n\
             F,Acme,bob,hunter2,,\"TOTP: {{S}}\ndigits: 8\",,PIN,1234\n\
             F,Shop,eve,hunter2,,,,MFA secret,{{S}}\n"
        ),
        &[
            ("GitHub: alice", alice),
            ("GitHub: alice", bank),
            (
                "Acme: bob",
                "otpauth://totp/Acme:bob?secret={S}&issuer=Acme&digits=8",
            ),
            (
                "Shop: eve",
                "otpauth://totp/Shop:eve?secret={S}&issuer=Shop",
            ),
        ],
    );
    check(
        &format!(
            "GitHub,Username,alice,*Password,hunter2,TOTP,{{S}},\"see {bank}\"\n\
             Shop,Username,eve,*MFA secret,{{S}},*PIN,1234\n"
        ),
        &[
            ("GitHub: alice", alice),
            ("GitHub: alice", bank),
            (
                "Shop: eve",
                "otpauth://totp/Shop:eve?secret={S}&issuer=Shop",
            ),
        ],
    );
}

#[test]
fn the_recycle_bin_of_keepassxcs_table() {
    let uri = "otpauth://totp/GitHub:alice?secret={S}&period=30&digits=6&issuer=GitHub";
    let row = |group: &str, title: &str| {
        format!(
            r#""{group}","{title}","alice","hunter2","","","{uri}","0","2024-01-01T00:00:00Z","2024-01-01T00:00:00Z""#
        )
    };
    let table = [
        r#""Group","Title","Username","Password","URL","Notes","TOTP","Icon","Last Modified","Created""#
            .to_owned(),
        row("Root/Work", "GitHub"),
        row("Root/Recycle Bin", "Old"),
        row("Passw\u{f6}rter/Papierkorb/Work", "Older"),
        row("Root/Work/Recycle Bin", "GitHub"),
        r#""Root/Recycle Bin","No code","alice","hunter2","","","","0","",""#.to_owned(),
    ];
    check(
        &table.join("\n"),
        &[
            (
                "GitHub: alice",
                "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub",
            ),
            ("Old: alice", "entry-in-bin"),
            ("Older: alice", "entry-in-bin"),
            (
                "GitHub: alice",
                "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub",
            ),
        ],
    );
}

#[test]
fn a_bare_secret_in_a_note_is_named() {
    check(
        r#"{"items": [{"type": 1, "name": "GitHub", "login": {"username": "alice", "totp": null},
            "notes": "Password hint: the usual\nTOTP secret: {S}"}]}"#,
        &[("GitHub: alice", "not-otpauth")],
    );
    check(
        r#"{"items": [{"type": 1, "name": "GitHub", "login": {"username": "alice", "totp": "{S}"},
            "notes": "TOTP secret: {S}"}]}"#,
        &[(
            "GitHub: alice",
            "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub",
        )],
    );
}

#[test]
fn a_member_that_says_nothing_hides_no_other() {
    let eight =
        "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub&algorithm=SHA256&digits=8&period=60";
    for nothing in ["null", "\"\"", "\" \""] {
        check(
            &format!(
                r#"[{{"issuer": "GitHub", "account": "alice", "secret": "{{S}}", "algorithm": {nothing},
                    "algo": {nothing}, "hashAlgorithm": "SHA256", "digits": {nothing}, "length": 8,
                    "period": {nothing}, "interval": 60}}]"#
            ),
            &[("GitHub: alice", eight)],
        );
    }
}
