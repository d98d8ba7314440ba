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
mod unknown;
mod warning;
mod wrapping;
mod write;

use zeroize::Zeroizing;

use crate::account::{Algorithm, CodeParameters, Labels, TotpAccount};
use crate::foreign::{self, ForeignKind};
use crate::problem::{InputProblem, Parameter};

pub use crate::account::AccountPreview;
pub(crate) use markup::{attributes, end_of_tag};
pub(crate) use query::{is_start, is_zero, whole_number};
pub(crate) use unknown::{is_hash, may_mean, shown as shown_name};
pub use warning::Warning;
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
    parse_from(text, Source::Sent).and_then(without_escaped_names)
}

/// Reads what [`TotpAccount::to_uri`] has written, which nobody has escaped or damaged.
fn parse_kept(text: &str) -> Result<Parsed, InputProblem> {
    parse_from(text, Source::Kept)
}

/// Where a URI comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Sent,
    Kept,
}

fn parse_from(given: &str, source: Source) -> Result<Parsed, InputProblem> {
    if given.len() > MAX_URI_BYTES {
        return Err(InputProblem::OtpauthTooLong {
            limit: u32::try_from(MAX_URI_BYTES).unwrap_or(u32::MAX),
        });
    }
    let unwrapped = wrapping::unwrap(given)?;
    let text = unwrapped.text.as_str();
    if let Some(secret) = steam::after_scheme(text) {
        return steam::read(secret);
    }
    let rest = after_scheme(text).map_err(|problem| match problem {
        // Its lines may say more than they do together.
        InputProblem::NotOtpauth {
            kind: ForeignKind::Other,
        } => InputProblem::NotOtpauth {
            kind: ForeignKind::of(given),
        },
        other => other,
    })?;
    if source == Source::Sent && query::is_ambiguous_mail(rest) {
        return Err(InputProblem::ParamDamaged {
            parameter: Parameter::Secret,
        });
    }
    let Read {
        mut parsed,
        unclear,
    } = match rest.split_once('#') {
        None => read(rest),
        Some((before, after)) => read_with_fragment(before, after, rest),
    }?;
    let names = [parsed.account.issuer(), Some(parsed.account.account_name())];
    let hidden = names.into_iter().flatten().find_map(damage::hidden_in);
    let damaged = hidden.map(|parameter| InputProblem::ParamDamaged { parameter });
    let unclear = unclear.map(|parameter| InputProblem::ParamUnclear {
        parameter,
        name: None,
    });
    if let Some(problem) = damaged.or(unclear) {
        // Names can be like that, where they are written consistently.
        let labels = parsed.account.labels();
        if labels.label_issuer().is_some() || *parsed.account.to_uri() != *text {
            return Err(problem);
        }
    }
    if unwrapped.escaped {
        parsed.warnings.push(Warning::EscapesUndone);
    }
    Ok(parsed)
}

/// An account whose names had been escaped before they were put into a URI, under its names.
fn without_escaped_names(mut parsed: Parsed) -> Result<Parsed, InputProblem> {
    let labels = parsed.account.labels();
    let undone = |name: &str| escapes::twice(name).unwrap_or_else(|| name.to_owned());
    let issuer = labels.issuer().map(undone);
    let account_name = undone(labels.account_name());
    let label_issuer = labels.label_issuer().map(undone);
    if issuer.as_deref() == labels.issuer()
        && account_name == labels.account_name()
        && label_issuer.as_deref() == labels.label_issuer()
    {
        return Ok(parsed);
    }
    let names = label::from_names(&account_name, issuer.as_deref());
    let labels = Labels::new(names.issuer.as_deref(), &names.account_name)?
        .with_label_issuer(label_issuer.as_deref());
    if labels.label_issuer().is_none() {
        let is_other = |warning: &Warning| matches!(warning, Warning::IssuerMismatch { .. });
        parsed.warnings.retain(|warning| !is_other(warning));
    }
    let (parameters, secret) = (parsed.account.parameters(), parsed.account.secret().clone());
    parsed.account = TotpAccount::new(labels, parameters, secret);
    if !parsed.warnings.contains(&Warning::EscapesUndone) {
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

/// What the account of a URI is called that cannot be read, as far as its label can be told from
/// the rest.
pub(crate) fn name_in(text: &str) -> Option<String> {
    const SCHEME: &str = "otpauth://";
    const LONGEST: usize = 128;
    let lower = Zeroizing::new(text.to_ascii_lowercase());
    let rest = &text[lower.find(SCHEME)? + SCHEME.len()..];
    let (path, _) = rest.split_once('?')?;
    let (_, label) = path.split_once('/')?;
    let label = percent_encoding::percent_decode_str(label)
        .decode_utf8()
        .ok()?;
    let is_name = !label.is_empty()
        && label.len() <= LONGEST
        && !label.contains(['=', '&', '\n', '\r', '\t'])
        && ForeignKind::of(&label) != ForeignKind::BareSecret;
    let (issuer, account_name) = label.split_once(':').unwrap_or(("", &label));
    let names = [issuer.trim(), account_name.trim()].into_iter();
    let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    is_name.then(|| names.join(": "))
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
fn read_with_fragment(before: &str, after: &str, whole: &str) -> Result<Read, InputProblem> {
    let first = read(before);
    if matches!(first, Err(InputProblem::SecretMissing)) {
        return read(whole);
    }
    let Read {
        mut parsed,
        unclear,
    } = first?;
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
    Ok(Read { parsed, unclear })
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

/// What was read, and which parameter the names seem to give another value than it has.
struct Read {
    parsed: Parsed,
    unclear: Option<Parameter>,
}

/// Reads what follows the scheme; `#` has no special meaning any more.
fn read(rest: &str) -> Result<Read, InputProblem> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (kind, label) = path.split_once('/').unwrap_or((path, ""));
    let steam = is_steam(kind)?;
    let mut query = query::read(query)?;
    if let Some(parameter) = damage::hidden_in(label) {
        return Err(InputProblem::ParamDamaged { parameter });
    }
    query.steam |= steam;
    // Programs that put addresses together can double the slash.
    let label = label.trim_start_matches('/');
    let names = percent_encoding::percent_decode_str(label).decode_utf8_lossy();
    let mut said = unknown::in_words(&names);
    said.extend(
        query
            .issuer
            .iter()
            .flat_map(|issuer| unknown::in_words(issuer)),
    );
    said.append(&mut query.said);
    said.retain(|(parameter, _)| !query.says(*parameter));
    let label = label::read(label, query.issuer.as_deref());
    if query.secret.is_none() {
        return Err(InputProblem::SecretMissing);
    }
    query.refuse_unclear()?;
    let label = label?;
    let parsed = account(label, query)?;
    let unclear = contradicted(&said, parsed.account.parameters());
    Ok(Read { parsed, unclear })
}

/// The first parameter of which words say another value than the account has.
fn contradicted(said: &[(Parameter, String)], used: CodeParameters) -> Option<Parameter> {
    let is_other = |(parameter, value): &&(Parameter, String)| {
        let end = value
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(value.len());
        let number = value[..end].parse::<u32>();
        match parameter {
            Parameter::Digits => number != Ok(u32::from(used.digits())),
            Parameter::Period => number != Ok(used.period()),
            _ => query::algorithm_field(value) != Ok(Some(used.algorithm())),
        }
    };
    said.iter().find(is_other).map(|(parameter, _)| *parameter)
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
    let ignored = query.ignored();
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
    warnings.extend(ignored);

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
        .or_else(|| unknown::meant_by_number(name, value))
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
