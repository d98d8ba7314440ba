//! Parameters that are recognizably meant and not understood. They are refused by name: the
//! usual value in their place would give wrong codes.

use percent_encoding::percent_decode_str;

use super::unknown;
use crate::problem::Parameter;
use crate::text;

/// The names that decide something.
const NAMES: [(&str, Parameter); 6] = [
    ("secret", Parameter::Secret),
    ("algorithm", Parameter::Algorithm),
    ("digits", Parameter::Digits),
    ("period", Parameter::Period),
    ("encoder", Parameter::Encoder),
    ("issuer", Parameter::Issuer),
];
/// What others call them.
const SYNONYMS: [(&str, Parameter); 29] = [
    ("algo", Parameter::Algorithm),
    ("alg", Parameter::Algorithm),
    ("hash", Parameter::Algorithm),
    ("hashalgo", Parameter::Algorithm),
    ("hashfunction", Parameter::Algorithm),
    ("digest", Parameter::Algorithm),
    ("hmac", Parameter::Algorithm),
    ("sha", Parameter::Algorithm),
    ("mac", Parameter::Algorithm),
    ("d", Parameter::Digits),
    ("digit", Parameter::Digits),
    ("length", Parameter::Digits),
    ("codesize", Parameter::Digits),
    ("otplen", Parameter::Digits),
    ("otplength", Parameter::Digits),
    ("codelength", Parameter::Digits),
    ("p", Parameter::Period),
    ("interval", Parameter::Period),
    ("step", Parameter::Period),
    ("timestep", Parameter::Period),
    ("timer", Parameter::Period),
    ("stepsize", Parameter::Period),
    ("seconds", Parameter::Period),
    ("refresh", Parameter::Period),
    ("duration", Parameter::Period),
    ("validity", Parameter::Period),
    ("key", Parameter::Secret),
    ("seed", Parameter::Secret),
    ("iss", Parameter::Issuer),
];
/// Words in what others call them, also in other languages, that say something else in another
/// address, such as the size of an image: a number has to follow.
const NUMBERED: [(&str, Parameter); 24] = [
    ("len", Parameter::Digits),
    ("size", Parameter::Digits),
    ("dgt", Parameter::Digits),
    ("ziffer", Parameter::Digits),
    ("stelle", Parameter::Digits),
    ("chiffre", Parameter::Digits),
    ("cifra", Parameter::Digits),
    ("cifre", Parameter::Digits),
    ("cijfer", Parameter::Digits),
    ("time", Parameter::Period),
    ("zeit", Parameter::Period),
    ("ttl", Parameter::Period),
    ("frequency", Parameter::Period),
    ("interv", Parameter::Period),
    ("step", Parameter::Period),
    ("second", Parameter::Period),
    ("sekund", Parameter::Period),
    ("sec", Parameter::Period),
    ("expir", Parameter::Period),
    ("valid", Parameter::Period),
    ("refresh", Parameter::Period),
    ("hash", Parameter::Algorithm),
    ("digest", Parameter::Algorithm),
    ("bits", Parameter::Algorithm),
];
/// Names that other programs write, which decide nothing here.
const HARMLESS: [&str; 5] = ["issuerint", "issuerext", "issueralt", "labelalt", "creator"];
/// The names that decide which codes come out and have a word or a number as their value.
const DECIDING: [(&str, Parameter); 3] = [
    ("algorithm", Parameter::Algorithm),
    ("digits", Parameter::Digits),
    ("period", Parameter::Period),
];
/// How many characters may have been put into a name: an element of HTML, or what colors a
/// terminal.
const MAX_PUT_IN: usize = 18;

/// Which parameter a name means that is none of the known names.
pub(super) fn meant(name: &str) -> Option<Parameter> {
    foldings(name)
        .iter()
        .find_map(|folded| meant_folded(folded))
}

fn meant_folded(folded: &str) -> Option<Parameter> {
    if folded.is_empty() || HARMLESS.contains(&folded) {
        return None;
    }
    if folded.contains("digit") && !folded.contains("digital") {
        return Some(Parameter::Digits);
    }
    let known = NAMES.iter().find(|(known, _)| folded.contains(known));
    let synonym = || SYNONYMS.iter().find(|(known, _)| folded == *known);
    let near = || {
        NAMES.iter().find(|(known, _)| {
            let most = if known.len() > 7 { 2 } else { 1 };
            folded.len().abs_diff(known.len()) <= most && distance(folded, known) <= most
        })
    };
    known
        .or_else(synonym)
        .or_else(near)
        .map(|(_, meant)| *meant)
}

/// Which parameter a value means whose name alone says nothing: that of a hash function, or a
/// number after a name with a word that fits it, or after what is left of a name.
pub(super) fn meant_by_value(name: &str, value: &str) -> Option<Parameter> {
    let folded = folded_value(value);
    if unknown::is_hash(&folded) {
        return Some(Parameter::Algorithm);
    }
    let names = foldings(name);
    let has = |words: &[&str]| {
        let mut all = names
            .iter()
            .flat_map(|name| words.iter().map(move |word| (name, word)));
        all.any(|(name, word)| name.contains(word))
    };
    if has(&["alphabet", "charset", "issteam", "steamguard"])
        || folded == "steam" && has(&["format", "coder", "codec", "flavor", "flavour", "variant"])
    {
        return Some(Parameter::Encoder);
    }
    // What has more digits is a moment or an identifier.
    let is_number =
        (1..=5).contains(&folded.len()) && folded.bytes().all(|byte| byte.is_ascii_digit());
    if names.iter().any(|name| HARMLESS.contains(&name.as_str())) {
        return None;
    }
    if !value.is_empty() && has(&["alg"]) {
        return Some(Parameter::Algorithm);
    }
    if !is_number {
        return None;
    }
    // Letters that look like others, or have marks, or belong to no name that is written here.
    let is_foreign = percent_decode_str(name)
        .decode_utf8_lossy()
        .chars()
        .any(|c| c.is_alphanumeric() && !c.is_ascii());
    let by_length = match folded.len() {
        1 => Parameter::Digits,
        _ => Parameter::Period,
    };
    names
        .iter()
        .find_map(|name| {
            // How often something was used is not a separate time.
            let mut numbered = NUMBERED
                .iter()
                .filter(|(word, _)| name.contains(word) && !name.contains("used"));
            let mut parts = DECIDING
                .iter()
                .filter(|(known, _)| name.len() > 2 && is_within(name, known));
            numbered.next().or_else(|| parts.next())
        })
        .map(|(_, parameter)| *parameter)
        .or(is_foreign.then_some(by_length))
}

/// Which parameter's name was torn apart, of which all letters are left in their order.
pub(super) fn meant_torn(name: &str) -> Option<Parameter> {
    let names = foldings(name);
    let mut known = NAMES.iter().filter(|(known, parameter)| {
        *parameter != Parameter::Issuer
            && names
                .iter()
                .any(|name| name.len() <= known.len() + MAX_PUT_IN && is_within(known, name))
    });
    known.next().map(|(_, parameter)| *parameter)
}

/// Whether all letters of one text are in another, in their order.
fn is_within(part: &str, whole: &str) -> bool {
    let mut letters = whole.chars();
    part.chars().all(|letter| letters.any(|it| it == letter))
}

/// Which parameter a text without an equals sign means: a name that was cut off at the end
/// of the URI, or a value that lost its name.
pub(super) fn meant_alone(text: &str, last: bool) -> Option<Parameter> {
    if let Some(parameter) = meant(text) {
        return Some(parameter);
    }
    let cut_off = NAMES
        .iter()
        .find(|(known, _)| last && !text.is_empty() && known.starts_with(text));
    if let Some((_, parameter)) = cut_off {
        return Some(*parameter);
    }
    let folded = folded_value(text);
    let number = !folded.is_empty() && folded.bytes().all(|byte| byte.is_ascii_digit());
    match folded.as_str() {
        "sha1" | "sha256" | "sha512" | "md5" => Some(Parameter::Algorithm),
        "steam" => None,
        one if number && one.len() == 1 => Some(Parameter::Digits),
        _ if number => Some(Parameter::Period),
        _ if text.len() >= 16 && text::may_be_secret(text, 16) => Some(Parameter::Secret),
        _ => None,
    }
}

/// Which parameter is hidden in a value or a label because its separator is damaged: a name
/// that an equals sign follows, and after that something other than padding.
pub(super) fn hidden_in(value: &str) -> Option<Parameter> {
    value.match_indices('=').find_map(|(at, _)| {
        let after = value[at + 1..].trim_start_matches('=');
        if after.is_empty() {
            return None;
        }
        let before = value[..at].rsplit('=').next().unwrap_or_default();
        let before = foldings(before);
        NAMES
            .iter()
            .find(|(known, _)| before.iter().any(|text| text.ends_with(known)))
            .map(|(_, parameter)| *parameter)
    })
}

/// Letters and digits only, in lower case, with what looks alike made the same: as it is
/// written, and with percent escapes resolved once and twice. Each may hide a name from the
/// others.
fn foldings(name: &str) -> [String; 3] {
    let once = percent_decode_str(name).decode_utf8_lossy();
    let twice = percent_decode_str(&once).decode_utf8_lossy();
    [name, &once, &twice].map(|text| {
        text.chars()
            .flat_map(char::to_lowercase)
            .filter_map(letter)
            .collect()
    })
}

fn folded_value(text: &str) -> String {
    text.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

/// The Latin letter that a character looks like.
fn letter(c: char) -> Option<char> {
    match c {
        '0' | '\u{43e}' | '\u{3bf}' => Some('o'),
        '1' | '\u{456}' | '\u{3b9}' | '\u{131}' | '|' | '!' => Some('i'),
        '3' | '\u{435}' | '\u{3b5}' => Some('e'),
        '5' | '\u{455}' | '$' => Some('s'),
        '\u{440}' | '\u{3c1}' => Some('p'),
        '\u{441}' => Some('c'),
        '\u{430}' | '\u{3b1}' | '@' => Some('a'),
        '\u{442}' | '\u{3c4}' => Some('t'),
        '\u{ff41}'..='\u{ff5a}' => char::from_u32(u32::from(c) - 0xff41 + 0x61),
        c if c.is_ascii_alphanumeric() => Some(c),
        _ => None,
    }
}

/// How many letters have to be changed, left out, put in or swapped with the next.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let width = other.len() + 1;
    let mut table = vec![0_usize; (one.len() + 1) * width];
    for row in 0..=one.len() {
        for column in 0..width {
            let at = row * width + column;
            if row == 0 || column == 0 {
                table[at] = row + column;
                continue;
            }
            let differs = usize::from(one[row - 1] != other[column - 1]);
            let mut best = (table[at - width] + 1)
                .min(table[at - 1] + 1)
                .min(table[at - width - 1] + differs);
            let swapped = row > 1
                && column > 1
                && one[row - 1] == other[column - 2]
                && one[row - 2] == other[column - 1];
            if swapped {
                best = best.min(table[at - 2 * width - 2] + 1);
            }
            table[at] = best;
        }
    }
    table[table.len() - 1]
}
