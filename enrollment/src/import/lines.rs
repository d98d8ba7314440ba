//! Lists of URIs, one a line. Mail programs and terminals break lines: what plainly continues
//! in the next line is put together again. Recovery codes of an account can follow it.

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::recovery_codes::Section;
use super::shapes::SecretText;
use super::{CodesBeside, ImportEntry, MAX_ENTRIES, display_name, joined_name};
use crate::foreign::ForeignKind;
use crate::otpauth;
use crate::problem::InputProblem;

/// A shorter text is no secret alone.
const SHORTEST_SECRET: usize = 16;

/// Reads a list; empty lines and those that begin with `#` don't count. A text without any
/// URI is not such a list.
pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let mut found: Vec<Line> = Vec::new();
    let mut goes_on = false;
    let mut section = Section::default();
    // A text from a Mac of old ends its lines with a carriage return, from elsewhere with
    // Unicode's own marks.
    let text = Zeroizing::new(text.replace("\r\n", "\n"));
    for line in text.split(ends_line) {
        let line = crate::text::trim(line).trim_end_matches('\u{1a}');
        // What follows an account can be its recovery codes, under a heading that says so.
        let is_uri = otpauth::is_meant(line);
        if let Some(last) = found.last_mut().filter(|last| last.is_uri && !is_uri) {
            if section.read(line, &mut last.beside) {
                goes_on = false;
                continue;
            }
        } else {
            section = Section::default();
        }
        let is_comment = line.starts_with('#');
        if line.is_empty() || is_comment && !has_uri(line) {
            goes_on = false;
            continue;
        }
        let last = found.last_mut().filter(|_| goes_on);
        match last {
            Some(last)
                if last.text.len() <= otpauth::MAX_URI_BYTES && is_rest(&last.text, line) =>
            {
                add_line(&mut last.text, line);
            }
            _ => {
                goes_on = is_uri && !is_comment;
                found.push(Line {
                    text: Zeroizing::new(line.to_owned()),
                    is_uri,
                    is_comment,
                    beside: CodesBeside::default(),
                });
            }
        }
        if found.len() > MAX_ENTRIES {
            return Err(super::too_many());
        }
    }
    if found.iter().any(|line| line.is_uri) {
        return Ok(found.into_iter().flat_map(Line::entries).collect());
    }
    // The same is said about a text that is to be enrolled alone.
    match ForeignKind::of(&text) {
        kind @ (ForeignKind::DrawnCode | ForeignKind::BareSecret) => {
            Err(InputProblem::NotOtpauth { kind })
        }
        _ if found.is_empty() => Ok(Vec::new()),
        _ => Err(InputProblem::ImportUnknown),
    }
}

/// A line, or several that are one.
struct Line {
    text: Zeroizing<String>,
    is_uri: bool,
    is_comment: bool,
    beside: CodesBeside,
}

impl Line {
    /// Its accounts, to the first of which belongs what stands beside them.
    fn entries(self) -> Vec<ImportEntry> {
        if self.is_comment {
            let name = otpauth::name_in(&self.text).unwrap_or_default();
            return vec![ImportEntry::refused(&name, InputProblem::LineCommented)];
        }
        let uris = apart(&self.text).into_iter();
        let mut entries: Vec<ImportEntry> = uris.map(entry).collect();
        if let Some(first) = entries.first_mut() {
            let own = std::mem::replace(&mut first.beside, self.beside);
            first.beside.merge(&own);
        }
        entries
    }
}

/// The account of a URI, with what Ente Auth keeps beside it.
fn entry(uri: &str) -> ImportEntry {
    let mut entry = ImportEntry::text(uri);
    if let Some(display) = display_of_ente(uri) {
        entry.beside.note(display.note.expose());
        if display.trashed {
            let name = otpauth::parse(uri).map(|read| {
                let issuer = read.account.issuer().unwrap_or_default();
                joined_name(issuer, read.account.account_name())
            });
            entry.name = display_name(&name.unwrap_or_default());
            entry.content = Err(InputProblem::EntryInBin);
        }
    }
    entry
}

/// Whether a line has a URI, and not only a word about some.
fn has_uri(line: &str) -> bool {
    let lower = Zeroizing::new(line.to_ascii_lowercase());
    lower.contains("otpauth://") || lower.contains("otpauth-migration://")
}

/// What Ente Auth keeps with a code.
#[derive(Deserialize)]
struct Display {
    #[serde(default)]
    note: SecretText,
    #[serde(default)]
    trashed: bool,
}

/// What Ente Auth keeps with a code, in a parameter of its URI.
fn display_of_ente(uri: &str) -> Option<Display> {
    let (_, display) = uri.split_once("codeDisplay=")?;
    let display = display.split('&').next()?;
    let decoded: Zeroizing<Vec<u8>> = Zeroizing::new(percent_decode_str(display).collect());
    serde_json::from_slice(&decoded).ok()
}

/// The lines of a text, of which those of a URI that was wrapped are one.
pub(super) fn joined(text: &str) -> Vec<Zeroizing<String>> {
    let mut found: Vec<Zeroizing<String>> = Vec::new();
    let mut goes_on = false;
    let text = Zeroizing::new(text.replace("\r\n", "\n"));
    for line in text.split(ends_line).map(crate::text::trim) {
        let last = found.last_mut().filter(|_| goes_on && !line.is_empty());
        match last.filter(|last| last.len() <= otpauth::MAX_URI_BYTES && is_rest(last, line)) {
            // What follows it on a separate line can still be distinguished from it.
            Some(last) => add_line(last, line),
            None => {
                goes_on = otpauth::is_meant(line);
                found.push(Zeroizing::new(line.to_owned()));
            }
        }
    }
    found
}

/// Adds the next line to a text. When that grows, no copy of it stays behind.
fn add_line(text: &mut Zeroizing<String>, line: &str) {
    let length = text.len() + line.len() + 1;
    if text.capacity() < length {
        let mut larger = Zeroizing::new(String::with_capacity(2 * length));
        larger.push_str(text);
        *text = larger;
    }
    text.push('\n');
    text.push_str(line);
}

/// The URIs in a line of which several are in a row, each without what separates them; the line
/// itself otherwise.
pub(super) fn apart(line: &str) -> Vec<&str> {
    const SCHEMES: [&str; 3] = ["otpauth://", "otpauth-migration://", "steam://"];
    let lower = Zeroizing::new(line.to_ascii_lowercase());
    let separates = |c: char| c.is_whitespace() || ",;|\"'<[(".contains(c);
    let mut places: Vec<usize> = SCHEMES
        .iter()
        .flat_map(|scheme| lower.match_indices(scheme).map(|(at, _)| at))
        .filter(|at| lower[..*at].chars().next_back().is_none_or(separates))
        .collect();
    places.sort_unstable();
    if places.len() < 2 {
        return vec![line];
    }
    // What stands in front of the first is a name or a mark of a list; a sentence is none of it.
    let first = places.first().copied().unwrap_or_default();
    let is_mark = |c: char| separates(c) || "-*\u{2022}".contains(c);
    if !line[..first].chars().all(is_mark) {
        return vec![line];
    }
    let ends = places.iter().skip(1).copied().chain([line.len()]);
    let uris = places.iter().zip(ends).map(|(at, end)| {
        let is_end = |c: char| is_mark(c) || ">])".contains(c);
        line[*at..end].trim_end_matches(is_end)
    });
    let uris: Vec<&str> = uris.collect();
    // Words between them could belong to either.
    let has_words = |uri: &&str| {
        let (_, query) = uri.split_once('?').unwrap_or(("", uri));
        query.contains(|c: char| c.is_whitespace() && !ends_line(c))
    };
    if uris.iter().any(has_words) {
        return vec![line];
    }
    uris
}

pub(super) fn ends_line(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// Whether a line is a URI but for marks or a key in front of it, and no row of a table.
pub(super) fn begins_with_uri(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    let marked = line.trim_start_matches(|c: char| !c.is_alphanumeric());
    let at = ["otpauth", "steam://"]
        .iter()
        .filter_map(|scheme| marked.find(scheme))
        .min();
    at.is_some_and(|at| !marked[..at].contains([',', ';', '\t', '|']))
}

/// Whether a line that follows a URI is the rest of it: no words of their own, and what only
/// parameters, secrets and numbers are made of.
pub(super) fn is_rest(before: &str, line: &str) -> bool {
    // Another account's secret, where this one has its own.
    let is_other = line.len() >= SHORTEST_SECRET
        && ForeignKind::of(line) == ForeignKind::BareSecret
        && before.to_ascii_lowercase().contains("secret=")
        && otpauth::open_secret(before).is_none();
    if is_other {
        return false;
    }
    let is_code = |c: char| c.is_ascii_digit() || matches!(c, '=' | '&' | '%');
    let is_capitals = line.bytes().all(|byte| byte.is_ascii_uppercase());
    // A secret in small letters goes on in them.
    let is_small = |text: &str| !text.contains(|c: char| c.is_ascii_uppercase());
    let goes_on = || {
        is_small(line)
            && crate::text::may_be_secret(line, 1)
            && otpauth::open_secret(before).is_some_and(is_small)
    };
    !otpauth::is_meant(line)
        && !line.contains(char::is_whitespace)
        && (line.contains(is_code) || is_capitals || goes_on())
}
