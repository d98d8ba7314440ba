//! How problems are told: a code for programs, sentences for people.

use super::ImportFormat;
use super::InputProblem;
use crate::foreign::ForeignKind;
use crate::ids::EnrollmentId;

const SEND_THE_CODE: &str = "Send a PNG or JPEG picture of the QR code that the service shows when you set up an authenticator app.";
const COPY_AGAIN: &str = "Copy it again from the service's set-up page, completely.";

impl InputProblem {
    /// Whether a file's problem is one of the whole import, of which then nothing is taken: a
    /// bound that was reached, or a password that is asked for.
    #[must_use]
    pub const fn ends_import(&self) -> bool {
        matches!(
            self,
            Self::ImportPasswordMissing { .. }
                | Self::ImportTooCostly { .. }
                | Self::ImportTooMany { .. }
                | Self::ImportTooManyPictures { .. }
                | Self::ArchiveTooLarge { .. }
        )
    }

    /// Every code that [`InputProblem::code`] knows.
    pub const CODES: [&'static str; 51] = [
        "qr-not-found",
        "qr-not-otpauth",
        "several-accounts",
        "code-parts-missing",
        "code-parts-mixed",
        "codes-unread",
        "google-export",
        "google-export-malformed",
        "export-parts-missing",
        "export-parts-unsure",
        "import-unknown",
        "import-malformed",
        "import-encrypted",
        "import-password-missing",
        "import-password-wrong",
        "import-unsupported",
        "import-values-missing",
        "archive-too-large",
        "import-empty",
        "import-too-many",
        "import-too-many-pictures",
        "import-too-costly",
        "pick-not-there",
        "package-unreadable",
        "account-there",
        "image-empty",
        "image-unsupported",
        "image-unreadable",
        "image-too-large",
        "image-too-many-bytes",
        "image-too-small",
        "image-time-limit",
        "not-otpauth",
        "otpauth-malformed",
        "otpauth-too-long",
        "otpauth-not-alone",
        "text-undecodable",
        "hotp-unsupported",
        "type-unsupported",
        "secret-missing",
        "secret-not-base32",
        "secret-truncated",
        "secret-too-long",
        "algorithm-unsupported",
        "digits-unsupported",
        "period-unsupported",
        "start-unsupported",
        "params-conflict",
        "param-damaged",
        "label-malformed",
        "label-too-long",
    ];

    /// The stable name of the problem, for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::QrNotFound { .. } => "qr-not-found",
            Self::QrNotOtpauth { .. } => "qr-not-otpauth",
            Self::SeveralAccounts { .. } => "several-accounts",
            Self::CodePartsMissing { .. } => "code-parts-missing",
            Self::CodePartsMixed { .. } => "code-parts-mixed",
            Self::CodesUnread { .. } => "codes-unread",
            Self::GoogleExport => "google-export",
            Self::GoogleExportMalformed => "google-export-malformed",
            Self::ExportPartsMissing { .. } => "export-parts-missing",
            Self::ExportPartsUnsure { .. } => "export-parts-unsure",
            Self::ImportUnknown => "import-unknown",
            Self::ImportMalformed { .. } => "import-malformed",
            Self::ImportEncrypted { .. } => "import-encrypted",
            Self::ImportPasswordMissing { .. } => "import-password-missing",
            Self::ImportPasswordWrong { .. } => "import-password-wrong",
            Self::ImportUnsupported { .. } => "import-unsupported",
            Self::ImportValuesMissing => "import-values-missing",
            Self::ArchiveTooLarge { .. } => "archive-too-large",
            Self::ImportEmpty => "import-empty",
            Self::ImportTooMany { .. } => "import-too-many",
            Self::ImportTooManyPictures { .. } => "import-too-many-pictures",
            Self::ImportTooCostly { .. } => "import-too-costly",
            Self::PickNotThere { .. } => "pick-not-there",
            Self::PackageUnreadable => "package-unreadable",
            Self::AccountThere { .. } => "account-there",
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
            Self::OtpauthNotAlone => "otpauth-not-alone",
            Self::TextUndecodable { .. } => "text-undecodable",
            Self::HotpUnsupported => "hotp-unsupported",
            Self::TypeUnsupported => "type-unsupported",
            Self::SecretMissing => "secret-missing",
            Self::SecretNotBase32 { .. } => "secret-not-base32",
            Self::SecretTruncated => "secret-truncated",
            Self::SecretTooLong { .. } => "secret-too-long",
            Self::AlgorithmUnsupported { .. } => "algorithm-unsupported",
            Self::DigitsUnsupported => "digits-unsupported",
            Self::PeriodUnsupported => "period-unsupported",
            Self::StartUnsupported => "start-unsupported",
            Self::ParamsConflict { .. } => "params-conflict",
            Self::ParamDamaged { .. } => "param-damaged",
            Self::LabelMalformed => "label-malformed",
            Self::LabelTooLong { .. } => "label-too-long",
        }
    }

    /// A few words for a heading. The same for every problem with this code.
    #[must_use]
    pub const fn title(&self) -> &'static str {
        match self {
            Self::QrNotFound { .. } => "No QR code found",
            Self::QrNotOtpauth { .. } => "Not an authenticator QR code",
            Self::SeveralAccounts { .. } => "Several accounts in one picture",
            Self::CodePartsMissing { .. } => "Parts of a QR code set are missing",
            Self::CodePartsMixed { .. } => "QR codes do not fit together",
            Self::CodesUnread { .. } => "QR codes were not read",
            Self::GoogleExport => "Google Authenticator export",
            Self::GoogleExportMalformed => "Unreadable Google Authenticator export",
            Self::ExportPartsMissing { .. } => "Parts of the export are missing",
            Self::ExportPartsUnsure { .. } => "Parts of the export may be missing",
            Self::ImportUnknown => "Unknown kind of file",
            Self::ImportMalformed { .. } => "Unreadable export file",
            Self::ImportEncrypted { .. } => "Encrypted export file",
            Self::ImportPasswordMissing { .. } => "Password missing",
            Self::ImportPasswordWrong { .. } => "Wrong password",
            Self::ImportUnsupported { .. } => "Unsupported kind of file",
            Self::ImportValuesMissing => "Values missing",
            Self::ArchiveTooLarge { .. } => "Archive too large",
            Self::ImportEmpty => "Nothing to import",
            Self::ImportTooMany { .. } => "Too many accounts at once",
            Self::ImportTooManyPictures { .. } => "Too many pictures in a file",
            Self::ImportTooCostly { .. } => "Import too costly",
            Self::PickNotThere { .. } => "Picked accounts are not there",
            Self::PackageUnreadable => "Unreadable package",
            Self::AccountThere { .. } => "The account is there already",
            Self::ImageEmpty => "Empty picture",
            Self::ImageUnsupported { .. } => "Unsupported picture format",
            Self::ImageUnreadable => "Damaged picture",
            Self::ImageTooLarge { .. } | Self::ImageTooManyBytes { .. } => "Picture too large",
            Self::ImageTooSmall { .. } => "Picture too small",
            Self::ImageTimeLimit => "Picture took too long",
            Self::NotOtpauth { .. } => "Not an otpauth URI",
            Self::OtpauthMalformed => "Malformed otpauth URI",
            Self::OtpauthTooLong { .. } => "Otpauth URI too long",
            Self::OtpauthNotAlone => "Text around the otpauth URI",
            Self::TextUndecodable { .. } => "Unknown text encoding",
            Self::HotpUnsupported => "Counter-based codes are not supported",
            Self::TypeUnsupported => "Unknown kind of code",
            Self::SecretMissing => "Secret missing",
            Self::SecretNotBase32 { .. } => "Secret is not base32",
            Self::SecretTruncated => "Secret is incomplete",
            Self::SecretTooLong { .. } => "Secret too long",
            Self::AlgorithmUnsupported { .. } => "Unsupported algorithm",
            Self::DigitsUnsupported => "Unsupported number of digits",
            Self::PeriodUnsupported => "Unsupported period",
            Self::StartUnsupported => "Unsupported start of the time steps",
            Self::ParamsConflict { .. } => "Contradicting parameters",
            Self::ParamDamaged { .. } => "Damaged parameter",
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
            Self::CodePartsMissing {
                of, there, missing, ..
            } => {
                let are = |numbers: &[u32]| match numbers {
                    [_] => ("", "is"),
                    _ => ("s", "are"),
                };
                let ((code, is), (part, lack)) = (are(there), are(missing));
                format!(
                    "The QR code{code} {is} only part{code} {} of {of} of a text; part{part} {} {lack} missing.",
                    ranges(there),
                    ranges(missing)
                )
            }
            Self::CodePartsMixed { of, .. } => format!(
                "QR codes that say they are parts of a text in {of} codes do not fit together: they are of different texts, or one is wrong."
            ),
            Self::CodesUnread { count: 1, .. } => {
                "The picture holds another QR code, which could not be read.".to_owned()
            }
            Self::CodesUnread { count, .. } => {
                format!("The picture holds {count} other QR codes, which could not be read.")
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
            Self::ExportPartsUnsure { of } => format!(
                "These QR codes are of exports that have {of} each, and they do not say which belong together: parts of different exports can look like a whole one."
            ),
            Self::ImportUnknown => {
                "The file is none of those that can be imported: a list of otpauth URIs, a picture of QR codes, or an export of a known authenticator app or password manager."
                    .to_owned()
            }
            Self::ImportMalformed { format } => {
                format!("The file begins like {} but is damaged or incomplete.", format.words())
            }
            Self::ImportEncrypted { format } => {
                format!("The file is {}, encrypted in a way that is not read here.", format.words())
            }
            Self::ImportPasswordMissing { format } => format!(
                "The file is {}, encrypted with a password.",
                format.map_or("an export", ImportFormat::words)
            ),
            Self::ImportPasswordWrong { format } => format!(
                "The file is {}, and does not open with this password, or is damaged.",
                format.map_or("an export", ImportFormat::words)
            ),
            Self::ImportUnsupported { what } => {
                format!("The file is {what}, which is not read here.")
            }
            Self::ImportValuesMissing => {
                "The file lists secrets of a Key Vault without their values, as az keyvault secret list prints it."
                    .to_owned()
            }
            Self::ArchiveTooLarge {
                files,
                bytes,
                depth,
            } => format!(
                "The archive holds more than {files} files or {} MiB, or archives that are more than {depth} deep in one another.",
                bytes / (1024 * 1024)
            ),
            Self::ImportEmpty => "There is no account in what was sent.".to_owned(),
            Self::ImportTooMany { limit } => {
                format!("There are more than {limit} accounts in what was sent.")
            }
            Self::ImportTooManyPictures { limit } => {
                format!("There are more than {limit} pictures in one file that was sent.")
            }
            Self::ImportTooCostly { exceeded } => {
                format!("Reading what was sent would take {}.", exceeded.words())
            }
            Self::PickNotThere { count, missing } => format!(
                "Number {} was picked, and the last account in what was sent is number {count}.",
                ranges(missing)
            ),
            Self::PackageUnreadable => {
                "The package does not open: it is damaged or incomplete, or for another account than this id's."
                    .to_owned()
            }
            Self::AccountThere { accounts } => there(accounts),
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
            Self::OtpauthNotAlone => {
                "There is other text around the otpauth URI, or a second URI.".to_owned()
            }
            Self::TextUndecodable { encoding } => {
                format!("It is not text in UTF-8 or UTF-16 but {encoding}.")
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
            Self::StartUnsupported => {
                "The time steps are counted from another moment than the beginning of 1970 (a parameter such as t0, epoch or offset), which gives other codes."
                    .to_owned()
            }
            Self::ParamsConflict { parameter } => format!(
                "The parameter {} is given more than once with different values, or contradicts the rest of the URI.",
                parameter.as_str()
            ),
            Self::ParamDamaged { parameter } => format!(
                "The parameter {} is there but damaged: its name, its value or what separates it from the others.",
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
            Self::CodePartsMissing { .. } => {
                "Send all the QR codes of the set together, in one picture or several: countersign import FILE..., or POST /api/imports."
            }
            Self::CodePartsMixed { .. } => {
                "Send the QR codes of one set at a time, all of them, or ask the service for a single code."
            }
            Self::CodesUnread { .. } => {
                "Take a picture of what was not read, closer and sharper, with the whole code and a white border around it; if it is not wanted, crop the picture to the codes that are."
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
            Self::ExportPartsUnsure { .. } => {
                "Compare the number of accounts with the app's, and send the QR codes of one export at a time."
            }
            Self::ImportUnknown => {
                "Export the accounts as one of those in docs/IMPORT.md, or write one otpauth:// URI a line."
            }
            Self::ImportMalformed { .. } => "Export the accounts again and send the whole file.",
            Self::ImportEncrypted { .. } => {
                "Export the accounts again without encryption, and delete that file afterwards."
            }
            Self::ImportUnsupported { .. } => {
                "Unpack or decrypt it and send the files in it, or export the accounts in another format (docs/IMPORT.md lists them)."
            }
            Self::ImportValuesMissing => {
                "Send what az keyvault secret show prints for each of them, one after the other in one file."
            }
            Self::ArchiveTooLarge { .. } => {
                "Unpack it and send the files with accounts, in several parts."
            }
            Self::ImportPasswordMissing { .. } => {
                "Send the export's password along: --password-file FILE, or the form field `password`."
            }
            Self::ImportPasswordWrong { .. } => "Check the password that the export was made with.",
            Self::ImportEmpty => {
                "Send a file or picture that has accounts with time-based codes."
            }
            Self::ImportTooMany { .. } => {
                "Use countersign import, which sends lists and exports in several parts by itself, or send at most that many at once."
            }
            Self::ImportTooManyPictures { .. } => {
                "Send at most that many pictures in one archive or page, and the rest in further imports."
            }
            Self::ImportTooCostly { .. } => {
                "Send the files one at a time; if it is one file only, export it without a password or with the program's usual settings."
            }
            Self::PickNotThere { .. } => {
                "Do a dry run without picking, and pick by the positions that it shows."
            }
            Self::PackageUnreadable => {
                "Send it again, whole and with the id that it came with; if that is no use, have the account restored where it comes from and handed over again."
            }
            Self::AccountThere { .. } => {
                "Use the account that is there, or enroll it once more without asking for that to be refused."
            }
            Self::ImageUnreadable => "Send the picture again, or save it as PNG first.",
            Self::ImageTooLarge { .. }
            | Self::ImageTooManyBytes { .. }
            | Self::ImageTimeLimit => "Crop the picture to the QR code, or scale it down.",
            Self::ImageTooSmall { .. } => "Send the picture in its full size.",
            Self::NotOtpauth { kind } => kind
                .next_step()
                .unwrap_or("Send the whole text of the QR code; it begins with otpauth://totp/."),
            Self::OtpauthNotAlone => {
                "Send the URI alone, from otpauth:// to its end; several go into an import, one a line."
            }
            Self::TextUndecodable { .. } => "Save the text as UTF-8 and send it again.",
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
            | Self::ParamsConflict { .. }
            | Self::ParamDamaged { .. } => COPY_AGAIN,
            Self::AlgorithmUnsupported { .. } => {
                "Set the service up again with SHA1, SHA256 or SHA512, if it offers a choice."
            }
            Self::DigitsUnsupported => {
                "Set the service up again with 6 or 8 digits, if it offers a choice."
            }
            Self::PeriodUnsupported => {
                "Set the service up again with a period of 30 seconds, if it offers a choice."
            }
            Self::StartUnsupported => {
                "Set the service up again with time steps that begin in 1970 (t0=0), if it offers a choice."
            }
            Self::LabelMalformed => "Ask the service for a QR code with a plain account name.",
            Self::LabelTooLong { .. } => "Shorten the issuer and the account name in the URI.",
        }
        .to_owned()
    }
}

/// Ascending numbers for people: `2, 5-7`.
fn ranges(numbers: &[u32]) -> String {
    let runs = numbers.chunk_by(|one, next| one.checked_add(1) == Some(*next));
    let told: Vec<String> = runs
        .filter_map(|run| match run {
            [] => None,
            [one] => Some(one.to_string()),
            [first, .., last] => Some(format!("{first}-{last}")),
        })
        .collect();
    told.join(", ")
}

/// That the same account is there, and where, as far as that is said.
pub(crate) fn there(accounts: &[EnrollmentId]) -> String {
    let ids: Vec<&str> = accounts.iter().map(EnrollmentId::as_str).collect();
    match ids.as_slice() {
        [] => "An account with the same secret and the same codes is there already.".to_owned(),
        ids => format!(
            "An account with the same secret and the same codes is there already: {}.",
            ids.join(", ")
        ),
    }
}
