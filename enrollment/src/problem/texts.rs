//! The texts of problems: a code for programs, sentences for people.

use super::InputProblem;
use super::kinds;
use super::{ArchiveFault, ImportFormat};
use crate::foreign::ForeignKind;
use crate::ids::EnrollmentId;

const SEND_THE_CODE: &str = "Send a PNG or JPEG image of the QR code that the service shows when you set up an authenticator app.";
const COPY_AGAIN: &str = "Copy it again, completely, from the service's set-up page.";

impl InputProblem {
    /// Whether a file's problem is one of the whole import, of which then nothing is taken: a
    /// bound that was reached, or a password that is requested.
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
    pub const CODES: [&'static str; 62] = [
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
        "import-columns-unknown",
        "row-displaced",
        "line-commented",
        "import-malformed",
        "entry-malformed",
        "entry-in-bin",
        "archive-file",
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
        "package-incomplete",
        "recovery-codes-alone",
        "account-there",
        "image-empty",
        "image-unsupported",
        "image-unreadable",
        "image-too-large",
        "image-too-many-bytes",
        "image-too-small",
        "image-time-limit",
        "pages-not-searched",
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
        "secret-unclear",
        "secret-too-long",
        "algorithm-unsupported",
        "digits-unsupported",
        "period-unsupported",
        "start-unsupported",
        "params-conflict",
        "param-damaged",
        "param-unclear",
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
            Self::ImportColumnsUnknown { .. } => "import-columns-unknown",
            Self::RowDisplaced => "row-displaced",
            Self::LineCommented => "line-commented",
            Self::ImportMalformed { .. } => "import-malformed",
            Self::EntryMalformed { .. } => "entry-malformed",
            Self::EntryInBin => "entry-in-bin",
            Self::ArchiveFile { .. } => "archive-file",
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
            Self::PackageIncomplete => "package-incomplete",
            Self::RecoveryCodesAlone => "recovery-codes-alone",
            Self::AccountThere { .. } => "account-there",
            Self::ImageEmpty => "image-empty",
            Self::ImageUnsupported { .. } => "image-unsupported",
            Self::ImageUnreadable => "image-unreadable",
            Self::ImageTooLarge { .. } => "image-too-large",
            Self::ImageTooManyBytes { .. } => "image-too-many-bytes",
            Self::ImageTooSmall { .. } => "image-too-small",
            Self::ImageTimeLimit => "image-time-limit",
            Self::PagesNotSearched { .. } => "pages-not-searched",
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
            Self::SecretUnclear => "secret-unclear",
            Self::SecretTooLong { .. } => "secret-too-long",
            Self::AlgorithmUnsupported { .. } => "algorithm-unsupported",
            Self::DigitsUnsupported => "digits-unsupported",
            Self::PeriodUnsupported => "period-unsupported",
            Self::StartUnsupported => "start-unsupported",
            Self::ParamsConflict { .. } => "params-conflict",
            Self::ParamDamaged { .. } => "param-damaged",
            Self::ParamUnclear { .. } => "param-unclear",
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
            Self::SeveralAccounts { .. } => "Several accounts in one image",
            Self::CodePartsMissing { .. } => "Parts of a QR code set are missing",
            Self::CodePartsMixed { .. } => "QR codes do not belong together",
            Self::CodesUnread { .. } => "Some QR codes could not be read",
            Self::GoogleExport => "Google Authenticator export",
            Self::GoogleExportMalformed => "Unreadable Google Authenticator export",
            Self::ExportPartsMissing { .. } => "Parts of the export are missing",
            Self::ExportPartsUnsure { .. } => "Parts of the export may be missing",
            Self::ImportUnknown => "Unknown file type",
            Self::ImportColumnsUnknown { .. } => "No column of codes",
            Self::RowDisplaced => "Row does not fit its table",
            Self::LineCommented => "Commented line",
            Self::ImportMalformed { .. } => "Unreadable export file",
            Self::EntryMalformed { .. } => "Unreadable entry",
            Self::EntryInBin => "Entry in the bin",
            Self::ArchiveFile { .. } => "Unreadable file in an archive",
            Self::ImportEncrypted { .. } => "Encrypted export file",
            Self::ImportPasswordMissing { .. } => "Password missing",
            Self::ImportPasswordWrong { .. } => "Wrong password",
            Self::ImportUnsupported { .. } => "Unsupported file type",
            Self::ImportValuesMissing => "Values missing",
            Self::ArchiveTooLarge { .. } => "Archive too large",
            Self::ImportEmpty => "Nothing to import",
            Self::ImportTooMany { .. } => "Too many accounts at once",
            Self::ImportTooManyPictures { .. } => "Too many images in a file",
            Self::ImportTooCostly { .. } => "Import too costly",
            Self::PickNotThere { .. } => "Picked accounts do not exist",
            Self::PackageUnreadable => "Unreadable package",
            Self::PackageIncomplete => "Incomplete package",
            Self::RecoveryCodesAlone => "Recovery codes without an account",
            Self::AccountThere { .. } => "The account already exists",
            Self::ImageEmpty => "Empty image",
            Self::ImageUnsupported { .. } => "Unsupported image format",
            Self::ImageUnreadable => "Damaged image",
            Self::ImageTooLarge { .. } | Self::ImageTooManyBytes { .. } => "Image too large",
            Self::ImageTooSmall { .. } => "Image too small",
            Self::ImageTimeLimit => "Reading the image took too long",
            Self::PagesNotSearched { .. } => "Too many pages or frames",
            Self::NotOtpauth { .. } => "Not an otpauth URI",
            Self::OtpauthMalformed => "Malformed otpauth URI",
            Self::OtpauthTooLong { .. } => "Otpauth URI too long",
            Self::OtpauthNotAlone => "Text around the otpauth URI",
            Self::TextUndecodable { .. } => "Unknown text encoding",
            Self::HotpUnsupported => "Counter-based codes are not supported",
            Self::TypeUnsupported => "Unknown type of code",
            Self::SecretMissing => "Secret missing",
            Self::SecretNotBase32 { .. } => "Secret is not base32",
            Self::SecretTruncated => "Secret is incomplete",
            Self::SecretUnclear => "Unclear where the secret ends",
            Self::SecretTooLong { .. } => "Secret too long",
            Self::AlgorithmUnsupported { .. } => "Unsupported algorithm",
            Self::DigitsUnsupported => "Unsupported number of digits",
            Self::PeriodUnsupported => "Unsupported period",
            Self::StartUnsupported => "Unsupported start of the time steps",
            Self::ParamsConflict { .. } => "Contradicting parameters",
            Self::ParamDamaged { .. } => "Damaged parameter",
            Self::ParamUnclear { .. } => "Unclear parameter",
            Self::LabelMalformed => "Unreadable label",
            Self::LabelTooLong { .. } => "Label too long",
        }
    }

    /// What was wrong with this upload, as a sentence for the person who sent it.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::QrNotFound { regions, .. } if !regions.is_empty() => {
                "The image contains what looks like a QR code, but it could not be read.".to_owned()
            }
            Self::QrNotFound { .. } => {
                "The image contains no readable QR code.".to_owned()
            }
            Self::QrNotOtpauth { kind, .. } => format!("The QR code {}.", kind.description()),
            Self::SeveralAccounts { count, .. } => {
                format!("The image contains {count} different accounts, but one was expected.")
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
                "Some QR codes are parts of a set of {of}, but do not belong together: they are from different sets, or one is wrong."
            ),
            Self::CodesUnread { count: 1, .. } => {
                "The image contains another QR code, which could not be read.".to_owned()
            }
            Self::CodesUnread { count, .. } => {
                format!("The image contains {count} other QR codes, which could not be read.")
            }
            Self::GoogleExport => {
                "This is a Google Authenticator export, which can contain many accounts."
                    .to_owned()
            }
            Self::GoogleExportMalformed => {
                "This looks like a Google Authenticator export, but it is damaged or incomplete."
                    .to_owned()
            }
            Self::ExportPartsMissing { of, missing } => {
                let list: Vec<String> = missing.iter().map(u32::to_string).collect();
                format!(
                    "The export has {of} QR codes, and not all were sent; missing: number {}.",
                    list.join(", ")
                )
            }
            Self::ExportPartsUnsure { of } => format!(
                "These QR codes come from exports of {of} codes each and do not say which belong together, so parts of different exports could be taken for a complete one."
            ),
            Self::ImportUnknown => {
                "The file cannot be imported: it is neither a list of otpauth URIs, nor an image of QR codes, nor an export of a known authenticator app or password manager."
                    .to_owned()
            }
            Self::ImportColumnsUnknown { columns } if columns.is_empty() => {
                "The file is a table, but its first line does not say which column contains the codes."
                    .to_owned()
            }
            Self::ImportColumnsUnknown { columns } => format!(
                "The file is a table without a column that is known to contain codes. Its columns are: {}.",
                columns.join(", ")
            ),
            Self::RowDisplaced => {
                "The row does not have as many cells as the table has columns, so its cells may not be where their names are."
                    .to_owned()
            }
            Self::LineCommented => {
                "The line has a URI, but begins with # like a comment, and was not read.".to_owned()
            }
            Self::ImportMalformed { format } => {
                format!("The file looks like {}, but it is damaged or incomplete.", format.words())
            }
            Self::EntryMalformed { format } => format!(
                "This entry of {} is incomplete, or one of its values is of the wrong type.",
                format.words()
            ),
            Self::EntryInBin => {
                "The entry is in the bin of the app that the file comes from, so it was not imported."
                    .to_owned()
            }
            Self::ArchiveFile { fault } => match fault {
                ArchiveFault::Damaged => {
                    "This file of the archive is damaged: it cannot be unpacked, or its checksum is wrong."
                }
                ArchiveFault::Method => {
                    "This file of the archive is compressed or encrypted in a way that is not supported."
                }
                ArchiveFault::Repeated => {
                    "The archive has several files of this name, of which only the last was read."
                }
                ArchiveFault::Encrypted => {
                    "This file of the archive is encrypted, and no password was given."
                }
            }
            .to_owned(),
            Self::ImportEncrypted { format } => {
                format!("The file is {}, encrypted in a way that is not supported.", format.words())
            }
            Self::ImportPasswordMissing { format } => format!(
                "The file is {}, encrypted with a password.",
                format.map_or("an export", ImportFormat::words)
            ),
            Self::ImportPasswordWrong {
                format,
                certain: true,
            } => format!(
                "The password is wrong: it does not open the file, which is {}.",
                format.map_or("an export", ImportFormat::words)
            ),
            Self::ImportPasswordWrong { format, .. } => format!(
                "The file is {}, and cannot be opened with this password, or is damaged.",
                format.map_or("an export", ImportFormat::words)
            ),
            Self::ImportUnsupported { what } => {
                format!("The file is {what}, which is not supported.")
            }
            Self::ImportValuesMissing => {
                "The file lists Key Vault secrets without their values, as az keyvault secret list prints them."
                    .to_owned()
            }
            Self::ArchiveTooLarge {
                files,
                bytes,
                depth,
            } => format!(
                "The archive contains more than {files} files or {} MiB, or archives nested more than {depth} deep.",
                bytes / (1024 * 1024)
            ),
            Self::ImportEmpty => "The upload contains no account.".to_owned(),
            Self::ImportTooMany { limit } => {
                format!("The upload contains more than {limit} accounts.")
            }
            Self::ImportTooManyPictures { limit } => {
                format!("One of the files contains more than {limit} images.")
            }
            Self::ImportTooCostly { exceeded } => {
                format!("Reading the upload would take {}.", exceeded.words())
            }
            Self::PickNotThere { count, missing } => {
                let (position, were) = match missing.as_slice() {
                    [_] => ("Position", "was"),
                    _ => ("Positions", "were"),
                };
                let accounts = if *count == 1 { "account" } else { "accounts" };
                format!(
                    "{position} {} {were} picked, but the upload has only {count} {accounts}.",
                    ranges(missing)
                )
            }
            Self::PackageUnreadable => {
                "The package cannot be opened: it is damaged or incomplete, or belongs to a different account than the one with this id."
                    .to_owned()
            }
            Self::PackageIncomplete => {
                "The recovery codes that were sealed with the account are missing from the package, or were swapped."
                    .to_owned()
            }
            Self::RecoveryCodesAlone => {
                "The item has recovery codes, but no account to keep them with.".to_owned()
            }
            Self::AccountThere { accounts } => there(accounts),
            Self::ImageEmpty => "The upload is empty; an image was expected.".to_owned(),
            Self::ImageUnsupported { format } => kinds::not_an_image(format),
            Self::ImageUnreadable => "The image is damaged or incomplete.".to_owned(),
            Self::ImageTooLarge { width, height } => {
                format!("The image has {width} x {height} pixels, which is too many.")
            }
            Self::ImageTooManyBytes { limit } => {
                format!("The image has more than {limit} bytes and could not be reduced without losing its QR code.")
            }
            Self::ImageTooSmall { width, height } => {
                format!("The image has {width} x {height} pixels, too few for a QR code.")
            }
            Self::ImageTimeLimit => {
                "Searching the image for a QR code took too long and was stopped.".to_owned()
            }
            Self::PagesNotSearched { pages, searched } => format!(
                "The image file has {pages} pages or frames, of which only the first {searched} were searched for QR codes."
            ),
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
                format!("The text is not in UTF-8 or UTF-16 but in {encoding}.")
            }
            Self::HotpUnsupported => {
                "The URI is for counter-based codes (hotp); only time-based ones (totp) are supported."
                    .to_owned()
            }
            Self::TypeUnsupported => "The URI is for a type of code other than totp.".to_owned(),
            Self::SecretMissing => "The URI has no secret, or an empty one.".to_owned(),
            Self::SecretNotBase32 { lookalike: true } => {
                "The secret contains a digit that base32 does not have: 0, 1, 8 or 9.".to_owned()
            }
            Self::SecretNotBase32 { lookalike: false } => {
                "The secret contains a character other than A-Z and 2-7.".to_owned()
            }
            Self::SecretTruncated => {
                "The secret has a length that base32 cannot have: characters are missing.".to_owned()
            }
            Self::SecretUnclear => {
                "The secret contains a space, a dash, a tab or a line end where it could be complete, so what follows may be the rest of it or something else."
                    .to_owned()
            }
            Self::SecretTooLong { limit } => {
                format!("The secret has more than {limit} characters.")
            }
            Self::AlgorithmUnsupported { name: Some(name) } => {
                format!("The algorithm {name} is not supported.")
            }
            Self::AlgorithmUnsupported { name: None } => {
                "The algorithm is not one of TOTP's.".to_owned()
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
                "The parameter {} is damaged: its name, its value or the separator.",
                parameter.as_str()
            ),
            Self::ParamUnclear {
                parameter,
                name: Some(name),
            } => format!(
                "The parameter {name} is not known, and its value could be meant as {}, which is not given.",
                parameter.as_str()
            ),
            Self::ParamUnclear {
                parameter,
                name: None,
            } => format!(
                "A name, or a parameter without a usual name, says what could be meant as {}, which is not given.",
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
                "Photograph the QR code again, closer and in focus, with all of it and a white border around it."
            }
            Self::QrNotOtpauth { kind, .. } => kind.next_step().unwrap_or(SEND_THE_CODE),
            Self::ImageEmpty => SEND_THE_CODE,
            Self::ImageUnsupported { format } => kinds::advice(format).unwrap_or(SEND_THE_CODE),
            Self::SeveralAccounts { .. } => {
                "Import the image to enroll some or all of them: countersign import FILE, or POST /api/imports."
            }
            Self::CodePartsMissing { .. } => {
                "Send all QR codes of the set together, in one image or several: countersign import FILE..., or POST /api/imports."
            }
            Self::CodePartsMixed { .. } => {
                "Send all QR codes of one set at a time, or ask the service for a single QR code."
            }
            Self::CodesUnread { .. } => {
                "Photograph the unread QR code again, closer and in focus, with a white border around it; if you do not need it, crop the image to the QR codes that you need."
            }
            Self::GoogleExport => {
                "Import it with all its QR codes: countersign import FILE..., or POST /api/imports."
            }
            Self::GoogleExportMalformed => {
                "Export the accounts again and send images of all QR codes."
            }
            Self::ExportPartsMissing { .. } => {
                "Send all QR codes of the export together; existing accounts are not added twice."
            }
            Self::ExportPartsUnsure { .. } => {
                "Compare the number of accounts with the app's, and send the QR codes of one export at a time."
            }
            Self::ImportUnknown => {
                "Export the accounts in a format listed in docs/IMPORT.md, or send one otpauth:// URI per line."
            }
            Self::ImportColumnsUnknown { .. } => {
                "Name the column with the secrets or otpauth URIs otp in the first line, and those with the names issuer and account; then import the file again."
            }
            Self::RowDisplaced => {
                "Put cells that contain the separator or a line end in quotation marks, and import the row again."
            }
            Self::LineCommented => "Remove the # to import it.",
            Self::ImportMalformed { .. } => "Export the accounts again and send the whole file.",
            Self::EntryMalformed { .. } => {
                "Show the account in its app, and enroll it on its own, as a QR code or a URI."
            }
            Self::EntryInBin => "If you need it, restore it in the app and export it again.",
            Self::ArchiveFile { fault } => match fault {
                ArchiveFault::Damaged => "Pack the archive again, or send the file on its own.",
                ArchiveFault::Method => {
                    "Pack the archive again with the usual compression (Deflate), or send the file on its own."
                }
                ArchiveFault::Repeated => "Unpack the archive, and send each of the files on its own.",
                ArchiveFault::Encrypted => {
                    "Send the archive again with its password: --password-file FILE, or the form field `password`."
                }
            },
            Self::ImportEncrypted { .. } => {
                "Export the accounts again without encryption, and delete that file afterwards."
            }
            Self::ImportUnsupported { what } => kinds::advice(what).unwrap_or(
                "Unpack or decrypt it and send its files, or export the accounts in another format (see docs/IMPORT.md).",
            ),
            Self::ImportValuesMissing => {
                "Send the output of az keyvault secret show for each of them, one after the other in one file, or of Get-AzKeyVaultSecret -AsPlainText."
            }
            Self::ArchiveTooLarge { .. } => {
                "Unpack it and send the files with accounts in several imports."
            }
            Self::ImportPasswordMissing { .. } => {
                "Send the export's password with it: --password-file FILE, or the form field `password`."
            }
            Self::ImportPasswordWrong { .. } => "Check the export's password.",
            Self::ImportEmpty => {
                "Send a file or image that contains accounts with time-based codes."
            }
            Self::ImportTooMany { .. } => {
                "Use countersign import, which splits lists and exports automatically, or send at most that many at once."
            }
            Self::ImportTooManyPictures { .. } => {
                "Send at most that many images in one archive or page, and the rest in further imports; of an app that has saved the page, send the export as JSON or text instead."
            }
            Self::ImportTooCostly { .. } => {
                "Send the files one at a time; if there is only one, export it without a password or with the app's default settings."
            }
            Self::PickNotThere { .. } => {
                "Run a dry run without picking, and pick from the positions that it shows."
            }
            Self::PackageUnreadable => {
                "Send it again, complete and with its id; if that fails, restore the account on the source installation and transfer it again."
            }
            Self::PackageIncomplete => {
                "Send the whole package, exactly as the source installation gave it out."
            }
            Self::RecoveryCodesAlone => {
                "Enroll the account, and set its recovery codes with countersign recovery-codes set."
            }
            Self::AccountThere { .. } => {
                "Use the existing account, or enroll it again without refusing duplicates."
            }
            Self::ImageUnreadable => "Send the image again, or save it as PNG first.",
            Self::ImageTooLarge { .. }
            | Self::ImageTooManyBytes { .. }
            | Self::ImageTimeLimit => "Crop the image to the QR code, or scale it down.",
            Self::PagesNotSearched { .. } => {
                "Save the other pages or frames as separate images and send those, too; of a recording, send a screenshot of each QR code."
            }
            Self::ImageTooSmall { .. } => "Send the image in its full size.",
            Self::NotOtpauth { kind } => kind
                .next_step()
                .unwrap_or("Send the whole text of the QR code; it begins with otpauth://totp/."),
            Self::OtpauthNotAlone => {
                "Send only the URI, from otpauth:// to its end; use an import for several, one per line."
            }
            Self::TextUndecodable { .. } => "Save the text as UTF-8 and send it again.",
            Self::HotpUnsupported | Self::TypeUnsupported => {
                "Set the service up again with time-based codes (TOTP), if it offers them."
            }
            Self::SecretNotBase32 { lookalike: true } => {
                "Check whether the letters O, I, B or G were meant; copy the secret instead of typing it."
            }
            Self::SecretUnclear => {
                "If it is all one secret, write it without spaces, dashes and line ends; if not, remove what follows the secret."
            }
            Self::ParamUnclear { parameter, .. } => {
                return format!(
                    "If it is meant so, write it as {0}=VALUE; if not, remove it or give {0} as well.",
                    parameter.as_str()
                );
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
            Self::LabelMalformed => "Set the service up again with an account name in plain letters.",
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
        [] => "An account with the same secret and the same codes already exists.".to_owned(),
        ids => format!(
            "An account with the same secret and the same codes already exists: {}.",
            ids.join(", ")
        ),
    }
}
