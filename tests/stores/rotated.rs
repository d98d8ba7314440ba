//! The audit log goes on under another server key, in a data folder and in a shared database.

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use countersign::access::ServerKeys;
use countersign::audit::{
    Action, AuditError, AuditStore, ChainCheck, Event, FieldChange, Head, Loss, PostgresAudit,
};
use countersign_database::Database;
use countersign_database::testing::Postgres;

/// Three server keys.
const KEYS: [u8; 3] = [7, 8, 9];

fn hex(key: u8) -> String {
    format!("{key:02x}").repeat(32)
}

/// The keys where the first `used` of them were in use, and the last of these is now.
fn ring(used: usize, next: Option<u8>) -> ServerKeys {
    let mut text = format!("derives {}\n", hex(KEYS[0]));
    text += &format!("current {}\n", hex(KEYS[used - 1]));
    for key in &KEYS[..used - 1] {
        text += &format!("earlier {} 0\n", hex(*key));
    }
    if let Some(next) = next {
        text += &format!("next {}\n", hex(next));
    }
    ServerKeys::parse(&text).unwrap()
}

/// An audit log of either kind.
enum Log {
    Folder(PathBuf, Box<AuditStore>),
    Shared(PathBuf, Box<Database>, Box<PostgresAudit>),
}

impl Log {
    async fn append(&mut self, events: &[Event]) -> Result<(), AuditError> {
        match self {
            Self::Folder(_, store) => store.append(events),
            Self::Shared(_, _, audit) => audit.append(events).await.map(drop),
        }
    }

    async fn change_key(&mut self, event: &Event) -> Result<bool, AuditError> {
        match self {
            Self::Folder(_, store) => store.change_key(event),
            Self::Shared(_, _, audit) => audit.change_key(event).await,
        }
    }

    async fn verify(&self, archives: &[PathBuf]) -> Result<ChainCheck, AuditError> {
        match self {
            Self::Folder(_, store) => store.verify_with(None, archives),
            Self::Shared(_, _, audit) => audit.verify_with(None, archives).await,
        }
    }

    async fn archive(&mut self, to: &Path, before: DateTime<Utc>) -> u64 {
        let event = Event::new(Action::ArchiveAudit, "local", start());
        let archived = match self {
            Self::Folder(_, store) => store.archive(to, before, None, &event),
            Self::Shared(_, _, audit) => audit.archive(to, before, None, &event).await,
        };
        archived.unwrap().unwrap().entries
    }

    /// The same log as a process with these keys opens it.
    async fn again(&self, keys: &ServerKeys) -> Result<Self, AuditError> {
        Ok(match self {
            Self::Folder(folder, _) => {
                let store = AuditStore::open(&folder.join("audit.sqlite3"), keys)?;
                Self::Folder(folder.clone(), Box::new(store))
            }
            Self::Shared(folder, database, _) => {
                let audit = PostgresAudit::open(Database::clone(database), folder, keys).await?;
                Self::Shared(folder.clone(), database.clone(), Box::new(audit))
            }
        })
    }
}

fn start() -> DateTime<Utc> {
    "2026-03-04T05:06:07.089Z".parse().unwrap()
}

fn at(second: i64) -> DateTime<Utc> {
    start() + TimeDelta::seconds(second)
}

fn event(second: i64) -> Event {
    Event::new(Action::Store, "worker", at(second)).to(format!("totp-{second}"))
}

/// The ids of the keys, as the program names them.
fn id(key: u8) -> String {
    ServerKeys::parse(&hex(key)).unwrap().id()
}

fn rotation(second: i64, from: u8, to: u8) -> Event {
    let change = FieldChange::new("key", Some(&id(from)), Some(&id(to)));
    let event = Event::new(Action::RotateSecret, "local", at(second));
    event.to("server-key").changing(vec![change])
}

/// Both kinds of log, empty, opened with the first key.
async fn logs() -> Vec<(tempfile::TempDir, Log)> {
    let mut logs = Vec::new();
    let first = ServerKeys::parse(&hex(KEYS[0])).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = AuditStore::open(&folder.path().join("audit.sqlite3"), &first).unwrap();
    let path = folder.path().to_owned();
    logs.push((folder, Log::Folder(path, Box::new(store))));
    let server = tokio::task::block_in_place(Postgres::shared);
    if let Some(server) = server {
        let name = tokio::task::block_in_place(|| server.make());
        let database = Database::open(server.database_named(&name), None, 4).await;
        let database = database.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let audit = PostgresAudit::open(database.clone(), &path, &first).await;
        logs.push((
            folder,
            Log::Shared(path, Box::new(database), Box::new(audit.unwrap())),
        ));
    }
    logs
}

fn intact(check: ChainCheck) -> u64 {
    match check {
        ChainCheck::Intact(Head { sequence, .. }) => sequence,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_goes_on_under_each_next_key_and_its_archives_prove_all_of_them() {
    for (folder, mut log) in logs().await {
        log.append(&[event(1), event(2)]).await.unwrap();
        // Introduced, named once however often it is tried, and in use.
        let mut log = log.again(&ring(1, Some(KEYS[1]))).await.unwrap();
        log.append(&[event(3)]).await.unwrap();
        assert!(
            log.change_key(&rotation(4, KEYS[0], KEYS[1]))
                .await
                .unwrap()
        );
        assert!(
            !log.change_key(&rotation(4, KEYS[0], KEYS[1]))
                .await
                .unwrap()
        );
        log.append(&[event(5)]).await.unwrap();
        let mut log = log.again(&ring(2, None)).await.unwrap();
        log.append(&[event(6)]).await.unwrap();
        assert_eq!(intact(log.verify(&[]).await.unwrap()), 6);

        // A second time, with all before the last rotation in archives.
        let files = [folder.path().join("first"), folder.path().join("second")];
        assert_eq!(log.archive(&files[0], at(3)).await, 2);
        let mut log = log.again(&ring(2, Some(KEYS[2]))).await.unwrap();
        assert!(
            log.change_key(&rotation(8, KEYS[1], KEYS[2]))
                .await
                .unwrap()
        );
        let mut log = log.again(&ring(3, None)).await.unwrap();
        log.append(&[event(9)]).await.unwrap();
        assert_eq!(log.archive(&files[1], at(6)).await, 3);
        let last = intact(log.verify(&[]).await.unwrap());
        assert_eq!(intact(log.verify(&files).await.unwrap()), last);
        log.append(&[event(10)]).await.unwrap();

        // Without one of the keys, what it has chained is not proven.
        let lacks = "derives KEY\ncurrent KEY\n".replace("KEY", &hex(KEYS[2]));
        let lacks = ServerKeys::parse(&lacks).unwrap();
        let verdict = log.again(&lacks).await.unwrap().verify(&files).await;
        assert!(
            matches!(verdict, Err(AuditError::ArchiveUnproven(5))),
            "{verdict:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_an_earlier_key_can_neither_append_nor_cut_the_rotation_off() {
    for (_folder, mut log) in logs().await {
        log.append(&[event(1)]).await.unwrap();
        let before = match &log {
            Log::Folder(folder, _) => Some((folder.clone(), copied(folder))),
            Log::Shared(..) => None,
        };
        let mut log = log.again(&ring(1, Some(KEYS[1]))).await.unwrap();
        assert!(
            log.change_key(&rotation(2, KEYS[0], KEYS[1]))
                .await
                .unwrap()
        );

        // A process that has not read the next key refuses to go on, and says which key it lacks.
        let refused = log.again(&ring(1, None)).await;
        assert!(
            matches!(&refused, Err(AuditError::KeyMissing { sequence: 3, id: key }) if *key == id(KEYS[1])),
            "{:?}",
            refused.err()
        );

        // A log from before the rotation, with a head that fits it.
        match &log {
            Log::Folder(folder, _) => {
                let (_, files) = before.unwrap();
                let folder = folder.clone();
                drop(log);
                restore(&folder, &files);
                let path = folder.join("audit.sqlite3");
                let keys = ring(2, None);
                let store = AuditStore::open_existing(&path, &keys).unwrap();
                let lost = Loss::BeforeRotation { ends: 1 };
                let verdict = store.verify(None).unwrap();
                assert_eq!(verdict, ChainCheck::Incomplete(lost.clone()));
                drop(store);
                let refused = AuditStore::open(&path, &keys).map(drop);
                assert!(matches!(refused, Err(AuditError::Incomplete(loss)) if loss == lost));
                let event = Event::new(Action::AcceptLoss, "local", at(9));
                assert_eq!(AuditStore::accept_loss(&path, &keys, event).unwrap(), lost);
                let mut store = AuditStore::open(&path, &keys).unwrap();
                store.append(&[self::event(10)]).unwrap();
                // With an entry that names the key in use, and one that records the loss.
                assert_eq!(intact(store.verify(None).unwrap()), 4);
            }
            Log::Shared(_, database, _) => {
                // Someone with the database and the earlier key.
                let cut = "DELETE FROM audit_entries WHERE sequence > 1";
                let forged = database.write(move |transaction| {
                    Box::pin(async move {
                        let replica = "SET LOCAL session_replication_role = replica";
                        countersign_database::execute(transaction, replica, &[]).await?;
                        countersign_database::execute(transaction, cut, &[]).await?;
                        let end = "UPDATE audit_end SET sequence = 1, key = $1,
                                   hash = (SELECT hash FROM audit_entries WHERE sequence = 1)";
                        countersign_database::execute(transaction, end, &[&id(KEYS[0])]).await?;
                        Ok::<(), countersign_database::DatabaseError>(())
                    })
                });
                forged.await.unwrap();
                let folder = tempfile::tempdir().unwrap();
                let keys = ring(2, None);
                let refused =
                    PostgresAudit::open(Database::clone(database), folder.path(), &keys).await;
                assert!(matches!(
                    refused.map(drop),
                    Err(AuditError::Incomplete(Loss::BeforeRotation { ends: 1 }))
                ));
            }
        }
    }
}

fn copied(folder: &Path) -> Vec<(String, Vec<u8>)> {
    [
        "audit.sqlite3",
        "audit.sqlite3-wal",
        "audit.sqlite3-shm",
        "audit-head",
    ]
    .iter()
    .filter_map(|name| Some((name.to_string(), std::fs::read(folder.join(name)).ok()?)))
    .collect()
}

fn restore(folder: &Path, files: &[(String, Vec<u8>)]) {
    for name in [
        "audit.sqlite3",
        "audit.sqlite3-wal",
        "audit.sqlite3-shm",
        "audit-head",
    ] {
        let _ = std::fs::remove_file(folder.join(name));
    }
    for (name, content) in files {
        std::fs::write(folder.join(name), content).unwrap();
    }
    for name in ["audit.sqlite3", "audit-head"] {
        use std::os::unix::fs::PermissionsExt as _;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(folder.join(name), private).unwrap();
    }
}
