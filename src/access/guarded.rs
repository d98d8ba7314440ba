//! Guarded accounts: those whose codes need an approved request.

use std::collections::BTreeSet;

use super::key_error::KeyError;
use super::keys::KeyStore;

impl KeyStore {
    /// Sets whether an account is guarded; whether it was
    /// before.
    ///
    /// # Errors
    ///
    /// [`KeyError::Store`].
    pub(super) fn guard(&self, account: &str, guarded: bool) -> Result<bool, KeyError> {
        let statement = if guarded {
            "INSERT INTO guarded (account) VALUES (?1) ON CONFLICT DO NOTHING"
        } else {
            "DELETE FROM guarded WHERE account = ?1"
        };
        let changed = self.lock().execute(statement, [account])? > 0;
        self.changed();
        Ok(guarded != changed)
    }

    /// Every guarded account.
    ///
    /// # Errors
    ///
    /// [`KeyError::Store`].
    pub(super) fn guarded(&self) -> Result<BTreeSet<String>, KeyError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached("SELECT account FROM guarded")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_guarded_until_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.sqlite3");
        let store = KeyStore::open(&path).unwrap();
        let guarded = |store: &KeyStore| store.guarded().unwrap();
        assert!(guarded(&store).is_empty());
        assert!(!store.guard("a", true).unwrap());
        assert!(store.guard("a", true).unwrap());
        let other = KeyStore::open(&path).unwrap();
        assert_eq!(guarded(&other), BTreeSet::from(["a".to_owned()]));
        assert!(other.guard("a", false).unwrap());
        assert!(!other.guard("a", false).unwrap());
        assert!(guarded(&store).is_empty());
    }
}
