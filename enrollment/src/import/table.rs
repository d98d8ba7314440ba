//! Tables (CSV) with a column of codes: of Bitwarden, 1Password, KeePassXC, Apple Passwords,
//! Dashlane, LastPass, Proton Pass, RoboForm, and any other that names its columns plainly.

use csv::{ReaderBuilder, StringRecord, Trim};

use super::beside::{attach, is_named};
use super::item::Item;
use super::shapes::number_in;
use super::{CodesBeside, ImportEntry, MAX_ENTRIES, damaged, joined_name};
use crate::foreign::ForeignKind;
use crate::otpauth::{self, Fields};
use crate::problem::{ImportFormat, InputProblem};

/// Names of columns, letters and digits only, those that say most first.
const CODES: [&str; 30] = [
    "otpauth",
    "otpurl",
    "otpuri",
    "otpauthurl",
    "otpauthuri",
    "totpurl",
    "totpuri",
    "totpurl",
    "logintotp",
    "totp",
    "totpauth",
    "otp",
    "otpsecret",
    "totpsecret",
    "totpkey",
    "otpkey",
    "totpseed",
    "2fa",
    "2fasecret",
    "twofactor",
    "twofactorsecret",
    "twofa",
    "mfa",
    "mfasecret",
    "authenticatorkey",
    "authenticator",
    "onetimepassword",
    "onetimecode",
    "secret",
    "seed",
];
const TITLES: [&str; 10] = [
    "title",
    "name",
    "service",
    "servicename",
    "issuer",
    "site",
    "sitename",
    "website",
    "app",
    "accountname",
];
const USERS: [&str; 9] = [
    "username",
    "loginusername",
    "user",
    "login",
    "userid",
    "email",
    "account",
    "label",
    "username2",
];
const ALGORITHMS: [&str; 4] = ["algorithm", "algo", "hash", "hashalgorithm"];
const DIGITS: [&str; 4] = ["digits", "digit", "length", "otplength"];
const PERIODS: [&str; 5] = ["period", "interval", "step", "timestep", "timer"];
const KINDS: [&str; 4] = ["otptype", "tokentype", "kind", "type"];
const NOTES: [&str; 6] = ["notes", "note", "fields", "comment", "comments", "extra"];

/// The most columns of a table.
const MAX_COLUMNS: usize = 256;

struct Columns {
    codes: Vec<usize>,
    title: Option<usize>,
    user: Option<usize>,
    algorithm: Option<usize>,
    digits: Option<usize>,
    period: Option<usize>,
    kind: Option<usize>,
    /// From when on time steps are counted.
    start: Option<usize>,
    /// From which column on RoboForm keeps an item's fields, one in each.
    fields: Option<usize>,
    /// Whether the table does not say which column has codes, so that only URIs are.
    only_uris: bool,
    /// Those with recovery codes.
    recovery: Vec<usize>,
    /// Those with notes, or with fields that a person added, one a line.
    notes: Vec<usize>,
}

/// Whether the first line names a column of codes.
pub(super) fn has_codes_column(text: &str) -> bool {
    let (text, _) = without_mark(text);
    let first = text.lines().next().unwrap_or_default();
    let mut names = first.split([',', ';', '\t', '|']).map(folded);
    first.contains([',', ';', '\t', '|'])
        && !otpauth::is_meant(first)
        && names.any(|name| CODES.contains(&name.as_str()))
}

/// A table without the line in which Excel keeps what separates its columns, and that.
fn without_mark(text: &str) -> (&str, Option<u8>) {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let first = first.trim().trim_matches('"');
    let mark = first
        .get(..4)
        .filter(|start| start.eq_ignore_ascii_case("sep="));
    match mark.and_then(|_| first.as_bytes().get(4)) {
        Some(mark) if first.len() == 5 => (rest, Some(*mark)),
        _ => (text, None),
    }
}

/// Whether a line only separates rows, as in Markdown and in what databases print.
fn is_rule<'a>(cells: impl IntoIterator<Item = &'a str>) -> bool {
    let mut dashes = false;
    cells.into_iter().all(|cell| {
        dashes |= cell.contains(['-', '=']);
        cell.trim()
            .chars()
            .all(|c| matches!(c, '-' | '=' | '+' | ':' | '|'))
    }) && dashes
}

/// Reads a table; nothing if a text is none.
pub(super) fn read(text: &str) -> Option<Result<(ImportFormat, Vec<ImportEntry>), InputProblem>> {
    let (mut text, marked) = without_mark(text);
    while let Some((first, rest)) = text.split_once('\n').filter(|(first, _)| is_rule([*first])) {
        debug_assert!(first.len() < text.len(), "it gets shorter");
        text = rest;
    }
    let first = text.lines().next()?;
    let counted = [b',', b';', b'\t', b'|']
        .into_iter()
        .max_by_key(|mark| first.bytes().filter(|byte| byte == mark).count())
        .filter(|mark| first.as_bytes().contains(mark));
    let delimiter = marked.or(counted)?;
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .from_reader(text.as_bytes());
    let mut rows = reader.records();
    let head = rows.next()?.ok()?;
    let names: Vec<String> = head.iter().take(MAX_COLUMNS).map(folded).collect();
    let mut columns = Columns::of(&names);
    let body: Vec<Result<StringRecord, csv::Error>> = rows.take(MAX_ENTRIES + 1).collect();
    let has_head = !head.iter().any(otpauth::is_meant);
    if columns.codes.is_empty() && columns.fields.is_none() {
        // A table without names: the column that holds URIs.
        let all = || std::iter::once(&head).chain(body.iter().flatten());
        let width = all().map(StringRecord::len).max()?.min(MAX_COLUMNS);
        let holds = |at: &usize| {
            let mut cells = all().filter_map(|row| row.get(*at));
            cells.any(|cell| otpauth::is_meant(cell.get(..20).unwrap_or(cell)))
        };
        columns.codes = (0..width).filter(holds).collect();
        columns.only_uris = true;
        if columns.codes.is_empty() {
            let known = columns.user.is_some() || columns.title.is_some();
            return known.then_some(Err(InputProblem::ImportEmpty));
        }
        if !has_head {
            // What the other columns are is not said; one can be a password.
            columns.title = None;
            columns.user = None;
        }
    }
    if body.len() > MAX_ENTRIES {
        return Some(Err(super::too_many()));
    }
    let format = format_of(&names);
    let first = (!has_head).then_some(Ok(&head));
    let rows = first.into_iter().chain(body.iter().map(Result::as_ref));
    let rows = rows.filter(|row| !row.as_ref().is_ok_and(|row| is_rule(row.iter())));
    let entries = rows.flat_map(|row| match row {
        Ok(row) => columns.entries(row),
        Err(_) => vec![damaged(format)],
    });
    Some(Ok((format, entries.collect())))
}

impl Columns {
    fn of(names: &[String]) -> Self {
        let find = |wanted: &[&str]| {
            let known = wanted.iter();
            let mut places = known.filter_map(|name| names.iter().position(|it| it == name));
            places.next()
        };
        let all = |wanted: &dyn Fn(&str) -> bool| -> Vec<usize> {
            let named = names.iter().enumerate().filter(|(_, name)| wanted(name));
            named.map(|(at, _)| at).collect()
        };
        let mut codes: Vec<usize> = Vec::new();
        for name in CODES {
            let places = names.iter().enumerate().filter(|(_, it)| *it == name);
            codes.extend(places.map(|(at, _)| at));
        }
        codes.dedup();
        let algorithm = find(&ALGORITHMS);
        Self {
            title: find(&TITLES),
            user: find(&USERS),
            digits: find(&DIGITS),
            period: find(&PERIODS),
            start: names.iter().position(|name| otpauth::is_start(name)),
            // Password managers call the kind of an item so.
            kind: find(&KINDS).filter(|at| {
                names[*at] != "type" || algorithm.is_some() || find(&DIGITS).is_some()
            }),
            algorithm,
            codes,
            fields: find(&["rffieldsv2", "rffields"]),
            only_uris: false,
            recovery: all(&|name| is_named(name)),
            notes: all(&|name| NOTES.contains(&name)),
        }
    }

    /// The account of a row, with its recovery codes.
    fn entries(&self, row: &StringRecord) -> Vec<ImportEntry> {
        let mut beside = CodesBeside::default();
        for at in &self.recovery {
            beside.codes_in(row.get(*at).unwrap_or_default());
        }
        for at in &self.notes {
            beside.note(row.get(*at).unwrap_or_default());
        }
        let cell = |at: Option<usize>| at.and_then(|at| row.get(at)).unwrap_or_default();
        let name = joined_name(cell(self.title), cell(self.user));
        attach(self.entry(row).into_iter().collect(), beside, &name)
    }

    fn entry(&self, row: &StringRecord) -> Option<ImportEntry> {
        let cell = |at: Option<usize>| at.and_then(|at| row.get(at)).unwrap_or_default();
        let codes = self.codes.iter().filter_map(|at| row.get(*at));
        let fields = self.fields.unwrap_or(usize::MAX);
        let codes = codes.chain(row.iter().skip(fields).filter_map(of_robo_form));
        let code = codes.map(crate::text::trim).find(|code| !code.is_empty())?;
        let (title, user) = (cell(self.title), cell(self.user));
        if self.only_uris && !otpauth::is_meant(code) {
            // A word there would be read as a secret.
            return Some(ImportEntry::new(
                &joined_name(title, user),
                Err(InputProblem::NotOtpauth {
                    kind: ForeignKind::of(code),
                }),
            ));
        }
        let said = [
            self.algorithm,
            self.digits,
            self.period,
            self.kind,
            self.start,
        ]
        .iter()
        .any(|at| !cell(*at).is_empty());
        if otpauth::is_meant(code) || !said {
            let item = Item {
                title,
                account_name: user,
                code,
            };
            return item.entry();
        }
        if !otpauth::is_zero(cell(self.start)) {
            return Some(ImportEntry::new(
                &joined_name(title, user),
                Err(InputProblem::StartUnsupported),
            ));
        }
        let fields = Fields {
            kind: cell(self.kind),
            issuer: title,
            account_name: user,
            secret: code,
            algorithm: cell(self.algorithm),
            digits: number_in(cell(self.digits)),
            period: number_in(cell(self.period)),
        };
        Some(ImportEntry::fields(&joined_name(title, user), &fields))
    }
}

/// What a field of RoboForm holds if codes are made of it: `TOTP KEY$,,,type,value`.
fn of_robo_form(field: &str) -> Option<&str> {
    let rest = field.strip_prefix("TOTP KEY$,")?;
    rest.splitn(4, ',').nth(3)
}

/// Letters and digits only, in lower case.
fn folded(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// Which program has named the columns so.
fn format_of(names: &[String]) -> ImportFormat {
    let has = |name: &str| names.iter().any(|it| it == name);
    if has("logintotp") {
        ImportFormat::Bitwarden
    } else if has("otpauth") && (has("archived") || has("favorite")) {
        ImportFormat::OnePassword
    } else if has("otpauth") && has("title") && has("notes") {
        ImportFormat::ApplePasswords
    } else if has("totp") && has("group") && has("title") {
        ImportFormat::KeePass
    } else if has("otpsecret") || has("otpurl") {
        ImportFormat::Dashlane
    } else if has("totp") && has("vault") {
        ImportFormat::ProtonPass
    } else {
        ImportFormat::Table
    }
}
