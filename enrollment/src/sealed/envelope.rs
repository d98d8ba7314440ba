//! The envelope: one line of text, and how to close and open it.

use std::fmt;
use std::marker::PhantomData;

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, Key, KeyInit as _, Nonce};
use data_encoding::BASE64URL_NOPAD;
use hkdf::Hkdf;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{
    Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _, single_shot_open,
    single_shot_seal_with_rng,
};
use rand::rngs::{StdRng, SysRng};
use rand::{SeedableRng as _, TryRng as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

use super::keys::{KEY_ID_CHARS, OpenKey, OpenKeyring, SealKey, is_key_id};
use super::{Scope, Sealable};
use crate::mandate::Digest;

/// The largest sealed value, encoded, in bytes.
///
/// The hosted scheduler takes messages of up to 1 MiB (1,048,576 bytes). What is left
/// is for the rest of the message that carries the value.
pub const MAX_SEALED_BYTES: usize = 1_000_000;

/// The version of an envelope that anyone with the public key can close. Another one is
/// another format.
const VERSION: &str = "s1";
/// The version of an envelope that only a worker can close.
const KEPT_VERSION: &str = "k1";
/// An X25519 public key, or the salt of what workers keep: 32 bytes in base64url.
const ENC_CHARS: usize = 43;
/// How many random bytes make the key of what a worker keeps a new one each time.
const SALT_BYTES: usize = 32;
/// What ChaCha20-Poly1305 and AES-256-GCM add.
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
    #[error("the sealing key cannot be used; create a new one")]
    UnusableKey,
}

/// Why a sealed value does not open. It never distinguishes a changed envelope, another
/// enrollment's and one for another purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EnvelopeError {
    /// No key with the id that the envelope names is in the ring.
    #[error("the envelope was sealed for an unknown key; add that key to the key file")]
    UnknownKey,
    /// It is not what this key closed for this enrollment and purpose.
    #[error("the envelope cannot be opened for this enrollment and purpose")]
    DoesNotOpen,
}

/// A text is not an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a sealed value that this release understands")]
pub struct MalformedEnvelope;

impl SealKey {
    /// Closes an envelope around `value` that opens for `scope` only.
    ///
    /// # Errors
    ///
    /// [`SealError::TooLarge`] when the envelope would exceed [`MAX_SEALED_BYTES`];
    /// [`SealError::Random`] and [`SealError::UnusableKey`] as they say.
    pub fn seal<T: Sealable>(&self, scope: &impl Scope, value: &T) -> Result<Sealed<T>, SealError> {
        let plaintext = plaintext_of(value)?;
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
        Ok(Sealed {
            text: text(VERSION, self.id(), &encapsulated.to_bytes(), &ciphertext),
            holds: PhantomData,
        })
    }
}

/// What is closed in, if it fits into a message.
fn plaintext_of<T: Sealable>(value: &T) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let plaintext = value.to_plaintext();
    let bytes = plaintext.len();
    if bytes > max_plaintext_for_cap() {
        return Err(SealError::TooLarge { bytes });
    }
    Ok(plaintext)
}

/// An envelope as text. `encapsulated` is what its key follows from.
fn text(version: &str, key_id: &str, encapsulated: &[u8], ciphertext: &[u8]) -> String {
    let mut text =
        String::with_capacity(HEADER_CHARS + BASE64URL_NOPAD.encode_len(ciphertext.len()));
    for field in [version, key_id] {
        text.push_str(field);
        text.push('.');
    }
    BASE64URL_NOPAD.encode_append(encapsulated, &mut text);
    text.push('.');
    BASE64URL_NOPAD.encode_append(ciphertext, &mut text);
    text
}

impl OpenKeyring {
    /// Opens the envelope that was closed for `scope`.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError::UnknownKey`] when the key that it names is not here, otherwise
    /// [`EnvelopeError::DoesNotOpen`].
    pub fn open<T: Sealable>(
        &self,
        scope: &impl Scope,
        sealed: &Sealed<T>,
    ) -> Result<T, EnvelopeError> {
        let parts = Parts::of(VERSION, &sealed.text).ok_or(EnvelopeError::DoesNotOpen)?;
        let key = self.find(parts.key_id).ok_or(EnvelopeError::UnknownKey)?;
        let (encapsulated, ciphertext) = parts.decode()?;
        let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&encapsulated)
            .map_err(|_| EnvelopeError::DoesNotOpen)?;
        let plaintext = single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            key.private(),
            &encapsulated,
            &info::<T>(key.id()),
            &ciphertext,
            scope.scope().as_bytes(),
        )
        .map_err(|_| EnvelopeError::DoesNotOpen)?;
        T::from_plaintext(Zeroizing::new(plaintext)).ok_or(EnvelopeError::DoesNotOpen)
    }

    /// Closes an envelope for the workers of this installation, which only they can close:
    /// what an activity hands on through a task hub that is not trusted. It opens for
    /// `scope`, and under `mandate` only.
    ///
    /// # Errors
    ///
    /// As [`SealKey::seal`].
    pub fn keep<T: Sealable>(
        &self,
        scope: &impl Scope,
        mandate: &Digest,
        value: &T,
    ) -> Result<Kept<T>, SealError> {
        let key = self.first();
        let plaintext = plaintext_of(value)?;
        let mut salt = [0; SALT_BYTES];
        SysRng
            .try_fill_bytes(&mut salt)
            .map_err(|_| SealError::Random)?;
        let cipher = kept_cipher::<T>(key, mandate, &salt).map_err(|_| SealError::UnusableKey)?;
        let payload = Payload {
            msg: &plaintext,
            aad: scope.scope().as_bytes(),
        };
        let ciphertext = cipher
            .encrypt(&Nonce::default(), payload)
            .map_err(|_| SealError::UnusableKey)?;
        Ok(Kept {
            text: text(KEPT_VERSION, key.id(), &salt, &ciphertext),
            holds: PhantomData,
        })
    }

    /// Opens the envelope that a worker of this installation has closed for `scope` under
    /// `mandate`.
    ///
    /// # Errors
    ///
    /// As [`OpenKeyring::open`].
    pub fn open_kept<T: Sealable>(
        &self,
        scope: &impl Scope,
        mandate: &Digest,
        kept: &Kept<T>,
    ) -> Result<T, EnvelopeError> {
        let parts = Parts::of(KEPT_VERSION, &kept.text).ok_or(EnvelopeError::DoesNotOpen)?;
        let key = self.find(parts.key_id).ok_or(EnvelopeError::UnknownKey)?;
        let (salt, ciphertext) = parts.decode()?;
        let cipher =
            kept_cipher::<T>(key, mandate, &salt).map_err(|_| EnvelopeError::DoesNotOpen)?;
        let payload = Payload {
            msg: &ciphertext,
            aad: scope.scope().as_bytes(),
        };
        let plaintext = cipher
            .decrypt(&Nonce::default(), payload)
            .map_err(|_| EnvelopeError::DoesNotOpen)?;
        T::from_plaintext(Zeroizing::new(plaintext)).ok_or(EnvelopeError::DoesNotOpen)
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
        if text.len() > MAX_SEALED_BYTES || Parts::of(VERSION, &text).is_none() {
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
        Parts::of(VERSION, &self.text).map_or("", |parts| parts.key_id)
    }

    /// The digest of the envelope: what a mandate names it by.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.text.as_bytes())
    }
}

/// An envelope's fields, still encoded.
struct Parts<'a> {
    key_id: &'a str,
    encapsulated: &'a str,
    ciphertext: &'a str,
}

impl<'a> Parts<'a> {
    fn of(version: &str, text: &'a str) -> Option<Self> {
        let mut fields = text.split('.');
        if fields.next()? != version {
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

    /// What the envelope's key follows from, and the ciphertext.
    fn decode(&self) -> Result<(Vec<u8>, Vec<u8>), EnvelopeError> {
        let decode = |text: &str| {
            BASE64URL_NOPAD
                .decode(text.as_bytes())
                .map_err(|_| EnvelopeError::DoesNotOpen)
        };
        Ok((decode(self.encapsulated)?, decode(self.ciphertext)?))
    }
}

/// What the key schedule is bound to: format, purpose and key.
fn info<T: Sealable>(key_id: &str) -> Vec<u8> {
    format!("countersign {VERSION} {} {key_id}", T::PURPOSE).into_bytes()
}

/// The cipher of one envelope that workers keep. Its key follows from the private half, which
/// workers alone have, and a salt of its own (RFC 5869), so that no key ever has two messages
/// and the nonce may be the same.
fn kept_cipher<T: Sealable>(
    key: &OpenKey,
    mandate: &Digest,
    salt: &[u8],
) -> Result<Aes256Gcm, hkdf::InvalidLength> {
    let mut derived = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(salt), &*key.private_bytes())
        .expand(&kept_info::<T>(key.id(), mandate), &mut *derived)?;
    let derived: &Key<Aes256Gcm> = (&*derived).into();
    Ok(Aes256Gcm::new(derived))
}

/// The same for what workers keep, bound to the mandate too.
fn kept_info<T: Sealable>(key_id: &str, mandate: &Digest) -> Vec<u8> {
    format!(
        "countersign {KEPT_VERSION} {} {key_id} {mandate}",
        T::PURPOSE
    )
    .into_bytes()
}

/// A `T` that a worker hands to a worker through the task hub: nobody else can read it, and
/// nobody else can have made it.
///
/// As text, which is also its JSON form: `k1` and the same fields as [`Sealed`].
pub struct Kept<T> {
    text: String,
    holds: PhantomData<fn() -> T>,
}

macro_rules! envelope {
    ($name:ident, $($version:ident),+) => {
        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                Self {
                    text: self.text.clone(),
                    holds: PhantomData,
                }
            }
        }

        impl<T> PartialEq for $name<T> {
            fn eq(&self, other: &Self) -> bool {
                self.text == other.text
            }
        }

        impl<T> Eq for $name<T> {}

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let parts = [$($version),+]
                    .into_iter()
                    .find_map(|version| Parts::of(version, &self.text));
                let key_id = parts.map_or("", |parts| parts.key_id);
                let bytes = self.text.len();
                write!(
                    f,
                    concat!(stringify!($name), "({}, {} bytes)"),
                    key_id, bytes
                )
            }
        }

        impl<T> Serialize for $name<T> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.text)
            }
        }

        impl<'de, T> Deserialize<'de> for $name<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let known = [$($version),+]
                    .into_iter()
                    .any(|version| Parts::of(version, &text).is_some());
                if text.len() > MAX_SEALED_BYTES || !known {
                    return Err(serde::de::Error::custom(MalformedEnvelope));
                }
                Ok(Self {
                    text,
                    holds: PhantomData,
                })
            }
        }
    };
}

envelope!(Sealed, VERSION);
// The histories of releases before mandates hold envelopes of the other version in these
// places. They are read, so that such a history replays, and do not open.
envelope!(Kept, KEPT_VERSION, VERSION);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::EnrollmentId;
    use crate::sealed::{ImageBytes, OtpauthText};

    fn ring() -> OpenKeyring {
        OpenKeyring::new(OpenKey::generate().unwrap())
    }

    fn secret() -> OtpauthText {
        OtpauthText::new(Zeroizing::new(
            "otpauth://totp/a?secret=2FASTEST".to_owned(),
        ))
    }

    #[test]
    fn a_sealed_value_opens_for_its_id_purpose_and_key_only() {
        let (ring, other) = (ring(), ring());
        let (id, elsewhere) = (EnrollmentId::random(), EnrollmentId::random());
        let sealed = ring.seal_key().seal(&id, &secret()).unwrap();
        assert_eq!(ring.open(&id, &sealed), Ok(secret()));

        assert_eq!(
            ring.open(&elsewhere, &sealed),
            Err(EnvelopeError::DoesNotOpen)
        );
        assert_eq!(other.open(&id, &sealed), Err(EnvelopeError::UnknownKey));
        let picture = Sealed::<ImageBytes>::from_text(sealed.text.clone()).unwrap();
        assert_eq!(ring.open(&id, &picture), Err(EnvelopeError::DoesNotOpen));
        for at in 0..sealed.text.len() {
            let mut changed = sealed.text.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            if let Ok(changed) = Sealed::<OtpauthText>::from_text(changed) {
                assert!(ring.open(&id, &changed).is_err(), "changed at {at}");
            }
        }
    }

    #[test]
    fn what_workers_keep_is_of_their_making_and_for_one_mandate() {
        let ring = ring();
        let id = EnrollmentId::random();
        let (mandate, another) = (Digest::of(b"this one"), Digest::of(b"another"));
        let kept = ring.keep(&id, &mandate, &secret()).unwrap();
        assert_eq!(ring.open_kept(&id, &mandate, &kept), Ok(secret()));

        let elsewhere = EnrollmentId::random();
        for (scope, mandate) in [(&id, &another), (&elsewhere, &mandate)] {
            let opened = ring.open_kept(scope, mandate, &kept);
            assert_eq!(opened, Err(EnvelopeError::DoesNotOpen));
        }
        // Someone with the public half seals for the same id and says that a worker kept it.
        let sealed = ring.seal_key().seal(&id, &secret()).unwrap();
        let renamed = sealed.text.replacen(VERSION, KEPT_VERSION, 1);
        for text in [renamed, sealed.text] {
            let claimed = Kept::<OtpauthText> {
                text,
                holds: PhantomData,
            };
            let opened = ring.open_kept(&id, &mandate, &claimed);
            assert_eq!(opened, Err(EnvelopeError::DoesNotOpen));
        }
    }
}
