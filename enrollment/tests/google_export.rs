//! Exports of Google Authenticator: public examples, and messages that a writer of our
//! own makes field by field.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use countersign_enrollment::foreign::is_google_export;
use countersign_enrollment::google_export::{Export, ExportPart, gather};
use countersign_enrollment::import::{ImportEntry, expand};
use countersign_enrollment::problem::InputProblem;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use proptest::prelude::*;

/// Of paolostivanin/OTPClient#201: only secret, names and type are set.
const PUBLIC: &str = "CjEKCkhlbGxvId6tvu8SGEV4YW1wbGU6YWxpY2VAZ29vZ2xlLmNvbRoHRXhhbXBsZTAC";

fn varint(field: u8, value: i64) -> Vec<u8> {
    let mut bytes = vec![field << 3];
    let mut rest = value as u64;
    loop {
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        bytes.push(if rest == 0 { low } else { low | 0x80 });
        if rest == 0 {
            return bytes;
        }
    }
}

fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![field << 3 | 2];
    bytes.extend(&varint(0, value.len() as i64)[1..]);
    bytes.extend(value);
    bytes
}

struct Entry {
    secret: &'static [u8],
    name: &'static str,
    issuer: &'static str,
    /// Algorithm, digits, type, counter.
    numbers: [i64; 4],
}

fn entry(name: &'static str, issuer: &'static str, numbers: [i64; 4]) -> Entry {
    Entry {
        secret: b"12345678901234567890",
        name,
        issuer,
        numbers,
    }
}

impl Entry {
    fn message(&self) -> Vec<u8> {
        let mut message = bytes(1, self.secret);
        message.extend(bytes(2, self.name.as_bytes()));
        message.extend(bytes(3, self.issuer.as_bytes()));
        for (field, value) in (4..).zip(self.numbers) {
            if value != 0 {
                message.extend(varint(field, value));
            }
        }
        // Later versions may know more.
        message.extend(bytes(8, b"more"));
        message
    }
}

fn uri(entries: &[Entry], batch: [i64; 3]) -> String {
    let mut payload: Vec<u8> = entries
        .iter()
        .flat_map(|entry| bytes(1, &entry.message()))
        .collect();
    payload.extend(varint(2, 2));
    for (field, value) in (3..).zip(batch) {
        payload.extend(varint(field, value));
    }
    let data = BASE64
        .encode(&payload)
        .replace('+', "%2B")
        .replace('/', "%2F");
    format!(
        "otpauth-migration://offline?data={}",
        data.replace('=', "%3D")
    )
}

fn gathered(texts: &[&str]) -> Vec<Export> {
    gather(
        texts
            .iter()
            .map(|text| ExportPart::parse(text).unwrap())
            .collect(),
    )
}

/// Canonical URIs or codes of problems.
fn told(export: &Export) -> Vec<String> {
    let told = |parsed: &Result<countersign_enrollment::otpauth::Parsed, InputProblem>| match parsed
    {
        Ok(parsed) => parsed.account.to_uri().to_string(),
        Err(problem) => problem.code().to_owned(),
    };
    export
        .accounts
        .iter()
        .map(|account| told(&account.parsed))
        .collect()
}

#[test]
fn a_public_example_in_every_spelling() {
    let expected = "otpauth://totp/Example:alice@google.com?secret=JBSWY3DPEHPK3PXP&issuer=Example";
    for text in [
        format!("otpauth-migration://offline?data={PUBLIC}"),
        format!(" OTPAUTH-MIGRATION://offline?data={PUBLIC}\n"),
        format!("otpauth-migration://offline?x=y&data={PUBLIC}"),
        format!(
            "otpauth-migration://offline?data={}",
            PUBLIC.replace("vu8", "vu%38")
        ),
        format!(
            "otpauth-migration://offline?data={}",
            BASE64URL_NOPAD.encode(&BASE64.decode(PUBLIC.as_bytes()).unwrap())
        ),
    ] {
        assert!(is_google_export(&text));
        let exports = gathered(&[&text]);
        assert_eq!(told(&exports[0]), [expected], "{text}");
        assert_eq!(exports[0].missing, [] as [u32; 0]);
        assert_eq!(exports[0].accounts[0].name, "Example:alice@google.com");
    }
}

#[test]
fn plus_signs_in_base64_are_not_read_as_spaces() {
    // Bytes whose base64 is full of `+` and `/`.
    let special = Entry {
        secret: &[0, 0, 0xfb, 0xef, 0xbe, 0xff, 0xff, 0xff, 0xfb, 0xef],
        name: "x",
        issuer: "",
        numbers: [1, 1, 2, 0],
    };
    let escaped = uri(&[special], [1, 0, 7]);
    assert!(
        escaped.contains("%2B") && escaped.contains("%2F"),
        "{escaped}"
    );
    let raw = escaped
        .replace("%2B", "+")
        .replace("%2F", "/")
        .replace("%3D", "=");
    let form_decoded = raw.replace('+', " ");
    let url_alphabet = raw.replace('+', "-").replace('/', "_");
    let url_alphabet = url_alphabet.replace("__offline", "//offline");
    let url_alphabet = url_alphabet.trim_end_matches('=').to_owned();
    for text in [escaped, raw, form_decoded, url_alphabet] {
        assert_eq!(
            told(&gathered(&[&text])[0]),
            ["otpauth://totp/x?secret=AAAPX3567777767P"],
            "{text}"
        );
    }
}

#[test]
fn enumerations_and_names() {
    let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    let text = uri(
        &[
            entry("a", "I", [0, 0, 0, 0]),
            entry("I:a", "I", [1, 1, 2, 0]),
            entry("i: a", "I", [2, 2, 2, 0]),
            entry("J:a", "", [3, 1, 2, 0]),
            entry("J:a", "I", [1, 1, 2, 0]),
            entry("", "I", [1, 1, 2, 0]),
            entry("", "", [1, 1, 2, 0]),
            entry("a", "I", [4, 1, 2, 0]),
            entry("a", "I", [9, 1, 2, 0]),
            entry("a", "I", [1, 3, 2, 0]),
            entry("a", "I", [1, 1, 1, 12]),
            entry("a", "I", [1, 1, 7, 0]),
            Entry {
                secret: b"",
                ..entry("a", "I", [1, 1, 2, 0])
            },
        ],
        [1, 0, -1],
    );
    let uri = |rest: &str, more: &str| format!("otpauth://totp/{rest}?secret={secret}{more}");
    let expected = [
        uri("I:a", "&issuer=I"),
        uri("I:a", "&issuer=I"),
        uri("I:a", "&issuer=I&algorithm=SHA256&digits=8"),
        uri("J:a", "&issuer=J&algorithm=SHA512"),
        uri("I:J%3Aa", "&issuer=I"),
        uri("I:I", "&issuer=I"),
        uri("Account", ""),
        "algorithm-unsupported".to_owned(),
        "algorithm-unsupported".to_owned(),
        "digits-unsupported".to_owned(),
        "hotp-unsupported".to_owned(),
        "type-unsupported".to_owned(),
        "secret-missing".to_owned(),
    ];
    assert_eq!(told(&gathered(&[&text])[0]), expected);
}

#[test]
fn parts_come_in_any_order_and_missing_ones_are_named() {
    let part =
        |index: i64, name: &'static str| uri(&[entry(name, "I", [1, 1, 2, 0])], [3, index, -5]);
    let (first, second, third) = (part(0, "a"), part(1, "b"), part(2, "c"));
    let names = |export: &Export| -> Vec<String> {
        export
            .accounts
            .iter()
            .map(|account| {
                account
                    .parsed
                    .as_ref()
                    .unwrap()
                    .account
                    .account_name()
                    .to_owned()
            })
            .collect()
    };
    let all = gathered(&[&third, &first, &second, &first]);
    assert_eq!(all.len(), 1);
    assert_eq!(names(&all[0]), ["a", "b", "c"]);
    assert_eq!((all[0].of, all[0].missing.as_slice()), (3, &[][..]));
    let some = gathered(&[&third]);
    assert_eq!(names(&some[0]), ["c"]);
    assert_eq!((some[0].of, some[0].missing.as_slice()), (3, &[1, 2][..]));
    // Another export is another one.
    let other = uri(&[entry("x", "I", [1, 1, 2, 0])], [2, 0, 6]);
    let both = gathered(&[&other, &first, &second, &third]);
    assert_eq!(both.len(), 2);
    assert_eq!(both[0].missing, [2]);
    assert_eq!(both[1].missing, [] as [u32; 0]);
}

#[test]
fn parts_without_an_id_never_count_as_those_of_another_export() {
    let part =
        |name: &'static str, index: i64| uri(&[entry(name, "I", [1, 1, 2, 0])], [2, index, 0]);
    let [first, second] = [part("a1", 0), part("a2", 1)];
    let [other_first, other_second] = [part("b1", 0), part("b2", 1)];
    for (texts, accounts, missing) in [
        // Four parts are two exports, and none of their accounts is lost.
        (
            vec![&first, &second, &other_first, &other_second],
            4,
            &[][..],
        ),
        (vec![&first, &other_first, &second, &first], 3, &[2][..]),
        (vec![&first, &other_first], 2, &[2]),
        (vec![&second, &other_second, &second], 2, &[1]),
        (vec![&first], 1, &[2]),
        // One part of each looks like one export; nobody can tell.
        (vec![&first, &other_second], 2, &[]),
    ] {
        let texts: Vec<&str> = texts.into_iter().map(String::as_str).collect();
        let exports = gathered(&texts);
        assert_eq!(exports.len(), 1);
        assert_eq!(exports[0].accounts.len(), accounts, "{texts:?}");
        assert_eq!(exports[0].missing, missing, "{texts:?}");
        assert!(exports[0].unsure, "{texts:?}");
    }
    let entries: Vec<ImportEntry> = [&first, &other_second]
        .map(|it| ImportEntry::text(it))
        .into();
    let (found, problems) = expand(&entries);
    assert_eq!(found.len(), 2);
    assert_eq!(problems, [InputProblem::ExportPartsUnsure { of: 2 }]);
    // The same id twice is no proof either.
    let same = |name: &'static str| uri(&[entry(name, "I", [1, 1, 2, 0])], [2, 0, 9]);
    let (one, other) = (same("c"), same("d"));
    let exports = gathered(&[&one, &other]);
    assert_eq!(
        (exports[0].accounts.len(), exports[0].missing.as_slice()),
        (2, &[2][..])
    );
}

#[test]
fn what_surrounds_an_export_is_taken_off() {
    let text = uri(&[entry("a", "I", [1, 1, 2, 0])], [1, 0, 7]);
    for wrapped in [
        format!("\"{text}\""),
        format!("<{text}>"),
        format!("- {text}"),
        text.replace("%3D", "%3d\r\n"),
        percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC)
            .to_string(),
    ] {
        let (found, problems) = expand(&[ImportEntry::text(&wrapped)]);
        assert_eq!(problems, [], "{wrapped}");
        assert!(
            found.iter().all(|it| it.parsed.is_ok()),
            "{wrapped}: {found:?}"
        );
        assert_eq!(found.len(), 1, "{wrapped}");
    }
}

#[test]
fn what_is_no_export_is_refused() {
    for text in [
        "otpauth-migration://offline".to_owned(),
        "otpauth-migration://offline?data".to_owned(),
        "otpauth-migration://offline?data=*".to_owned(),
        "otpauth-migration://offline?data=AAAA".to_owned(),
        "otpauth://totp/a?secret=GEZDGNBV".to_owned(),
        format!("otpauth-migration://offline?data={}", &PUBLIC[..20]),
        uri(&[], [101, 0, 1]),
        uri(&[], [3, 3, 1]),
        uri(&[], [3, -1, 1]),
    ] {
        assert_eq!(
            ExportPart::parse(&text).map(|_| ()),
            Err(InputProblem::GoogleExportMalformed),
            "{text}"
        );
    }
    let long = format!("otpauth-migration://offline?data={}", "A".repeat(20_000));
    assert!(matches!(
        ExportPart::parse(&long),
        Err(InputProblem::OtpauthTooLong { .. })
    ));
}

proptest! {
    #[test]
    fn arbitrary_messages_never_panic(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let text = format!("otpauth-migration://offline?data={}", BASE64.encode(&payload));
        if let Ok(part) = ExportPart::parse(&text) {
            for export in gather(vec![part]) {
                let shown = format!("{:?}", export);
                prop_assert!(shown.contains("missing"));
            }
        }
    }

    #[test]
    fn damaged_messages_never_panic(
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut payload = BASE64.decode(PUBLIC.as_bytes()).unwrap();
        for (index, value) in hits {
            let index = index.index(payload.len());
            payload[index] = value;
        }
        let text = format!("otpauth-migration://offline?data={}", BASE64.encode(&payload));
        let _ = ExportPart::parse(&text);
    }
}
