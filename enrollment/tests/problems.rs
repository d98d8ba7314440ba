//! Every problem has a stable code, is told in sentences, and stands in docs/PROBLEMS.md.
//!
//! After a change that is meant to alter the table, run
//! `UPDATE_GOLDEN=1 cargo test -p countersign-enrollment --test problems`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use countersign_enrollment::foreign::ForeignKind;
use countersign_enrollment::import::Exceeded;
use countersign_enrollment::problem::{ArchiveFault, ImportFormat, InputProblem, Parameter};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/PROBLEMS.md");
const TABLE: &str = "| Code | Message | What to do |\n| --- | --- | --- |\n";

const KINDS: [ForeignKind; 12] = [
    ForeignKind::Wifi,
    ForeignKind::Url,
    ForeignKind::Whatsapp,
    ForeignKind::Login,
    ForeignKind::MicrosoftAuthenticator,
    ForeignKind::VendorAuthenticator,
    ForeignKind::Contact,
    ForeignKind::Payment,
    ForeignKind::Esim,
    ForeignKind::BareSecret,
    ForeignKind::DrawnCode,
    ForeignKind::Other,
];

/// One of each, in the order of the table.
fn all() -> Vec<InputProblem> {
    use InputProblem as P;
    let format = ImportFormat::Aegis;
    vec![
        P::QrNotFound {
            tried: Vec::new(),
            regions: Vec::new(),
        },
        P::QrNotOtpauth {
            kind: ForeignKind::Other,
            regions: Vec::new(),
        },
        P::SeveralAccounts {
            count: 2,
            regions: Vec::new(),
        },
        P::CodePartsMissing {
            of: 4,
            there: vec![1, 4],
            missing: vec![2, 3],
            regions: Vec::new(),
        },
        P::CodePartsMixed {
            of: 2,
            regions: Vec::new(),
        },
        P::CodesUnread {
            count: 1,
            regions: Vec::new(),
        },
        P::ImageEmpty,
        P::ImageUnsupported {
            format: "HEIC".to_owned(),
        },
        P::ImageUnreadable,
        P::ImageTooLarge {
            width: 20_000,
            height: 20_000,
        },
        P::ImageTooManyBytes { limit: 749_936 },
        P::ImageTooSmall {
            width: 16,
            height: 16,
        },
        P::ImageTimeLimit,
        P::NotOtpauth {
            kind: ForeignKind::Other,
        },
        P::OtpauthMalformed,
        P::OtpauthTooLong { limit: 16_384 },
        P::OtpauthNotAlone,
        P::TextUndecodable {
            encoding: "an older encoding such as Windows-1252 or Latin-1".to_owned(),
        },
        P::HotpUnsupported,
        P::TypeUnsupported,
        P::SecretMissing,
        P::SecretNotBase32 { lookalike: true },
        P::SecretTruncated,
        P::SecretTooLong { limit: 1_024 },
        P::AlgorithmUnsupported {
            name: Some("MD5".to_owned()),
        },
        P::DigitsUnsupported,
        P::PeriodUnsupported,
        P::StartUnsupported,
        P::ParamsConflict {
            parameter: Parameter::Digits,
        },
        P::ParamDamaged {
            parameter: Parameter::Period,
        },
        P::LabelMalformed,
        P::LabelTooLong { limit: 256 },
        P::GoogleExport,
        P::GoogleExportMalformed,
        P::ExportPartsMissing {
            of: 3,
            missing: vec![2],
        },
        P::ExportPartsUnsure { of: 2 },
        P::ImportUnknown,
        P::ImportMalformed { format },
        P::ImportEncrypted {
            format: ImportFormat::OtpClient,
        },
        P::ImportPasswordMissing {
            format: Some(ImportFormat::Ente),
        },
        P::ImportPasswordWrong {
            format: Some(ImportFormat::TwoFas),
            certain: false,
        },
        P::ImportUnsupported {
            what: "a KeePass database".to_owned(),
        },
        P::ImportValuesMissing,
        P::ArchiveTooLarge {
            files: 4_096,
            bytes: 64 * 1024 * 1024,
            depth: 3,
        },
        P::ImportEmpty,
        P::ImportTooMany { limit: 500 },
        P::PickNotThere {
            count: 3,
            missing: vec![5, 7, 8, 9],
        },
        P::PackageUnreadable,
        P::ImportTooCostly {
            exceeded: Exceeded::Work,
        },
        P::AccountThere {
            accounts: Vec::new(),
        },
        P::ImportTooManyPictures { limit: 64 },
        P::PackageIncomplete,
        P::RecoveryCodesAlone,
        P::EntryMalformed { format },
        P::EntryInBin,
        P::ArchiveFile {
            fault: ArchiveFault::Damaged,
        },
        P::SecretUnclear,
        P::ParamUnclear {
            parameter: Parameter::Period,
            name: Some("window".to_owned()),
        },
        P::ImportColumnsUnknown {
            columns: ["Name", "Login", "Code card"].map(str::to_owned).to_vec(),
        },
        P::RowDisplaced,
        P::LineCommented,
        P::PagesNotSearched {
            pages: 20,
            searched: 16,
        },
    ]
}

/// A problem that is new does not compile here until it is in [`all`].
fn place(problem: &InputProblem) -> usize {
    use InputProblem as P;
    match problem {
        P::QrNotFound { .. } => 0,
        P::QrNotOtpauth { .. } => 1,
        P::SeveralAccounts { .. } => 2,
        P::CodePartsMissing { .. } => 3,
        P::CodePartsMixed { .. } => 4,
        P::CodesUnread { .. } => 5,
        P::ImageEmpty => 6,
        P::ImageUnsupported { .. } => 7,
        P::ImageUnreadable => 8,
        P::ImageTooLarge { .. } => 9,
        P::ImageTooManyBytes { .. } => 10,
        P::ImageTooSmall { .. } => 11,
        P::ImageTimeLimit => 12,
        P::NotOtpauth { .. } => 13,
        P::OtpauthMalformed => 14,
        P::OtpauthTooLong { .. } => 15,
        P::OtpauthNotAlone => 16,
        P::TextUndecodable { .. } => 17,
        P::HotpUnsupported => 18,
        P::TypeUnsupported => 19,
        P::SecretMissing => 20,
        P::SecretNotBase32 { .. } => 21,
        P::SecretTruncated => 22,
        P::SecretTooLong { .. } => 23,
        P::AlgorithmUnsupported { .. } => 24,
        P::DigitsUnsupported => 25,
        P::PeriodUnsupported => 26,
        P::StartUnsupported => 27,
        P::ParamsConflict { .. } => 28,
        P::ParamDamaged { .. } => 29,
        P::LabelMalformed => 30,
        P::LabelTooLong { .. } => 31,
        P::GoogleExport => 32,
        P::GoogleExportMalformed => 33,
        P::ExportPartsMissing { .. } => 34,
        P::ExportPartsUnsure { .. } => 35,
        P::ImportUnknown => 36,
        P::ImportMalformed { .. } => 37,
        P::ImportEncrypted { .. } => 38,
        P::ImportPasswordMissing { .. } => 39,
        P::ImportPasswordWrong { .. } => 40,
        P::ImportUnsupported { .. } => 41,
        P::ImportValuesMissing => 42,
        P::ArchiveTooLarge { .. } => 43,
        P::ImportEmpty => 44,
        P::ImportTooMany { .. } => 45,
        P::PickNotThere { .. } => 46,
        P::PackageUnreadable => 47,
        P::ImportTooCostly { .. } => 48,
        P::AccountThere { .. } => 49,
        P::ImportTooManyPictures { .. } => 50,
        P::PackageIncomplete => 51,
        P::RecoveryCodesAlone => 52,
        P::EntryMalformed { .. } => 53,
        P::EntryInBin => 54,
        P::ArchiveFile { .. } => 55,
        P::SecretUnclear => 56,
        P::ParamUnclear { .. } => 57,
        P::ImportColumnsUnknown { .. } => 58,
        P::RowDisplaced => 59,
        P::LineCommented => 60,
        P::PagesNotSearched { .. } => 61,
    }
}

/// Whether a text is one or more whole sentences.
fn is_told(text: &str) -> bool {
    text.ends_with('.')
        && text.starts_with(|first: char| first.is_uppercase() || first.is_numeric())
}

#[test]
fn every_problem_has_a_code_of_its_own_and_sentences() {
    let all = all();
    let codes: BTreeSet<&str> = all.iter().map(InputProblem::code).collect();
    assert_eq!(codes.len(), all.len(), "each has its own code");
    for (index, problem) in all.iter().enumerate() {
        assert_eq!(place(problem), index, "{}", problem.code());
        assert!(is_told(&problem.detail()), "{}", problem.detail());
        assert!(is_told(&problem.next_step()), "{}", problem.next_step());
        let json = serde_json::to_value(problem).unwrap();
        assert_eq!(json["code"], problem.code());
        assert_eq!(
            &serde_json::from_value::<InputProblem>(json).unwrap(),
            problem
        );
    }
    for kind in KINDS {
        for problem in [
            InputProblem::NotOtpauth { kind },
            InputProblem::QrNotOtpauth {
                kind,
                regions: Vec::new(),
            },
        ] {
            assert_eq!(problem.foreign_kind(), Some(kind));
            assert!(is_told(&problem.detail()), "{}", problem.detail());
            assert!(is_told(&problem.next_step()), "{}", problem.next_step());
        }
    }
}

#[test]
fn the_document_has_every_problem_as_it_is_reported() {
    let rows: String = all()
        .iter()
        .map(|problem| {
            format!(
                "| `{}` | {} | {} |\n",
                problem.code(),
                problem.detail(),
                problem.next_step()
            )
        })
        .collect();
    let kinds: String = KINDS
        .iter()
        .map(|kind| {
            let name = serde_json::to_value(kind).unwrap();
            let advice = kind.next_step().unwrap_or("Send the QR code or link that the service shows when you set up an authenticator app.");
            format!(
                "| `{}` | It {}. | {advice} |\n",
                name.as_str().unwrap(),
                kind.description()
            )
        })
        .collect();
    let text = format!(
        "# Problems with what was sent

Each has a stable code, a sentence that says what is wrong and one that says what to do. The answer to a request has them as `code`, `detail` and `nextStep` (the `type` is `urn:countersign:problem:` and the code); an enrollment that ended as `Invalid`, and an account of an import, have them in `problem`, an import as a whole in `problems`. Numbers and names below are examples.

{TABLE}{rows}
`qr-not-found` also has `tried`, the attempts that were made, and like `qr-not-otpauth`, `several-accounts`, `code-parts-missing`, `code-parts-mixed` and `codes-unread` it may have `regions`: the four corners of each code, or of what looks like one, in ten-thousandths of the image's width and height as displayed, clockwise from the code's own top left.

## What was sent instead

`not-otpauth` and `qr-not-otpauth` have a `kind`:

| Kind | Message | What to do |
| --- | --- | --- |
{kinds}"
    );
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(DOCUMENT, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(DOCUMENT).unwrap(), text);
}
