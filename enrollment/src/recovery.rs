//! Recovery codes: what a service gives out once, to be used in place of codes when the
//! authenticator is lost. Each can be used once.

use std::collections::BTreeSet;
use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::account::is_unprintable;
use crate::sealed::Sealable;

/// The most recovery codes of one account. Services give out 5 to 20.
pub const MAX_CODES: usize = 64;
/// The longest recovery code, in bytes.
pub const MAX_CODE_BYTES: usize = 128;

/// Why a list is not taken as recovery codes. It repeats none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecoveryCodesError {
    /// There are too many.
    #[error("an account can have at most {MAX_CODES} recovery codes")]
    TooMany,
    /// One is too long.
    #[error("recovery code number {0} has more than {MAX_CODE_BYTES} bytes")]
    TooLong(usize),
    /// One has a line end or something else in it that cannot be seen.
    #[error("recovery code number {0} contains a line ending or another control character")]
    Unprintable(usize),
}

/// The recovery codes of an account, in their order, each once. Wiped when dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RecoveryCodes(Vec<Zeroizing<String>>);

impl RecoveryCodes {
    /// The codes without white space around them. Empty ones and repeated ones are left out.
    ///
    /// # Errors
    ///
    /// [`RecoveryCodesError`].
    pub fn new<'a>(codes: impl IntoIterator<Item = &'a str>) -> Result<Self, RecoveryCodesError> {
        let mut kept: Vec<Zeroizing<String>> = Vec::new();
        let mut seen = BTreeSet::new();
        for (number, code) in (1..).zip(codes) {
            let code = code.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
            if code.is_empty() || !seen.insert(code) {
                continue;
            }
            if code.len() > MAX_CODE_BYTES {
                return Err(RecoveryCodesError::TooLong(number));
            }
            if code.chars().any(is_unprintable) {
                return Err(RecoveryCodesError::Unprintable(number));
            }
            if kept.len() == MAX_CODES {
                return Err(RecoveryCodesError::TooMany);
            }
            kept.push(Zeroizing::new(code.to_owned()));
        }
        Ok(Self(kept))
    }

    /// The codes of a text, one a line.
    ///
    /// # Errors
    ///
    /// [`RecoveryCodesError`].
    pub fn of_lines(text: &str) -> Result<Self, RecoveryCodesError> {
        Self::new(text.lines())
    }

    /// The codes, in clear.
    pub fn expose(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|code| code.as_str())
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes to keep, from which [`RecoveryCodes::from_bytes`] makes the same codes.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let size = self.0.iter().map(|code| code.len() + 1).sum();
        let mut bytes = Zeroizing::new(Vec::with_capacity(size));
        for code in &self.0 {
            bytes.extend_from_slice(code.as_bytes());
            bytes.push(b'\n');
        }
        bytes
    }

    /// The codes that were kept as these bytes; nothing if they are none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::of_lines(std::str::from_utf8(bytes).ok()?).ok()
    }
}

impl fmt::Debug for RecoveryCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecoveryCodes({})", self.0.len())
    }
}

impl Sealable for RecoveryCodes {
    const PURPOSE: &'static str = "recovery-codes";

    fn to_plaintext(&self) -> Zeroizing<Vec<u8>> {
        self.to_bytes()
    }

    fn from_plaintext(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        Self::from_bytes(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_kept_once_in_order_and_without_what_surrounds_it() {
        let codes = RecoveryCodes::of_lines("\u{feff}b 1\r\n\r\n  a-2\u{a0}\nb 1\nc\n").unwrap();
        assert_eq!(codes.expose().collect::<Vec<_>>(), ["b 1", "a-2", "c"]);
        assert_eq!(
            RecoveryCodes::from_bytes(&codes.to_bytes()),
            Some(codes.clone())
        );
        assert_eq!(format!("{codes:?}"), "RecoveryCodes(3)");
        let many: Vec<String> = (0..=MAX_CODES).map(|number| number.to_string()).collect();
        let few = RecoveryCodes::new(many.iter().skip(1).map(String::as_str)).unwrap();
        assert_eq!(few.len(), MAX_CODES);
        for (wrong, problem) in [
            (many, RecoveryCodesError::TooMany),
            (
                vec!["a".to_owned(), "b".repeat(MAX_CODE_BYTES + 1)],
                RecoveryCodesError::TooLong(2),
            ),
            (vec!["a\nb".to_owned()], RecoveryCodesError::Unprintable(1)),
        ] {
            let refused = RecoveryCodes::new(wrong.iter().map(String::as_str));
            assert_eq!(refused, Err(problem));
        }
    }
}
