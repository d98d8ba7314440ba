//! OTPClient's database, which is encrypted with AES-256-GCM under a key that Argon2id makes of
//! the password: of versions 2 and 3, whose headers say so. Version 1 takes PBKDF2, and nothing in
//! it says what it is. The plain list is read with others that are like it.

use aes::Aes256;
use aes::cipher::consts::U16;
use aes_gcm::AesGcm;
use aes_gcm::aead::{Aead as _, KeyInit as _, Nonce, Payload};
use zeroize::Zeroizing;

use super::opening::{Opening, malformed, wrong};
use super::{Cost, ImportEntry, listed};
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::OtpClient;
const NAME: &[u8] = b"OTPClient";
const NONCE: usize = 16;
const SALT: usize = 32;
/// The parameters that the app itself takes: passes, KiB of memory and lanes.
const PASSES: std::ops::RangeInclusive<u32> = 1..=64;
const LANES: std::ops::RangeInclusive<u32> = 1..=16;

/// The shortest database of version 1 with a token in it, in bytes.
const SHORTEST: usize = 128;
/// The rounds of PBKDF2 in version 1.
const EARLIER_ROUNDS: u32 = 100_000;

/// What stands in front of the sealed list, which it is bound to.
struct Header<'a> {
    nonce: &'a [u8],
    salt: &'a [u8],
    passes: u32,
    kib: u32,
    lanes: u32,
    length: usize,
}

pub(super) fn is_database(bytes: &[u8]) -> bool {
    bytes.starts_with(NAME)
}

pub(super) fn open(bytes: &[u8], opening: &Opening<'_>) -> Result<Vec<ImportEntry>, InputProblem> {
    let header = header(bytes)?;
    let password = opening.password(FORMAT)?;
    if !PASSES.contains(&header.passes) || !LANES.contains(&header.lanes) {
        return Err(malformed(FORMAT));
    }
    let (head, sealed) = bytes.split_at(header.length);
    let unseal = |password: &[u8]| {
        let cost = (u64::from(header.kib), header.passes, header.lanes);
        let key = opening.argon2id(password, header.salt, cost, FORMAT)?;
        Ok::<_, InputProblem>(gcm(&*key, header.nonce, sealed, head))
    };
    let password = password.as_bytes();
    let mut opened = unseal(password)?;
    // Earlier releases took as many bytes of a password as it has characters.
    let characters = String::from_utf8_lossy(password).chars().count();
    if opened.is_none() && characters < password.len() {
        opened = unseal(&password[..characters])?;
    }
    plain(&opened.ok_or(wrong(FORMAT))?)
}

/// Opens a database of version 1, if the password fits: nothing else identifies it.
pub(super) fn try_earlier(
    bytes: &[u8],
    opening: &Opening<'_>,
) -> Option<Result<Vec<ImportEntry>, InputProblem>> {
    let password = opening.password.filter(|_| bytes.len() >= SHORTEST)?;
    let (head, sealed) = bytes.split_at_checked(NONCE + SALT)?;
    let (nonce, salt) = head.split_at(NONCE);
    // It takes as many bytes of a password as it has characters.
    let password = password.as_bytes().get(..password.chars().count())?;
    let cost = Cost::pbkdf2(u64::from(EARLIER_ROUNDS), 2);
    if !opening.budget.has_to_spare(cost) {
        return None;
    }
    let key = opening
        .pbkdf2_sha512(password, salt, EARLIER_ROUNDS, FORMAT)
        .ok()?;
    gcm(&*key, nonce, sealed, head).map(|opened| plain(&opened))
}

fn plain(opened: &[u8]) -> Result<Vec<ImportEntry>, InputProblem> {
    let text = std::str::from_utf8(opened).map_err(|_| malformed(FORMAT))?;
    listed::read(text.trim_end_matches('\0'), FORMAT)
}

/// Reads the header: of version 3 in network order, of version 2 as memory has it on the usual
/// processors, with three bytes in front of the version that are not used.
fn header(bytes: &[u8]) -> Result<Header<'_>, InputProblem> {
    let number = |at: usize| -> Option<[u8; 4]> { bytes.get(at..at + 4)?.try_into().ok() };
    let version = number(NAME.len()).ok_or(malformed(FORMAT))?;
    let (begin, of): (usize, fn([u8; 4]) -> u32) = match u32::from_be_bytes(version) {
        3 => (NAME.len() + 4, u32::from_be_bytes),
        2 => (NAME.len() + 7, u32::from_le_bytes),
        _ => return Err(InputProblem::ImportEncrypted { format: FORMAT }),
    };
    let after = begin + NONCE + SALT;
    let header = || {
        Some(Header {
            nonce: bytes.get(begin..begin + NONCE)?,
            salt: bytes.get(begin + NONCE..after)?,
            passes: of(number(after)?),
            kib: of(number(after + 4)?),
            lanes: of(number(after + 8)?),
            length: after + 12,
        })
    };
    header().ok_or(malformed(FORMAT))
}

/// Opens AES-256-GCM with a nonce of 16 bytes; nothing if the key is another one.
fn gcm(key: &[u8], nonce: &[u8], sealed: &[u8], associated: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    type Cipher = AesGcm<Aes256, U16>;
    let cipher = Cipher::new_from_slice(key).ok()?;
    let nonce: [u8; NONCE] = nonce.try_into().ok()?;
    let payload = Payload {
        msg: sealed,
        aad: associated,
    };
    let opened = cipher.decrypt(&Nonce::<Cipher>::from(nonce), payload);
    opened.ok().map(Zeroizing::new)
}
