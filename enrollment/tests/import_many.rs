//! Many accounts at once, of mixed kinds and in hostile shapes: every one is there or named,
//! in bounded time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

#[allow(dead_code, reason = "each test program uses a part of it")]
mod exports;

use countersign_enrollment::import::{Budget, ImportFile, MAX_ACCOUNTS, expand};
use countersign_enrollment::problem::InputProblem;
use exports::zip;
use serde_json::json;

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

#[test]
fn two_thousand_accounts_of_mixed_kinds_are_all_there_or_named() {
    let name = |number: usize| format!("account-{number}");
    // One in a hundred cannot be enrolled.
    let secret = |number: usize| if number % 100 == 7 { "1" } else { SECRET };
    let and_otp: Vec<_> = (0..400)
        .map(|n| json!({"secret": secret(n), "issuer": "Many", "label": name(n), "type": "TOTP", "algorithm": "SHA1", "digits": 6, "period": 30, "thumbnail": "Default"}))
        .collect();
    let two_fauth: Vec<_> = (400..800)
        .map(|n| json!({"otp_type": "totp", "service": "Many", "account": name(n), "secret": secret(n), "digits": 8, "algorithm": "sha256", "period": 60}))
        .collect();
    let mut table = "name,username,totp\n".to_owned();
    for n in 800..1_200 {
        table.push_str(&format!("Many,{},{}\n", name(n), secret(n)));
    }
    let list: String = (1_200..1_600)
        .map(|n| {
            format!(
                "otpauth://totp/Many:{}?secret={}&issuer=Many\n",
                name(n),
                secret(n)
            )
        })
        .collect();
    let mut xml = "<KeePassFile><Root><Group>".to_owned();
    for n in 1_600..2_000 {
        xml.push_str(&format!(
            "<Entry><String><Key>Title</Key><Value>Many</Value></String><String><Key>UserName</Key><Value>{}</Value></String><String><Key>otp</Key><Value>{}</Value></String></Entry>",
            name(n),
            secret(n)
        ));
    }
    xml.push_str("</Group></Root></KeePassFile>");
    let archive = zip(&[
        ("andotp.json", &serde_json::to_vec(&and_otp).unwrap()),
        (
            "2fauth.json",
            &serde_json::to_vec(&json!({"app": "2fauth_v5", "data": two_fauth})).unwrap(),
        ),
        ("table.csv", table.as_bytes()),
        ("list.txt", list.as_bytes()),
        ("keepass.xml", xml.as_bytes()),
    ]);
    let read = || ImportFile::read_all(&archive, None, &Budget::new()).unwrap();
    let (found, problems) = expand(&read().list.entries);
    assert_eq!((found.len(), problems.len()), (2_000, 0));
    let mut uris = BTreeSet::new();
    for (number, found) in found.iter().enumerate() {
        match &found.parsed {
            Ok(parsed) => {
                assert_eq!(parsed.account.account_name(), name(number));
                uris.insert(parsed.account.to_uri().to_string());
            }
            Err(problem) => {
                assert_eq!(number % 100, 7, "{problem:?}");
                assert_eq!(problem.code(), "secret-not-base32");
            }
        }
    }
    assert_eq!(uris.len(), 1_980);
    // The same again is the same accounts.
    let (again, _) = expand(&read().list.entries);
    assert_eq!(again, found);
    // One import takes fewer, and says so.
    assert_eq!(
        ImportFile::read(&archive, None),
        Err(InputProblem::ImportTooMany {
            limit: u32::try_from(MAX_ACCOUNTS).unwrap()
        })
    );
}

#[test]
fn documents_of_unknown_programs_are_searched_for_accounts() {
    let documents = [
        // A browser's extension keeps accounts under hashes.
        json!({"0a1b": {"account": "alice", "issuer": "GitHub", "secret": SECRET, "type": "totp", "digits": 6, "period": 30, "index": 0, "encrypted": false}}),
        json!({"records": [{"title": "x", "custom_fields": {"$oneTimeCode": format!("otpauth://totp/GitHub:alice?secret={SECRET}&issuer=GitHub")}}]}),
        json!({"uri": format!("otpauth://totp/GitHub:alice?secret={SECRET}&issuer=GitHub")}),
        json!([{"x": [{"Service": "GitHub", "Label": "alice", "Secret": SECRET, "Time-Step": "30"}]}]),
    ];
    for document in documents {
        let file = ImportFile::read(document.to_string().as_bytes(), None).unwrap();
        let (found, _) = expand(&file.list.entries);
        assert_eq!(found.len(), 1, "{document}");
        let parsed = found[0].parsed.as_ref().unwrap();
        assert_eq!(
            *parsed.account.to_uri(),
            format!("otpauth://totp/GitHub:alice?secret={SECRET}&issuer=GitHub")
        );
    }
    // Another program's secrets are not accounts, and nothing is taken for a usual value.
    for document in [
        json!({"client_id": "x", "secret": SECRET}),
        json!({"client_id": "x", "client_secret": SECRET, "issuer": "https://login.example"}),
        json!({"a": [1, 2, {"b": null}]}),
    ] {
        let read = ImportFile::read(document.to_string().as_bytes(), None);
        assert_eq!(read, Err(InputProblem::ImportUnknown), "{document}");
    }
    let odd = json!({"issuer": "x", "secret": SECRET, "digits": [8]});
    let file = ImportFile::read(odd.to_string().as_bytes(), None).unwrap();
    assert_eq!(
        file.list.entries[0].content,
        Err(InputProblem::DigitsUnsupported)
    );
}

#[test]
fn columns_without_names_are_not_taken_for_names() {
    let row = |name: &str| {
        format!("hunter2,x,otpauth://totp/GitHub:{name}?secret={SECRET}&issuer=GitHub\n")
    };
    let table = format!("{}{}", row("alice"), row("bob"));
    let file = ImportFile::read(table.as_bytes(), None).unwrap();
    let (found, _) = expand(&file.list.entries);
    let names: Vec<&str> = found
        .iter()
        .map(|found| found.parsed.as_ref().unwrap().account.account_name())
        .collect();
    assert_eq!(names, ["alice", "bob"]);
    assert!(!format!("{found:?}").contains("hunter2"), "{found:?}");
}

#[test]
fn files_with_the_same_name_in_an_archive_are_not_dropped_in_silence() {
    let one = zip(&[
        ("a.txt", b"otpauth://totp/a?secret=MFRGGZDF"),
        ("b.txt", b"otpauth://totp/b?secret=MFRGGZDF"),
    ]);
    // The central directory is at the end; both names there become one, and one of the two is
    // read.
    let mut same = one.clone();
    while let Some(at) = same.windows(5).position(|five| five == b"b.txt") {
        same[at] = b'a';
    }
    let names = |bytes: &[u8]| ImportFile::read(bytes, None).map(|file| file.list.entries.len());
    assert_eq!(names(&one), Ok(2));
    assert_eq!(names(&same), Ok(2));
    let file = ImportFile::read(&same, None).unwrap();
    let mut codes = file.list.entries.iter().map(|entry| match &entry.content {
        Ok(_) => "",
        Err(problem) => problem.code(),
    });
    assert!(codes.clone().any(|code| code.is_empty()));
    assert!(codes.any(|code| code == "archive-file"));
}

/// An entry of Aegis with these members more.
fn aegis(more: &str) -> String {
    format!(
        r#"{{"header":{{}},"db":{{"entries":[{{"name":"a","info":{{{more}"algo":"SHA1","secret":"MFRGGZDF"}}}}]}}}}"#
    )
}

/// Members that all seem to mean the algorithm.
fn members(count: usize, value: &str) -> String {
    let members = (0..count).map(|number| format!("\"algorithm{number}\":{value},"));
    members.collect()
}

#[test]
fn hostile_shapes_take_no_longer_than_others() {
    let mega = 1024 * 1024;
    let begun = Instant::now();
    for bytes in [
        "otpauth".repeat(mega / 7),
        format!("<html>{}", "otpauth:".repeat(mega / 8)),
        format!("<html>{}", "data:image/".repeat(mega / 11)),
        format!(
            "<html>{}",
            "otpauth://totp/a?secret=MFRGGZDF&amp;".repeat(mega / 37)
        ),
        format!("otpauth://totp/a?secret=MF\n{}", "A\n".repeat(mega / 2)),
        format!("totp{}\n{}", ",".repeat(mega), ",\n".repeat(1_000)),
        format!(
            "a{}\n{}",
            ",otpauth://".repeat(mega / 12),
            "b,c\n".repeat(4_000)
        ),
        "[".repeat(mega),
        "{\"a\":".repeat(mega / 5),
        format!("[{}", "{\"secret\":\"\",\"algo\":\"\"},".repeat(mega / 24)),
        format!("<KeePassFile>{}", "<Entry>".repeat(mega / 7)),
        format!(
            "<KeePassFile><Entry>{}",
            "<String><Key>otp</Key><Value>&amp;</Value></String>".repeat(mega / 51)
        ),
        format!("otpauth://totp/a?{}", "secret=&".repeat(mega / 8)),
        "\u{200b}".repeat(mega / 3),
        // Members that are given again and again, that no reader knows, and notes full of URIs.
        aegis(&"\"x\":1,\"x\":2,".repeat(mega / 14)),
        aegis(&members(mega / 24, "\"SHA1\"")),
        format!(
            "[{{\"issuer\":\"A\",{}\"secret\":\"MFRGGZDF\"}}]",
            members(mega / 24, "\"SHA1\"")
        ),
        format!(
            "[{{\"issuer\":\"A\",{}\"secret\":\"MFRGGZDF\"}}]",
            "\"digits\":[],\"digits\":8,".repeat(mega / 24)
        ),
        aegis(&format!(
            "\"n\":\"{}\",",
            "otpauth://totp/a?secret=MFRGGZDG\\n".repeat(mega / 34)
        )),
        aegis(&format!(
            "\"n\":[{}0],",
            "{\"totp\":\"MFRGGZDGMFRGGZDGMFRG2\"},".repeat(mega / 33)
        )),
        "{'a':".repeat(mega / 5),
        format!("x = {{{}", "\"a\":{\"b\":".repeat(mega / 10)),
        format!("\"{}", "{\\\"a\\\":".repeat(mega / 9)),
    ] {
        let started = Instant::now();
        let read = ImportFile::read(bytes.as_bytes(), Some("password"));
        let took = started.elapsed();
        assert!(
            took < Duration::from_secs(10),
            "{took:?} for {:?}",
            &bytes[..24]
        );
        if let Ok(file) = read {
            let (found, _) = expand(&file.list.entries);
            assert!(!found.is_empty() || !file.images.is_empty());
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(60));
}
