//! Random secrets and how they are compared.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::TryRng as _;
use rand::rngs::SysRng;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use zeroize::Zeroizing;

/// The operating system's random number source failed.
#[derive(Clone, Copy, Debug, Error)]
#[error("the system's random number source failed")]
pub struct RandomUnavailable;

/// `prefix` and 256 random bits in base64url.
///
/// # Errors
///
/// [`RandomUnavailable`].
pub fn random_token(prefix: &str) -> Result<Zeroizing<String>, RandomUnavailable> {
    let bytes = random_bytes::<32>()?;
    let text = Zeroizing::new(BASE64URL_NOPAD.encode(bytes.as_slice()));
    Ok(Zeroizing::new(format!("{prefix}{}", text.as_str())))
}

/// 256 random bits as 64 hexadecimal digits.
///
/// # Errors
///
/// [`RandomUnavailable`].
pub fn random_hex() -> Result<Zeroizing<String>, RandomUnavailable> {
    let bytes = random_bytes::<32>()?;
    Ok(Zeroizing::new(HEXLOWER.encode(bytes.as_slice())))
}

/// The 32 bytes that 64 hexadecimal digits mean; none if the text is anything else.
pub(crate) fn key_from_hex(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let bytes = Zeroizing::new(HEXLOWER.decode(text.as_bytes()).ok()?);
    let mut key = Zeroizing::new([0; 32]);
    if bytes.len() != key.len() {
        return None;
    }
    key.copy_from_slice(&bytes);
    Some(key)
}

/// `N` random bytes.
pub(crate) fn random_bytes<const N: usize>() -> Result<Zeroizing<[u8; N]>, RandomUnavailable> {
    let mut bytes = Zeroizing::new([0; N]);
    SysRng
        .try_fill_bytes(bytes.as_mut_slice())
        .map_err(|_| RandomUnavailable)?;
    Ok(bytes)
}

/// The hash under which a random secret is kept. The secrets have 256 bits of their
/// own, so a slow password hash would add nothing.
pub(crate) fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Whether both are equal, in constant time.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// HMAC-SHA256 (RFC 2104) over length-prefixed parts, so that no two lists of
/// parts give the same input.
pub(crate) fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC accepts keys of any length, so a fixed array is never refused.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_distinguished() {
        let key = [7; 32];
        assert_ne!(mac(&key, &[b"ab", b"c"]), mac(&key, &[b"a", b"bc"]));
        assert_ne!(mac(&key, &[b"a"]), mac(&[8; 32], &[b"a"]));
        assert_eq!(mac(&key, &[b"a"]), mac(&key, &[b"a"]));
        assert_ne!(*random_token("x").unwrap(), *random_token("x").unwrap());
    }
}
