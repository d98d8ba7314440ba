//! The ledger in a data folder, and what can be wrong with its file and its disk.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use countersign_authority::Seal;
use countersign_ledger::{LEDGER_DATABASE, Ledger, LedgerError, SqliteLedger};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::world::{Home, REQUEST, World, entry, start, transfer};

/// A data folder.
pub(crate) struct Folder(TempDir);

impl Home for Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> Arc<dyn Ledger> {
        Arc::new(SqliteLedger::open(self.0.path()).unwrap())
    }
}

fn refused(folder: &Path) -> LedgerError {
    SqliteLedger::open(folder).err().expect("it is not opened")
}

#[test]
fn what_is_no_ledger_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(LEDGER_DATABASE);
    let of_another = {
        let path = folder.path().join("other");
        let other = Connection::open(&path).unwrap();
        other.execute_batch("CREATE TABLE t (c)").unwrap();
        drop(other);
        fs::read(path).unwrap()
    };
    let marked = {
        let path = folder.path().join("marked");
        let marked = Connection::open(&path).unwrap();
        marked.pragma_update(None, "application_id", 7).unwrap();
        drop(marked);
        fs::read(path).unwrap()
    };
    for garbage in [vec![0xa5; 8192], b"no ledger".to_vec(), of_another, marked] {
        fs::write(&file, &garbage).unwrap();
        let error = refused(folder.path());
        assert!(matches!(error, LedgerError::Foreign(_)), "{error:?}");
        assert!(error.to_string().contains("restore it from a backup"));
        // Of a real database, going into WAL mode rewrites two bytes of the header.
        assert_eq!(fs::read(&file).unwrap().len(), garbage.len());
    }
}

#[tokio::test]
async fn a_ledger_of_a_later_release_is_refused_and_left_as_it_is() {
    let home = Folder::new();
    World::on(&home)
        .ledger
        .note(entry("store", "a"))
        .await
        .unwrap();
    let file = home.0.path().join(LEDGER_DATABASE);
    let set = |version: i64| {
        let connection = Connection::open(&file).unwrap();
        connection
            .pragma_update(None, "user_version", version)
            .unwrap();
    };
    set(1_000);
    let error = refused(home.0.path());
    assert!(
        matches!(error, LedgerError::Newer { found: 1_000, .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("use a later release"), "{error}");
    set(2);
    assert_eq!(home.open().journal_after(0, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_ledger_of_the_first_schema_is_brought_up_with_all_that_it_holds() {
    let home = Folder::new();
    let world = World::on(&home);
    let (mandate, _) = world.registered(world.request(1, 0, transfer())).await;
    let before = world.held(&mandate, REQUEST).await;
    let latest = world.ledger.latest(REQUEST).await.unwrap();
    assert!(latest.is_some());
    drop(world);
    let file = home.0.path().join(LEDGER_DATABASE);
    let connection = Connection::open(&file).unwrap();
    connection
        .execute_batch(
            "PRAGMA foreign_keys = OFF;
             CREATE TABLE first (
                 run TEXT NOT NULL PRIMARY KEY,
                 id TEXT NOT NULL,
                 token TEXT NOT NULL,
                 digest TEXT NOT NULL,
                 registered_at INTEGER NOT NULL
             ) WITHOUT ROWID;
             INSERT INTO first SELECT run, id, token, digest, registered_at FROM mandates;
             DROP TABLE mandates;
             ALTER TABLE first RENAME TO mandates;
             PRAGMA user_version = 1;",
        )
        .unwrap();
    drop(connection);
    let world = World::on(&home);
    assert_eq!(world.held(&mandate, REQUEST).await, before);
    assert_eq!(world.ledger.latest(REQUEST).await.unwrap(), latest);
    // What refers to mandates still does.
    world.registered(world.request(2, 0, transfer())).await;
    let connection = Connection::open(&file).unwrap();
    let wrong: i64 = connection
        .query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(wrong, 0);
}

#[tokio::test]
async fn a_damaged_ledger_never_answers_as_if_it_held_nothing() {
    let home = Folder::new();
    let world = World::on(&home);
    let (mandate, _) = world.registered(world.request(1, 0, transfer())).await;
    drop(world);
    let file = home.0.path().join(LEDGER_DATABASE);
    let mut bytes = fs::read(&file).unwrap();
    // All but the first page, which says what the tables are.
    bytes[4096..].fill(0x5a);
    fs::write(&file, &bytes).unwrap();
    match SqliteLedger::open(home.0.path()) {
        Err(error) => assert!(
            matches!(error, LedgerError::Foreign(_) | LedgerError::Unavailable(_)),
            "{error:?}"
        ),
        Ok(ledger) => {
            let matter = crate::world::matter(&mandate, REQUEST);
            let held = ledger.state(&matter).await;
            assert!(held.is_err(), "{held:?}");
            assert!(ledger.latest(REQUEST).await.is_err());
        }
    }
}

#[test]
fn the_file_is_its_owners_alone_and_a_folder_in_its_place_is_refused() {
    let home = Folder::new();
    drop(home.open());
    let file = home.0.path().join(LEDGER_DATABASE);
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let other = tempfile::tempdir().unwrap();
    fs::create_dir(other.path().join(LEDGER_DATABASE)).unwrap();
    let error = refused(other.path());
    assert!(matches!(error, LedgerError::Io { .. }), "{error:?}");
    let missing = refused(&other.path().join("missing"));
    assert!(matches!(missing, LedgerError::Io { .. }), "{missing:?}");
}

/// A small disk of its own, which only root may make.
struct Disk(PathBuf);

impl Disk {
    fn of(folder: &Path, size: &str) -> Option<Self> {
        let at = folder.join("disk");
        fs::create_dir(&at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        let mounted = mount.arg(&at).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(at));
        }
        println!("skipped: this user may not mount a disk of its own");
        None
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[tokio::test]
async fn a_full_disk_is_reported_and_leaves_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::of(folder.path(), "1m") else {
        return;
    };
    let world = World::over(Arc::new(SqliteLedger::open(&disk.0).unwrap()));
    let (mandate, signed) = world.registered(world.request(1, 1, transfer())).await;
    let (permit, decision) = world.decides(&signed, REQUEST, true, "bob").await;
    let before = world.held(&mandate, REQUEST).await;
    let filler = disk.0.join("filler");
    // As much as there is room for.
    let _ = fs::write(&filler, vec![0; 2 << 20]);
    // What a page that is there already has room for may still be written.
    let mut noted = 0;
    let full = loop {
        match world.ledger.note(entry("store", &"x".repeat(400))).await {
            Ok(()) => noted += 1,
            Err(error) => break error,
        }
        assert!(noted < 10_000, "the disk gets full");
    };
    assert!(matches!(full, LedgerError::Full), "{full:?}");
    assert!(full.to_string().contains("free some space"), "{full}");
    let recorded = world.ledger.record(&permit, &decision).await;
    assert!(matches!(recorded, Err(LedgerError::Full)), "{recorded:?}");
    let other = world.request(2, 0, transfer());
    let registered = world.ledger.register(&other.0, &other.1).await;
    assert!(
        matches!(registered, Err(LedgerError::Full)),
        "{registered:?}"
    );
    // Nothing of it is there, and all that was is.
    assert_eq!(world.held(&mandate, REQUEST).await, before);
    assert_eq!(world.held(&other.0, REQUEST).await.mandate, None);
    assert_eq!(
        world.ledger.journal_after(0, 20_000).await.unwrap().len(),
        noted
    );
    // With room, the same handle continues.
    fs::remove_file(&filler).unwrap();
    world.ledger.record(&permit, &decision).await.unwrap();
    let counted = world.permit(&signed, REQUEST, Seal).await.unwrap();
    let counted = counted.counted().unwrap();
    world.ledger.begin(&counted, start()).await.unwrap();
}
