//! Tables (CSV) with a column of codes: of Bitwarden, 1Password, KeePassXC, Apple Passwords,
//! Dashlane, LastPass, Proton Pass, RoboForm, and any other that names its columns plainly.

use csv::{ReaderBuilder, StringRecord, Trim};

use super::item::Item;
use super::recovery_codes::{attach, is_named};
use super::shapes::number_in;
use super::{CodesBeside, ImportEntry, MAX_ENTRIES, damaged, enpass, joined_name, keeper};
use crate::account::CodeParameters;
use crate::foreign::ForeignKind;
use crate::otpauth::{self, Fields};
use crate::problem::{ImportFormat, InputProblem, Parameter};

/// Reads a row of a table that names its own cells.
type RowReader = fn(&StringRecord) -> Vec<ImportEntry>;

/// Names of columns, letters and digits only, those that say most first.
const CODES: [&str; 31] = [
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
    "onetimepasswort",
    "onetimecode",
    "secret",
    "seed",
];
const TITLES: [&str; 13] = [
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
    "passwordname",
    "secretname",
    "beschreibung",
];
const USERS: [&str; 11] = [
    "username",
    "loginusername",
    "user",
    "login",
    "userid",
    "email",
    "account",
    "label",
    "username2",
    "loginname",
    "benutzername",
];
const ALGORITHMS: [&str; 6] = [
    "algorithm",
    "algo",
    "hash",
    "hashalgorithm",
    "hashalgo",
    "hashfunction",
];
const DIGITS: [&str; 8] = [
    "digits",
    "digit",
    "length",
    "otplength",
    "codelength",
    "numdigits",
    "numberofdigits",
    "otpdigits",
];
const PERIODS: [&str; 9] = [
    "period",
    "interval",
    "step",
    "timestep",
    "timer",
    "timeperiod",
    "timeinterval",
    "timesteps",
    "periods",
];
/// Columns that can hold something else beside a column of codes.
const GENERIC: [&str; 2] = ["secret", "seed"];
const KINDS: [&str; 4] = ["otptype", "tokentype", "kind", "type"];
const NOTES: [&str; 6] = ["notes", "note", "fields", "comment", "comments", "extra"];

/// The most columns of a table.
const MAX_COLUMNS: usize = 256;

struct Columns {
    codes: Vec<usize>,
    /// Those of them that hold codes only if no other does.
    generic: Vec<usize>,
    counter: Option<usize>,
    /// What the secret is encoded in.
    encoding: Option<usize>,
    /// Those of none of these kinds, with their names as they are written: one of them may mean
    /// a parameter of the codes. Empty where a known program has named them.
    others: Vec<(usize, String)>,
    /// How many columns have a name; nothing if none has.
    width: Option<usize>,
    title: Option<usize>,
    user: Option<usize>,
    algorithm: Option<usize>,
    digits: Option<usize>,
    period: Option<usize>,
    kind: Option<usize>,
    /// A column of kinds that can be those of items, such as a login.
    kind_of_item: Option<usize>,
    /// From when on time steps are counted.
    start: Option<usize>,
    /// From which column on RoboForm keeps an item's fields, one in each.
    fields: Option<usize>,
    /// Whether the table does not say which column has codes, so that only URIs are.
    only_uris: bool,
    /// Those with recovery codes.
    recovery: Vec<usize>,
    /// Zoho Vault's, whose lines are names and values.
    lines: Option<usize>,
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
    let all = || std::iter::once(&head).chain(body.iter().flatten());
    // Rows of these two say themselves what their cells are.
    let itself: Option<(ImportFormat, RowReader)> = if keeper::is_table(all()) {
        Some((ImportFormat::Table, keeper::row))
    } else if enpass::is_table(all()) {
        Some((ImportFormat::Enpass, enpass::row))
    } else {
        None
    };
    if let Some((format, read)) = itself {
        if body.len() > MAX_ENTRIES {
            return Some(Err(super::too_many()));
        }
        let rows = std::iter::once(Ok(&head)).chain(body.iter().map(Result::as_ref));
        let entries = rows.flat_map(|row| row.map_or_else(|_| vec![damaged(format)], read));
        return Some(Ok((format, entries.collect())));
    }
    let has_head = !head.iter().any(otpauth::is_meant);
    if columns.codes.is_empty() && columns.generic.is_empty() && columns.fields.is_none() {
        // A table without names: the column that holds URIs.
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
            columns.others.clear();
            columns.width = None;
        }
    }
    if body.len() > MAX_ENTRIES {
        return Some(Err(super::too_many()));
    }
    let format = format_of(&names);
    if format == ImportFormat::Table {
        columns.notice_others(&head);
    }
    let first = (!has_head).then_some(Ok(&head));
    let rows = first.into_iter().chain(body.iter().map(Result::as_ref));
    let rows = rows.filter(|row| !row.as_ref().is_ok_and(|row| is_rule(row.iter())));
    let mut entries = Vec::new();
    for row in rows {
        match row {
            Ok(row) if !columns.is_displaced(row) => columns.entries(row, &mut entries),
            _ => entries.push(damaged(format)),
        }
    }
    Some(Ok((format, entries)))
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
        let is_generic = |at: &usize| GENERIC.contains(&names[*at].as_str());
        let (generic, codes) = codes.into_iter().partition(is_generic);
        let algorithm = find(&ALGORITHMS);
        Self {
            title: find(&TITLES),
            user: find(&USERS),
            digits: find(&DIGITS),
            period: find(&PERIODS),
            start: names.iter().position(|name| otpauth::is_start(name)),
            // Password managers call the kind of an item so.
            kind_of_item: names
                .iter()
                .position(|name| name == "type")
                .filter(|_| algorithm.is_none() && find(&DIGITS).is_none()),
            kind: find(&KINDS),
            algorithm,
            codes,
            generic,
            counter: find(&["counter", "hotpcounter"]),
            encoding: find(&["encoding", "secretencoding"]),
            others: Vec::new(),
            width: Some(names.len()),
            fields: find(&["rffieldsv2", "rffields"]),
            only_uris: false,
            recovery: all(&|name| is_named(name)),
            lines: find(&["secretdata"]),
            notes: all(&|name| NOTES.contains(&name)),
        }
    }

    /// Keeps the columns whose names say nothing that is known.
    fn notice_others(&mut self, head: &StringRecord) {
        if self.width.is_none() {
            return;
        }
        let known: Vec<usize> = [
            self.title,
            self.user,
            self.algorithm,
            self.digits,
            self.period,
            self.kind,
            self.start,
            self.counter,
            self.encoding,
        ]
        .into_iter()
        .flatten()
        .chain(self.codes.iter().chain(&self.generic).copied())
        .collect();
        let all = head.iter().take(MAX_COLUMNS).enumerate();
        let others = all.filter(|(at, _)| !known.contains(at));
        self.others = others.map(|(at, name)| (at, name.to_owned())).collect();
    }

    /// Whether a row's cells are not where the names are: there are more of them, as with a
    /// comma in a name without quotes, or one contains other rows, as with a lost quote.
    fn is_displaced(&self, row: &StringRecord) -> bool {
        let Some(width) = self.width.filter(|_| self.fields.is_none()) else {
            return false;
        };
        let has_more = row.iter().skip(width).any(|cell| !cell.is_empty());
        let has_rows = row.len() < width && row.iter().any(|cell| cell.contains('\n'));
        has_more || has_rows
    }

    /// The codes of a row, each once.
    fn entries(&self, row: &StringRecord, entries: &mut Vec<ImportEntry>) {
        let said = |at: &&usize| row.get(**at).is_some_and(|cell| !cell.is_empty());
        let mut columns: Vec<usize> = self.codes.iter().filter(said).copied().collect();
        if columns.is_empty() {
            columns = self.generic.iter().filter(said).copied().collect();
        }
        let fields = self.fields.unwrap_or(usize::MAX);
        let codes = columns.iter().filter_map(|at| row.get(*at));
        let codes = codes.chain(row.iter().skip(fields).filter_map(of_robo_form));
        let codes = codes.map(crate::text::trim).filter(|code| !code.is_empty());
        let mut found: Vec<ImportEntry> = Vec::new();
        for code in codes {
            let entry = self.entry(row, code);
            if !found.iter().any(|known| is_same(known, &entry)) {
                found.push(entry);
            }
        }
        let cell = |at: Option<usize>| at.and_then(|at| row.get(at)).unwrap_or_default();
        let name = joined_name(cell(self.title), cell(self.user));
        entries.extend(attach(found, self.beside(row), &name));
    }

    /// The recovery codes of a row.
    fn beside(&self, row: &StringRecord) -> CodesBeside {
        let mut beside = CodesBeside::default();
        for at in &self.recovery {
            beside.codes_in(row.get(*at).unwrap_or_default());
        }
        for at in &self.notes {
            beside.note(row.get(*at).unwrap_or_default());
        }
        beside
    }

    fn entry(&self, row: &StringRecord, code: &str) -> ImportEntry {
        let cell = |at: Option<usize>| at.and_then(|at| row.get(at)).unwrap_or_default();
        let user = match cell(self.user) {
            "" => said_in(cell(self.lines), &USERS),
            user => user,
        };
        let title = cell(self.title);
        let name = joined_name(title, user);
        if self.only_uris && !otpauth::is_meant(code) {
            // A word there would be read as a secret.
            let kind = ForeignKind::of(code);
            return ImportEntry::refused(&name, InputProblem::NotOtpauth { kind });
        }
        if let Err(problem) = self.understood(row) {
            return ImportEntry::refused(&name, problem);
        }
        let fields = Fields {
            kind: self.kind(row),
            issuer: title,
            account_name: user,
            secret: code,
            algorithm: cell(self.algorithm),
            digits: number_in(cell(self.digits)),
            period: number_in(cell(self.period)),
        };
        let is_said = !fields.kind.is_empty()
            || !fields.algorithm.is_empty()
            || fields.digits.or(fields.period).is_some();
        if otpauth::is_meant(code)
            && let Ok(parsed) = otpauth::parse(code)
            && let Err(problem) = agrees(&fields, parsed.account.parameters())
        {
            return ImportEntry::refused(&name, problem);
        }
        let item = Item {
            title,
            account_name: user,
            code,
        };
        match item.entry() {
            Some(entry) if otpauth::is_meant(code) || !is_said => entry,
            _ => ImportEntry::fields(&name, &fields),
        }
    }

    /// The kind of the codes, if the row says one.
    fn kind<'a>(&self, row: &'a StringRecord) -> &'a str {
        let kind = self.kind.and_then(|at| row.get(at)).unwrap_or_default();
        let is_of_codes = ["totp", "hotp", "steam"]
            .iter()
            .any(|known| kind.eq_ignore_ascii_case(known));
        if self.kind == self.kind_of_item && !is_of_codes {
            ""
        } else {
            kind
        }
    }

    /// Whether everything in a row is understood that decides which codes come out.
    fn understood(&self, row: &StringRecord) -> Result<(), InputProblem> {
        let cell = |at: Option<usize>| at.and_then(|at| row.get(at)).unwrap_or_default();
        if !otpauth::is_zero(cell(self.start)) {
            return Err(InputProblem::StartUnsupported);
        }
        if self.kind(row).is_empty() && !otpauth::is_zero(cell(self.counter)) {
            return Err(InputProblem::HotpUnsupported);
        }
        let encoding = cell(self.encoding);
        if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("base32") {
            return Err(InputProblem::ParamDamaged {
                parameter: Parameter::Secret,
            });
        }
        let said = self.others.iter().filter_map(|(at, name)| {
            let cell = row.get(*at).filter(|cell| !cell.is_empty())?;
            otpauth::meant_by_member(name, cell)
        });
        match said.take(1).next() {
            Some(parameter) => Err(InputProblem::ParamDamaged { parameter }),
            None => Ok(()),
        }
    }
}

/// Whether two entries are of the same account, of which the second may be the secret alone.
fn is_same(one: &ImportEntry, other: &ImportEntry) -> bool {
    let account = |entry: &ImportEntry| {
        let parsed = otpauth::parse(entry.content.as_ref().ok()?).ok()?;
        Some(parsed.account)
    };
    match (account(one), account(other)) {
        (Some(one), Some(other)) => {
            let parameters = other.parameters();
            one.secret() == other.secret()
                && (one.parameters() == parameters || parameters == CodeParameters::default())
        }
        _ => false,
    }
}

/// Whether what columns say is what a URI says beside them.
fn agrees(said: &Fields<'_>, uri: CodeParameters) -> Result<(), InputProblem> {
    let algorithm = otpauth::algorithm_named(said.algorithm)?;
    let differing = [
        (
            algorithm.is_some_and(|it| it != uri.algorithm()),
            Parameter::Algorithm,
        ),
        (
            said.digits.is_some_and(|it| it != u64::from(uri.digits())),
            Parameter::Digits,
        ),
        (
            said.period.is_some_and(|it| it != u64::from(uri.period())),
            Parameter::Period,
        ),
    ];
    match differing.into_iter().find(|(differs, _)| *differs) {
        Some((_, parameter)) => Err(InputProblem::ParamsConflict { parameter }),
        None => Ok(()),
    }
}

/// What a line says under one of some names; empty if none does.
fn said_in<'a>(lines: &'a str, names: &[&str]) -> &'a str {
    let mut pairs = lines.lines().filter_map(|line| line.split_once(':'));
    let found = pairs.find(|(name, _)| names.contains(&folded(name).as_str()));
    found.map_or("", |(_, value)| value.trim())
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
