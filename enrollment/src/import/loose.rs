//! Codes in texts that people write themselves: the notes and added fields of an item. A URI in
//! a line is one, and so is a secret behind a name that plainly says so (`TOTP Seed: ...`).

use zeroize::Zeroizing;

use super::item::Item;
use super::lines;
use super::meaning::folded;
use super::secret_names::{is_of_codes, says};
use super::settings::Settings;
use super::{ImportEntry, joined_name};
use crate::otpauth::{self, Fields};
use crate::problem::{InputProblem, Parameter};

/// The shortest text that is taken for a secret where nothing but its form says so.
const SHORTEST_SECRET: usize = 16;

/// A code that stands in a text.
pub(super) struct Loose {
    /// A URI, or a secret alone.
    pub(super) code: Zeroizing<String>,
    /// What is said beside a secret; or the parameter that is not understood.
    pub(super) settings: Result<Settings, Parameter>,
}

/// Whether a text is a URI of an account or of nothing else, or a secret of a usual length.
pub(super) fn is_plain_code(text: &str) -> bool {
    is_uri(text) || is_secret(text)
}

/// Whether a text is meant to be a URI of an account.
pub(super) fn is_uri(text: &str) -> bool {
    let text = crate::text::trim(text);
    let is_steam = text
        .get(..8)
        .is_some_and(|start| start.eq_ignore_ascii_case("steam://"));
    match is_steam {
        true => crate::text::may_be_secret(&text[8..], SHORTEST_SECRET),
        false => otpauth::is_meant(text),
    }
}

/// Whether a text is a secret alone.
pub(super) fn is_secret(text: &str) -> bool {
    let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
    if text.trim_end_matches('=').contains('=') {
        return false;
    }
    let is_capital = !text.bytes().any(|byte| byte.is_ascii_lowercase());
    (has_digit || is_capital) && crate::text::may_be_secret(text, SHORTEST_SECRET)
}

/// The codes in a text, in the order of its lines.
pub(super) fn codes(text: &str) -> Vec<Loose> {
    let is_sparse = text.len() < SHORTEST_SECRET || !text.contains([':', '=']);
    if is_sparse {
        return Vec::new();
    }
    let mut found: Vec<Loose> = Vec::new();
    let settings = settings(text);
    for line in lines::joined(text) {
        if is_uri(&line) {
            for uri in lines::apart(&line) {
                let code = Zeroizing::new(uri.to_owned());
                let settings = Ok(Settings::default());
                found.push(Loose { code, settings });
            }
        } else if let Some((name, value)) = named(&line)
            && says(&folded(name)).is_some()
            && is_plain_code(value)
        {
            found.push(Loose {
                code: Zeroizing::new(value.to_owned()),
                settings: settings.clone(),
            });
        }
    }
    found
}

/// The bare secrets in a text whose names plainly say that codes are made of them.
pub(super) fn named_secrets(text: &str) -> Vec<Zeroizing<String>> {
    if text.len() < SHORTEST_SECRET || !text.contains([':', '=']) {
        return Vec::new();
    }
    let secret = |line: Zeroizing<String>| {
        let (_, value) = named(&line)
            .filter(|(name, value)| is_of_codes(name) && !is_uri(value) && is_secret(value))?;
        Some(Zeroizing::new(value.to_owned()))
    };
    lines::joined(text).into_iter().filter_map(secret).collect()
}

/// The accounts of the codes in some texts of an item that are not among those that were read.
pub(super) fn add_entries<'t>(
    found: &mut Vec<ImportEntry>,
    item: Item<'_>,
    texts: impl IntoIterator<Item = &'t str>,
) {
    let account =
        |entry: &ImportEntry| Some(otpauth::parse(entry.content.as_ref().ok()?).ok()?.account);
    for loose in texts.into_iter().flat_map(codes) {
        let Some(entry) = loose.entry(item) else {
            continue;
        };
        let is_known = |known: &ImportEntry| match (account(known), account(&entry)) {
            (Some(known), Some(new)) => known.secret() == new.secret(),
            _ => false,
        };
        if !found.iter().any(is_known) {
            found.push(entry);
        }
    }
}

impl Loose {
    /// The account under an item's names.
    fn entry(&self, item: Item<'_>) -> Option<ImportEntry> {
        let name = joined_name(item.title, item.account_name);
        let code = self.code.as_str();
        let settings = match &self.settings {
            Ok(settings) => settings,
            Err(parameter) => {
                let parameter = *parameter;
                let problem = InputProblem::ParamDamaged { parameter };
                return Some(ImportEntry::refused(&name, problem));
            }
        };
        // What says whose account it is keeps its names, and is found by those of the item.
        let is_named = otpauth::parse(code)
            .is_ok_and(|read| read.account.issuer().is_some() && read.account.has_account_name());
        if is_named {
            return Some(ImportEntry::new(&name, Ok(self.code.clone())));
        }
        if otpauth::is_meant(code) || settings.is_empty() {
            return Item { code, ..item }.entry();
        }
        let fields = Fields {
            kind: if settings.is_steam { "steam" } else { "" },
            issuer: item.title,
            account_name: item.account_name,
            secret: code,
            algorithm: &settings.algorithm,
            digits: settings.digits,
            period: settings.period,
        };
        Some(ImportEntry::fields(&name, &fields))
    }
}

/// Whether a sentence in a text is about codes and has a secret among its words.
pub(super) fn has_unread(text: &str) -> bool {
    const WORDS: [&str; 6] = ["otp", "2fa", "mfa", "authenticator", "factor", "faktor"];
    let is_punctuation = |c: char| !c.is_alphanumeric() && c != '=';
    lines::joined(text).iter().any(|line| {
        let lower = Zeroizing::new(line.to_lowercase());
        let is_read = || {
            is_uri(line)
                || named(line).is_some_and(|(name, value)| {
                    says(&folded(name)).is_some() && is_plain_code(value)
                })
        };
        let mut words = line.split_whitespace();
        WORDS.iter().any(|word| lower.contains(word))
            && words.any(|word| is_secret(word.trim_matches(is_punctuation)))
            && !is_read()
    })
}

/// The name and the value of a line, whose mark in a list is left out.
fn named(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once([':', '=', '\u{ff1a}'])?;
    let value = value.trim().trim_matches(['"', '\'', '`']).trim();
    Some((name.trim(), value))
}

/// What the lines of a text say about the codes in it.
fn settings(text: &str) -> Result<Settings, Parameter> {
    let mut said = Settings::default();
    for line in text.split(lines::ends_line) {
        let Some((name, value)) = named(line).filter(|(_, value)| !value.is_empty()) else {
            continue;
        };
        let folded = folded(name);
        let read = match folded.as_str() {
            "totpsettings" | "otpsettings" => Settings::of_tray_totp(value),
            _ if is_uri(value) || says(&folded).is_some() => continue,
            _ => match otpauth::meant_by_member(name, value) {
                None => continue,
                Some(parameter) => {
                    let word = format!("{}={}", parameter.as_str(), value);
                    match Settings::of_words(&word) {
                        Ok(Some(read)) => read,
                        _ => return Err(parameter),
                    }
                }
            },
        };
        said.merge(&read)?;
    }
    Ok(said)
}
