//! The hand behind a key. An administrator who creates a key over HTTP sees it, and could use it as
//! if it were someone else's; so all that one caller has made is from one hand.

use super::key_error::KeyError;
use super::keys::KeyStore;

/// More makers of makers than anyone has; a bound for the database.
pub(super) const LONGEST_LINE: u32 = 1_000;

impl KeyStore {
    /// Notes which caller made the key of the caller `name`.
    ///
    /// # Errors
    ///
    /// [`KeyError::Store`].
    pub(super) fn note_maker(&self, name: &str, maker: &str) -> Result<(), KeyError> {
        self.lock().execute(
            "INSERT INTO makers (name, maker) VALUES (?1, ?2)",
            [name, maker],
        )?;
        Ok(())
    }

    /// From whose hand a caller comes: its own, unless another caller made its key.
    ///
    /// # Errors
    ///
    /// [`KeyError::Store`].
    pub(super) fn hand(&self, caller: &str) -> Result<String, KeyError> {
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
    fn all_that_comes_of_one_caller_is_from_its_hand() {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::open(&folder.path().join("access.sqlite3")).unwrap();
        store.note_maker("first", "admin").unwrap();
        store.note_maker("second", "first").unwrap();
        store.note_maker("other", "oidc:somebody").unwrap();
        for (caller, hand) in [
            ("admin", "admin"),
            ("first", "admin"),
            ("second", "admin"),
            ("other", "oidc:somebody"),
            ("made-on-the-command-line", "made-on-the-command-line"),
        ] {
            assert_eq!(store.hand(caller).unwrap(), hand, "{caller}");
        }
        assert!(store.note_maker("first", "oidc:somebody").is_err());
    }
}
