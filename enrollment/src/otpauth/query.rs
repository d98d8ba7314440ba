//! The parameters. Decoded here and not by a URL library: those silently drop tabs
//! and line ends, and turn bytes that are no UTF-8 into replacement characters.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use super::conflict;
use super::secret::{self, ReadSecret};
use crate::account::Algorithm;
use crate::problem::{InputProblem, Parameter};

/// What the parameters say, each checked by itself.
#[derive(Default)]
pub(super) struct Query {
    pub(super) secret: Option<ReadSecret>,
    pub(super) issuer: Option<String>,
    pub(super) repeated_issuer: bool,
    pub(super) algorithm: Option<Algorithm>,
    pub(super) digits: Option<u8>,
    pub(super) period: Option<u32>,
    /// Whether the codes are those of Steam Guard.
    pub(super) steam: bool,
    /// Whether a known name was not in lower case.
    pub(super) folded_names: bool,
}

const KNOWN: [&str; 6] = [
    "secret",
    "issuer",
    "algorithm",
    "digits",
    "period",
    "encoder",
];

pub(super) fn read(text: &str) -> Result<Query, InputProblem> {
    let mut query = Query::default();
    for pair in text.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // A name that does not decode is none of ours.
        let Ok(name) = percent_decode_str(name).decode_utf8() else {
            continue;
        };
        let folded = name.to_ascii_lowercase();
        if !KNOWN.contains(&folded.as_str()) {
            continue;
        }
        query.folded_names |= folded != name;
        query.take(&folded, value)?;
    }
    Ok(query)
}

impl Query {
    fn take(&mut self, name: &str, encoded: &str) -> Result<(), InputProblem> {
        match name {
            "secret" => {
                let value = Zeroizing::new(
                    decode(encoded)
                        .map_err(|_| InputProblem::SecretNotBase32 { lookalike: false })?,
                );
                if let Some(read) = secret::read(&value)? {
                    same(&mut self.secret, read, Parameter::Secret)?;
                }
            }
            "issuer" => {
                let value = decode(encoded).map_err(|_| InputProblem::LabelMalformed)?;
                let value = value.trim();
                match &self.issuer {
                    _ if value.is_empty() => {}
                    None => self.issuer = Some(value.to_owned()),
                    Some(first) => self.repeated_issuer |= first != value,
                }
            }
            "algorithm" => {
                if let Some(value) = plain(encoded) {
                    same(
                        &mut self.algorithm,
                        algorithm(&value)?,
                        Parameter::Algorithm,
                    )?;
                }
            }
            "digits" => {
                if let Some(value) = plain(encoded) {
                    let digits = number(&value)
                        .and_then(|digits| u8::try_from(digits).ok())
                        .filter(|digits| (5..=8).contains(digits))
                        .ok_or(InputProblem::DigitsUnsupported)?;
                    same(&mut self.digits, digits, Parameter::Digits)?;
                }
            }
            "period" => {
                if let Some(value) = plain(encoded) {
                    let period = number(&value).ok_or(InputProblem::PeriodUnsupported)?;
                    same(&mut self.period, period, Parameter::Period)?;
                }
            }
            // An encoder is named for Steam's codes only.
            _ => self.steam |= plain(encoded).is_some_and(|e| e.eq_ignore_ascii_case("steam")),
        }
        Ok(())
    }
}

/// Keeps the first value, and accepts others that say the same.
fn same<T: PartialEq>(
    kept: &mut Option<T>,
    value: T,
    parameter: Parameter,
) -> Result<(), InputProblem> {
    match kept {
        None => *kept = Some(value),
        Some(first) if *first == value => {}
        Some(_) => return Err(conflict(parameter)),
    }
    Ok(())
}

/// Form encoding: `+` is a space, then percent escapes in UTF-8.
fn decode(encoded: &str) -> Result<String, std::str::Utf8Error> {
    let spaced = if encoded.contains('+') {
        Cow::Owned(encoded.replace('+', " "))
    } else {
        Cow::Borrowed(encoded)
    };
    percent_decode_str(&spaced)
        .decode_utf8()
        .map(Cow::into_owned)
}

/// A parameter that is a word or a number; nothing if it is empty. One that does not
/// decode stays as it is, and is refused for what it says.
fn plain(encoded: &str) -> Option<String> {
    let value = decode(encoded).unwrap_or_else(|_| encoded.to_owned());
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

fn number(text: &str) -> Option<u32> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// As [`algorithm`]; nothing if the text is empty.
pub(super) fn algorithm_field(text: &str) -> Result<Option<Algorithm>, InputProblem> {
    match text.trim() {
        "" => Ok(None),
        text => algorithm(text).map(Some),
    }
}

/// The hash function, however it is written: `sha256`, `SHA-256`, `HmacSHA256`.
fn algorithm(text: &str) -> Result<Algorithm, InputProblem> {
    let folded = text.to_ascii_uppercase().replace(['-', '_', ' '], "");
    let name = folded.strip_prefix("HMAC").unwrap_or(&folded);
    match name {
        "SHA1" => Ok(Algorithm::Sha1),
        "SHA256" => Ok(Algorithm::Sha256),
        "SHA512" => Ok(Algorithm::Sha512),
        _ => Err(InputProblem::AlgorithmUnsupported {
            name: is_hash_name(name).then(|| name.to_owned()),
        }),
    }
}

/// Whether a text looks like a hash function's name, fit to be repeated in a problem.
/// Problems do not repeat the input otherwise: what stands here can be a misplaced
/// secret, and none of those is as short as this or begins like this.
fn is_hash_name(text: &str) -> bool {
    const FAMILIES: [&str; 10] = [
        "SHA",
        "MD",
        "BLAKE",
        "RIPEMD",
        "KECCAK",
        "SHAKE",
        "WHIRLPOOL",
        "SM",
        "TIGER",
        "GOST",
    ];
    let word = text.len() <= 7 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let member = FAMILIES.iter().any(|family| {
        text.strip_prefix(family).is_some_and(|rest| {
            rest.len() <= 7
                && rest
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'/')
        })
    });
    word || member
}
