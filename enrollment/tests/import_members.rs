//! Every reader of an app's export obeys one rule: a member that names the algorithm, the digits,
//! the period or the kind of codes, and that the app does not have, refuses the account by name.
//! Members with codes in places where no app looks for them are read or named, too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use countersign_enrollment::import::{ImportFile, expand};
use countersign_enrollment::otpauth;

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const OTHER: &str = "MFZWIZTHNBVGY3DQOFZHG5DVOZ3XQ6L2";
const BYTES: &str = "[49,50,51,52,53,54,55,56,57,48,49,50,51,52,53,54,55,56,57,48]";
const BASE64: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=";

/// Documents with one account in the place where codes are kept: `{P}` are the parameters as the
/// app writes them, `{X}` is a member more.
const READERS: [(&str, &str, &str); 25] = [
    (
        "Aegis",
        r#"{"version":1,"header":{"slots":null,"params":null},"db":{"version":3,"entries":[{"type":"totp","uuid":"x","name":"a","issuer":"A","icon_hash":null,"info":{"secret":"{S}"{P}{X}}}]}}"#,
        r#","algo":"SHA1","digits":6,"period":30"#,
    ),
    (
        "2FAS",
        r#"{"services":[{"name":"A","secret":"{S}","order":{"position":0},"otp":{"account":"a","tokenType":"TOTP"{P}{X}}}],"schemaVersion":4}"#,
        r#","algorithm":"SHA1","digits":6,"period":30"#,
    ),
    (
        "2FAS, outside",
        r#"{"services":[{"name":"A","secret":"{S}"{X},"otp":{"account":"a","tokenType":"TOTP"{P}}}],"schemaVersion":4}"#,
        r#","algorithm":"SHA1","digits":6,"period":30"#,
    ),
    (
        "Stratum",
        r#"{"Authenticators":[{"Type":2,"Issuer":"A","Username":"a","Secret":"{S}","Counter":0,"Ranking":1{P}{X}}],"Categories":[]}"#,
        r#","Algorithm":0,"Digits":6,"Period":30"#,
    ),
    (
        "FreeOTP+",
        r#"{"tokenOrder":["x"],"tokens":[{"counter":0,"issuerExt":"A","issuerInt":"A","label":"a","secret":{B},"type":"TOTP"{P}{X}}]}"#,
        r#","algo":"SHA1","digits":6,"period":30"#,
    ),
    (
        "2FAuth",
        r#"{"app":"2fauth_v5","schema":1,"data":[{"otp_type":"totp","account":"a","service":"A","secret":"{S}","counter":null{P}{X}}]}"#,
        r#","algorithm":"sha1","digits":6,"period":30"#,
    ),
    (
        "andOTP",
        r#"[{"secret":"{S}","issuer":"A","label":"a","type":"TOTP","thumbnail":"Default","last_used":0,"used_frequency":3,"tags":[]{P}{X}}]"#,
        r#","algorithm":"SHA1","digits":6,"period":30"#,
    ),
    (
        "Raivo",
        r#"[{"secret":"{S}","issuer":"A","account":"a","kind":"TOTP","counter":"0","pinned":"false"{P}{X}}]"#,
        r#","algorithm":"SHA1","digits":"6","timer":"30""#,
    ),
    (
        "OTPClient",
        r#"[{"type":"TOTP","label":"a","issuer":"A","secret":"{S}","algo":"SHA1"{P}{X}}]"#,
        r#","digits":6,"period":30"#,
    ),
    (
        "LastPass Authenticator",
        r#"{"deviceId":"","version":3,"accounts":[{"accountID":"1","issuerName":"A","userName":"a","secret":"{S}","creationTimestamp":1,"isFavorite":false,"folderData":{"folderId":0,"position":0}{P}{X}}]}"#,
        r#","algorithm":"SHA1","digits":6,"timeStep":30"#,
    ),
    (
        "Authy",
        r#"[{"accountType":"authenticator","decryptedSecret":"{S}","digits":6,"name":"a","originalIssuer":"A"{X}}]"#,
        "",
    ),
    (
        "Duo",
        r#"[{"accountType":"OtpAccount","name":"a","otpGenerator":{"otpSecret":"{S}"{X}}}]"#,
        "",
    ),
    (
        "TOTP Authenticator",
        r#"[{"issuer":"A","name":"a","key":"{S}","base":32{P}{X}}]"#,
        r#","digits":6,"period":30"#,
    ),
    (
        "Bitwarden",
        r#"{"encrypted":false,"items":[{"type":1,"name":"A","reprompt":0,"login":{"username":"a","fido2Credentials":[{"keyAlgorithm":"ECDSA","counter":"3"}],"totp":"{S}"{X}}}]}"#,
        "",
    ),
    (
        "Enpass",
        r#"{"folders":[],"items":[{"category":"login","title":"A","fields":[{"type":"username","value":"a","label":"Username","order":1,"uid":10},{"type":"totp","label":"OTP","value":"{S}","sensitive":0,"deleted":0{X}}]}]}"#,
        "",
    ),
    (
        "Proton Pass",
        r#"{"version":"1","encrypted":false,"vaults":{"v":{"name":"V","items":[{"itemId":"1","state":1,"data":{"metadata":{"name":"A","note":""},"extraFields":[],"type":"login","content":{"itemUsername":"a","totpUri":"{S}"{X}}}}]}}}"#,
        "",
    ),
    (
        "1Password",
        r#"{"accounts":[{"attrs":{},"vaults":[{"attrs":{},"items":[{"overview":{"title":"A"},"details":{"loginFields":[{"value":"a","designation":"username"}],"sections":[{"fields":[{"title":"code","indexAtSource":0,"value":{"totp":"{S}"{X}}}]}]}}]}]}]}"#,
        "",
    ),
    (
        "1Password, earlier",
        "{\"title\":\"A\",\"secureContents\":{\"fields\":[{\"value\":\"a\",\"designation\":\"username\"}],\"sections\":[{\"fields\":[{\"k\":\"concealed\",\"n\":\"TOTP_1\",\"t\":\"code\",\"v\":\"{S}\"{X}}]}]}}\n***5642bee8-a5ff-11dc-8314-0800200c9a66***\n",
        "",
    ),
    (
        "Dashlane",
        r#"{"AUTHENTIFIANT":[{"title":"A","login":"a","otpSecret":"{S}"{X}}]}"#,
        "",
    ),
    (
        "Key Vault",
        r#"[{"id":"https://v/secrets/totp-1/2","name":"totp-1","attributes":{"enabled":true},"value":"{S}","tags":{"issuer":"A","accountName":"a"{P}{X}}}]"#,
        r#","algorithm":"SHA1","digits":"6","period":"30""#,
    ),
    (
        "Keeper's JSON",
        r#"{"records":[{"title":"A","login":"a","custom_fields":{"$oneTimeCode::1":{"secret":"{S}","issuer":"A"{P}{X}}}}]}"#,
        r#","algorithm":"SHA1","digits":6,"period":30"#,
    ),
    (
        "Nextcloud Passwords",
        r#"{"version":3,"passwords":[{"label":"A","username":"a","hash":"0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33","otp":{"secret":"{S}","issuer":"A","account":"a"{P}{X}}}]}"#,
        r#","algorithm":"SHA1","digits":6,"period":30"#,
    ),
    (
        "Authenticator",
        r#"{"0b5a":{"account":"a","issuer":"A","encrypted":false,"hash":"0b5a","index":0,"type":"totp","secret":"{S}","dataType":"OTPStorage"{P}{X}}}"#,
        r#","algorithm":"SHA1","digits":6,"period":30"#,
    ),
    (
        "any list",
        r#"[{"service":"A","user":"a","secret":"{S}"{P}{X}}]"#,
        r#","algorithm":"SHA1","digits":6,"period":30"#,
    ),
    (
        "any object",
        r#"{"a":{"b":{"issuer":"A","account":"a","seed":"{S}"{P}{X}}}}"#,
        r#","algo":"SHA1","digits":6,"period":30"#,
    ),
];

/// A member, its value, and the parameter that it means with its value in a URI.
const MEANT: [(&str, &str, &str); 42] = [
    ("algorithm", "\"SHA256\"", "algorithm=SHA256"),
    ("Algorithm", "\"SHA256\"", "algorithm=SHA256"),
    ("algo", "\"SHA256\"", "algorithm=SHA256"),
    ("alg", "\"SHA512\"", "algorithm=SHA512"),
    ("hash", "\"SHA256\"", "algorithm=SHA256"),
    ("hashAlgorithm", "\"SHA256\"", "algorithm=SHA256"),
    ("hash_function", "\"HmacSHA512\"", "algorithm=SHA512"),
    ("digest", "\"SHA512\"", "algorithm=SHA512"),
    ("hmac", "\"SHA256\"", "algorithm=SHA256"),
    ("mac", "\"SHA256\"", "algorithm=SHA256"),
    ("sha", "256", "algorithm=SHA256"),
    ("crypto", "\"SHA512\"", "algorithm=SHA512"),
    ("mode", "\"HMAC-SHA-256\"", "algorithm=SHA256"),
    ("digits", "8", "digits=8"),
    ("digit", "8", "digits=8"),
    ("Digits", "\"8\"", "digits=8"),
    ("numDigits", "8", "digits=8"),
    ("number_of_digits", "8", "digits=8"),
    ("length", "8", "digits=8"),
    ("codeLength", "8", "digits=8"),
    ("otpLength", "8", "digits=8"),
    ("tokenLength", "8", "digits=8"),
    ("size", "8", "digits=8"),
    ("codeSize", "8", "digits=8"),
    ("period", "60", "period=60"),
    ("Period", "\"60\"", "period=60"),
    ("periods", "60", "period=60"),
    ("interval", "60", "period=60"),
    ("step", "60", "period=60"),
    ("timeStep", "60", "period=60"),
    ("time_step", "60", "period=60"),
    ("timer", "60", "period=60"),
    ("duration", "60", "period=60"),
    ("seconds", "60", "period=60"),
    ("validity", "60", "period=60"),
    ("refresh", "60", "period=60"),
    ("refreshTime", "60", "period=60"),
    ("type", "\"hotp\"", ""),
    ("tokenType", "\"HOTP\"", ""),
    ("otp_type", "\"hotp\"", ""),
    ("kind", "\"HOTP\"", ""),
    ("epoch", "1000", ""),
];

fn document(template: &str, parameters: &str, more: &str) -> String {
    template
        .replace("{P}", parameters)
        .replace("{X}", more)
        .replace("{S}", SECRET)
        .replace("{B}", BYTES)
        .replace("{64}", BASE64)
}

/// The accounts as URIs, or what they are called and why they are refused.
fn told(document: &str) -> Vec<Result<String, (String, String)>> {
    let file = ImportFile::read(document.as_bytes(), None)
        .unwrap_or_else(|problem| panic!("{document}: {problem:?}"));
    let shown = format!("{file:?}");
    assert!(!shown.contains(&SECRET[..8]), "{shown}");
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
fn a_member_that_decides_is_read_or_refuses_its_account_by_name() {
    let mut wrong = Vec::new();
    for (reader, template, parameters) in READERS {
        for parameters in [parameters, ""] {
            // As the app writes it, it is read.
            let plain = told(&document(template, parameters, ""));
            let is_plain = matches!(plain.as_slice(), [Ok(uri)] if uri.contains(SECRET) && !uri.contains("digits="));
            if !is_plain {
                wrong.push(format!("{reader}: {plain:?}"));
            }
            for (member, value, meant) in MEANT {
                let more = format!(r#","{member}":{value}"#);
                let told = told(&document(template, parameters, &more));
                let is_right = match told.as_slice() {
                    [Ok(uri)] => {
                        !meant.is_empty() && uri.contains(&format!("&{meant}"))
                            // Members that differ in case are one to no reader but the last.
                            || meant.is_empty() && uri.contains("hotp")
                    }
                    [Err((name, code))] => {
                        let named = ["A: a", "a", "A", "totp-1"].contains(&name.as_str());
                        let codes = [
                            "param-damaged",
                            "params-conflict",
                            "entry-malformed",
                            "algorithm-unsupported",
                            "digits-unsupported",
                            "period-unsupported",
                            "type-unsupported",
                            "hotp-unsupported",
                            "start-unsupported",
                        ];
                        named && codes.contains(&code.as_str())
                    }
                    _ => false,
                };
                if !is_right {
                    wrong.push(format!(
                        "{reader} {member}={value} [{parameters}]: {told:?}"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_member_that_says_nothing_or_the_same_refuses_nothing() {
    for (reader, template, parameters) in READERS {
        for more in [
            r#","interval":null"#,
            r#","hashAlgo":"""#,
            r#","hash":"0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33""#,
            r#","createdAt":1700000000000"#,
            r#","favourite":true"#,
            r#","colour":"red""#,
        ] {
            let told = told(&document(template, parameters, more));
            let is_read = matches!(told.as_slice(), [Ok(_)]);
            assert!(is_read, "{reader} {more}: {told:?}");
        }
    }
    // It repeats what the app says.
    let (_, aegis, parameters) = READERS[0];
    for more in [r#","interval":30"#, r#","algorithm":"sha1","length":"6""#] {
        let told = told(&document(aegis, parameters, more));
        assert!(matches!(told.as_slice(), [Ok(_)]), "{more}: {told:?}");
        let told = self::told(&document(aegis, "", more));
        assert!(matches!(told.as_slice(), [Err(_)]), "{more}: {told:?}");
    }
}

#[test]
fn fields_of_xml_obey_the_same_rule() {
    let keepass = |more: &str| {
        format!(
            "<?xml version=\"1.0\"?><KeePassFile><Root><Group><Name>R</Name><Entry>\
             <String><Key>Title</Key><Value>A</Value></String><String><Key>UserName</Key><Value>a</Value></String>\
             <String><Key>TimeOtp-Secret-Base32</Key><Value>{SECRET}</Value></String>{more}</Entry></Group></Root></KeePassFile>"
        )
    };
    let safe = |more: &str| {
        format!(
            "<?xml version=\"1.0\"?><database><card title=\"A\" id=\"1\"><field name=\"L\" type=\"login\">a</field>\
             <field name=\"Code\" type=\"one_time_password\" score=\"1\" hash=\"x\"{more}>{SECRET}</field></card></database>"
        )
    };
    assert!(told(&keepass(""))[0].is_ok() && told(&safe(""))[0].is_ok());
    for (member, value, _) in MEANT {
        let value = value.trim_matches('"');
        let field = format!("<String><Key>{member}</Key><Value>{value}</Value></String>");
        let is_kind = ["type", "tokenType", "otp_type", "kind", "epoch"].contains(&member);
        if !is_kind {
            let read = told(&keepass(&field));
            let refused = Err(("A: a".to_owned(), "param-damaged".to_owned()));
            assert_eq!(read, [refused], "{member}");
        }
        if member != "type" && member != "hash" {
            let read = told(&safe(&format!(" {member}=\"{value}\"")));
            assert!(
                matches!(read.as_slice(), [Err((name, _))] if name == "A: a"),
                "{member} {read:?}"
            );
        }
    }
}

fn uri(secret: &str, label: &str) -> String {
    format!("otpauth://totp/{label}?secret={secret}&issuer=B")
}

/// A URI in any text of an app's entry is an account.
#[test]
fn a_uri_in_any_text_of_an_entry_is_read() {
    let further = uri(OTHER, "B:b");
    for (reader, template, parameters) in READERS {
        for more in [
            format!(r#","note":"see\n{further}\nbye""#),
            format!(r#","custom":{{"values":["x","{further}"]}}"#),
        ] {
            let told = told(&document(template, parameters, &more));
            let has = |secret: &str| {
                let uris = told.iter().filter_map(|told| told.as_ref().ok());
                let count = uris.filter(|uri| uri.contains(secret)).count();
                count == 1
            };
            assert!(
                told.len() == 2 && has(SECRET) && has(OTHER),
                "{reader} {more}: {told:?}"
            );
        }
    }
}

/// Each of several URIs in one note is read or named, once.
#[test]
fn every_uri_of_a_note_counts_once() {
    let short = "otpauth://totp/C:c?secret=MFZWI&issuer=C";
    let of = |own: &str, note: &str| {
        format!(
            r#"{{"encrypted":false,"items":[{{"type":1,"name":"A","login":{{"username":"a","totp":"{own}"}},"x":"{note}"}}]}}"#
        )
    };
    let hotp = |label: &str| format!("otpauth://hotp/{label}?secret={OTHER}&counter=1");
    for (own, note, count) in [
        (
            SECRET.to_owned(),
            format!("{short}\\n{}", uri(OTHER, "B:b")),
            3,
        ),
        (uri("MFZWI", "D:d"), uri(OTHER, "B:b"), 2),
        (
            SECRET.to_owned(),
            format!("{}\\n{}\\n{}", hotp("x"), hotp("y"), hotp("x")),
            3,
        ),
        (hotp("x"), hotp("x"), 1),
        (hotp("x"), hotp("y"), 2),
        (uri(SECRET, "A:a"), uri(SECRET, "A:a"), 1),
    ] {
        let document = of(&own, &note);
        assert_eq!(told(&document).len(), count, "{document}");
    }
}

/// What an item had earlier, and fields that were deleted, are not its accounts.
#[test]
fn what_an_entry_had_earlier_is_left_out() {
    let old = uri(OTHER, "B:b");
    for document in [
        format!(
            r#"{{"items":[{{"title":"A","fields":[{{"type":"totp","value":"{SECRET}","history":[{{"value":"{old}"}}]}},{{"type":"text","label":"TOTP","deleted":1,"value":"{OTHER}"}},{{"type":"text","deleted":1,"value":"{old}"}}]}}]}}"#
        ),
        format!(
            r#"{{"encrypted":false,"items":[{{"type":1,"name":"A","passwordHistory":[{{"password":"{old}"}}],"login":{{"totp":"{SECRET}"}}}}]}}"#
        ),
    ] {
        let told = told(&document);
        assert!(
            matches!(told.as_slice(), [Ok(uri)] if uri.contains(SECRET)),
            "{document} {told:?}"
        );
    }
}

/// In a list, no object with a secret is lost, whatever it calls it.
#[test]
fn a_secret_under_another_name_is_read_or_named() {
    let first = format!(r#"{{"issuer":"A","account":"a","secret":"{SECRET}"}}"#);
    for member in [
        "secret",
        "seed",
        "secretKey",
        "secret_key",
        "mfaSecret",
        "mfa_secret",
        "sharedSecret",
        "shared_secret",
        "totp_key",
        "totpKey",
        "otpKey",
        "otp_key",
        "base32",
        "secretBase32",
        "secret_base32",
        "otp",
        "totp",
        "TOTP",
        "token",
        "mfa",
        "2fa",
        "key",
        "twoFactorSecret",
        "two_factor_secret",
        "totpSecret",
        "otp_secret",
        "otpSecret",
        "totp_secret",
        "OTPSeed",
        "setupKey",
        "authenticatorKey",
        "2faSecret",
        "one_time_password",
    ] {
        for second in [
            format!(r#"{{"issuer":"B","account":"b","{member}":"{OTHER}"}}"#),
            format!(r#"{{"name":"B","{member}":"{OTHER}"}}"#),
            format!(r#"{{"name":"B","totp":{{"{member}":"{OTHER}"}}}}"#),
            format!(r#"{{"name":"B","login":{{"digits":8,"{member}":"{OTHER}"}}}}"#),
            format!(
                r#"{{"id":7,"title":"B","{member}":"{}"}}"#,
                uri(OTHER, "B:b")
            ),
        ] {
            for whole in [
                format!("[{first},{second}]"),
                format!(r#"{{"items":{{"x":{first},"y":{second}}}}}"#),
                format!("{first}\n{second}\n"),
            ] {
                let told = told(&whole);
                let [Ok(one), two] = told.as_slice() else {
                    panic!("{whole}: {told:?}");
                };
                assert!(one.contains(SECRET), "{whole}: {told:?}");
                match two {
                    Ok(uri) => {
                        assert!(
                            uri.contains(OTHER) && uri.contains('B'),
                            "{whole}: {told:?}"
                        );
                        let eight = second.contains("\"digits\":8");
                        assert_eq!(uri.contains("digits=8"), eight, "{whole}: {told:?}");
                    }
                    Err((name, code)) => {
                        assert!(name.contains('B'), "{whole}: {told:?}");
                        let weak = ["token", "key"].contains(&member);
                        assert!(weak && code == "not-otpauth", "{whole}: {told:?}");
                    }
                }
            }
        }
    }
    // What is a code at the moment, or no secret, is none.
    for other in [
        r#"{"name":"B","totp":"234567"}"#,
        r#"{"name":"B","token":"eyJhbGciOi.x.y"}"#,
        r#"{"name":"B","otp":true}"#,
        r#"{"name":"B","key":"ssh-rsa AAAA"}"#,
    ] {
        assert_eq!(told(&format!("[{first},{other}]")).len(), 1, "{other}");
    }
    // Two secrets in one object: nobody can tell which one is meant.
    let both = format!(r#"[{{"issuer":"A","secret":"{SECRET}","totpSecret":"{OTHER}"}}]"#);
    assert_eq!(
        told(&both),
        [Err(("A".to_owned(), "params-conflict".to_owned()))]
    );
    let same = format!(r#"[{{"issuer":"A","secret":"{SECRET}","base32":"{SECRET}"}}]"#);
    assert!(told(&same)[0].is_ok());
}

/// A secret where no reader looks for one is named with its item.
#[test]
fn a_secret_where_none_is_looked_for_is_named() {
    for document in [
        r#"{"encrypted":false,"items":[{"type":1,"name":"B","login":{"totp":null,"otpSecret":"{S}"}}]}"#,
        r#"{"encrypted":false,"items":[{"type":1,"name":"B","login":{"totp":null},"fields":[{"name":"TOTP Secret","type":1,"value":"{S}"}]}]}"#,
        r#"{"items":[{"title":"B","fields":[{"type":"text","label":"2FA","value":"{S}"}]}]}"#,
        r#"{"vaults":{"v":{"items":[{"data":{"metadata":{"name":"B"},"content":{"totpUri":"","totpSecret":"{S}"}}}]}}}"#,
        r#"[{"title":"B","custom":[{"name":"Setup key","value":"{S}"}]}]"#,
    ] {
        let named = Err(("B".to_owned(), "not-otpauth".to_owned()));
        assert_eq!(
            told(&document.replace("{S}", SECRET)),
            [named],
            "{document}"
        );
    }
    // It is the one that was read.
    let same = r#"{"encrypted":false,"items":[{"type":1,"name":"B","login":{"totp":"{S}"},"fields":[{"name":"TOTP","type":1,"value":"{S}"}]}]}"#;
    assert!(matches!(
        told(&same.replace("{S}", SECRET)).as_slice(),
        [Ok(_)]
    ));
}

/// Fields and a URI of the same account say the same, or nothing is enrolled.
#[test]
fn fields_beside_a_uri_do_not_contradict_it() {
    let of = |more: &str, query: &str| {
        format!(
            r#"[{{"issuer":"A","account":"a","secret":"{SECRET}"{more},"uri":"otpauth://totp/A:a?secret={SECRET}{query}"}}]"#
        )
    };
    let read = |document: &str| {
        let mut told = told(document);
        assert_eq!(told.len(), 1, "{document}: {told:?}");
        told.remove(0)
    };
    for (more, query, expected) in [
        ("", "&digits=8", Some("digits=8")),
        ("", "", Some("issuer=A")),
        (r#","digits":8"#, "&digits=8", Some("digits=8")),
        (r#","digits":6"#, "&digits=8", None),
        (r#","period":60"#, "", None),
    ] {
        match (read(&of(more, query)), expected) {
            (Ok(uri), Some(part)) => assert!(uri.contains(part), "{uri}"),
            (Err((name, code)), None) => {
                assert_eq!((name.as_str(), code.as_str()), ("A: a", "params-conflict"));
            }
            (told, _) => panic!("{more} {query}: {told:?}"),
        }
    }
    // What refuses an entry is not passed by in its own link.
    let link = format!("otpauth://totp/A:a?secret={SECRET}");
    let digits = format!(
        r#"{{"services":[{{"name":"A","secret":"{SECRET}","otp":{{"digits":9,"algorithm":"SHA1","period":30,"link":"{link}"}}}}],"schemaVersion":4}}"#
    );
    assert!(read(&digits).is_err());
    let steam = format!(
        r#"{{"account_name":"a","identity_secret":"x","shared_secret":"!","uri":"{link}"}}"#
    );
    assert!(read(&steam).is_err());
    let speakeasy = format!(
        r#"{{"ascii":"x","hex":"78","base32":"{SECRET}","otpauth_url":"otpauth://totp/A:a?secret={SECRET}&period=60"}}"#
    );
    let uri = read(&speakeasy).unwrap();
    assert!(
        uri.contains("period=60") && otpauth::parse(&uri).is_ok(),
        "{uri}"
    );
}
