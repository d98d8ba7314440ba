//! Reading and writing `otpauth://` URIs.
//!
//! The format is the "Key Uri Format" of Google Authenticator's wiki, which leaves
//! much open. What could yield a wrong code is refused with a name for it; what is
//! merely spelled differently is accepted, with a [`Warning`] where it matters.
//! Problems never repeat the input.

mod label;
mod query;
mod secret;
mod write;

use serde::{Deserialize, Serialize};

use crate::account::{Algorithm, CodeParameters, Labels, TotpAccount};
use crate::problem::{InputProblem, Parameter};

pub use crate::account::AccountPreview;
pub(crate) use secret::too_long as secret_too_long;
pub(crate) use write::export;

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
pub enum Warning {
    /// The secret has fewer than 128 bits, less than RFC 4226 demands.
    WeakSecret {
        /// How many it has.
        bits: u32,
    },
    /// The label names another issuer than the parameter, which counts.
    IssuerMismatch {
        /// The one in the label.
        label_issuer: String,
    },
    /// The issuer is given more than once; the first counts.
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
}

/// Reads an otpauth URI of type `totp`.
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
    let text = text.trim();
    let rest = after_scheme(text)?;
    // An issuer or account name with an unescaped `#` (guests in Azure are called
    // `...#EXT#@...`) looks as if the URI ended there. Where parameters follow it, or
    // where no secret precedes it, it was meant literally.
    if let Some((before, fragment)) = rest.split_once('#') {
        let literally = fragment.contains(['&', '?', '=']);
        if !literally {
            let parsed = read(before);
            if !matches!(parsed, Err(InputProblem::SecretMissing)) {
                return parsed.map(|mut parsed| {
                    parsed.warnings.push(Warning::FragmentIgnored);
                    parsed
                });
            }
        }
    }
    read(rest)
}

/// What follows `otpauth://`.
fn after_scheme(text: &str) -> Result<&str, InputProblem> {
    let (scheme, rest) = text.split_once(':').ok_or(InputProblem::NotOtpauth)?;
    if scheme.eq_ignore_ascii_case("otpauth-migration") {
        return Err(InputProblem::MigrationUnsupported);
    }
    if !scheme.eq_ignore_ascii_case("otpauth") {
        return Err(InputProblem::NotOtpauth);
    }
    rest.strip_prefix("//")
        .ok_or(InputProblem::OtpauthMalformed)
}

/// Reads what follows the scheme; `#` has no special meaning any more.
fn read(rest: &str) -> Result<Parsed, InputProblem> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (kind, label) = path.split_once('/').unwrap_or((path, ""));
    check_kind(kind)?;
    let query = query::read(query)?;
    if query.steam {
        return Err(InputProblem::SteamUnsupported);
    }
    let secret = query.secret.ok_or(InputProblem::SecretMissing)?;
    let secret_bits = secret.secret.expose().len() * 8;
    let parameters = CodeParameters::new(
        query.algorithm.unwrap_or(Algorithm::Sha1),
        query.digits.unwrap_or(6),
        query.period.unwrap_or(30),
    )?;
    let label = label::read(label, query.issuer.as_deref())?;

    let mut warnings = Vec::new();
    if secret_bits < STRONG_SECRET_BYTES * 8 {
        warnings.push(Warning::WeakSecret {
            bits: u32::try_from(secret_bits).unwrap_or(u32::MAX),
        });
    }
    if let Some(label_issuer) = label.other_issuer {
        warnings.push(Warning::IssuerMismatch { label_issuer });
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

    let labels = Labels::new(label.issuer.as_deref(), &label.account_name)?;
    let account = TotpAccount::new(labels, parameters, secret.secret);
    Ok(Parsed { account, warnings })
}

fn check_kind(kind: &str) -> Result<(), InputProblem> {
    match kind.to_ascii_lowercase().as_str() {
        "totp" => Ok(()),
        "hotp" => Err(InputProblem::HotpUnsupported),
        "steam" => Err(InputProblem::SteamUnsupported),
        "" => Err(InputProblem::OtpauthMalformed),
        _ => Err(InputProblem::TypeUnsupported),
    }
}

/// That a parameter is given twice with different values.
fn conflict(parameter: Parameter) -> InputProblem {
    InputProblem::ParamsConflict { parameter }
}
