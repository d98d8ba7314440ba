//! What can be wrong with what someone uploaded: expected results, not failures.

pub(crate) mod kinds;
mod texts;

use serde::{Deserialize, Serialize};

use crate::bounds::Exceeded;
use crate::foreign::ForeignKind;
use crate::ids::EnrollmentId;
use crate::region::Region;
use crate::text::UnknownEncoding;

pub(crate) use texts::there;

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
    /// No QR code was found in the image.
    QrNotFound {
        /// The attempts that were made, by name.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tried: Vec<String>,
        /// What looks like a code and could not be read.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        regions: Vec<Region>,
    },
    /// The image holds codes of another kind.
    QrNotOtpauth {
        /// What the first of them is.
        kind: ForeignKind,
        /// Where they are.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        regions: Vec<Region>,
    },
    /// The image holds several accounts.
    SeveralAccounts {
        /// How many.
        count: u32,
        /// Where they are.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        regions: Vec<Region>,
    },
    /// Not all QR codes of a set are there, over which one text is split.
    CodePartsMissing {
        /// How many codes the set has.
        of: u32,
        /// Which are there, counted from 1.
        there: Vec<u32>,
        /// Which are missing, counted from 1.
        missing: Vec<u32>,
        /// Where those are that are there.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        regions: Vec<Region>,
    },
    /// QR codes say that they are parts of one text and do not fit together.
    CodePartsMixed {
        /// How many codes they say there are.
        of: u32,
        /// Where they are.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        regions: Vec<Region>,
    },
    /// Besides the codes that were read, the image holds some that could not be.
    CodesUnread {
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
    /// Exports of Google Authenticator have several QR codes, and nothing tells which belong
    /// together.
    ExportPartsUnsure {
        /// How many codes each has.
        of: u32,
    },
    /// A file to import is of no kind that is known.
    ImportUnknown,
    /// A table to import has no column that is known to hold codes.
    ImportColumnsUnknown {
        /// The names of its columns, as far as they can be repeated.
        columns: Vec<String>,
    },
    /// A row of a table has more or fewer cells than there are columns.
    RowDisplaced,
    /// A line with a URI is marked as a comment.
    LineCommented,
    /// A file to import begins like a known kind and cannot be read.
    ImportMalformed {
        /// The kind.
        format: ImportFormat,
    },
    /// One entry of a file is incomplete, or a part of it is of another type.
    EntryMalformed {
        /// The kind of the file.
        format: ImportFormat,
    },
    /// An entry is in the bin of the app that it comes from.
    EntryInBin,
    /// A file of an archive is not read, and others of it may be.
    ArchiveFile {
        /// Why not.
        fault: ArchiveFault,
    },
    /// A file to import is encrypted, in a way that is not read.
    ImportEncrypted {
        /// The kind.
        format: ImportFormat,
    },
    /// A file to import is encrypted, and no password came with it.
    ImportPasswordMissing {
        /// The kind; earlier releases did not say it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        format: Option<ImportFormat>,
    },
    /// A file to import does not open with the password.
    ImportPasswordWrong {
        /// The kind; earlier releases did not say it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        format: Option<ImportFormat>,
        /// Whether the file says so itself: it may also be damaged otherwise.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        certain: bool,
    },
    /// A file to import is known and not read.
    ImportUnsupported {
        /// What it is.
        what: String,
    },
    /// A list names secrets and does not have them.
    ImportValuesMissing,
    /// More is in archives than is taken out of them.
    ArchiveTooLarge {
        /// The most files.
        files: u32,
        /// The most bytes that come out.
        bytes: u64,
        /// How deeply archives may be nested.
        depth: u32,
    },
    /// There is no account in it.
    ImportEmpty,
    /// There are too many accounts in it.
    ImportTooMany {
        /// The most that are taken at once.
        limit: u32,
    },
    /// There are too many images in a file.
    ImportTooManyPictures {
        /// The most that are taken out of one.
        limit: u32,
    },
    /// Opening or reading it would take too much.
    ImportTooCostly {
        /// Of what.
        exceeded: Exceeded,
    },
    /// Accounts were picked that are not in it.
    PickNotThere {
        /// How many accounts are.
        count: u32,
        /// Which are not, by their position counted from 1.
        missing: Vec<u32>,
    },
    /// What another installation has sealed does not open.
    PackageUnreadable,
    /// What another installation has sealed comes without the recovery codes that were sealed
    /// with it, or with others.
    PackageIncomplete,
    /// An item has recovery codes and no account.
    RecoveryCodesAlone,
    /// An account with the same content is in use, and it was asked not to add it then.
    AccountThere {
        /// The ids of those accounts that the reader may see.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        accounts: Vec<EnrollmentId>,
    },
    /// There are no bytes.
    ImageEmpty,
    /// It is an image of a kind that is not read, or no image.
    ImageUnsupported {
        /// What it looks like, for example "HEIC".
        format: String,
    },
    /// It begins like an image and cannot be decoded.
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
    /// It has more frames or pages than are searched.
    PagesNotSearched {
        /// How many it has.
        pages: u32,
        /// How many of them were searched, from the first on.
        searched: u32,
    },
    /// The text does not begin with `otpauth:`.
    NotOtpauth {
        /// What it is instead.
        #[serde(default)]
        kind: ForeignKind,
    },
    /// The text begins so and is not an otpauth URI.
    OtpauthMalformed,
    /// The text is longer than any otpauth URI.
    OtpauthTooLong {
        /// The most bytes that are taken.
        limit: u32,
    },
    /// There is other text around the URI, or another one.
    OtpauthNotAlone,
    /// The bytes are not text in an encoding that is read.
    TextUndecodable {
        /// What they look like instead.
        encoding: String,
    },
    /// It is for counter-based codes.
    HotpUnsupported,
    /// It is for neither TOTP nor HOTP, nor Steam Guard.
    // Earlier releases refused Steam Guard under a code of its own.
    #[serde(alias = "steam-unsupported")]
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
    /// The secret is followed by what may be its rest, or something else.
    SecretUnclear,
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
    /// The time steps are counted from another moment than Unix time begins.
    StartUnsupported,
    /// A parameter contradicts another value of it, or the rest of the URI.
    ParamsConflict {
        /// Which one.
        parameter: Parameter,
    },
    /// A parameter is recognizably meant and not understood.
    ParamDamaged {
        /// Which one.
        parameter: Parameter,
    },
    /// An unknown parameter, or a name, says something that could be a parameter's value.
    ParamUnclear {
        /// Which one.
        parameter: Parameter,
        /// What the unknown parameter is called, if it has a name that can be repeated.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
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
    /// A backup of 2FAS, plain or encrypted.
    TwoFas,
    /// Bitwarden's JSON, plain or protected, or its CSV.
    Bitwarden,
    /// Secrets of a Key Vault as `az keyvault secret show` prints them.
    KeyVault,
    /// 2FAuth's JSON.
    #[serde(rename = "2fauth")]
    TwoFAuth,
    /// An export of Proton Authenticator, plain or encrypted.
    ProtonAuthenticator,
    /// Proton Pass's JSON or CSV.
    ProtonPass,
    /// An encrypted export of Ente Auth.
    Ente,
    /// FreeOTP+'s JSON.
    FreeOtpPlus,
    /// A backup of Stratum, plain or encrypted.
    Stratum,
    /// A backup of andOTP, plain or encrypted.
    AndOtp,
    /// Raivo OTP's JSON, or the ZIP archive with it.
    Raivo,
    /// OTPClient's JSON or database.
    OtpClient,
    /// LastPass Authenticator's JSON.
    LastPassAuthenticator,
    /// A maFile of Steam Desktop Authenticator.
    SteamMaFile,
    /// 1Password's 1PUX archive or CSV.
    #[serde(rename = "1password")]
    OnePassword,
    /// KeePass's XML, or KeePassXC's XML or CSV.
    #[serde(rename = "keepass")]
    KeePass,
    /// Apple Passwords' CSV.
    ApplePasswords,
    /// Dashlane's JSON or CSV.
    Dashlane,
    /// Enpass's JSON or CSV.
    Enpass,
    /// Tokens of Authy that a tool has decrypted.
    Authy,
    /// The accounts that Duo Mobile keeps on a phone.
    Duo,
    /// A backup of TOTP Authenticator, or its list from a phone.
    TotpAuthenticator,
    /// SafeInCloud's XML.
    SafeInCloud,
    /// JSON of no known program.
    Json,
    /// A table (CSV) with a column of codes.
    Table,
    /// A web page with codes.
    Page,
    /// Images of QR codes.
    Pictures,
    /// An archive of several files.
    Archive,
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
            Self::TwoFAuth => "an export of 2FAuth",
            Self::ProtonAuthenticator => "an export of Proton Authenticator",
            Self::ProtonPass => "an export of Proton Pass",
            Self::Ente => "an export of Ente Auth",
            Self::FreeOtpPlus => "an export of FreeOTP+",
            Self::Stratum => "a backup of Stratum",
            Self::AndOtp => "a backup of andOTP",
            Self::Raivo => "an export of Raivo OTP",
            Self::OtpClient => "an export or database of OTPClient",
            Self::LastPassAuthenticator => "an export of LastPass Authenticator",
            Self::SteamMaFile => "a maFile of Steam Desktop Authenticator",
            Self::OnePassword => "an export of 1Password",
            Self::KeePass => "an export of KeePass or KeePassXC",
            Self::ApplePasswords => "an export of Apple Passwords",
            Self::Dashlane => "an export of Dashlane",
            Self::Enpass => "an export of Enpass",
            Self::Authy => "a list of Authy's tokens",
            Self::Duo => "a list of Duo Mobile's accounts",
            Self::TotpAuthenticator => "a backup of TOTP Authenticator",
            Self::SafeInCloud => "an export of SafeInCloud",
            Self::Json => "a JSON document",
            Self::Table => "a table",
            Self::Page => "a web page",
            Self::Pictures => "an image",
            Self::Archive => "an archive",
        }
    }
}

/// Why a file of an archive is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArchiveFault {
    /// It cannot be unpacked, or is not what it was when it was packed.
    Damaged,
    /// It is compressed or encrypted in a way that is not read.
    Method,
    /// Another one has the same name.
    Repeated,
    /// It is encrypted, and no password came with the archive.
    Encrypted,
}

/// A parameter of an otpauth URI.
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
    /// `encoder`
    Encoder,
    /// `issuer`
    Issuer,
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
            Self::Encoder => "encoder",
            Self::Issuer => "issuer",
        }
    }
}

impl InputProblem {
    /// What the text is instead of an account, where that is the problem.
    #[must_use]
    pub const fn foreign_kind(&self) -> Option<ForeignKind> {
        match self {
            Self::QrNotOtpauth { kind, .. } | Self::NotOtpauth { kind } => Some(*kind),
            _ => None,
        }
    }

    /// Where codes, or what looks like some, are in the image.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        match self {
            Self::QrNotFound { regions, .. }
            | Self::QrNotOtpauth { regions, .. }
            | Self::SeveralAccounts { regions, .. }
            | Self::CodePartsMissing { regions, .. }
            | Self::CodePartsMixed { regions, .. }
            | Self::CodesUnread { regions, .. } => regions,
            _ => &[],
        }
    }

    /// The accounts that are there already.
    #[must_use]
    pub fn accounts(&self) -> &[EnrollmentId] {
        match self {
            Self::AccountThere { accounts } => accounts,
            _ => &[],
        }
    }

    /// The attempts that were made to read the image, by name.
    #[must_use]
    pub fn tried(&self) -> &[String] {
        match self {
            Self::QrNotFound { tried, .. } => tried,
            _ => &[],
        }
    }
}

impl From<UnknownEncoding> for InputProblem {
    fn from(unknown: UnknownEncoding) -> Self {
        Self::TextUndecodable {
            encoding: unknown.looks_like.to_owned(),
        }
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
            (r#"{"code":"steam-unsupported"}"#, "type-unsupported"),
        ] {
            let problem: InputProblem = serde_json::from_str(json).unwrap();
            assert_eq!(problem.code(), code);
        }
    }

    #[test]
    fn every_code_is_listed() {
        let unknown = serde_json::from_str::<InputProblem>(r#"{"code": "nothing"}"#);
        // The error names every code that there is.
        let error = unknown.unwrap_err().to_string();
        let known: Vec<&str> = error.split('`').skip(1).step_by(2).collect();
        let now = known.into_iter().filter(|code| {
            !["nothing", "migration-unsupported", "steam-unsupported"].contains(code)
        });
        assert_eq!(now.collect::<Vec<_>>(), InputProblem::CODES, "{error}");
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
            InputProblem::ImportTooCostly {
                exceeded: Exceeded::Work,
            },
            InputProblem::PickNotThere {
                count: 2,
                missing: vec![3, 7],
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
