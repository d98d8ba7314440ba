//! What people and programs call a secret: the columns of tables, the members of documents, and
//! the fields and notes of items. Which of these names are enough to take what they name for one.

use serde_json::{Map, Value};

use super::meaning::folded;
use crate::foreign::ForeignKind;
use crate::otpauth;
use crate::problem::{ImportFormat, InputProblem, Parameter};

/// What a name says about what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// It is about codes: a URI, a secret, or whether there is one.
    Codes,
    /// It is the secret of codes.
    Secret,
    /// As the name of a column, it is about codes; elsewhere it mostly says which app makes them.
    Authenticator,
    /// It is a secret, of codes or of something else.
    AnySecret,
    /// It is more often something else altogether, so that only a secret of the usual length or a
    /// URI counts.
    Perhaps,
}

/// Names, letters and digits only, in lower case; those that say most first.
const NAMES: [(Says, &[&str]); 5] = [
    (
        Says::Codes,
        &[
            "otpauth",
            "otpurl",
            "otpuri",
            "otpauthurl",
            "otpauthuri",
            "totpurl",
            "totpuri",
            "logintotp",
            "totp",
            "totpauth",
            "otp",
            "2fa",
            "twofactor",
            "twofa",
            "mfa",
            "authenticatorkeytotp",
            "onetimepassword",
            "onetimepasswort",
            "onetimepasscode",
            "onetimecode",
            "twofactorauthentication",
            "twostepverification",
            "zweifaktor",
            "zweifaktorauthentifizierung",
            "zweifaktorauthentisierung",
            "einmalcode",
            "einmalpasswort",
            "einmalkennwort",
            "codeunique",
            "motdepasseunique",
            "doublefacteur",
            "doubleauthentification",
            "dosfactores",
            "duefattori",
            "cléotp",
            "claveotp",
            "authsecret",
        ],
    ),
    (
        Says::Secret,
        &[
            "otpsecret",
            "totpsecret",
            "totpkey",
            "otpkey",
            "totpseed",
            "2fasecret",
            "twofactorsecret",
            "mfasecret",
            "authenticatorkey",
            "totptoken",
            "secrettotp",
            "otpseed",
            "otptoken",
            "secretotp",
            "mfakey",
            "mfaseed",
            "2fakey",
            "2faseed",
            "twofasecret",
            "twofactorkey",
            "authenticatorsecret",
            // Authy's tokens, once a tool has decrypted them.
            "decryptedseed",
            "decryptedsecret",
            "manualentrykey",
            "setupkey",
        ],
    ),
    (Says::Authenticator, &["authenticator"]),
    (
        Says::AnySecret,
        &[
            "secret",
            "seed",
            "geheimnis",
            "secretkey",
            "sharedsecret",
            "authkey",
            "base32",
            "base32secret",
            "secretbase32",
            "verificationkey",
            "manualkey",
        ],
    ),
    (
        Says::Perhaps,
        &[
            "key",
            "token",
            "code",
            "verificationcode",
            "schlüssel",
            "googleauthenticator",
            "microsoftauthenticator",
            "authenticatorapp",
            "gakey",
            "tokenseed",
            "seedtoken",
            "2fatotp",
            "totp2fa",
            "zweiterfaktor",
            "2faktor",
            "secondfactor",
            "2ndfactor",
            "segundofactor",
            "secondfacteur",
            "clavesecreta",
            "chiavesegreta",
            "clésecrète",
            "auth",
            "验证码",
            "密钥",
            "二段階認証",
            "секретныйключ",
            "двухфакторная",
        ],
    ),
];
/// Words of which one is in what people call a column of codes, beside one of the next.
const STEMS: [&str; 16] = [
    "otp",
    "2fa",
    "mfa",
    "twofactor",
    "2factor",
    "zweifaktor",
    "2faktor",
    "twostep",
    "2step",
    "onetime",
    "einmal",
    "authenticator",
    "totp",
    "2facteurs",
    "authy",
    "2sv",
];
const TAILS: [&str; 19] = [
    "key",
    "secret",
    "seed",
    "code",
    "uri",
    "url",
    "token",
    "link",
    "schluessel",
    "schlüssel",
    "geheimnis",
    "base32",
    "setup",
    "clé",
    "cle",
    "clave",
    "chiave",
    "qr",
    "sleutel",
];
/// Words in the names of columns that say something about codes and hold none.
const ABOUT: [&str; 24] = [
    "recovery", "backup", "rescue", "scratch", "enabled", "active", "status", "type", "algo",
    "hash", "digit", "period", "interval", "length", "counter", "issuer", "name", "date",
    "created", "used", "method", "phone", "settings", "required",
];

/// What a name, folded, says; nothing if it has nothing to do with codes or secrets.
pub(super) fn says(name: &str) -> Option<Says> {
    /// A longer text is no name.
    const LONGEST: usize = 40;
    if let Some((says, _)) = NAMES.iter().find(|(_, names)| names.contains(&name)) {
        return Some(*says);
    }
    if name.len() > LONGEST || is_of_keepass(name) {
        return None;
    }
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    (has(&STEMS) && has(&TAILS) && !has(&ABOUT)).then_some(Says::Codes)
}

/// Where among these names, folded, those are that say something, those that say most first.
pub(super) fn ranked(names: &[String]) -> Vec<(usize, Says)> {
    let rank = |name: &str| {
        let known = NAMES.iter().flat_map(|(_, names)| names.iter());
        known
            .clone()
            .position(|it| *it == name)
            .unwrap_or(known.count())
    };
    let said = names.iter().enumerate();
    let said = said.filter_map(|(at, name)| Some((rank(name), at, says(name)?)));
    let mut said: Vec<(usize, usize, Says)> = said.collect();
    said.sort_unstable_by_key(|(rank, at, _)| (*rank, *at));
    said.into_iter().map(|(_, at, says)| (at, says)).collect()
}

/// Whether a name, folded, is that of one of KeePass's fields for its own codes, each of which is
/// encoded in its own way.
pub(super) fn is_of_keepass(name: &str) -> bool {
    name.starts_with("timeotp") || name.starts_with("hmacotp")
}

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

/// Whether any of these names can be that of a secret.
pub(super) fn is_among<'n>(mut names: impl Iterator<Item = &'n String>) -> bool {
    names.any(|name| says(&folded(name)).is_some())
}

/// The secret of an object; nothing if there is none, or why it cannot be taken for one.
pub(super) fn find(
    object: &Map<String, Value>,
    beside: Beside,
) -> Option<Result<&str, InputProblem>> {
    let named = |wanted: &[Says]| {
        let members = object.iter();
        let members = members.filter_map(|(name, value)| Some((says(&folded(name))?, value)));
        let is_empty = |value: &Value| {
            value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty())
        };
        let found = members.filter(|(says, value)| wanted.contains(says) && !is_empty(value));
        found.collect::<Vec<(Says, &Value)>>()
    };
    let conflict = || {
        let parameter = Parameter::Secret;
        Some(Err(InputProblem::ParamsConflict { parameter }))
    };
    let says_more = beside.says_codes || beside.says_more;
    let mut found: Option<&str> = None;
    for (says, value) in named(&[Says::Secret])
        .into_iter()
        .chain(named(&[Says::AnySecret]))
    {
        match value {
            // A URI is read as one.
            Value::String(text) if otpauth::is_meant(text) => {}
            Value::String(text) => {
                let is_sure =
                    says == Says::Secret || says_more || beside.is_named && is_shown(text);
                match found {
                    _ if !is_sure => {}
                    None => found = Some(text.trim()),
                    Some(first) if folded(first) == folded(text) => {}
                    Some(_) if !is_shown(text) => {}
                    Some(_) => return conflict(),
                }
            }
            // It is given several times, or in a way that is not known.
            Value::Array(_) | Value::Number(_) if says_more => {
                let format = ImportFormat::Json;
                return Some(Err(InputProblem::EntryMalformed { format }));
            }
            _ => {}
        }
    }
    if let Some(secret) = found {
        return Some(Ok(secret));
    }
    // What only looks like a secret; two of them cannot both be the account's.
    let shown = |wanted: &[Says]| {
        let texts = named(wanted)
            .into_iter()
            .filter_map(|(_, value)| value.as_str());
        let mut texts = texts.filter(|text| is_shown(text)).map(str::trim);
        let first = texts.next()?;
        let is_same = texts.all(|text| folded(text) == folded(first));
        Some(is_same.then_some(first))
    };
    match shown(&[Says::Codes]) {
        Some(Some(secret)) => return Some(Ok(secret)),
        Some(None) => return conflict(),
        None => {}
    }
    let secret = shown(&[Says::Authenticator, Says::Perhaps])?;
    let is_told = says_more || beside.is_named;
    let kind = ForeignKind::BareSecret;
    match secret {
        Some(secret) if beside.says_codes => Some(Ok(secret)),
        None if beside.says_codes => conflict(),
        _ => is_told.then_some(Err(InputProblem::NotOtpauth { kind })),
    }
}

/// Whether a name says that what it names is a secret of codes, or codes at all.
pub(super) fn is_of_codes(name: &str) -> bool {
    matches!(says(&folded(name)), Some(Says::Secret | Says::Codes))
}

/// Whether a text is a secret as services show them.
pub(super) fn is_shown(text: &str) -> bool {
    ForeignKind::of(text) == ForeignKind::BareSecret
}
