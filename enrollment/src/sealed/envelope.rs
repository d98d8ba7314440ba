//! The envelope: one line of text, and how to close and open it.

use std::fmt;
use std::marker::PhantomData;

use data_encoding::BASE64URL_NOPAD;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{
    Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _, single_shot_open,
    single_shot_seal_with_rng,
};
use rand::SeedableRng as _;
use rand::rngs::{StdRng, SysRng};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use zeroize::Zeroizing;

use super::keys::{KEY_ID_CHARS, OpenKeyring, SealKey, is_key_id};
use super::{Scope, Sealable};

/// The largest sealed value, encoded, in bytes.
///
/// The hosted scheduler takes messages of up to 1 MiB (1,048,576 bytes). What is left
/// is for the rest of the message that carries the value.
pub const MAX_SEALED_BYTES: usize = 1_000_000;

/// The envelope's version. Another one is another format.
const VERSION: &str = "s1";
/// An X25519 public key of 32 bytes in base64url.
const ENC_CHARS: usize = 43;
/// What ChaCha20-Poly1305 adds.
const TAG_BYTES: usize = 16;
/// Everything but the ciphertext: version, key id and encapsulated key, and three dots.
const HEADER_CHARS: usize = VERSION.len() + 1 + KEY_ID_CHARS + 1 + ENC_CHARS + 1;

/// The largest plaintext, in bytes, whose envelope stays within [`MAX_SEALED_BYTES`].
#[must_use]
pub const fn max_plaintext_for_cap() -> usize {
    (MAX_SEALED_BYTES - HEADER_CHARS) * 3 / 4 - TAG_BYTES
}

/// A `T` that only the holder of the right [`super::OpenKey`] can read, for one
/// enrollment.
///
/// As text, which is also its JSON form: `s1.<key id>.<encapsulated key>.<ciphertext>`,
/// the last two in base64url without padding. `Debug` shows the key's id and the length.
pub struct Sealed<T> {
    text: String,
    holds: PhantomData<fn() -> T>,
}

/// Why a value was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// The plaintext is too large for one message.
    #[error(
        "{bytes} bytes are too many for one message; at most {} fit",
        max_plaintext_for_cap()
    )]
    TooLarge {
        /// Size of the plaintext.
        bytes: usize,
    },
    /// The system has no random numbers to give.
    #[error("the system's random number source failed")]
    Random,
    /// The key cannot close envelopes.
    #[error("the sealing key cannot be used; make a new one")]
    UnusableKey,
}

/// Why a sealed value does not open. It never tells apart a changed envelope, another
/// enrollment's and one for another purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// No key with the id that the envelope names is in the ring.
    #[error("the envelope was closed for a key that is not here; add that key to the key file")]
    UnknownKey,
    /// It is not what this key closed for this enrollment and purpose.
    #[error("the envelope does not open for this enrollment and purpose")]
    DoesNotOpen,
}

/// A text is no envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a sealed value of a kind that this release understands")]
pub struct MalformedEnvelope;

impl SealKey {
    /// Closes an envelope around `value` that opens for `scope` only.
    ///
    /// # Errors
    ///
    /// [`SealError::TooLarge`] when the envelope would exceed [`MAX_SEALED_BYTES`];
    /// [`SealError::Random`] and [`SealError::UnusableKey`] as they say.
    pub fn seal<T: Sealable>(&self, scope: &impl Scope, value: &T) -> Result<Sealed<T>, SealError> {
        let plaintext = value.to_plaintext();
        if plaintext.len() > max_plaintext_for_cap() {
            return Err(SealError::TooLarge {
                bytes: plaintext.len(),
            });
        }
        let mut rng = StdRng::try_from_rng(&mut SysRng).map_err(|_| SealError::Random)?;
        let (encapsulated, ciphertext) =
            single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
                &OpModeS::Base,
                self.public(),
                &info::<T>(self.id()),
                &plaintext,
                scope.scope().as_bytes(),
                &mut rng,
            )
            .map_err(|_| SealError::UnusableKey)?;
        let mut text =
            String::with_capacity(HEADER_CHARS + BASE64URL_NOPAD.encode_len(ciphertext.len()));
        text.push_str(VERSION);
        text.push('.');
        text.push_str(self.id());
        text.push('.');
        BASE64URL_NOPAD.encode_append(&encapsulated.to_bytes(), &mut text);
        text.push('.');
        BASE64URL_NOPAD.encode_append(&ciphertext, &mut text);
        Ok(Sealed {
            text,
            holds: PhantomData,
        })
    }
}

impl OpenKeyring {
    /// Opens the envelope that was closed for `scope`.
    ///
    /// # Errors
    ///
    /// [`OpenError::UnknownKey`] when the key that it names is not here, otherwise
    /// [`OpenError::DoesNotOpen`].
    pub fn open<T: Sealable>(
        &self,
        scope: &impl Scope,
        sealed: &Sealed<T>,
    ) -> Result<T, OpenError> {
        let parts = Parts::of(&sealed.text).ok_or(OpenError::DoesNotOpen)?;
        let key = self.find(parts.key_id).ok_or(OpenError::UnknownKey)?;
        let decode = |text: &str| {
            BASE64URL_NOPAD
                .decode(text.as_bytes())
                .map_err(|_| OpenError::DoesNotOpen)
        };
        let encapsulated =
            <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&decode(parts.encapsulated)?)
                .map_err(|_| OpenError::DoesNotOpen)?;
        let plaintext = single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            key.private(),
            &encapsulated,
            &info::<T>(key.id()),
            &decode(parts.ciphertext)?,
            scope.scope().as_bytes(),
        )
        .map_err(|_| OpenError::DoesNotOpen)?;
        T::from_plaintext(Zeroizing::new(plaintext)).ok_or(OpenError::DoesNotOpen)
    }
}

impl<T> Sealed<T> {
    /// The envelope that this text is.
    ///
    /// # Errors
    ///
    /// [`MalformedEnvelope`] when it has another form or is larger than
    /// [`MAX_SEALED_BYTES`]. Whether it opens is another question.
    pub fn from_text(text: String) -> Result<Self, MalformedEnvelope> {
        if text.len() > MAX_SEALED_BYTES || Parts::of(&text).is_none() {
            return Err(MalformedEnvelope);
        }
        Ok(Self {
            text,
            holds: PhantomData,
        })
    }

    /// The envelope as text.
    #[must_use]
    pub fn as_text(&self) -> &str {
        &self.text
    }

    /// The id of the key that opens it.
    #[must_use]
    pub fn key_id(&self) -> &str {
        Parts::of(&self.text).map_or("", |parts| parts.key_id)
    }
}

/// An envelope's fields, still encoded.
struct Parts<'a> {
    key_id: &'a str,
    encapsulated: &'a str,
    ciphertext: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let mut fields = text.split('.');
        if fields.next()? != VERSION {
            return None;
        }
        let parts = Self {
            key_id: fields.next()?,
            encapsulated: fields.next()?,
            ciphertext: fields.next()?,
        };
        let base64url = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        let whole = fields.next().is_none()
            && is_key_id(parts.key_id)
            && parts.encapsulated.len() == ENC_CHARS
            && base64url(parts.encapsulated)
            && parts.ciphertext.len() >= BASE64URL_NOPAD.encode_len(TAG_BYTES)
            && base64url(parts.ciphertext);
        whole.then_some(parts)
    }
}

/// What the key schedule is bound to: format, purpose and key.
fn info<T: Sealable>(key_id: &str) -> Vec<u8> {
    format!("countersign {VERSION} {} {key_id}", T::PURPOSE).into_bytes()
}

impl<T> Clone for Sealed<T> {
    fn clone(&self) -> Self {
        Self {
            text: self.text.clone(),
            holds: PhantomData,
        }
    }
}

impl<T> PartialEq for Sealed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<T> Eq for Sealed<T> {}

impl<T> fmt::Debug for Sealed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({}, {} bytes)", self.key_id(), self.text.len())
    }
}

impl<T> Serialize for Sealed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de, T> Deserialize<'de> for Sealed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_text(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
