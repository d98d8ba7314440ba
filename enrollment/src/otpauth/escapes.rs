//! Escapes that another program applied to a whole URI: of HTML and XML, JSON, mail
//! (quoted-printable), and percent escapes of the whole. Each is undone only where it was
//! plainly applied.

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

/// Undoes one layer; nothing if there is none.
pub(super) fn undo(text: &str) -> Option<Zeroizing<String>> {
    let undone = percent(text)
        .or_else(|| quoted_printable(text))
        .or_else(|| torn_entities(text))
        .or_else(|| markup(text))
        .or_else(|| backslashes(text));
    undone.filter(|undone| undone != text).map(Zeroizing::new)
}

/// Percent escapes of the whole, or of its end from the question mark or the first
/// parameter on.
fn percent(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let decoded = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8().ok()?;
        Some(decoded.into_owned())
    };
    if lower.starts_with("otpauth%") || lower.starts_with("otpauth-migration%") {
        // A form's encoder makes spaces of plus signs; a plus sign itself is escaped then.
        let spaced = if lower.contains("%20") {
            text.to_owned()
        } else {
            text.replace('+', " ")
        };
        return decoded(&spaced);
    }
    if lower.starts_with("otpauth:%2f") {
        return decoded(text);
    }
    if !lower.starts_with("otpauth:") || !lower.contains("secret%3d") {
        return None;
    }
    match text.split_once('?') {
        None if lower.contains("%3f") => decoded(text),
        Some((path, query)) if !query.contains('=') => Some(format!("{path}?{}", decoded(query)?)),
        _ => None,
    }
}

/// Mail's encoding, where every equals sign is `=3D` and long lines end with `=`.
///
/// A secret can begin with `3D`, so that one parameter alone says nothing.
fn quoted_printable(text: &str) -> Option<String> {
    let unfolded = text.replace("=\r\n", "").replace("=\n", "");
    let (_, query) = unfolded.split_once('?')?;
    let signs = query.matches('=').count();
    let escaped = query.matches("=3D").count() + query.matches("=3d").count();
    if signs < 2 || escaped < 2 || signs != hex_pairs(query) {
        return None;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(unfolded.len()));
    let mut rest = unfolded.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        match (*first, after) {
            (b'=', [high, low, tail @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push(hex(*high)? * 16 + hex(*low)?);
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes.to_vec()).ok()
}

/// An entity whose semicolon was percent-escaped, which happens where the address of a page is
/// taken from its source.
fn torn_entities(text: &str) -> Option<String> {
    let (_, query) = text.split_once('?')?;
    let torn = ["&amp%3B", "&amp%3b"];
    let is_torn = torn.iter().any(|torn| query.contains(torn));
    is_torn.then(|| text.replace(torn[0], "&").replace(torn[1], "&"))
}

/// A name without percent escapes that were applied to it before those of the URI; nothing if
/// there are none. All percent signs in it belong to escapes then, of what programs escape in
/// names.
pub(super) fn twice(name: &str) -> Option<String> {
    const ESCAPED: &[u8] = b" !\"#$&'()*+,/:;=?@[]|";
    let bytes = name.as_bytes();
    let mut signs = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    let all_escapes = signs.all(|(at, _)| {
        let digit = |at: usize| bytes.get(at).copied().and_then(hex);
        let byte = digit(at + 1)
            .zip(digit(at + 2))
            .map(|(high, low)| high * 16 + low);
        byte.is_some_and(|byte| ESCAPED.contains(&byte) || byte >= 0x80)
    });
    let undone = percent_decode_str(name).decode_utf8().ok()?;
    (all_escapes && undone != name).then(|| undone.into_owned())
}

/// How many equals signs two hexadecimal digits follow.
fn hex_pairs(text: &str) -> usize {
    let bytes = text.as_bytes();
    bytes
        .windows(3)
        .filter(|three| three[0] == b'=' && hex(three[1]).is_some() && hex(three[2]).is_some())
        .count()
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// Entities of HTML and XML, by name and by number.
pub(super) fn markup(text: &str) -> Option<String> {
    let mut undone = String::with_capacity(text.len());
    let mut rest = text;
    let mut found = false;
    while let Some(at) = rest.find('&') {
        undone.push_str(&rest[..at]);
        rest = &rest[at..];
        match entity(rest) {
            Some((character, length)) => {
                undone.push(character);
                rest = &rest[length..];
                found = true;
            }
            None => {
                undone.push('&');
                rest = &rest[1..];
            }
        }
    }
    undone.push_str(rest);
    found.then_some(undone)
}

/// The longest entity, from its ampersand to its semicolon.
const MAX_ENTITY: usize = 34;

/// What follows an entity, known or not, whose ampersand precedes the text; nothing if there is
/// none.
pub(super) fn after_entity(text: &str) -> Option<&str> {
    let (name, rest) = text.split_once(';')?;
    let is_name = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'#');
    (is_name && (1..MAX_ENTITY).contains(&name.len())).then_some(rest)
}

/// The character of the entity that a text begins with, and its length.
fn entity(text: &str) -> Option<(char, usize)> {
    const NAMES: [(&str, char); 32] = [
        ("amp", '&'),
        ("lt", '<'),
        ("gt", '>'),
        ("quot", '"'),
        ("apos", '\''),
        ("nbsp", '\u{a0}'),
        ("equals", '='),
        ("colon", ':'),
        ("sol", '/'),
        ("quest", '?'),
        ("percnt", '%'),
        ("commat", '@'),
        ("plus", '+'),
        ("num", '#'),
        // What pages put into long texts, so that they break or stay whole.
        ("nonbreakingspace", '\u{a0}'),
        ("ensp", '\u{2002}'),
        ("emsp", '\u{2003}'),
        ("numsp", '\u{2007}'),
        ("thinsp", '\u{2009}'),
        ("hairsp", '\u{200a}'),
        ("zerowidthspace", '\u{200b}'),
        ("zwnj", '\u{200c}'),
        ("zwj", '\u{200d}'),
        ("lrm", '\u{200e}'),
        ("rlm", '\u{200f}'),
        ("nobreak", '\u{2060}'),
        ("shy", '\u{ad}'),
        ("hyphen", '\u{2010}'),
        ("ndash", '\u{2013}'),
        ("mdash", '\u{2014}'),
        ("minus", '\u{2212}'),
        ("newline", '\n'),
    ];
    let end = text
        .bytes()
        .take(MAX_ENTITY)
        .position(|byte| byte == b';')?;
    let body = &text[1..end];
    let character = match body.strip_prefix('#') {
        Some(number) => {
            let value = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(value)?
        }
        None => {
            let known = NAMES
                .iter()
                .find(|(name, _)| body.eq_ignore_ascii_case(name));
            known?.1
        }
    };
    Some((character, end + 1))
}

/// Backslashes of JSON, JavaScript and shells in front of what separates.
fn backslashes(text: &str) -> Option<String> {
    let mut undone = String::with_capacity(text.len());
    let mut rest = text;
    let mut found = false;
    while let Some(at) = rest.find('\\') {
        undone.push_str(&rest[..at]);
        rest = &rest[at..];
        let after = &rest[1..];
        let coded = |mark: &str, length: usize| {
            let digits = after.strip_prefix(mark)?.get(..length)?;
            let value = u32::from_str_radix(digits, 16).ok()?;
            Some((char::from_u32(value)?, 1 + mark.len() + length))
        };
        let plain = || {
            let next = after.chars().next()?;
            r#"/&?=:#%"\"#.contains(next).then_some((next, 1 + next.len_utf8()))
        };
        match coded("u", 4).or_else(|| coded("x", 2)).or_else(plain) {
            Some((character, length)) => {
                undone.push(character);
                rest = &rest[length..];
                found = true;
            }
            None => {
                undone.push('\\');
                rest = after;
            }
        }
    }
    undone.push_str(rest);
    found.then_some(undone)
}
