//! What encrypted exports are opened with: a password, within the request's budget.

use aes::Aes256;
use aes::cipher::{BlockModeDecrypt as _, KeyIvInit as _};
use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use argon2::{Algorithm, Argon2, Params, Version};
use cbc::cipher::block_padding::Pkcs7;
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

use super::budget::MAX_SALT;
use super::{Budget, Cost, Exceeded};
use crate::problem::{ImportFormat, InputProblem};

/// A key of 256 bits.
pub(super) type Key = Zeroizing<[u8; 32]>;

/// What one file is opened with.
#[derive(Clone, Copy)]
pub(super) struct Opening<'a> {
    pub(super) password: Option<&'a str>,
    pub(super) budget: &'a Budget,
}

impl<'a> Opening<'a> {
    /// The password for an encrypted file of this kind.
    pub(super) fn password(&self, format: ImportFormat) -> Result<&'a str, InputProblem> {
        let given = self.password.filter(|password| !password.is_empty());
        given.ok_or(InputProblem::ImportPasswordMissing {
            format: Some(format),
        })
    }

    /// PBKDF2 with HMAC-SHA-256.
    pub(super) fn pbkdf2_sha256(
        &self,
        password: &[u8],
        salt: &[u8],
        rounds: u32,
        format: ImportFormat,
    ) -> Result<Key, InputProblem> {
        self.bounded(salt, Cost::pbkdf2(u64::from(rounds), 1), rounds, format)?;
        let mut key = Key::default();
        pbkdf2::pbkdf2::<hmac::Hmac<Sha256>>(password, salt, rounds, &mut *key)
            .map_err(|_| malformed(format))?;
        Ok(key)
    }

    /// PBKDF2 with HMAC-SHA-1, which makes 20 bytes at a time.
    pub(super) fn pbkdf2_sha1(
        &self,
        password: &[u8],
        salt: &[u8],
        rounds: u32,
        format: ImportFormat,
    ) -> Result<Key, InputProblem> {
        self.bounded(salt, Cost::pbkdf2(u64::from(rounds), 2), rounds, format)?;
        let mut key = Key::default();
        pbkdf2::pbkdf2::<hmac::Hmac<Sha1>>(password, salt, rounds, &mut *key)
            .map_err(|_| malformed(format))?;
        Ok(key)
    }

    /// PBKDF2 with HMAC-SHA-512.
    pub(super) fn pbkdf2_sha512(
        &self,
        password: &[u8],
        salt: &[u8],
        rounds: u32,
        format: ImportFormat,
    ) -> Result<Key, InputProblem> {
        // Its blocks are twice as long.
        self.bounded(salt, Cost::pbkdf2(u64::from(rounds), 2), rounds, format)?;
        let mut key = Key::default();
        pbkdf2::pbkdf2::<hmac::Hmac<Sha512>>(password, salt, rounds, &mut *key)
            .map_err(|_| malformed(format))?;
        Ok(key)
    }

    /// Argon2id, version 1.3.
    pub(super) fn argon2id(
        &self,
        password: &[u8],
        salt: &[u8],
        (kib, passes, lanes): (u64, u32, u32),
        format: ImportFormat,
    ) -> Result<Key, InputProblem> {
        let cost = Cost::argon2(kib, passes);
        self.bounded(salt, cost, passes, format)?;
        let _place = self.budget.place(cost)?;
        let kib = u32::try_from(kib).map_err(|_| malformed(format))?;
        let params = Params::new(kib, passes, lanes, Some(32)).map_err(|_| malformed(format))?;
        let mut key = Key::default();
        let derived = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password, salt, &mut *key);
        match derived {
            Ok(()) => Ok(key),
            Err(argon2::Error::OutOfMemory) => Err(InputProblem::ImportTooCostly {
                exceeded: Exceeded::Memory,
            }),
            Err(_) => Err(malformed(format)),
        }
    }

    fn bounded(
        &self,
        salt: &[u8],
        cost: Cost,
        rounds: u32,
        format: ImportFormat,
    ) -> Result<(), InputProblem> {
        if salt.len() > MAX_SALT || rounds == 0 {
            return Err(malformed(format));
        }
        self.budget.spend(cost)
    }
}

/// The other canonical forms in which Unicode writes the characters of a password.
pub(super) fn other_forms(password: &str) -> Vec<Zeroizing<String>> {
    if password.is_ascii() {
        return Vec::new();
    }
    let composed: String = password.nfc().collect();
    let decomposed: String = password.nfd().collect();
    let forms = [composed, decomposed].map(Zeroizing::new);
    let is_other = |form: &Zeroizing<String>| **form != *password;
    forms.into_iter().filter(is_other).collect()
}

/// That a file is damaged.
pub(super) const fn malformed(format: ImportFormat) -> InputProblem {
    InputProblem::ImportMalformed { format }
}

/// That a file does not open with the password.
pub(super) const fn wrong(format: ImportFormat) -> InputProblem {
    InputProblem::ImportPasswordWrong {
        format: Some(format),
        certain: false,
    }
}

/// That the password is another one, where the file has something to tell it by.
pub(super) const fn wrong_for_certain(format: ImportFormat) -> InputProblem {
    InputProblem::ImportPasswordWrong {
        format: Some(format),
        certain: true,
    }
}

/// Opens AES-256-GCM with its tag at the end; nothing if the key is another one.
pub(super) fn gcm(
    key: &[u8],
    nonce: &[u8],
    sealed: &[u8],
    associated: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let cipher = Aes256Gcm::new_from_slice(key).ok()?;
    let nonce: [u8; 12] = nonce.try_into().ok()?;
    let payload = Payload {
        msg: sealed,
        aad: associated,
    };
    let opened = cipher.decrypt(&Nonce::from(nonce), payload);
    opened.ok().map(Zeroizing::new)
}

/// Opens AES-256-CBC with padding; nothing if the padding is wrong.
pub(super) fn cbc(key: &[u8], iv: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let cipher = cbc::Decryptor::<Aes256>::new_from_slices(key, iv).ok()?;
    let mut opened = Zeroizing::new(sealed.to_vec());
    let length = cipher.decrypt_padded::<Pkcs7>(&mut opened).ok()?.len();
    opened.truncate(length);
    Some(opened)
}

/// Base64 in either alphabet, with or without padding and line ends.
pub(super) fn base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut compact = Zeroizing::new(Vec::with_capacity(text.len()));
    compact.extend(text.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD]
        .iter()
        .find_map(|alphabet| alphabet.decode(&compact).ok())
        .map(Zeroizing::new)
}
