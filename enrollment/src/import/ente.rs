//! Ente Auth's encrypted export. The key is made of the password with Argon2id; the codes, a
//! list of URIs, are one message of libsodium's secretstream (XChaCha20-Poly1305).

use chacha20::cipher::{KeyIvInit as _, StreamCipher as _, StreamCipherSeek as _};
use chacha20::{ChaCha20, R20, hchacha};
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit as _;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::opening::{Opening, base64, malformed, wrong};
use super::{ImportEntry, lines, parse};
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::Ente;
/// Bytes of a block of ChaCha20.
const BLOCK: usize = 64;
/// Bytes of the header: 16 for the key, 8 for the nonce.
const HEADER: usize = 24;
const TAG: usize = 16;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Export {
    version: u32,
    kdf_params: Derivation,
    encrypted_data: String,
    encryption_nonce: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Derivation {
    /// In bytes.
    mem_limit: u64,
    ops_limit: u32,
    salt: String,
}

pub(super) fn open(text: &str, opening: &Opening<'_>) -> Result<Vec<ImportEntry>, InputProblem> {
    let export: Export = parse(text, FORMAT)?;
    if export.version != 1 {
        return Err(InputProblem::ImportEncrypted { format: FORMAT });
    }
    let password = opening.password(FORMAT)?;
    let bytes = |text: &str| base64(text).ok_or(malformed(FORMAT));
    let salt = bytes(&export.kdf_params.salt)?;
    let sealed = bytes(&export.encrypted_data)?;
    let header = bytes(&export.encryption_nonce)?;
    if header.len() != HEADER || sealed.len() <= TAG {
        return Err(malformed(FORMAT));
    }
    let cost = (
        export.kdf_params.mem_limit / 1024,
        export.kdf_params.ops_limit,
        1,
    );
    let key = opening.argon2id(password.as_bytes(), &salt, cost, FORMAT)?;
    let opened = pull(&key, &header, &sealed).ok_or(wrong(FORMAT))?;
    let text = std::str::from_utf8(&opened).map_err(|_| malformed(FORMAT))?;
    lines::read(text)
}

/// The only message of a secretstream, as libsodium's manual and source describe it.
fn pull(key: &[u8; 32], header: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (for_key, for_nonce) = header.split_at_checked(16)?;
    let for_key: [u8; 16] = for_key.try_into().ok()?;
    let subkey = Zeroizing::new(hchacha::<R20>(&(*key).into(), &for_key.into()).0);
    // A counter of messages, which begins with one, and the rest of the header.
    let mut nonce = [0_u8; 12];
    nonce[0] = 1;
    nonce[4..].copy_from_slice(for_nonce);
    let mut cipher = ChaCha20::new(&(*subkey).into(), &nonce.into());

    let (kind, rest) = sealed.split_first()?;
    let (message, tag) = rest.split_at_checked(rest.len().checked_sub(TAG)?)?;
    let mut first = Zeroizing::new([0_u8; BLOCK]);
    cipher.apply_keystream(&mut *first);
    let authenticator = Poly1305::new_from_slice(&first[..32]).ok()?;
    // The second block hides the message's kind; it is authenticated as it was sent.
    let mut second = Zeroizing::new([0_u8; BLOCK]);
    second[0] = *kind;
    cipher.try_seek(64_u64).ok()?;
    cipher.apply_keystream(&mut *second);
    second[0] = *kind;
    let mut authenticated = Vec::with_capacity(BLOCK + message.len() + 32);
    authenticated.extend_from_slice(&*second);
    authenticated.extend_from_slice(message);
    // As many zeros as the message has bytes over whole blocks of 16, which is how it was
    // written once and has stayed.
    authenticated.resize(authenticated.len() + message.len() % 16, 0);
    authenticated.extend_from_slice(&0_u64.to_le_bytes());
    let length = u64::try_from(BLOCK + message.len()).ok()?;
    authenticated.extend_from_slice(&length.to_le_bytes());
    let computed = authenticator.compute_unpadded(&authenticated);
    // The password is the caller's own: how long it takes to compare tells nobody anything.
    if computed.as_slice() != tag {
        return None;
    }
    let mut opened = Zeroizing::new(message.to_vec());
    cipher.try_seek(128_u64).ok()?;
    cipher.apply_keystream(&mut opened);
    Some(opened)
}
