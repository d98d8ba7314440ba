//! The parameters. Decoded here and not by a URL library: those turn bytes that are no UTF-8
//! into replacement characters.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use super::Warning;
use super::secret::{self, ReadSecret};
use super::unknown::{self, Unknown};
use super::{conflict, damage, escapes};
use crate::account::Algorithm;
use crate::problem::{InputProblem, Parameter};
use crate::text;

/// What the parameters say, each checked on its own.
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
    /// Parameters whose names say nothing that is known.
    pub(super) unknown: Vec<Unknown>,
    /// What notes and other texts say about the codes in words.
    pub(super) said: Vec<(Parameter, String)>,
}

const KNOWN: [(&str, Parameter); 6] = [
    ("secret", Parameter::Secret),
    ("issuer", Parameter::Issuer),
    ("algorithm", Parameter::Algorithm),
    ("digits", Parameter::Digits),
    ("period", Parameter::Period),
    ("encoder", Parameter::Encoder),
];

/// Reads the parameters. What is meant to be one and is not understood is refused: its usual
/// value instead would give wrong codes.
pub(super) fn read(text: &str) -> Result<Query, InputProblem> {
    let mut query = Query::default();
    // What the last pair says, if it decides which codes come out.
    let mut deciding = None;
    let mut pairs = text.split('&').peekable();
    while let Some(pair) = pairs.next() {
        let last = pairs.peek().is_none();
        let (name, value) = match pair.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (pair, None),
        };
        if let Some(parameter) = value.and_then(damage::hidden_in) {
            return Err(damaged(parameter));
        }
        // A mark in the middle of a name makes two of it.
        let torn = match (value, pairs.peek()) {
            (Some(value), _) => value
                .rsplit_once('=')
                .map(|(more, _)| format!("{name}{more}")),
            (None, Some(next)) => {
                let next = next.split_once('=').map_or(*next, |(name, _)| name);
                let next = escapes::after_entity(next).unwrap_or(next);
                (!is_known(next)).then(|| format!("{name}{next}"))
            }
            (None, None) => None,
        };
        let decoded = percent_decode_str(name).decode_utf8_lossy();
        let visible: String = decoded.chars().filter(|c| !is_unseen(*c)).collect();
        let folded = visible.to_ascii_lowercase();
        let known = KNOWN.iter().find(|(known, _)| folded == *known);
        match (known, value) {
            (Some((_, parameter)), Some(value)) => {
                query.folded_names |= folded != visible;
                query.take(
                    *parameter,
                    if last {
                        without_stop(*parameter, value)
                    } else {
                        value
                    },
                )?;
                deciding = Some(*parameter).filter(|it| *it != Parameter::Issuer);
            }
            (Some((_, parameter)), None) => return Err(damaged(*parameter)),
            (None, value) => {
                if let Some(parameter) = torn.as_deref().and_then(damage::meant_torn) {
                    return Err(damaged(parameter));
                }
                query.unknown(&folded, &visible, value, last)?;
                // Where something stands alone directly behind a value, or begins with the rest
                // of an entity, the value may be cut off.
                let is_alone = match value {
                    None => !pair.is_empty() && folded != "steam",
                    // Padding of a secret.
                    Some(value) => {
                        value.trim_matches('=').is_empty()
                            && deciding == Some(Parameter::Secret)
                            && visible != folded
                            && text::may_be_secret(&visible, 2)
                    }
                };
                let is_rest = is_alone || escapes::after_entity(pair).is_some();
                if let Some(parameter) = deciding.filter(|_| is_rest) {
                    return Err(damaged(parameter));
                }
                deciding = deciding.filter(|_| pair.is_empty());
            }
        }
    }
    Ok(query)
}

/// The parameter with this name.
pub(super) fn known(name: &str) -> Option<Parameter> {
    let mut known = KNOWN.iter();
    known
        .find(|(known, _)| name.eq_ignore_ascii_case(known))
        .map(|(_, parameter)| *parameter)
}

/// Whether a text, still escaped, is the name of a known parameter.
fn is_known(name: &str) -> bool {
    KNOWN
        .iter()
        .any(|(known, _)| name.eq_ignore_ascii_case(known))
}

/// Which parameter a `#` seems to have cut in two: a secret that goes on behind it, or an entity
/// without its semicolon.
pub(super) fn cut_off(before: &str, fragment: &str) -> Option<Parameter> {
    let (rest, is_entity) = match before.strip_suffix('&') {
        Some(rest) => (
            rest,
            fragment.starts_with(|c: char| c.is_ascii_digit() || c == 'x'),
        ),
        None => (before, false),
    };
    let (_, pair) = rest.rsplit_once(['?', '&'])?;
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let known = KNOWN
        .iter()
        .find(|(known, _)| name.eq_ignore_ascii_case(known));
    if is_entity {
        let more = fragment.split(['=', '&']).next().unwrap_or_default();
        let torn = || damage::meant_torn(&format!("{name}{more}"));
        let parameter = known.map(|(_, parameter)| *parameter).or_else(torn);
        return Some(parameter.unwrap_or(Parameter::Secret));
    }
    let (_, parameter) = known?;
    let more = fragment.split('&').next().unwrap_or_default();
    let is_small = |text: &str| text.contains(|c: char| c.is_ascii_lowercase());
    let goes_on = *parameter == Parameter::Secret
        && text::may_be_secret(more, 2)
        && (!is_small(more) || is_small(value) || more.contains(|c: char| c.is_ascii_digit()));
    goes_on.then_some(Parameter::Secret)
}

/// Whether a secret in what follows the scheme begins with `3D`, as behind an equals sign in
/// mail's encoding, and has a usual length only without it: nobody can tell which one is meant.
pub(super) fn is_ambiguous_mail(rest: &str) -> bool {
    let (_, query) = rest.split_once('?').unwrap_or_default();
    let lower = Zeroizing::new(query.trim().to_ascii_lowercase());
    let alone = lower.matches('=').count() == 1;
    let mut values = lower
        .split('&')
        .filter_map(|pair| pair.strip_prefix("secret=3d"));
    values.any(|value| {
        let letters = value
            .chars()
            .filter(|c| !text::is_grouping(*c) && *c != '=');
        let length = letters.count();
        let is_usual = |length| secret::is_usual_length(length);
        // Where other parameters are not escaped, one of a usual length is what it seems to be.
        length >= secret::SHORTEST && is_usual(length) && (alone || !is_usual(length + 2))
    })
}

/// A value that ends the URI, without what ends the sentence or the quotation around it: words
/// and numbers that decide which codes come out have no such characters.
fn without_stop(parameter: Parameter, value: &str) -> &str {
    let is_stop = |c: char| {
        ".,;:?)]}>\"'\u{bb}\u{ab}\u{201d}\u{201c}\u{2019}\u{2026}\u{3002}\u{ff0c}\u{60c}"
            .contains(c)
    };
    match parameter {
        Parameter::Issuer => value,
        // A shell shows a percent sign where an output has no line end.
        _ => {
            let value = value.strip_suffix('%').unwrap_or(value);
            let shorter = value.trim_end_matches(is_stop);
            if shorter.is_empty() { value } else { shorter }
        }
    }
}

fn damaged(parameter: Parameter) -> InputProblem {
    InputProblem::ParamDamaged { parameter }
}

/// Whether a character shows nothing, joiners included: names have none.
fn is_unseen(c: char) -> bool {
    text::is_invisible(c) || matches!(c, '\u{200c}' | '\u{200d}')
}

impl Query {
    fn take(&mut self, parameter: Parameter, encoded: &str) -> Result<(), InputProblem> {
        match parameter {
            Parameter::Secret => {
                let value = Zeroizing::new(
                    decode(encoded)
                        .map_err(|_| InputProblem::SecretNotBase32 { lookalike: false })?,
                );
                if let Some(read) = secret::read(&value)? {
                    same(&mut self.secret, read, Parameter::Secret)?;
                }
            }
            Parameter::Issuer => {
                let value = decode(encoded).map_err(|_| InputProblem::LabelMalformed)?;
                let value = value.trim();
                match &self.issuer {
                    _ if value.is_empty() => {}
                    None => self.issuer = Some(value.to_owned()),
                    Some(first) => self.repeated_issuer |= first != value,
                }
            }
            Parameter::Algorithm => {
                let read = algorithm(&plain(encoded, parameter)?)?;
                same(&mut self.algorithm, read, parameter)?;
            }
            Parameter::Digits => {
                let digits = number(&plain(encoded, parameter)?)
                    .and_then(|digits| u8::try_from(digits).ok())
                    .filter(|digits| (5..=8).contains(digits))
                    .ok_or(InputProblem::DigitsUnsupported)?;
                same(&mut self.digits, digits, parameter)?;
            }
            Parameter::Period => {
                let value = plain(encoded, parameter)?;
                let period = number(&value).ok_or(InputProblem::PeriodUnsupported)?;
                same(&mut self.period, period, parameter)?;
            }
            Parameter::Encoder => {
                let value = plain(encoded, parameter)?;
                if !value.eq_ignore_ascii_case("steam") {
                    // An encoder is named for Steam's codes only.
                    return Err(InputProblem::TypeUnsupported);
                }
                self.steam = true;
            }
        }
        Ok(())
    }

    /// A parameter whose name is none of the known ones: left out, unless it decides which
    /// codes come out, or one that does is recognizably meant.
    fn unknown(
        &mut self,
        folded: &str,
        visible: &str,
        value: Option<&str>,
        last: bool,
    ) -> Result<(), InputProblem> {
        let said = || {
            let value = decode(value.unwrap_or_default()).unwrap_or_default();
            value.trim().to_ascii_lowercase()
        };
        match folded {
            // Stratum marks Steam's codes so.
            "steam" => {
                self.steam |= !matches!(said().as_str(), "false" | "0" | "no");
                return Ok(());
            }
            "type" | "kind" | "tokentype" | "token_type" | "otptype" | "otp_type" => {
                return match said().as_str() {
                    "" | "totp" => Ok(()),
                    "steam" => {
                        self.steam = true;
                        Ok(())
                    }
                    "hotp" => Err(InputProblem::HotpUnsupported),
                    _ => Err(InputProblem::TypeUnsupported),
                };
            }
            // The secret is another encoding's then, or only a part of it.
            "encoding" | "secretencoding" | "otpkeyformat" => {
                let base32 = said().is_empty() || said() == "base32";
                return if base32 {
                    Ok(())
                } else {
                    Err(damaged(Parameter::Secret))
                };
            }
            name if is_start(name) => {
                return match is_zero(&said()) {
                    true => Ok(()),
                    false => Err(InputProblem::StartUnsupported),
                };
            }
            name if name.starts_with("2step") => return Err(InputProblem::TypeUnsupported),
            _ => {}
        }
        let meant = match value {
            Some(_) => damage::meant(folded)
                .or_else(|| damage::meant_torn(folded))
                .or_else(|| damage::meant_by_value(folded, &said())),
            None => damage::meant_alone(visible, last),
        };
        if let Some(parameter) = meant {
            return Err(damaged(parameter));
        }
        let text = decode(value.unwrap_or_default()).unwrap_or_default();
        self.said.extend(unknown::in_text(visible, &text));
        let is_empty = visible.is_empty() && value.is_none_or(str::is_empty);
        if !is_empty && let Some(unknown) = Unknown::of(visible, &said()) {
            self.unknown.push(unknown);
        }
        Ok(())
    }

    /// Refuses an unknown parameter whose value could be that of one that is not given.
    pub(super) fn refuse_unclear(&self) -> Result<(), InputProblem> {
        let mut unclear = self.unknown.iter().filter_map(|unknown| {
            let mut meant = unknown.may_mean.iter().filter(|it| !self.says(**it));
            Some((unknown, *meant.next()?))
        });
        match unclear.next() {
            Some((unknown, parameter)) => Err(InputProblem::ParamUnclear {
                parameter,
                name: unknown.name.clone(),
            }),
            None => Ok(()),
        }
    }

    /// The unknown parameters, if there are any.
    pub(super) fn ignored(&self) -> Option<Warning> {
        let names = self
            .unknown
            .iter()
            .filter_map(|unknown| unknown.name.clone());
        let names: Vec<String> = names.take(unknown::MAX_NAMES).collect();
        let count = u32::try_from(self.unknown.len()).unwrap_or(u32::MAX);
        (count > 0).then_some(Warning::ParametersIgnored { names, count })
    }

    /// Whether one of the parameters that decide which codes come out is given. Steam's codes are
    /// always made in the same way.
    pub(super) const fn says(&self, parameter: Parameter) -> bool {
        match parameter {
            _ if self.steam => true,
            Parameter::Algorithm => self.algorithm.is_some(),
            Parameter::Digits => self.digits.is_some(),
            Parameter::Period => self.period.is_some(),
            Parameter::Secret | Parameter::Encoder | Parameter::Issuer => false,
        }
    }
}

/// From when on time steps are counted (RFC 6238 calls it T0), as others call it: letters and
/// digits in lower case.
const STARTS: [&str; 8] = [
    "t0",
    "epoch",
    "unixepoch",
    "starttime",
    "initialtime",
    "offset",
    "timeoffset",
    "epochoffset",
];

/// Whether a parameter or member says from when on time steps are counted.
pub(crate) fn is_start(name: &str) -> bool {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    let folded: String = letters.map(|c| c.to_ascii_lowercase()).collect();
    STARTS.contains(&folded.as_str())
}

/// Whether such a value is the usual one, or nothing.
pub(crate) fn is_zero(value: &str) -> bool {
    let value = value.trim();
    value.is_empty() || value.parse::<f64>().is_ok_and(|number| number == 0.0)
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

/// A parameter that is a word or a number. An empty one was meant to say something. One that
/// does not decode stays as it is, and is refused for what it says.
fn plain(encoded: &str, parameter: Parameter) -> Result<String, InputProblem> {
    let value = decode(encoded).unwrap_or_else(|_| encoded.to_owned());
    let visible: String = value.chars().filter(|c| !is_unseen(*c)).collect();
    match visible.trim() {
        "" => Err(damaged(parameter)),
        value => Ok(value.to_owned()),
    }
}

/// A whole number, which tables may write with a fraction of zero.
fn number(text: &str) -> Option<u32> {
    let text = whole_number(text);
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// A number without a fraction of zero.
pub(crate) fn whole_number(text: &str) -> &str {
    match text.split_once(['.', ',']) {
        Some((whole, fraction)) if !whole.is_empty() && !fraction.is_empty() => {
            let is_zero = fraction.bytes().all(|byte| byte == b'0');
            if is_zero { whole } else { text }
        }
        _ => text,
    }
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
/// secret, and none of those is as short as this or is spelled like this.
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
    let word = text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
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
