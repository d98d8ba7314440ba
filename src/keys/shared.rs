//! The same keys for all processes of an installation that share a database.
//!
//! Keys are never in the database. With Key Vault all processes read them there; without, an
//! operator copies their files from one machine to the others. So that nobody works with keys
//! of their own making, the database holds a mark of those that never change, by which a
//! process with another one is refused, and a process that lacks a file makes none where
//! others have theirs.

use countersign_activities::vault::KEY_FILE;
use countersign_database::{Database, DatabaseError, Transaction, all, execute, one};
use futures_util::FutureExt as _;

use super::mandate::{MANDATE, MANDATE_PUBLIC};
use super::{
    FINGERPRINT, KeyMaterialError, KeyStorage, Name, SEAL, SEAL_PUBLIC, SERVER, ServerKeys,
};
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

/// What the name of a key that signs mandates begins with; its id follows.
const SIGNS: &str = "mandate.key ";
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

/// A process's own keys.
pub(crate) struct Own<'a> {
    pub(super) fingerprint: &'a [u8; 32],
    /// A front door's.
    pub(super) server: Option<ServerKeys>,
    /// The id of the key that a front door signs mandates with.
    pub(super) mandate: Option<String>,
}

/// Refuses a process whose keys are not those of the others that share `database`, and notes
/// what they are where it is the first.
///
/// # Errors
///
/// [`KeyMaterialError::OtherKey`].
pub(crate) async fn refuse_other(
    database: &Database,
    place: &KeyStorage,
    own: Own<'_>,
) -> Result<(), KeyMaterialError> {
    let mut marks = vec![mark(FINGERPRINT, own.fingerprint)];
    marks.extend(own.server.map(|keys| mark_of(&keys)));
    let mandate = own.mandate;
    let other = database.write(move |transaction| {
        let (marks, mandate) = (marks.clone(), mandate.clone());
        async move {
            note(transaction, &marks).await?;
            if let Some(id) = &mandate
                && mandate_keys(transaction).await?.is_empty()
            {
                note_mandate_key(transaction, id).await?;
            }
            differing(transaction, &marks, mandate.as_deref()).await
        }
        .boxed()
    });
    match other.await? {
        Some(name) => Err(KeyMaterialError::OtherKey(place.of(name))),
        None => Ok(()),
    }
}

/// Checks what [`refuse_other`] would refuse of the files in a folder, and notes nothing.
///
/// # Errors
///
/// [`KeyMaterialError::OtherKey`].
pub(crate) async fn would_agree(
    database: &Database,
    data: &DataDir,
) -> Result<(), KeyMaterialError> {
    let mut marks = Vec::new();
    if let Some(key) = data.existing_key(FINGERPRINT.file)? {
        marks.push(mark(FINGERPRINT, &key));
    }
    marks.extend(ServerKeys::existing(data)?.map(|keys| mark_of(&keys)));
    let place = KeyStorage::Folder(data.clone());
    let mandate = match place.read(MANDATE).await? {
        Some(text) => Some(super::mandate::signing_id(&place, &text)?),
        None => None,
    };
    let other = database.read(move |transaction| {
        let (marks, mandate) = (marks.clone(), mandate.clone());
        async move { differing(transaction, &marks, mandate.as_deref()).await }.boxed()
    });
    match other.await? {
        Some(name) => Err(KeyMaterialError::OtherKey(place.of(name))),
        None => Ok(()),
    }
}

/// Notes that mandates are signed with one more key: it was rotated.
///
/// # Errors
///
/// [`KeyMaterialError::Database`].
pub(crate) async fn add_mandate_key(database: &Database, id: &str) -> Result<(), KeyMaterialError> {
    let id = id.to_owned();
    let noted = database.write(move |transaction| {
        let id = id.clone();
        async move { note_mandate_key(transaction, &id).await }.boxed()
    });
    Ok(noted.await?)
}

/// By what a key is recognized.
type Mark = (Name, [u8; 32]);

fn mark(name: Name, key: &[u8; 32]) -> Mark {
    (name, secret::mac(key, &[LABEL, name.file.as_bytes()]))
}

/// That of the server keys is the first one's, which a rotation does not change.
fn mark_of(server: &ServerKeys) -> Mark {
    mark(SERVER, server.ring().derives.bytes())
}

/// Notes marks of keys, where none are noted.
async fn note(transaction: &Transaction<'_>, marks: &[Mark]) -> Result<(), DatabaseError> {
    for (name, mark) in marks {
        put(transaction, name.file, mark).await?;
    }
    Ok(())
}

async fn put(transaction: &Transaction<'_>, name: &str, mark: &[u8]) -> Result<(), DatabaseError> {
    let sql = "INSERT INTO installation_keys (name, mark) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    execute(transaction, sql, &[&name, &mark]).await?;
    Ok(())
}

/// The ids of the keys that mandates are or were signed with, which are public: every front door
/// signs with one of them.
async fn mandate_keys(transaction: &Transaction<'_>) -> Result<Vec<String>, DatabaseError> {
    let sql = "SELECT name FROM installation_keys WHERE starts_with(name, $1)";
    let rows = all(transaction, sql, &[&SIGNS]).await?;
    let mut ids = Vec::new();
    for row in rows {
        let name: &str = row.try_get(0)?;
        ids.extend(name.strip_prefix(SIGNS).map(str::to_owned));
    }
    Ok(ids)
}

async fn note_mandate_key(transaction: &Transaction<'_>, id: &str) -> Result<(), DatabaseError> {
    put(transaction, &format!("{SIGNS}{id}"), id.as_bytes()).await
}

/// A key that is not the one that is noted.
async fn differing(
    transaction: &Transaction<'_>,
    marks: &[Mark],
    mandate: Option<&str>,
) -> Result<Option<Name>, DatabaseError> {
    let rows = all(transaction, "SELECT name, mark FROM installation_keys", &[]).await?;
    for row in rows {
        let (name, kept): (&str, &[u8]) = (row.try_get(0)?, row.try_get(1)?);
        let own = marks.iter().find(|(own, _)| own.file == name);
        if let Some((name, _)) = own.filter(|(_, own)| !secret::same(own, kept)) {
            return Ok(Some(*name));
        }
    }
    let known = mandate_keys(transaction).await?;
    let is_other = |id: &str| !known.is_empty() && !known.iter().any(|it| it == id);
    Ok(mandate.is_some_and(is_other).then_some(MANDATE))
}

/// Notes what the keys in `place` are, in a database that an installation is moved into.
///
/// # Errors
///
/// [`KeyMaterialError`].
pub(crate) async fn note_keys(
    transaction: &Transaction<'_>,
    place: &KeyStorage,
    server: &ServerKeys,
) -> Result<(), KeyMaterialError> {
    let mut marks = vec![mark_of(server)];
    if let Some(text) = place.read(FINGERPRINT).await? {
        marks.push(mark(FINGERPRINT, &*place.bytes(FINGERPRINT, &text)?));
    }
    Ok(note(transaction, &marks).await?)
}
