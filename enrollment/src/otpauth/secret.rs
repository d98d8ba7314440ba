//! The secret: base32 (RFC 4648 section 6) as people and programs write it.

use data_encoding::{BASE32_NOPAD, DecodeKind};
use zeroize::Zeroizing;

use crate::account::{MAX_SECRET_CHARS, TotpSecret, secret_too_long};
use crate::problem::{InputProblem, Parameter};
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
        return Err(InputProblem::ParamDamaged {
            parameter: Parameter::Secret,
        });
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
    // Five bits a character: these lengths leave a byte incomplete.
    if matches!(folded.len() % 8, 1 | 3 | 6) {
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
