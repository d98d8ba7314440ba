//! Exports and URIs as programs write them that have no reader of their own, and as people bring
//! them: each is read as what it says, or refused by name. `{S}` and `{T}` stand for secrets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use countersign_enrollment::import::ImportFile;
use countersign_enrollment::otpauth;

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const OTHER: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";

/// Each account or problem of a document, or the problem of the whole.
fn read(document: &str) -> Vec<String> {
    let document = document.replace("{S}", SECRET).replace("{T}", OTHER);
    let file = match ImportFile::read(document.as_bytes(), None) {
        Ok(file) => file,
        Err(problem) => return vec![problem.code().to_owned()],
    };
    let entries = file.list.entries.iter().map(|entry| {
        let parsed = entry.content.clone().and_then(|text| otpauth::parse(&text));
        match parsed {
            Ok(parsed) => {
                let uri = parsed.account.to_uri();
                uri.replace(SECRET, "{S}").replace(OTHER, "{T}")
            }
            Err(problem) => format!("{}: {}", entry.name, problem.code()),
        }
    });
    entries.collect()
}

const EIGHT: &str =
    "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub&algorithm=SHA256&digits=8&period=60";
const PLAIN: &str = "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub";
const BANK: &str = "otpauth://totp/Bank:bob?secret={T}&issuer=Bank";

/// What wrote it, what it wrote, and what that is.
const DOCUMENTS: &[(&str, &str, &[&str])] = &[
    (
        "the Credential Exchange Format",
        r#"{"version": {"major": 1, "minor": 0}, "exporterRpId": "a.example", "exporterDisplayName": "A",
            "timestamp": 1700000000, "accounts": [{"id": "YQ", "username": "", "email": "x@a.example",
            "collections": [], "items": [
              {"id": "Yg", "creationAt": 1, "modifiedAt": 2, "title": "GitHub", "scope": {"urls": ["https://github.com"], "androidApps": []},
               "credentials": [{"type": "basic-auth", "username": {"id": "dQ", "fieldType": "string", "value": "alice"},
                                "password": {"id": "cA", "fieldType": "concealed-string", "value": "hunter2"}},
                               {"type": "totp", "secret": "{S}", "period": 60, "digits": 8, "username": "alice",
                                "algorithm": "sha256", "issuer": "GitHub"}]},
              {"id": "Yw", "title": "Bank", "credentials": [
                 {"type": "totp", "secret": "{T}", "period": 30, "digits": 6, "username": "bob", "algorithm": "sha1"}]}]}]}"#,
        &[EIGHT, BANK],
    ),
    (
        "Psono, a password with codes",
        r#"{"folders": [], "items": [{"type": "website_password", "name": "GitHub",
            "website_password_title": "GitHub", "website_password_username": "alice",
            "website_password_password": "hunter2", "website_password_url": "https://github.com",
            "website_password_totp_period": 60, "website_password_totp_algorithm": "SHA256",
            "website_password_totp_digits": 8, "website_password_totp_code": "{S}"}]}"#,
        &[EIGHT],
    ),
    (
        "Psono, codes alone",
        r#"{"folders": [{"name": "F", "items": [{"type": "totp", "name": "Bank", "totp_title": "Bank", "totp_period": 30,
            "totp_algorithm": "SHA1", "totp_digits": 6, "totp_code": "{T}", "totp_notes": ""}]}], "items": []}"#,
        &["otpauth://totp/Bank?secret={T}"],
    ),
    (
        "passlib",
        r#"{"alg": "sha256", "digits": 8, "issuer": "GitHub", "key": "{S}", "label": "alice", "period": 60, "type": "totp", "v": 1}"#,
        &[EIGHT],
    ),
    (
        "FreeOTP+ with a secret in base32 beside it",
        r#"{"tokens": [{"digits": 6, "counter": 0, "issuerExt": "GitHub", "period": 30, "label": "alice",
            "secret_base32": "{S}", "algo": "SHA1", "type": "TOTP"}], "tokenOrder": ["GitHub:alice"]}"#,
        &["GitHub: alice: entry-malformed"],
    ),
    (
        "2FAS without an algorithm, and with groups",
        r#"{"services": [{"name": "GitHub", "secret": "{S}", "otp": {"account": "alice", "digits": 6, "period": 30,
             "tokenType": "TOTP", "source": "Manual"}, "order": {"position": 0}, "groupId": "g"}],
            "groups": [{"id": "g", "name": "Work", "isExpanded": true}], "schemaVersion": 4, "appOrigin": "ios"}"#,
        &[PLAIN],
    ),
    (
        "tools for Authy, without a label",
        "otpauth://totp?digits=7&period=10&secret={S}",
        &["otpauth://totp/Account?secret={S}&digits=7&period=10"],
    ),
    (
        "tools for Authy, without a slash after the kind",
        "otpauth://totp/?secret={S}&digits=8",
        &["otpauth://totp/Account?secret={S}&digits=8"],
    ),
    (
        "a list of keys with labels",
        r#"[{"key": "{S}", "label": "GitHub"}, {"key": "{T}", "label": "Bank"}]"#,
        &["GitHub: not-otpauth", "Bank: not-otpauth"],
    ),
    (
        "Authme's lists side by side",
        r#"{"role": "import", "encrypted": false, "codes": "", "names": ["alice"], "secrets": ["{S}"], "issuers": ["GitHub"], "types": ["OTP_TOTP"]}"#,
        &["import-malformed"],
    ),
    (
        "Keycloak's credentials",
        r#"[{"id": "x", "type": "otp", "userLabel": "phone", "secretData": "{\"value\":\"{S}\"}",
            "credentialData": "{\"subType\":\"totp\",\"digits\":8,\"counter\":0,\"period\":60,\"algorithm\":\"HmacSHA256\"}"}]"#,
        &["import-unsupported"],
    ),
    (
        "Keycloak's realm",
        r#"{"id": "r", "realm": "team", "otpPolicyType": "totp", "users": [{"id": "u", "username": "alice", "credentials": [
            {"id": "x", "type": "otp", "secretData": "{\"value\":\"{S}\"}",
             "credentialData": "{\"subType\":\"totp\",\"digits\":6,\"counter\":0,\"period\":30,\"algorithm\":\"HmacSHA1\"}"}]}]}"#,
        &["import-unsupported"],
    ),
    (
        "a list of a program that is not known, with ids and values",
        r#"[{"id": 1, "type": "setting", "value": "dark"}, {"id": 2, "type": "setting", "value": "large"}]"#,
        &["import-unknown"],
    ),
    (
        "a list of ids",
        r#"[{"id": 1}, {"id": 2}]"#,
        &["import-unknown"],
    ),
    (
        "a list of a program that is not known, with a code among its ids and values",
        r#"[{"id": 1, "type": "setting", "value": "dark"}, {"id": 2, "type": "code", "value": "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub"}]"#,
        &[PLAIN],
    ),
    (
        "a table whose cells are documents without names",
        "ID,Title,Login,Data\n1,GitHub,alice,\"{\"\"totp\"\":{\"\"secret\"\":\"\"{S}\"\",\"\"period\"\":60,\"\"digits\"\":8,\"\"algorithm\"\":\"\"SHA256\"\"}}\"\n",
        &[EIGHT],
    ),
    (
        "a table whose column of codes is of documents",
        "Title,Username,TOTP\nGitHub,alice,\"{\"\"secret\"\":\"\"{S}\"\",\"\"period\"\":60,\"\"digits\"\":8,\"\"algorithm\"\":\"\"SHA256\"\"}\"\n",
        &[EIGHT],
    ),
    (
        "LastPass's table",
        "url,username,password,totp,extra,name,grouping,fav\nhttps://github.com,alice,hunter2,{S},,GitHub,Work,0\n",
        &[PLAIN],
    ),
    (
        "AliasVault's table",
        "Version,Username,Notes,CreatedAt,UpdatedAt,AliasGender,AliasEmail,ServiceName,ServiceUrl,CurrentPassword,TwoFactorSecret\n\
         1.5.0,alice,,2025-01-01,2025-01-01,,a@b.example,GitHub,https://github.com,hunter2,{S}\n",
        &[PLAIN],
    ),
    (
        "Synology C2's table",
        "Display_Name,Type,Favorite,Notes,Login_URLs,Login_Username,Login_Password,Login_TOTP,Tag\n\
         GitHub,Login,0,,https://github.com,alice,hunter2,otpauth://totp/x?secret={S}&period=60&digits=8&algorithm=SHA256,\n",
        &[EIGHT],
    ),
    (
        "Passbolt's table",
        "Title,Username,URL,Password,Notes,Group,TOTP\nGitHub,alice,https://github.com,hunter2,,Work,otpauth://totp/GitHub%3Aalice?issuer=GitHub&secret={S}&algorithm=SHA256&digits=8&period=60\n",
        &[EIGHT],
    ),
    (
        "Buttercup's table",
        "!group_id,!group_name,title,username,password,URL,BC_otp,TOTP\n0,Main,GitHub,alice,hunter2,https://github.com,,{S}\n",
        &[PLAIN],
    ),
    (
        "Monica's table of codes",
        "ID,Type,Title,Data,Notes,IsFavorite\n1,TOTP,GitHub,\"{\"\"secret\"\":\"\"{S}\"\",\"\"issuer\"\":\"\"GitHub\"\",\"\"accountName\"\":\"\"alice\"\",\"\"period\"\":60,\"\"digits\"\":8,\"\"algorithm\"\":\"\"SHA256\"\"}\",,false\n",
        &[EIGHT],
    ),
    (
        "KeePass fields that name each parameter",
        "<KeePassFile><Root><Group><Entry><String><Key>Title</Key><Value>GitHub</Value></String>\
         <String><Key>UserName</Key><Value>alice</Value></String>\
         <String><Key>TOTP Seed</Key><Value>{S}</Value></String>\
         <String><Key>TOTP Period</Key><Value>60</Value></String>\
         <String><Key>TOTP Digits</Key><Value>8</Value></String>\
         <String><Key>TOTP Algorithm</Key><Value>SHA256</Value></String></Entry></Group></Root></KeePassFile>",
        &["GitHub: alice: param-damaged"],
    ),
    (
        "a secret in hexadecimal, as the browser extension Authenticator writes it",
        "otpauth://totp/GitHub:alice?secret=3132333435363738393031323334353637383930&issuer=GitHub",
        &["GitHub: alice: secret-not-base32"],
    ),
    (
        "HashiCorp Vault's answer when it makes a key",
        r#"{"request_id": "r", "data": {"barcode": "iVBORw0KGgo=", "url": "otpauth://totp/GitHub:alice?algorithm=SHA256&digits=8&issuer=GitHub&period=60&secret={S}"}}"#,
        &[EIGHT],
    ),
    (
        "an Ansible or compose file",
        "github_totp: otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub\nbank_totp: \"otpauth://totp/Bank:bob?secret={T}&issuer=Bank\"\n",
        &[PLAIN, BANK],
    ),
    (
        "an environment file",
        "export GITHUB_OTP='otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub'\nBANK_OTP=otpauth://totp/Bank:bob?secret={T}&issuer=Bank\n",
        &[PLAIN, BANK],
    ),
    (
        "google-authenticator's file of a server",
        "{S}\n\" RATE_LIMIT 3 30\n\" WINDOW_SIZE 17\n\" TOTP_AUTH\n12345678\n23456781\n",
        &["not-otpauth"],
    ),
    (
        "a table of Markdown",
        "| Service | User | TOTP secret | Digits | Period | Algorithm |\n|---|---|---|---|---|---|\n| GitHub | alice | {S} | 8 | 60 | SHA256 |\n",
        &[EIGHT],
    ),
    (
        "NordPass's table, with the code in a note",
        "name,url,username,password,note,cardholdername,folder,type\nGitHub,https://github.com,alice,hunter2,\"2FA: {S}\nalgorithm: SHA256\ndigits: 8\nperiod: 60\",,,password\n",
        &[EIGHT],
    ),
    (
        "Bitwarden Authenticator",
        r#"{"encrypted": false, "items": [{"id": "i", "name": "GitHub", "folderId": null, "organizationId": null, "collectionIds": null,
            "notes": null, "type": 1, "login": {"totp": "otpauth://totp/GitHub:alice?secret={S}&algorithm=SHA256&digits=8&period=60&issuer=GitHub", "username": "alice"}, "favorite": false}]}"#,
        &[EIGHT],
    ),
    (
        "Bitwarden, a bare secret of Steam",
        r#"{"encrypted": false, "items": [{"name": "Steam", "type": 1, "login": {"totp": "steam://{S}", "username": "gordon"}}]}"#,
        &["otpauth://steam/Steam:gordon?secret={S}&issuer=Steam"],
    ),
    (
        "Nextcloud Passwords, codes in an added field",
        r#"{"version": 3, "encrypted": false, "passwords": [{"label": "GitHub", "username": "alice", "password": "hunter2", "notes": "",
            "customFields": [{"label": "TOTP", "type": "secret", "value": "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub"}]}]}"#,
        &[PLAIN],
    ),
    (
        "Padloc's table",
        "name,tags,username,password,url,One-Time Password\nGitHub,work,alice,hunter2,https://github.com,{S}\n",
        &[PLAIN],
    ),
    (
        "a table whose columns say the length of codes in another way",
        "name,user,secret,code length,refresh interval,hash function\nGitHub,alice,{S},8,60,SHA-256\n",
        &["GitHub: alice: param-damaged"],
    ),
];

#[test]
fn what_other_programs_write_is_read_or_named() {
    let mut wrong = Vec::new();
    for (writer, document, expected) in DOCUMENTS {
        let found = read(document);
        if found != *expected {
            wrong.push(format!("{writer}:\n  {found:?}\n  {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Either what a text means, or a refusal: never another account. Returns whether it was read.
#[track_caller]
fn right_or_refused(text: &str, expected: &str) -> bool {
    let text = text.replace("{S}", SECRET);
    match otpauth::parse(&text) {
        Ok(parsed) => {
            let uri = parsed.account.to_uri().replace(SECRET, "{S}");
            assert_eq!(uri, expected, "{text}");
            true
        }
        Err(problem) => {
            let shown = format!("{problem:?} {} {}", problem.detail(), problem.next_step());
            assert!(!shown.contains(&SECRET[..8]), "{shown}");
            false
        }
    }
}

#[test]
fn a_damaged_separator_never_ends_in_a_usual_value() {
    for damaged in [
        "&amp;amp;algorithm=SHA256&amp;amp;digits=8&amp;amp;period=60",
        "%26algorithm%3DSHA256%26digits%3D8%26period%3D60",
        "\\u0026algorithm=SHA256\\u0026digits=8\\u0026period=60",
        ";algorithm=SHA256;digits=8;period=60",
        "&algorithm = SHA256&digits = 8&period = 60",
        "&algorithm:SHA256&digits:8&period:60",
        "|algorithm=SHA256|digits=8|period=60",
        "\u{ff06}algorithm=SHA256\u{ff06}digits=8\u{ff06}period=60",
        "&algorithm\u{ff1d}SHA256&digits\u{ff1d}8&period\u{ff1d}60",
        "&algorithm=SHA256&digits=\u{ff18}&period=60",
        "&algorithm=SHA256&digits[]=8&period=60",
        "&algorithm=SHA256&digits=8&period=0x3c",
        "&algorithm=SHA-2&digits=8&period=60",
        "&&algorithm=SHA256&&digits=8&&period=60&",
        "?algorithm=SHA256?digits=8?period=60",
        ",algorithm=SHA256,digits=8,period=60",
        " &algorithm=SHA256 &digits=8 &period=60",
        "&\u{200b}algorithm=SHA256&\u{200b}digits=8&\u{feff}period=60",
    ] {
        let text = format!("otpauth://totp/GitHub:alice?issuer=GitHub&secret={{S}}{damaged}");
        right_or_refused(&text, EIGHT);
    }
    for swapped in [
        "otpauth://totp/GitHub:alice&secret={S}?issuer=GitHub&algorithm=SHA256&digits=8&period=60",
        "otpauth://totp/GitHub:alice?algorithm=SHA256&digits=8&period=60#secret={S}&issuer=GitHub",
        "otpauth://totp/GitHub:alice/?secret={S}/&issuer=GitHub/&algorithm=SHA256/&digits=8/&period=60/",
    ] {
        right_or_refused(swapped, EIGHT);
    }
}

#[test]
fn steams_codes_are_steams_in_every_spelling() {
    for text in [
        "otpauth://steam/Steam:gordon?secret={S}&issuer=Steam",
        "otpauth://STEAM/Steam:gordon?secret={S}&issuer=Steam",
        "otpauth://totp/Steam%3Agordon?secret={S}&digits=5",
        "otpauth://totp/gordon?secret={S}&issuer=Steam&encoder=Steam",
        "otpauth://totp/Steam:gordon?secret={S}&issuer=Steam&type=steam",
        "otpauth://totp/Steam:gordon?secret={S}&issuer=Steam&algorithm=steam",
        "otpauth://totp/Steam:gordon?secret={S}&issuer=Steam&steam=true",
        "otpauth://totp/Steam:gordon?secret={S}&issuer=Steam&digits=5&period=30&algorithm=SHA1",
        "otpauth://totp/Steam:gordon?secret={S}&issuer=Steam&digits=5&encoder=steam&period=30",
        "otpauth://totp/Steam:gordon?secret={S}&issuer=Steam&charset=steam",
    ] {
        right_or_refused(text, "otpauth://steam/Steam:gordon?secret={S}&issuer=Steam");
    }
}

#[test]
fn what_nobody_sees_in_a_secret_is_no_part_of_it() {
    for mark in [
        "\u{a0}",
        "\u{202f}",
        "\u{3000}",
        "\u{ad}",
        "\u{2011}",
        "\u{200d}",
        "\u{feff}",
        "\u{2007}",
        "\u{2060}",
        "%20",
        "+",
        "%C2%A0",
        "%E2%80%8B",
        "-",
        "\u{2013}",
    ] {
        let groups: Vec<&str> = (0..SECRET.len())
            .step_by(4)
            .map(|at| &SECRET[at..at + 4])
            .collect();
        for secret in [groups.join(mark), groups.join(mark).to_lowercase()] {
            let secret = secret
                .replace("%c2%a0", "%C2%A0")
                .replace("%e2%80%8b", "%E2%80%8B");
            let text = format!("otpauth://totp/GitHub:alice?secret={secret}&issuer=GitHub");
            assert!(right_or_refused(&text, PLAIN), "{text}");
        }
    }
}

#[test]
fn what_surrounds_a_uri_is_taken_off_or_refused() {
    let uri = "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub";
    let escaped = "otpauth%3A%2F%2Ftotp%2FGitHub%3Aalice%3Fsecret%3D{S}%26issuer%3DGitHub";
    for text in [
        format!("<a href=\"{uri}\">Add</a>"),
        format!("[Add to app]({uri})"),
        format!("![QR]({uri})"),
        format!("url=\"{uri}\""),
        format!("$ {uri}"),
        format!("QR code: {uri}"),
        format!("https://www.google.com/chart?chs=200x200&chld=M|0&cht=qr&chl={escaped}"),
        format!("https://api.qrserver.com/v1/create-qr-code/?data={escaped}&size=200x200"),
        format!("https://quickchart.io/qr?text={escaped}"),
        uri.replacen("otpauth://totp", "otpauth:totp", 1),
        uri.replacen("otpauth://totp", "OTPAUTH://TOTP", 1),
        uri.replacen("otpauth://totp/", "otpauth://totp//", 1),
        format!(
            "intent:{}#Intent;scheme=otpauth;end",
            &uri["otpauth:".len()..]
        ),
        format!("\u{201c}{uri}\u{201d}."),
        format!("{uri}\n-- \nSent from my phone"),
        "otpauth://totp/GitHub:alice?issuer=GitHub&secret={S} (expires in 5 minutes)".to_owned(),
    ] {
        right_or_refused(&text, PLAIN);
    }
    for text in [
        format!("<{uri}>"),
        format!("`{uri}`"),
        format!("totp: {uri}"),
        escaped.to_owned(),
    ] {
        assert!(right_or_refused(&text, PLAIN), "{text}");
    }
}
