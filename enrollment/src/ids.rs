//! Names: of an enrollment, an import or a request, and of who asks for one or decides on it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use uuid::Uuid;

/// What every enrollment id begins with.
const PREFIX: &str = "totp-";
/// What every import's id begins with.
const IMPORT_PREFIX: &str = "import-";
/// What every request's id begins with.
const REQUEST_PREFIX: &str = "request-";
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

macro_rules! plain_id {
    (
        $(#[$doc:meta])* $name:ident, $prefix:ident,
        $(#[$wrong_doc:meta])* $wrong:ident, $message:literal
    ) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name {
            text: String,
        }

        impl $name {
            /// A new id that nobody can guess (UUID version 4).
            #[must_use]
            pub fn random() -> Self {
                Self::from_uuid(Uuid::new_v4())
            }

            /// The id with this UUID.
            #[must_use]
            pub fn from_uuid(uuid: Uuid) -> Self {
                Self {
                    text: format!("{}{}", $prefix, uuid.hyphenated()),
                }
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.text
            }
        }

        $(#[$wrong_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
        #[error($message)]
        pub struct $wrong;

        impl FromStr for $name {
            type Err = $wrong;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                uuid_after($prefix, text)
                    .map(Self::from_uuid)
                    .ok_or($wrong)
            }
        }
    };
}

plain_id!(
    /// The name of an import: `import-<uuid>` in lower case. It is the orchestration's
    /// instance id.
    ImportId, IMPORT_PREFIX,
    /// A text is not `import-` and a lower-case UUID.
    NotAnImportId,
    "not an import's id; one looks like import-67e55044-10b1-426f-9247-bb680e5fe0c8"
);
plain_id!(
    /// The name of a request to do something with an account: `request-<uuid>` in lower
    /// case. It is the orchestration's instance id.
    RequestId, REQUEST_PREFIX,
    /// A text is not `request-` and a lower-case UUID.
    NotARequestId,
    "not a request's id; one looks like request-67e55044-10b1-426f-9247-bb680e5fe0c8"
);

/// A text is not `totp-` and a lower-case UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an enrollment id; one looks like totp-67e55044-10b1-426f-9247-bb680e5fe0c8")]
pub struct NotAnEnrollmentId;

impl FromStr for EnrollmentId {
    type Err = NotAnEnrollmentId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        uuid_after(PREFIX, text)
            .map(Self::from_uuid)
            .ok_or(NotAnEnrollmentId)
    }
}

/// The UUID that stands for the first 16 bytes of a keyed hash (RFC 9562 version 8).
#[must_use]
pub fn uuid_of(mac: &[u8; 32]) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&mac[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The UUID after `prefix`, in the one spelling that ids have.
fn uuid_after(prefix: &str, text: &str) -> Option<Uuid> {
    let text = text.strip_prefix(prefix)?;
    let uuid = Uuid::try_parse(text).ok()?;
    // The parser also takes other spellings of a UUID.
    let mut buffer = Uuid::encode_buffer();
    (uuid.hyphenated().encode_lower(&mut buffer) == text).then_some(uuid)
}

/// A caller's name: 1 to 64 of `A-Z a-z 0-9 . _ @ : -`. An API key's has no `:`, so that
/// callers who are known by something else cannot be taken for one.
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
    "a caller's name must have 1 to {MAX_CALLER_CHARS} of the characters A-Z, a-z, 0-9, '.', '_', '@', ':' and '-'"
)]
pub struct NotACallerId;

impl FromStr for CallerId {
    type Err = NotACallerId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._@:-".contains(&byte);
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
text_form!(ImportId);
text_form!(RequestId);
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
    fn an_import_is_no_enrollment() {
        let id = ImportId::random();
        assert_eq!(id.to_string().parse(), Ok(id.clone()));
        assert!(id.as_str().parse::<EnrollmentId>().is_err());
        assert!(EnrollmentId::random().as_str().parse::<ImportId>().is_err());
        let id = RequestId::random();
        assert_eq!(id.to_string().parse(), Ok(id.clone()));
        assert!(id.as_str().parse::<EnrollmentId>().is_err());
    }

    #[test]
    fn a_caller_id_is_short_and_plain() {
        let longest = "x".repeat(MAX_CALLER_CHARS);
        for right in ["a", "ci.deploy-bot_2@example.com", "oidc:1", &longest] {
            assert_eq!(right.parse::<CallerId>().unwrap().as_str(), right);
        }
        let too_long = "x".repeat(MAX_CALLER_CHARS + 1);
        for wrong in ["", "a b", "a\n", "ä", "a/b", &too_long] {
            assert_eq!(wrong.parse::<CallerId>(), Err(NotACallerId), "{wrong}");
        }
    }
}
