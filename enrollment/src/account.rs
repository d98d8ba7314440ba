//! A TOTP account: what may be shown of it, and its secret.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::problem::InputProblem;

/// The longest issuer and the longest account name, in characters. Key Vault keeps
/// at least that much in a tag.
pub const MAX_LABEL_CHARS: usize = 256;
/// The longest secret, in bytes: 1,024 characters of base32.
pub const MAX_SECRET_BYTES: usize = 640;
/// The longest secret, in characters of base32.
pub(crate) const MAX_SECRET_CHARS: usize = 1_024;
/// Characters in a code of Steam Guard.
const STEAM_DIGITS: u8 = 5;
/// The account name where a label has none and there is no issuer either.
const NAMELESS: &str = "Account";

/// The hash function of an account's codes (RFC 6238 section 1.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Algorithm {
    /// HMAC-SHA-1, what nearly everyone uses.
    #[default]
    #[serde(rename = "SHA1")]
    Sha1,
    /// HMAC-SHA-256.
    #[serde(rename = "SHA256")]
    Sha256,
    /// HMAC-SHA-512.
    #[serde(rename = "SHA512")]
    Sha512,
}

impl Algorithm {
    /// The name in an otpauth URI.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }
}

/// How an account's codes look and how long each is shown.
///
/// Five digits stand for Steam Guard's codes: five characters out of
/// `23456789BCDFGHJKMNPQRTVWXY`, always with SHA-1 and 30 seconds. No other codes have
/// five.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeParameters {
    algorithm: Algorithm,
    digits: u8,
    period: u32,
}

impl CodeParameters {
    /// The parameters of Steam Guard's codes.
    pub const STEAM: Self = Self {
        algorithm: Algorithm::Sha1,
        digits: STEAM_DIGITS,
        period: 30,
    };

    /// Codes of `digits` digits (6 to 8) that change every `period` seconds (1 to
    /// 86,400), or those of [`CodeParameters::STEAM`].
    ///
    /// # Errors
    ///
    /// [`InputProblem::DigitsUnsupported`] and [`InputProblem::PeriodUnsupported`]
    /// outside of these ranges.
    pub fn new(algorithm: Algorithm, digits: u8, period: u32) -> Result<Self, InputProblem> {
        let parameters = Self {
            algorithm,
            digits,
            period,
        };
        if parameters == Self::STEAM {
            return Ok(parameters);
        }
        if !(6..=8).contains(&digits) {
            return Err(InputProblem::DigitsUnsupported);
        }
        if !(1..=86_400).contains(&period) {
            return Err(InputProblem::PeriodUnsupported);
        }
        Ok(parameters)
    }

    /// Whether these are Steam Guard's codes.
    #[must_use]
    pub fn is_steam(self) -> bool {
        self.digits == STEAM_DIGITS
    }

    /// The hash function.
    #[must_use]
    pub const fn algorithm(self) -> Algorithm {
        self.algorithm
    }

    /// Digits in a code, 6 to 8; 5 characters for Steam Guard.
    #[must_use]
    pub const fn digits(self) -> u8 {
        self.digits
    }

    /// How long a code is shown, 1 to 86,400 seconds.
    #[must_use]
    pub const fn period(self) -> u32 {
        self.period
    }
}

impl Default for CodeParameters {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Sha1,
            digits: 6,
            period: 30,
        }
    }
}

/// The shared secret of an account, raw bytes. Wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct TotpSecret {
    bytes: Zeroizing<Vec<u8>>,
}

impl TotpSecret {
    /// Takes the bytes over.
    ///
    /// # Errors
    ///
    /// [`InputProblem::SecretMissing`] without any, [`InputProblem::SecretTooLong`]
    /// with more than [`MAX_SECRET_BYTES`].
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, InputProblem> {
        if bytes.is_empty() {
            return Err(InputProblem::SecretMissing);
        }
        if bytes.len() > MAX_SECRET_BYTES {
            return Err(secret_too_long());
        }
        Ok(Self { bytes })
    }

    /// The bytes, in clear.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpSecret(redacted)")
    }
}

/// What an account is called: issuer and account name, fit to be kept and shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    issuer: Option<String>,
    account_name: String,
    label_issuer: Option<String>,
}

impl Labels {
    /// The labels, trimmed and freed of control characters. An issuer that is empty
    /// then is none; an account name that is empty then is the issuer, or "Account".
    ///
    /// # Errors
    ///
    /// [`InputProblem::LabelTooLong`] when one exceeds [`MAX_LABEL_CHARS`].
    pub fn new(issuer: Option<&str>, account_name: &str) -> Result<Self, InputProblem> {
        let issuer = issuer.map(clean).filter(|text| !text.is_empty());
        let mut account_name = clean(account_name);
        if account_name.is_empty() {
            account_name = issuer.as_deref().unwrap_or(NAMELESS).to_owned();
        }
        let too_long = |text: &str| text.chars().count() > MAX_LABEL_CHARS;
        if issuer.as_deref().is_some_and(too_long) || too_long(&account_name) {
            return Err(InputProblem::LabelTooLong {
                limit: u32::try_from(MAX_LABEL_CHARS).unwrap_or(u32::MAX),
            });
        }
        Ok(Self {
            issuer,
            account_name,
            label_issuer: None,
        })
    }

    /// The same, with the issuer that a URI's label names where its issuer parameter
    /// names another one. Kept for the record, and for writing an equal URI.
    ///
    /// Shortened to [`MAX_LABEL_CHARS`]. None is kept that says the same as the issuer
    /// but for case, or that could not be distinguished from it in a label.
    #[must_use]
    pub fn with_label_issuer(mut self, label_issuer: Option<&str>) -> Self {
        self.label_issuer = label_issuer
            .map(display_name)
            .filter(|text| !text.is_empty())
            .filter(|text| {
                let label = format!("{text}:{}", self.account_name);
                self.issuer
                    .as_deref()
                    .is_some_and(|issuer| after_issuer(&label, issuer).is_none())
            });
        self
    }

    /// The service that the account is at.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// The account name, never empty.
    #[must_use]
    pub fn account_name(&self) -> &str {
        &self.account_name
    }

    /// Another issuer that the label of the account's URI named.
    #[must_use]
    pub fn label_issuer(&self) -> Option<&str> {
        self.label_issuer.as_deref()
    }
}

/// An account that codes can be made for.
///
/// Its secret is wiped when it is dropped; it is not serializable, and `Debug` shows
/// its public part only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TotpAccount {
    labels: Labels,
    parameters: CodeParameters,
    secret: TotpSecret,
}

impl TotpAccount {
    /// An account.
    #[must_use]
    pub fn new(labels: Labels, parameters: CodeParameters, secret: TotpSecret) -> Self {
        Self {
            labels,
            parameters,
            secret,
        }
    }

    /// What it is called.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The service that the account is at.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.labels.issuer()
    }

    /// The account name, never empty.
    #[must_use]
    pub fn account_name(&self) -> &str {
        self.labels.account_name()
    }

    /// Whether its account name is more than the one where a label has none.
    pub(crate) fn has_account_name(&self) -> bool {
        self.account_name() != NAMELESS
    }

    /// Whether it has neither an issuer nor an account name of its own.
    pub(crate) fn is_nameless(&self) -> bool {
        self.issuer().is_none() && !self.has_account_name()
    }

    /// How its codes look.
    #[must_use]
    pub fn parameters(&self) -> CodeParameters {
        self.parameters
    }

    /// Its secret.
    #[must_use]
    pub fn secret(&self) -> &TotpSecret {
        &self.secret
    }

    /// Whether another account has the same secret, and its codes are made in the same way,
    /// whatever the two are called.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        self.secret == other.secret && self.parameters == other.parameters
    }

    /// What may be shown of it.
    #[must_use]
    pub fn preview(&self) -> AccountPreview {
        AccountPreview {
            issuer: self.labels.issuer.clone(),
            account_name: self.labels.account_name.clone(),
            label_issuer: self.labels.label_issuer.clone(),
            algorithm: self.parameters.algorithm,
            digits: self.parameters.digits,
            period: self.parameters.period,
        }
    }
}

/// The text without control characters and without marks that cannot be seen or change the
/// direction of writing: they could make it look like something else to someone who decides
/// by it. Trimmed.
///
/// ```
/// use countersign_enrollment::account::clean;
///
/// assert_eq!(clean(" pay\u{202e}roll\u{7} "), "payroll");
/// ```
#[must_use]
pub fn clean(text: &str) -> String {
    let kept: String = text.chars().filter(|c| !is_unprintable(*c)).collect();
    kept.trim().to_owned()
}

/// The same, for sentences: a line break or a tab becomes a space, so that words stay apart.
///
/// ```
/// use countersign_enrollment::account::one_line;
///
/// assert_eq!(one_line("looks\nright\u{202e}\n"), "looks right");
/// ```
#[must_use]
pub fn one_line(text: &str) -> String {
    let spaced: String = text
        .chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => ' ',
            c => c,
        })
        .collect();
    clean(&spaced)
}

/// A name from elsewhere, fit to be kept and shown.
pub(crate) fn display_name(text: &str) -> String {
    let kept: String = clean(text).chars().take(MAX_LABEL_CHARS).collect();
    clean(&kept)
}

/// What follows `issuer:` at the beginning of `label`, ignoring case.
pub(crate) fn after_issuer(label: &str, issuer: &str) -> Option<String> {
    let issuer = issuer.to_lowercase();
    label
        .match_indices(':')
        .find(|(at, _)| label[..*at].trim().to_lowercase() == issuer)
        .map(|(at, colon)| label[at + colon.len()..].trim().to_owned())
}

/// That a secret is longer than any that is taken.
pub(crate) fn secret_too_long() -> InputProblem {
    InputProblem::SecretTooLong {
        limit: u32::try_from(MAX_SECRET_CHARS).unwrap_or(u32::MAX),
    }
}

/// Whether a character has no place in a text for people: a control character, a mark of
/// direction, or one that nobody sees and programs read all the same.
#[must_use]
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
                | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// What may be shown of an account: everything but the secret. It is public metadata,
/// readable in the scheduler's history, in the vault's list and in logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AccountPreview {
    /// The service that the account is at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The account name, never empty.
    pub account_name: String,
    /// Another issuer that the label of the account's URI named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_issuer: Option<String>,
    /// The hash function.
    pub algorithm: Algorithm,
    /// Digits in a code, 6 to 8; 5 characters for Steam Guard.
    pub digits: u8,
    /// How long a code is shown, in seconds.
    pub period: u32,
}

impl AccountPreview {
    /// The labels that it shows.
    ///
    /// # Errors
    ///
    /// As [`Labels::new`].
    pub fn labels(&self) -> Result<Labels, InputProblem> {
        Ok(Labels::new(self.issuer.as_deref(), &self.account_name)?
            .with_label_issuer(self.label_issuer.as_deref()))
    }
}
