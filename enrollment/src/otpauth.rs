//! Reading and writing `otpauth://` URIs.
//!
//! The format is the "Key Uri Format" of Google Authenticator's wiki, which leaves
//! much open. What could yield a wrong code is refused with a name for it; what is
//! merely spelled differently is accepted, with a [`Warning`] where it matters.
//! Problems never repeat the input.

mod damage;
mod escapes;
mod label;
mod markup;
mod query;
mod secret;
mod steam;
mod wrapping;
mod write;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::account::{Algorithm, CodeParameters, Labels, TotpAccount};
use crate::foreign::{self, ForeignKind};
use crate::ids::EnrollmentId;
use crate::problem::{InputProblem, Parameter, there};

pub use crate::account::AccountPreview;
pub(crate) use markup::{attributes, end_of_tag};
pub(crate) use query::{is_start, is_zero};
pub(crate) use wrapping::open_secret;

/// The longest text that is looked at, in bytes. The largest QR code holds less than
/// 3,000, and the longest secret and labels, escaped, less than this.
pub const MAX_URI_BYTES: usize = 16 * 1024;
/// Below this, RFC 4226 section 4 calls a secret too short.
const STRONG_SECRET_BYTES: usize = 16;

/// An account and what was odd about its URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The account.
    pub account: TotpAccount,
    /// In a fixed order, each at most once.
    pub warnings: Vec<Warning>,
}

/// Something odd about a URI that yields right codes all the same. Public metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "warning",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Warning {
    /// The secret has fewer than 128 bits, less than RFC 4226 demands.
    WeakSecret {
        /// How many bits the secret has.
        bits: u32,
    },
    /// The label names another issuer than the parameter, which counts.
    IssuerMismatch {
        /// The issuer in the label.
        #[cfg_attr(feature = "schema", schema(rename = "labelIssuer"))]
        label_issuer: String,
    },
    /// The issuer is given more than once; the first is used.
    RepeatedIssuer,
    /// The secret's last character holds bits that don't count.
    TrailingBits,
    /// Codes have a number of digits that few apps show: 7.
    UnusualDigits,
    /// Codes change after a time that few apps know: neither 30 nor 60 seconds.
    UnusualPeriod,
    /// Parameter names are written in upper case, which many apps don't read.
    FoldedNames,
    /// What follows a `#` was left out.
    FragmentIgnored,
    /// Control characters were taken out of the labels.
    CleanedLabel,
    /// Another program had escaped the whole URI; the escapes were undone.
    EscapesUndone,
    /// It names Steam, which accepts no codes of digits only.
    MaybeSteam,
    /// Other accounts have the same secret, and their codes are made in the same way.
    Duplicate {
        /// The ids of those accounts that the reader may see.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[cfg_attr(feature = "schema", schema(value_type = Vec<String>, required = false))]
        accounts: Vec<EnrollmentId>,
    },
    /// Texts beside the account in an export look like recovery codes and were not read.
    RecoveryCodesUnread {
        /// How many.
        count: u32,
    },
    /// Recovery codes came with an account that was there before, which does not have all of
    /// them.
    RecoveryCodesNotAdded {
        /// How many came.
        count: u32,
    },
}

impl Parsed {
    /// The same account with Steam Guard's codes, which the person knows it to be for.
    ///
    /// # Errors
    ///
    /// [`InputProblem::ParamsConflict`] where it says something that Steam's codes are not.
    pub fn into_steam(mut self) -> Result<Self, InputProblem> {
        let given = self.account.parameters();
        if !given.is_steam() {
            let parameters = steam::parameters(
                Some(given.algorithm()),
                Some(given.digits()),
                Some(given.period()),
            )?;
            let labels = self.account.labels().clone();
            let secret = self.account.secret().clone();
            self.account = TotpAccount::new(labels, parameters, secret);
        }
        self.warnings
            .retain(|warning| *warning != Warning::MaybeSteam);
        Ok(self)
    }
}

impl Warning {
    /// What is odd, as a sentence for the person who sent it.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::WeakSecret { bits } => {
                format!("The secret has {bits} bits; a strong one has 128 or more.")
            }
            Self::IssuerMismatch { label_issuer } => format!(
                "The label names another issuer, \u{201c}{label_issuer}\u{201d}; the issuer parameter is used."
            ),
            Self::RepeatedIssuer => "The issuer is given more than once; the first is used.".to_owned(),
            Self::TrailingBits => {
                "The secret's last character contains unused bits; check that it was copied completely."
                    .to_owned()
            }
            Self::UnusualDigits => "Codes have 7 digits, which few apps show.".to_owned(),
            Self::UnusualPeriod => {
                "Codes change after an unusual period: neither 30 nor 60 seconds.".to_owned()
            }
            Self::FoldedNames => {
                "Parameter names are in upper case, which many apps do not accept.".to_owned()
            }
            Self::FragmentIgnored => "Everything after the # was ignored.".to_owned(),
            Self::CleanedLabel => "Control characters were removed from the names.".to_owned(),
            Self::EscapesUndone => {
                "The URI was escaped as a whole, as in HTML, JSON or a web address; the escapes were undone."
                    .to_owned()
            }
            Self::MaybeSteam => {
                "The account gives 6 digits, and Steam itself accepts only its own codes of 5 letters and digits: if it is for logging in to Steam, enroll it again as a Steam account (kind=steam, or --kind steam)."
                    .to_owned()
            }
            Self::RecoveryCodesUnread { count: 1 } => {
                "A text beside the account looks like recovery codes and was not read; if it has any, set all of the account's recovery codes with countersign recovery-codes set."
                    .to_owned()
            }
            Self::RecoveryCodesUnread { count } => format!(
                "{count} texts beside the account look like recovery codes and were not read; if they have any, set all of the account's recovery codes with countersign recovery-codes set."
            ),
            Self::RecoveryCodesNotAdded { .. } => {
                "The account existed already, without some of the recovery codes that came with it; they were not added. Set them with countersign recovery-codes set."
                    .to_owned()
            }
            Self::Duplicate { accounts } => format!(
                "{} This one gives the same codes: keep both only if you need two.",
                there(accounts)
            ),
        }
    }
}

/// Reads an otpauth URI of type `totp` or `steam`, or Steam's own `steam://` and a secret.
///
/// Line ends and tabs are dropped, as browsers do; what plainly surrounds the URI is taken
/// off, and escapes that were applied to the whole are undone.
///
/// # Errors
///
/// The first problem that is found, in terms of the input's form.
///
/// ```
/// use countersign_enrollment::otpauth;
///
/// let parsed = otpauth::parse("otpauth://totp/Test%20Token?secret=2FASTEST&issuer=2FAS")?;
/// assert_eq!(parsed.account.issuer(), Some("2FAS"));
/// assert_eq!(parsed.account.account_name(), "Test Token");
/// # Ok::<(), countersign_enrollment::problem::InputProblem>(())
/// ```
pub fn parse(text: &str) -> Result<Parsed, InputProblem> {
    if text.len() > MAX_URI_BYTES {
        return Err(InputProblem::OtpauthTooLong {
            limit: u32::try_from(MAX_URI_BYTES).unwrap_or(u32::MAX),
        });
    }
    let unwrapped = wrapping::unwrap(text)?;
    let text = unwrapped.text.as_str();
    if let Some(secret) = steam::after_scheme(text) {
        return steam::read(secret);
    }
    let rest = after_scheme(text)?;
    let mut parsed = match rest.split_once('#') {
        None => read(rest),
        Some((before, after)) => read_with_fragment(before, after, rest),
    }?;
    let names = [parsed.account.issuer(), Some(parsed.account.account_name())];
    let hidden = names.into_iter().flatten().find_map(damage::hidden_in);
    if let Some(parameter) = hidden {
        // Names can be like that, where they are written consistently.
        let labels = parsed.account.labels();
        if labels.label_issuer().is_some() || *parsed.account.to_uri() != *text {
            return Err(InputProblem::ParamDamaged { parameter });
        }
    }
    if unwrapped.escaped {
        parsed.warnings.push(Warning::EscapesUndone);
    }
    Ok(parsed)
}

/// Whether a text is meant to be a URI, or Google Authenticator's export, however it is
/// wrapped or escaped.
#[must_use]
pub fn is_meant(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.contains("otpauth:")
        || lower.contains("otpauth%")
        || lower.contains("otpauth-migration")
        || lower.trim_start().starts_with("steam://")
}

/// A text without what plainly surrounds it.
pub(crate) fn unwrapped(text: &str) -> Result<Zeroizing<String>, InputProblem> {
    wrapping::unwrap(text).map(|unwrapped| unwrapped.text)
}

/// Whether an issuer is called as Steam is.
pub(crate) fn is_steam_name(issuer: &str) -> bool {
    steam::is_named(Some(issuer), "")
}

/// Without entities of HTML and XML, which belong to a page and not to a URI in it.
pub(crate) fn without_markup(text: &str) -> Zeroizing<String> {
    Zeroizing::new(escapes::markup(text).unwrap_or_else(|| text.to_owned()))
}

/// Reads a URI with a `#`, where `before` precedes it and `after` follows it.
///
/// It begins a fragment, which says nothing, unless no secret precedes it: then it
/// stands in a name for itself (guests in Azure are called `...#EXT#@...`). Where the
/// fragment would change the codes if it were part of the URI, nobody can tell.
fn read_with_fragment(before: &str, after: &str, whole: &str) -> Result<Parsed, InputProblem> {
    let parsed = read(before);
    if matches!(parsed, Err(InputProblem::SecretMissing)) {
        return read(whole);
    }
    let mut parsed = parsed?;
    if let Some(parameter) = query::cut_off(before, after) {
        return Err(InputProblem::ParamDamaged { parameter });
    }
    let fragment = query::read(after)?;
    let ours = parsed.account.parameters();
    let differing = [
        (
            fragment
                .secret
                .is_some_and(|it| it.secret != *parsed.account.secret()),
            Parameter::Secret,
        ),
        (
            fragment.algorithm.is_some_and(|it| it != ours.algorithm()),
            Parameter::Algorithm,
        ),
        (
            fragment.digits.is_some_and(|it| it != ours.digits()),
            Parameter::Digits,
        ),
        (
            fragment.period.is_some_and(|it| it != ours.period()),
            Parameter::Period,
        ),
        (fragment.steam && !ours.is_steam(), Parameter::Encoder),
    ];
    if let Some((_, parameter)) = differing.into_iter().find(|(differs, _)| *differs) {
        return Err(conflict(parameter));
    }
    parsed.warnings.push(Warning::FragmentIgnored);
    Ok(parsed)
}

/// What follows `otpauth://`.
fn after_scheme(text: &str) -> Result<&str, InputProblem> {
    let foreign = || InputProblem::NotOtpauth {
        kind: ForeignKind::of(text),
    };
    if foreign::is_google_export(text) {
        return Err(InputProblem::GoogleExport);
    }
    let (scheme, rest) = text.split_once(':').ok_or_else(foreign)?;
    if !scheme.eq_ignore_ascii_case("otpauth") {
        return Err(foreign());
    }
    if let Some(rest) = rest
        .strip_prefix("//")
        .filter(|rest| !rest.starts_with('/'))
    {
        return Ok(rest);
    }
    // Programs that take addresses apart put them together with other numbers of slashes.
    let rest = rest.trim_start_matches(['/', '\\']);
    let kind = rest.split_once('/').map(|(kind, _)| kind);
    match kind.map(is_steam) {
        Some(Ok(_)) => Ok(rest),
        Some(Err(InputProblem::HotpUnsupported)) => Err(InputProblem::HotpUnsupported),
        _ => Err(InputProblem::OtpauthMalformed),
    }
}

/// Reads what follows the scheme; `#` has no special meaning any more.
fn read(rest: &str) -> Result<Parsed, InputProblem> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (kind, label) = path.split_once('/').unwrap_or((path, ""));
    let steam = is_steam(kind)?;
    let mut query = query::read(query)?;
    if let Some(parameter) = damage::hidden_in(label) {
        return Err(InputProblem::ParamDamaged { parameter });
    }
    query.steam |= steam;
    let label = label::read(label, query.issuer.as_deref());
    if query.secret.is_none() {
        return Err(InputProblem::SecretMissing);
    }
    account(label?, query)
}

/// The account that the parts say together.
fn account(label: label::Label, query: query::Query) -> Result<Parsed, InputProblem> {
    let named_steam = steam::is_named(label.issuer.as_deref(), &label.account_name)
        || label
            .other_issuer
            .as_deref()
            .is_some_and(|issuer| steam::is_named(Some(issuer), ""));
    let five = query.digits == Some(CodeParameters::STEAM.digits());
    let parameters = if query.steam || five && named_steam {
        steam::parameters(query.algorithm, query.digits, query.period)?
    } else if five {
        // Five digits without Steam's name are nobody's codes.
        return Err(InputProblem::DigitsUnsupported);
    } else {
        CodeParameters::new(
            query.algorithm.unwrap_or(Algorithm::Sha1),
            query.digits.unwrap_or(6),
            query.period.unwrap_or(30),
        )?
    };
    let secret = query.secret.ok_or(InputProblem::SecretMissing)?;
    let secret_bits = secret.secret.expose().len() * 8;

    let mut warnings = Vec::new();
    if secret_bits < STRONG_SECRET_BYTES * 8 {
        warnings.push(Warning::WeakSecret {
            bits: u32::try_from(secret_bits).unwrap_or(u32::MAX),
        });
    }
    let labels = Labels::new(label.issuer.as_deref(), &label.account_name)?
        .with_label_issuer(label.other_issuer.as_deref());
    if let Some(label_issuer) = labels.label_issuer() {
        warnings.push(Warning::IssuerMismatch {
            label_issuer: label_issuer.to_owned(),
        });
    }
    let mut note = |holds: bool, warning: Warning| {
        if holds {
            warnings.push(warning);
        }
    };
    note(query.repeated_issuer, Warning::RepeatedIssuer);
    note(secret.trailing_bits, Warning::TrailingBits);
    note(parameters.digits() == 7, Warning::UnusualDigits);
    note(
        !matches!(parameters.period(), 30 | 60),
        Warning::UnusualPeriod,
    );
    note(query.folded_names, Warning::FoldedNames);
    note(label.cleaned, Warning::CleanedLabel);
    note(
        named_steam && parameters == CodeParameters::default(),
        Warning::MaybeSteam,
    );

    let account = TotpAccount::new(labels, parameters, secret.secret);
    Ok(Parsed { account, warnings })
}

/// An account as other programs keep it: field by field, each as text.
#[derive(Clone, Copy, Default)]
pub struct Fields<'a> {
    /// The type in any case: `totp`, `steam` or, to be refused, another. Empty for `totp`.
    pub kind: &'a str,
    /// Who the account is with; may be empty.
    pub issuer: &'a str,
    /// Whose account it is; may be empty, or begin with the issuer and a colon.
    pub account_name: &'a str,
    /// The secret in base32, as people write it.
    pub secret: &'a str,
    /// The hash function, however it is written; empty for SHA-1.
    pub algorithm: &'a str,
    /// Digits in a code; the type's own if not given.
    pub digits: Option<u64>,
    /// Seconds that a code is shown; 30 if not given.
    pub period: Option<u64>,
}

/// Reads an account from fields, by the rules for URIs.
///
/// # Errors
///
/// The first problem that is found.
pub fn from_fields(fields: &Fields<'_>) -> Result<Parsed, InputProblem> {
    let steam = match fields.kind {
        "" => false,
        kind => is_steam(kind.trim())?,
    };
    let secret = secret::read(fields.secret)?.ok_or(InputProblem::SecretMissing)?;
    let query = query::Query {
        issuer: Some(fields.issuer.trim().to_owned()).filter(|issuer| !issuer.is_empty()),
        secret: Some(secret),
        algorithm: query::algorithm_field(fields.algorithm)?,
        digits: fields
            .digits
            .map(|digits| u8::try_from(digits).map_err(|_| InputProblem::DigitsUnsupported))
            .transpose()?,
        period: fields
            .period
            .map(|period| u32::try_from(period).map_err(|_| InputProblem::PeriodUnsupported))
            .transpose()?,
        steam,
        ..query::Query::default()
    };
    let label = label::from_names(fields.account_name, query.issuer.as_deref());
    account(label, query)
}

/// Whether the type is Steam's; otherwise it is `totp`.
fn is_steam(kind: &str) -> Result<bool, InputProblem> {
    match kind.to_ascii_lowercase().as_str() {
        "totp" => Ok(false),
        "steam" => Ok(true),
        "hotp" => Err(InputProblem::HotpUnsupported),
        "" => Err(InputProblem::OtpauthMalformed),
        _ => Err(InputProblem::TypeUnsupported),
    }
}

/// Which parameter of the codes another program means by a member or a column of its own, which
/// is none of the known ones: its usual value instead would give wrong codes.
pub(crate) fn meant_by_member(name: &str, value: &str) -> Option<Parameter> {
    let decides =
        |parameter: &Parameter| !matches!(parameter, Parameter::Secret | Parameter::Issuer);
    damage::meant(name)
        .filter(decides)
        .or_else(|| damage::meant_torn(name).filter(decides))
        .or_else(|| damage::meant_by_value(name, &value.trim().to_ascii_lowercase()))
}

/// As [`meant_by_member`], of a field that a person has named.
pub(crate) fn meant_by_field(name: &str, value: &str) -> Option<Parameter> {
    let decides =
        |parameter: &Parameter| !matches!(parameter, Parameter::Secret | Parameter::Issuer);
    let value = value.trim().to_ascii_lowercase();
    damage::meant(name)
        .filter(decides)
        .filter(|_| !value.is_empty())
        .or_else(|| damage::meant_by_value(name, &value))
}

/// The hash function that a text names, however it is written; nothing if it is empty.
pub(crate) fn algorithm_named(text: &str) -> Result<Option<Algorithm>, InputProblem> {
    query::algorithm_field(text)
}

/// That a parameter contradicts itself or the rest of the URI.
fn conflict(parameter: Parameter) -> InputProblem {
    InputProblem::ParamsConflict { parameter }
}
