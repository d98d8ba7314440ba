//! Parameters whose names say nothing that is known. Those that other programs write for
//! themselves are passed over; of the others, one whose value could be that of a parameter of
//! the codes is refused unless the URI says that parameter as well, and the rest is named in a
//! warning.

use crate::problem::Parameter;

/// What apps and services write for themselves, letters and digits only: how an account is
/// shown, where it is kept, and whose it is.
const HARMLESS: [&str; 88] = [
    "account",
    "accountname",
    "appid",
    "archived",
    "background",
    "backgroundcolor",
    "bgcolor",
    "category",
    "codedisplay",
    "color",
    "colour",
    "comment",
    "container",
    "counter",
    "created",
    "createdat",
    "creator",
    "data",
    "device",
    "deviceid",
    "domain",
    "email",
    "favorite",
    "favourite",
    "fgcolor",
    "folder",
    "foreground",
    "foregroundcolor",
    "group",
    "groups",
    "guid",
    "height",
    "hidden",
    "host",
    "icon",
    "iconcolor",
    "iconid",
    "iconsrc",
    "iconurl",
    "id",
    "image",
    "imageurl",
    "img",
    "index",
    "issueralt",
    "issuerext",
    "issuerint",
    "label",
    "labelalt",
    "lang",
    "language",
    "lastused",
    "lastusedat",
    "locale",
    "lock",
    "logo",
    "logourl",
    "name",
    "note",
    "notes",
    "order",
    "pin",
    "pinned",
    "position",
    "realm",
    "ref",
    "schema",
    "serial",
    "sort",
    "source",
    "steamid",
    "tag",
    "tags",
    "tapcount",
    "tenant",
    "tenantid",
    "theme",
    "thumbnail",
    "timestamp",
    "trashed",
    "ts",
    "uid",
    "url",
    "usedfrequency",
    "user",
    "userid",
    "username",
    "uuid",
];
/// Those of them that hold texts, in which a person can have written what the codes are like.
const TEXTS: [&str; 16] = [
    "account",
    "accountname",
    "category",
    "comment",
    "folder",
    "group",
    "issueralt",
    "issuerext",
    "issuerint",
    "label",
    "labelalt",
    "name",
    "note",
    "notes",
    "tag",
    "tags",
];
/// Further ones that are too short to be told from others by a part of them.
const VERSIONS: [&str; 4] = ["v", "ver", "version", "width"];
/// The most names that a warning repeats.
pub(super) const MAX_NAMES: usize = 8;
/// The longest name that is repeated, in characters.
const MAX_NAME: usize = 15;
/// Units of time, as they are written behind a number.
const SECONDS: [&str; 14] = [
    "s", "sec", "secs", "second", "seconds", "sek", "sekunde", "sekunden", "segundos", "secondes",
    "secondi", "ms", "min", "minute",
];
/// What digits are called behind a number.
const DIGITS: [&str; 9] = [
    "digit", "digits", "ziffern", "stellen", "stellig", "chiffres", "cifras", "cifre", "cijfers",
];

/// A parameter whose name says nothing.
pub(super) struct Unknown {
    /// As far as it can be repeated.
    pub(super) name: Option<String>,
    /// Which parameters its value could be that of.
    pub(super) may_mean: &'static [Parameter],
}

/// What a parameter that decides nothing says about the codes in words, as a note can.
pub(super) fn in_text(name: &str, value: &str) -> Vec<(Parameter, String)> {
    match TEXTS.contains(&folded(name).as_str()) {
        true => in_words(value),
        false => Vec::new(),
    }
}

/// Letters and digits only, in lower case.
fn folded(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|c| c.to_ascii_lowercase()).collect()
}

impl Unknown {
    /// Nothing for one that is known to decide nothing.
    pub(super) fn of(name: &str, value: &str) -> Option<Self> {
        let folded = folded(name);
        let is_harmless = HARMLESS.binary_search(&folded.as_str()).is_ok()
            || VERSIONS.contains(&folded.as_str())
            || folded.starts_with("utm");
        (!is_harmless).then(|| Self {
            name: shown(name),
            may_mean: may_mean(value),
        })
    }
}

/// A name that can be repeated: short, and nothing that a secret could be.
pub(crate) fn shown(name: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let is_word = !name.bytes().any(|byte| byte.is_ascii_digit())
        && name.bytes().any(|byte| byte.is_ascii_lowercase());
    let is_short = name.len() < 8;
    ((1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain) && (is_word || is_short))
        .then(|| name.to_owned())
}

/// Which parameters a value could be that of: a number of digits, or a number of seconds, with
/// or without what counts them.
pub(crate) fn may_mean(value: &str) -> &'static [Parameter] {
    let value = value.trim().to_lowercase();
    let end = value.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = value.split_at(end.unwrap_or(value.len()));
    // Tables write whole numbers with a fraction.
    let unit = unit.trim_start_matches(['.', ',', '0']);
    let unit = unit.trim_matches(|c: char| !c.is_alphanumeric());
    let Ok(number) = number.parse::<u32>() else {
        return &[];
    };
    match unit {
        "" => match number {
            5..=9 => &[Parameter::Digits],
            10 => &[Parameter::Digits, Parameter::Period],
            11..=300 | 30_000 | 60_000 => &[Parameter::Period],
            _ => &[],
        },
        unit if SECONDS.contains(&unit) => &[Parameter::Period],
        unit if DIGITS.contains(&unit) => &[Parameter::Digits],
        _ => &[],
    }
}

/// Which parameter a column or member means whose name says so only beside such a number.
pub(super) fn meant_by_number(name: &str, value: &str) -> Option<Parameter> {
    const NAMES: [&str; 13] = [
        "places",
        "characters",
        "chars",
        "positions",
        "size",
        "window",
        "rotation",
        "cycle",
        "renewal",
        "every",
        "changes",
        "lifetime",
        "validfor",
    ];
    let meant = may_mean(value).first().copied();
    meant.filter(|_| NAMES.contains(&folded(name).as_str()))
}

/// What a name says about the codes in words, each with its value in small letters: what is left
/// of a parameter whose separators were damaged (`GitHub;period:60`, `GitHub, 8 digits`).
pub(super) fn in_words(name: &str) -> Vec<(Parameter, String)> {
    let lower = name.to_lowercase();
    let mut found = Vec::new();
    let parts = lower.split([';', ',', '|', '&', '(', ')', '[', ']', '\n', '/']);
    for (number, part) in parts.enumerate() {
        for (at, _) in part.match_indices([':', '\u{ff1a}']) {
            let before = part[..at].trim_end();
            let word = before
                .rsplit(char::is_whitespace)
                .next()
                .unwrap_or_default();
            let value = part[at..]
                .trim_start_matches([':', '\u{ff1a}'])
                .trim_start();
            let value = value.split(char::is_whitespace).next().unwrap_or_default();
            if let Some(parameter) = named(word).filter(|it| is_value_of(*it, value)) {
                found.push((parameter, value.to_owned()));
            }
        }
        // A value can stand without its name: behind a separator, or before what counts it.
        let words: Vec<&str> = part.split_whitespace().collect();
        for (at, word) in words.iter().enumerate() {
            let counted = words.get(at + 1).map(|unit| format!("{word} {unit}"));
            let counted = counted.filter(|_| word.bytes().all(|byte| byte.is_ascii_digit()));
            let said = counted.as_deref().unwrap_or(word);
            if is_hash(said) && (number > 0 || said.starts_with("sha")) {
                found.push((Parameter::Algorithm, said.to_owned()));
            } else if (number > 0 || counted.is_some())
                && said.contains(char::is_alphabetic)
                && let [parameter] = may_mean(said)
            {
                found.push((*parameter, said.to_owned()));
            }
        }
    }
    found
}

/// The parameter of the codes that a word names.
fn named(word: &str) -> Option<Parameter> {
    match word {
        "digits" | "digit" | "length" => Some(Parameter::Digits),
        "period" | "interval" | "step" | "timestep" => Some(Parameter::Period),
        "algorithm" | "algo" | "hash" => Some(Parameter::Algorithm),
        _ => None,
    }
}

fn is_value_of(parameter: Parameter, value: &str) -> bool {
    match parameter {
        Parameter::Algorithm => is_hash(value),
        _ => value.starts_with(|c: char| c.is_ascii_digit()),
    }
}

/// Whether a text is the name of a hash function, whichever it is.
pub(crate) fn is_hash(text: &str) -> bool {
    let letters = text.chars().filter(|c| !matches!(c, '-' | '_' | ' ' | '/'));
    let folded: String = letters.flat_map(char::to_lowercase).collect();
    let name = folded.strip_prefix("hmac").unwrap_or(&folded);
    let families = ["sha", "md", "ripemd"].iter();
    let mut sizes = families.filter_map(|family| name.strip_prefix(family));
    sizes.any(|size| (1..=6).contains(&size.len()) && size.bytes().all(|b| b.is_ascii_digit()))
}
