//! Tables (CSV) of every kind that people bring: what their columns are called, in which cells
//! codes stand, and what is said about what was not read. `{S}` and `{T}` stand for secrets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use countersign_enrollment::import::ImportFile;
use countersign_enrollment::otpauth;
use countersign_enrollment::problem::InputProblem;

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const OTHER: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
const ALICE: &str = "GitHub: alice | otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub";
const BOB: &str = "Acme: bob | otpauth://totp/Acme:bob?secret={T}&issuer=Acme";

/// Each entry's name and what is read of it, or the problem of the whole.
fn read(table: &str) -> Vec<String> {
    let table = table.replace("{S}", SECRET).replace("{T}", OTHER);
    let file = match ImportFile::read(table.as_bytes(), None) {
        Ok(file) => file,
        Err(problem) => {
            let shown = format!("{problem:?} {} {}", problem.detail(), problem.next_step());
            assert!(
                !shown.contains(&SECRET[..8]) && !shown.contains("hunter2"),
                "{shown}"
            );
            return vec![problem.code().to_owned()];
        }
    };
    let shown = format!("{file:?}");
    assert!(
        !shown.contains(&SECRET[..8]) && !shown.contains(&OTHER[..8]) && !shown.contains("hunter2"),
        "{shown}"
    );
    let entries = file.list.entries.iter().map(|entry| {
        let parsed = entry.content.clone().and_then(|text| otpauth::parse(&text));
        let content = match parsed {
            Ok(parsed) => {
                let uri = parsed.account.to_uri();
                uri.replace(SECRET, "{S}").replace(OTHER, "{T}")
            }
            Err(problem) => problem.code().to_owned(),
        };
        format!("{} | {content}", entry.name)
    });
    entries.collect()
}

#[track_caller]
fn check(table: &str, expected: &[&str]) {
    assert_eq!(read(table), expected, "{table}");
}

#[test]
fn columns_are_known_by_what_people_call_them() {
    for code in [
        "2FA Key",
        "MFA key",
        "Authenticator key (TOTP)",
        "Setup key",
        "Secret key",
        "secret_key",
        "secretKey",
        "OTP Secret Key",
        "OTP Seed",
        "OTP-Schl\u{fc}ssel",
        "Two-Factor Authentication",
        "otp_token",
        "token",
        "shared_secret",
        "base32",
        "auth_key",
        "Verification code",
        "key",
        "TOTP Seed",
        "totp secret",
        "Google Authenticator Key",
        "2FA Secret Key",
        "2FA-Geheimnis",
        "Einmalcode",
        "Zwei-Faktor",
        "One-time password",
        "TOTP URL",
        "otpauth_url",
        "login_totp",
        "Cl\u{e9} OTP",
        "MFA Seed",
        "2-Factor Secret",
        "Two-Step Key",
        "Google Authenticator",
        "Token seed",
        "Zweiter Faktor",
        "\u{9a8c}\u{8bc1}\u{7801}",
        "Authy Key",
        "TOTP (Base32)",
    ] {
        let tables = [
            format!("name,username,{code}\nGitHub,alice,{{S}}\nAcme,bob,{{T}}\n"),
            format!(
                "name;username;password;{code}\nGitHub;alice;hunter2;{{S}}\nAcme;bob;x;{{T}}\n"
            ),
            format!(
                "\u{feff}\"{code}\"\t\"name\"\t\"username\"\r\n{{S}}\tGitHub\talice\r\n{{T}}\tAcme\tbob\r\n"
            ),
        ];
        for table in tables {
            check(&table, &[ALICE, BOB]);
        }
    }
    for names in [
        "Titel;Benutzer;OTP",
        "Nom;Identifiant;OTP",
        "T\u{ed}tulo;Usuario;OTP",
        "Titolo;Utente;OTP",
        "Naam;Gebruiker;OTP",
        "Dienst;Konto;Geheimnis",
        "Anbieter;Benutzername;2FA",
        "Service;Account;Secret",
        "Provider;Login;Seed",
        "Issuer;Label;Secret",
        "issuer;name;secret",
        "service;name;secret",
        "issuer;accountname;secret",
        "title;name;totp",
        "Website;Email;TOTP",
    ] {
        check(
            &format!("{names}\nGitHub;alice;{{S}}\nAcme;bob;{{T}}\n"),
            &[ALICE, BOB],
        );
    }
    check(
        "name,issuer,secret\nalice,GitHub,{S}\nbob,Acme,{T}\n",
        &[ALICE, BOB],
    );
    // Where only an address says who it is with.
    for address in [
        "https://github.com/login",
        "github.com",
        "https://www.github.com",
        "http://x@github.com/?a=b",
    ] {
        check(
            &format!("url,username,otp\n{address},alice,{{S}}\n"),
            &["github.com: alice | otpauth://totp/github.com:alice?secret={S}&issuer=github.com"],
        );
    }
    check(
        "name,website,otp\nGitHub,https://github.com,{S}\n",
        &["GitHub | otpauth://totp/GitHub:GitHub?secret={S}&issuer=GitHub"],
    );
}

#[test]
fn a_table_may_begin_with_a_title() {
    for above in [
        "My accounts\n",
        "Exported 2026-11-30\n\n",
        "sep=,\n",
        "Accounts\nof the team\n",
        "\u{feff}",
    ] {
        check(
            &format!("{above}name,username,otp\nGitHub,alice,{{S}}\nAcme,bob,{{T}}\n"),
            &[ALICE, BOB],
        );
    }
}

#[test]
fn settings_beside_a_secret_are_obeyed_or_refused_by_name() {
    let told = |more: &str| {
        format!("GitHub: alice | otpauth://totp/GitHub:alice?secret={{S}}&issuer=GitHub{more}")
    };
    let steam = "GitHub: alice | otpauth://steam/GitHub:alice?secret={S}&issuer=GitHub".to_owned();
    for (column, cell, expected) in [
        ("TOTP Settings", "30;6", told("")),
        ("TOTP Settings", "60;8", told("&digits=8&period=60")),
        ("TOTP Settings", "30;8", told("&digits=8")),
        ("TOTP Settings", "30;S", steam.clone()),
        ("TOTP Settings", "60", told("&period=60")),
        ("TOTP Settings", ";8", told("&digits=8")),
        ("TOTP Settings", "30;6;https://time.example.com", told("")),
        (
            "TOTP Settings",
            "abc;x",
            "GitHub: alice | digits-unsupported".to_owned(),
        ),
        ("TOTP Settings", "", told("")),
        ("settings", "60;8", told("&digits=8&period=60")),
        (
            "Options",
            "SHA256/8/60",
            told("&algorithm=SHA256&digits=8&period=60"),
        ),
        ("Params", "digits=8", told("&digits=8")),
        (
            "OTP Config",
            "SHA-512, 8 digits",
            "GitHub: alice | param-unclear".to_owned(),
        ),
        (
            "OTP parameters",
            "digits=8&period=60",
            told("&digits=8&period=60"),
        ),
        ("OTP options", "SHA512", told("&algorithm=SHA512")),
        ("OTP options", "Steam", steam),
        ("Options", "autofill", told("")),
        ("Options", "8 8", "GitHub: alice | param-unclear".to_owned()),
        (
            "Options",
            "8 green",
            "GitHub: alice | param-unclear".to_owned(),
        ),
        ("digits", "8.0", told("&digits=8")),
        ("period", "60.0", told("&period=60")),
        ("Ziffern", "8", told("&digits=8")),
        ("Intervall", "60", told("&period=60")),
        ("Algorithmus", "SHA256", told("&algorithm=SHA256")),
        (
            "digits",
            "8.5",
            "GitHub: alice | digits-unsupported".to_owned(),
        ),
    ] {
        let table = format!(
            "\"Title\",\"User Name\",\"Password\",\"Notes\",\"TOTP Seed\",\"{column}\"\n\"GitHub\",\"alice\",\"x\",\"\",\"{{S}}\",\"{cell}\"\n"
        );
        check(&table, &[&expected]);
    }
    for (column, cell) in [
        ("places", "8"),
        ("window", "60"),
        ("mode", "SHA256"),
        ("Cycle", "15"),
    ] {
        let table = format!("name,username,otp,{column}\nGitHub,alice,{{S}},{cell}\n");
        check(&table, &["GitHub: alice | param-damaged"]);
    }
    for cell in ["\"=\"\"{S}\"\"\"", "'{S}", " {S} "] {
        check(
            &format!("name,username,otp\nGitHub,alice,{cell}\n"),
            &[ALICE],
        );
    }
    check(
        "Title,UserName,TimeOtp-Secret-Base32,TimeOtp-Period,TimeOtp-Length,TimeOtp-Algorithm\nGitHub,alice,{S},60,8,HMAC-SHA-256\nAcme,bob,{T},,,\n",
        &[&told("&algorithm=SHA256&digits=8&period=60"), BOB],
    );
}

#[test]
fn codes_in_other_cells_are_read_or_reported() {
    let bitwarden = "folder,favorite,type,name,notes,fields,reprompt,login_uri,login_username,login_password,login_totp\n,,login,GitHub,,,0,,alice,hunter2,{S}\n";
    for (notes, fields) in [
        ("otpauth://totp/Acme:bob?secret={T}&issuer=Acme", ""),
        ("\"see\nTOTP: otpauth://totp/x?secret={T}\nbye\"", ""),
        ("", "totp: {T}"),
        ("", "\"pin: 1234\nTOTP Seed: {T}\nTOTP Settings: 30;6\""),
        (
            "\"OTP secret = jbsw y3dp ehpk 3pxp jbsw y3dp ehpk 3pxp\"",
            "",
        ),
        ("", "\"otp: \"\"{T}\"\"\""),
    ] {
        let row = format!("{bitwarden},,login,Acme,{notes},{fields},0,,bob,hunter2,\n");
        check(&row, &[ALICE, BOB]);
    }
    let told =
        |more: &str| format!("Acme: bob | otpauth://totp/Acme:bob?secret={{T}}&issuer=Acme{more}");
    for (fields, expected) in [
        (
            "TOTP Seed: {T}\nTOTP Settings: 60;8",
            told("&digits=8&period=60"),
        ),
        ("totp: {T}\ndigits: 8", told("&digits=8")),
        (
            "totp: {T}\nalgorithm: SHA256\nperiod=60",
            told("&algorithm=SHA256&period=60"),
        ),
        ("otpauth://totp/x?secret={T}\n&digits=8", told("&digits=8")),
        (
            "totp: {T}\ntime step: none",
            "Acme: bob | period-unsupported".to_owned(),
        ),
        (
            "otpauth://totp/x?secret={T}\n2b7c9f1e",
            "Acme: bob | secret-unclear".to_owned(),
        ),
    ] {
        check(
            &format!("{bitwarden},,login,Acme,,\"{fields}\",0,,bob,x,\n"),
            &[ALICE, &expected],
        );
    }
    for table in [
        "Title,Url,Username,Password,OTPAuth,Favorite,Archived,Tags,Notes\nGitHub,,alice,hunter2,{S},,,,\nAcme,,bob,hunter2,,,,,otpauth://totp/Acme:bob?secret={T}&issuer=Acme\n",
        "url,username,password,totp,extra,name,grouping,fav\n,alice,hunter2,{S},,GitHub,,0\n,bob,hunter2,,otpauth://totp/x?secret={T},Acme,,0\n",
        "name,username,totp,notes\nGitHub,alice,{S},\nAcme,bob,,totp: {T}\n",
        "name,username,totp,Secret key\nGitHub,alice,{S},\nAcme,bob,,{T}\n",
        // Without any column of codes.
        "Title,URL,Username,Password,Notes\nGitHub,,alice,hunter2,otpauth://totp/x?secret={S}\nAcme,,bob,hunter2,see otpauth notes\nAcme,,bob,hunter2,\"2FA key: {T}\"\n",
        "name,url,username,password,note\nGitHub,,alice,hunter2,otpauth://totp/x?secret={S}\nAcme,,bob,hunter2,\"\notpauth://totp/x?secret={T}\"\n",
        "url,username,password,extra,name,grouping,fav\n,alice,hunter2,otpauth://totp/x?secret={S},GitHub,,0\n,bob,hunter2,otp={T},Acme,,0\n",
    ] {
        check(table, &[ALICE, BOB]);
    }
    check(
        "name,username,totp,notes\nGitHub,alice,{S},totp: {T}\n",
        &[
            ALICE,
            "GitHub: alice | otpauth://totp/GitHub:alice?secret={T}&issuer=GitHub",
        ],
    );
    check(
        "name,username,totp,notes\nGitHub,alice,{S},totp: {S}\n",
        &[ALICE],
    );
    // A secret that no name says to be one.
    for (table, column) in [
        (
            "name,username,totp,Extra\nGitHub,alice,{S},\nAcme,bob,,{T}\n",
            "Acme: bob (column \u{201c}Extra\u{201d})",
        ),
        (
            "name,username,totp,notes\nGitHub,alice,{S},\nAcme,bob,,JBSW Y3DP EHPK 3PXP JBSW Y3DP EHPK 3PXP\n",
            "Acme: bob (column \u{201c}notes\u{201d})",
        ),
        (
            "name,username,totp,\nGitHub,alice,{S},\nAcme,bob,,{T}\n",
            "Acme: bob (column 4)",
        ),
        (
            "name,username,totp,notes\nGitHub,alice,{S},\nAcme,bob,,\"My 2FA secret: {T} (keep it)\"\n",
            "Acme: bob (column \u{201c}notes\u{201d})",
        ),
        (
            "name,username,totp,notes\nGitHub,alice,{S},\nAcme,bob,,The OTP secret is {T}.\n",
            "Acme: bob (column \u{201c}notes\u{201d})",
        ),
        (
            "name,username,totp,secret\nGitHub,alice,{S},\nAcme,bob,{S},{T}\n",
            "Acme: bob (column \u{201c}secret\u{201d})",
        ),
    ] {
        let read = read(table);
        assert!(
            read.contains(&format!("{column} | not-otpauth")),
            "{table}: {read:?}"
        );
    }
    check(
        "name,username,password,totp\nGitHub,alice,MFRGGZDFMZTWQ2LK,{S}\n",
        &[ALICE],
    );
    // A code in a column of names is none of them.
    check(
        "name,username\notpauth://totp/GitHub:alice?secret={S}&issuer=GitHub\n",
        &[" | otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub"],
    );
    check(
        "name,username,otp\nGitHub,alice,{S}\n{T}\n{T},bob,{T}\n",
        &[
            ALICE,
            "line 3 (column \u{201c}name\u{201d}) | not-otpauth",
            "bob | otpauth://totp/bob?secret={T}",
        ],
    );
}

#[test]
fn a_cell_that_says_only_whether_there_are_codes_is_none() {
    for word in [
        "yes", "No", "enabled", "Disabled", "TRUE", "none", "N/A", "-", "ja", "SMS",
    ] {
        check(
            &format!("name,username,2fa\nGitHub,alice,{{S}}\nAcme,bob,{word}\n"),
            &[ALICE],
        );
    }
    for word in ["garbage", "Phone", "myphone"] {
        check(
            &format!("name,username,2fa\nGitHub,alice,{{S}}\nAcme,bob,{word}\n"),
            &[ALICE, "Acme: bob | not-otpauth"],
        );
    }
}

#[test]
fn a_table_without_a_known_column_of_codes_is_told_what_to_name() {
    for (table, columns) in [
        (
            "name,username,Magic\nGitHub,alice,{S}\n",
            &["name", "username", "Magic"][..],
        ),
        (
            "Title;Login;Password;Zauber\nGitHub;alice;hunter2;{S}\n",
            &["Title", "Login", "Password", "Zauber"],
        ),
        (
            "name,url,username,password\nGitHub,,alice,hunter2\n",
            &["name", "url", "username", "password"],
        ),
        // What may be a row is not repeated.
        ("GitHub,alice,hunter2,{S}\n", &[]),
        ("GitHub,alice,{S}\nAcme,bob,{T}\n", &[]),
        ("email,hunter2,{S}\n", &[]),
    ] {
        let table = table.replace("{S}", SECRET).replace("{T}", OTHER);
        let problem = ImportFile::read(table.as_bytes(), None).unwrap_err();
        let columns = columns.iter().copied().map(str::to_owned).collect();
        assert_eq!(
            problem,
            InputProblem::ImportColumnsUnknown { columns },
            "{table}"
        );
        let said = format!("{} {}", problem.detail(), problem.next_step());
        assert!(said.contains("otp") && !said.contains("hunter2"), "{said}");
    }
    // Text with commas is no table.
    for text in [
        "Dear all, this is a letter\n",
        "one,two\nthree,four\n",
        "a;b\n",
    ] {
        assert_eq!(
            ImportFile::read(text.as_bytes(), None),
            Err(InputProblem::ImportUnknown),
            "{text}"
        );
    }
}

#[test]
fn a_row_that_does_not_fit_is_named_by_its_line() {
    check(
        "name,username,totp\nGitHub,alice,{S}\nBank, Inc,bob,{T}\n",
        &[ALICE, "Bank: line 3 | row-displaced"],
    );
    check(
        "password,name,username,totp\nhunter2,GitHub,alice,{S}\nhunter2,hunter2,Bank,bob,{T}\n",
        &[ALICE, "line 3 | row-displaced"],
    );
    check(
        "My accounts\nname,username,totp\nGitHub,alice,{S}\nBank, Inc,bob,{T}\n",
        &[ALICE, "Bank: line 4 | row-displaced"],
    );
    check(
        "name,username,totp\n,,not base32!\nGitHub,alice,{S}\n",
        &["line 2 | secret-not-base32", ALICE],
    );
}

#[test]
fn lists_say_what_stands_in_each_line() {
    // Several in a line.
    let first = " | otpauth://totp/GitHub:alice?secret={S}&issuer=GitHub";
    let second = " | otpauth://totp/Acme:bob?secret={T}&issuer=Acme";
    let (one, other) = (&first[3..], &second[3..]);
    for between in [
        " ", ", ", ",", "; ", ";", " | ", "\t", "\",\"", "', '", "> <", ") (",
    ] {
        check(&format!("{one}{between}{other}\n"), &[first, second]);
    }
    check(&format!("['{one}', '{other}']"), &[first, second]);
    check(&format!("- {one} {other}\n"), &[first, second]);
    check(
        &format!("{one} steam://{{T}}\n"),
        &[
            first,
            " | otpauth://steam/Steam:Steam?secret={T}&issuer=Steam",
        ],
    );
    check(
        &format!("{one} and {other}\n"),
        &["GitHub: alice | otpauth-not-alone"],
    );
    check(
        &format!("see {one} {other}\n"),
        &["GitHub: alice | otpauth-not-alone"],
    );
    // The secret of another account, and others that may be a part of the URI.
    check(
        &format!("{one}\n{{T}}\n{other}\n"),
        &[first, " | not-otpauth", second],
    );
    check(&format!("{one}\nAcme: {{T}}\n"), &[first, " | not-otpauth"]);
    check(
        &format!("otpauth://totp/Acme:bob?secret={{T}}&image=https://x/y.png\n{{S}}\n{one}\n"),
        &[
            " | otpauth://totp/Acme:bob?secret={T}&issuer=Acme",
            " | not-otpauth",
            first,
        ],
    );
    check(
        "otpauth://totp/Acme:bob?secret={T}\n{S}\n",
        &["Acme: bob | secret-unclear"],
    );
    // What is not read has the name that it says.
    check(
        &format!(
            "otpauth://hotp/Acme:bob?secret={{T}}&counter=1\n{one}\notpauth://totp/Ben%20&%20Co:me?digits=9&secret={{T}}\n"
        ),
        &[
            "Acme: bob | hotp-unsupported",
            first,
            " | digits-unsupported",
        ],
    );
    check(
        "otpauth://totp/{S}?secret={T}&digits=9\n",
        &[" | digits-unsupported"],
    );
    // A line that is commented out is not dropped.
    check(
        &format!("# accounts\n{one}\n# {other}\n#{other}\n"),
        &[
            first,
            "Acme: bob | line-commented",
            "Acme: bob | line-commented",
        ],
    );
}

#[test]
fn files_without_a_uri_are_named() {
    use countersign_enrollment::foreign::ForeignKind as K;
    let block: String = "\u{2588}\u{2580} \u{2584}".repeat(8) + "\n";
    let hashes: String = "##  ####".repeat(6) + "\n";
    let colors: String = "\u{1b}[47m  \u{1b}[40m  ".repeat(12) + "\u{1b}[0m\n";
    for (text, kind) in [
        (SECRET.to_owned(), K::BareSecret),
        (format!("GitHub: {SECRET}\nAcme: {OTHER}\n"), K::BareSecret),
        (
            format!("hunter2\n---\ntotp: {SECRET}\nuser: alice\n"),
            K::BareSecret,
        ),
        (
            "gezd gnbv gy3t qojq gezd gnbv gy3t qojq".to_owned(),
            K::BareSecret,
        ),
        (block.repeat(17), K::DrawnCode),
        (format!("Scan this:\n{}", block.repeat(17)), K::DrawnCode),
        (hashes.repeat(33), K::DrawnCode),
        (
            format!("\u{1b}[40;37;1m{}\u{1b}[0m\n", block.trim_end()).repeat(17),
            K::DrawnCode,
        ),
        ("# #\n".to_owned() + &hashes.repeat(33), K::DrawnCode),
        (colors.repeat(29), K::DrawnCode),
    ] {
        let problem = ImportFile::read(text.as_bytes(), None).unwrap_err();
        assert_eq!(problem, InputProblem::NotOtpauth { kind }, "{text}");
        // It is the same wherever it comes in.
        assert_eq!(
            otpauth::parse(&text).unwrap_err().next_step(),
            problem.next_step(),
            "{text}"
        );
        assert!(!problem.detail().contains(&SECRET[..8]));
    }
    let drawing = "<?xml version=\"1.0\"?><svg xmlns=\"http://www.w3.org/2000/svg\"><path/></svg>";
    let problem = ImportFile::read(drawing.as_bytes(), None).unwrap_err();
    assert!(problem.detail().contains("SVG"), "{}", problem.detail());
}
