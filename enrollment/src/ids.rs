//! Names: of an enrollment, and of who asks for one or decides on it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use uuid::Uuid;

/// What every enrollment id begins with.
const PREFIX: &str = "totp-";
/// The longest name of a caller, in characters.
const MAX_CALLER_CHARS: usize = 64;

/// The one name of an enrollment from upload to code: `totp-<uuid>` in lower case.
///
/// It is the orchestration's instance id and the name of the secret in the vault
/// as well. Key Vault compares names without case, so there is one spelling only.
///
/// ```
/// use countersign_enrollment::ids::EnrollmentId;
///
/// let id: EnrollmentId = "totp-67e55044-10b1-426f-9247-bb680e5fe0c8".parse()?;
/// assert_eq!(id.as_str(), "totp-67e55044-10b1-426f-9247-bb680e5fe0c8");
/// assert!("totp-67E55044-10B1-426F-9247-BB680E5FE0C8".parse::<EnrollmentId>().is_err());
/// # Ok::<(), countersign_enrollment::ids::NotAnEnrollmentId>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnrollmentId {
    text: String,
}

impl EnrollmentId {
    /// A new id that nobody can guess (UUID version 4).
    #[must_use]
    pub fn random() -> Self {
        Self::from_uuid(Uuid::new_v4())
    }

    /// The id with this UUID.
    #[must_use]
    pub fn from_uuid(uuid: Uuid) -> Self {
        Self {
            text: format!("{PREFIX}{}", uuid.hyphenated()),
        }
    }

    /// The id as text, 41 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A text is not `totp-` and a lower-case UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an enrollment id; one looks like totp-67e55044-10b1-426f-9247-bb680e5fe0c8")]
pub struct NotAnEnrollmentId;

impl FromStr for EnrollmentId {
    type Err = NotAnEnrollmentId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uuid = text.strip_prefix(PREFIX).ok_or(NotAnEnrollmentId)?;
        let id = Self::from_uuid(Uuid::try_parse(uuid).map_err(|_| NotAnEnrollmentId)?);
        // The parser also takes other spellings of a UUID.
        if id.text == text {
            Ok(id)
        } else {
            Err(NotAnEnrollmentId)
        }
    }
}

/// A caller's name: 1 to 64 of `A-Z a-z 0-9 . _ @ -`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallerId {
    text: String,
}

impl CallerId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A text cannot be a caller's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a caller's name has 1 to {MAX_CALLER_CHARS} characters out of A-Z, a-z, 0-9, '.', '_', '@' and '-'"
)]
pub struct NotACallerId;

impl FromStr for CallerId {
    type Err = NotACallerId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
        if (1..=MAX_CALLER_CHARS).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self {
                text: text.to_owned(),
            })
        } else {
            Err(NotACallerId)
        }
    }
}

macro_rules! text_form {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}

text_form!(EnrollmentId);
text_form!(CallerId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enrollment_id_has_one_spelling() {
        let id = EnrollmentId::random();
        assert_eq!(id.to_string().parse(), Ok(id.clone()));
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<EnrollmentId>(&json).unwrap(), id);
        for wrong in [
            "",
            "totp-",
            "67e55044-10b1-426f-9247-bb680e5fe0c8",
            "totp-67e5504410b1426f9247bb680e5fe0c8",
            "totp-67E55044-10b1-426f-9247-bb680e5fe0c8",
            "TOTP-67e55044-10b1-426f-9247-bb680e5fe0c8",
            "totp-{67e55044-10b1-426f-9247-bb680e5fe0c8}",
            "totp-67e55044-10b1-426f-9247-bb680e5fe0c8 ",
            "totp-urn:uuid:67e55044-10b1-426f-9247-bb680e5fe0c8",
        ] {
            assert_eq!(
                wrong.parse::<EnrollmentId>(),
                Err(NotAnEnrollmentId),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_caller_id_is_short_and_plain() {
        let longest = "x".repeat(MAX_CALLER_CHARS);
        for right in ["a", "ci.deploy-bot_2@example.com", &longest] {
            assert_eq!(right.parse::<CallerId>().unwrap().as_str(), right);
        }
        let too_long = "x".repeat(MAX_CALLER_CHARS + 1);
        for wrong in ["", "a b", "a\n", "ä", "a/b", &too_long] {
            assert_eq!(wrong.parse::<CallerId>(), Err(NotACallerId), "{wrong}");
        }
    }
}
