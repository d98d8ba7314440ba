//! Lists of URIs, one a line. Mail programs and terminals break lines: what plainly continues
//! in the next line is put together again. Recovery codes of an account can follow it.

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::recovery_codes::Section;
use super::shapes::SecretText;
use super::{CodesBeside, ImportEntry, MAX_ENTRIES, display_name, joined_name};
use crate::otpauth;
use crate::problem::InputProblem;

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
        if line.is_empty() || line.starts_with('#') {
            goes_on = false;
            continue;
        }
        let last = found.last_mut().filter(|_| goes_on);
        match last {
            Some(last)
                if last.text.len() <= otpauth::MAX_URI_BYTES && is_rest(&last.text, line) =>
            {
                let room = last.text.len() + line.len() + 1;
                let mut whole = Zeroizing::new(String::with_capacity(room));
                whole.push_str(&last.text);
                // What follows it on a separate line can still be distinguished from it.
                whole.push('\n');
                whole.push_str(line);
                last.text = whole;
            }
            _ => {
                goes_on = is_uri;
                found.push(Line {
                    text: Zeroizing::new(line.to_owned()),
                    is_uri,
                    beside: CodesBeside::default(),
                });
            }
        }
        if found.len() > MAX_ENTRIES {
            return Err(super::too_many());
        }
    }
    if found.is_empty() || found.iter().any(|line| line.is_uri) {
        Ok(found.into_iter().map(Line::entry).collect())
    } else {
        Err(InputProblem::ImportUnknown)
    }
}

/// A line, or several that are one.
struct Line {
    text: Zeroizing<String>,
    is_uri: bool,
    beside: CodesBeside,
}

impl Line {
    fn entry(self) -> ImportEntry {
        let mut entry = ImportEntry::text(&self.text);
        entry.beside = self.beside;
        if let Some(display) = display_of_ente(&self.text) {
            entry.beside.note(display.note.expose());
            if display.trashed {
                let name = otpauth::parse(&self.text).map(|read| {
                    let issuer = read.account.issuer().unwrap_or_default();
                    joined_name(issuer, read.account.account_name())
                });
                entry.name = display_name(&name.unwrap_or_default());
                entry.content = Err(InputProblem::EntryInBin);
            }
        }
        entry
    }
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
    let is_code = |c: char| c.is_ascii_digit() || matches!(c, '=' | '&' | '%');
    let is_capitals = line.bytes().all(|byte| byte.is_ascii_uppercase());
    // A secret in small letters goes on in them.
    let is_small = |text: &str| !text.contains(|c: char| c.is_ascii_uppercase());
    let goes_on = otpauth::open_secret(before).is_some_and(is_small)
        && is_small(line)
        && crate::text::may_be_secret(line, 1);
    !otpauth::is_meant(line)
        && !line.contains(char::is_whitespace)
        && (line.contains(is_code) || is_capitals || goes_on)
}
