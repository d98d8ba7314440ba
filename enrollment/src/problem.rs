//! What can be wrong with what somebody uploaded: expected results, not failures.

use serde::{Deserialize, Serialize};

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
    QrNotFound,
    /// The picture holds codes of another kind.
    QrNotOtpauth {
        /// What the first of them is.
        kind: QrKind,
    },
    /// The picture holds several accounts.
    SeveralAccounts {
        /// How many.
        count: u32,
    },
    /// It is an export of Google Authenticator.
    MigrationUnsupported,
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
    NotOtpauth,
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

/// What a QR code holds that is no otpauth URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QrKind {
    /// Access to a wireless network.
    Wifi,
    /// A web address.
    Url,
    /// A login of WhatsApp's web page.
    Whatsapp,
    /// A registration that only Microsoft Authenticator understands.
    MicrosoftAuthenticator,
    /// Anything else.
    Other,
}

impl QrKind {
    /// Tells the kind of a code's text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        // Only the beginning matters, and it is ASCII.
        let start: String = text
            .trim_start()
            .chars()
            .take(80)
            .collect::<String>()
            .to_ascii_lowercase();
        if start.starts_with("wifi:") {
            Self::Wifi
        } else if start.starts_with("phonefactor:")
            || start.starts_with("https://login.microsoftonline.com/authenticatorapp")
            || start.starts_with("microsoft-authenticator:")
        {
            Self::MicrosoftAuthenticator
        } else if start.starts_with("2@") || start.starts_with("https://wa.me/") {
            Self::Whatsapp
        } else if start.starts_with("https://") || start.starts_with("http://") {
            Self::Url
        } else {
            Self::Other
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
            Self::QrNotFound => "qr-not-found",
            Self::QrNotOtpauth { .. } => "qr-not-otpauth",
            Self::SeveralAccounts { .. } => "several-accounts",
            Self::MigrationUnsupported => "migration-unsupported",
            Self::ImageEmpty => "image-empty",
            Self::ImageUnsupported { .. } => "image-unsupported",
            Self::ImageUnreadable => "image-unreadable",
            Self::ImageTooLarge { .. } => "image-too-large",
            Self::ImageTooManyBytes { .. } => "image-too-many-bytes",
            Self::ImageTooSmall { .. } => "image-too-small",
            Self::ImageTimeLimit => "image-time-limit",
            Self::NotOtpauth => "not-otpauth",
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

    /// A few words for a heading. The same for every problem with this code.
    #[must_use]
    pub const fn title(&self) -> &'static str {
        match self {
            Self::QrNotFound => "No QR code found",
            Self::QrNotOtpauth { .. } => "Not an authenticator QR code",
            Self::SeveralAccounts { .. } => "Several accounts in one picture",
            Self::MigrationUnsupported => "Google Authenticator export",
            Self::ImageEmpty => "Empty picture",
            Self::ImageUnsupported { .. } => "Unsupported picture format",
            Self::ImageUnreadable => "Damaged picture",
            Self::ImageTooLarge { .. } | Self::ImageTooManyBytes { .. } => "Picture too large",
            Self::ImageTooSmall { .. } => "Picture too small",
            Self::ImageTimeLimit => "Picture took too long",
            Self::NotOtpauth => "Not an otpauth URI",
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
            Self::QrNotFound => "The picture holds no QR code that could be read.".to_owned(),
            Self::QrNotOtpauth { kind } => match kind {
                QrKind::Wifi => "The QR code is for a wireless network, not for an authenticator.",
                QrKind::Url => "The QR code is a web address, not an account for an authenticator.",
                QrKind::Whatsapp => "The QR code is for linking WhatsApp, not for an authenticator.",
                QrKind::MicrosoftAuthenticator => {
                    "The QR code is one that only the Microsoft Authenticator app understands."
                }
                QrKind::Other => "The QR code holds something else than an account for an authenticator.",
            }
            .to_owned(),
            Self::SeveralAccounts { count } => {
                format!("The picture holds {count} different accounts, and one is expected.")
            }
            Self::MigrationUnsupported => {
                "The QR code is an export of Google Authenticator, which can hold many accounts."
                    .to_owned()
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
            Self::NotOtpauth => "The text does not begin with otpauth://.".to_owned(),
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
            Self::QrNotFound => {
                "Take the picture again, closer and sharper, with the whole code and a white border around it."
            }
            Self::QrNotOtpauth {
                kind: QrKind::MicrosoftAuthenticator,
            } => {
                "On the set-up page choose to use a different authenticator app; it then shows a QR code that works here."
            }
            Self::QrNotOtpauth { .. } | Self::ImageEmpty | Self::ImageUnsupported { .. } => {
                SEND_THE_CODE
            }
            Self::SeveralAccounts { .. } => "Crop the picture to one QR code and send each by itself.",
            Self::MigrationUnsupported => {
                "Add each account with its own QR code from the service's set-up page."
            }
            Self::ImageUnreadable => "Send the picture again, or save it as PNG first.",
            Self::ImageTooLarge { .. }
            | Self::ImageTooManyBytes { .. }
            | Self::ImageTimeLimit => "Crop the picture to the QR code, or scale it down.",
            Self::ImageTooSmall { .. } => "Send the picture in its full size.",
            Self::NotOtpauth => {
                "Send the whole text of the QR code; it begins with otpauth://totp/."
            }
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
    fn the_code_is_the_tag_in_json() {
        for problem in [
            InputProblem::QrNotFound,
            InputProblem::QrNotOtpauth {
                kind: QrKind::MicrosoftAuthenticator,
            },
            InputProblem::SecretNotBase32 { lookalike: true },
            InputProblem::AlgorithmUnsupported {
                name: Some("MD5".to_owned()),
            },
            InputProblem::ParamsConflict {
                parameter: Parameter::Period,
            },
            InputProblem::SeveralAccounts { count: 3 },
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

    #[test]
    fn foreign_codes_are_told_apart() {
        let check = |text: &str, kind| assert_eq!(QrKind::of(text), kind, "{text}");
        check("WIFI:S:guest;T:WPA;P:x;;", QrKind::Wifi);
        check(" http://example.com", QrKind::Url);
        check("HTTPS://EXAMPLE.COM/", QrKind::Url);
        check(
            "phonefactor://activate_account?code=1",
            QrKind::MicrosoftAuthenticator,
        );
        check(
            "https://login.microsoftonline.com/authenticatorApp?x=1",
            QrKind::MicrosoftAuthenticator,
        );
        check("2@abcdef,ghi,jkl", QrKind::Whatsapp);
        check("0123456789", QrKind::Other);
        check("", QrKind::Other);
    }
}
