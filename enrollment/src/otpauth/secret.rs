//! The secret: base32 (RFC 4648 section 6) as people and programs write it.

use data_encoding::{BASE32_NOPAD, DecodeKind};
use zeroize::Zeroizing;

use crate::account::{MAX_SECRET_CHARS, TotpSecret, secret_too_long};
use crate::problem::InputProblem;
use crate::text;

/// A secret and what was odd about its text.
pub(super) struct ReadSecret {
    pub(super) secret: TotpSecret,
    /// Whether the last character held bits that don't make a byte.
    pub(super) trailing_bits: bool,
}

impl PartialEq for ReadSecret {
    fn eq(&self, other: &Self) -> bool {
        self.secret == other.secret
    }
}

/// Reads base32 in either case, with white space, dashes and invisible characters of any
/// script anywhere and padding at the end; nothing if no character is left.
pub(super) fn read(given: &str) -> Result<Option<ReadSecret>, InputProblem> {
    if has_other_words(given) {
        return Err(InputProblem::SecretUnclear);
    }
    // The capacity that suffices, so that no copy stays behind when it grows.
    let mut folded = Zeroizing::new(Vec::with_capacity(given.len()));
    for c in given.chars().filter(|c| !text::is_grouping(*c)) {
        // Another letter is another secret, so none is guessed.
        folded.push(u8::try_from(c).unwrap_or(b'?').to_ascii_uppercase());
    }
    while folded.last() == Some(&b'=') {
        folded.pop();
    }
    if folded.is_empty() {
        return Ok(None);
    }
    if folded.len() > MAX_SECRET_CHARS {
        return Err(secret_too_long());
    }
    let known = |byte: &u8| matches!(byte, b'A'..=b'Z' | b'2'..=b'7');
    if !folded.iter().all(known) {
        // Never guessed: another letter is another secret.
        let lookalike = |byte: &u8| matches!(byte, b'0' | b'1' | b'8' | b'9');
        return Err(InputProblem::SecretNotBase32 {
            lookalike: folded.iter().any(lookalike),
        });
    }
    if may_end_early(given) {
        return Err(InputProblem::SecretUnclear);
    }
    if !is_length(folded.len()) {
        return Err(InputProblem::SecretTruncated);
    }
    let mut bytes = Zeroizing::new(vec![0; folded.len() * 5 / 8]);
    let trailing_bits = match BASE32_NOPAD.decode_mut(&folded, &mut bytes) {
        Ok(_) => false,
        Err(partial) if partial.error.kind == DecodeKind::Trailing => {
            clear_trailing_bits(&mut folded);
            BASE32_NOPAD
                .decode_mut(&folded, &mut bytes)
                .map_err(|_| InputProblem::SecretTruncated)?;
            true
        }
        Err(_) => return Err(InputProblem::SecretNotBase32 { lookalike: false }),
    };
    Ok(Some(ReadSecret {
        secret: TotpSecret::new(bytes)?,
        trailing_bits,
    }))
}

/// Whether white space separates groups in capitals, in small letters or in both from others: a
/// name behind the secret would make another one of it.
fn has_other_words(given: &str) -> bool {
    let case = |word: &str| {
        (
            word.contains(|c: char| c.is_ascii_uppercase()),
            word.contains(|c: char| c.is_ascii_lowercase()),
        )
    };
    // Digits alone are of either.
    let mut cases = given
        .split_whitespace()
        .map(case)
        .filter(|case| *case != (false, false));
    let first = cases.next();
    cases.any(|case| Some(case) != first)
}

/// Whether base32 has texts of this length: of five bits a character, others leave a byte
/// incomplete.
pub(super) const fn is_length(length: usize) -> bool {
    !matches!(length % 8, 1 | 3 | 6)
}

/// Whether secrets usually have this length: those of a multiple of 5 bytes, which need no
/// padding, and those of 16, 32 and 64 bytes.
pub(super) const fn is_usual_length(length: usize) -> bool {
    length > 0 && length.is_multiple_of(8) || matches!(length, 26 | 52 | 103)
}

/// The length of most secrets: 20 bytes (RFC 4226 section 4, R6).
const USUAL: usize = 32;
/// A shorter secret is rather a part of one.
pub(super) const SHORTEST: usize = 16;
/// The longest text that is a word or a number rather than the rest of a secret.
const LONGEST_WORD: usize = 16;
/// The longest group in which secrets are shown, so that they can be read.
const LONGEST_GROUP: usize = 8;

/// Whether a text behind a secret of this length may be its rest or something else: a name, a
/// code, another secret.
pub(super) fn may_be_whole(length: usize, rest: &str) -> bool {
    let rest = rest.trim_end_matches('=');
    let is_word = rest.bytes().all(|byte| byte.is_ascii_alphabetic())
        || rest.bytes().all(|byte| byte.is_ascii_digit());
    let is_long =
        length >= SHORTEST && (is_usual_length(length) || !is_usual_length(length + rest.len()));
    let is_whole = is_long || is_word && rest.len() <= LONGEST_WORD;
    length > 0 && is_length(length) && is_whole
}

/// Whether base32 that is written in groups may have ended before the last of them.
///
/// Groups of one length, as people are shown them, belong together if the whole has a usual
/// length or the last group fills it; so do the halves of a secret of the most usual length. Of
/// others, a secret can have ended wherever it would be whole.
pub(super) fn may_end_early(given: &str) -> bool {
    let given = given.trim_end_matches(|c: char| c == '=' || text::is_grouping(c));
    let groups = given.split(text::is_grouping);
    let groups: Vec<&str> = groups.filter(|group| !group.is_empty()).collect();
    let [first, between @ .., last] = groups.as_slice() else {
        return false;
    };
    let is_half =
        |group: &str| group.len() == USUAL / 2 && group.contains(|c: char| c.is_ascii_digit());
    if between.is_empty() && is_half(first) && is_half(last) {
        return false;
    }
    let total: usize = groups.iter().map(|group| group.len()).sum();
    let before = total - last.len();
    let is_regular = first.len() <= LONGEST_GROUP
        && between.iter().all(|group| group.len() == first.len())
        && last.len() <= first.len();
    if is_regular {
        let is_filled = last.len() == first.len() && !has_unused_bits(last, total);
        return !is_usual_length(total)
            && before >= SHORTEST
            && is_usual_length(before)
            && !is_filled;
    }
    let mut length = 0;
    groups.windows(2).any(|two| {
        length += two[0].len();
        let rest = two[1];
        // What follows in several groups is as long as all of them.
        match length + rest.len() == total {
            true => may_be_whole(length, rest),
            false => {
                length >= SHORTEST
                    && is_length(length)
                    && (is_usual_length(length) || !is_usual_length(total))
            }
        }
    })
}

/// Whether the last character of base32 of this length has bits set that don't make a byte.
fn has_unused_bits(last: &str, total: usize) -> bool {
    let unused = total * 5 % 8;
    let value = match last
        .bytes()
        .next_back()
        .map(|byte| byte.to_ascii_uppercase())
    {
        Some(letter @ b'A'..=b'Z') => letter - b'A',
        Some(digit) => digit.saturating_sub(b'2') + 26,
        None => 0,
    };
    value & ((1_u8 << unused) - 1) != 0
}

/// Sets the bits of the last character that don't make a byte to zero.
fn clear_trailing_bits(folded: &mut [u8]) {
    let unused = folded.len() * 5 % 8;
    if let Some(last) = folded.last_mut() {
        let value = match *last {
            letter @ b'A'..=b'Z' => letter - b'A',
            digit => digit.saturating_sub(b'2') + 26,
        };
        let kept = value >> unused << unused;
        *last = if kept < 26 {
            b'A' + kept
        } else {
            b'2' + kept - 26
        };
    }
}
