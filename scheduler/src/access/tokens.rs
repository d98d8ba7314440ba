//! Tokens that are listed in a file.

use std::path::Path;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{AccessError, text, tickets};

/// The fewest characters of a token. 32 hexadecimal digits are 128 bits.
pub(super) const SHORTEST: usize = 32;

/// Only digests are kept: comparing them reveals nothing about how much of a guess was
/// right, and a dump of the memory lists no tokens.
pub(super) struct Tokens(pub(super) Vec<Known>);

/// The stored form of a token.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) digest: [u8; 32],
    /// The key of its tickets.
    pub(super) tickets: [u8; 32],
}

impl Known {
    pub(super) fn of(token: &str) -> Self {
        Self {
            digest: digest(token),
            tickets: tickets::key_of(token),
        }
    }
}

impl Tokens {
    /// The tokens in the file at `path`.
    pub(super) fn parse(path: &Path, content: &[u8]) -> Result<Self, AccessError> {
        let mut tokens = Vec::new();
        for (at, line) in text(path, content)?.lines().enumerate() {
            let token = line.trim();
            if token.is_empty() || token.starts_with('#') {
                continue;
            }
            if token.len() < SHORTEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(AccessError::Token {
                    path: path.to_owned(),
                    line: at + 1,
                });
            }
            tokens.push(Known::of(token));
        }
        if tokens.is_empty() {
            return Err(AccessError::NoTokens {
                path: path.to_owned(),
            });
        }
        Ok(Self(tokens))
    }

    pub(super) fn know(&self, token: &str) -> bool {
        let presented = digest(token);
        self.0.iter().fold(false, |known, each| {
            known | bool::from(each.digest.ct_eq(&presented))
        })
    }
}

pub(super) fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
