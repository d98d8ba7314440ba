//! What people upload, in clear: wiped when dropped, silent in `Debug`, not serializable.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::Sealable;

/// The bytes of an uploaded image.
#[derive(Clone, PartialEq, Eq)]
pub struct ImageBytes {
    bytes: Zeroizing<Vec<u8>>,
}

impl ImageBytes {
    /// Takes the bytes over.
    #[must_use]
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self { bytes }
    }

    /// The bytes, in clear.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }
}

impl Sealable for ImageBytes {
    const PURPOSE: &'static str = "image";

    fn to_plaintext(&self) -> Zeroizing<Vec<u8>> {
        self.bytes.clone()
    }

    fn from_plaintext(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        Some(Self { bytes })
    }
}

impl fmt::Debug for ImageBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageBytes({} bytes)", self.bytes.len())
    }
}

/// A text that should be an otpauth URI.
#[derive(Clone, PartialEq, Eq)]
pub struct OtpauthText {
    text: Zeroizing<String>,
}

impl OtpauthText {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: Zeroizing<String>) -> Self {
        Self { text }
    }

    /// The text, in clear.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl Sealable for OtpauthText {
    const PURPOSE: &'static str = "otpauth";

    fn to_plaintext(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.text.as_bytes().to_vec())
    }

    fn from_plaintext(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        let text = std::str::from_utf8(&bytes).ok()?;
        Some(Self::new(Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for OtpauthText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OtpauthText(redacted)")
    }
}

/// What the ids of imported accounts are derived with: the front door's, lent to the
/// worker for one import.
#[derive(Clone, PartialEq, Eq)]
pub struct ImportKey {
    bytes: Zeroizing<[u8; 32]>,
}

impl ImportKey {
    /// The key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self {
            bytes: Zeroizing::new(bytes),
        }
    }

    /// HMAC-SHA256 (RFC 2104) of `text`.
    pub(crate) fn mac(&self, text: &[u8]) -> [u8; 32] {
        // HMAC takes keys of every length; a fixed array can therefore not be refused.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.bytes.as_slice()) else {
            return [0; 32];
        };
        mac.update(text);
        mac.finalize().into_bytes().into()
    }
}

impl Sealable for ImportKey {
    const PURPOSE: &'static str = "import-key";

    fn to_plaintext(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.bytes.to_vec())
    }

    fn from_plaintext(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        let bytes: [u8; 32] = bytes.as_slice().try_into().ok()?;
        Some(Self::new(bytes))
    }
}

impl fmt::Debug for ImportKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ImportKey(redacted)")
    }
}
