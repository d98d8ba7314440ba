//! What people copy along with a URI, and parameters that nobody knows: what may belong to the
//! secret or mean a parameter of the codes is refused by name, the rest is read, and what was
//! left out is said.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use countersign_enrollment::account::CodeParameters;
use countersign_enrollment::otpauth::{self, Parsed, Warning};
use countersign_enrollment::problem::{InputProblem, Parameter};

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
/// Secrets of the lengths that services use.
const SECRETS: [&str; 5] = [
    "GEZDGNBVGY3TQOJQ",
    "GEZDGNBVGY3TQOJQGEZDGNBVGY",
    SECRET,
    "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBV",
    "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA",
];

#[track_caller]
fn parsed(text: &str) -> Parsed {
    let text = text.replace("{S}", SECRET);
    otpauth::parse(&text).unwrap_or_else(|problem| panic!("{text:?}: {problem:?}"))
}

#[track_caller]
fn refused(text: &str) -> InputProblem {
    let text = text.replace("{S}", SECRET);
    match otpauth::parse(&text) {
        Err(problem) => {
            let shown = format!("{problem:?} {} {}", problem.detail(), problem.next_step());
            assert!(!shown.contains("GEZDGNBV"), "{shown}");
            problem
        }
        Ok(parsed) => panic!("{text:?} is read as {:?}", parsed.account),
    }
}

#[test]
fn what_follows_a_secret_never_becomes_a_part_of_it() {
    let marks = [
        " ",
        "\u{a0}",
        "%20",
        "+",
        "%0A",
        "%09",
        "\u{2028}",
        "\u{200b}",
        "\u{2060}",
        "-",
        "\u{2014}",
        "%E2%80%93",
        "\t",
        "\n",
        "\r\n",
        "  ",
    ];
    let tails = [
        "HOME",
        "WORK",
        "TEST",
        "ALICE",
        "BANK",
        "JBSWY3DP",
        "ABCDEFGH",
        "234567",
        "home",
        "Alice",
        "GEZDGNBVGY3TQOJQ",
    ];
    for secret in SECRETS {
        for mark in marks {
            for tail in tails {
                // Halves of a secret are one secret; see below.
                if secret == tail && !["\t", "\n", "\r\n"].contains(&mark) {
                    continue;
                }
                refused(&format!(
                    "otpauth://totp/GitHub:alice?issuer=GitHub&secret={secret}{mark}{tail}"
                ));
                refused(&format!("steam://{secret}{mark}{tail}"));
                // A line that makes a secret of a usual length and goes on with parameters is the
                // rest of one that was wrapped.
                let is_rest = mark.contains(['\t', '\n'])
                    && ["JBSWY3DP", "GEZDGNBVGY3TQOJQ", "234567"].contains(&tail)
                    && [24, 32, 40, 48, 56].contains(&(secret.len() + tail.len()));
                if !is_rest {
                    refused(&format!(
                        "otpauth://totp/GitHub:alice?secret={secret}{mark}{tail}&issuer=GitHub"
                    ));
                }
            }
        }
    }
    assert_eq!(
        refused("otpauth://totp/a?secret={S} HOME"),
        InputProblem::SecretUnclear
    );
}

#[test]
fn a_secret_in_two_halves_is_one() {
    let expected = parsed("otpauth://totp/a?secret={S}&issuer=G").account;
    for mark in [
        " ",
        "  ",
        "%20",
        "+",
        "-",
        "\u{a0}",
        "%C2%A0",
        "\u{200b}",
        "\u{2013}",
        "%E2%80%93",
        "\u{3000}",
        "%0A",
        "\n",
        "\r\n",
    ] {
        for half in ["GEZDGNBVGY3TQOJQ", "gezdgnbvgy3tqojq"] {
            let text = format!("otpauth://totp/a?secret={half}{mark}{half}&issuer=G");
            assert_eq!(parsed(&text).account, expected, "{text:?}");
        }
    }
    // Words are no half, and two secrets of this length are no secret of twice the length.
    refused("otpauth://totp/a?secret=GEZDGNBVGY3TQOJQ ALICEALICEALICEA&issuer=G");
    refused("otpauth://totp/a?secret={S} {S}&issuer=G");
}

#[test]
fn a_secret_in_groups_is_one() {
    for secret in SECRETS {
        let expected = parsed(&format!("otpauth://totp/a?secret={secret}")).account;
        for size in [2, 3, 4, 5, 6, 8] {
            for mark in [" ", "-", "%20", "\u{a0}", "\u{2013}", "\u{200b}"] {
                let groups: Vec<&[u8]> = secret.as_bytes().chunks(size).collect();
                let groups: Vec<&str> = groups
                    .into_iter()
                    .map(|group| std::str::from_utf8(group).unwrap())
                    .collect();
                for text in [groups.join(mark), groups.join(mark).to_lowercase()] {
                    let read = parsed(&format!("otpauth://totp/a?secret={text}"));
                    assert_eq!(read.account, expected, "{text}");
                }
            }
        }
    }
}

#[test]
fn an_unknown_parameter_that_could_decide_is_refused_by_its_name() {
    use Parameter as P;
    for (more, name, parameter) in [
        ("&places=8", Some("places"), P::Digits),
        ("&characters=8", Some("characters"), P::Digits),
        ("&n=8", Some("n"), P::Digits),
        ("&positions=7", Some("positions"), P::Digits),
        ("&chars=6", Some("chars"), P::Digits),
        ("&count=8", Some("count"), P::Digits),
        ("&window=60", Some("window"), P::Period),
        ("&x=60", Some("x"), P::Period),
        ("&t=60", Some("t"), P::Period),
        ("&T=60", Some("T"), P::Period),
        ("&rotation=60", Some("rotation"), P::Period),
        ("&cycle=60", Some("cycle"), P::Period),
        ("&every=15", Some("every"), P::Period),
        ("&cycle=60s", Some("cycle"), P::Period),
        ("&cycle=60+seconds", Some("cycle"), P::Period),
        ("&cycle=60000", Some("cycle"), P::Period),
        ("&cycle=60.0", Some("cycle"), P::Period),
        ("&=60", None, P::Period),
        ("&=8", None, P::Digits),
        ("&GEZDGNBV=60", None, P::Period),
        ("&x=60&digits=6", Some("x"), P::Period),
        ("&n=8&period=30", Some("n"), P::Digits),
    ] {
        for text in [
            format!("otpauth://totp/a?secret={{S}}{more}"),
            format!("otpauth://totp/b:a?secret={{S}}&issuer=b{more}"),
            format!("otpauth://totp/a?{}&secret={{S}}", &more[1..]),
        ] {
            let expected = InputProblem::ParamUnclear {
                parameter,
                name: name.map(str::to_owned),
            };
            let problem = refused(&text);
            assert_eq!(problem, expected, "{text}");
            if let Some(name) = name {
                assert!(problem.detail().contains(name), "{}", problem.detail());
            }
            assert!(problem.next_step().contains(parameter.as_str()));
        }
    }
    for more in [
        "&x=SHA256",
        "&x=sha-512",
        "&x=HmacSHA1",
        "&x=SHA384",
        "&x=md5",
        "&mode=SHA2-256",
    ] {
        let problem = refused(&format!("otpauth://totp/a?secret={{S}}{more}"));
        let parameter = P::Algorithm;
        assert_eq!(problem, InputProblem::ParamDamaged { parameter }, "{more}");
    }
}

#[test]
fn an_unknown_parameter_that_decides_nothing_is_said() {
    let plain = parsed("otpauth://totp/b:a?secret={S}&issuer=b").account;
    for (more, names, count) in [
        ("&foo=bar", &["foo"][..], 1),
        ("&foo=", &["foo"], 1),
        ("&foo=bar&baz=1764489600", &["foo", "baz"], 2),
        ("&x=3", &["x"], 1),
        ("&window=60&period=30", &["window"], 1),
        ("&n=8&digits=6", &["n"], 1),
        ("&GEZDGNBVGY3TQOJQ=a", &[], 1),
        (
            "&a=b&c=d&e=f&g=h&j=k&m=o&q=r&s=u&w=y&z=a",
            &["a", "c", "e", "g", "j", "m", "q", "s"],
            10,
        ),
    ] {
        let read = parsed(&format!("otpauth://totp/b:a?secret={{S}}&issuer=b{more}"));
        let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
        let ignored = Warning::ParametersIgnored { names, count };
        assert_eq!(read.account, plain, "{more}");
        let detail = ignored.detail();
        assert!(
            detail.ends_with('.') && !detail.contains("GEZDGNBV"),
            "{detail}"
        );
        assert_eq!(read.warnings, [ignored], "{more}");
    }
    // What apps and services write for themselves.
    for more in [
        "&image=https%3A%2F%2Fexample.com%2Fa.png",
        "&icon=GitHub&color=60&lock=true",
        "&codeDisplay=%7B%22pinned%22%3Afalse%7D",
        "&counter=8",
        "&group=8&tag=7&folder=6",
        "&id=60&uuid=8&version=6&v=7",
        "&serial=TOTP0001AB12&creator=privacyidea&pin=True",
        "&issuerInt=b&issuerExt=b",
        "&lang=de&utm_source=mail&timestamp=1764489600",
    ] {
        let read = parsed(&format!("otpauth://totp/b:a?secret={{S}}&issuer=b{more}"));
        assert_eq!(
            (read.account, read.warnings),
            (plain.clone(), vec![]),
            "{more}"
        );
    }
}

#[test]
fn words_in_a_name_that_mean_a_parameter_are_not_passed_over() {
    use Parameter as P;
    for (uri, parameter) in [
        (
            "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub;period:60",
            P::Period,
        ),
        (
            "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub, 60 seconds",
            P::Period,
        ),
        (
            "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub%2C%2060%20seconds",
            P::Period,
        ),
        (
            "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub+(8+digits)",
            P::Digits,
        ),
        (
            "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub|digits:8",
            P::Digits,
        ),
        (
            "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub digits: 8",
            P::Digits,
        ),
        (
            "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub;SHA256",
            P::Algorithm,
        ),
        (
            "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub, algorithm:SHA512",
            P::Algorithm,
        ),
        (
            "otpauth://totp/alice?secret={S}&issuer=GitHub;interval:60",
            P::Period,
        ),
        (
            "otpauth://totp/alice;digits:8?secret={S}&issuer=GitHub",
            P::Digits,
        ),
        (
            "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub - 60 seconds",
            P::Period,
        ),
        (
            "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub 8 digits",
            P::Digits,
        ),
        (
            "otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub; TOTP SHA256",
            P::Algorithm,
        ),
        (
            "otpauth://totp/GitHub:alice, 60s?secret={S}&issuer=GitHub",
            P::Period,
        ),
    ] {
        let expected = InputProblem::ParamUnclear {
            parameter,
            name: None,
        };
        assert_eq!(refused(uri), expected, "{uri}");
    }
    // Where it says what holds, or the parameter is given, or names are consistently like that.
    for (uri, issuer) in [
        (
            "otpauth://totp/a?secret={S}&issuer=GitHub, 30 seconds",
            "GitHub, 30 seconds",
        ),
        (
            "otpauth://totp/a?secret={S}&issuer=GitHub, 60 seconds&period=30",
            "GitHub, 60 seconds",
        ),
        (
            "otpauth://totp/a?secret={S}&issuer=Acme (SHA1)",
            "Acme (SHA1)",
        ),
        (
            "otpauth://totp/Acme%3B8%20digits:a?secret={S}&issuer=Acme%3B8%20digits",
            "Acme;8 digits",
        ),
        (
            "otpauth://totp/a?secret={S}&issuer=7 Eleven, Inc.",
            "7 Eleven, Inc.",
        ),
        ("otpauth://totp/a?secret={S}&issuer=Studio 54", "Studio 54"),
        (
            "otpauth://totp/a?secret={S}&issuer=30 Seconds to Mars",
            "30 Seconds to Mars",
        ),
    ] {
        let read = parsed(uri);
        assert_eq!(read.account.issuer(), Some(issuer), "{uri}");
        assert_eq!(
            read.account.parameters(),
            CodeParameters::default(),
            "{uri}"
        );
    }
}

#[test]
fn a_note_that_says_what_the_codes_are_like_is_not_passed_over() {
    for (more, parameter) in [
        ("note=60%20seconds", Parameter::Period),
        ("notes=8%20digits,%2060%20seconds", Parameter::Digits),
        ("comment=uses+SHA-256", Parameter::Algorithm),
        ("name=GitHub%3B%20period:60", Parameter::Period),
        ("tag=work%20SHA512", Parameter::Algorithm),
        ("label=digits%3A%208", Parameter::Digits),
    ] {
        let problem = refused(&format!("otpauth://totp/GitHub:alice?secret={{S}}&{more}"));
        let expected = InputProblem::ParamUnclear {
            parameter,
            name: None,
        };
        assert_eq!(problem, expected, "{more}");
    }
    // The same as is said elsewhere, and what says nothing about codes.
    for more in [
        "note=60%20seconds&period=60",
        "note=30%20seconds",
        "note=6%20digits",
        "note=since%202023",
        "note=call%20060%20555",
        "tags=work,private",
        "order=8",
        "image=https%3A%2F%2Fa.example%2Fsha256%2F60.png",
        "icon=60",
    ] {
        parsed(&format!("otpauth://totp/GitHub:alice?secret={{S}}&{more}"));
    }
}

#[test]
fn what_is_left_of_mails_encoding_is_no_part_of_a_secret() {
    let damaged = InputProblem::ParamDamaged {
        parameter: Parameter::Secret,
    };
    for length in [16, 24, 26, 32, 40, 52] {
        let secret = "GEZDGNBVGY3TQOJQ".repeat(4);
        for uri in [
            format!("otpauth://totp/a?secret=3D{}", &secret[..length]),
            format!("otpauth://totp/a?secret=3d{}", &secret[..length]),
        ] {
            assert_eq!(refused(&uri), damaged, "{uri}");
        }
    }
    for uri in [
        "otpauth://totp/a?secret=3D{S}&period=60",
        "otpauth://totp/b:a?issuer=b&secret=3D{S}",
        "otpauth://totp/b:a?secret=3DGEZDGNBVGY3TQOJQGEZDGNBVGY&issuer=b",
        "otpauth://totp/b:a?secret=3DGEZD GNBV GY3T QOJQ&issuer=b",
    ] {
        assert_eq!(refused(uri), damaged, "{uri}");
    }
    // Secrets of the usual lengths that begin so.
    for uri in [
        "otpauth://totp/a?secret=3DGEZDGNBVGY3TQOJQGEZDGNBVGY3TQO",
        "otpauth://totp/b:a?secret=3DGEZDGNBVGY3TQOJQGEZDGNBV&issuer=b",
    ] {
        parsed(uri);
    }
}

#[test]
fn the_end_of_a_sentence_is_no_part_of_a_value() {
    let expected = parsed("otpauth://totp/b:a?secret={S}&issuer=b&period=60&digits=8").account;
    for stop in [
        ".",
        ",",
        ")",
        ";",
        "\"",
        "'",
        "%",
        ").",
        "\u{201d}.",
        "?",
        "\u{3002}",
        "]",
        "\u{2026}",
    ] {
        for uri in [
            format!("otpauth://totp/b:a?secret={{S}}&issuer=b&period=60&digits=8{stop}"),
            format!("otpauth://totp/b:a?secret={{S}}&issuer=b&digits=8&period=60{stop}"),
            format!("otpauth://totp/b:a?issuer=b&digits=8&period=60&secret={{S}}{stop}"),
            format!(
                "otpauth://totp/b:a?secret={{S}}&issuer=b&digits=8&period=60&algorithm=SHA1{stop}"
            ),
        ] {
            assert_eq!(parsed(&uri).account, expected, "{uri}");
        }
    }
    // It ends only what is at the end, and a name can end so.
    assert_eq!(
        refused("otpauth://totp/a?secret={S}&digits=8.&issuer=b"),
        InputProblem::DigitsUnsupported
    );
    let read = parsed("otpauth://totp/a?secret={S}&issuer=Acme Inc.");
    assert_eq!(read.account.issuer(), Some("Acme Inc."));
}

#[test]
fn numbers_may_be_written_as_tables_do() {
    for uri in [
        "otpauth://totp/a?secret={S}&digits=8.0&period=60.0",
        "otpauth://totp/a?secret={S}&digits=8,0&period=60.00",
    ] {
        let parameters = parsed(uri).account.parameters();
        assert_eq!((parameters.digits(), parameters.period()), (8, 60), "{uri}");
    }
    for uri in ["digits=8.1", "digits=.8", "digits=8.", "digits=8.0.0"] {
        let uri = format!("otpauth://totp/a?secret={{S}}&{uri}&issuer=b");
        assert_eq!(refused(&uri), InputProblem::DigitsUnsupported, "{uri}");
    }
}

#[test]
fn names_that_were_escaped_twice_are_shown_as_they_were() {
    for (label, issuer, expected) in [
        (
            "GitHub%2520Inc:alice",
            "&issuer=GitHub%2520Inc",
            ("GitHub Inc", "alice"),
        ),
        (
            "GitHub%2520Inc:alice",
            "&issuer=GitHub%20Inc",
            ("GitHub Inc", "alice"),
        ),
        ("GitHub%253Aalice", "", ("GitHub", "alice")),
        ("GitHub%253Aalice", "&issuer=GitHub", ("GitHub", "alice")),
        (
            "GitHub%253Aalice%2540example.com",
            "",
            ("GitHub", "alice@example.com"),
        ),
        (
            "Caf%25C3%25A9:alice",
            "&issuer=Caf%25C3%25A9",
            ("Caf\u{e9}", "alice"),
        ),
        ("A%2526B:alice", "&issuer=A%2526B", ("A&B", "alice")),
    ] {
        let uri = format!("otpauth://totp/{label}?secret={{S}}{issuer}");
        let read = parsed(&uri);
        let names = (read.account.issuer().unwrap(), read.account.account_name());
        assert_eq!(names, expected, "{uri}");
        assert_eq!(read.warnings, [Warning::EscapesUndone], "{uri}");
    }
    // A percent sign that is one.
    for (label, name) in [
        ("100%25", "100%"),
        ("100%2525", "100%25"),
        ("50%25%20off", "50% off"),
        ("a%2500b", "a%00b"),
        ("%25zz%2520", "%zz%20"),
    ] {
        let read = parsed(&format!("otpauth://totp/{label}?secret={{S}}"));
        assert_eq!(read.account.account_name(), name, "{label}");
        assert_eq!(read.warnings, [], "{label}");
    }
    for uri in [
        "otpauth://totp//GitHub:alice?secret={S}",
        "otpauth://totp///GitHub:alice?secret={S}&issuer=GitHub",
    ] {
        let read = parsed(uri);
        assert_eq!(read.account.issuer(), Some("GitHub"), "{uri}");
        assert_eq!(read.account.account_name(), "alice", "{uri}");
    }
}
