//! Mandates and decisions as they travel through the task hub: signed texts that everyone
//! carries along and only the crate `authority` reads.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// The longest signed text, in bytes. A mandate names at most one recipient, a reason, ten
/// groups and the sources of an import, all of which are bounded.
pub const MAX_SIGNED_BYTES: usize = 64 * 1024;

/// The SHA-256 of something, in lower-case hexadecimal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Digest(String);

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(HEXLOWER.encode(&Sha256::digest(bytes)))
    }

    /// The digest of these parts, each prefixed by its length, so that no two lists of
    /// parts share one.
    #[must_use]
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(HEXLOWER.encode(&hash.finalize()))
    }

    /// The digest that [`Digest::as_str`] has written; nothing for another text.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
        (bytes.len() == 32).then(|| Self(text.to_owned()))
    }

    /// The digest as text, 64 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! signed_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// It is a JWS in compact form (RFC 7515) under Ed25519 (RFC 8037). Nothing in it is
        /// to be believed before `authority` has checked it. `Debug` shows its length only.
        #[derive(Clone, Default, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text as it is, not checked; empty if it is longer than
            /// [`MAX_SIGNED_BYTES`].
            #[must_use]
            pub fn from_text(text: String) -> Self {
                if text.len() > MAX_SIGNED_BYTES {
                    return Self::default();
                }
                Self(text)
            }

            /// The text.
            #[must_use]
            pub fn as_text(&self) -> &str {
                &self.0
            }

            /// Whether there is no text, as in what releases before mandates started.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }

            /// The digest of the text.
            #[must_use]
            pub fn digest(&self) -> Digest {
                Digest::of(self.0.as_bytes())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({} bytes)"), self.0.len())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                if text.len() > MAX_SIGNED_BYTES {
                    return Err(serde::de::Error::custom("the signed text is too long"));
                }
                Ok(Self(text))
            }
        }
    };
}

signed_text! {
    /// What the front door has accepted, signed as a whole.
    SignedMandate
}
signed_text! {
    /// What someone decided, signed by the front door that authenticated them.
    SignedDecision
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_separate_their_parts() {
        let digest = |parts: &[&[u8]]| Digest::of_parts(parts.iter().copied());
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        assert_ne!(digest(&[b"a"]), digest(&[b"a", b""]));
    }

    #[test]
    fn an_endless_text_is_refused() {
        let text = "a".repeat(MAX_SIGNED_BYTES + 1);
        assert!(SignedMandate::from_text(text.clone()).is_empty());
        assert!(serde_json::from_value::<SignedDecision>(text.into()).is_err());
    }
}
