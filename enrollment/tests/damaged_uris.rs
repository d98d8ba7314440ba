//! URIs that were damaged where people copy them from: repaired by a rule that browsers have,
//! undone where another program plainly escaped the whole, or refused by name. None ends in a
//! usual value instead of what was meant.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use countersign_enrollment::account::{Algorithm, CodeParameters, Labels, TotpAccount, TotpSecret};
use countersign_enrollment::otpauth::{self, Parsed, Warning};
use countersign_enrollment::problem::{InputProblem, Parameter};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use zeroize::Zeroizing;

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

fn uri(template: &str) -> String {
    template.replace("{S}", SECRET)
}

#[track_caller]
fn parsed(template: &str) -> Parsed {
    otpauth::parse(&uri(template)).unwrap_or_else(|problem| panic!("{template:?}: {problem:?}"))
}

#[track_caller]
fn refused(template: &str) -> InputProblem {
    match otpauth::parse(&uri(template)) {
        Err(problem) => problem,
        Ok(parsed) => panic!("{template:?} is read as {:?}", parsed.account),
    }
}

/// The account that all the spellings of the first two tests mean.
fn meant() -> TotpAccount {
    let labels = Labels::new(Some("GitHub"), "alice").unwrap();
    let parameters = CodeParameters::new(Algorithm::Sha256, 8, 60).unwrap();
    let secret = TotpSecret::new(Zeroizing::new(b"12345678901234567890".to_vec())).unwrap();
    TotpAccount::new(labels, parameters, secret)
}

const WHOLE: &str =
    "otpauth://totp/GitHub:alice?secret={S}&period=60&digits=8&issuer=GitHub&algorithm=SHA256";

#[test]
fn what_browsers_drop_is_dropped() {
    for template in [
        WHOLE.to_owned(),
        WHOLE.replace("algorithm", "algor\r\nithm"),
        WHOLE.replace("digits", "di\ngits"),
        WHOLE.replace("period=60", "period=\t60"),
        WHOLE.replace("&digits", "\r\n&digits"),
        WHOLE.replace("&digits", "&\r\ndigits"),
        WHOLE.replace("SHA256", "SHA\n256"),
        WHOLE.replace("&period", "\n    &period"),
        format!("\u{feff}{WHOLE}\r\n"),
        WHOLE.replace("&digits", "&\u{200b}digits"),
        WHOLE.replace("digits=8", "digits=8\u{a0}"),
        WHOLE.replace("&period", "\u{2060}&period"),
    ] {
        let parsed = parsed(&template);
        assert_eq!(parsed.account, meant(), "{template:?}");
        assert_eq!(parsed.warnings, [], "{template:?}");
    }
}

#[test]
fn escapes_of_the_whole_are_undone_and_said() {
    let escaped = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let whole = uri(WHOLE);
    let json = serde_json::to_string(&whole).unwrap();
    for text in [
        whole.replace('&', "&amp;"),
        whole.replace('&', "&AMP;"),
        whole.replace('&', "&#38;"),
        whole.replace('&', "&#038;"),
        whole.replace('&', "&#x26;"),
        whole.replace('&', "&amp;amp;"),
        whole.replace('&', "&amp;").replace('=', "&#61;"),
        whole.replace('&', "&amp;").replace('=', "&equals;"),
        whole.replacen('&', "&amp;", 1),
        whole.replace('&', r"\u0026"),
        whole.replace('&', r"\u0026").replace('=', r"\u003d"),
        whole.replace('&', r"\x26"),
        whole.replace('/', r"\/"),
        json.replace('/', r"\/"),
        whole.replace('&', r"\&").replace('?', r"\?"),
        escaped(&whole),
        escaped(&escaped(&whole)),
        escaped(&whole).replace("%3A", "%3a").replace("%2F", "%2f"),
        whole
            .replace('?', "%3F")
            .replace('=', "%3D")
            .replace('&', "%26"),
        whole.replace('=', "%3D").replace('&', "%26"),
        whole.replace('=', "=3D"),
        whole.replace('=', "=3D").replace("&issuer", "&iss=\r\nuer"),
        format!("\"{}\"", whole.replace('&', "&amp;")),
        format!("&quot;{}&quot;", whole.replace('&', "&amp;")),
        format!("&lt;{}&gt;", whole.replace('&', "&amp;")),
    ] {
        let parsed =
            otpauth::parse(&text).unwrap_or_else(|problem| panic!("{text:?}: {problem:?}"));
        assert_eq!(parsed.account, meant(), "{text:?}");
        assert_eq!(parsed.warnings, [Warning::EscapesUndone], "{text:?}");
    }
    // A name with a backslash, and one that looks like an entity, are none.
    let parsed = parsed(r"otpauth://totp/CORP%5Cuser:x?secret={S}&issuer=CORP%5Cuser");
    assert_eq!(parsed.account.issuer(), Some(r"CORP\user"));
    assert_eq!(parsed.warnings, []);
    let raw = otpauth::parse(&uri(r"otpauth://totp/CORP\user?secret={S}")).unwrap();
    assert_eq!(raw.account.account_name(), r"CORP\user");
}

#[test]
fn a_parameter_that_is_meant_and_not_understood_is_refused_by_name() {
    use Parameter as P;
    for (template, parameter) in [
        // Typing mistakes, and names of other programs.
        ("otpauth://totp/a?secret={S}&peri0d=60", P::Period),
        ("otpauth://totp/a?secret={S}&peroid=60", P::Period),
        ("otpauth://totp/a?secret={S}&interval=60", P::Period),
        ("otpauth://totp/a?secret={S}&step=60", P::Period),
        (
            "otpauth://totp/a?secret={S}&algor ithm=SHA256",
            P::Algorithm,
        ),
        ("otpauth://totp/a?secret={S}&algoritm=SHA256", P::Algorithm),
        ("otpauth://totp/a?secret={S}&algo=SHA256", P::Algorithm),
        ("otpauth://totp/a?secret={S}&hash=SHA256", P::Algorithm),
        ("otpauth://totp/a?secret={S}&mode=SHA-256", P::Algorithm),
        ("otpauth://totp/a?secret={S}&hmac=HmacSHA512", P::Algorithm),
        ("otpauth://totp/a?secret={S}&digit=8", P::Digits),
        ("otpauth://totp/a?secret={S}&len=8", P::Digits),
        ("otpauth://totp/a?secret={S}&size=8", P::Digits),
        ("otpauth://totp/a?secret={S}&codeSize=8", P::Digits),
        ("otpauth://totp/a?secret={S}&otp-len=8", P::Digits),
        ("otpauth://totp/a?secret={S}&codeLength=8", P::Digits),
        ("otpauth://totp/a?secret={S}&time=60", P::Period),
        ("otpauth://totp/a?secret={S}&ttl=60", P::Period),
        ("otpauth://totp/a?secret={S}&timeout=60", P::Period),
        ("otpauth://totp/a?secret={S}&frequency=60", P::Period),
        ("otpauth://totp/a?secret={S}%u0026digits=8", P::Digits),
        (r"otpauth://totp/a?secret={S}\046digits=8", P::Digits),
        ("otpauth://totp/a?secret={S}&digits[]=8", P::Digits),
        ("otpauth://totp/a?secret={S}&d%D1%96gits=8", P::Digits),
        ("otpauth://totp/a?secret={S}&encodr=steam", P::Encoder),
        ("otpauth://totp/a?secret={S}&%64igit=8", P::Digits),
        // An ampersand that is half escaped, or another separator.
        ("otpauth://totp/a?secret={S}&amp digits=8", P::Digits),
        ("otpauth://totp/a?secret={S}&ampdigits=8", P::Digits),
        ("otpauth://totp/a?secret={S}&issuer=b;digits=8", P::Digits),
        ("otpauth://totp/a?secret={S};digits=8;period=60", P::Digits),
        ("otpauth://totp/a?secret={S}&issuer=b,period=60", P::Period),
        ("otpauth://totp/a?secret={S}&issuer=b digits=8", P::Digits),
        (
            "otpauth://totp/a?secret={S}&issuer=b|algorithm=SHA512",
            P::Algorithm,
        ),
        ("otpauth://totp/a?secret={S}\u{ff06}digits=8", P::Digits),
        ("otpauth://totp/a?secret={S}&digits\u{ff1d}8", P::Digits),
        ("otpauth://totp/a?secret={S}&\u{ff44}igits=8", P::Digits),
        ("otpauth://totp/a?secret={S}digits=8", P::Digits),
        ("otpauth://totp/a?issuer=b%26digits=8&secret={S}", P::Digits),
        (
            "otpauth://totp/a:b?issuer=a%26digits%3D8&secret={S}",
            P::Digits,
        ),
        ("otpauth://totp/a?issuer=bsecret={S}&digits=8", P::Secret),
        ("otpauth://totp/a?secret={S}&image=x?digits=8", P::Digits),
        ("otpauth://totp/a&digits=8?secret={S}", P::Digits),
        ("otpauth://totp/a?secret={S}?digits=8", P::Digits),
        // Without an equals sign, without a value, cut off.
        ("otpauth://totp/a?secret={S}&digits8", P::Digits),
        ("otpauth://totp/a?secret={S}&digits:8", P::Digits),
        ("otpauth://totp/a?secret={S}&digits%3D8", P::Digits),
        ("otpauth://totp/a?secret={S}&digits&8", P::Digits),
        ("otpauth://totp/a?secret={S}&digits=", P::Digits),
        ("otpauth://totp/a?secret={S}&algorithm=", P::Algorithm),
        ("otpauth://totp/a?secret={S}&period=%20", P::Period),
        ("otpauth://totp/a?secret={S}&issuer=b&alg", P::Algorithm),
        ("otpauth://totp/a?secret={S}&issuer=b&per", P::Period),
        ("otpauth://totp/a?secret={S}&issuer=b&8", P::Digits),
        ("otpauth://totp/a?secret={S}&issuer=b&60", P::Period),
        ("otpauth://totp/a?secret={S}&issuer=b&SHA256", P::Algorithm),
        // Another encoding of the secret, or a part of it only.
        ("otpauth://totp/a?secret={S}&encoding=hex", P::Secret),
        ("otpauth://totp/a??secret={S}&digits=8", P::Secret),
        // In mail, `=3D` is an equals sign; in base32 it could begin a secret.
        ("otpauth://totp/a?secret=3D{S}", P::Secret),
    ] {
        assert_eq!(
            refused(template),
            InputProblem::ParamDamaged { parameter },
            "{template}"
        );
    }
    for (template, parameter) in [
        ("otpauth://totp/a?secret={S}#digits=8", P::Digits),
        ("otpauth://totp/a?secret={S}#&period=60", P::Period),
        ("otpauth://totp/a?secret={S}&digits=6#&digits=8", P::Digits),
        ("otpauth://totp/a?secret={S}#encoder=steam", P::Encoder),
        ("otpauth://totp/a?secret={S}&digits=6&digits=8", P::Digits),
        ("otpauth://totp/a?secret={S}&Period=30&period=60", P::Period),
    ] {
        assert_eq!(
            refused(template),
            InputProblem::ParamsConflict { parameter },
            "{template}"
        );
    }
    for (template, problem) in [
        (
            "otpauth://totp/a?secret={S}&digits=8.5",
            InputProblem::DigitsUnsupported,
        ),
        (
            "otpauth://totp/a?secret={S}&period=60s",
            InputProblem::PeriodUnsupported,
        ),
        (
            "otpauth://totp/a?secret={S}&encoder=other",
            InputProblem::TypeUnsupported,
        ),
        (
            "otpauth://totp/a?secret={S}&type=hotp",
            InputProblem::HotpUnsupported,
        ),
        (
            "otpauth://totp/a?secret={S}&2step_salt=20",
            InputProblem::TypeUnsupported,
        ),
    ] {
        assert_eq!(refused(template), problem, "{template}");
    }
    // What other programs write, and what decides nothing.
    for more in [
        "&image=https%3A%2F%2Fexample.com%2Fdigits.png&color=ff0000",
        "&codeDisplay=%7B%22pinned%22%3Afalse%2C%22note%22%3A%22digits%22%7D",
        "&counter=0",
        "&icon=GitHub&group=Work&tag=a&tag=b",
        "&issuer=A&T",
        "&serial=TOTP0001AB12&creator=privacyidea",
        "&digits=6&period=30&algorithm=SHA1&type=totp&encoding=base32",
    ] {
        let parsed = parsed(&format!("otpauth://totp/a?secret={{S}}{more}"));
        assert_eq!(
            parsed.account.parameters(),
            CodeParameters::default(),
            "{more}"
        );
    }
}

#[test]
fn wrapping_is_taken_off_where_it_is_plain() {
    let whole = uri(WHOLE);
    let escaped = utf8_percent_encode(&whole, NON_ALPHANUMERIC).to_string();
    for text in [
        format!("\"{whole}\""),
        format!("'{whole}'"),
        format!("`{whole}`"),
        format!("<{whole}>"),
        format!("({whole})"),
        format!("\u{201c}{whole}\u{201d}"),
        format!("\u{ab}{whole}\u{bb}"),
        format!("\"{whole}\","),
        format!("- {whole}"),
        format!("* {whole}"),
        format!("\u{2022} {whole}"),
        format!("1. {whole}"),
        format!("> {whole}"),
        format!("totp: {whole}"),
        format!("otpauth: {whole}"),
        format!("TOTP URI: {whole}"),
        format!("- otp: \"{whole}\""),
        format!("OTP={whole}"),
        format!("export OTP='{whole}'"),
        format!("{{\"uri\": \"{whole}\"}}"),
        format!("[GitHub]({whole})"),
        format!("<a href=\"{whole}\">Set up</a>"),
        format!("<a href=\"{whole}\">{whole}</a>"),
        format!(
            "<img alt='QR' src=\"https://chart.googleapis.com/chart?cht=qr&amp;chl={escaped}\">"
        ),
        whole.replace("otpauth://", "apple-otpauth://"),
        format!("apple-otpauth:{whole}"),
        format!("https://chart.googleapis.com/chart?chs=200x200&chld=M|0&cht=qr&chl={escaped}"),
        format!("https://api.qrserver.com/v1/create-qr-code/?data={escaped}&size=220x220&ecc=M"),
        format!("http://example.com/qr/{escaped}"),
        format!("https://example.com/#text={escaped}"),
    ] {
        let parsed =
            otpauth::parse(&text).unwrap_or_else(|problem| panic!("{text:?}: {problem:?}"));
        assert_eq!(parsed.account, meant(), "{text:?}");
    }
    for text in [
        format!("{whole}\n{whole}"),
        format!("{whole} {whole}"),
        format!("{whole}\n\nBackup codes: 1234 5678"),
        format!("{whole}\nBackup codes: 1234 5678"),
        format!("hunter2\ntotp: {whole}"),
        format!("\"{whole}"),
        format!("<a href=\"{whole}\">{whole}0</a>"),
        format!("https://chart.googleapis.com/chart?cht=qr&chl={whole}"),
    ] {
        assert_eq!(
            otpauth::parse(&text).map(|parsed| parsed.account),
            Err(InputProblem::OtpauthNotAlone),
            "{text:?}"
        );
    }
}

#[test]
fn a_secret_is_read_however_it_is_grouped() {
    let expected = parsed("otpauth://totp/a?secret={S}").account;
    for mark in [
        "\n",
        "\r\n",
        "\t",
        " ",
        "\u{a0}",
        "\u{202f}",
        "\u{2009}",
        "\u{3000}",
        "\u{200b}",
        "\u{200d}",
        "\u{2060}",
        "\u{feff}",
        "\u{ad}",
        "-",
        "\u{2010}",
        "\u{2011}",
        "\u{2013}",
        "\u{2014}",
        "\u{2212}",
        "\u{ff0d}",
        "\u{5be}",
        "\u{30a0}",
        "\u{202a}",
        "\u{85}",
        "%0D%0A",
        "%C2%A0",
        "%E2%80%93",
        "%E2%80%8B",
        "+",
        "%20",
    ] {
        let secret = format!("{}{mark}{}{mark}", &SECRET[..5], &SECRET[5..]);
        let text = format!("otpauth://totp/a?secret={secret}");
        let parsed =
            otpauth::parse(&text).unwrap_or_else(|problem| panic!("{text:?}: {problem:?}"));
        assert_eq!(parsed.account, expected, "{text:?}");
    }
    // Letters of another script are never guessed.
    for wrong in ["\u{ff21}", "\u{410}", "_", ".", "*", "\u{2022}"] {
        let text = format!("otpauth://totp/a?secret={SECRET}{wrong}AAAAAAA");
        assert_eq!(
            otpauth::parse(&text).map(|parsed| parsed.account),
            Err(InputProblem::SecretNotBase32 { lookalike: false }),
            "{text:?}"
        );
    }
}

/// How programs write an account: ours; pyotp; otplib; Aegis; 2FAuth; Ente; KeePassXC.
fn written(account: &TotpAccount, writer: usize) -> String {
    let escape = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let form = |text: &str| escape(text).replace("%20", "+");
    let secret = data_encoding::BASE32_NOPAD.encode(account.secret().expose());
    let padded = data_encoding::BASE32.encode(account.secret().expose());
    let name = account.account_name();
    let issuer = account.issuer().unwrap_or("Example");
    let (p, steam) = (account.parameters(), account.parameters().is_steam());
    let (algorithm, digits, period) = (p.algorithm().as_str(), p.digits(), p.period());
    let kind = if steam { "steam" } else { "totp" };
    let label = format!("{}:{}", escape(issuer), escape(name));
    match writer {
        0 => account.to_uri().to_string(),
        1 => {
            let encoder = if steam { "&encoder=steam" } else { "" };
            format!(
                "otpauth://totp/{label}?secret={secret}&issuer={}&algorithm={algorithm}&digits={digits}&period={period}{encoder}",
                escape(issuer)
            )
        }
        2 => format!(
            "otpauth://{kind}/{label}?period={period}&digits={digits}&algorithm={algorithm}&secret={secret}&issuer={}",
            escape(issuer)
        ),
        3 => format!(
            "otpauth://{kind}/{label}?period={period}&digits={digits}&algorithm={algorithm}&secret={secret}&issuer={}",
            form(issuer)
        ),
        4 => format!(
            "otpauth://{kind}/{label}?algorithm={}&digits={digits}&issuer={}&period={period}&secret={padded}",
            algorithm.to_lowercase(),
            escape(issuer)
        ),
        5 => format!(
            "otpauth://{kind}/{label}?algorithm={}&digits={digits}&issuer={}&period={period}&secret={secret}&codeDisplay=%7B%22pinned%22%3Afalse%7D",
            algorithm.to_lowercase(),
            escape(issuer)
        ),
        _ => {
            let (digits, encoder) = if steam {
                (6, "&encoder=steam")
            } else {
                (digits, "")
            };
            format!(
                "otpauth://totp/{label}?secret={secret}&period={period}&digits={digits}&issuer={}{encoder}{}",
                escape(issuer),
                if algorithm == "SHA1" {
                    String::new()
                } else {
                    format!("&algorithm={algorithm}")
                }
            )
        }
    }
}

fn accounts() -> impl Strategy<Value = TotpAccount> {
    let algorithm = prop_oneof![
        Just(Algorithm::Sha1),
        Just(Algorithm::Sha256),
        Just(Algorithm::Sha512)
    ];
    let parameters = prop_oneof![
        1 => Just(CodeParameters::STEAM),
        6 => (algorithm, 6_u8..=8, prop_oneof![Just(30_u32), Just(60), 1_u32..=86_400]).prop_map(
            |(algorithm, digits, period)| CodeParameters::new(algorithm, digits, period).unwrap()
        ),
    ];
    let name = prop_oneof![
        "[A-Za-z][A-Za-z ]{0,11}[a-z]",
        "[a-z]{1,8}@[a-z]{1,8}\\.com",
        "[^\\pC%]{1,10}"
    ];
    // In mail, `3D` in front of a secret is rather the rest of an equals sign.
    let secret = prop::collection::vec(any::<u8>(), 10..40)
        .prop_filter("begins with 3D", |secret| {
            secret[0] != 0xd8 || secret[1] >> 6 != 3
        });
    (name.clone(), name, parameters, secret).prop_map(|(issuer, name, parameters, secret)| {
        let labels = Labels::new(Some(&format!("I{issuer}")), &format!("n{name}")).unwrap();
        let secret = TotpSecret::new(Zeroizing::new(secret)).unwrap();
        TotpAccount::new(labels, parameters, secret)
    })
}

/// How many cases there are, unless `PROPTEST_CASES` says more.
fn cases() -> u32 {
    let said = std::env::var("PROPTEST_CASES").ok();
    said.and_then(|cases| cases.parse().ok()).unwrap_or(6_000)
}

/// What becomes of a separator.
fn damages() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        " ",
        "\n",
        "\r\n",
        "\t",
        ";",
        ",",
        "|",
        "+",
        "x",
        "0",
        "&&",
        "==",
        "??",
        "::",
        "//",
        "&",
        "=",
        "?",
        "#",
        ":",
        "/",
        "%26",
        "%3D",
        "%3F",
        "%3A",
        "%2F",
        "%23",
        "&amp;",
        "amp;",
        "&amp",
        "\u{ff06}",
        "\u{ff1d}",
        "\u{ff1f}",
        "\u{200b}",
        "\u{a0}",
        "%",
        "%0A",
        "\\",
        "\\u0026",
        "& ",
        " &",
        "= ",
        " =",
        "\"",
        "-",
        "_",
        ".",
        "$",
        "\u{2013}",
        "&shy;",
        "&nbsp;",
        "&#38;",
        "&#x3d;",
        "&hellip;",
        "&#8203",
        "%2526",
        "%253D",
        "=\n",
        "=\r\n",
        "\r\n ",
        "\n> ",
        "\u{2028}",
        "\u{fe60}",
        "\u{fe66}",
        "\u{ff1a}",
        "\u{ff0f}",
        "\u{201d}",
        "\u{2019}",
        "<br>",
        "<wbr>",
        "\\\n",
        "&&amp;",
        "&;",
        ";&",
        "\u{ad}",
        "\u{feff}",
        "\0",
        "\u{1b}[0m",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn what_programs_write_reads_back(account in accounts(), writer in 0_usize..7) {
        let text = written(&account, writer);
        let parsed = otpauth::parse(&text)
            .map_err(|problem| TestCaseError::fail(format!("{text}: {problem:?}")))?;
        prop_assert_eq!(parsed.account.secret(), account.secret(), "{}", text);
        prop_assert_eq!(parsed.account.parameters(), account.parameters(), "{}", text);
        prop_assert_eq!(parsed.account.issuer(), account.issuer(), "{}", text);
        prop_assert_eq!(parsed.account.account_name(), account.account_name(), "{}", text);
    }

    #[test]
    fn a_damaged_separator_never_gives_other_codes(
        account in accounts(),
        writer in 0_usize..7,
        at in any::<prop::sample::Index>(),
        damage in damages(),
    ) {
        let text = written(&account, writer);
        let separators: Vec<usize> = text
            .char_indices()
            // What follows a secret is padding, and no separator.
            .filter(|(at, c)| {
                let after = text[at + 1..].chars().next();
                ":/?&".contains(*c) || *c == '=' && !matches!(after, None | Some('=' | '&'))
            })
            .map(|(at, _)| at)
            .collect();
        let at = separators[at.index(separators.len())];
        let damaged = format!("{}{damage}{}", &text[..at], &text[at + 1..]);
        if let Ok(parsed) = otpauth::parse(&damaged) {
            prop_assert_eq!(parsed.account.secret(), account.secret(), "{}", damaged);
            prop_assert_eq!(parsed.account.parameters(), account.parameters(), "{}", damaged);
        }
    }

    #[test]
    fn an_insertion_never_yields_other_codes(
        account in accounts(),
        writer in 0_usize..7,
        at in any::<prop::sample::Index>(),
        damage in prop::sample::select(vec![
            "\n", "\r\n", "\r\n ", "\t", "&shy;", "&#8203;", "&zwnj;", "&shy", "&#8203", "&hellip;",
            "<wbr>", "<br>", "\u{ad}", "\u{200b}", "\u{2060}", "=\n", "=\r\n", "\\\n", "\u{1b}[0m",
        ]),
    ) {
        let text = written(&account, writer);
        // Behind the names, where parameters are: a word in a name is a name of its own.
        let begin = text.find('?').unwrap_or_default() + 1;
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).filter(|at| *at >= begin).collect();
        let at = places[at.index(places.len())];
        let damaged = format!("{}{damage}{}", &text[..at], &text[at..]);
        if let Ok(parsed) = otpauth::parse(&damaged) {
            prop_assert_eq!(parsed.account.secret(), account.secret(), "{}", damaged);
            prop_assert_eq!(parsed.account.parameters(), account.parameters(), "{}", damaged);
        }
    }
}
