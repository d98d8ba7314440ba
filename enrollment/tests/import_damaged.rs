//! Exports that are damaged, in part or as a whole, and those in other notations: each is named
//! for what it is, and what can be read of it is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod exports;

use countersign_enrollment::import::{ImportFile, expand};
use countersign_enrollment::problem::{ArchiveFault, ImportFormat as F, InputProblem as P};
use exports::{data, zip};

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const OTHER: &str = "MFZWIZTHNBVGY3DQOFZHG5DVOZ3XQ6L2";
const BYTES: &str = "[49,50,51,52,53,54,55,56,57,48,49,50,51,52,53,54,55,56,57,48]";

/// Files of each app, and what they are.
const FILES: [(&str, F); 16] = [
    ("aegis-plain.json", F::Aegis),
    ("aegis-encrypted.json", F::Aegis),
    ("2fas.json", F::TwoFas),
    ("2fas-encrypted.json", F::TwoFas),
    ("bitwarden.json", F::Bitwarden),
    ("bitwarden-protected.json", F::Bitwarden),
    ("2fauth.json", F::TwoFAuth),
    ("freeotp-plus.json", F::FreeOtpPlus),
    ("stratum.json", F::Stratum),
    ("andotp.json", F::AndOtp),
    ("raivo.json", F::Raivo),
    ("otpclient.json", F::OtpClient),
    ("lastpass-authenticator.json", F::LastPassAuthenticator),
    ("steam.maFile", F::SteamMaFile),
    ("proton-authenticator.json", F::ProtonAuthenticator),
    ("ente-encrypted.json", F::Ente),
];

fn text(name: &str) -> String {
    let text = String::from_utf8(data(name)).unwrap();
    text.trim().to_owned()
}

fn told(document: &str) -> Vec<Result<String, (String, String)>> {
    let document = document
        .replace("{S}", SECRET)
        .replace("{T}", OTHER)
        .replace("{B}", BYTES);
    let file = ImportFile::read(document.as_bytes(), None)
        .unwrap_or_else(|problem| panic!("{document}: {problem:?}"));
    let (found, _) = expand(&file.list.entries);
    found
        .into_iter()
        .map(|found| match found.parsed {
            Ok(parsed) => Ok(parsed.account.to_uri().to_string()),
            Err(problem) => Err((found.name, problem.code().to_owned())),
        })
        .collect()
}

#[test]
fn a_damaged_export_is_named_by_its_app() {
    for (name, format) in FILES {
        let whole = text(name);
        let last = whole.len() - 1;
        let comma = whole.rfind(['}', ']']).unwrap();
        let compact = serde_json::from_str::<serde_json::Value>(&whole).unwrap();
        let compact = compact.to_string();
        let open = whole.find('{').unwrap() + 1;
        for (how, damaged) in [
            ("cut by one", whole[..last].to_owned()),
            ("cut by five", whole[..last - 4].trim_end().to_owned()),
            ("one line, cut", compact[..compact.len() - 2].to_owned()),
            (
                "a comma more",
                format!("{},{}", &whole[..comma], &whole[comma..]),
            ),
            ("two commas", compact.replacen(",\"", ",,\"", 1)),
            (
                "a tab in a text",
                whole
                    .replacen("\": \"", "\": \"\t", 1)
                    .replacen("\":\"", "\":\"\t", 1),
            ),
            (
                "no number",
                format!("{}\"n\": NaN, {}", &whole[..open], &whole[open..]),
            ),
            ("in front of it", format!("Export: {}", &whole[..last])),
        ] {
            let read = ImportFile::read(damaged.as_bytes(), None);
            assert_eq!(read, Err(P::ImportMalformed { format }), "{name} {how}");
        }
    }
    // Enough is left of others.
    for (document, format) in [
        (
            r#"{"vaults":{"v":{"items":[{"data":{"metadata":"#,
            F::ProtonPass,
        ),
        (
            r#"{"accounts":[{"attrs":{},"vaults":[{"items":["#,
            F::OnePassword,
        ),
        (
            r#"{"items":[{"title":"A","subtitle":"a","fields":[{]}"#,
            F::Enpass,
        ),
        (
            r#"{"AUTHENTIFIANT":[{"title":"A","otpSecret":"{S}"}"#,
            F::Dashlane,
        ),
        (
            r#"[{"id":"https://v/secrets/x","value":"y","tags":{}},"#,
            F::KeyVault,
        ),
        (
            r#"[{"name":"a","otpGenerator":{"otpSecret":"{S}"}]"#,
            F::Duo,
        ),
        (
            r#"[{"issuer":"A","key":"{S}","base":32},,]"#,
            F::TotpAuthenticator,
        ),
        (r#"{"anything":[{"secret":"{S}","issuer":"A"},]}"#, F::Json),
    ] {
        let read = ImportFile::read(document.as_bytes(), None);
        assert_eq!(read, Err(P::ImportMalformed { format }), "{document}");
    }
    // Without any name, it is no document.
    for text in ["[]x", "{", "[section]\nkey", "{{ template }}"] {
        let read = ImportFile::read(text.as_bytes(), None);
        assert_eq!(read, Err(P::ImportUnknown), "{text}");
    }
}

#[test]
fn what_stands_around_a_document_is_taken_off() {
    for (name, format) in FILES {
        let whole = text(name);
        let plain = ImportFile::read(whole.as_bytes(), Some("correct horse")).unwrap();
        for around in [
            format!("Export: {whole}"),
            format!("var data = {whole};"),
            format!("const data = {whole}\n;\n"),
            format!("// exported on 1 May\n{whole}"),
            format!("callback({whole});"),
            format!("```json\n{whole}\n```\n"),
        ] {
            let read = ImportFile::read(around.as_bytes(), Some("correct horse"));
            assert_eq!(read.as_ref(), Ok(&plain), "{name} {format:?}");
        }
        // A document that is a text of another.
        let text = serde_json::to_string(&whole).unwrap();
        let read = ImportFile::read(text.as_bytes(), Some("correct horse"));
        assert_eq!(read.as_ref(), Ok(&plain), "{name} as a text");
        // Two in one file are not one.
        let two = format!("First: {whole}\nSecond: {whole}\n");
        let read = ImportFile::read(two.as_bytes(), Some("correct horse"));
        let is_told = match &read {
            Err(problem) => problem.code() == "import-malformed",
            Ok(file) => file.list.entries.iter().any(|entry| entry.content.is_err()),
        };
        assert!(is_told, "{name}: {read:?}");
    }
    // A browser saves what it shows as a page.
    let page = format!(
        "<html><head></head><body><pre style=\"white-space: pre-wrap;\">{}</pre></body></html>",
        text("bitwarden.json")
            .replace('&', "&amp;")
            .replace('"', "&quot;")
    );
    let plain = ImportFile::read(&data("bitwarden.json"), None).unwrap();
    assert_eq!(ImportFile::read(page.as_bytes(), None), Ok(plain));
    let bare = page.find("<pre").unwrap()..page.find("</body").unwrap();
    let plain = ImportFile::read(&data("bitwarden.json"), None).unwrap();
    assert_eq!(ImportFile::read(page[bare].as_bytes(), None), Ok(plain));
    let cut = page.replace("]}", "]");
    let cut = cut.replacen("&quot;items&quot;:", "&quot;items&quot;::", 1);
    let read = ImportFile::read(cut.as_bytes(), None);
    assert_eq!(
        read,
        Err(P::ImportMalformed {
            format: F::Bitwarden
        })
    );
}

#[test]
fn xml_that_is_cut_off_is_damaged() {
    for (name, format) in [
        ("keepass.xml", F::KeePass),
        ("keepassxc.xml", F::KeePass),
        ("safe-in-cloud.xml", F::SafeInCloud),
        ("authy.xml", F::FreeOtpPlus),
        ("totp-authenticator.xml", F::FreeOtpPlus),
    ] {
        let whole = text(name);
        let ends = whole.match_indices("</").map(|(at, _)| at);
        for at in ends.filter(|at| *at > 1_024).chain([whole.len() - 3]) {
            let read = ImportFile::read(&whole.as_bytes()[..at], None);
            let damaged = Err(P::ImportMalformed { format });
            assert_eq!(read, damaged, "{name} cut at {at} of {}", whole.len());
        }
    }
}

#[test]
fn objects_of_programs_are_named() {
    for document in [
        "{'encrypted': False, 'items': [{'name': 'A', 'login': {'totp': '{S}'}}]}",
        "[{'issuer': 'A', 'secret': '{S}', 'digits': 6, 'note': None}]",
        "{encrypted: false, items: [{name: \"A\", login: {totp: \"{S}\"}}]}",
        "{'uri': 'otpauth://totp/A:a?secret={S}', 'x': True}",
    ] {
        let document = document.replace("{S}", SECRET);
        let problem = ImportFile::read(document.as_bytes(), None).unwrap_err();
        assert!(
            problem.detail().contains("Python or JavaScript"),
            "{document} {problem:?}"
        );
        assert!(problem.next_step().contains("json.dumps"));
    }
}

/// Found by fuzzing: a tag or a comma is missing, and what follows becomes a name.
#[test]
fn a_secret_in_the_place_of_a_name_is_not_shown() {
    for (name, from, to) in [
        (
            "keepass.xml",
            "</Value></String><String><Key>otp</Key><Value",
            " ",
        ),
        (
            "safe-in-cloud.xml",
            "alice</field>",
            "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ</field>",
        ),
        ("1password.csv", "Bank,,me", "Bane"),
        (
            "2fas.json",
            "\"name\": \"",
            "\"name\": \"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ ",
        ),
        (
            "bitwarden.json",
            "\"name\": \"GitHub",
            "\"name\": \"otpauth://totp/x?secret=GEZDGNBVGY3TQOJQ",
        ),
        (
            "andotp.json",
            "\"issuer\": \"GitHub",
            "\"issuer\": \"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
        ),
    ] {
        let whole = text(name);
        let damaged = whole.replacen(from, to, 1);
        assert_ne!(damaged, whole, "{name}");
        let file = ImportFile::read(damaged.as_bytes(), None).unwrap();
        let shown = format!("{file:?}");
        assert!(!shown.contains("GEZDGNBV"), "{name}: {shown}");
        let (found, _) = expand(&file.list.entries);
        for parsed in found.into_iter().filter_map(|found| found.parsed.ok()) {
            let preview = format!("{:?}", parsed.account.preview());
            assert!(!preview.contains("GEZDGNBV"), "{name}: {preview}");
        }
    }
}

#[test]
fn a_word_where_a_secret_belongs_is_none() {
    for document in [
        "<?xml version=\"1.0\"?><KeePassFile><Root><Group><Entry><String><Key>Title</Key><Value>B</Value></String><String><Key>otp</Key><Value>garbage</Value></String></Entry></Group></Root></KeePassFile>",
        r#"{"encrypted":false,"items":[{"type":1,"name":"B","login":{"totp":"none"}}]}"#,
        r#"{"items":[{"title":"B","fields":[{"type":"totp","value":"todo"}]}]}"#,
    ] {
        let named = Err(("B".to_owned(), "not-otpauth".to_owned()));
        assert_eq!(told(document), [named], "{document}");
    }
}

/// Three entries each, of which the second has a value of the wrong type.
#[test]
fn one_wrong_value_is_the_fault_of_its_entry() {
    let raivo = |name: &str, secret: &str| {
        format!(
            r#"{{"account":"{name}","secret":{secret},"kind":"TOTP","issuer":"{name}","algorithm":"SHA1","digits":"6","timer":"30"}}"#
        )
    };
    let s = format!("\"{SECRET}\"");
    let mut documents = vec![
        r#"{"services":[{"name":"A","secret":"{S}","otp":{}},{"name":"B","secret":"{S}","otp":{"algorithm":5}},{"name":"C","secret":"{S}","otp":{}}],"schemaVersion":4}"#.to_owned(),
        r#"{"services":[{"name":"A","secret":"{S}","otp":{}},{"name":"B","secret":123,"otp":{}},{"name":"C","secret":"{S}","otp":{}}],"schemaVersion":4}"#.to_owned(),
        r#"{"version":1,"header":{"slots":null,"params":null},"db":{"version":3,"entries":[{"type":"totp","name":"A","issuer":"A","info":{"secret":"{S}"}},{"type":"totp","name":"B","issuer":"B"},{"type":"totp","name":"C","issuer":"C","info":{"secret":"{S}"}}]}}"#.to_owned(),
        r#"{"Authenticators":[{"Type":2,"Issuer":"A","Secret":"{S}"},{"Type":2,"Issuer":"B","Secret":["x"]},{"Type":2,"Issuer":"C","Secret":"{S}"}],"Categories":[]}"#.to_owned(),
        r#"{"tokens":[{"issuerExt":"A","label":"A","secret":{B},"type":"TOTP"},{"issuerExt":"B","label":"B","secret":[300],"type":"TOTP"},{"issuerExt":"C","label":"C","secret":{B},"type":"TOTP"}]}"#.to_owned(),
        r#"{"tokens":[{"issuerExt":"A","label":"A","secret":{B},"type":"TOTP"},{"issuerExt":"B","label":"B","secret":["x"],"type":"TOTP"},{"issuerExt":"C","label":"C","secret":{B},"type":"TOTP"}]}"#.to_owned(),
        r#"{"version":1,"entries":[{"content":{"uri":"otpauth://totp/A:A?secret={S}","name":"A"}},{"content":{"name":"B"}},{"content":{"uri":"otpauth://totp/C:C?secret={S}","name":"C"}}]}"#.to_owned(),
        r#"{"encrypted":false,"items":[{"type":1,"name":"A","login":{"totp":"{S}"}},{"type":1,"name":"B","login":{"totp":234567}},{"type":1,"name":"C","login":{"totp":"{S}"}}]}"#.to_owned(),
        r#"{"encrypted":false,"items":[{"type":1,"name":"A","login":{"totp":"{S}"}},{"type":1,"name":"B","login":{"totp":{"x":"y"}}},{"type":1,"name":"C","login":{"totp":"{S}"}}]}"#.to_owned(),
        r#"{"vaults":{"v":{"items":[{"data":{"metadata":{"name":"A"},"content":{"totpUri":"{S}"}}},{"data":{"metadata":{"name":"B"},"content":{"totpUri":5}}},{"data":{"metadata":{"name":"C"},"content":{"totpUri":"{S}"}}}]}}}"#.to_owned(),
        r#"{"accounts":[{"vaults":[{"items":[{"overview":{"title":"A"},"details":{"sections":[{"fields":[{"value":{"totp":"{S}"}}]}]}},{"overview":{"title":"B"},"details":{"sections":[{"fields":[{"value":{"totp":7}}]}]}},{"overview":{"title":"C"},"details":{"sections":[{"fields":[{"value":{"totp":"{S}"}}]}]}}]}]}]}"#.to_owned(),
        r#"{"items":[{"title":"A","fields":[{"type":"totp","value":"{S}"}]},{"title":"B","fields":[{"type":"totp","value":9}]},{"title":"C","fields":[{"type":"totp","value":"{S}"}]}]}"#.to_owned(),
        r#"[{"id":"https://v/secrets/totp-1/1","value":"{S}","tags":{"issuer":"A"}},{"id":"https://v/secrets/totp-2/1","name":"B","value":[1],"tags":{"issuer":"B"}},{"id":"https://v/secrets/totp-3/1","value":"{S}","tags":{"issuer":"C"}}]"#.to_owned(),
        r#"[{"issuer":"A","key":"{S}","base":32},{"issuer":"B","key":"!","base":64},{"issuer":"C","key":"{S}","base":32}]"#.to_owned(),
        r#"[{"account_name":"A","shared_secret":"MTIzNDU2Nzg5MDEyMzQ1Njc4OTA="},{"account_name":"B","shared_secret":"!"},{"account_name":"C","shared_secret":"MTIzNDU2Nzg5MDEyMzQ1Njc4OTA="}]"#.to_owned(),
        r#"[{"issuer":"A","secret":"{S}"},{"issuer":"B","secret":12345},{"issuer":"C","secret":"{S}"}]"#.to_owned(),
        format!("[{},{},{}]", raivo("A", &s), raivo("B", "[1]"), raivo("C", &s)),
        format!("[{},{},{}]", raivo("A", &s), raivo("B", "\"x\",\"secret\":\"y\""), raivo("C", &s)),
    ];
    documents.push(format!(
        r#"{{"deviceId":"","version":3,"accounts":[{0},{1},{0}]}}"#,
        format!(r#"{{"issuerName":"A","userName":"A","secret":"{SECRET}","timeStep":30,"digits":6,"algorithm":"SHA1"}}"#),
        r#"{"issuerName":"B","userName":"B","secret":false,"timeStep":30,"digits":6,"algorithm":"SHA1"}"#,
    ));
    for document in documents {
        let told = told(&document);
        let [Ok(_), Err((name, code)), Ok(_)] = told.as_slice() else {
            panic!("{document}: {told:?}");
        };
        assert!(name.contains('B'), "{document}: {told:?}");
        assert_eq!(code, "entry-malformed", "{document}");
    }
    // One without a name has its place.
    let nothing =
        told(r#"{"services":[{"name":"A","secret":"{S}","otp":{}},null],"schemaVersion":4}"#);
    let named = Err(("entry 2".to_owned(), "entry-malformed".to_owned()));
    assert_eq!(nothing[1], named);
    let detail = P::EntryMalformed { format: F::TwoFas }.detail();
    assert!(
        detail.starts_with("This entry of a backup of 2FAS"),
        "{detail}"
    );
}

#[test]
fn what_is_in_the_bin_is_named_and_not_enrolled() {
    let keepass = "<?xml version=\"1.0\"?><KeePassFile><Meta><RecycleBinUUID>QmluQmluQmluQmluQmluQg==</RecycleBinUUID></Meta><Root><Group><UUID>Um9vdA==</UUID><Name>R</Name>\
        <Entry><UUID>MQ==</UUID><String><Key>Title</Key><Value>A</Value></String><String><Key>otp</Key><Value>{S}</Value></String></Entry>\
        <Group><UUID>QmluQmluQmluQmluQmluQg==</UUID><Name>Recycle Bin</Name><Group><UUID>Mg==</UUID>\
        <Entry><UUID>Mw==</UUID><String><Key>Title</Key><Value>B</Value></String><String><Key>otp</Key><Value>{T}</Value></String></Entry></Group></Group></Group></Root></KeePassFile>";
    for document in [
        "otpauth://totp/A:a?secret={S}&issuer=A&codeDisplay=%7B%22trashed%22%3Afalse%7D\notpauth://totp/B:b?secret={T}&issuer=B&codeDisplay=%7B%22trashed%22%3Atrue%2C%22pinned%22%3Afalse%7D\n",
        r#"{"items":[{"title":"A","trashed":0,"fields":[{"type":"totp","value":"{S}"}]},{"title":"B","trashed":1,"note":"otpauth://totp/B:c?secret={S}","fields":[{"type":"totp","value":"{T}"}]}]}"#,
        r#"{"vaults":{"v":{"items":[{"state":1,"data":{"metadata":{"name":"A"},"content":{"totpUri":"{S}"}}},{"state":2,"data":{"metadata":{"name":"B"},"content":{"totpUri":"{T}"}}}]}}}"#,
        r#"[{"name":"A","reprompt":0,"deletedDate":null,"login":{"totp":"{S}"}},{"name":"B","reprompt":0,"deletedDate":"2026-01-01T00:00:00Z","login":{"totp":"{T}"}}]"#,
        "{\"title\":\"A\",\"secureContents\":{\"sections\":[{\"fields\":[{\"n\":\"TOTP_1\",\"v\":\"{S}\"}]}]}}\n***5642bee8-a5ff-11dc-8314-0800200c9a66***\n{\"title\":\"B\",\"trashed\":true,\"secureContents\":{\"sections\":[{\"fields\":[{\"n\":\"TOTP_1\",\"v\":\"{T}\"}]}]}}\n",
        "<?xml version=\"1.0\"?><database><card title=\"A\"><field name=\"c\" type=\"one_time_password\">{S}</field></card><card title=\"B\" deleted=\"true\"><field name=\"c\" type=\"one_time_password\">{T}</field></card></database>",
        keepass,
    ] {
        let told = told(document);
        assert!(
            told[0].as_ref().is_ok_and(|uri| uri.contains(SECRET)),
            "{document} {told:?}"
        );
        assert!(told.len() >= 2, "{document} {told:?}");
        for binned in &told[1..] {
            let Err((name, code)) = binned else {
                panic!("{document} {told:?}");
            };
            assert!(
                name.contains('B') && code == "entry-in-bin",
                "{document} {told:?}"
            );
        }
    }
}

#[test]
fn files_of_steamguard_cli() {
    let file = |name: &str| {
        format!(
            r#"{{"account_name":"{name}","steam_id":76561197960265728,"serial_number":"1","revocation_code":"R12345","shared_secret":"MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=","token_gid":"x","identity_secret":"AAAA","uri":"otpauth://totp/Steam:{name}?secret={{S}}&issuer=Steam","device_id":"android:x","secret_1":"AAAA","tokens":{{"access_token":"a","refresh_token":"b"}}}}"#
        )
    };
    let gordon = format!("otpauth://steam/Steam:gordon?secret={SECRET}&issuer=Steam");
    assert_eq!(told(&file("gordon")), [Ok(gordon.clone())]);
    assert_eq!(
        told(&file("gordon").replace(r#"{"access_token":"a","refresh_token":"b"}"#, "null")),
        [Ok(gordon.clone())]
    );
    let several = told(&format!("[{},{}]", file("gordon"), file("alyx")));
    assert_eq!(
        several,
        [Ok(gordon.clone()), Ok(gordon.replace("gordon", "alyx"))]
    );
    let manifest = r#"{"version":1,"entries":[{"filename":"x.maFile","steam_id":7656,"account_name":"g","encryption":{"scheme":"Argon2idAes256"}}]}"#;
    assert_eq!(
        ImportFile::read(manifest.as_bytes(), None),
        Err(P::ImportEncrypted {
            format: F::SteamMaFile
        })
    );
}

#[test]
fn encrypted_backups_of_the_browser_extension() {
    for document in [
        r#"{"abc":{"encrypted":true,"hash":"abc","index":0,"type":"totp","secret":"U2FsdGVkX18="},"key":{"enc":"x","hash":"y"}}"#,
        r#"{"abc":{"dataType":"EncOTPStorage","data":"U2FsdGVkX18=","keyId":"k","index":0},"k":{"dataType":"Key","id":"k","salt":"s","hash":"h","version":3}}"#,
    ] {
        let problem = ImportFile::read(document.as_bytes(), None).unwrap_err();
        assert!(
            problem.detail().contains("browser extension Authenticator"),
            "{problem:?}"
        );
        assert!(problem.next_step().contains("without encryption"));
    }
    let mixed = told(
        r#"{"a":{"account":"a","issuer":"A","encrypted":false,"secret":"{S}","type":"totp"},"b":{"account":"b","issuer":"B","encrypted":true,"secret":"U2FsdGVkX18=","type":"totp"}}"#,
    );
    assert!(mixed[0].is_ok(), "{mixed:?}");
    assert_eq!(
        mixed[1],
        Err(("B: b".to_owned(), "import-unsupported".to_owned()))
    );
}

#[test]
fn a_wrong_password_is_distinguished_from_damage() {
    for (name, format) in [
        ("aegis-encrypted.json", F::Aegis),
        ("2fas-encrypted.json", F::TwoFas),
        ("bitwarden-protected.json", F::Bitwarden),
    ] {
        let wrong = ImportFile::read(&data(name), Some("another")).unwrap_err();
        let certain = P::ImportPasswordWrong {
            format: Some(format),
            certain: true,
        };
        assert_eq!(wrong, certain, "{name}");
        assert!(
            wrong.detail().starts_with("The password is wrong"),
            "{}",
            wrong.detail()
        );
    }
    let unsure = ImportFile::read(&data("ente-encrypted.json"), Some("another")).unwrap_err();
    assert!(
        unsure.detail().contains("or is damaged"),
        "{}",
        unsure.detail()
    );
}

/// An archive as another program packs it: each file with a method and flags of its own.
fn packed(files: &[(&str, &[u8], u16, u16)]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, content, method, flags) in files {
        let at = u32::try_from(archive.len()).unwrap();
        let size = u32::try_from(content.len()).unwrap();
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let mut shared = Vec::new();
        for number in [20, *flags, *method, 0, 0x21] {
            shared.extend(u16::to_le_bytes(number));
        }
        for number in [crc.sum(), size, size] {
            shared.extend(u32::to_le_bytes(number));
        }
        shared.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        shared.extend([0, 0]);
        archive.extend(b"PK\x03\x04");
        archive.extend(&shared);
        archive.extend(name.as_bytes());
        archive.extend(*content);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&shared);
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let count = u16::try_from(files.len()).unwrap().to_le_bytes();
    let begin = u32::try_from(archive.len()).unwrap().to_le_bytes();
    let size = u32::try_from(directory.len()).unwrap().to_le_bytes();
    archive.extend(&directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    for part in [&count[..], &count, &size, &begin, &[0, 0]] {
        archive.extend(part);
    }
    archive
}

#[test]
fn a_file_of_an_archive_that_is_not_read_is_named() {
    let alice = format!("otpauth://totp/A:a?secret={SECRET}&issuer=A");
    let bob = format!("otpauth://totp/B:b?secret={OTHER}&issuer=B");
    let (good, other) = (("a.txt", alice.as_bytes(), 0, 0), bob.as_bytes());
    let sealed = [other, &[0; 12]].concat();
    for (how, files, fault) in [
        (
            "bzip2",
            [good, ("b.txt", other, 12, 0)],
            ArchiveFault::Method,
        ),
        (
            "LZMA",
            [good, ("b.txt", other, 14, 0)],
            ArchiveFault::Method,
        ),
        (
            "Deflate64",
            [good, ("b.txt", other, 9, 0)],
            ArchiveFault::Method,
        ),
        (
            "Zstandard",
            [good, ("b.txt", other, 93, 0)],
            ArchiveFault::Method,
        ),
        (
            "no Deflate",
            [good, ("b.txt", other, 8, 0)],
            ArchiveFault::Damaged,
        ),
        (
            "encrypted",
            [good, ("b.txt", &sealed, 0, 1)],
            ArchiveFault::Encrypted,
        ),
    ] {
        let file = ImportFile::read(&packed(&files), None).unwrap();
        let [read, refused] = file.list.entries.as_slice() else {
            panic!("{how}: {file:?}");
        };
        assert!(read.content.is_ok(), "{how}");
        assert_eq!(refused.name, "b.txt", "{how}");
        assert_eq!(refused.content, Err(P::ArchiveFile { fault }), "{how}");
    }
    let mut wrong = packed(&[good, ("b.txt", other, 0, 0)]);
    let at = wrong.windows(6).position(|six| six == b"B:b?se").unwrap();
    wrong[at] = b'C';
    let file = ImportFile::read(&wrong, None).unwrap();
    let refused = file.list.entries.last().unwrap();
    let fault = ArchiveFault::Damaged;
    assert_eq!(
        refused.content,
        Err(P::ArchiveFile { fault }),
        "a wrong checksum"
    );
    assert_eq!(refused.name, "b.txt");
    // Of two files with one name, the last is read, and the other is named.
    let twice = packed(&[good, ("a.txt", other, 0, 0)]);
    let file = ImportFile::read(&twice, None).unwrap();
    let fault = ArchiveFault::Repeated;
    assert_eq!(file.list.entries.len(), 2, "{file:?}");
    assert_eq!(file.list.entries[0].content, Err(P::ArchiveFile { fault }));
    assert_eq!(file.list.entries[0].name, "a.txt");
    assert_eq!(file.list.entries[1].content.as_ref().unwrap().as_str(), bob);
    // An archive of nothing else asks for the password.
    let alone = packed(&[("b.txt", &sealed, 0, 1), ("readme", b"", 0, 0)]);
    let missing = P::ImportPasswordMissing {
        format: Some(F::Archive),
    };
    assert_eq!(ImportFile::read(&alone, None), Err(missing));
    assert_eq!(ImportFile::read(&zip(&[]), None), Err(P::ImportEmpty));
}
