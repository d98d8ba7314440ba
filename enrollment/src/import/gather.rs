//! A document of a kind that is not known: every text in it that is a URI of an account is
//! one, wherever it stands, and so is every object that has a secret and says what codes are
//! made of it.

use serde_json::{Map, Value};

use super::further;
use super::item::Item;
use super::meaning::{self, ALGORITHMS, DIGITS, ISSUERS, KINDS, NAMES, PERIODS, folded};
use super::member::Tree;
use super::recovery_codes::is_named;
use super::secret_names::Says;
use super::shapes::number_in;
use super::{CodesBeside, ImportEntry, MAX_ENTRIES, joined_name, secret_names, steam_mafile};
use crate::foreign::ForeignKind;
use crate::otpauth::{self, Fields};
use crate::problem::{ImportFormat, InputProblem, Parameter, kinds};

/// Names of members that say whose an account is, and not what an item is called.
const USERS: [&str; 3] = ["username", "user", "email"];
const NOTES: [&str; 5] = ["note", "notes", "notesplain", "comment", "comments"];

/// The most members of an object that is an account; one with more is a list by another name.
const MAX_MEMBERS: usize = 500;

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let document: Tree = serde_json::from_str(text).map_err(|_| InputProblem::ImportUnknown)?;
    let mut found = Vec::new();
    let rest = walk(document.value(), Names::default(), &mut found);
    settle(rest, Names::default(), 0, &mut found);
    let Some(first) = found.first() else {
        return Err(InputProblem::ImportUnknown);
    };
    // A backup of nothing else is named as what it is.
    if let Err(problem) = &first.content
        && *problem == encrypted_backup()
        && found
            .iter()
            .all(|entry| entry.content == first.content && entry.name.is_empty())
    {
        return Err(problem.clone());
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
    /// Whether the member that they are in is called as one with codes is.
    of_codes: bool,
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
            ..around
        };
        if names.are_there() { names } else { around }
    }

    /// The same in a member with this name.
    fn inside(self, name: &str) -> Self {
        let is_about =
            |says: Says| matches!(says, Says::Codes | Says::Authenticator | Says::Perhaps);
        let of_codes = secret_names::says(&folded(name)).is_some_and(is_about) || self.of_codes;
        Self { of_codes, ..self }
    }

    const fn are_there(&self) -> bool {
        !self.title.is_empty() || !self.user.is_empty()
    }

    /// A URI under these names if it has none of its own.
    fn entry(self, uri: &str) -> ImportEntry {
        let nameless = otpauth::parse(uri).is_ok_and(|parsed| parsed.account.is_nameless());
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
                // Beside URIs, a secret alone is named.
                if let Value::String(text) = value
                    && ForeignKind::of(text) == ForeignKind::BareSecret
                    && !names.within
                {
                    found.push(ImportEntry::text(text));
                }
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
                let texts = further::beside(&entry, value);
                let mut entries = vec![entry];
                further::add_texts(&mut entries, Item::default(), texts);
                found.extend(entries);
                return rest;
            }
            if let Some((name, text)) = pair(object)
                && secret_names::is_of_codes(name)
                && secret_names::is_shown(text)
            {
                let kind = ForeignKind::BareSecret;
                let name = joined_name(names.title, names.user);
                found.push(ImportEntry::refused(
                    &name,
                    InputProblem::NotOtpauth { kind },
                ));
            }
            let before = found.len();
            let own = Names::of(object, Names::default());
            let names = Names::of(object, names);
            for (name, value) in object {
                rest.merge(&walk(value, names.inside(name), found));
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
    let Ok(document) = serde_json::from_str::<Tree>(text) else {
        let problem = InputProblem::EntryMalformed {
            format: ImportFormat::Json,
        };
        let name = joined_name(names.title, names.user);
        found.push(ImportEntry::refused(&name, problem));
        return CodesBeside::default();
    };
    let names = Names {
        within: true,
        ..names
    };
    walk(document.value(), names, found)
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
    let codes = (secret, text("revocation_code"));
    Some(steam_mafile::entry(text("account_name"), codes))
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

/// A member's name, folded, without what only says that it is about codes (`totp_digits`).
fn unprefixed(name: &str) -> String {
    let name = folded(name);
    let name = name.strip_prefix("websitepassword").unwrap_or(&name);
    let rest = ["totp", "otp"].iter();
    let rest = rest.filter_map(|prefix| name.strip_prefix(prefix));
    let known = [&ALGORITHMS[..], &DIGITS, &PERIODS];
    let mut rest = rest.filter(|rest| known.iter().any(|names| names.contains(rest)));
    rest.next().unwrap_or(name).to_owned()
}

/// The account that an object's members say; nothing if there is no secret or nothing beside
/// it that only accounts have.
fn account(object: &Map<String, Value>, around: Names<'_>) -> Option<ImportEntry> {
    if object.len() > MAX_MEMBERS {
        return None;
    }
    // Of several with one meaning, one that says nothing hides no other.
    let is_said = |value: &&Value| {
        !value.is_null() && value.as_str().is_none_or(|text| !text.trim().is_empty())
    };
    let member = |names: &[&str]| {
        names.iter().find_map(|wanted| {
            let mut members = object
                .iter()
                .filter(|(name, _)| unprefixed(name) == **wanted);
            members.find_map(|(_, value)| Some(value).filter(is_said))
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
    let issuer = text(&ISSUERS);
    let own_name = joined_name(issuer, text(&NAMES));
    if let Some(problem) = encrypted(object, &text) {
        return Some(ImportEntry::refused(&own_name, problem));
    }
    let (digits, period) = (number(&DIGITS), number(&PERIODS));
    // A hash can also be what an account is found by.
    let algorithm = match text(&ALGORITHMS) {
        "" => meaning::said_hash(text(&["hash"])),
        algorithm => algorithm,
    };
    let says_codes = !algorithm.is_empty()
        || digits.or(period).is_some()
        || text(&KINDS).eq_ignore_ascii_case("totp");
    let beside = secret_names::Beside {
        says_codes: says_codes || around.of_codes,
        says_more: !issuer.is_empty(),
        is_named: !own_name.is_empty() || !text(&["title"]).is_empty(),
    };
    let (issuer, account_name) = match (issuer, text(&NAMES)) {
        // The object around it is the item that a person sees.
        ("", "") => (around.title, around.user),
        // An item is called in one way, and its account in another.
        ("", user) if user == text(&USERS) => match text(&["title", "name", "label"]) {
            "" => (around.title, user),
            title => (title, user),
        },
        names => names,
    };
    let name = joined_name(issuer, account_name);
    let secret = match secret_names::find(object, beside)? {
        Ok(secret) => secret,
        Err(problem) => return Some(ImportEntry::refused(&name, problem)),
    };
    let is_steam = text(&["encoder"]).eq_ignore_ascii_case("steam")
        || member(&["steam", "issteam"]) == Some(&Value::Bool(true));
    let kind = match text(&KINDS) {
        "" | "totp" if is_steam => "steam",
        // Psono's item of a password with codes.
        "website_password" => "",
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
    let problem = unreadable.or_else(|| contradicted(object, kind));
    if let Some(problem) = problem.or_else(|| not_understood(object)) {
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
    let says_parameters = !algorithm.is_empty() || digits.or(period).is_some() || !kind.is_empty();
    match with_uri(object, &fields, says_parameters) {
        Some(Ok(entry)) => Some(entry),
        Some(Err(problem)) => Some(ImportEntry::refused(&name, problem)),
        None => Some(ImportEntry::fields(&name, &fields)),
    }
}

/// The account of an object that has it twice, as fields and as a URI: what the fields leave out is
/// as the URI says. Nothing if there is no URI with the same secret.
fn with_uri(
    object: &Map<String, Value>,
    fields: &Fields<'_>,
    says_parameters: bool,
) -> Option<Result<ImportEntry, InputProblem>> {
    let read = otpauth::from_fields(fields).ok()?.account;
    let texts = object.values().filter_map(Value::as_str);
    let (uri, linked) = texts
        .filter(|text| otpauth::is_meant(text))
        .filter_map(|text| Some((text, otpauth::parse(text).ok()?.account)))
        .find(|(_, linked)| linked.secret() == read.secret())?;
    if linked.parameters() == read.parameters() {
        return None;
    }
    if says_parameters {
        let (ours, theirs) = (read.parameters(), linked.parameters());
        let parameter = if ours.algorithm() != theirs.algorithm() {
            Parameter::Algorithm
        } else if ours.digits() != theirs.digits() {
            Parameter::Digits
        } else {
            Parameter::Period
        };
        return Some(Err(InputProblem::ParamsConflict { parameter }));
    }
    let item = Item {
        title: fields.issuer,
        account_name: fields.account_name,
        code: uri,
    };
    item.entry().map(Ok)
}

/// That an object's secret is encrypted, as Authy's tokens and the browser extension
/// Authenticator have it.
fn encrypted<'v>(
    object: &'v Map<String, Value>,
    text: &dyn Fn(&[&str]) -> &'v str,
) -> Option<InputProblem> {
    let is_secret = |name: &str| {
        let says = secret_names::says(&folded(name));
        matches!(says, Some(Says::Secret | Says::AnySecret))
    };
    let mut texts = object.iter().filter(|(name, _)| is_secret(name));
    let secret = texts.find_map(|(_, value)| value.as_str().filter(|it| !it.trim().is_empty()));
    if secret.is_none() && !text(&["encryptedseed"]).is_empty() {
        let what = kinds::AUTHY_TOKEN.to_owned();
        return Some(InputProblem::ImportUnsupported { what });
    }
    let says = |name: &str, value: &Value| object.get(name) == Some(value);
    let is_extension = says("dataType", &"EncOTPStorage".into()) && object.contains_key("data");
    (is_extension || says("encrypted", &Value::Bool(true)) && secret.is_some())
        .then(encrypted_backup)
}

/// That a secret is one of a backup that is encrypted piece by piece.
fn encrypted_backup() -> InputProblem {
    InputProblem::ImportUnsupported {
        what: kinds::ENCRYPTED_SECRETS.to_owned(),
    }
}

/// That members of an object which mean the same parameter say different things.
fn contradicted(object: &Map<String, Value>, kind: &str) -> Option<InputProblem> {
    // One that is given several times counts with each value.
    let members = object.iter().flat_map(|(name, value)| {
        let values = value
            .as_array()
            .map_or(std::slice::from_ref(value), Vec::as_slice);
        values.iter().map(move |value| (unprefixed(name), value))
    });
    let kinds = members.clone().filter(|(name, value)| {
        let is_read = meaning::said(value).is_some_and(|said| said.eq_ignore_ascii_case(kind));
        KINDS.contains(&name.as_str()) && !is_read
    });
    let mut kinds =
        kinds.filter_map(|(name, value)| meaning::deciding(&name, value, std::iter::empty()));
    if let Some(problem) = kinds.next() {
        return Some(problem);
    }
    let groups = [
        (&ALGORITHMS[..], Parameter::Algorithm),
        (&DIGITS[..], Parameter::Digits),
        (&PERIODS[..], Parameter::Period),
    ];
    let is_hash = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        !meaning::said_hash(text).is_empty()
    };
    let several = object.get("hash").and_then(Value::as_array);
    if several.is_some_and(|several| several.iter().any(is_hash)) {
        let parameter = Parameter::Algorithm;
        return Some(InputProblem::ParamsConflict { parameter });
    }
    groups.into_iter().find_map(|(names, parameter)| {
        let mut said = members.clone().filter_map(|(name, value)| {
            let is_algorithm =
                parameter == Parameter::Algorithm && name == "hash" && is_hash(value);
            let value =
                (is_algorithm || names.contains(&name.as_str())).then(|| meaning::said(value));
            value.flatten().map(|text| folded(&text))
        });
        let first = said.next()?;
        let differs = said.any(|other| other != first);
        differs.then_some(InputProblem::ParamsConflict { parameter })
    })
}

/// Why an account's other members keep it from being read: they decide which codes come out, or
/// seem to.
fn not_understood(object: &Map<String, Value>) -> Option<InputProblem> {
    let is_read = |name: &str| {
        let known = unprefixed(name);
        secret_names::says(&known).is_some_and(|says| says != Says::Perhaps)
            || [
                &ISSUERS[..],
                &NAMES,
                &KINDS,
                &ALGORITHMS,
                &DIGITS,
                &PERIODS,
                &["hash", "encoder", "steam", "issteam"],
            ]
            .iter()
            .any(|names| names.contains(&known.as_str()))
    };
    let read = object.iter().filter(|(name, _)| is_read(name));
    let others = object.iter().filter(|(name, _)| !is_read(name));
    let mut problems = others.filter_map(|(name, value)| {
        let problem = meaning::deciding(name, value, read.clone())?;
        // What may be the secret is no other parameter for that.
        let parameter = Parameter::Secret;
        let may_be_secret = secret_names::says(&folded(name)) == Some(Says::Perhaps);
        let is_that = problem == InputProblem::ParamDamaged { parameter };
        (!(may_be_secret && is_that)).then_some(problem)
    });
    problems.next()
}
