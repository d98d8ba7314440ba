//! What the names of a document's members mean, no matter who wrote it, and which of them decide
//! what codes come out.

use serde_json::{Map, Value};

use super::joined_name;
use crate::otpauth;
use crate::problem::{InputProblem, Parameter};

pub(super) const ISSUERS: [&str; 6] = [
    "issuer",
    "service",
    "servicename",
    "provider",
    "issuername",
    "appname",
];
pub(super) const NAMES: [&str; 7] = [
    "account",
    "accountname",
    "username",
    "user",
    "label",
    "name",
    "email",
];
pub(super) const KINDS: [&str; 4] = ["type", "kind", "otptype", "tokentype"];
pub(super) const ALGORITHMS: [&str; 6] = [
    "algorithm",
    "algo",
    "alg",
    "hashalgorithm",
    "hashalgo",
    "hashfunction",
];
pub(super) const DIGITS: [&str; 7] = [
    "digits",
    "digit",
    "length",
    "numdigits",
    "numberofdigits",
    "codelength",
    "otpdigits",
];
pub(super) const PERIODS: [&str; 8] = [
    "period",
    "duration",
    "interval",
    "timestep",
    "timer",
    "step",
    "timeperiod",
    "timeinterval",
];
/// Members that say in which encoding a secret is.
const ENCODINGS: [&str; 3] = ["encoding", "secretencoding", "otpkeyformat"];
/// What an entry is called where a person sees it, beside the names above.
const TITLES: [&str; 4] = ["title", "issueralt", "issuerext", "issuerint"];
const USERS: [&str; 5] = [
    "login",
    "labelalt",
    "itemusername",
    "itemusermail",
    "originalusername",
];
/// How deeply an entry's names may be in it.
const NAME_DEPTH: usize = 2;
/// The longest text that is taken for a name, in bytes.
const MAX_NAME: usize = 512;
/// What kinds of codes are called that are not those of TOTP.
const OTHER_KINDS: [&str; 8] = [
    "steam",
    "steamguard",
    "steamtotp",
    "motp",
    "mobileotp",
    "yandex",
    "yaotp",
    "battle",
];

/// Letters and digits only, in lower case.
pub(super) fn folded(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// A text that names a hash function; nothing otherwise, since a hash can also be what an account
/// is found by.
pub(super) fn said_hash(text: &str) -> &str {
    let folded = folded(text);
    let is_name = ["sha", "hmac", "md5"]
        .iter()
        .any(|name| folded.starts_with(name));
    if is_name { text } else { "" }
}

/// What a value says that is a word or a number; nothing for one that says nothing.
pub(super) fn said(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Bool(true) => "true".to_owned(),
        _ => String::new(),
    };
    Some(text).filter(|text| !text.is_empty())
}

/// Why a member that no reader knows keeps its account from being read: it decides which codes
/// come out, or seems to. `beside` are the known members of the same object.
pub(super) fn deciding<'a>(
    name: &str,
    value: &Value,
    beside: impl Iterator<Item = (&'a String, &'a Value)> + Clone,
) -> Option<InputProblem> {
    let damaged = |parameter| Some(InputProblem::ParamDamaged { parameter });
    match value {
        // What is in an object of its own is not read, so that nothing there may count.
        Value::Object(inner) => return inner.iter().find_map(decides).and_then(damaged),
        // It is given several times.
        Value::Array(several) => {
            let mut several = several.iter().filter(|value| said(value).is_some());
            return several.find_map(|value| deciding(name, value, std::iter::empty()));
        }
        _ => {}
    }
    let said_here = said(value)?;
    let folded = folded(name);
    let is = |names: &[&str]| names.contains(&folded.as_str());
    // When something was done, and what is left of a period, are none.
    if folded.contains("timestamp") || folded.contains("remaining") || is(&["servertime"]) {
        return None;
    }
    if otpauth::is_start(name) {
        return (!otpauth::is_zero(&said_here)).then_some(InputProblem::StartUnsupported);
    }
    if is(&["counter"]) {
        let mut beside = beside;
        let is_typed = beside.any(|(name, value)| {
            KINDS.contains(&self::folded(name).as_str()) && said(value).is_some()
        });
        let is_hotp = !is_typed && !otpauth::is_zero(&said_here);
        return is_hotp.then_some(InputProblem::HotpUnsupported);
    }
    if is(&ENCODINGS) {
        let is_base32 = said_here.eq_ignore_ascii_case("base32");
        return (!is_base32).then_some(InputProblem::ParamDamaged {
            parameter: Parameter::Secret,
        });
    }
    if is(&KINDS) {
        let kind = self::folded(&said_here);
        return match kind.as_str() {
            "hotp" | "counter" | "event" => Some(InputProblem::HotpUnsupported),
            kind if OTHER_KINDS.contains(&kind) => Some(InputProblem::TypeUnsupported),
            _ => None,
        };
    }
    if is(&["hash", "digest", "mac"]) && value.is_string() && said_hash(&said_here).is_empty() {
        return None;
    }
    let parameter = otpauth::meant_by_member(name, &said_here)?;
    // What says the same as a member that is read decides nothing.
    let mut beside = beside;
    let is_repeated = beside.any(|(other, value)| {
        let same =
            said(value).is_some_and(|other| self::folded(&other) == self::folded(&said_here));
        same && otpauth::meant_by_member(other, &said_here) == Some(parameter)
    });
    if is_repeated {
        None
    } else {
        damaged(parameter)
    }
}

/// Which parameter a member of an object of its own means by its usual name.
fn decides((name, value): (&String, &Value)) -> Option<Parameter> {
    let name = folded(name);
    let known = [
        (&ALGORITHMS[..], Parameter::Algorithm),
        (&DIGITS[..], Parameter::Digits),
        (&PERIODS[..], Parameter::Period),
    ];
    let mut known = known.iter();
    (value.is_string() || value.is_number())
        .then(|| known.find(|(names, _)| names.contains(&name.as_str())))
        .flatten()
        .map(|(_, parameter)| *parameter)
}

/// What an entry is called and whose it is, as far as that can be seen without a reader.
#[derive(Default)]
pub(super) struct Shown {
    pub(super) title: String,
    pub(super) user: String,
}

impl Shown {
    pub(super) fn of(value: &Value) -> Self {
        let mut shown = Self::default();
        let mut name = String::new();
        shown.look(value, NAME_DEPTH, &mut name);
        // A name alone is the entry's; beside an issuer, it is the account's.
        match (shown.title.is_empty(), shown.user.is_empty()) {
            (true, _) => shown.title = name,
            (false, true) => shown.user = name,
            (false, false) => {}
        }
        shown
    }

    /// Both in one text, which may be empty.
    pub(super) fn name(&self) -> String {
        joined_name(&self.title, &self.user)
    }

    fn look(&mut self, value: &Value, depth: usize, name: &mut String) {
        let Value::Object(object) = value else { return };
        for (member, value) in object {
            let Value::String(text) = value else { continue };
            let text = text.trim();
            if text.is_empty() || text.len() > MAX_NAME || otpauth::is_meant(text) {
                continue;
            }
            let member = folded(member);
            let is = |names: &[&str]| names.contains(&member.as_str());
            let place = if is(&["name"]) {
                &mut *name
            } else if is(&ISSUERS) || is(&TITLES) {
                &mut self.title
            } else if is(&NAMES) || is(&USERS) {
                &mut self.user
            } else {
                continue;
            };
            if place.is_empty() {
                text.clone_into(place);
            }
        }
        if depth > 0 {
            let inner = object.values().filter(|value| value.is_object());
            inner.for_each(|value| self.look(value, depth - 1, name));
        }
    }
}

/// The known members of an object: all but those that are given.
pub(super) fn known<'a>(
    object: &'a Map<String, Value>,
    unknown: &'a [&'a str],
) -> impl Iterator<Item = (&'a String, &'a Value)> + Clone {
    let members = object.iter();
    members.filter(move |(name, _)| !unknown.contains(&name.as_str()))
}
