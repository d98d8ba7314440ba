//! Recovery codes that an export has with an account: in fields whose names plainly say so, and
//! in notes under such a heading. What looks like codes and is not read is counted.

use super::shapes::SecretText;
use super::{ImportEntry, display_name};
use crate::otpauth::Warning;
use crate::problem::InputProblem;
use crate::recovery::RecoveryCodes;

/// What kinds of codes are called, in English and German; letters and digits only.
const KINDS: [&str; 15] = [
    "recovery",
    "backup",
    "rescue",
    "emergency",
    "scratch",
    "revocation",
    "fallback",
    "wiederherstellungs",
    "wiederherstellung",
    "sicherungs",
    "ersatz",
    "notfall",
    "rettungs",
    "reserve",
    "widerrufs",
];
/// What can be between such a word and "code".
const BETWEEN: [&str; 14] = [
    "",
    "verification",
    "authentication",
    "auth",
    "2fa",
    "mfa",
    "otp",
    "login",
    "access",
    "security",
    "pass",
    "bestätigungs",
    "sicherheits",
    "zugangs",
];
/// How names begin of codes that are of no use any more.
const USED: [&str; 9] = [
    "used",
    "old",
    "expired",
    "alte",
    "verwendete",
    "verwendeter",
    "benutzte",
    "verbrauchte",
    "abgelaufene",
];
/// How names go on that are not those of codes, but of where they are.
const ELSEWHERE: [&str; 7] = [
    "url",
    "link",
    "hint",
    "location",
    "hinweis",
    "speicherort",
    "where",
];
/// The longest name of a field or heading of a note, in characters.
const MAX_NAME_CHARS: usize = 64;
/// The most words of a heading that has no colon.
const MAX_HEADING_WORDS: usize = 3;
/// Codes on one line have at least this many characters each.
const MIN_CODE_CHARS: usize = 8;
/// Groups of letters that make up one code have at least this many each.
const MIN_GROUP_CHARS: usize = 4;
/// A text of this many words is a recovery phrase, not a sentence.
const PHRASE_WORDS: usize = 12;

/// The recovery codes that an export has beside an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodesBeside {
    /// Those that were read.
    pub codes: RecoveryCodes,
    /// How many texts look like some and were not read.
    pub unread: u32,
}

impl CodesBeside {
    /// How many were read.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.codes.len()).unwrap_or(u32::MAX)
    }

    /// That not all of them were read.
    #[must_use]
    pub fn warning(&self) -> Option<Warning> {
        let count = self.unread;
        (count > 0).then_some(Warning::RecoveryCodesUnread { count })
    }

    /// Adds those that the same account has elsewhere.
    pub fn merge(&mut self, other: &Self) {
        for code in other.codes.expose() {
            self.add(code);
        }
        self.unread = self.unread.saturating_add(other.unread);
    }

    /// Reads a field, if its name says that recovery codes are in it.
    pub(super) fn field(&mut self, name: &str, value: &str) {
        match Named::of(name) {
            Some(Named::Codes) => self.codes_in(value),
            Some(Named::Other) if !value.trim().is_empty() => self.leave(),
            Some(Named::Other) | None => {}
        }
    }

    /// Reads a text that is recovery codes: in lines, or with commas or semicolons between
    /// them, or as a list in JSON.
    pub(super) fn codes_in(&mut self, text: &str) {
        if text.trim_start().starts_with('[')
            && let Ok(list) = serde_json::from_str::<Vec<SecretText>>(text)
        {
            return list.iter().for_each(|code| self.line(code.expose()));
        }
        text.split(|c| is_line_end(c) || matches!(c, ',' | ';'))
            .for_each(|line| self.line(line));
    }

    /// Reads a list of recovery codes, each as it is.
    pub(super) fn list<'a>(&mut self, codes: impl IntoIterator<Item = &'a str>) {
        codes.into_iter().for_each(|code| self.add(code));
    }

    /// Reads a note: what stands under a heading that says so, or in its line after a colon.
    pub(super) fn note(&mut self, note: &str) {
        let mut section = Section::default();
        let lines = note
            .split("\r\n")
            .flat_map(|lines| lines.split(is_line_end));
        for line in lines {
            if !section.read(line, self) && Named::of(line.trim()).is_some() {
                self.leave();
            }
        }
    }

    fn line(&mut self, line: &str) {
        let Some(code) = without_marks(line) else {
            return self.leave();
        };
        if code.is_empty() || !has_digits(code) && Named::of(code.trim_end_matches(':')).is_some() {
            return;
        }
        let words: Vec<&str> = code.split_whitespace().collect();
        let (first, several) = (words.first().map_or(0, |word| word.len()), words.len() > 1);
        let alike = words.iter().all(|word| word.len() == first);
        let is_sentence = has_word(&words) && (!alike || first < MIN_GROUP_CHARS);
        if several && alike && first >= MIN_CODE_CHARS {
            words.iter().for_each(|word| self.add(word));
        } else if several && is_sentence && words.len() < PHRASE_WORDS {
            self.leave();
        } else {
            self.add(code);
        }
    }

    fn add(&mut self, code: &str) {
        if self.codes.add(0, code).is_err() {
            self.leave();
        }
    }

    fn leave(&mut self) {
        self.unread = self.unread.saturating_add(1);
    }
}

/// Where in a text of several lines recovery codes stand.
#[derive(Clone, Copy, Default)]
pub(super) struct Section {
    /// Whether a heading said that they follow.
    under: bool,
    /// Whether one was there already.
    begun: bool,
}

impl Section {
    /// Reads the next line; says whether it is a heading of recovery codes, or in such a section.
    pub(super) fn read(&mut self, line: &str, beside: &mut CodesBeside) -> bool {
        let line = line
            .trim()
            .trim_matches(|c| matches!(c, '#' | '*' | '_'))
            .trim();
        if line.is_empty() {
            self.under &= !self.begun;
            return self.under;
        }
        let (head, rest) = line.split_once([':', '\u{ff1a}']).unwrap_or((line, ""));
        let has_colon = head.len() < line.len();
        let is_short = line.split_whitespace().count() <= MAX_HEADING_WORDS;
        let named = Named::of(head).filter(|_| has_colon || is_short && !has_digits(line));
        match named {
            Some(Named::Codes) => {
                beside.codes_in(rest);
                self.under = rest.trim().is_empty();
                self.begun = false;
            }
            Some(Named::Other) => {
                beside.leave();
                self.under = false;
            }
            None if self.under && !has_colon => {
                beside.codes_in(line);
                self.begun = true;
            }
            // Another heading, or a name with its value.
            None => {
                self.under = false;
                return false;
            }
        }
        true
    }
}

/// An item's accounts with the codes next to them, which is kept with the first; an item that
/// has recovery codes only is named.
pub(super) fn attach(
    mut entries: Vec<ImportEntry>,
    beside: CodesBeside,
    name: &str,
) -> Vec<ImportEntry> {
    match entries.first_mut() {
        Some(first) => first.beside.merge(&beside),
        None if beside.codes.is_empty() && !is_named(name) => {}
        None => entries.push(ImportEntry {
            name: display_name(name),
            content: Err(InputProblem::RecoveryCodesAlone),
            beside,
        }),
    }
    entries
}

/// What a name that has to do with recovery codes says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    /// They are here.
    Codes,
    /// Something about them is.
    Other,
}

impl Named {
    /// Nothing for a name that has nothing to do with them.
    fn of(name: &str) -> Option<Self> {
        if name.chars().nth(MAX_NAME_CHARS).is_some() {
            return None;
        }
        let folded: String = name
            .chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect();
        let after = KINDS.iter().find_map(|kind| {
            let mut places = folded.match_indices(kind);
            places.find_map(|(at, _)| {
                let rest = &folded[at + kind.len()..];
                let mut between = BETWEEN.iter();
                between.find_map(|word| rest.strip_prefix(word)?.strip_prefix("code"))
            })
        })?;
        let mut words = name.split(|c: char| !c.is_alphanumeric());
        let first = words.find(|word| !word.is_empty()).unwrap_or_default();
        let is_other = USED.contains(&first.to_lowercase().as_str())
            || ELSEWHERE.iter().any(|word| after.contains(word));
        Some(if is_other { Self::Other } else { Self::Codes })
    }
}

/// Whether a name says that recovery codes are what it names.
pub(super) fn is_named(name: &str) -> bool {
    Named::of(name) == Some(Named::Codes)
}

fn is_line_end(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

fn has_digits(text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_digit())
}

/// Whether a word of a language is among these.
fn has_word(words: &[&str]) -> bool {
    words
        .iter()
        .any(|word| word.chars().count() > 1 && word.chars().all(char::is_alphabetic))
}

/// A code without the number or mark that a list has in front of it, and without quotes; nothing
/// if it is marked as used.
fn without_marks(line: &str) -> Option<&str> {
    let line = line.trim();
    let lower = line.to_lowercase();
    let is_used = line.starts_with("~~")
        || lower.starts_with("[x]")
        || line.starts_with(['\u{2611}', '\u{2612}', '\u{2713}', '\u{2714}', '\u{2705}'])
        || ["(used)", "(verwendet)", "(benutzt)"]
            .iter()
            .any(|mark| lower.ends_with(mark));
    if is_used {
        return None;
    }
    let bullets = [
        "- [ ]",
        "* [ ]",
        "[ ]",
        "- ",
        "* ",
        "+ ",
        "\u{2022}",
        "\u{2013} ",
        "\u{2610}",
    ];
    let line = bullets
        .iter()
        .find_map(|mark| line.strip_prefix(mark))
        .unwrap_or(line);
    let numbered = line.split_once(['.', ')', ':']).filter(|(number, rest)| {
        (1..=2).contains(&number.len())
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && rest.starts_with(char::is_whitespace)
    });
    let line = numbered.map_or(line, |(_, rest)| rest);
    Some(line.trim().trim_matches(['"', '\'', '`']).trim())
}
