//! Values that only the worker's activities can read, wherever they are stored.
//!
//! A scheduler keeps every input and output in clear. So images, URIs and secrets
//! travel as [`Sealed`] values: encrypted with HPKE (RFC 9180, base mode, X25519,
//! HKDF-SHA256, ChaCha20-Poly1305) for the holder of an [`OpenKey`], and bound to one
//! enrollment or import and one purpose. A value that is cut out of one history does not open
//! in another.

mod attachment;
mod envelope;
mod keys;
mod plaintext;

use zeroize::Zeroizing;

use crate::ids::{EnrollmentId, ImportId};

pub(crate) use attachment::{join, split};
pub use envelope::{
    EnvelopeError, Kept, MAX_SEALED_BYTES, MalformedEnvelope, SealError, Sealed,
    max_plaintext_for_cap,
};
pub use keys::{KeyError, OpenKey, OpenKeyring, SealKey, SealKeyring};
pub use plaintext::{ImageBytes, ImportKey, OtpauthText};

/// A plaintext that can be put into an envelope.
pub trait Sealable: Sized {
    /// What the envelope is for. Part of what is authenticated: an envelope for one
    /// purpose does not open for another. Never change one that has been released.
    const PURPOSE: &'static str;

    /// The bytes to encrypt.
    fn to_plaintext(&self) -> Zeroizing<Vec<u8>>;

    /// The value that [`Sealable::to_plaintext`] gave these bytes for; nothing if there
    /// is none.
    fn from_plaintext(bytes: Zeroizing<Vec<u8>>) -> Option<Self>;
}

/// What an envelope is closed for: it opens for nothing else.
pub trait Scope {
    /// The name, unique among all scopes.
    fn scope(&self) -> &str;
}

impl Scope for EnrollmentId {
    fn scope(&self) -> &str {
        self.as_str()
    }
}

impl Scope for ImportId {
    fn scope(&self) -> &str {
        self.as_str()
    }
}
