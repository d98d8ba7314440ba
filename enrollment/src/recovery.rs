//! Recovery codes: what a service gives out once, to be used in place of codes when the
//! authenticator is lost. Each can be used once.

use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::account::is_unprintable;
use crate::sealed::{self, Sealable};

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
        let mut kept = Self::default();
        for (number, code) in (1..).zip(codes) {
            kept.add(number, code)?;
        }
        Ok(kept)
    }

    /// Adds the code that is number `number` where it comes from, as [`RecoveryCodes::new`]
    /// does.
    ///
    /// # Errors
    ///
    /// [`RecoveryCodesError`]; the code is not added then.
    pub(crate) fn add(&mut self, number: usize, code: &str) -> Result<(), RecoveryCodesError> {
        let code = code.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        if code.is_empty() || self.expose().any(|kept| kept == code) {
            return Ok(());
        }
        if code.len() > MAX_CODE_BYTES {
            return Err(RecoveryCodesError::TooLong(number));
        }
        if code.chars().any(is_unprintable) {
            return Err(RecoveryCodesError::Unprintable(number));
        }
        if self.len() == MAX_CODES {
            return Err(RecoveryCodesError::TooMany);
        }
        self.0.push(Zeroizing::new(code.to_owned()));
        Ok(())
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

/// An account's recovery codes on their way to another installation, with which of them were
/// given out: they stay given out there.
#[derive(Clone, PartialEq, Eq)]
pub struct MovedCodes {
    codes: RecoveryCodes,
    given: Vec<bool>,
}

impl MovedCodes {
    /// How a line of one that was not given out begins.
    const LEFT: char = '+';
    /// How a line of one that was given out begins.
    const GIVEN: char = '-';

    /// The codes, and for each whether it was given out. One that `given` does not reach was
    /// not.
    #[must_use]
    pub fn new(codes: RecoveryCodes, mut given: Vec<bool>) -> Self {
        given.resize(codes.len(), false);
        Self { codes, given }
    }

    /// All of them.
    #[must_use]
    pub const fn codes(&self) -> &RecoveryCodes {
        &self.codes
    }

    /// Those that were given out.
    #[must_use]
    pub fn given(&self) -> RecoveryCodes {
        let codes = self.codes.0.iter().zip(&self.given);
        let given = codes.filter(|(_, given)| **given);
        RecoveryCodes(given.map(|(code, _)| code.clone()).collect())
    }
}

impl fmt::Debug for MovedCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MovedCodes({})", self.codes.len())
    }
}

impl Sealable for MovedCodes {
    const PURPOSE: &'static str = "moved-recovery-codes";

    fn to_plaintext(&self) -> Zeroizing<Vec<u8>> {
        let size = self.codes.0.iter().map(|code| code.len() + 2).sum();
        let mut bytes = Zeroizing::new(Vec::with_capacity(size));
        for (code, given) in self.codes.0.iter().zip(&self.given) {
            let mark = if *given { Self::GIVEN } else { Self::LEFT };
            bytes.push(mark as u8);
            bytes.extend_from_slice(code.as_bytes());
            bytes.push(b'\n');
        }
        bytes
    }

    fn from_plaintext(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        let mut codes = Vec::new();
        let mut given = Vec::new();
        for line in std::str::from_utf8(&bytes).ok()?.lines() {
            let (is_given, code) = match line.strip_prefix(Self::GIVEN) {
                Some(code) => (true, code),
                None => (false, line.strip_prefix(Self::LEFT)?),
            };
            codes.push(code);
            given.push(is_given);
        }
        let kept = RecoveryCodes::new(codes.iter().copied()).ok()?;
        // One that is repeated or empty would give another one its mark.
        kept.expose()
            .eq(codes)
            .then_some(Self { codes: kept, given })
    }
}

/// A value with the recovery codes that belong to it, in one envelope: a task hub can neither
/// take them away nor exchange them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithRecovery<T> {
    /// The value.
    pub value: T,
    /// Its recovery codes, of which there are none for most.
    pub recovery: RecoveryCodes,
}

impl<T> From<T> for WithRecovery<T> {
    fn from(value: T) -> Self {
        Self {
            value,
            recovery: RecoveryCodes::default(),
        }
    }
}

impl<T: Sealable> Sealable for WithRecovery<T> {
    // Without codes it is what the value alone is.
    const PURPOSE: &'static str = T::PURPOSE;

    fn to_plaintext(&self) -> Zeroizing<Vec<u8>> {
        sealed::join(self.value.to_plaintext(), &self.recovery.to_bytes())
    }

    fn from_plaintext(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        let (value, recovery) = sealed::split(&bytes)?;
        Some(Self {
            value: T::from_plaintext(value)?,
            recovery: RecoveryCodes::from_bytes(&recovery)?,
        })
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
    fn what_is_moved_says_of_each_code_whether_it_was_given_out() {
        let codes = RecoveryCodes::new(["a", "-b", "+c"]).unwrap();
        let moved = MovedCodes::new(codes.clone(), vec![false, true]);
        let bytes = moved.to_plaintext();
        assert_eq!(bytes.as_slice(), b"+a\n--b\n++c\n");
        assert_eq!(MovedCodes::from_plaintext(bytes), Some(moved.clone()));
        assert_eq!(moved.codes(), &codes);
        assert_eq!(moved.given(), RecoveryCodes::new(["-b"]).unwrap());
        for wrong in [&b"a\n"[..], b"+a\n-a\n", b"+a\n+\n", b"+\xff\n"] {
            let wrong = Zeroizing::new(wrong.to_vec());
            assert_eq!(MovedCodes::from_plaintext(wrong), None);
        }
    }

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
