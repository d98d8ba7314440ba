//! A database that was copied without its log is refused, and no other.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use durabletask_sqlite::{Database, OpenError, copy, shrink, snapshot};

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("some 100%?.sqlite3")
    }

    fn open(&self) -> Database {
        fs::File::options()
            .create(true)
            .append(true)
            .open(self.file())
            .unwrap();
        let database = Database::open(&self.file()).unwrap();
        database.write_ahead().unwrap();
        database
            .execute_batch("CREATE TABLE IF NOT EXISTS kept (word TEXT)")
            .unwrap();
        database.mark().unwrap();
        database
    }

    /// The files whose names end so, in a folder of their own, as they are now.
    fn copied(&self, suffixes: &[&str]) -> Place {
        let copy = Self::new();
        for suffix in suffixes {
            let name = |path: &Path| format!("{}{suffix}", path.display());
            fs::copy(name(&self.file()), name(&copy.file())).unwrap();
        }
        copy
    }
}

fn keep(database: &Database, word: &str) {
    database
        .execute("INSERT INTO kept VALUES (?1)", [word])
        .unwrap();
}

fn kept(database: &Database) -> i64 {
    database
        .query_row("SELECT count(*) FROM kept", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn a_copy_without_its_log_is_refused_and_one_with_it_is_whole() {
    let place = Place::new();
    let database = place.open();
    keep(&database, "in the log");
    let alone = place.copied(&[""]);
    let refused = Database::open(&alone.file()).unwrap_err();
    assert!(matches!(refused, OpenError::LogMissing(_)), "{refused}");
    assert!(refused.to_string().contains("touch"), "{refused}");
    // Looking at it has made nothing.
    assert!(!PathBuf::from(format!("{}-wal", alone.file().display())).exists());
    assert_eq!(kept(&place.copied(&["", "-wal"]).open()), 1);
}

#[test]
fn the_last_connection_to_close_leaves_a_complete_file() {
    let place = Place::new();
    let (first, second) = (place.open(), place.open());
    keep(&first, "by the first");
    drop(first);
    // The other one still has it open, and goes on writing.
    keep(&second, "by the second");
    let refused = Database::open(&place.copied(&[""]).file());
    assert!(matches!(refused, Err(OpenError::LogMissing(_))));
    drop(second);
    assert_eq!(kept(&place.copied(&[""]).open()), 2);
    assert_eq!(kept(&place.open()), 2);
}

#[test]
fn a_file_from_before_the_mark_is_opened_and_marked() {
    let place = Place::new();
    let old = rusqlite::Connection::open(place.file()).unwrap();
    old.pragma_update(None, "journal_mode", "WAL").unwrap();
    old.execute_batch("CREATE TABLE kept (word TEXT); INSERT INTO kept VALUES ('old');")
        .unwrap();
    drop(old);
    let database = place.open();
    assert_eq!(kept(&database), 1);
    let refused = Database::open(&place.copied(&[""]).file());
    assert!(matches!(refused, Err(OpenError::LogMissing(_))));
}

#[test]
fn an_operator_who_knows_better_makes_an_empty_log() {
    let place = Place::new();
    let database = place.open();
    let alone = place.copied(&[""]);
    drop(database);
    fs::write(format!("{}-wal", alone.file().display()), "").unwrap();
    assert_eq!(kept(&alone.open()), 0);
}

#[test]
fn a_snapshot_is_copied_as_it_was_while_others_write() {
    let (place, copied) = (Place::new(), Place::new());
    let database = place.open();
    keep(&database, "before");
    let source = snapshot(&place.file()).unwrap();
    keep(&database, "after");
    copy(&source, &copied.file()).unwrap();
    assert_eq!(kept(&copied.open()), 1);
    assert_eq!(kept(&database), 2);
}

#[test]
fn a_file_gives_back_the_room_that_nothing_needs() {
    let place = Place::new();
    fs::File::create(place.file()).unwrap();
    let database = Database::open(&place.file()).unwrap();
    database.shrinkable().unwrap();
    database.write_ahead().unwrap();
    database
        .execute_batch(
            "CREATE TABLE kept (word TEXT);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
             INSERT INTO kept SELECT hex(randomblob(1000)) FROM n;",
        )
        .unwrap();
    let size = || {
        durabletask_sqlite::write_back(&database).unwrap();
        fs::metadata(place.file()).unwrap().len()
    };
    let full = size();
    database.execute_batch("DELETE FROM kept").unwrap();
    assert_eq!(size(), full, "deleting alone gives nothing back");
    let mut steps = 1;
    while shrink(&database, 100, 10).unwrap() == 100 {
        steps += 1;
    }
    assert!(steps > 5, "{steps}");
    assert!(size() < full / 20, "{} of {full}", size());
}
