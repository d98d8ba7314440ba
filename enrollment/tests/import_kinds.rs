//! Kinds of files that people send: each is read, or named with what to do about it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write as _;

use countersign_enrollment::import::{ImportFile, expand};
use countersign_enrollment::problem::{ImportFormat, InputProblem};
use zip::write::SimpleFileOptions;

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const BYTES: &str = "[49,50,51,52,53,54,55,56,57,48,49,50,51,52,53,54,55,56,57,48]";

fn read(document: &str) -> (ImportFormat, Vec<String>) {
    let document = document.replace("{S}", SECRET).replace("{B}", BYTES);
    let file = ImportFile::read(document.as_bytes(), None)
        .unwrap_or_else(|problem| panic!("{document}: {problem:?}"));
    let (found, _) = expand(&file.list.entries);
    let told = found.into_iter().map(|found| match found.parsed {
        Ok(parsed) => parsed.account.to_uri().replace(SECRET, "{S}"),
        Err(problem) => format!("{} {}", found.name, problem.code()),
    });
    (file.format, told.collect())
}

#[track_caller]
fn check(document: &str, format: ImportFormat, expected: &[&str]) {
    let (read_as, told) = read(document);
    assert_eq!(told, expected, "{document}");
    assert_eq!(read_as, format, "{document}");
}

const ALICE: &str = "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub";

#[test]
fn documents_one_a_line() {
    let bob = "otpauth://totp/Mail:bob?secret={S}&issuer=Mail&digits=8";
    for lines in [
        r#"{"uri": "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub"}
{"uri": "otpauth://totp/Mail:bob?secret={S}&issuer=Mail&digits=8"}"#,
        r#"{"issuer": "GitHub", "account": "alice", "secret": "{S}", "digits": 6}

{"issuer": "Mail", "account": "bob", "secret": "{S}", "digits": 8}
{"note": "no account"}"#,
        r#"{"comment": "no account"}
{"issuer":"GitHub","account":"alice","secret":"{S}","digits":6} {"issuer":"Mail","account":"bob","secret":"{S}","digits":8}"#,
        r#""otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub"
"otpauth://totp/Mail:bob?secret={S}&issuer=Mail&digits=8""#,
        r#"["otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub"]
["otpauth://totp/Mail:bob?secret={S}&issuer=Mail&digits=8"]"#,
    ] {
        check(lines, ImportFormat::UriList, &[ALICE, bob]);
    }
    // One that is damaged takes no other with it.
    check(
        "{\"uri\": \"otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub\"}\n{\"uri\": \"otpau\n{\"issuer\":\"Mail\",\"account\":\"bob\",\"secret\":\"{S}\",\"digits\":8}\n",
        ImportFormat::UriList,
        &[ALICE, "document 2 entry-malformed", bob],
    );
    // As `bw list items` prints them, and `bw get item` one after the other.
    let item = |name: &str, user: &str| {
        format!(
            r#"{{"object": "item", "id": "x", "type": 1, "reprompt": 0, "name": "{name}", "notes": null,
                "login": {{"username": "{user}", "password": "hunter2", "totp": "{{S}}"}}}}"#
        )
    };
    let (one, two) = (item("GitHub", "alice"), item("Mail", "bob"));
    for document in [format!("[{one}, {two}]"), format!("{one}\n{two}\n")] {
        let mail = "otpauth://totp/Mail:bob?secret={S}&issuer=Mail";
        check(&document, ImportFormat::Bitwarden, &[ALICE, mail]);
    }
    let document = r#"{"a": 1}
{"b": 2}"#;
    assert_eq!(
        ImportFile::read(document.as_bytes(), None),
        Err(InputProblem::ImportUnknown)
    );
}

#[test]
fn preferences_of_android_apps() {
    check(
        "<?xml version='1.0' encoding='utf-8' standalone='yes' ?>\n<map>\n\
         <string name=\"GitHub:alice\">{&quot;algo&quot;:&quot;SHA1&quot;,&quot;counter&quot;:0,&quot;digits&quot;:6,&quot;issuerExt&quot;:&quot;GitHub&quot;,&quot;issuerInt&quot;:&quot;GitHub&quot;,&quot;label&quot;:&quot;alice&quot;,&quot;period&quot;:30,&quot;secret&quot;:{B},&quot;type&quot;:&quot;TOTP&quot;}</string>\n\
         <string name=\"x\">{&quot;algo&quot;:&quot;SHA1&quot;,&quot;secret&quot;:&quot;no bytes&quot;,&quot;label&quot;:&quot;x&quot;,&quot;type&quot;:&quot;TOTP&quot;}</string>\n\
         <string name=\"y\">{&quot;algo&quot;:&quot;SHA1&quot;,&quot;counter&quot;:1,&quot;digits&quot;:6,&quot;issuerExt&quot;:&quot;Y&quot;,&quot;label&quot;:&quot;y&quot;,&quot;period&quot;:30,&quot;secret&quot;:{B},&quot;type&quot;:&quot;HOTP&quot;}</string>\n\
         <string name=\"tokenOrder\">[&quot;GitHub:alice&quot;,&quot;x&quot;,&quot;y&quot;]</string>\n</map>\n",
        ImportFormat::FreeOtpPlus,
        &[ALICE, "x entry-malformed", "Y: y hotp-unsupported"],
    );
    check(
        "<?xml version='1.0' encoding='utf-8' standalone='yes' ?><map><int name=\"n\" value=\"1\" />\
         <string name=\"com.authy.storage.tokens.authenticator.key\">[{&quot;accountType&quot;:&quot;authenticator&quot;,&quot;decryptedSecret&quot;:&quot;{S}&quot;,&quot;digits&quot;:6,&quot;name&quot;:&quot;alice&quot;,&quot;issuer&quot;:&quot;GitHub&quot;}]</string></map>",
        ImportFormat::Authy,
        &[ALICE],
    );
    let unknown = "<?xml version='1.0'?><map><string name=\"theme\">dark</string></map>";
    assert_eq!(
        ImportFile::read(unknown.as_bytes(), None),
        Err(InputProblem::ImportUnknown)
    );
}

#[test]
fn authys_tokens_that_a_tool_has_decrypted() {
    check(
        r#"[{"account_type": "github", "name": "alice", "issuer": "GitHub", "decrypted_seed": "{S}", "digits": 6, "logo": null, "unique_id": "1"}]"#,
        ImportFormat::UriList,
        &[ALICE],
    );
    let (_, told) = read(
        r#"{"message": "success", "authenticator_tokens": [{"account_type": "github", "digits": 6, "encrypted_seed": "AAAA", "issuer": "GitHub", "name": "alice", "salt": "x"}], "success": true}"#,
    );
    assert_eq!(told, ["GitHub: alice import-unsupported"]);
}

#[test]
fn key_vault_secrets_as_powershell_shows_them() {
    check(
        r#"{"SecretValue": {"Length": 32}, "SecretValueText": "{S}", "Attributes": {"Enabled": true}, "VaultName": "v",
            "Name": "totp-01234567", "Version": "1", "Id": "https://v.vault.azure.net:443/secrets/totp-01234567/1",
            "Tags": {"accountName": "alice", "issuer": "GitHub"}}"#,
        ImportFormat::KeyVault,
        &[ALICE],
    );
    let without = r#"{"SecretValue": {"Length": 32}, "Attributes": {}, "Name": "totp-1", "Id": "https://v/secrets/totp-1/1"}"#;
    let problem = ImportFile::read(without.as_bytes(), None).unwrap_err();
    assert_eq!(problem, InputProblem::ImportValuesMissing);
    assert!(problem.next_step().contains("Get-AzKeyVaultSecret"));
}

#[test]
fn lines_that_only_separate_rows_are_no_accounts() {
    for table in [
        "| Name | User | TOTP |\n| --- | :---: | ---: |\n| GitHub | alice | {S} |\n",
        "Name | User | TOTP\n---|---|---\nGitHub | alice | {S}\n",
        "+--------+-------+------+\n| name   | user  | totp |\n+--------+-------+------+\n| GitHub | alice | {S} |\n+--------+-------+------+\n",
        "name\tuser\ttotp\n====\t====\t====\nGitHub\talice\t{S}\n",
    ] {
        check(table, ImportFormat::Table, &[ALICE]);
    }
}

#[test]
fn what_is_not_read_is_named_with_what_to_do() {
    let office = |name: &str| {
        let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        archive
            .start_file(name, SimpleFileOptions::default())
            .unwrap();
        archive.write_all(b"<x/>").unwrap();
        archive.finish().unwrap().into_inner()
    };
    let ftyp = |brand: &str| format!("\0\0\0\x18ftyp{brand}\0\0\0\0mif1").into_bytes();
    let mut der = vec![0x30, 0x82, 0, 3];
    der.extend([2, 1, 3]);
    for (bytes, what, advice) in [
        (
            b"%PDF-1.7\n%\xe2\xe3\n".to_vec(),
            "PDF",
            "images of the pages",
        ),
        (ftyp("heic"), "HEIC", "PNG or JPEG"),
        (ftyp("avif"), "AVIF", "PNG or JPEG"),
        (
            b"\0\0\0\x18ftypisom\0\0\0\0mp42".to_vec(),
            "a video",
            "PNG or JPEG",
        ),
        (office("[Content_Types].xml"), "an office document", "CSV"),
        (office("META-INF/manifest.xml"), "an office document", "CSV"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1xx".to_vec(),
            "Microsoft Office",
            "CSV",
        ),
        (b"{\\rtf1\\ansi otp}".to_vec(), "Rich Text", "plain text"),
        (
            b"SQLite format 3\0accounts".to_vec(),
            "an SQLite database",
            "in the app",
        ),
        (
            b"\x03\xd9\xa2\x9a\x67\xfb\x4b\xb5".to_vec(),
            "a KeePass database",
            "XML or CSV",
        ),
        (der, "certificate or key", "no codes"),
        (
            b"-----BEGIN CERTIFICATE-----\nMII=\n".to_vec(),
            "certificate or key",
            "no codes",
        ),
        (
            b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3B=\n".to_vec(),
            "an SSH key",
            "no codes",
        ),
        (
            b"ssh-ed25519 AAAAC3 me@here\n".to_vec(),
            "an SSH key",
            "no codes",
        ),
        (
            b"PuTTY-User-Key-File-3: ssh-rsa\n".to_vec(),
            "an SSH key",
            "no codes",
        ),
        (
            b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n".to_vec(),
            "PGP key",
            "no codes",
        ),
        (
            b"\xfe\xed\xfe\xed\0\0\0\x02".to_vec(),
            "Java key store",
            "no codes",
        ),
        (
            b"\xac\xed\0\x05sr\0\x11java.util.HashMap\x05\x07masterKey".to_vec(),
            "an encrypted backup of FreeOTP 2",
            "Aegis",
        ),
        (
            b"ANDROID BACKUP\n5\n1\nAES-256\n".to_vec(),
            "a backup of an Android phone",
            "app itself",
        ),
        (
            b"age-encryption.org/v1\n".to_vec(),
            "encrypted with age",
            "decrypt",
        ),
        (
            b"MZ\x90\0\x03\0\0\0".to_vec(),
            "a program",
            "docs/IMPORT.md",
        ),
    ] {
        let problem = ImportFile::read(&bytes, None).unwrap_err();
        let (said, next) = (problem.detail(), problem.next_step());
        assert!(said.contains(what), "{said}");
        assert!(next.contains(advice), "{what}: {next}");
        // In an archive it takes no other file with it.
        let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, content) in [
            ("a.txt", ALICE.replace("{S}", SECRET).into_bytes()),
            ("b", bytes),
        ] {
            archive
                .start_file(name, SimpleFileOptions::default())
                .unwrap();
            archive.write_all(&content).unwrap();
        }
        let archive = archive.finish().unwrap().into_inner();
        let file = ImportFile::read(&archive, None).unwrap();
        assert_eq!(file.list.entries.len(), 2, "{what}");
        assert_eq!(file.list.entries[1].content, Err(problem), "{what}");
    }
    // A word with which a program begins is a word.
    assert_eq!(
        ImportFile::read(b"MZ is not a program", None),
        Err(InputProblem::ImportUnknown)
    );
}

#[test]
fn exports_of_password_managers_without_a_reader_of_their_own() {
    // Keeper's table has no names of columns; NordPass's and Buttercup's have.
    check(
        "Work,GitHub,alice,hunter2,https://github.com,a note,,TFC:Keeper,otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub\n",
        ImportFormat::Table,
        &[ALICE],
    );
    for table in [
        "name,url,additional_urls,username,password,note,totp,folder\nGitHub,https://github.com,,alice,hunter2,,{S},\n",
        "!group_id,!group_name,title,username,password,URL,OTP\n1,Main,GitHub,alice,hunter2,https://github.com,otpauth://totp/x?secret={S}\n",
    ] {
        check(table, ImportFormat::Table, &[ALICE]);
    }
}

#[test]
fn a_password_store_as_an_archive() {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let uri = ALICE.replace("{S}", SECRET);
    let entry = format!("hunter2\nuser: alice\n{uri}\nRecovery codes:\na-1\nb-2\n");
    for (name, content) in [
        ("store/.gpg-id", b"0xABCDEF\n".to_vec()),
        ("store/github.txt", entry.into_bytes()),
        (
            "store/bank.gpg",
            b"\x85\x01\x0c\x03abcdefgh\x01\x08".to_vec(),
        ),
    ] {
        archive
            .start_file(name, SimpleFileOptions::default())
            .unwrap();
        archive.write_all(&content).unwrap();
    }
    let archive = archive.finish().unwrap().into_inner();
    let file = ImportFile::read(&archive, None).unwrap();
    let accounts = file.list.entries.iter();
    let read: Vec<_> = accounts
        .filter(|it| it.content.as_ref().is_ok_and(|text| **text == uri))
        .collect();
    assert_eq!(read.len(), 1, "{file:?}");
    assert_eq!(read[0].beside.count(), 2, "{file:?}");
    let named = file
        .list
        .entries
        .iter()
        .find(|it| it.name == "store/bank.gpg");
    let problem = named.unwrap().content.as_ref().unwrap_err();
    assert!(problem.detail().contains("PGP") && problem.next_step().contains("pass otp uri"));
    assert!(!format!("{file:?}").contains("hunter2"));
}

/// The accounts with a secret alone would be lost.
#[test]
fn a_damaged_document_is_not_read_for_its_uris_alone() {
    let items = format!(
        r#"{{"login": {{"totp": "{ALICE}"}}}}, {{"login": {{"totp": "{SECRET}"}}, "name": "Mail"}}"#
    );
    let items = items.replace("{S}", SECRET);
    for damaged in [
        format!(r#"{{"encrypted": false, "items": [{items},]}}"#),
        format!(r#"{{"encrypted": false, "items": [{items}"#),
        format!(r#"{{"encrypted": false, "items": [{items}], "n": NaN}}"#),
        format!("{{\"encrypted\": false, \"notes\": \"a\tb\", \"items\": [{items}]}}"),
        format!("[{items},]"),
    ] {
        let read = ImportFile::read(damaged.as_bytes(), None);
        let is_told = matches!(read, Err(InputProblem::ImportMalformed { .. }));
        assert!(is_told, "{damaged} {read:?}");
    }
}
