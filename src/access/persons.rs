//! The person behind a key. An administrator who creates a key over HTTP sees it, and could use it as
//! if it were someone else's; so all keys that one caller has created count as that caller.

use super::key_error::KeyError;
use super::keys::KeyStore;

/// A limit on the chain of creators, larger than any real one.
pub(super) const LONGEST_LINE: u32 = 1_000;

impl KeyStore {
    /// Notes which caller created the key of the caller `name`.
    ///
    /// # Errors
    ///
    /// [`KeyError::Store`].
    pub(super) fn record_creator(&self, name: &str, maker: &str) -> Result<(), KeyError> {
        self.lock().execute(
            "INSERT INTO makers (name, maker) VALUES (?1, ?2)",
            [name, maker],
        )?;
        Ok(())
    }

    /// The person that a caller counts as: itself, unless another caller created its key.
    ///
    /// # Errors
    ///
    /// [`KeyError::Store`].
    pub(super) fn person(&self, caller: &str) -> Result<String, KeyError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "WITH RECURSIVE line (name, length) AS (
                 SELECT ?1, 0
                 UNION ALL
                 SELECT makers.maker, length + 1
                 FROM line JOIN makers ON makers.name = line.name
                 WHERE length < ?2
             )
             SELECT name FROM line ORDER BY length DESC LIMIT 1",
        )?;
        Ok(statement.query_row((caller, LONGEST_LINE), |row| row.get(0))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_that_one_caller_created_count_as_that_caller() {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::open(&folder.path().join("access.sqlite3")).unwrap();
        store.record_creator("first", "admin").unwrap();
        store.record_creator("second", "first").unwrap();
        store.record_creator("other", "oidc:somebody").unwrap();
        for (caller, person) in [
            ("admin", "admin"),
            ("first", "admin"),
            ("second", "admin"),
            ("other", "oidc:somebody"),
            ("made-on-the-command-line", "made-on-the-command-line"),
        ] {
            assert_eq!(store.person(caller).unwrap(), person, "{caller}");
        }
        assert!(store.record_creator("first", "oidc:somebody").is_err());
    }
}
