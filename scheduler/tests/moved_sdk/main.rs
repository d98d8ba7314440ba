//! Task hubs with everything that can be in them are moved from a folder into a PostgreSQL database and
//! back, while all of it is under way, and end as if nothing had happened.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod everything;
mod running;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chrono::Utc;
use countersign_database::testing::Postgres;
use durabletask_scheduler::{
    DatabaseStorage, ManualClock, MigrateError, OpenError, Storage, move_to_database,
    move_to_folder,
};

use everything::{WAITS, fill, finish};
use running::{Running, open};

const PATIENCE: Duration = Duration::from_secs(60);

fn folder(path: &Path) -> Storage {
    Storage::Directory(path.to_owned())
}

fn database() -> Option<(DatabaseStorage, &'static Postgres, String)> {
    tokio::task::block_in_place(|| {
        let server = Postgres::shared()?;
        let name = server.make();
        let storage = DatabaseStorage {
            url: server.database_named(&name),
            passwords: None,
            node: "test".to_owned(),
        };
        Some((storage, server, name))
    })
}

fn into_database(from: &Path, to: &DatabaseStorage) -> Result<u64, MigrateError> {
    let moved = until_free(|| move_to_database(from, to, &mut |_| {}))?;
    Ok(moved.counts.iter().map(|(_, count)| count).sum())
}

fn into_folder(from: &DatabaseStorage, to: &Path) -> Result<u64, MigrateError> {
    let moved = until_free(|| move_to_folder(to, from, &mut |_| {}))?;
    Ok(moved.counts.iter().map(|(_, count)| count).sum())
}

/// A scheduler that was dropped a moment ago is still closing.
fn until_free<T>(work: impl Fn() -> Result<T, MigrateError>) -> Result<T, MigrateError> {
    let begun = std::time::Instant::now();
    loop {
        match tokio::task::block_in_place(&work) {
            Err(MigrateError::Open(OpenError::InUse { .. }) | MigrateError::InUse(_))
                if begun.elapsed() < Duration::from_secs(10) =>
            {
                std::thread::sleep(Duration::from_millis(50));
            }
            other => return other,
        }
    }
}

fn same(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) {
    for (id, was) in before {
        assert_eq!(Some(was), after.get(id), "{id}");
    }
    assert_eq!(before.len(), after.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_moved_into_a_database_and_back_while_it_is_under_way() {
    let Some((database, ..)) = database() else {
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let (first, second) = (place.path().join("first"), place.path().join("second"));
    let clock = Arc::new(ManualClock::new(Utc::now()));
    let slow_ends = Arc::<AtomicBool>::default();
    let mut running = Running::start(&folder(&first), &clock).await;
    fill(&mut running, &clock, &slow_ends).await;
    let before = running.all().await;
    // Nothing is moved while a scheduler runs.
    let error = tokio::task::block_in_place(|| move_to_database(&first, &database, &mut |_| {}));
    assert!(
        matches!(error, Err(MigrateError::Open(OpenError::InUse { .. }))),
        "{error:?}"
    );
    running.stop().await;

    let rows = into_database(&first, &database).unwrap();
    println!(
        "{rows} rows of {} instances and entities moved",
        before.len()
    );
    let error = open(&folder(&first), &clock).await.err().unwrap();
    assert!(matches!(error, OpenError::Elsewhere { .. }), "{error}");
    let again = into_database(&first, &database).unwrap_err();
    assert!(
        matches!(again, MigrateError::AlreadyMoved { .. }),
        "{again}"
    );
    let shared = Storage::Database(database.clone());
    let running = Running::start(&shared, &clock).await;
    same(&before, &running.all().await);
    let error = tokio::task::block_in_place(|| move_to_folder(&second, &database, &mut |_| {}));
    assert!(matches!(error, Err(MigrateError::InUse(_))), "{error:?}");
    running.stop().await;

    assert_eq!(into_folder(&database, &second).unwrap(), rows);
    let error = open(&shared, &clock).await.err().unwrap();
    assert!(
        matches!(&error, OpenError::Moving(text) if text.contains("second")),
        "{error}"
    );
    let error = into_folder(&database, &place.path().join("third")).unwrap_err();
    assert!(matches!(error, MigrateError::Unfinished(_)), "{error}");
    let mut running = Running::start(&folder(&second), &clock).await;
    same(&before, &running.all().await);
    finish(&mut running, &clock, &slow_ends).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_moved_into_a_database_ends_there() {
    let Some((database, ..)) = database() else {
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Utc::now()));
    let slow_ends = Arc::<AtomicBool>::default();
    let mut running = Running::start(&folder(place.path()), &clock).await;
    fill(&mut running, &clock, &slow_ends).await;
    running.stop().await;
    into_database(place.path(), &database).unwrap();
    let mut running = Running::start(&Storage::Database(database), &clock).await;
    finish(&mut running, &clock, &slow_ends).await;
    running.stop().await;
}

/// A few instances, in a folder of their own.
async fn few(place: &Path, count: usize) {
    let clock = Arc::new(ManualClock::new(Utc::now()));
    let running = Running::start(&folder(place), &clock).await;
    for number in 0..count {
        let id = format!("i{number}");
        running
            .client
            .start(&WAITS, "x")
            .instance_id(id)
            .tag("n", "1")
            .send()
            .await
            .unwrap();
    }
    running.stop().await;
}

async fn count(storage: &Storage) -> usize {
    let clock = Arc::new(ManualClock::new(Utc::now()));
    let running = Running::start(storage, &clock).await;
    let all = running.all().await.len();
    running.stop().await;
    all
}

async fn refusal(storage: &Storage) -> String {
    let clock = Arc::new(ManualClock::new(Utc::now()));
    open(storage, &clock).await.err().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_into_a_database_that_is_interrupted_is_finished_by_running_it_again() {
    let Some((database, server, name)) = database() else {
        return;
    };
    let psql = |sql: &str| tokio::task::block_in_place(|| server.psql(&name, sql)).unwrap();
    let place = tempfile::tempdir().unwrap();
    few(place.path(), 5).await;
    let shared = Storage::Database(database.clone());
    // A scheduler makes the schema, and an empty task hub.
    assert_eq!(count(&shared).await, 0);

    // Interrupted while it copies.
    psql(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
         CREATE TRIGGER no BEFORE INSERT ON durabletask.tags FOR EACH ROW EXECUTE FUNCTION no()",
    );
    let error = into_database(place.path(), &database).unwrap_err();
    assert!(
        error.to_string().contains("run the same command again"),
        "{error}"
    );
    // The old place counts, and the new one is refused.
    let said = refusal(&shared).await;
    assert!(said.contains("migrate to-database"), "{said}");
    assert_eq!(count(&folder(place.path())).await, 5);
    // Another folder cannot take its place.
    let other = tempfile::tempdir().unwrap();
    few(other.path(), 1).await;
    let error = into_database(other.path(), &database).unwrap_err();
    assert!(matches!(error, MigrateError::Unfinished(_)), "{error}");

    // Interrupted when all has arrived.
    psql("DROP FUNCTION no() CASCADE");
    psql(
        "CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
         CREATE EVENT TRIGGER no ON sql_drop WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION no()",
    );
    let error = into_database(place.path(), &database).unwrap_err();
    assert!(
        error.to_string().contains("run the same command again"),
        "{error}"
    );
    psql("DROP EVENT TRIGGER no");
    // The folder does not count any more, and the database not yet.
    assert!(refusal(&shared).await.contains("migrate to-database"));
    assert!(
        refusal(&folder(place.path()))
            .await
            .contains("are in the database")
    );
    let finished = until_free(|| move_to_database(place.path(), &database, &mut |_| {})).unwrap();
    assert!(finished.finished && finished.put_away.is_some());
    assert_eq!(count(&shared).await, 5);
    assert!(
        refusal(&folder(place.path()))
            .await
            .contains("are in the database")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_into_a_folder_that_is_interrupted_is_finished_by_running_it_again() {
    let Some((database, server, name)) = database() else {
        return;
    };
    let psql = |sql: &str| tokio::task::block_in_place(|| server.psql(&name, sql)).unwrap();
    let place = tempfile::tempdir().unwrap();
    let source: PathBuf = place.path().join("source");
    let target: PathBuf = place.path().join("target");
    few(&source, 4).await;
    into_database(&source, &database).unwrap();
    let shared = Storage::Database(database.clone());

    // Interrupted when all has arrived, and the database does not know it yet.
    psql(
        "CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
         CREATE EVENT TRIGGER no ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION no()",
    );
    into_folder(&database, &target).unwrap_err();
    let said = refusal(&folder(&target)).await;
    assert!(said.contains("interrupted"), "{said}");
    assert_eq!(count(&shared).await, 4);
    psql("DROP EVENT TRIGGER no");
    assert_eq!(
        into_folder(&database, &target).unwrap(),
        into_counted(&target)
    );
    assert_eq!(count(&folder(&target)).await, 4);

    // Interrupted when the database knows it, and the folder does not yet.
    let id = psql("SELECT id FROM durabletask.moving");
    let note = format!(
        r#"{{"state":"arriving","database":"{}","id":"{id}"}}"#,
        database.url
    );
    std::fs::write(target.join("scheduler.elsewhere"), note).unwrap();
    assert!(refusal(&folder(&target)).await.contains("interrupted"));
    assert!(refusal(&shared).await.contains("were moved to"));
    let finished = until_free(|| move_to_folder(&target, &database, &mut |_| {})).unwrap();
    assert!(finished.finished);
    assert_eq!(count(&folder(&target)).await, 4);

    // What is there stays there.
    let (full, ..) = self::database().unwrap();
    few(&place.path().join("another"), 1).await;
    into_database(&place.path().join("another"), &full).unwrap();
    let error = into_folder(&full, &target).unwrap_err();
    assert!(matches!(error, MigrateError::UsedFolder { .. }), "{error}");
    let error = into_database(&target, &full).unwrap_err();
    assert!(
        matches!(error, MigrateError::UsedDatabase { .. }),
        "{error}"
    );
}

/// How many rows a folder's file has, by another program.
fn into_counted(folder: &Path) -> u64 {
    let file = rusqlite::Connection::open(folder.join("scheduler.sqlite3")).unwrap();
    [
        "hubs",
        "instances",
        "payloads",
        "history",
        "inbox",
        "activities",
        "timers",
        "entities",
        "entity_inbox",
        "tags",
    ]
    .iter()
    .map(|table| {
        file.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
            row.get::<_, i64>(0)
        })
        .unwrap()
        .cast_unsigned()
    })
    .sum()
}
