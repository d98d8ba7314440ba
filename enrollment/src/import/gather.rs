//! A document of a kind that is not known: every text in it that is a URI of an account is
//! one, wherever it stands, and so is every object that has a secret and says what codes are
//! made of it.

use serde_json::{Map, Value};
use zeroize::Zeroize as _;

use super::item::Item;
use super::recovery_codes::is_named;
use super::shapes::number_in;
use super::{CodesBeside, ImportEntry, MAX_ENTRIES, joined_name, steam_mafile};
use crate::otpauth::{self, Fields};
use crate::problem::{ImportFormat, InputProblem, Parameter, kinds};

/// Members with a secret in base32.
const SECRETS: [&str; 6] = [
    "secret",
    "seed",
    "totpsecret",
    "otpsecret",
    // Authy's tokens, once a tool has decrypted them.
    "decryptedseed",
    "decryptedsecret",
];
const ISSUERS: [&str; 6] = [
    "issuer",
    "service",
    "servicename",
    "provider",
    "issuername",
    "appname",
];
const NAMES: [&str; 7] = [
    "account",
    "accountname",
    "username",
    "user",
    "label",
    "name",
    "email",
];
const KINDS: [&str; 4] = ["type", "kind", "otptype", "tokentype"];
const ALGORITHMS: [&str; 5] = [
    "algorithm",
    "algo",
    "hashalgorithm",
    "hashalgo",
    "hashfunction",
];
const DIGITS: [&str; 7] = [
    "digits",
    "digit",
    "length",
    "numdigits",
    "numberofdigits",
    "codelength",
    "otpdigits",
];
const PERIODS: [&str; 8] = [
    "period",
    "duration",
    "interval",
    "timestep",
    "timer",
    "step",
    "timeperiod",
    "timeinterval",
];
const NOTES: [&str; 5] = ["note", "notes", "notesplain", "comment", "comments"];

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let mut document: Value =
        serde_json::from_str(text).map_err(|_| InputProblem::ImportUnknown)?;
    let mut found = Vec::new();
    let rest = walk(&document, Names::default(), &mut found);
    settle(rest, Names::default(), 0, &mut found);
    wipe(&mut document);
    if found.is_empty() {
        return Err(InputProblem::ImportUnknown);
    }
    if found.len() > MAX_ENTRIES {
        return Err(super::too_many());
    }
    Ok(found)
}

/// What the object around a code is called and whose it is, as far as it says.
#[derive(Clone, Copy, Default)]
struct Names<'a> {
    title: &'a str,
    user: &'a str,
    /// Whether they are in a document that is a text of another one.
    within: bool,
}

impl<'a> Names<'a> {
    /// Those of an object, or of the one around it if it has none; a field has none of its own.
    fn of(object: &'a Map<String, Value>, around: Self) -> Self {
        if pair(object).is_some() {
            return around;
        }
        let text = |names: &[&str]| {
            let mut members = object.iter();
            let member = members.find(|(name, _)| names.contains(&folded(name).as_str()));
            member
                .and_then(|(_, value)| value.as_str())
                .unwrap_or("")
                .trim()
        };
        let names = Self {
            title: text(&["title", "name", "service", "site", "issuer", "label"]),
            user: text(&["username", "login", "user", "account", "email"]),
            within: around.within,
        };
        if names.are_there() { names } else { around }
    }

    const fn are_there(&self) -> bool {
        !self.title.is_empty() || !self.user.is_empty()
    }

    /// A URI under these names if it has none of its own.
    fn entry(self, uri: &str) -> ImportEntry {
        let nameless = otpauth::parse(uri).is_ok_and(|parsed| {
            parsed.account.issuer().is_none() && parsed.account.account_name() == "Account"
        });
        let item = Item {
            title: self.title,
            account_name: self.user,
            code: uri,
        };
        let named = nameless.then(|| item.entry()).flatten();
        named.unwrap_or_else(|| ImportEntry::text(uri))
    }
}

/// Finds the accounts in a value; what is left are recovery codes that are not beside one.
fn walk(value: &Value, names: Names<'_>, found: &mut Vec<ImportEntry>) -> CodesBeside {
    let mut rest = CodesBeside::default();
    if found.len() > MAX_ENTRIES {
        return rest;
    }
    match value {
        Value::String(text) => {
            let text = crate::text::trim(text);
            let head: String = text.chars().take(20).collect();
            if otpauth::is_meant(&head) {
                found.push(names.entry(text));
            } else if !names.within && text.starts_with(['[', '{']) && otpauth::is_meant(text) {
                return inner(text, names, found);
            }
        }
        Value::Array(list) => {
            for value in list {
                let left = walk(value, names, found);
                // A field of an item belongs to it, and an item of a list to no other.
                if value
                    .as_object()
                    .is_none_or(|object| pair(object).is_some())
                {
                    rest.merge(&left);
                } else if !left.codes.is_empty() {
                    found.push(alone(Names::default(), left));
                }
            }
        }
        Value::Object(object) => {
            if let Some(entry) = of_steam(object) {
                found.push(entry);
                return rest;
            }
            if let Some(mut entry) = account(object, names) {
                own_codes(object, 2, &mut entry.beside);
                found.push(entry);
                return rest;
            }
            let before = found.len();
            let own = Names::of(object, Names::default());
            let names = Names::of(object, names);
            for value in object.values() {
                rest.merge(&walk(value, names, found));
            }
            own_codes(object, 0, &mut rest);
            if pair(object).is_none() {
                rest = settle(rest, own, before, found);
            }
        }
        _ => {}
    }
    rest
}

/// Finds the accounts in a document that is a text of another one, as an item's fields can be.
fn inner(text: &str, names: Names<'_>, found: &mut Vec<ImportEntry>) -> CodesBeside {
    let Ok(mut document) = serde_json::from_str::<Value>(text) else {
        let problem = InputProblem::ImportMalformed {
            format: ImportFormat::UriList,
        };
        let name = joined_name(names.title, names.user);
        found.push(ImportEntry::refused(&name, problem));
        return CodesBeside::default();
    };
    let names = Names {
        within: true,
        ..names
    };
    let rest = walk(&document, names, found);
    wipe(&mut document);
    rest
}

/// The account that Steam's own app keeps.
fn of_steam(object: &Map<String, Value>) -> Option<ImportEntry> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let secret = text("shared_secret");
    let is_steam = [
        "steamid",
        "steamguard_scheme",
        "identity_secret",
        "revocation_code",
    ]
    .iter()
    .any(|name| object.contains_key(*name));
    if secret.is_empty() || !is_steam {
        return None;
    }
    let name = text("account_name");
    let entry = steam_mafile::entry(name, (secret, text("revocation_code")));
    Some(entry.unwrap_or_else(|problem| ImportEntry::refused(name, problem)))
}

/// Puts recovery codes beside the account of the object that they are in, whose accounts begin
/// at `before`; those of an object without a name may be of the one around it.
fn settle(
    rest: CodesBeside,
    own: Names<'_>,
    before: usize,
    found: &mut Vec<ImportEntry>,
) -> CodesBeside {
    let count = found.len().saturating_sub(before);
    match found.get_mut(before) {
        Some(first) if count == 1 || own.are_there() => first.beside.merge(&rest),
        _ if rest.codes.is_empty() => {}
        None if !own.are_there() => return rest,
        _ => found.push(alone(own, rest)),
    }
    CodesBeside::default()
}

/// Recovery codes of an item that has no account.
fn alone(names: Names<'_>, beside: CodesBeside) -> ImportEntry {
    ImportEntry {
        beside,
        ..ImportEntry::new(
            &joined_name(names.title, names.user),
            Err(InputProblem::RecoveryCodesAlone),
        )
    }
}

/// Adds the recovery codes that an object's members hold, to a depth in what they hold in turn.
fn own_codes(object: &Map<String, Value>, depth: usize, beside: &mut CodesBeside) {
    if let Some((name, value)) = pair(object) {
        return beside.field(name, value);
    }
    for (name, value) in object {
        match value {
            Value::String(text) if NOTES.contains(&folded(name).as_str()) => beside.note(text),
            Value::String(text) => beside.field(name, text),
            Value::Array(list) if is_named(name) => {
                beside.list(list.iter().filter_map(Value::as_str));
            }
            Value::Array(list) if depth > 0 => {
                let objects = list.iter().filter_map(Value::as_object);
                objects.for_each(|object| own_codes(object, depth - 1, beside));
            }
            Value::Object(object) if depth > 0 => own_codes(object, depth - 1, beside),
            _ => {}
        }
    }
}

/// The name and the value of an object that is a field.
fn pair(object: &Map<String, Value>) -> Option<(&str, &str)> {
    let text = |names: &[&str]| {
        let mut found = names.iter().filter_map(|name| object.get(*name)?.as_str());
        found.next()
    };
    Some((text(&["name", "label", "title"])?, text(&["value"])?))
}

/// The account that an object's members say; nothing if there is no secret or nothing beside
/// it that only accounts have.
fn account(object: &Map<String, Value>, around: Names<'_>) -> Option<ImportEntry> {
    let member = |names: &[&str]| {
        names.iter().find_map(|wanted| {
            let named = |name: &String| folded(name) == **wanted;
            object
                .iter()
                .find(|(name, _)| named(name))
                .map(|(_, value)| value)
        })
    };
    let text = |names: &[&str]| match member(names) {
        Some(Value::String(text)) => text.trim(),
        _ => "",
    };
    let number = |names: &[&str]| match member(names) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => number_in(text),
        Some(value) => Some(value.as_u64().unwrap_or(u64::MAX)),
    };
    let secret = text(&SECRETS);
    if secret.is_empty() && !text(&["encryptedseed"]).is_empty() {
        let name = joined_name(text(&ISSUERS), text(&NAMES));
        let what = kinds::AUTHY_TOKEN.to_owned();
        return Some(ImportEntry::new(
            &name,
            Err(InputProblem::ImportUnsupported { what }),
        ));
    }
    let issuer = text(&ISSUERS);
    let (digits, period) = (number(&DIGITS), number(&PERIODS));
    // A hash can also be what an account is found by.
    let algorithm = match text(&ALGORITHMS) {
        "" => said_hash(text(&["hash"])),
        algorithm => algorithm,
    };
    let says_more = !issuer.is_empty() || !algorithm.is_empty() || digits.or(period).is_some();
    if secret.is_empty() || otpauth::is_meant(secret) || !says_more {
        return None;
    }
    let (issuer, account_name) = match (issuer, text(&NAMES)) {
        // The object around it is the item that a person sees.
        ("", "") => (around.title, around.user),
        names => names,
    };
    let name = joined_name(issuer, account_name);
    if member(&["encrypted"]) == Some(&Value::Bool(true)) {
        let problem = InputProblem::ImportUnsupported {
            what: "a backup whose secrets are encrypted".to_owned(),
        };
        return Some(ImportEntry::refused(&name, problem));
    }
    let is_steam = text(&["encoder"]).eq_ignore_ascii_case("steam")
        || member(&["steam", "issteam"]) == Some(&Value::Bool(true));
    let kind = match text(&KINDS) {
        "" | "totp" if is_steam => "steam",
        kind => kind,
    };
    // What is not text would be read as if it were not there.
    let is_text =
        |names: &[&str]| matches!(member(names), None | Some(Value::Null | Value::String(_)));
    let unreadable = match (is_text(&KINDS), is_text(&ALGORITHMS)) {
        (false, _) => Some(InputProblem::TypeUnsupported),
        (_, false) => Some(InputProblem::AlgorithmUnsupported { name: None }),
        _ => None,
    };
    if let Some(problem) = unreadable.or_else(|| not_understood(object, kind)) {
        return Some(ImportEntry::refused(&name, problem));
    }
    let fields = Fields {
        kind,
        issuer,
        account_name,
        secret,
        algorithm,
        digits,
        period,
    };
    Some(ImportEntry::fields(&name, &fields))
}

/// Why an account's other members keep it from being read: they decide which codes come out, or
/// seem to.
fn not_understood(object: &Map<String, Value>, kind: &str) -> Option<InputProblem> {
    let damaged = |parameter| Some(InputProblem::ParamDamaged { parameter });
    object.iter().find_map(|(name, value)| {
        let known = folded(name);
        let is = |names: &[&str]| names.contains(&known.as_str());
        let said = match value {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            // What is in a separate object is not read, so that nothing there may count.
            Value::Object(inner) => {
                let decides = |(name, value): (&String, &Value)| {
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
                };
                return inner.iter().find_map(decides).and_then(damaged);
            }
            _ => String::new(),
        };
        if otpauth::is_start(name) {
            return (!otpauth::is_zero(&said)).then_some(InputProblem::StartUnsupported);
        }
        if is(&["counter"]) {
            let is_hotp = kind.is_empty() && !otpauth::is_zero(&said);
            return is_hotp.then_some(InputProblem::HotpUnsupported);
        }
        if is(&["encoding", "secretencoding", "otpkeyformat"]) {
            let is_base32 = said.is_empty() || said.eq_ignore_ascii_case("base32");
            return (!is_base32).then_some(InputProblem::ParamDamaged {
                parameter: Parameter::Secret,
            });
        }
        let is_known = [
            &SECRETS[..],
            &ISSUERS,
            &NAMES,
            &KINDS,
            &ALGORITHMS,
            &DIGITS,
            &PERIODS,
            &["hash", "encoder", "steam", "issteam"],
        ]
        .into_iter()
        .any(is);
        if is_known || said.is_empty() {
            return None;
        }
        otpauth::meant_by_member(name, &said).and_then(damaged)
    })
}

/// A text that names a hash function; nothing otherwise.
fn said_hash(text: &str) -> &str {
    let folded = folded(text);
    let is_name = ["sha", "hmac", "md5"]
        .iter()
        .any(|name| folded.starts_with(name));
    if is_name { text } else { "" }
}

/// Letters and digits only, in lower case.
fn folded(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(list) => list.iter_mut().for_each(wipe),
        Value::Object(object) => object.values_mut().for_each(wipe),
        _ => {}
    }
}
