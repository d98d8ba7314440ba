//! What people send, as tables: damaged separators, spellings of Steam, names, characters,
//! files of many programs, and texts that are nearly a URI. `data/sent.json` says for each what
//! is read: the account in our own spelling with the names of its warnings, or the problem.
//!
//! `{S}` stands for the secret.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use countersign_enrollment::import::{ImportEntry, ImportFile, expand};
use countersign_enrollment::otpauth::{self, Warning};
use countersign_enrollment::problem::InputProblem;
use serde_json::Value;

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

fn folder() -> String {
    format!("{}/tests/data", env!("CARGO_MANIFEST_DIR"))
}

/// The rows of one of the tables.
fn table(name: &str) -> Vec<Value> {
    let tables = std::fs::read(format!("{}/sent.json", folder())).unwrap();
    let tables: Value = serde_json::from_slice(&tables).unwrap();
    tables[name].as_array().unwrap().clone()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// What is read of a text, without its secret.
fn told(given: &str, warnings: bool) -> String {
    match otpauth::parse(given) {
        Ok(parsed) => {
            let mut told = parsed.account.to_uri().replace(SECRET, "{S}");
            for warning in parsed.warnings.iter().filter(|_| warnings) {
                told.push(' ');
                told.push_str(name_of(warning));
            }
            told
        }
        Err(problem) => {
            let shown = format!("{problem:?} {} {}", problem.detail(), problem.next_step());
            assert!(!shown.contains(&SECRET[..8]), "{shown}");
            problem.code().to_owned()
        }
    }
}

fn name_of(warning: &Warning) -> &'static str {
    match warning {
        Warning::IssuerMismatch { .. } => "IssuerMismatch",
        Warning::UnusualDigits => "UnusualDigits",
        Warning::FoldedNames => "FoldedNames",
        Warning::FragmentIgnored => "FragmentIgnored",
        Warning::EscapesUndone => "EscapesUndone",
        Warning::MaybeSteam => "MaybeSteam",
        Warning::ParametersIgnored { .. } => "ParametersIgnored",
        other => panic!("{other:?}"),
    }
}

fn check_texts(name: &str, at_least: usize) {
    let rows = table(name);
    assert!(rows.len() >= at_least, "{name}");
    let read = |row: &Value| {
        let given = text(&row[0]);
        let told = told(&given.replace("{S}", SECRET), true);
        (told != text(&row[1])).then(|| format!("{given:?}: {told:?}"))
    };
    let others: Vec<String> = rows.iter().filter_map(read).collect();
    assert!(others.is_empty(), "{}", others.join("\n"));
}

#[test]
fn a_damaged_separator_ends_in_the_right_codes_or_in_a_refusal() {
    check_texts("separators", 270);
}

#[test]
fn steam_is_read_however_it_is_spelled() {
    check_texts("steam", 95);
}

#[test]
fn what_is_nearly_a_uri_is_read_or_named() {
    check_texts("nearly", 205);
}

#[test]
fn marks_of_any_script_group_a_secret() {
    let expected = "otpauth://totp/a?secret={S}";
    for mark in "\u{180e}\u{fe0f}\u{2063}\u{61c}\u{200e}\u{200f}\u{1680}\u{205f}\u{2003}\u{2028}\u{2029}\
                 \u{fe58}\u{fe63}\u{2e3a}\u{301c}\u{2012}\u{2015}\u{2043}\u{1806}\u{fe31}\u{34f}\u{3164}\
                 \u{115f}\u{0}\u{1}\u{7f}\u{58a}\u{2053}\u{3030}\u{2800}"
        .chars()
    {
        let given = format!("otpauth://totp/a?secret={}{mark}{}", &SECRET[..5], &SECRET[5..]);
        assert_eq!(told(&given, true), expected, "{mark:?}");
    }
    // What can be seen and is no dash belongs to something else.
    for mark in "\u{fffc}\u{b7}\u{ff5e}\u{2d7}\u{af}~".chars() {
        let given = format!(
            "otpauth://totp/a?secret={}{mark}{}",
            &SECRET[..5],
            &SECRET[5..]
        );
        assert_eq!(told(&given, true), "secret-not-base32", "{mark:?}");
    }
}

/// The format, and each entry's name and what is read of it; or the problem of the whole.
fn read(bytes: &[u8]) -> Vec<String> {
    let file = match ImportFile::read(bytes, None) {
        Ok(file) => file,
        Err(problem) => {
            let shown = format!("{problem:?} {} {}", problem.detail(), problem.next_step());
            assert!(!shown.contains(&SECRET[..8]), "{shown}");
            return vec![problem.code().to_owned()];
        }
    };
    let shown = format!("{file:?}");
    assert!(!shown.contains(&SECRET[..8]), "{shown}");
    let entries = file.list.entries.iter().map(|entry| {
        let content = match &entry.content {
            Ok(content) => told(content, false),
            Err(problem) => problem.code().to_owned(),
        };
        format!("{} | {content}", entry.name)
    });
    let mut read = vec![format!("{:?}", file.format)];
    read.extend(entries);
    if !file.images.is_empty() {
        read.push(format!("{} images", file.images.len()));
    }
    read
}

#[test]
fn tables_documents_and_pages_lose_nothing_and_end_in_no_usual_value() {
    let rows = table("texts");
    assert!(rows.len() >= 175);
    let mut others = Vec::new();
    for row in &rows {
        let [given, expected @ ..] = row.as_array().unwrap().as_slice() else {
            panic!("{row}");
        };
        let expected: Vec<&str> = expected.iter().map(text).collect();
        let read = read(text(given).replace("{S}", SECRET).as_bytes());
        if read != expected {
            others.push(format!("{given}: {read:?}"));
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
}

#[test]
fn files_are_read_with_the_names_that_people_see_or_named() {
    let rows = table("files");
    assert!(rows.len() >= 30);
    for row in &rows {
        let [file, format, expected @ ..] = row.as_array().unwrap().as_slice() else {
            panic!("{row}");
        };
        let file = text(file);
        let bytes = std::fs::read(format!("{}/sent/{file}", folder())).unwrap();
        let read = match ImportFile::read(&bytes, None) {
            Ok(read) => read,
            Err(problem) => {
                assert_eq!(
                    (problem.code(), expected.len()),
                    (text(format), 0),
                    "{file}"
                );
                continue;
            }
        };
        assert_eq!(format!("{:?}", read.format), text(format), "{file}");
        let entry = |entry: &ImportEntry| {
            let content = match &entry.content {
                Ok(content) => told(content, false),
                Err(problem) => problem.code().to_owned(),
            };
            (entry.name.clone(), content)
        };
        let found: Vec<_> = read.list.entries.iter().map(entry).collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|it| (text(&it[0]).to_owned(), text(&it[1]).to_owned()))
            .collect();
        assert_eq!(found, expected, "{file}");
        let shown = format!("{read:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains(&SECRET[..8]),
            "{file}"
        );
    }
    let files = std::fs::read_dir(format!("{}/sent", folder())).unwrap();
    assert_eq!(files.count(), rows.len());
}

#[test]
fn parts_of_google_exports_are_all_there_or_named_as_missing() {
    let rows = table("exports");
    assert!(rows.len() >= 19);
    for row in &rows {
        let given = text(&row[0]);
        let file = ImportFile::read(given.as_bytes(), None).unwrap();
        let (found, problems) = expand(&file.list.entries);
        let told = |found: Result<otpauth::Parsed, _>| match found {
            Ok(parsed) => parsed.account.to_uri().replace(SECRET, "{S}"),
            Err(problem) => InputProblem::code(&problem).to_owned(),
        };
        let found: Vec<String> = found.into_iter().map(|found| told(found.parsed)).collect();
        let problems: Vec<&str> = problems.iter().map(InputProblem::code).collect();
        let listed = |value: &Value| -> Vec<String> {
            let all = value.as_array().unwrap();
            all.iter().map(|it| text(it).to_owned()).collect()
        };
        assert_eq!(found, listed(&row[1]), "{given}");
        assert_eq!(problems, listed(&row[2]), "{given}");
    }
}

#[test]
fn an_encoding_is_read_or_named() {
    let names = [
        "M\u{fc}ller",
        "\u{5317}\u{4eac}",
        "\u{420}\u{43e}\u{441}\u{441}\u{438}\u{44f}",
        "\u{1f511} key",
    ];
    let utf16 = |text: &str, of: fn(u16) -> [u8; 2]| -> Vec<u8> {
        text.encode_utf16().flat_map(of).collect()
    };
    let utf32 = |text: &str, of: fn(u32) -> [u8; 4]| -> Vec<u8> {
        text.chars().flat_map(|c| of(u32::from(c))).collect()
    };
    let mut read = 0;
    for name in names {
        for (file, format) in [
            (
                format!("otpauth://totp/{name}:a?secret={SECRET}&digits=8\r\n"),
                "UriList",
            ),
            (
                format!("otpauth://totp/{name}:a?secret={SECRET}&digits=8\n"),
                "UriList",
            ),
            (
                format!("title,username,digits,totp\r\n{name},a,8,{SECRET}\r\n"),
                "Table",
            ),
            (
                format!("[\"otpauth://totp/{name}:a?secret={SECRET}&digits=8\"]"),
                "UriList",
            ),
        ] {
            for mark in ["", "\u{feff}"] {
                let file = format!("{mark}{file}");
                for bytes in [
                    file.clone().into_bytes(),
                    utf16(&file, u16::to_le_bytes),
                    utf16(&file, u16::to_be_bytes),
                    utf32(&file, u32::to_le_bytes),
                    utf32(&file, u32::to_be_bytes),
                ] {
                    let read_as = ImportFile::read(&bytes, None).unwrap();
                    assert_eq!(format!("{:?}", read_as.format), format, "{file:?}");
                    let content = read_as.list.entries[0].content.clone().unwrap();
                    let account = otpauth::parse(&content).unwrap().account;
                    assert_eq!(account.issuer(), Some(name), "{file:?}");
                    assert_eq!(account.parameters().digits(), 8, "{file:?}");
                    read += 1;
                }
            }
        }
    }
    assert_eq!(read, 160);
    let others: [(&[u8], &str); 8] = [
        (b"M\xfcller", "Windows-1252"),
        (b"M\x81ller", "Windows-1252"),
        (b"\xb1\xb1\xbe\xa9", "GBK"),
        (b"\x93\xfa\x96\x7b\x8c\xea", "Shift-JIS"),
        (b"\xd0\xee\xf1\xf1\xe8\xff", "Windows-1251"),
        (b"\xf2\xcf\xd3\xd3\xc9\xd1", "Windows-1251"),
        (b"\xc7\xd1\xb1\xb9", "GBK"),
        (b"\xff\x00\x01", "binary"),
    ];
    for (name, known_as) in others {
        let file = [b"otpauth://totp/", name, b":a?secret=", SECRET.as_bytes()].concat();
        match ImportFile::read(&file, None) {
            Err(problem @ InputProblem::TextUndecodable { .. }) => {
                assert!(problem.detail().contains(known_as), "{name:?}: {problem:?}");
            }
            other => panic!("{name:?}: {other:?}"),
        }
    }
}
