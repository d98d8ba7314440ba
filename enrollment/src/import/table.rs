//! Tables (CSV) with codes: of Bitwarden, 1Password, KeePassXC, Apple Passwords, Dashlane,
//! LastPass, Proton Pass, RoboForm, and any other that names its columns plainly. Codes in other
//! cells are read, too, where they can be told from everything else, and reported otherwise.

mod columns;
mod row;

use csv::{ReaderBuilder, StringRecord, Trim};

use super::meaning::folded;
use super::secret_names::says;
use super::{ImportEntry, MAX_ENTRIES, enpass, keeper, loose};
use crate::otpauth;
use crate::problem::{ImportFormat, InputProblem};
use columns::{Columns, is_known};
use row::Row;

/// Reads a row of a table that names its own cells.
type RowReader = fn(&StringRecord) -> Vec<ImportEntry>;
/// What a table is, with what is in it.
type ReadAs = Result<(ImportFormat, Vec<ImportEntry>), InputProblem>;

/// The most columns of a table.
const MAX_COLUMNS: usize = 256;
/// What separates columns.
const MARKS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// How many lines may stand before the one that names the columns: a title, a date.
const MAX_TITLES: usize = 6;
/// The longest text that may name a column, in bytes.
const MAX_NAME: usize = 128;

/// Where a table's columns are named.
struct Names {
    /// Where the line begins.
    at: usize,
    mark: u8,
}

impl Names {
    /// Finds the line; nothing if none has the name of a column of codes, or two that are known.
    fn find(text: &str) -> Option<Self> {
        let mut at = 0;
        for line in text.split_inclusive(['\n', '\r']).take(2 * MAX_TITLES) {
            if otpauth::is_meant(line) {
                return None;
            }
            let found = MARKS.into_iter().filter_map(|mark| {
                let cells = line.split(char::from(mark)).take(MAX_COLUMNS);
                let cells: Vec<String> = cells
                    .filter(|cell| cell.len() <= MAX_NAME)
                    .map(folded)
                    .collect();
                let known = cells.iter().filter(|cell| is_known(cell)).count();
                let has_codes = cells
                    .iter()
                    .any(|cell| says(cell).is_some() || cell.starts_with("timeotp"));
                let is_names = cells.len() > 1 && (known > 1 || has_codes);
                is_names.then_some((known, mark))
            });
            if let Some((_, mark)) = found.max_by_key(|(known, _)| *known) {
                return Some(Self { at, mark });
            }
            at += line.len();
        }
        None
    }
}

/// Whether the rows of a text say themselves what their cells are, whatever stands in a note.
pub(super) fn says_itself(text: &str) -> bool {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .from_reader(text.as_bytes());
    let rows: Vec<StringRecord> = reader.records().take(MAX_ENTRIES).flatten().collect();
    keeper::is_table(&rows) || enpass::is_table(&rows)
}

/// Whether a text has a line that names columns.
pub(super) fn has_names(text: &str) -> bool {
    Names::find(without_mark(text).0).is_some()
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
pub(super) fn read(text: &str) -> Option<ReadAs> {
    let (mut text, marked) = without_mark(text);
    while let Some((first, rest)) = text.split_once('\n').filter(|(first, _)| is_rule([*first])) {
        debug_assert!(first.len() < text.len(), "it gets shorter");
        text = rest;
    }
    let named = Names::find(text);
    let begin = named.as_ref().map_or(0, |names| names.at);
    let above = text[..begin].lines().count();
    let text = &text[begin..];
    let first = text.lines().next()?;
    let counted = MARKS
        .into_iter()
        .max_by_key(|mark| first.bytes().filter(|byte| byte == mark).count())
        .filter(|mark| first.as_bytes().contains(mark));
    let delimiter = marked.or(named.map(|names| names.mark)).or(counted)?;
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .from_reader(text.as_bytes());
    let mut rows = reader.records();
    let head = rows.next()?.ok()?;
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
        let rows = (1..).zip(rows);
        let entries = rows.flat_map(|(number, row)| match row {
            Ok(row) => read(row),
            Err(_) => vec![ImportEntry::refused(
                &format!("line {number}"),
                InputProblem::RowDisplaced,
            )],
        });
        return Some(Ok((format, entries.collect())));
    }
    let names: Vec<String> = head.iter().take(MAX_COLUMNS).map(str::to_owned).collect();
    let mut columns = Columns::of(&names);
    let has_head = !head.iter().any(otpauth::is_meant);
    let has_codes =
        !(columns.codes.is_empty() && columns.generic.is_empty() && columns.of_keepass.is_empty());
    if !has_codes && columns.fields.is_none() && !has_head {
        // A table without names: the columns that hold URIs. What the others are is not said; one
        // can be a password.
        let width = all().map(StringRecord::len).max()?.min(MAX_COLUMNS);
        let holds = |at: &usize| {
            let mut cells = all().filter_map(|row| row.get(*at));
            cells.any(|cell| otpauth::is_meant(cell.get(..20).unwrap_or(cell)))
        };
        let codes = (0..width).filter(holds).collect();
        columns = Columns {
            codes,
            only_uris: true,
            width: None,
            ..Columns::of(&[])
        };
    }
    if body.len() > MAX_ENTRIES {
        return Some(Err(super::too_many()));
    }
    let format = format_of(&names);
    if format == ImportFormat::Table {
        columns.notice_others();
    }
    if format == ImportFormat::KeePass {
        columns.notice_groups();
    }
    let first = (!has_head).then_some(Ok(&head));
    let rows = first.into_iter().chain(body.iter().map(Result::as_ref));
    let rows = rows.filter(|row| !row.as_ref().is_ok_and(|row| is_rule(row.iter())));
    let mut entries = Vec::new();
    let mut line = above as u64;
    for row in rows {
        match row {
            Ok(row) => {
                line = row.position().map_or(line, csv::Position::line) + above as u64;
                Row {
                    columns: &columns,
                    row,
                    line,
                }
                .entries(&mut entries);
            }
            Err(_) => {
                let name = format!("below line {line}");
                entries.push(ImportEntry::refused(&name, InputProblem::RowDisplaced));
            }
        }
    }
    let is_unknown = !has_codes && columns.fields.is_none() && has_head;
    if !is_unknown || entries.iter().any(|entry| entry.content.is_ok()) {
        return Some(Ok((format, entries)));
    }
    // Without names, only secrets among the cells tell a table from other text with commas.
    let width = head.len();
    let holds_secrets =
        all().all(|row| row.len() == width) && all().any(|row| row.iter().any(loose::is_secret));
    let columns = columns.shown();
    let is_table = has_names(text) || holds_secrets;
    is_table.then_some(Err(InputProblem::ImportColumnsUnknown { columns }))
}

/// Which program has named the columns so.
fn format_of(names: &[String]) -> ImportFormat {
    let names: Vec<String> = names.iter().map(|name| folded(name)).collect();
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
