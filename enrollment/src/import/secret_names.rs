//! What documents of no known kind call a secret, and which of these names are enough to take what
//! they hold for one.

use serde_json::{Map, Value};

use super::meaning::folded;
use crate::foreign::ForeignKind;
use crate::otpauth;
use crate::problem::{ImportFormat, InputProblem, Parameter};

/// Names of members that hold the secret of codes and nothing else.
pub(super) const STRONG: [&str; 25] = [
    "totpsecret",
    "totpkey",
    "totpseed",
    "totptoken",
    "secrettotp",
    "otpsecret",
    "otpkey",
    "otpseed",
    "otptoken",
    "secretotp",
    "mfasecret",
    "mfakey",
    "mfaseed",
    "2fasecret",
    "2fakey",
    "2faseed",
    "twofasecret",
    "twofactorsecret",
    "twofactorkey",
    "authenticatorkey",
    "authenticatorsecret",
    "manualentrykey",
    "setupkey",
    // Authy's tokens, once a tool has decrypted them.
    "decryptedseed",
    "decryptedsecret",
];
/// Names of members that hold the secret of codes, or of something else.
pub(super) const COMMON: [&str; 9] = [
    "secret",
    "seed",
    "secretkey",
    "secretbase32",
    "base32secret",
    "base32",
    "sharedsecret",
    "authkey",
    "authsecret",
];
/// Names of members that hold a secret or something else about codes.
pub(super) const WEAK: [&str; 8] = [
    "otp",
    "totp",
    "mfa",
    "2fa",
    "twofa",
    "twofactor",
    "onetimepassword",
    "onetimecode",
];
/// Names of members that mostly hold something else.
pub(super) const WEAKEST: [&str; 3] = ["token", "key", "authenticator"];

/// What an object says beside a secret.
#[derive(Clone, Copy)]
pub(super) struct Beside {
    /// Whether it says how codes are made, or that it is about codes.
    pub(super) says_codes: bool,
    /// Whether it says whose service it is.
    pub(super) says_more: bool,
    /// Whether it has a name.
    pub(super) is_named: bool,
}

/// Whether any of these names, folded, can be that of a secret.
pub(super) fn is_among<'n>(mut names: impl Iterator<Item = &'n String>) -> bool {
    names.any(|name| {
        let name = folded(name);
        [&STRONG[..], &COMMON, &WEAK, &WEAKEST]
            .iter()
            .any(|known| known.contains(&name.as_str()))
    })
}

/// The secret of an object; nothing if there is none, or why it cannot be taken for one.
pub(super) fn find(
    object: &Map<String, Value>,
    beside: Beside,
) -> Option<Result<&str, InputProblem>> {
    let of = |wanted: &str| {
        let mut members = object.iter();
        let found = members.find(|(name, _)| folded(name) == wanted);
        found.map(|(_, value)| value).filter(|value| {
            let is_empty = value.as_str().is_some_and(|text| text.trim().is_empty());
            !value.is_null() && !is_empty
        })
    };
    let says_more = beside.says_codes || beside.says_more;
    let mut found: Option<&str> = None;
    let strong = STRONG.iter().map(|name| (name, true));
    for (wanted, is_strong) in strong.chain(COMMON.iter().map(|name| (name, false))) {
        match of(wanted) {
            None => {}
            // A URI is read as one.
            Some(Value::String(text)) if otpauth::is_meant(text) => {}
            Some(Value::String(text)) => {
                let is_sure = is_strong || says_more || beside.is_named && is_shown(text);
                match found {
                    _ if !is_sure => {}
                    None => found = Some(text.trim()),
                    Some(first) if folded(first) == folded(text) => {}
                    Some(_) if !is_shown(text) => {}
                    Some(_) => {
                        let parameter = Parameter::Secret;
                        return Some(Err(InputProblem::ParamsConflict { parameter }));
                    }
                }
            }
            // It is given several times, or in a way that is not known.
            Some(Value::Array(_) | Value::Number(_)) if says_more => {
                let format = ImportFormat::Json;
                return Some(Err(InputProblem::EntryMalformed { format }));
            }
            Some(_) => {}
        }
    }
    if let Some(secret) = found {
        return Some(Ok(secret));
    }
    let shown = |wanted: &&str| match of(wanted) {
        Some(Value::String(text)) if is_shown(text) => Some(text.trim()),
        _ => None,
    };
    if let Some(secret) = WEAK.iter().find_map(shown) {
        return Some(Ok(secret));
    }
    let secret = WEAKEST.iter().find_map(shown)?;
    let is_told = says_more || beside.is_named;
    let kind = ForeignKind::BareSecret;
    match beside.says_codes {
        true => Some(Ok(secret)),
        false => is_told.then_some(Err(InputProblem::NotOtpauth { kind })),
    }
}

/// Whether a name says that what it names is a secret of codes, or codes at all.
pub(super) fn is_of_codes(name: &str) -> bool {
    let name = folded(name);
    STRONG.contains(&name.as_str()) || WEAK.contains(&name.as_str())
}

/// Whether a text is a secret as services show them.
pub(super) fn is_shown(text: &str) -> bool {
    ForeignKind::of(text) == ForeignKind::BareSecret
}
