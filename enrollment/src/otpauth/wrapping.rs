//! What surrounds and covers a URI where people copy it from: quotes, brackets, list marks,
//! a key in front of it, a web address that carries it; line ends; and escapes that another
//! program applied to the whole.
//!
//! Wrapping is taken off only where it is plain. What is left over then is refused, because
//! it could be a part of the URI or a second one.

use std::borrow::Cow;

use data_encoding::{BASE64, BASE64_NOPAD};
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use super::{escapes, markup, query, secret};
use crate::foreign::ForeignKind;
use crate::problem::{InputProblem, Parameter};
use crate::text;

/// How many layers of wrapping and escapes are taken off.
const MAX_LAYERS: usize = 6;
/// The longest text in front of a URI that is taken for its name.
const MAX_KEY: usize = 64;
/// How the texts begin that are looked for.
const SCHEMES: [&str; 4] = ["otpauth://", "otpauth-migration:", "otpauth:", "otpauth%"];
/// How a URI begins in base64.
const BASE64_BEGINNING: &str = "b3RwYXV0a";
/// What opens and closes a wrapping.
const PAIRS: [(char, &str); 20] = [
    ('"', "\""),
    ('\'', "'"),
    ('`', "`"),
    ('<', ">"),
    ('(', ")"),
    ('[', "]"),
    ('{', "}"),
    ('\u{201c}', "\u{201d}"),
    ('\u{201e}', "\u{201c}"),
    ('\u{2018}', "\u{2019}"),
    ('\u{ab}', "\u{bb}"),
    ('\u{300c}', "\u{300d}"),
    ('\u{bb}', "\u{ab}"),
    ('\u{201a}', "\u{2018}"),
    ('\u{2039}', "\u{203a}"),
    ('\u{300e}', "\u{300f}"),
    ('\u{3010}', "\u{3011}"),
    ('\u{ff08}', "\u{ff09}"),
    ('\u{ff3b}', "\u{ff3d}"),
    ('*', "*"),
];

/// A URI without what surrounded it.
pub(super) struct Unwrapped {
    pub(super) text: Zeroizing<String>,
    /// Whether another program had escaped the whole.
    pub(super) escaped: bool,
}

/// Takes off what plainly surrounds a URI.
pub(super) fn unwrap(given: &str) -> Result<Unwrapped, InputProblem> {
    if given.chars().any(text::is_invisible) {
        refuse_unseen_end(given)?;
    }
    let visible: String = given
        .chars()
        .filter(|c| !text::is_invisible(*c) || *c == '\u{ad}')
        .collect();
    let mut current = unquoted(text::trim(&visible));
    drop(Zeroizing::new(visible));
    let mut escaped = false;
    for _ in 0..MAX_LAYERS {
        if current.starts_with('&')
            && let Some(inner) = escapes::undo(&current)
        {
            // The quotes around it are escaped as well.
            current = inner;
            escaped = true;
        } else if let Some(inner) = without_wrapping(&current)? {
            current = inner;
        } else if let Some(inner) = escapes::undo(&current) {
            current = inner;
            escaped = true;
        } else {
            break;
        }
    }
    let text = Zeroizing::new(joined(&current)?);
    // Line ends can be in the middle of an escape.
    let text = match escapes::undo(&text) {
        Some(inner) => {
            escaped = true;
            inner
        }
        None => text,
    };
    Ok(Unwrapped { text, escaped })
}

/// Without the marks that mail programs put before every line that they quote.
fn unquoted(given: &str) -> Zeroizing<String> {
    let is_quoted = |line: &str| line.starts_with('>');
    if given.lines().count() < 2 || !given.lines().map(str::trim_start).all(is_quoted) {
        return Zeroizing::new(given.to_owned());
    }
    let mut inner = Zeroizing::new(String::with_capacity(given.len()));
    for line in given.lines() {
        inner.push_str(line.trim_start_matches(['>', ' ']));
        inner.push('\n');
    }
    inner
}

/// Without one layer of wrapping; nothing if there is none.
fn without_wrapping(given: &str) -> Result<Option<Zeroizing<String>>, InputProblem> {
    if let Some(inner) = markup::inner(given)? {
        return Ok(Some(inner));
    }
    let lower = given.to_ascii_lowercase();
    if lower.starts_with("http://") || lower.starts_with("https://") {
        return in_web_address(given).map(Some);
    }
    if let Some(inner) = in_base64(given, &lower) {
        return Ok(Some(inner));
    }
    if let Some(rest) = lower.strip_prefix("apple-otpauth:") {
        // Apple's own scheme, which opens its Passwords app; some write it before the whole.
        let rest = &given[given.len() - rest.len()..];
        let inner = if rest.to_ascii_lowercase().starts_with("otpauth:") {
            rest.to_owned()
        } else {
            format!("otpauth:{rest}")
        };
        return Ok(Some(Zeroizing::new(inner)));
    }
    let Some(at) = start_of_uri(&lower).or_else(|| start_of_steam(&lower)) else {
        return Ok(None);
    };
    if at == 0 {
        return Ok(None);
    }
    let (key, rest) = given.split_at(at);
    if !is_plain_key(key) {
        return Err(InputProblem::OtpauthNotAlone);
    }
    let rest = rest.trim_end();
    let opened = key.trim_end_matches('\\').chars().next_back();
    let closer = opened.and_then(|opener| {
        let pair = PAIRS.iter().find(|(opens, _)| *opens == opener);
        pair.map(|(_, closes)| *closes)
    });
    let Some(closer) = closer else {
        // Markup of forums, and of Jira.
        let begun = key.trim_start().to_ascii_lowercase();
        let ends = match begun.as_str() {
            "[url]" => "[/url]",
            "[url=" => "]",
            key if key.starts_with('[') && key.ends_with('|') => "]",
            _ => return Ok(Some(Zeroizing::new(rest.to_owned()))),
        };
        let (inner, left_over) = rest.split_once(ends).ok_or(InputProblem::OtpauthNotAlone)?;
        return alone(inner, left_over.trim_end_matches("[/url]"), true);
    };
    let is_markup = key.contains('<') && opened != Some('<');
    let end = match opened {
        // What a URI never contains unescaped.
        Some('"' | '<' | '{') => rest.find(closer),
        _ if is_markup => rest.find(closer),
        _ => rest.rfind(closer),
    };
    let Some(end) = end else {
        // It was opened and is not closed: it could have been cut off.
        return Err(InputProblem::OtpauthNotAlone);
    };
    let (inner, left_over) = (&rest[..end], &rest[end..]);
    // What a link is called: of Slack, of Org, of a spreadsheet, of LaTeX.
    let called = match opened {
        Some('<') => inner.split_once('|'),
        Some('[') => inner.split_once("]["),
        _ => None,
    };
    if let Some((inner, called)) = called {
        let called = if called == inner { "" } else { called };
        return alone(inner, called, true);
    }
    if is_markup && start_of_uri(&left_over.to_ascii_lowercase()).is_none() {
        return alone(inner, "", false);
    }
    let has_name = key.trim_start().eq_ignore_ascii_case("=HYPERLINK(\"")
        || key.trim_start().eq_ignore_ascii_case("\\href{");
    alone(inner, left_over, has_name)
}

/// The URI that a text is in base64, as a data URI or alone.
fn in_base64(given: &str, lower: &str) -> Option<Zeroizing<String>> {
    let data = if lower.starts_with("data:") {
        let at = lower.find(";base64,")?;
        &given[at + ";base64,".len()..]
    } else {
        given.starts_with(BASE64_BEGINNING).then_some(given)?
    };
    let mut compact = Zeroizing::new(String::with_capacity(data.len()));
    compact.extend(data.chars().filter(|c| !c.is_whitespace()));
    let decoded = BASE64.decode(compact.as_bytes());
    let decoded = decoded.or_else(|_| BASE64_NOPAD.decode(compact.as_bytes()));
    let decoded = Zeroizing::new(decoded.ok()?);
    let inner = std::str::from_utf8(&decoded).ok()?;
    super::is_meant(inner).then(|| Zeroizing::new(inner.to_owned()))
}

/// What was wrapped, if nothing but marks is left over, or a name where there can be one.
fn alone(
    inner: &str,
    left_over: &str,
    has_name: bool,
) -> Result<Option<Zeroizing<String>>, InputProblem> {
    let only_marks = left_over.chars().all(|c| {
        c.is_whitespace()
            || "\"'`<>()[]{}*,;.\\".contains(c)
            || PAIRS.iter().any(|(_, closes)| closes.contains(c))
    });
    // With an equals sign it could be a parameter.
    let is_name =
        || !left_over.contains('=') && start_of_uri(&left_over.to_ascii_lowercase()).is_none();
    if !(only_marks || has_name && is_name()) {
        return Err(InputProblem::OtpauthNotAlone);
    }
    let inner = inner.trim_end_matches(['\\', ']', '*']);
    Ok(Some(Zeroizing::new(inner.to_owned())))
}

/// Where a URI begins in a text in lower case.
fn start_of_uri(lower: &str) -> Option<usize> {
    let (at, _) = lower.match_indices("otpauth").find(|(at, word)| {
        let after = &lower[at + word.len()..];
        let scheme = ["-migration:", "-migration%", "%"]
            .iter()
            .any(|more| after.starts_with(more))
            || after
                .strip_prefix(':')
                .is_some_and(|rest| !rest.starts_with(char::is_whitespace));
        let before = lower[..*at].chars().next_back();
        scheme && before.is_none_or(|c| !c.is_ascii_alphanumeric())
    })?;
    // Apple's form of it is taken off in its own place.
    Some(lower[..at].strip_suffix("apple-").map_or(at, str::len))
}

fn start_of_steam(lower: &str) -> Option<usize> {
    let at = lower.find("steam://")?;
    let before = lower[..at].chars().next_back();
    before
        .is_none_or(|c| !c.is_ascii_alphanumeric() && c != '-')
        .then_some(at)
}

/// Whether a text in front of a URI only names or marks it.
fn is_plain_key(key: &str) -> bool {
    let plain = |c: char| {
        // Marks and images that are not letters, too.
        c.is_alphanumeric() || !c.is_ascii() || " \t_-.:=*#>|/!&;,+$\\".contains(c)
    };
    let opens = |c: char| ")]}".contains(c) || PAIRS.iter().any(|(opener, _)| *opener == c);
    let name_only = key
        .trim_end()
        .chars()
        .next_back()
        .is_some_and(char::is_alphanumeric);
    key.len() <= MAX_KEY
        && !key.contains("//")
        && key.chars().all(|c| plain(c) || opens(c))
        // A word directly in front of it would be another scheme.
        && (!name_only || key.ends_with([' ', '\t']))
}

/// The URI that a web address carries in a parameter, or as the last part of its path.
fn in_web_address(address: &str) -> Result<Zeroizing<String>, InputProblem> {
    let foreign = || InputProblem::NotOtpauth {
        kind: ForeignKind::of(address),
    };
    let (path, query) = address.split_once(['?', '#']).unwrap_or((address, ""));
    let decoded = |value: &str| {
        percent_decode_str(value)
            .decode_utf8()
            .ok()
            .map(Cow::into_owned)
    };
    let carries = |text: &String| {
        let lower = text.trim_start().to_ascii_lowercase();
        // An address that leads to another one can carry it in that.
        let is_address = lower.starts_with("http://") || lower.starts_with("https://");
        SCHEMES.iter().any(|scheme| lower.starts_with(scheme))
            || is_address && super::is_meant(&lower)
    };
    let mut found: Option<(usize, String)> = None;
    let pairs: Vec<&str> = query.split(['&', '#']).collect();
    for (at, pair) in pairs.iter().enumerate() {
        let value = pair.split_once('=').map_or(*pair, |(_, value)| value);
        let Some(text) = decoded(value).filter(carries) else {
            continue;
        };
        if found.replace((at, text)).is_some() {
            return Err(InputProblem::OtpauthNotAlone);
        }
    }
    if let Some((at, text)) = found {
        // Not escaped, so that nobody can tell which parameters belong to it.
        let torn = pairs[at + 1..].iter().any(|pair| {
            let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
            super::damage::meant(&name.replace("amp;", "")).is_some()
        });
        return if torn {
            Err(InputProblem::OtpauthNotAlone)
        } else {
            Ok(Zeroizing::new(text))
        };
    }
    // Proofpoint's protection of links in mail.
    if let Some((_, after)) = address.split_once("/v3/__")
        && let Some((inner, _)) = after.split_once("__;")
        && carries(&inner.to_owned())
    {
        // Each star stands for a character that only Proofpoint knows.
        return if inner.contains('*') {
            Err(InputProblem::OtpauthNotAlone)
        } else {
            Ok(Zeroizing::new(inner.to_owned()))
        };
    }
    let last = path.rsplit('/').next().unwrap_or_default();
    match decoded(last).filter(carries) {
        Some(text) if query.is_empty() => Ok(Zeroizing::new(text)),
        _ => Err(foreign()),
    }
}

/// Without line ends and tabs, which browsers drop; refused where other text follows in
/// lines of its own.
fn joined(given: &str) -> Result<String, InputProblem> {
    let given = given.trim();
    let lower = given.to_ascii_lowercase();
    if lower.starts_with("otpauth") {
        let second = SCHEMES
            .iter()
            .any(|scheme| scheme.len() > 8 && lower[1..].contains(scheme));
        let mut lines = given.lines().skip(1).map(str::trim);
        let stray = lines.any(|line| line.is_empty() || line.contains([' ', '\u{a0}']));
        if second || stray {
            return Err(InputProblem::OtpauthNotAlone);
        }
    }
    refuse_ambiguous_rest(given)?;
    // A line that was wrapped may be indented.
    let mut kept = String::with_capacity(given.len());
    for (number, line) in given.lines().enumerate() {
        let line = if number == 0 {
            line.trim_end()
        } else {
            line.trim()
        };
        kept.extend(line.chars().filter(|c| !matches!(c, '\r' | '\t')));
    }
    Ok(kept)
}

/// What a text that is cut off within its secret has of it; nothing if it is cut off elsewhere.
pub(crate) fn open_secret(text: &str) -> Option<&str> {
    let begins = |it: &str, name: &str| {
        it.get(..name.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(name))
    };
    if begins(text, "steam://") {
        return Some(&text["steam://".len()..]);
    }
    let (_, pair) = text.rsplit_once(['?', '&'])?;
    begins(pair, "secret=").then(|| &pair["secret=".len()..])
}

/// Refuses a text in which a line or a cell follows a URI that may be whole, and may be its rest
/// or something else: a name, a code, another account's secret. Only separators tell them apart.
fn refuse_ambiguous_rest(given: &str) -> Result<(), InputProblem> {
    let mut before = Zeroizing::new(String::with_capacity(given.len()));
    // A tab is the end of a table's cell, too.
    for line in given.split(['\r', '\n', '\t']).map(str::trim) {
        let padding = line.bytes().all(|byte| byte == b'=');
        let is_rest = padding || line.trim_end_matches('=').contains(['=', '&', '%']);
        if is_rest && cuts_secret(&before, line) {
            return Err(InputProblem::SecretUnclear);
        }
        if !is_rest && let Some(parameter) = whole_end(&before, line) {
            return Err(match parameter {
                Some(Parameter::Secret) => InputProblem::SecretUnclear,
                Some(parameter) => InputProblem::ParamDamaged { parameter },
                None => InputProblem::OtpauthNotAlone,
            });
        }
        before.push_str(line);
    }
    Ok(())
}

/// Whether a text ends with a secret that may be whole before what the line has in front of its
/// parameters: the rest of the secret, or a word whose ampersand was lost.
fn cuts_secret(text: &str, line: &str) -> bool {
    let Some(secret) = open_secret(text) else {
        return false;
    };
    let letters = secret.chars().filter(|c| !text::is_grouping(*c));
    let length = letters.filter(|c| *c != '=').count();
    let Some((head, _)) = line.split_once('&') else {
        return false;
    };
    let head = head.trim_end_matches('=');
    let is_filled =
        secret::is_usual_length(length + head.len()) && head.contains(|c: char| c.is_ascii_digit());
    text::may_be_secret(head, 1) && !is_filled && secret::may_be_whole(length, head)
}

/// Refuses a text whose secret is followed by something behind a character that shows nothing,
/// before those characters are left out.
fn refuse_unseen_end(given: &str) -> Result<(), InputProblem> {
    let lower = Zeroizing::new(given.to_ascii_lowercase());
    let starts = ["?secret=", "&secret=", "steam://"].into_iter();
    let mut ends = starts.flat_map(|start| {
        let found = lower.match_indices(start);
        found.map(move |(at, start)| at + start.len())
    });
    let is_unclear = ends.any(|at| {
        let secret = given[at..].split(['&', '#']).next().unwrap_or_default();
        let unseen = secret.chars().any(text::is_invisible);
        unseen && text::may_be_secret(secret, 1) && secret::may_end_early(secret)
    });
    match is_unclear {
        true => Err(InputProblem::SecretUnclear),
        false => Ok(()),
    }
}

/// The parameter that a text ends with, if its value may be complete before this line; `Some(None)`
/// if it is not one that decides anything.
fn whole_end(text: &str, line: &str) -> Option<Option<Parameter>> {
    if let Some(secret) = open_secret(text) {
        let letters = secret.chars().filter(|c| !text::is_grouping(*c));
        let length = letters.filter(|c| *c != '=').count();
        return secret::may_be_whole(length, line).then_some(Some(Parameter::Secret));
    }
    let (_, pair) = text.rsplit_once(['?', '&'])?;
    let (name, value) = pair.split_once('=')?;
    let mut end = value.bytes().rev();
    let cut_escape = end.next() == Some(b'%') || end.next() == Some(b'%');
    if value.is_empty() || cut_escape {
        return None;
    }
    match query::known(name) {
        Some(Parameter::Algorithm) => {
            let number = value.trim_start_matches(|c: char| !c.is_ascii_digit());
            let is_whole = matches!(number, "1" | "256" | "512");
            is_whole.then_some(Some(Parameter::Algorithm))
        }
        // A period of less than ten seconds is rather a part of one.
        Some(Parameter::Period) => (value.len() > 1).then_some(Some(Parameter::Period)),
        known => Some(known),
    }
}
