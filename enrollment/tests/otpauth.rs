//! Every rule for reading an otpauth URI, as a table: what is written, what is read, and
//! who writes it so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use countersign_enrollment::account::{Algorithm, CodeParameters};
use countersign_enrollment::otpauth::{self, Parsed, Warning};
use countersign_enrollment::problem::{InputProblem, Parameter};

/// 128 bits, so that nothing about it is odd.
const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// `{S}` stands for [`SECRET`].
fn uri(template: &str) -> String {
    template.replace("{S}", SECRET)
}

#[track_caller]
fn parsed(template: &str) -> Parsed {
    otpauth::parse(&uri(template)).unwrap_or_else(|problem| panic!("{template}: {problem:?}"))
}

#[track_caller]
fn refused(template: &str) -> InputProblem {
    match otpauth::parse(&uri(template)) {
        Err(problem) => problem,
        Ok(parsed) => panic!("{template} is read as {:?}", parsed.account),
    }
}

#[test]
fn scheme_and_type() {
    // Upper case: Google Authenticator and pyotp read it, Aegis does not.
    for accepted in [
        "otpauth://totp/a?secret={S}",
        "OTPAUTH://totp/a?secret={S}",
        "otpauth://TOTP/a?secret={S}",
        "OtpAuth://Totp/a?secret={S}",
        "  otpauth://totp/a?secret={S}\r\n",
        "otpauth:totp/a?secret={S}",
    ] {
        let account = parsed(accepted).account;
        assert_eq!(account.account_name(), "a", "{accepted}");
        assert_eq!(account.parameters(), CodeParameters::default());
        assert_eq!(account.secret().expose(), b"12345678901234567890");
    }
    for (template, problem) in [
        // HashiCorp Vault takes it for TOTP and shows wrong codes forever.
        ("otpauth://hotp/a?secret={S}", InputProblem::HotpUnsupported),
        (
            "otpauth://HOTP/a?secret={S}&counter=4",
            InputProblem::HotpUnsupported,
        ),
        ("otpauth://motp/a?secret={S}", InputProblem::TypeUnsupported),
        ("otpauth:///a?secret={S}", InputProblem::OtpauthMalformed),
    ] {
        assert_eq!(refused(template), problem, "{template}");
    }
}

#[test]
fn steam_is_named_explicitly() {
    // Aegis, 2FAuth and KeePassXC; the issuer alone (totp-rs) says nothing.
    for template in [
        "otpauth://steam/Steam:gordon?secret={S}&issuer=Steam",
        "otpauth://STEAM/Steam:gordon?secret={S}",
        "otpauth://totp/Steam:gordon?secret={S}&encoder=steam",
        "otpauth://totp/Steam:gordon?secret={S}&issuer=Steam&encoder=STEAM&digits=5&period=30&algorithm=SHA1",
        // 2FAuth and WinAuth; KeePassXC, which writes six digits whatever the codes are; Stratum.
        "otpauth://totp/Steam:gordon?secret={S}&issuer=Steam&digits=5",
        "otpauth://totp/gordon?secret={S}&issuer=Steam&period=30&digits=6&encoder=steam",
        "otpauth://totp/Steam:gordon?secret={S}&issuer=Steam&steam",
        "otpauth://totp/Steam:gordon?secret={S}&digits=5",
        "otpauth://totp/gordon?secret={S}&issuer=Steam%20Guard&digits=5",
        "otpauth://totp/gordon?secret={S}&issuer=STEAM&algorithm=SHA1&digits=5&period=30",
        "otpauth://totp/gordon?secret={S}&issuer=Steam&type=steam",
        "otpauth://steam/Steam:gordon?secret={S}&digits=6",
        "steam://{S}",
        "STEAM://gezd gnbv gy3t qojq gezd gnbv gy3t qojq",
        "steam://{S}/",
    ] {
        let parsed = parsed(template);
        assert!(parsed.account.parameters().is_steam(), "{template}");
        assert_eq!(parsed.account.parameters(), CodeParameters::STEAM);
        assert_eq!(parsed.warnings, []);
        assert_eq!(otpauth::parse(&parsed.account.to_uri()), Ok(parsed));
    }
    // Valve's own form; the apps disagree on it, so that the person is asked.
    for template in [
        "otpauth://totp/Steam:gordon?secret={S}&issuer=Steam",
        "otpauth://totp/Steam:gordon?secret={S}",
        "otpauth://totp/Steam?secret={S}&digits=6",
    ] {
        let plain = parsed(template);
        assert!(!plain.account.parameters().is_steam(), "{template}");
        assert_eq!(plain.warnings, [Warning::MaybeSteam], "{template}");
        let chosen = plain.into_steam().unwrap();
        assert!(chosen.account.parameters().is_steam(), "{template}");
        assert_eq!(chosen.warnings, []);
    }
    let other = parsed("otpauth://totp/Steamworks:me?secret={S}&digits=8");
    assert_eq!(other.warnings, []);
    assert_eq!(
        other.into_steam(),
        Err(InputProblem::ParamsConflict {
            parameter: Parameter::Digits
        })
    );
    // Five digits are nobody else's.
    for template in [
        "otpauth://totp/GitHub:octo?secret={S}&digits=5",
        "otpauth://totp/Steamworks:octo?secret={S}&digits=5",
    ] {
        assert_eq!(
            refused(template),
            InputProblem::DigitsUnsupported,
            "{template}"
        );
    }
    for template in ["steam://run/570", "steam://open/friends", "steam://"] {
        refused(template);
    }
    for (template, parameter) in [
        ("otpauth://steam/x?secret={S}&digits=8", Parameter::Digits),
        ("otpauth://steam/x?secret={S}&period=60", Parameter::Period),
        (
            "otpauth://steam/x?secret={S}&algorithm=SHA256",
            Parameter::Algorithm,
        ),
    ] {
        assert_eq!(
            refused(template),
            InputProblem::ParamsConflict { parameter }
        );
    }
}

#[test]
fn spellings_of_the_secret() {
    let secret = |written: &str| {
        let parsed = parsed(&format!("otpauth://totp/a?secret={written}"));
        (parsed.account.secret().expose().to_vec(), parsed.warnings)
    };
    let weak = |bits| Warning::WeakSecret { bits };
    for (written, bytes, warnings) in [
        // Lower case, which totp-rs refuses; groups, as many set-up pages print them.
        (
            "jbswy3dpehpk3pxp",
            &b"Hello!\xde\xad\xbe\xef"[..],
            vec![weak(80)],
        ),
        (
            "JBSW%20Y3DP-EHPK%093PXP",
            b"Hello!\xde\xad\xbe\xef",
            vec![weak(80)],
        ),
        (
            "JBSW+Y3DP+EHPK+3PXP",
            b"Hello!\xde\xad\xbe\xef",
            vec![weak(80)],
        ),
        // Padding, escaped or not, right or wrong.
        ("MFRGG===", b"abc", vec![weak(24)]),
        ("MFRGG%3D%3D%3D", b"abc", vec![weak(24)]),
        ("MFRGG=", b"abc", vec![weak(24)]),
        // 2, 4, 5 and 7 characters after a multiple of 8 make whole bytes.
        ("ME", b"a", vec![weak(8)]),
        ("MFRA", b"ab", vec![weak(16)]),
        ("MFRGG", b"abc", vec![weak(24)]),
        ("MFRGGZA", b"abcd", vec![weak(32)]),
        // Bits that make no byte: Google's own apps drop them.
        ("MF", b"a", vec![weak(8), Warning::TrailingBits]),
        // The example of the project that this one began with: 40 bits.
        ("2FASTEST", b"\xd1\x41\x29\x92\x53", vec![weak(40)]),
    ] {
        assert_eq!(secret(written), (bytes.to_vec(), warnings), "{written}");
    }
    let strong = SECRET[..26].to_owned();
    assert_eq!(secret(&strong).1, [], "128 bits are enough");

    for (written, problem) in [
        // One, three and six characters after a multiple of 8 are no base32: part of the
        // secret was not copied. Google's apps and totp-rs drop bits silently.
        ("MFRGGZDFM", InputProblem::SecretTruncated),
        ("MFR", InputProblem::SecretTruncated),
        ("MFRGGZ", InputProblem::SecretTruncated),
        // Look-alikes are never guessed.
        (
            "MFRGGZD0",
            InputProblem::SecretNotBase32 { lookalike: true },
        ),
        (
            "MFRGGZD1",
            InputProblem::SecretNotBase32 { lookalike: true },
        ),
        (
            "MFRGGZD8",
            InputProblem::SecretNotBase32 { lookalike: true },
        ),
        (
            "MFRGGZD9",
            InputProblem::SecretNotBase32 { lookalike: true },
        ),
        (
            "MFRGGZD!",
            InputProblem::SecretNotBase32 { lookalike: false },
        ),
        (
            "MF=RGGZD",
            InputProblem::SecretNotBase32 { lookalike: false },
        ),
        (
            "MFRGG%FF%FE",
            InputProblem::SecretNotBase32 { lookalike: false },
        ),
        (
            "MFRGG%C3%9F",
            InputProblem::SecretNotBase32 { lookalike: false },
        ),
        ("", InputProblem::SecretMissing),
        ("%20-%20", InputProblem::SecretMissing),
        ("====", InputProblem::SecretMissing),
        (
            &"A".repeat(1_032),
            InputProblem::SecretTooLong { limit: 1_024 },
        ),
    ] {
        assert_eq!(
            refused(&format!("otpauth://totp/a?secret={written}")),
            problem,
            "{written}"
        );
    }
    assert_eq!(refused("otpauth://totp/a"), InputProblem::SecretMissing);
    assert_eq!(
        refused("otpauth://totp/a?issuer=b"),
        InputProblem::SecretMissing
    );
    let longest = parsed(&format!("otpauth://totp/a?secret={}", "A".repeat(1_024)));
    assert_eq!(longest.account.secret().expose().len(), 640);
}

/// Issuer, account name, and the label's issuer where it is another one.
#[track_caller]
fn labels(template: &str, issuer: Option<&str>, account_name: &str, label_issuer: Option<&str>) {
    let parsed = parsed(template);
    let account = &parsed.account;
    assert_eq!(account.issuer(), issuer, "{template}");
    assert_eq!(account.account_name(), account_name, "{template}");
    assert_eq!(account.labels().label_issuer(), label_issuer, "{template}");
    let mismatch = label_issuer.map(|text| Warning::IssuerMismatch {
        label_issuer: text.to_owned(),
    });
    let warned = parsed
        .warnings
        .iter()
        .find(|warning| matches!(warning, Warning::IssuerMismatch { .. }));
    assert_eq!(warned, mismatch.as_ref(), "{template}");
    let again = otpauth::parse(&account.to_uri()).unwrap().account;
    assert_eq!(&again, account, "{template} survives its export");
}

#[test]
fn labels_are_split_as_their_writers_meant_it() {
    let q = "?secret={S}";
    let with = |label: &str, issuer: &str| format!("otpauth://totp/{label}{q}&issuer={issuer}");
    let without = |label: &str| format!("otpauth://totp/{label}{q}");
    // The wiki's own form, and a space after the separator.
    labels(&without("Example:alice"), Some("Example"), "alice", None);
    labels(&without("Example:%20alice"), Some("Example"), "alice", None);
    labels(&without("Example%3Aalice"), Some("Example"), "alice", None);
    labels(
        &without("Example%3a%20%20alice"),
        Some("Example"),
        "alice",
        None,
    );
    labels(&without("alice"), None, "alice", None);
    labels(
        &with("Example:alice", "Example"),
        Some("Example"),
        "alice",
        None,
    );
    labels(&with("alice", "Example"), Some("Example"), "alice", None);
    // An empty parameter is none.
    labels(&with("Example:alice", ""), Some("Example"), "alice", None);
    labels(&with("alice", "%20"), None, "alice", None);
    // Only case differs: the parameter's spelling, without a warning.
    labels(&with("github:octo", "GitHub"), Some("GitHub"), "octo", None);
    // They name two issuers (Slack; hectorm/otpauth#25): the parameter counts.
    labels(&with("Slack:me", "Acme"), Some("Acme"), "me", Some("Slack"));
    // Microsoft writes two colons.
    labels(
        &with("Microsoft:Company:user%40x", "Microsoft"),
        Some("Microsoft"),
        "Company:user@x",
        None,
    );
    labels(
        &without("Microsoft:Company:user"),
        Some("Microsoft"),
        "Company:user",
        None,
    );
    // Colons in the issuer, raw (Gitea) and escaped.
    labels(
        &with("Git%20(https://x):user", "Git%20(https://x)"),
        Some("Git (https://x)"),
        "user",
        None,
    );
    labels(&with("a%3Ab:c", "a%3Ab"), Some("a:b"), "c", None);
    // An escaped colon belongs to the account name where the parameter says otherwise.
    labels(
        &with("user%3Atag", "Example"),
        Some("Example"),
        "user:tag",
        None,
    );
    // `+` is a space in the query and itself in the label (Google's apps).
    labels(&with("a+b", "Big+Corp"), Some("Big Corp"), "a+b", None);
    labels(&with("a%20b", "Big%20Corp"), Some("Big Corp"), "a b", None);
    // No account name, or no label at all.
    labels(&with("", "Example"), Some("Example"), "Example", None);
    labels(&without(""), None, "Account", None);
    labels(&format!("otpauth://totp{q}"), None, "Account", None);
    labels(&without("Example:"), Some("Example"), "Example", None);
    // Escapes are resolved once.
    labels(&without("100%2525"), None, "100%25", None);
    labels(&without("caf%C3%A9"), None, "caf\u{e9}", None);
}

#[test]
fn labels_that_are_no_text_are_refused() {
    let long = "x".repeat(257);
    for (template, problem) in [
        (
            "otpauth://totp/%FF?secret={S}",
            InputProblem::LabelMalformed,
        ),
        (
            "otpauth://totp/a%C3:b?secret={S}",
            InputProblem::LabelMalformed,
        ),
        (
            "otpauth://totp/a?secret={S}&issuer=%FF",
            InputProblem::LabelMalformed,
        ),
        (
            &format!("otpauth://totp/{long}?secret={{S}}"),
            InputProblem::LabelTooLong { limit: 256 },
        ),
        (
            &format!("otpauth://totp/a?secret={{S}}&issuer={long}"),
            InputProblem::LabelTooLong { limit: 256 },
        ),
    ] {
        assert_eq!(refused(template), problem, "{template}");
    }
    let cleaned = parsed("otpauth://totp/a%00b%E2%80%AEc?secret={S}");
    assert_eq!(cleaned.account.account_name(), "abc");
    assert_eq!(cleaned.warnings, [Warning::CleanedLabel]);
}

#[test]
fn an_unescaped_hash_sign() {
    // A guest in Azure: no secret precedes the sign, so it stands for itself.
    labels(
        "otpauth://totp/Contoso:me_x.com#EXT#@contoso.com?secret={S}&issuer=Contoso",
        Some("Contoso"),
        "me_x.com#EXT#@contoso.com",
        None,
    );
    labels("otpauth://totp/a#b?secret={S}", None, "a#b", None);
    // Otherwise it begins a fragment, as RFC 3986 has it.
    for template in [
        "otpauth://totp/a?secret={S}#about",
        "otpauth://totp/a?secret={S}#a=b&c=d",
        "otpauth://totp/a?secret={S}#issuer=b",
        "otpauth://totp/a?secret={S}#",
        "otpauth://totp/a?secret={S}&digits=6#&digits=6",
    ] {
        let parsed = parsed(template);
        assert_eq!(parsed.account.secret().expose(), b"12345678901234567890");
        assert_eq!(parsed.warnings, [Warning::FragmentIgnored], "{template}");
    }
    let cut = parsed("otpauth://totp/a?secret={S}&issuer=C#Corp");
    assert_eq!(cut.account.issuer(), Some("C"));
    // Nobody can tell which codes are meant.
    for (template, parameter) in [
        (
            "otpauth://totp/a?secret={S}&issuer=C#Corp&digits=8",
            Parameter::Digits,
        ),
        (
            "otpauth://totp/a?secret={S}&issuer=C#Corp&period=60",
            Parameter::Period,
        ),
        (
            "otpauth://totp/a?secret={S}&issuer=C#Corp&algorithm=SHA512",
            Parameter::Algorithm,
        ),
    ] {
        assert_eq!(
            refused(template),
            InputProblem::ParamsConflict { parameter }
        );
    }
}

#[test]
fn parameters_that_are_unknown_repeated_or_upper_case() {
    // Never fetched, never kept (2FAuth's image fetching was a hole three times).
    let plain = parsed("otpauth://totp/a?secret={S}&issuer=b");
    for more in [
        "&image=https%3A%2F%2Fevil.example%2Fx.png",
        "&color=ff0000",
        "&&",
    ] {
        let template = format!("otpauth://totp/a?secret={{S}}&issuer=b{more}");
        assert_eq!(parsed(&template), plain, "{template}");
    }
    for (more, names) in [("&%FF=1", &[][..]), ("&x", &["x"])] {
        let template = format!("otpauth://totp/a?secret={{S}}&issuer=b{more}");
        let names = names.iter().copied().map(str::to_owned).collect();
        let ignored = Warning::ParametersIgnored { names, count: 1 };
        assert_eq!(parsed(&template).warnings, [ignored], "{template}");
        assert_eq!(parsed(&template).account, plain.account, "{template}");
    }
    // The same twice is once; two different values have no meaning.
    let twice = "otpauth://totp/a?secret={S}&secret={S}&digits=6&digits=6&period=30&period=30\
                 &algorithm=SHA1&algorithm=sha1&issuer=b&issuer=b";
    assert_eq!(parsed(twice), plain);
    for (more, parameter) in [
        ("&secret=MFRGG", Parameter::Secret),
        ("&digits=6&digits=8", Parameter::Digits),
        ("&period=30&period=60", Parameter::Period),
        ("&algorithm=SHA1&algorithm=SHA256", Parameter::Algorithm),
    ] {
        let template = format!("otpauth://totp/a?secret={{S}}{more}");
        assert_eq!(
            refused(&template),
            InputProblem::ParamsConflict { parameter }
        );
    }
    let repeated = parsed("otpauth://totp/a?secret={S}&issuer=b&issuer=c");
    assert_eq!(repeated.account.issuer(), Some("b"));
    assert_eq!(repeated.warnings, [Warning::RepeatedIssuer]);
    let shouted = parsed("otpauth://totp/a?SECRET={S}&Issuer=b");
    assert_eq!(shouted.account, plain.account);
    assert_eq!(shouted.warnings, [Warning::FoldedNames]);
}

#[test]
fn algorithms() {
    for (written, algorithm) in [
        ("SHA1", Algorithm::Sha1),
        ("sha1", Algorithm::Sha1),
        ("SHA-1", Algorithm::Sha1),
        ("HmacSHA1", Algorithm::Sha1),
        ("sha256", Algorithm::Sha256),
        ("SHA-256", Algorithm::Sha256),
        ("HmacSHA256", Algorithm::Sha256),
        ("SHA512", Algorithm::Sha512),
        ("hmac-sha-512", Algorithm::Sha512),
    ] {
        let account = parsed(&format!(
            "otpauth://totp/a?secret={{S}}&algorithm={written}"
        ))
        .account;
        assert_eq!(account.parameters().algorithm(), algorithm, "{written}");
    }
    for (written, name) in [
        ("MD5", Some("MD5")),
        ("md5", Some("MD5")),
        ("SHA224", Some("SHA224")),
        ("SHA512%2F256", Some("SHA512/256")),
        ("ripemd160", Some("RIPEMD160")),
        ("GEZDGNB", None),
        ("sm3", Some("SM3")),
        ("FOO", Some("FOO")),
        // What could be a secret that slipped is not repeated.
        (SECRET, None),
        ("a%20longer%20text", None),
        ("%FF", None),
    ] {
        assert_eq!(
            refused(&format!(
                "otpauth://totp/a?secret={{S}}&algorithm={written}"
            )),
            InputProblem::AlgorithmUnsupported {
                name: name.map(str::to_owned)
            },
            "{written}"
        );
    }
}

#[test]
fn digits_and_period() {
    for (more, digits, period, warnings) in [
        ("&digits=6", 6, 30, vec![]),
        ("&digits=7", 7, 30, vec![Warning::UnusualDigits]),
        ("&digits=8", 8, 30, vec![]),
        ("&digits=08", 8, 30, vec![]),
        ("&period=60", 6, 60, vec![]),
        ("&period=1", 6, 1, vec![Warning::UnusualPeriod]),
        // Users of HashiCorp Vault run 900 seconds (#12575).
        ("&period=900", 6, 900, vec![Warning::UnusualPeriod]),
        ("&period=86400", 6, 86_400, vec![Warning::UnusualPeriod]),
    ] {
        let parsed = parsed(&format!("otpauth://totp/a?secret={{S}}{more}"));
        let parameters = parsed.account.parameters();
        assert_eq!(
            (parameters.digits(), parameters.period()),
            (digits, period),
            "{more}"
        );
        assert_eq!(parsed.warnings, warnings, "{more}");
    }
    // Ten digits and more, and a period of zero, make totp-rs panic.
    for digits in ["0", "5", "9", "10", "20", "-6", "6.5", "six", "4294967302"] {
        let template = format!("otpauth://totp/a?secret={{S}}&digits={digits}");
        assert_eq!(
            refused(&template),
            InputProblem::DigitsUnsupported,
            "{digits}"
        );
    }
    for period in ["0", "-30", "86401", "99999999999999999999", "30s", "1e3"] {
        let template = format!("otpauth://totp/a?secret={{S}}&period={period}");
        assert_eq!(
            refused(&template),
            InputProblem::PeriodUnsupported,
            "{period}"
        );
    }
}

#[test]
fn the_canonical_form() {
    for (template, canonical) in [
        (
            "OTPAUTH://totp/big+corp:a%20b?secret=gezd-gnbv-gy3t-qojq-gezd-gnbv-gy3t-qojq&issuer=Big+Corp",
            "otpauth://totp/Big%20Corp:a%20b?secret={S}&issuer=Big%20Corp",
        ),
        (
            "otpauth://totp/Ex:a@b?secret={S}&algorithm=SHA1&digits=6&period=30",
            "otpauth://totp/Ex:a@b?secret={S}&issuer=Ex",
        ),
        (
            "otpauth://totp/a?secret={S}&algorithm=sha512&digits=8&period=60&image=x",
            "otpauth://totp/a?secret={S}&algorithm=SHA512&digits=8&period=60",
        ),
        (
            "otpauth://totp/a?secret={S}&issuer=b%3Ac",
            "otpauth://totp/a?secret={S}&issuer=b%3Ac",
        ),
        (
            "otpauth://totp/a?secret={S}&encoder=steam&issuer=Steam",
            "otpauth://steam/Steam:a?secret={S}&issuer=Steam",
        ),
    ] {
        assert_eq!(
            *parsed(template).account.to_uri(),
            uri(canonical),
            "{template}"
        );
    }
}

#[test]
fn problems_and_warnings_have_sentences_and_repeat_no_secret() {
    let odd = parsed("otpauth://totp/x:a%00?SECRET=MF&issuer=b&issuer=c&digits=7&period=31#f");
    assert_eq!(
        odd.warnings.len(),
        9,
        "every kind of warning that does not exclude another: {:?}",
        odd.warnings
    );
    for warning in &odd.warnings {
        assert!(warning.detail().ends_with('.'), "{warning:?}");
        let json = serde_json::to_string(warning).unwrap();
        assert_eq!(&serde_json::from_str::<Warning>(&json).unwrap(), warning);
    }
    for template in [
        "otpauth://totp/a?secret={S}0",
        "otpauth://totp/a?secret={S}A",
        "otpauth://totp/a?secret={S}&secret=MFRGG",
        "otpauth://totp/a?secret={S}&algorithm={S}",
        "otpauth://totp/a?secret={S}&digits={S}",
        "otpauth://hotp/a?secret={S}",
        "otpauth://{S}/a?secret={S}",
    ] {
        let problem = refused(template);
        let told = format!("{problem:?} {} {}", problem.detail(), problem.next_step());
        assert!(!told.contains(&SECRET[..8]), "{told}");
    }
}
