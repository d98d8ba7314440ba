//! Whether a vault would be opened, without opening it.

use std::path::Path;

use rusqlite::OptionalExtension as _;

use super::embedded::{DATABASE, EmbeddedVault, key_ids};
use super::key_file::KeyFile;
use super::open_error::VaultOpenError;
use super::schema::{self, Written};

impl EmbeddedVault {
    /// Checks what [`EmbeddedVault::open_with`] would refuse, and changes nothing. Answers the id of the data
    /// folder that the vault belongs to, if it has one yet. Blocks.
    ///
    /// # Errors
    ///
    /// As [`EmbeddedVault::open`].
    pub fn would_open(folder: &Path, keys: &KeyFile) -> Result<Option<String>, VaultOpenError> {
        let path = folder.join(DATABASE);
        let crypter = keys.read()?;
        let failed = |source| VaultOpenError::Database {
            path: path.clone(),
            source,
        };
        let looked = durabletask_sqlite::look(&path).map_err(|error| match error {
            durabletask_sqlite::OpenError::Sqlite(source) => failed(source),
            other => VaultOpenError::Copied(other),
        });
        let Some(connection) = looked? else {
            return match crypter {
                Some(_) => Err(VaultOpenError::missing(path, keys)),
                None => Ok(None),
            };
        };
        match schema::written(&connection).map_err(failed)? {
            Written::Known(0) => return Ok(None),
            Written::Known(_) => {}
            Written::Newer(found) => return Err(VaultOpenError::Newer { path, found }),
            Written::Foreign => return Err(VaultOpenError::Foreign(path)),
        }
        let has = |name: &str| {
            let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1)";
            connection.query_row(sql, [name], |row| row.get::<_, bool>(0))
        };
        let used = match has("recovery_codes").map_err(failed)? {
            true => key_ids(&connection).map_err(failed)?,
            // An earlier release wrote it: its keys are looked at when it is upgraded.
            false => Vec::new(),
        };
        let has_key = |key_id: &String| crypter.as_ref().is_some_and(|it| it.has(key_id));
        if let Some(key_id) = used.into_iter().find(|key_id| !has_key(key_id)) {
            let path = keys.path().to_owned();
            return Err(VaultOpenError::KeyMissing { path, key_id });
        }
        if !has("folder").map_err(failed)? {
            return Ok(None);
        }
        connection
            .query_row("SELECT id FROM folder", [], |row| row.get(0))
            .optional()
            .map_err(failed)
    }
}
