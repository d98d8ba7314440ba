//! Encryption of backups: recipients and identities.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use age::x25519::Recipient;
use age::{Decryptor, Encryptor, Identity, IdentityFile};

use super::BackupError;

/// How an encrypted file begins.
const ENCRYPTED: &[u8] = b"age-encryption.org/";

/// How a backup is protected from those who get hold of the file.
#[derive(Clone, Debug)]
pub enum Protection {
    /// Encrypted for these recipients. Never empty.
    For(Vec<Recipient>),
    /// Plaintext: anyone who reads it has every secret.
    None,
}

impl Protection {
    /// Encryption for recipients as people write them: `age1…`.
    ///
    /// # Errors
    ///
    /// [`BackupError::Recipient`] for what is not a recipient.
    pub fn recipients(texts: &[String]) -> Result<Self, BackupError> {
        let recipients = texts
            .iter()
            .map(|text| {
                Recipient::from_str(text.trim()).map_err(|reason| {
                    // A secret key in its place is not repeated.
                    let what = match text.to_ascii_uppercase().contains("SECRET-KEY") {
                        true => "this is a secret key",
                        false => "this is not a recipient",
                    };
                    BackupError::Recipient(format!(
                        "{what} ({reason}): a recipient is the public key that `age-keygen` prints, \
                         age1…"
                    ))
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self::For(recipients))
    }

    /// The recipients, as text.
    #[must_use]
    pub fn named(&self) -> Vec<String> {
        match self {
            Self::For(recipients) => recipients.iter().map(Recipient::to_string).collect(),
            Self::None => Vec::new(),
        }
    }

    /// Runs `write`, and encrypts what it writes into `out`.
    pub(super) fn write_through<W: Write>(
        &self,
        mut out: W,
        write: impl FnOnce(&mut dyn Write) -> Result<(), BackupError>,
        failed: impl Fn(io::Error) -> BackupError,
    ) -> Result<W, BackupError> {
        match self {
            Self::None => {
                write(&mut out)?;
                Ok(out)
            }
            Self::For(recipients) => {
                let named = recipients.iter().map(|it| it as &dyn age::Recipient);
                let encryptor = Encryptor::with_recipients(named)
                    .map_err(|error| BackupError::Recipient(error.to_string()))?;
                let mut inner = encryptor.wrap_output(out).map_err(&failed)?;
                write(&mut inner)?;
                inner.finish().map_err(failed)
            }
        }
    }
}

/// The identities in a file as `age-keygen` writes it.
///
/// # Errors
///
/// [`BackupError::File`] and [`BackupError::Recipient`], without any of its content.
pub fn identities(path: &Path) -> Result<Vec<Box<dyn Identity>>, BackupError> {
    let failed = |source| BackupError::folder("read", path, source);
    let file = BufReader::new(File::open(path).map_err(failed)?);
    let unusable = || {
        BackupError::Recipient(format!(
            "{} contains no identity as `age-keygen` writes it, AGE-SECRET-KEY-1…",
            path.display()
        ))
    };
    let identities = IdentityFile::from_buffer(file)
        .map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::Other => unusable(),
            _ => failed(error),
        })?
        .into_identities()
        .map_err(|_| unusable())?;
    match identities.is_empty() {
        true => Err(unusable()),
        false => Ok(identities),
    }
}

/// The archive in the backup at `path`, and whether it was encrypted.
pub(super) fn open(
    path: &Path,
    identities: &[Box<dyn Identity>],
) -> Result<(Box<dyn Read>, bool), BackupError> {
    let failed = |source| BackupError::folder("read", path, source);
    let mut file = File::open(path).map_err(failed)?;
    let mut begins = Vec::with_capacity(ENCRYPTED.len());
    (&mut file)
        .take(ENCRYPTED.len() as u64)
        .read_to_end(&mut begins)
        .map_err(failed)?;
    let file = BufReader::new(io::Cursor::new(begins.clone()).chain(file));
    if begins != ENCRYPTED {
        return Ok((Box::new(file), false));
    }
    let decryptor =
        Decryptor::new_buffered(file).map_err(|error| BackupError::spoilt(path, error))?;
    let named = identities.iter().map(|it| &**it as &dyn Identity);
    match decryptor.decrypt(named) {
        Ok(reader) => Ok((Box::new(reader), true)),
        Err(age::DecryptError::NoMatchingKeys) => Err(BackupError::NoIdentity(PathBuf::from(path))),
        Err(error) => Err(BackupError::spoilt(path, error)),
    }
}
