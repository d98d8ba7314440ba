//! The label: issuer and account name, written by everyone a little differently.

use percent_encoding::percent_decode_str;

use crate::account::{after_issuer, clean, is_unprintable};
use crate::problem::InputProblem;

/// What label and issuer parameter say together.
pub(super) struct Label {
    pub(super) issuer: Option<String>,
    /// May be empty.
    pub(super) account_name: String,
    /// The issuer in the label, where the parameter names another one and counts.
    pub(super) other_issuer: Option<String>,
    /// Whether control characters were taken out.
    pub(super) cleaned: bool,
}

/// Reads the label, still escaped. `parameter` is the issuer parameter, not empty.
///
/// 1. Where the label begins with the parameter's issuer and a colon, the rest is the
///    account name, with all the colons in it (Google Authenticator reads it so, and
///    some services have colons in both parts).
/// 2. Otherwise the first colon that is not escaped separates.
/// 3. Otherwise the first escaped colon does, unless there is a parameter that names
///    another issuer: then it belongs to the account name.
pub(super) fn read(encoded: &str, parameter: Option<&str>) -> Result<Label, InputProblem> {
    let parameter_clean = parameter.map(clean).filter(|issuer| !issuer.is_empty());
    let whole = decode(encoded)?;
    let mut cleaned = parameter
        .into_iter()
        .chain([whole.as_str()])
        .any(|text| text.chars().any(is_unprintable));
    let whole = clean(&whole);

    if let Some(issuer) = &parameter_clean
        && let Some(account_name) = after_issuer(&whole, issuer)
    {
        return Ok(Label {
            issuer: parameter_clean,
            account_name,
            other_issuer: None,
            cleaned,
        });
    }
    if let Some(issuer) = &parameter_clean
        && let Some(account_name) = of_form(encoded, issuer)?
    {
        return Ok(Label {
            issuer: parameter_clean,
            account_name,
            other_issuer: None,
            cleaned,
        });
    }
    let (prefix, account_name) = match encoded.split_once(':') {
        Some((prefix, account_name)) => (clean(&decode(prefix)?), clean(&decode(account_name)?)),
        None => match (whole.split_once(':'), &parameter_clean) {
            (Some((prefix, account_name)), None) => (clean(prefix), clean(account_name)),
            _ => (String::new(), whole),
        },
    };
    cleaned |= prefix.chars().any(is_unprintable);
    let prefix = Some(prefix).filter(|prefix| !prefix.is_empty());
    Ok(match (parameter_clean, prefix) {
        (None, issuer) => Label {
            issuer,
            account_name,
            other_issuer: None,
            cleaned,
        },
        (issuer, other_issuer) => Label {
            issuer,
            account_name,
            other_issuer,
            cleaned,
        },
    })
}

/// Puts together names that are kept apart, not escaped: the account name may begin with
/// the issuer and a colon all the same, and names it where there is no other.
pub(super) fn from_names(account_name: &str, issuer: Option<&str>) -> Label {
    let cleaned = issuer
        .into_iter()
        .chain([account_name])
        .any(|text| text.chars().any(is_unprintable));
    let issuer = issuer.map(clean).filter(|issuer| !issuer.is_empty());
    let whole = clean(account_name);
    let (issuer, account_name) = match issuer {
        Some(issuer) => {
            let rest = after_issuer(&whole, &issuer).unwrap_or(whole);
            (Some(issuer), rest)
        }
        None => match whole.split_once(':') {
            Some((prefix, rest)) if !clean(prefix).is_empty() => (Some(clean(prefix)), clean(rest)),
            _ => (None, whole),
        },
    };
    Label {
        issuer,
        account_name,
        other_issuer: None,
        cleaned,
    }
}

/// The account name where the label has the issuer with `+` for spaces, as forms have and as
/// pass-otp writes it. Such a writer escapes every `@`, so that in a name without a bare one
/// `+` is a space, too.
fn of_form(encoded: &str, issuer: &str) -> Result<Option<String>, InputProblem> {
    let Some((prefix, account_name)) = encoded.split_once(':') else {
        return Ok(None);
    };
    let spaced = |text: &str| decode(&text.replace('+', " "));
    if !prefix.contains('+') || clean(&spaced(prefix)?).to_lowercase() != issuer.to_lowercase() {
        return Ok(None);
    }
    let account_name = if account_name.contains('@') {
        decode(account_name)?
    } else {
        spaced(account_name)?
    };
    Ok(Some(clean(&account_name)))
}

/// Every escape is resolved exactly once; `+` is itself in a path.
fn decode(encoded: &str) -> Result<String, InputProblem> {
    percent_decode_str(encoded)
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| InputProblem::LabelMalformed)
}
