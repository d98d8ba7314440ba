//! Recovery codes that exports have beside accounts: each is read where a field or a heading says
//! so, and what looks like codes and is not read is counted. None of them is shown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use countersign_enrollment::import::{ImportFile, ImportList, expand};
use countersign_enrollment::otpauth::Warning;
use countersign_enrollment::recovery::{MAX_CODE_BYTES, MAX_CODES};
use countersign_enrollment::sealed::Sealable as _;
use serde_json::json;

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// Of each account: its name, its problem if it has one, its recovery codes, and how many texts
/// were not read.
type Told = Vec<(String, &'static str, Vec<String>, u32)>;

fn told(document: &str) -> Told {
    let document = document.replace("{S}", SECRET);
    let file = ImportFile::read(document.as_bytes(), None)
        .unwrap_or_else(|problem| panic!("{document}: {problem:?}"));
    let shown = format!("{file:?}");
    let mut told = Told::new();
    for entry in &file.list.entries {
        let codes: Vec<String> = entry.beside.codes.expose().map(str::to_owned).collect();
        for code in &codes {
            assert!(!shown.contains(code.as_str()), "{shown}");
        }
        let (found, _) = expand([entry]);
        assert_eq!(found[0].beside, entry.beside);
        let (name, problem) = match &found[0].parsed {
            Ok(parsed) => {
                let issuer = parsed.account.issuer().unwrap_or_default();
                (format!("{issuer}/{}", parsed.account.account_name()), "")
            }
            Err(problem) => (entry.name.clone(), problem.code()),
        };
        told.push((name, problem, codes, entry.beside.unread));
    }
    // They go through the envelope as they are.
    let again = ImportList::from_plaintext(file.list.to_plaintext()).unwrap();
    assert_eq!(again, file.list);
    told
}

#[track_caller]
fn check(document: &str, expected: &[(&str, &str, &[&str], u32)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, problem, codes, unread)| {
            let codes: Vec<String> = codes.iter().map(|code| (*code).to_owned()).collect();
            ((*name).to_owned(), *problem, codes, *unread)
        })
        .collect();
    let told = told(document);
    assert_eq!(told, expected, "{document}");
}

/// What a field of Bitwarden with this name and value is read as.
fn field(name: &str, value: &str) -> (Vec<String>, u32) {
    let document = json!({"encrypted": false, "items": [{
        "type": 1, "name": "GitHub", "login": {"username": "alice", "totp": SECRET},
        "fields": [{"name": name, "type": 1, "value": value}],
    }]});
    let mut told = told(&document.to_string());
    assert_eq!(told.len(), 1);
    let (_, _, codes, unread) = told.remove(0);
    (codes, unread)
}

#[test]
fn every_kind_of_export_brings_them_along() {
    let alice = "GitHub/alice";
    check(
        r#"{"shared_secret": "MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=", "account_name": "gordon", "revocation_code": "R12345"}"#,
        &[("Steam/gordon", "", &["R12345"], 0)],
    );
    check(
        r#"{"encrypted": false, "items": [
            {"type": 1, "name": "GitHub", "login": {"username": "alice", "totp": "{S}"},
             "fields": [{"name": "Recovery codes", "type": 1, "value": "abcde-12345, fghij-67890"},
                        {"name": "PIN", "type": 1, "value": "4711"},
                        {"name": "Backup code 3", "type": 0, "value": "klmno-13579"}]},
            {"type": 1, "name": "Mail", "login": {"username": "bob", "totp": "{S}"},
             "notes": "My mail.\n\n## Wiederherstellungscodes\n\n- 1111 2222\n- 3333 4444\n\nPhone: 555 123"},
            {"type": 2, "name": "Bank", "notes": "Backup codes:\n998877\n665544"},
            {"type": 2, "name": "Shop: recovery codes", "notes": "in the safe"},
            {"type": 1, "name": "No code", "login": {"totp": null}, "notes": "Backup codes are in the safe."}
        ]}"#,
        &[
            (alice, "", &["abcde-12345", "fghij-67890", "klmno-13579"], 0),
            ("Mail/bob", "", &["1111 2222", "3333 4444"], 0),
            ("Bank", "recovery-codes-alone", &["998877", "665544"], 0),
            ("Shop: recovery codes", "recovery-codes-alone", &[], 0),
        ],
    );
    check(
        r#"{"accounts": [{"vaults": [{"items": [{"overview": {"title": "GitHub"}, "details": {
            "loginFields": [{"value": "alice", "designation": "username"}],
            "notesPlain": "Notfallcodes: aaaa-1111; bbbb-2222",
            "sections": [{"fields": [
                {"title": "one-time password", "value": {"totp": "{S}"}},
                {"title": "recovery code", "value": {"concealed": "cccc-3333"}},
                {"title": "backup codes", "value": {"string": "dddd-4444"}},
                {"title": "backup codes", "value": {"file": {"fileName": "codes.txt"}}}]}]}}]}]}]}"#,
        &[(
            alice,
            "",
            &["aaaa-1111", "bbbb-2222", "cccc-3333", "dddd-4444"],
            0,
        )],
    );
    check(
        "{\"title\":\"GitHub\",\"secureContents\":{\"notesPlain\":\"\",\"fields\":[{\"value\":\"alice\",\"designation\":\"username\"}],\"sections\":[{\"fields\":[{\"n\":\"TOTP_1\",\"t\":\"code\",\"v\":\"{S}\"},{\"n\":\"x\",\"t\":\"Recovery codes\",\"v\":\"eeee-5555\"}]}]}}\n***5642bee8-a5ff-11dc-8314-0800200c9a66***\n",
        &[(alice, "", &["eeee-5555"], 0)],
    );
    check(
        "<KeePassFile><Root><Group><Entry><String><Key>Title</Key><Value>GitHub</Value></String>\
         <String><Key>UserName</Key><Value>alice</Value></String><String><Key>otp</Key><Value>{S}</Value></String>\
         <String><Key>Backup Codes</Key><Value>11112222&#10;33334444</Value></String>\
         <String><Key>Notes</Key><Value>Recovery code: zz-99</Value></String></Entry>\
         <Entry><String><Key>Title</Key><Value>Alone</Value></String>\
         <String><Key>2FA recovery codes</Key><Value>a1-b2</Value></String></Entry></Group></Root></KeePassFile>",
        &[
            (alice, "", &["11112222", "33334444", "zz-99"], 0),
            ("Alone", "recovery-codes-alone", &["a1-b2"], 0),
        ],
    );
    check(
        r#"{"vaults": {"v": {"items": [{"data": {"metadata": {"name": "GitHub", "note": "Backup codes\nq1w2-e3r4"},
            "extraFields": [{"fieldName": "Ersatzcodes", "type": "hidden", "data": {"content": "t5z6-u7i8"}}],
            "content": {"itemUsername": "alice", "totpUri": "{S}"}}}]}}}"#,
        &[(alice, "", &["q1w2-e3r4", "t5z6-u7i8"], 0)],
    );
    check(
        r#"{"items": [{"title": "GitHub", "subtitle": "alice", "template_type": "login", "note": "",
            "fields": [{"type": "totp", "label": "TOTP", "value": "{S}"},
                       {"type": "text", "label": "Backup codes", "value": "r4 s5"},
                       {"type": "text", "label": "Backup codes", "value": "gone-1", "deleted": 1}]}]}"#,
        &[(alice, "", &["r4 s5"], 0)],
    );
    check(
        r#"{"AUTHENTIFIANT": [{"title": "GitHub", "login": "alice", "otpSecret": "{S}", "note": "Recovery codes: 12-34"}]}"#,
        &[(alice, "", &["12-34"], 0)],
    );
    check(
        r#"{"version": 1, "header": {"slots": null, "params": null}, "db": {"version": 2, "entries": [
            {"type": "totp", "name": "alice", "issuer": "GitHub", "note": "backup codes: 555666",
             "info": {"secret": "{S}", "algo": "SHA1", "digits": 6, "period": 30}}]}}"#,
        &[(alice, "", &["555666"], 0)],
    );
    check(
        r#"{"version": 1, "entries": [{"id": "a", "note": "Recovery codes:\n77-88\n99-00",
            "content": {"uri": "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub", "entry_type": "Totp", "name": "alice"}}]}"#,
        &[(alice, "", &["77-88", "99-00"], 0)],
    );
    for table in [
        "name,username,totp,Backup codes,notes\nGitHub,alice,{S},\"a-1\nb-2\",\"Recovery codes:\nc-3\"\nBank,me,,d-4,\n",
        "folder,name,login_username,login_totp,notes,fields\n,GitHub,alice,{S},\"Recovery codes:\nc-3\",\"Recovery codes: a-1, b-2\"\n,Bank,me,,,Recovery code: d-4\n",
    ] {
        let mut told = told(table);
        told[0].2.sort();
        let codes = ["a-1", "b-2", "c-3"].map(str::to_owned).to_vec();
        assert_eq!(told[0], (alice.to_owned(), "", codes, 0), "{table}");
        let codes = vec!["d-4".to_owned()];
        assert_eq!(
            told[1],
            ("Bank: me".to_owned(), "recovery-codes-alone", codes, 0)
        );
    }
}

#[test]
fn lists_have_them_under_a_heading_after_the_account() {
    check(
        "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub\n2fa-recovery-codes:\n\nabcde-12345\nfghij-67890\n\n\
         user: alice\notpauth://totp/Mail:bob?secret={S}&issuer=Mail\n\nabcde-12345\n",
        &[
            ("GitHub/alice", "", &["abcde-12345", "fghij-67890"], 0),
            ("", "not-otpauth", &[], 0),
            ("Mail/bob", "", &[], 0),
            ("", "not-otpauth", &[], 0),
        ],
    );
}

#[test]
fn entes_notes_and_our_own_export_are_read() {
    check(
        "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub&codeDisplay=%7B%22pinned%22%3Afalse%2C%22note%22%3A%22Recovery%20codes%3A%5Cn12-34%5Cn56-78%22%7D\n",
        &[("GitHub/alice", "", &["12-34", "56-78"], 0)],
    );
    // As `POST /api/requests/{id}/export` answers, and as `countersign import` sends them.
    check(
        r#"{"uri": "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub", "qrSvg": "<svg/>", "recoveryCodes": ["- a", "1. b", "c: d"]}"#,
        &[("GitHub/alice", "", &["- a", "1. b", "c: d"], 0)],
    );
    check(
        r#"[{"uri": "otpauth://totp/a?secret={S}", "recoveryCodes": ["a-1"]}, {"uri": "otpauth://totp/b?secret={S}"},
            {"uri": "otpauth://totp/c?secret={S}", "recoveryCodes": ["c-1", "c-2"]}]"#,
        &[
            ("/a", "", &["a-1"], 0),
            ("/b", "", &[], 0),
            ("/c", "", &["c-1", "c-2"], 0),
        ],
    );
}

#[test]
fn recovery_codes_stay_with_the_account_of_their_item() {
    // Keeper's records.
    check(
        r#"{"records": [
            {"title": "GitHub", "login": "alice", "custom_fields": {
                "$oneTimeCode::1": "otpauth://totp/?secret={S}", "Recovery Codes": "a-1\nb-2"}},
            {"title": "Bank", "login": "me", "custom_fields": {"Recovery Codes": "c-3"}},
            {"title": "Mail", "login": "bob", "notes": "Backup codes: d-4",
             "custom_fields": {"$oneTimeCode": "otpauth://totp/?secret={S}"}}]}"#,
        &[
            ("GitHub/alice", "", &["a-1", "b-2"], 0),
            ("Bank: me", "recovery-codes-alone", &["c-3"], 0),
            ("Mail/bob", "", &["d-4"], 0),
        ],
    );
    check(
        r#"{"list": [{"issuer": "GitHub", "account": "alice", "secret": "{S}", "digits": 6,
             "fields": [{"label": "Backup codes", "value": "a-1"}]},
            {"recoveryCodes": ["b-2"]}, {"uri": "otpauth://totp/c?secret={S}"}]}"#,
        &[
            ("GitHub/alice", "", &["a-1"], 0),
            ("", "recovery-codes-alone", &["b-2"], 0),
            ("/c", "", &[], 0),
        ],
    );
}

#[test]
fn only_names_that_plainly_say_so_count() {
    for name in [
        "Recovery codes",
        "recovery_code",
        "RECOVERY-CODES",
        "Backup Codes",
        "GitHub backup codes (2024)",
        "Backup verification codes",
        "2FA recovery codes",
        "Single-use backup codes",
        "Emergency codes",
        "Scratch codes",
        "Backup passcodes",
        "Wiederherstellungscodes",
        "Wiederherstellungs-Code",
        "Wiederherstellungcode 2",
        "Backup-Codes",
        "Sicherungscodes",
        "Sicherheitskopie: Ersatzcodes",
        "Notfall-Codes",
        "Rettungscodes",
        "Reservecodes",
        "Widerrufscode",
        "revocation_code",
    ] {
        assert_eq!(
            field(name, "x1-y2"),
            (vec!["x1-y2".to_owned()], 0),
            "{name}"
        );
    }
    for name in [
        "PIN",
        "Recovery email",
        "Recovery phone",
        "Backup",
        "Code",
        "Postal code",
        "Zip code",
        "Recovery question",
        "Sicherungskopie",
        "Notfallkontakt",
        "Security code",
        "Backup of QR code",
        "",
    ] {
        assert_eq!(field(name, "x1-y2"), (Vec::new(), 0), "{name}");
    }
    // What is about them is counted, not read.
    for name in [
        "Recovery code URL",
        "Backup codes location",
        "Used backup codes",
        "Old recovery codes",
        "Alte Notfallcodes",
        "Verwendete Backup-Codes",
    ] {
        assert_eq!(field(name, "x1-y2"), (Vec::new(), 1), "{name}");
        assert_eq!(field(name, " "), (Vec::new(), 0), "{name}");
    }
}

#[test]
fn recovery_codes_are_distinguished_from_surrounding_text() {
    let many: Vec<String> = (0..MAX_CODES + 2).map(|n| format!("c-{n}")).collect();
    let long = "x".repeat(MAX_CODE_BYTES + 1);
    for (value, codes, unread) in [
        ("abcd-efgh ijkl-mnop", &["abcd-efgh", "ijkl-mnop"][..], 0),
        // Too short to say whether they are one or several.
        ("1234 5678 9012 3456", &["1234 5678 9012 3456"], 0),
        (
            "12345678 23456789\t34567890",
            &["12345678", "23456789", "34567890"],
            0,
        ),
        (
            " 1) a-1 \r\n2) b-2\u{2028}12. c-3",
            &["a-1", "b-2", "c-3"],
            0,
        ),
        (
            "• a-1\n☐ b-2\n- [ ] c-3\n`d-4`\n\"e-5\"",
            &["a-1", "b-2", "c-3", "d-4", "e-5"],
            0,
        ),
        ("-a-1\n+b-2", &["-a-1", "+b-2"], 0),
        ("[\"a-1\", \"b-2\", null]", &["a-1", "b-2"], 0),
        ("Recovery codes:\na-1", &["a-1"], 0),
        ("a-1\na-1\n\na-1", &["a-1"], 0),
        (
            "[x] a-1\n~~b-2~~\n✓ c-3\nd-4 (used)\ne-5 (verwendet)\nf-6",
            &["f-6"],
            5,
        ),
        ("in the safe, top shelf", &[], 2),
        ("Printed on 2024-01-02\na-1", &["a-1"], 1),
        (
            "able baker charlie dog easy fox george how item jig king love",
            &["able baker charlie dog easy fox george how item jig king love"],
            0,
        ),
        ("a-1\u{7}", &[], 1),
        ("", &[], 0),
    ] {
        let codes: Vec<String> = codes.iter().map(|code| (*code).to_owned()).collect();
        assert_eq!(field("Backup codes", value), (codes, unread), "{value:?}");
    }
    let (codes, unread) = field("Backup codes", &many.join("\n"));
    assert_eq!((codes.as_slice(), unread), (&many[..MAX_CODES], 2));
    assert_eq!(field("Backup codes", &long), (Vec::new(), 1));
}

#[test]
fn notes_are_read_under_headings_only() {
    let note = |note: &str| {
        let document = json!({"encrypted": false, "items": [{
            "type": 1, "name": "GitHub", "login": {"username": "alice", "totp": SECRET}, "notes": note,
        }]});
        let mut told = told(&document.to_string());
        let (_, _, codes, unread) = told.remove(0);
        (codes.join(" | "), unread)
    };
    for (text, codes, unread) in [
        ("Recovery codes:\na-1\nb-2", "a-1 | b-2", 0),
        ("**Backup codes**\n\na-1\nb-2\n\n4711", "a-1 | b-2", 0),
        ("Backup codes: a-1, b-2\n4711", "a-1 | b-2", 0),
        ("Backup codes:\na-1\nPIN: 4711\n0815", "a-1", 0),
        ("GitHub backup codes\na-1", "a-1", 0),
        ("hello\nBackup codes\r\na-1\r\nb-2\r\n", "a-1 | b-2", 0),
        ("I have put the backup codes into the safe\n4711", "", 1),
        ("The recovery codes are here: ask Bob\n4711", "", 1),
        ("Old backup codes:\na-1\nb-2", "", 1),
        ("4711\n0815", "", 0),
        ("", "", 0),
    ] {
        assert_eq!(note(text), (codes.to_owned(), unread), "{text:?}");
    }
}

#[test]
fn what_was_not_read_is_a_warning_that_repeats_nothing() {
    let document = json!({"encrypted": false, "items": [{
        "type": 1, "name": "GitHub", "login": {"totp": SECRET},
        "fields": [{"name": "Backup codes", "value": "hunter2 (used)\nhunter3 (used)"}],
    }]});
    let file = ImportFile::read(document.to_string().as_bytes(), None).unwrap();
    let warning = file.list.entries[0].beside.warning().unwrap();
    assert_eq!(warning, Warning::RecoveryCodesUnread { count: 2 });
    let said = format!("{} {}", json!(&warning), warning.detail());
    assert!(
        said.contains("recovery-codes set") && !said.contains("hunter"),
        "{said}"
    );
}
