//! The accounts of one row of a table.

use csv::StringRecord;

use super::super::item::{Item, is_word};
use super::super::loose::{self, is_plain_code, is_secret};
use super::super::meaning::folded;
use super::super::recovery_codes::attach;
use super::super::settings::Settings;
use super::super::shapes::number_in;
use super::super::{CodesBeside, ImportEntry, gather, joined_name, keepass};
use super::columns::Columns;
use crate::account::CodeParameters;
use crate::foreign::ForeignKind;
use crate::otpauth::{self, Fields};
use crate::problem::{InputProblem, Parameter};

/// What a column of codes says about an item that has none.
const NOTHING: [&str; 22] = [
    "yes", "no", "true", "false", "on", "off", "enabled", "disabled", "active", "inactive", "none",
    "na", "null", "ja", "nein", "oui", "non", "si", "sí", "sms", "app", "email",
];

/// A row.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) columns: &'a Columns,
    pub(super) row: &'a StringRecord,
    /// In which line of the file it begins.
    pub(super) line: u64,
}

impl<'a> Row<'a> {
    /// What a column says, if there is one.
    fn said(&self, at: Option<usize>) -> &'a str {
        at.and_then(|at| self.row.get(at)).unwrap_or_default()
    }

    /// Finds the codes of the row, each once. A secret that is not plainly a code is named.
    pub(super) fn entries(self, entries: &mut Vec<ImportEntry>) {
        if self.is_displaced() {
            entries.push(self.displaced());
            return;
        }
        let columns = self.columns;
        let is_said = |at: &usize| !crate::text::trim(self.said(Some(*at))).is_empty();
        let mut used: Vec<usize> = columns.codes.iter().copied().filter(is_said).collect();
        if used.is_empty() {
            let counts = |at: &usize| {
                is_said(at) && (!columns.vague.contains(at) || is_plain_code(self.said(Some(*at))))
            };
            used = columns.generic.iter().copied().filter(counts).collect();
        }
        let mut found: Vec<ImportEntry> = Vec::new();
        let mut add = |mut entry: ImportEntry| {
            if entry.content.is_err() {
                entry.name = self.name();
            }
            if !found.iter().any(|known| is_same(known, &entry)) {
                found.push(entry);
            }
        };
        if columns
            .names
            .iter()
            .any(|name| folded(name).starts_with("timeotpsecret"))
        {
            let names = columns.names.iter().enumerate();
            let cells = names.map(|(at, name)| (self.keepass_name(at, name), self.said(Some(at))));
            keepass::row(cells).into_iter().for_each(&mut add);
        }
        let fields = columns.fields.unwrap_or(usize::MAX);
        let codes = used.iter().map(|at| self.said(Some(*at)));
        let codes = codes.chain(self.row.iter().skip(fields).filter_map(of_robo_form));
        for code in codes.map(of_spreadsheet).filter(|code| !says_nothing(code)) {
            match self.document(code) {
                Some(entries) => entries.into_iter().for_each(&mut add),
                None => add(self.entry(code, Ok(Settings::default()))),
            }
        }
        for (at, cell) in self.row.iter().enumerate() {
            if used.contains(&at) {
                continue;
            }
            if let Some(entries) = self.document(cell) {
                used.push(at);
                entries.into_iter().for_each(&mut add);
                continue;
            }
            for loose in loose::codes(cell) {
                add(self.entry(&loose.code, loose.settings));
            }
        }
        for at in (0..self.row.len()).filter(|at| !used.contains(at)) {
            let cell = self.said(Some(at));
            if !self.may_hold_secrets(at, used.is_empty()) {
                continue;
            }
            if loose::has_unread(cell) {
                found.push(self.unread(at));
            } else if is_secret(cell) {
                let is_there = self.entry(cell, Ok(Settings::default()));
                if !found.iter().any(|known| is_same(known, &is_there)) {
                    found.push(self.unread(at));
                }
            }
        }
        if keepass::is_binned(self.said(columns.groups)) {
            for entry in &mut found {
                *entry = ImportEntry::refused(&self.name(), InputProblem::EntryInBin);
            }
        }
        entries.extend(attach(found, self.beside(), &self.name()));
    }

    /// The accounts of a cell that is a document by itself, under the names of the row where it has
    /// none; nothing if it is none, or has no account.
    fn document(&self, cell: &str) -> Option<Vec<ImportEntry>> {
        if !cell.starts_with(['{', '[']) {
            return None;
        }
        let entries = gather::read(cell).ok()?;
        let of = |entry: ImportEntry| {
            let Ok(uri) = &entry.content else {
                return entry;
            };
            let has_names = otpauth::parse(uri).is_ok_and(|parsed| !parsed.account.is_nameless());
            let named = Item {
                title: self.title(),
                account_name: self.user(),
                code: uri,
            };
            match named.entry() {
                Some(named) if !has_names => named,
                _ => entry,
            }
        };
        Some(entries.into_iter().map(of).collect())
    }

    /// Whether its cells are not where the names are: there are more of them, as with a comma in
    /// a name without quotes, or one contains other rows, as with a lost quote.
    fn is_displaced(&self) -> bool {
        let Some(width) = self.columns.width.filter(|_| self.columns.fields.is_none()) else {
            return false;
        };
        let has_more = self.row.iter().skip(width).any(|cell| !cell.is_empty());
        let has_rows = self.row.len() < width && self.row.iter().any(|cell| cell.contains('\n'));
        has_more || has_rows
    }

    /// That its cells are not where the names are. Only what stands before all others cannot be a
    /// password.
    fn displaced(&self) -> ImportEntry {
        let title = match self.columns.title {
            Some(0) => self.said(Some(0)).lines().next().unwrap_or_default(),
            _ => "",
        };
        let is_secret = title.contains(',') || is_secret(title);
        let title = if is_secret { "" } else { title };
        let place = format!("line {}", self.line);
        ImportEntry::refused(&joined_name(title, &place), InputProblem::RowDisplaced)
    }

    /// A secret in a column that does not say that it holds codes.
    fn unread(&self, at: usize) -> ImportEntry {
        let column = match self.columns.names.get(at).map(String::as_str) {
            None | Some("") => format!("column {}", at + 1),
            Some(name) => format!("column \u{201c}{name}\u{201d}"),
        };
        let kind = ForeignKind::BareSecret;
        let name = format!("{} ({column})", self.name());
        ImportEntry::refused(&name, InputProblem::NotOtpauth { kind })
    }

    /// Whether a secret in a column may be one of codes. In a row without any, it may have come
    /// into a column of names, which seldom are like that.
    fn may_hold_secrets(&self, at: usize, is_alone: bool) -> bool {
        let columns = self.columns;
        let names = [columns.title, columns.user, columns.address];
        let has_digit = || {
            self.said(Some(at))
                .bytes()
                .any(|byte| byte.is_ascii_digit())
        };
        let is_name = names.contains(&Some(at)) && !(is_alone && has_digit());
        !is_name
            && !columns.passwords.contains(&at)
            && !columns.recovery.contains(&at)
            && !columns.of_keepass.contains(&at)
            && columns.width.is_some()
    }

    /// KeePass's name for what a column holds.
    fn keepass_name<'n>(&self, at: usize, name: &'n str) -> &'n str {
        match Some(at) {
            at if at == self.columns.title => "Title",
            at if at == self.columns.user => "UserName",
            _ => name,
        }
    }

    /// What the row is called in the report, which repeats no secret from a wrong column.
    fn name(&self) -> String {
        let shown = |text: &'a str| if is_secret(text) { "" } else { text };
        match joined_name(shown(self.title()), shown(self.user())) {
            name if name.is_empty() => format!("line {}", self.line),
            name => name,
        }
    }

    /// What a column says that names something; nothing if a code is in it instead.
    fn called(&self, at: Option<usize>) -> &'a str {
        let text = self.said(at);
        let in_codes = |at: &usize| self.said(Some(*at)) == text;
        let mut codes = self.columns.codes.iter().chain(&self.columns.generic);
        let is_code = otpauth::is_meant(text) || codes.any(in_codes);
        if is_code { "" } else { text }
    }

    fn title(&self) -> &'a str {
        let title = self.called(self.columns.title);
        let address = match title {
            "" => self.called(self.columns.address),
            title if self.columns.title == self.columns.address => title,
            title => return title,
        };
        host(address)
    }

    fn user(&self) -> &'a str {
        match self.called(self.columns.user) {
            "" => said_in(
                self.said(self.columns.lines),
                &["username", "user", "login"],
            ),
            user => user,
        }
    }

    /// The recovery codes of the row.
    fn beside(&self) -> CodesBeside {
        let mut beside = CodesBeside::default();
        for at in &self.columns.recovery {
            beside.codes_in(self.said(Some(*at)));
        }
        for at in &self.columns.notes {
            beside.note(self.said(Some(*at)));
        }
        beside
    }

    /// The account of a code, with what is said beside it in the same cell.
    fn entry(&self, code: &str, beside: Result<Settings, Parameter>) -> ImportEntry {
        let name = joined_name(self.title(), self.user());
        if self.columns.only_uris && !otpauth::is_meant(code) {
            // A word there would be read as a secret.
            let kind = ForeignKind::of(code);
            return ImportEntry::refused(&name, InputProblem::NotOtpauth { kind });
        }
        let damaged = |parameter| InputProblem::ParamDamaged { parameter };
        let settings = self
            .understood()
            .and_then(|()| beside.map_err(damaged))
            .and_then(|beside| self.settings(beside));
        let settings = match settings {
            Ok(settings) => settings,
            Err(problem) => return ImportEntry::refused(&name, problem),
        };
        let kind = match self.kind() {
            "" if settings.is_steam => "steam",
            kind => kind,
        };
        let (title, user) = (self.title(), self.user());
        let fields = Fields {
            kind,
            issuer: title,
            account_name: user,
            secret: code,
            algorithm: &settings.algorithm,
            digits: settings.digits,
            period: settings.period,
        };
        if otpauth::is_meant(code)
            && let Ok(parsed) = otpauth::parse(code)
            && let Err(problem) = agrees(&settings, parsed.account.parameters())
        {
            return ImportEntry::refused(&name, problem);
        }
        let item = Item {
            title,
            account_name: user,
            code,
        };
        match item.entry() {
            Some(entry)
                if otpauth::is_meant(code)
                    || is_word(code)
                    || kind.is_empty() && settings.is_empty() =>
            {
                entry
            }
            _ => ImportEntry::fields(&name, &fields),
        }
    }

    /// What the columns say about the codes, with what is said elsewhere.
    fn settings(&self, beside: Settings) -> Result<Settings, InputProblem> {
        let conflict = |parameter| InputProblem::ParamsConflict { parameter };
        let mut said = Settings {
            algorithm: self.said(self.columns.algorithm).to_owned(),
            digits: number_in(self.said(self.columns.digits)),
            period: number_in(self.said(self.columns.period)),
            is_steam: false,
        };
        for at in &self.columns.settings {
            let (cell, name) = (self.said(Some(*at)), &self.columns.names[*at]);
            let is_tray_totp = cell.contains(';') && cell.split(';').count() < 4
                || cell.bytes().all(|byte| byte.is_ascii_digit());
            let read = match folded(name).as_str() {
                _ if cell.is_empty() => continue,
                "totpsettings" | "otpsettings" if is_tray_totp => Settings::of_tray_totp(cell),
                _ => match Settings::of_words(cell) {
                    Ok(Some(read)) => read,
                    Ok(None) => continue,
                    Err(parameter) => {
                        let name = otpauth::shown_name(name);
                        return Err(InputProblem::ParamUnclear { parameter, name });
                    }
                },
            };
            said.merge(&read).map_err(conflict)?;
        }
        said.merge(&beside).map_err(conflict)?;
        Ok(said)
    }

    /// The kind of the codes, if the row says one.
    fn kind(&self) -> &'a str {
        let kind = self.said(self.columns.kind);
        let is_of_codes = ["totp", "hotp", "steam"]
            .iter()
            .any(|known| kind.eq_ignore_ascii_case(known));
        if self.columns.kind == self.columns.kind_of_item && !is_of_codes {
            ""
        } else {
            kind
        }
    }

    /// Whether everything in the row is understood that decides which codes come out.
    fn understood(&self) -> Result<(), InputProblem> {
        if !otpauth::is_zero(self.said(self.columns.start)) {
            return Err(InputProblem::StartUnsupported);
        }
        if self.kind().is_empty() && !otpauth::is_zero(self.said(self.columns.counter)) {
            return Err(InputProblem::HotpUnsupported);
        }
        let encoding = self.said(self.columns.encoding);
        if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("base32") {
            return Err(InputProblem::ParamDamaged {
                parameter: Parameter::Secret,
            });
        }
        let said = self.columns.others.iter().filter_map(|at| {
            let cell = Some(self.said(Some(*at))).filter(|cell| !cell.is_empty())?;
            otpauth::meant_by_member(&self.columns.names[*at], cell)
        });
        match said.take(1).next() {
            Some(parameter) => Err(InputProblem::ParamDamaged { parameter }),
            None => Ok(()),
        }
    }
}

/// A cell without what keeps a spreadsheet from taking a text for a number.
fn of_spreadsheet(cell: &str) -> &str {
    let cell = crate::text::trim(cell);
    let formula = cell
        .strip_prefix("=\"")
        .and_then(|cell| cell.strip_suffix('"'));
    formula.or(cell.strip_prefix('\'')).unwrap_or(cell)
}

/// Whether a cell for a code only says whether there is one.
fn says_nothing(cell: &str) -> bool {
    let folded = folded(cell);
    folded.is_empty() || NOTHING.contains(&folded.as_str())
}

/// The host of an address, as people call a service.
fn host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#', ',']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    host.strip_prefix("www.").unwrap_or(host).trim()
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
fn agrees(said: &Settings, uri: CodeParameters) -> Result<(), InputProblem> {
    let algorithm = otpauth::algorithm_named(&said.algorithm)?;
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
        (said.is_steam && !uri.is_steam(), Parameter::Encoder),
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
