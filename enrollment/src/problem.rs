//! What can be wrong with what somebody uploaded: expected results, not failures.

use serde::{Deserialize, Serialize};

use crate::foreign::ForeignKind;
use crate::region::Region;

/// Why an upload cannot be enrolled, with what to tell the person who sent it.
///
/// It is stored and shown as it is, so it holds no input: kinds, counts and sizes
/// only. As JSON an object with `code` and the variant's fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "code",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum InputProblem {
    /// No QR code was found in the picture.
    QrNotFound {
        /// The attempts that were made, by name.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tried: Vec<String>,
        /// What looks like a code and could not be read.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        regions: Vec<Region>,
    },
    /// The picture holds codes of another kind.
    QrNotOtpauth {
        /// What the first of them is.
        kind: ForeignKind,
        /// Where they are.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        regions: Vec<Region>,
    },
    /// The picture holds several accounts.
    SeveralAccounts {
        /// How many.
        count: u32,
        /// Where they are.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        regions: Vec<Region>,
    },
    /// It is an export of Google Authenticator, where one account is expected.
    #[serde(alias = "migration-unsupported")]
    GoogleExport,
    /// It begins like an export of Google Authenticator and cannot be read.
    GoogleExportMalformed,
    /// Not all QR codes of an export of Google Authenticator are there.
    ExportPartsMissing {
        /// How many codes the export has.
        of: u32,
        /// Which are missing, counted from 1 as the app shows them.
        missing: Vec<u32>,
    },
    /// A file to import is of no kind that is known.
    ImportUnknown,
    /// A file to import begins like a known kind and cannot be read.
    ImportMalformed {
        /// The kind.
        format: ImportFormat,
    },
    /// A file to import is encrypted, in a way that is not read.
    ImportEncrypted {
        /// The kind.
        format: ImportFormat,
    },
    /// A file to import is encrypted, and no password came with it.
    ImportPasswordMissing,
    /// A file to import does not open with the password.
    ImportPasswordWrong,
    /// There is no account in it.
    ImportEmpty,
    /// There are too many accounts in it.
    ImportTooMany {
        /// The most that are taken at once.
        limit: u32,
    },
    /// There are no bytes.
    ImageEmpty,
    /// It is a picture of a kind that is not read, or no picture.
    ImageUnsupported {
        /// What it looks like, for example "HEIC".
        format: String,
    },
    /// It begins like a picture and cannot be decoded.
    ImageUnreadable,
    /// It has too many pixels.
    ImageTooLarge {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
    },
    /// It has too many bytes.
    ImageTooManyBytes {
        /// The most that are taken.
        limit: u64,
    },
    /// It has too few pixels to hold a QR code.
    ImageTooSmall {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
    },
    /// Reading it took too long.
    ImageTimeLimit,
    /// The text does not begin with `otpauth:`.
    NotOtpauth {
        /// What it is instead.
        #[serde(default)]
        kind: ForeignKind,
    },
    /// The text begins so and is no otpauth URI.
    OtpauthMalformed,
    /// The text is longer than any otpauth URI.
    OtpauthTooLong {
        /// The most bytes that are taken.
        limit: u32,
    },
    /// It is for counter-based codes.
    HotpUnsupported,
    /// It is for neither TOTP nor HOTP, nor Steam Guard.
    TypeUnsupported,
    /// It has no secret.
    SecretMissing,
    /// The secret has characters that base32 does not have.
    SecretNotBase32 {
        /// Whether `0`, `1`, `8` or `9` is among them.
        lookalike: bool,
    },
    /// The secret has a length that no base32 text has.
    SecretTruncated,
    /// The secret is too long.
    SecretTooLong {
        /// The most characters that are taken.
        limit: u32,
    },
    /// The hash function is not one of the three that TOTP has.
    AlgorithmUnsupported {
        /// Its name, if it is a well-known one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// The number of digits is not 6, 7 or 8.
    DigitsUnsupported,
    /// The period is not 1 to 86,400 seconds.
    PeriodUnsupported,
    /// A parameter contradicts another value of it, or the rest of the URI.
    ParamsConflict {
        /// Which one.
        parameter: Parameter,
    },
    /// Issuer or account name is not text.
    LabelMalformed,
    /// Issuer or account name is too long.
    LabelTooLong {
        /// The most characters of each that are taken.
        limit: u32,
    },
}

/// A kind of file that accounts can be imported from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImportFormat {
    /// One otpauth URI a line.
    UriList,
    /// A vault of Aegis Authenticator, plain or encrypted.
    Aegis,
    /// A backup of 2FAS.
    TwoFas,
    /// Bitwarden's JSON.
    Bitwarden,
    /// Secrets of a Key Vault as `az keyvault secret show` prints them.
    KeyVault,
}

impl ImportFormat {
    /// What it is called in a sentence.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::UriList => "a list of otpauth URIs",
            Self::Aegis => "an export of Aegis",
            Self::TwoFas => "a backup of 2FAS",
            Self::Bitwarden => "an export of Bitwarden",
            Self::KeyVault => "a list of Key Vault entries",
        }
    }
}

/// A parameter of an otpauth URI whose value decides which codes come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parameter {
    /// `secret`
    Secret,
    /// `algorithm`
    Algorithm,
    /// `digits`
    Digits,
    /// `period`
    Period,
}

impl Parameter {
    /// The name in a URI.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Algorithm => "algorithm",
            Self::Digits => "digits",
            Self::Period => "period",
        }
    }
}

const SEND_THE_CODE: &str = "Send a PNG or JPEG picture of the QR code that the service shows when you set up an authenticator app.";
const COPY_AGAIN: &str = "Copy it again from the service's set-up page, completely.";

impl InputProblem {
    /// The stable name of the problem, for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::QrNotFound { .. } => "qr-not-found",
            Self::QrNotOtpauth { .. } => "qr-not-otpauth",
            Self::SeveralAccounts { .. } => "several-accounts",
            Self::GoogleExport => "google-export",
            Self::GoogleExportMalformed => "google-export-malformed",
            Self::ExportPartsMissing { .. } => "export-parts-missing",
            Self::ImportUnknown => "import-unknown",
            Self::ImportMalformed { .. } => "import-malformed",
            Self::ImportEncrypted { .. } => "import-encrypted",
            Self::ImportPasswordMissing => "import-password-missing",
            Self::ImportPasswordWrong => "import-password-wrong",
            Self::ImportEmpty => "import-empty",
            Self::ImportTooMany { .. } => "import-too-many",
            Self::ImageEmpty => "image-empty",
            Self::ImageUnsupported { .. } => "image-unsupported",
            Self::ImageUnreadable => "image-unreadable",
            Self::ImageTooLarge { .. } => "image-too-large",
            Self::ImageTooManyBytes { .. } => "image-too-many-bytes",
            Self::ImageTooSmall { .. } => "image-too-small",
            Self::ImageTimeLimit => "image-time-limit",
            Self::NotOtpauth { .. } => "not-otpauth",
            Self::OtpauthMalformed => "otpauth-malformed",
            Self::OtpauthTooLong { .. } => "otpauth-too-long",
            Self::HotpUnsupported => "hotp-unsupported",
            Self::TypeUnsupported => "type-unsupported",
            Self::SecretMissing => "secret-missing",
            Self::SecretNotBase32 { .. } => "secret-not-base32",
            Self::SecretTruncated => "secret-truncated",
            Self::SecretTooLong { .. } => "secret-too-long",
            Self::AlgorithmUnsupported { .. } => "algorithm-unsupported",
            Self::DigitsUnsupported => "digits-unsupported",
            Self::PeriodUnsupported => "period-unsupported",
            Self::ParamsConflict { .. } => "params-conflict",
            Self::LabelMalformed => "label-malformed",
            Self::LabelTooLong { .. } => "label-too-long",
        }
    }

    /// What the text is instead of an account, where that is the problem.
    #[must_use]
    pub const fn foreign_kind(&self) -> Option<ForeignKind> {
        match self {
            Self::QrNotOtpauth { kind, .. } | Self::NotOtpauth { kind } => Some(*kind),
            _ => None,
        }
    }

    /// Where codes, or what looks like some, are in the picture.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        match self {
            Self::QrNotFound { regions, .. }
            | Self::QrNotOtpauth { regions, .. }
            | Self::SeveralAccounts { regions, .. } => regions,
            _ => &[],
        }
    }

    /// The attempts that were made to read the picture, by name.
    #[must_use]
    pub fn tried(&self) -> &[String] {
        match self {
            Self::QrNotFound { tried, .. } => tried,
            _ => &[],
        }
    }

    /// A few words for a heading. The same for every problem with this code.
    #[must_use]
    pub const fn title(&self) -> &'static str {
        match self {
            Self::QrNotFound { .. } => "No QR code found",
            Self::QrNotOtpauth { .. } => "Not an authenticator QR code",
            Self::SeveralAccounts { .. } => "Several accounts in one picture",
            Self::GoogleExport => "Google Authenticator export",
            Self::GoogleExportMalformed => "Unreadable Google Authenticator export",
            Self::ExportPartsMissing { .. } => "Parts of the export are missing",
            Self::ImportUnknown => "Unknown kind of file",
            Self::ImportMalformed { .. } => "Unreadable export file",
            Self::ImportEncrypted { .. } => "Encrypted export file",
            Self::ImportPasswordMissing => "Password missing",
            Self::ImportPasswordWrong => "Wrong password",
            Self::ImportEmpty => "Nothing to import",
            Self::ImportTooMany { .. } => "Too many accounts at once",
            Self::ImageEmpty => "Empty picture",
            Self::ImageUnsupported { .. } => "Unsupported picture format",
            Self::ImageUnreadable => "Damaged picture",
            Self::ImageTooLarge { .. } | Self::ImageTooManyBytes { .. } => "Picture too large",
            Self::ImageTooSmall { .. } => "Picture too small",
            Self::ImageTimeLimit => "Picture took too long",
            Self::NotOtpauth { .. } => "Not an otpauth URI",
            Self::OtpauthMalformed => "Malformed otpauth URI",
            Self::OtpauthTooLong { .. } => "Otpauth URI too long",
            Self::HotpUnsupported => "Counter-based codes are not supported",
            Self::TypeUnsupported => "Unknown kind of code",
            Self::SecretMissing => "Secret missing",
            Self::SecretNotBase32 { .. } => "Secret is not base32",
            Self::SecretTruncated => "Secret is incomplete",
            Self::SecretTooLong { .. } => "Secret too long",
            Self::AlgorithmUnsupported { .. } => "Unsupported algorithm",
            Self::DigitsUnsupported => "Unsupported number of digits",
            Self::PeriodUnsupported => "Unsupported period",
            Self::ParamsConflict { .. } => "Contradicting parameters",
            Self::LabelMalformed => "Unreadable label",
            Self::LabelTooLong { .. } => "Label too long",
        }
    }

    /// What was wrong with this upload, as a sentence for the person who sent it.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::QrNotFound { regions, .. } if !regions.is_empty() => {
                "The picture holds what looks like a QR code, but it could not be read.".to_owned()
            }
            Self::QrNotFound { .. } => {
                "The picture holds no QR code that could be read.".to_owned()
            }
            Self::QrNotOtpauth { kind, .. } => format!("The QR code {}.", kind.description()),
            Self::SeveralAccounts { count, .. } => {
                format!("The picture holds {count} different accounts, and one is expected.")
            }
            Self::GoogleExport => {
                "This is an export of Google Authenticator, which can hold many accounts."
                    .to_owned()
            }
            Self::GoogleExportMalformed => {
                "This begins like an export of Google Authenticator but is damaged or incomplete."
                    .to_owned()
            }
            Self::ExportPartsMissing { of, missing } => {
                let list: Vec<String> = missing.iter().map(u32::to_string).collect();
                format!(
                    "The export has {of} QR codes, and not all were sent: number {} is missing.",
                    list.join(", ")
                )
            }
            Self::ImportUnknown => {
                "The file is none of those that can be imported: a list of otpauth URIs, an export of Aegis, 2FAS or Bitwarden, or Key Vault entries."
                    .to_owned()
            }
            Self::ImportMalformed { format } => {
                format!("The file begins like {} but is damaged or incomplete.", format.words())
            }
            Self::ImportEncrypted { format } => {
                format!("The file is {}, encrypted in a way that is not read here.", format.words())
            }
            Self::ImportPasswordMissing => {
                "The file is encrypted with a password.".to_owned()
            }
            Self::ImportPasswordWrong => {
                "The file does not open with this password, or is damaged.".to_owned()
            }
            Self::ImportEmpty => "There is no account in what was sent.".to_owned(),
            Self::ImportTooMany { limit } => {
                format!("There are more than {limit} accounts in what was sent.")
            }
            Self::ImageEmpty => "The upload holds no picture: it is empty.".to_owned(),
            Self::ImageUnsupported { format } => {
                format!("{format} is not a picture format that can be read here.")
            }
            Self::ImageUnreadable => "The picture is damaged or incomplete.".to_owned(),
            Self::ImageTooLarge { width, height } => {
                format!("The picture has {width} x {height} pixels, which is too many.")
            }
            Self::ImageTooManyBytes { limit } => {
                format!("The picture has more than {limit} bytes, and could not be made smaller without losing its code.")
            }
            Self::ImageTooSmall { width, height } => {
                format!("The picture has {width} x {height} pixels, too few for a QR code.")
            }
            Self::ImageTimeLimit => {
                "Looking for a QR code in the picture took too long and was given up.".to_owned()
            }
            Self::NotOtpauth {
                kind: ForeignKind::Other,
            } => "The text does not begin with otpauth://.".to_owned(),
            Self::NotOtpauth { kind } => format!("The text {}.", kind.description()),
            Self::OtpauthMalformed => {
                "The text begins with otpauth: but is not a complete otpauth URI.".to_owned()
            }
            Self::OtpauthTooLong { limit } => {
                format!("The text has more than {limit} bytes, longer than any otpauth URI.")
            }
            Self::HotpUnsupported => {
                "The URI is for counter-based codes (hotp); only time-based ones (totp) are supported."
                    .to_owned()
            }
            Self::TypeUnsupported => "The URI is for a kind of code other than totp.".to_owned(),
            Self::SecretMissing => "The URI has no secret, or an empty one.".to_owned(),
            Self::SecretNotBase32 { lookalike: true } => {
                "The secret holds a digit that base32 does not have: 0, 1, 8 or 9.".to_owned()
            }
            Self::SecretNotBase32 { lookalike: false } => {
                "The secret holds a character other than A-Z and 2-7.".to_owned()
            }
            Self::SecretTruncated => {
                "The secret has a length that no base32 text has: characters are missing.".to_owned()
            }
            Self::SecretTooLong { limit } => {
                format!("The secret has more than {limit} characters.")
            }
            Self::AlgorithmUnsupported { name: Some(name) } => {
                format!("The algorithm {name} is not supported.")
            }
            Self::AlgorithmUnsupported { name: None } => {
                "The algorithm is not one that TOTP has.".to_owned()
            }
            Self::DigitsUnsupported => "The number of digits is not 6, 7 or 8.".to_owned(),
            Self::PeriodUnsupported => {
                "The period is not a whole number of seconds from 1 to 86400.".to_owned()
            }
            Self::ParamsConflict { parameter } => format!(
                "The parameter {} is given more than once with different values, or contradicts the rest of the URI.",
                parameter.as_str()
            ),
            Self::LabelMalformed => {
                "The issuer or the account name is not text in UTF-8.".to_owned()
            }
            Self::LabelTooLong { limit } => {
                format!("The issuer or the account name has more than {limit} characters.")
            }
        }
    }

    /// What to try next, as a sentence for the person who sent it.
    #[must_use]
    pub fn next_step(&self) -> String {
        match self {
            Self::QrNotFound { .. } => {
                "Take the picture again, closer and sharper, with the whole code and a white border around it."
            }
            Self::QrNotOtpauth { kind, .. } => kind.next_step().unwrap_or(SEND_THE_CODE),
            Self::ImageEmpty | Self::ImageUnsupported { .. } => SEND_THE_CODE,
            Self::SeveralAccounts { .. } => {
                "Import the picture to enroll all of them or some: countersign import FILE, or POST /api/imports."
            }
            Self::GoogleExport => {
                "Import it with all its QR codes: countersign import FILE..., or POST /api/imports."
            }
            Self::GoogleExportMalformed => {
                "Export the accounts again and send the pictures of all QR codes."
            }
            Self::ExportPartsMissing { .. } => {
                "Send all the QR codes of the export together; accounts that are there already are not added twice."
            }
            Self::ImportUnknown => {
                "Export the accounts as one of these, or write one otpauth:// URI a line."
            }
            Self::ImportMalformed { .. } => "Export the accounts again and send the whole file.",
            Self::ImportEncrypted { .. } => {
                "Export the accounts again without encryption, and delete that file afterwards."
            }
            Self::ImportPasswordMissing => {
                "Send the export's password along: --password-file FILE, or the form field `password`."
            }
            Self::ImportPasswordWrong => "Check the password that the export was made with.",
            Self::ImportEmpty => {
                "Send a file or picture that has accounts with time-based codes."
            }
            Self::ImportTooMany { .. } => "Send the accounts in several parts.",
            Self::ImageUnreadable => "Send the picture again, or save it as PNG first.",
            Self::ImageTooLarge { .. }
            | Self::ImageTooManyBytes { .. }
            | Self::ImageTimeLimit => "Crop the picture to the QR code, or scale it down.",
            Self::ImageTooSmall { .. } => "Send the picture in its full size.",
            Self::NotOtpauth { kind } => kind
                .next_step()
                .unwrap_or("Send the whole text of the QR code; it begins with otpauth://totp/."),
            Self::HotpUnsupported | Self::TypeUnsupported => {
                "Set the service up again with time-based codes (TOTP), if it offers them."
            }
            Self::SecretNotBase32 { lookalike: true } => {
                "Check whether the letters O, I, B or G were meant; copying instead of typing avoids such mistakes."
            }
            Self::OtpauthMalformed
            | Self::OtpauthTooLong { .. }
            | Self::SecretMissing
            | Self::SecretNotBase32 { .. }
            | Self::SecretTruncated
            | Self::SecretTooLong { .. }
            | Self::ParamsConflict { .. } => COPY_AGAIN,
            Self::AlgorithmUnsupported { .. } => {
                "Set the service up again with SHA1, SHA256 or SHA512, if it offers a choice."
            }
            Self::DigitsUnsupported => {
                "Set the service up again with 6 or 8 digits, if it offers a choice."
            }
            Self::PeriodUnsupported => {
                "Set the service up again with a period of 30 seconds, if it offers a choice."
            }
            Self::LabelMalformed => "Ask the service for a QR code with a plain account name.",
            Self::LabelTooLong { .. } => "Shorten the issuer and the account name in the URI.",
        }
        .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_of_earlier_releases_are_read() {
        for (json, code) in [
            (r#"{"code":"qr-not-found"}"#, "qr-not-found"),
            (r#"{"code":"not-otpauth"}"#, "not-otpauth"),
            (
                r#"{"code":"qr-not-otpauth","kind":"wifi"}"#,
                "qr-not-otpauth",
            ),
            (
                r#"{"code":"several-accounts","count":2}"#,
                "several-accounts",
            ),
            (r#"{"code":"migration-unsupported"}"#, "google-export"),
        ] {
            let problem: InputProblem = serde_json::from_str(json).unwrap();
            assert_eq!(problem.code(), code);
        }
    }

    #[test]
    fn the_code_is_the_tag_in_json() {
        for problem in [
            InputProblem::QrNotFound {
                tried: vec!["native".to_owned()],
                regions: vec![Region {
                    corners: [[1, 2], [3, 4], [5, 6], [7, 8]],
                }],
            },
            InputProblem::QrNotOtpauth {
                kind: ForeignKind::MicrosoftAuthenticator,
                regions: Vec::new(),
            },
            InputProblem::SecretNotBase32 { lookalike: true },
            InputProblem::AlgorithmUnsupported {
                name: Some("MD5".to_owned()),
            },
            InputProblem::ParamsConflict {
                parameter: Parameter::Period,
            },
            InputProblem::SeveralAccounts {
                count: 3,
                regions: Vec::new(),
            },
            InputProblem::GoogleExport,
            InputProblem::ExportPartsMissing {
                of: 3,
                missing: vec![2],
            },
            InputProblem::ImportEncrypted {
                format: ImportFormat::TwoFas,
            },
            InputProblem::NotOtpauth {
                kind: ForeignKind::BareSecret,
            },
        ] {
            let json = serde_json::to_value(&problem).unwrap();
            assert_eq!(json["code"], problem.code());
            assert_eq!(
                serde_json::from_value::<InputProblem>(json).unwrap(),
                problem
            );
            assert!(problem.detail().ends_with('.'));
            assert!(problem.next_step().ends_with('.'));
        }
    }
}
