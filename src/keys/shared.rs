//! The same keys for all processes of an installation that share a database.
//!
//! Keys never stand in the database. With Key Vault all processes read them there; without, an
//! operator copies their files from one machine to the others. So that nobody works with keys
//! of their own making, the database holds a mark of those that never change, by which a
//! process with another one is refused, and a process that lacks a file makes none where
//! others have theirs.

use countersign_activities::vault::KEY_FILE;
use countersign_database::{Database, DatabaseError, Transaction, all, execute, one};
use futures_util::FutureExt as _;

use super::mandate::{MANDATE, MANDATE_PUBLIC};
use super::{FINGERPRINT, KeyMaterialError, Name, Place, SEAL, SEAL_PUBLIC, SERVER};
use crate::access::secret;
use crate::data_dir::DataDir;

/// What a front door has to have that others have made.
pub(crate) const DOOR_FILES: [&str; 6] = [
    SERVER.file,
    MANDATE.file,
    MANDATE_PUBLIC.file,
    FINGERPRINT.file,
    SEAL_PUBLIC.file,
    KEY_FILE,
];
/// What a worker has to have that others have made.
pub(crate) const WORKER_FILES: [&str; 5] = [
    SEAL.file,
    SEAL_PUBLIC.file,
    FINGERPRINT.file,
    MANDATE_PUBLIC.file,
    KEY_FILE,
];

const LABEL: &[u8] = b"countersign installation mark v1";

/// Refuses a folder that lacks some of the files `needed`, where another process that shares
/// `database` has its keys already.
///
/// # Errors
///
/// [`KeyMaterialError::NotCopied`].
pub(crate) async fn refuse_missing(
    database: &Database,
    data: &DataDir,
    needed: &[&'static str],
) -> Result<(), KeyMaterialError> {
    let known = database.read(|transaction| {
        async move {
            let sql = "SELECT 1 FROM installation_keys WHERE name = $1";
            let row = one(transaction, sql, &[&SERVER.file]).await?;
            Ok::<bool, DatabaseError>(row.is_some())
        }
        .boxed()
    });
    if !known.await? {
        return Ok(());
    }
    let missing: Vec<&str> = needed
        .iter()
        .filter(|file| !data.path().join(file).exists())
        .copied()
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(KeyMaterialError::NotCopied {
        folder: data.path().display().to_string(),
        files: missing.join(", "),
    })
}

/// Refuses a process whose keys are not those of the others that share `database`, and notes
/// what they are where it is the first.
///
/// # Errors
///
/// [`KeyMaterialError::OtherKey`].
pub(crate) async fn refuse_other(
    database: &Database,
    place: &Place,
    server: Option<&[u8; 32]>,
    fingerprint: &[u8; 32],
) -> Result<(), KeyMaterialError> {
    let mut marks = vec![mark(FINGERPRINT, fingerprint)];
    marks.extend(server.map(|key| mark(SERVER, key)));
    let noted = marks.clone();
    let other = database.write(move |transaction| {
        let marks = noted.clone();
        async move {
            note(transaction, &marks).await?;
            let rows = all(transaction, "SELECT name, mark FROM installation_keys", &[]).await?;
            for row in rows {
                let (name, kept): (&str, &[u8]) = (row.try_get(0)?, row.try_get(1)?);
                let own = marks.iter().find(|(own, _)| own.file == name);
                if let Some((name, _)) = own.filter(|(_, own)| !secret::same(own, kept)) {
                    return Ok(Some(*name));
                }
            }
            Ok::<Option<Name>, DatabaseError>(None)
        }
        .boxed()
    });
    match other.await? {
        Some(name) => Err(KeyMaterialError::OtherKey(place.of(name))),
        None => Ok(()),
    }
}

/// By what a key is recognized.
type Mark = (Name, [u8; 32]);

fn mark(name: Name, key: &[u8; 32]) -> Mark {
    (name, secret::mac(key, &[LABEL, name.file.as_bytes()]))
}

/// Notes marks of keys, where none are noted.
async fn note(transaction: &Transaction<'_>, marks: &[Mark]) -> Result<(), DatabaseError> {
    for (name, mark) in marks {
        execute(
            transaction,
            "INSERT INTO installation_keys (name, mark) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            &[&name.file, &mark.as_slice()],
        )
        .await?;
    }
    Ok(())
}

/// Notes what the keys in `place` are, in a database that an installation is moved into.
///
/// # Errors
///
/// [`KeyMaterialError`].
pub(crate) async fn note_keys(
    transaction: &Transaction<'_>,
    place: &Place,
    server: &[u8; 32],
) -> Result<(), KeyMaterialError> {
    let mut marks = vec![mark(SERVER, server)];
    if let Some(text) = place.read(FINGERPRINT).await? {
        marks.push(mark(FINGERPRINT, &*place.bytes(FINGERPRINT, &text)?));
    }
    Ok(note(transaction, &marks).await?)
}
