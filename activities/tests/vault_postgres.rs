//! The vault in a shared database: its promises, and that nothing in the database opens it.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod promises;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign_activities::vault::{
    CacheSettings, CachedVault, Change, PostgresVault, SecretVault, SharedVaultError, Stored,
    StoredUnlessThere, VaultError,
};
use countersign_database::testing::{Postgres, Setup};
use countersign_database::{Database, DatabaseUrl};
use countersign_enrollment::account::Labels;
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::recovery::RecoveryCodes;
use data_encoding::{BASE32_NOPAD, BASE64, HEXLOWER};

/// A server's database and a machine's key file.
struct Place {
    server: &'static Postgres,
    name: String,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Option<Self> {
        tokio::task::block_in_place(|| {
            let server = Postgres::shared()?;
            Some(Self {
                server,
                name: server.make(),
                folder: tempfile::tempdir().unwrap(),
            })
        })
    }

    fn key_file(&self) -> PathBuf {
        self.folder.path().join("vault.key")
    }

    async fn open_with(&self, key_file: &Path) -> Result<PostgresVault, SharedVaultError> {
        let database = open(&self.server.database_named(&self.name)).await;
        PostgresVault::open(database, key_file).await
    }

    async fn open(&self) -> PostgresVault {
        self.open_with(&self.key_file()).await.unwrap()
    }
}

async fn open(url: &DatabaseUrl) -> Database {
    Database::open(url.clone(), None, 4).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shared_vault_keeps_its_promises() {
    let Some(place) = Place::new() else { return };
    promises::keeps(&place.open().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_changes_no_promise() {
    let Some(place) = Place::new() else { return };
    let vault = Arc::new(place.open().await);
    promises::keeps(&CachedVault::new(vault, CacheSettings::default())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_store_or_purge_at_once_the_promises_hold() {
    let Some(place) = Place::new() else { return };
    let (one, other) = (place.open().await, place.open().await);
    let id = EnrollmentId::random();
    let account = promises::account("ACME", "race", "JBSWY3DPEHPK3PXP");
    let (first, second) = tokio::join!(one.store(&id, &account), other.store(&id, &account));
    let mut stored = [first.unwrap(), second.unwrap()];
    stored.sort_by_key(|stored| *stored == Stored::AlreadyThere);
    assert_eq!(stored, [Stored::Created, Stored::AlreadyThere]);
    // Of many who store the same content unless it is there, at both, one does.
    let unless = promises::account("ACME", "unless", "NBSWY3DPFQQHO33SNRSCCII");
    let storing = (0..12).map(async |number| {
        let vault = if number % 2 == 0 { &one } else { &other };
        let id = EnrollmentId::random();
        vault.store_unless_there(&id, &unless, None).await.unwrap()
    });
    let outcomes = futures_util::future::join_all(storing).await;
    let created = StoredUnlessThere::Stored(Stored::Created);
    let count = outcomes.iter().filter(|outcome| **outcome == created);
    assert_eq!(count.count(), 1, "{outcomes:?}");
    // Of two who replace the same codes, one does.
    let none = RecoveryCodes::default();
    let codes = |code: &str| RecoveryCodes::new([code]).unwrap();
    let (ours, theirs) = (codes("ours"), codes("theirs"));
    let (first, second) = tokio::join!(
        one.set_recovery(&id, &none, &ours),
        other.set_recovery(&id, &none, &theirs)
    );
    assert_ne!(first.is_ok(), second.is_ok(), "{first:?} {second:?}");
    let kept = if first.is_ok() { ours } else { theirs };
    assert_eq!(other.recovery(&id).await.unwrap(), kept);
    // What is purged at one does not come back by storing it at the other.
    one.delete(&id).await.unwrap();
    let (purged, stored) = tokio::join!(one.purge(&id), other.store(&id, &account));
    purged.unwrap();
    assert!(matches!(stored, Err(VaultError::Deleted)), "{stored:?}");
    let read = other.read(&id).await;
    assert!(matches!(read, Err(VaultError::NotFound)), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_holds_no_secret_and_opens_nothing() {
    const SECRET: &str = "NRSWC23TMVRXEZLUOBWGC3TUMVSA";
    let Some(place) = Place::new() else { return };
    let vault = place.open().await;
    let id = EnrollmentId::random();
    let account = promises::account("ACME", "leak", SECRET);
    vault.store(&id, &account).await.unwrap();
    let codes = RecoveryCodes::new(["plainly-a-recovery-code"]).unwrap();
    let none = RecoveryCodes::default();
    vault.set_recovery(&id, &none, &codes).await.unwrap();

    let dump = place.server.dump(&place.name).unwrap();
    assert!(dump.contains(id.as_str()), "the account is in it");
    let key = std::fs::read_to_string(place.key_file()).unwrap();
    let key = key.split_whitespace().last().unwrap().to_owned();
    let key_bytes = data_encoding::BASE64URL_NOPAD
        .decode(key.as_bytes())
        .unwrap();
    let secret = BASE32_NOPAD.decode(SECRET.as_bytes()).unwrap();
    let lower = dump.to_lowercase();
    for (what, bytes) in [
        ("the secret", secret.as_slice()),
        ("the key", &key_bytes),
        ("a recovery code", b"plainly-a-recovery-code"),
    ] {
        assert!(!lower.contains(&HEXLOWER.encode(bytes)), "{what}");
        let texts = [
            BASE64.encode(bytes),
            BASE32_NOPAD.encode(bytes),
            String::from_utf8_lossy(bytes).into_owned(),
        ];
        for text in texts {
            assert!(!lower.contains(&text.to_lowercase()), "{what} as {text}");
        }
    }
    assert!(!dump.contains(&key));

    // Nobody opens it without the file: neither with none nor with another one.
    let elsewhere = tempfile::tempdir().unwrap();
    let missing = elsewhere.path().join("vault.key");
    let refused = place.open_with(&missing).await.err().unwrap();
    assert!(
        matches!(refused, SharedVaultError::KeyMissing { .. }),
        "{refused:?}"
    );
    assert!(
        !missing.exists(),
        "a new key would hide that one is missing"
    );
    let other = Place::new().unwrap();
    other.open().await;
    let refused = place.open_with(&other.key_file()).await.err().unwrap();
    assert!(
        matches!(refused, SharedVaultError::KeyMissing { .. }),
        "{refused:?}"
    );
    // With a copy of it, another machine reads the same.
    std::fs::copy(place.key_file(), &missing).unwrap();
    let copy = place.open_with(&missing).await.unwrap();
    assert_eq!(copy.read(&id).await.unwrap().secret(), account.secret());
    assert_eq!(copy.recovery(&id).await.unwrap(), codes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_with_a_further_key_stores_with_the_key_that_all_have() {
    let Some(place) = Place::new() else { return };
    let vault = place.open().await;
    let further = Place::new().unwrap();
    further.open().await;
    let read = |file: PathBuf| std::fs::read_to_string(file).unwrap();
    let both = read(further.key_file()) + &read(place.key_file());
    std::fs::write(further.key_file(), both).unwrap();
    let other = place.open_with(&further.key_file()).await.unwrap();
    let id = EnrollmentId::random();
    let account = promises::account("ACME", "one", "JBSWY3DPEHPK3PXP");
    other.store(&id, &account).await.unwrap();
    let codes = RecoveryCodes::new(["a code"]).unwrap();
    let none = RecoveryCodes::default();
    other.set_recovery(&id, &none, &codes).await.unwrap();
    assert_eq!(vault.read(&id).await.unwrap().secret(), account.secret());
    assert_eq!(vault.recovery(&id).await.unwrap(), codes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_changed_or_moved_does_not_open() {
    let Some(place) = Place::new() else { return };
    let vault = place.open().await;
    let (id, other) = (EnrollmentId::random(), EnrollmentId::random());
    let account = promises::account("ACME", "one", "JBSWY3DPEHPK3PXP");
    let second = promises::account("ACME", "two", "KRUGS4ZANFZSAYJA");
    vault.store(&id, &account).await.unwrap();
    vault.store(&other, &second).await.unwrap();
    let psql = |statement: &str| place.server.psql(&place.name, statement).unwrap();
    for change in [
        format!(
            "UPDATE countersign.vault_accounts AS a SET nonce = b.nonce, ciphertext = b.ciphertext
             FROM countersign.vault_accounts AS b WHERE a.id = '{id}' AND b.id = '{other}'"
        ),
        format!("UPDATE countersign.vault_accounts SET digits = 8 WHERE id = '{id}'"),
        format!("UPDATE countersign.vault_accounts SET digits = 1000 WHERE id = '{id}'"),
        format!("UPDATE countersign.vault_accounts SET key_id = 'none' WHERE id = '{id}'"),
    ] {
        psql(&change);
        let read = vault.read(&id).await;
        assert!(matches!(read, Err(VaultError::Corrupt { .. })), "{read:?}");
    }
    assert_eq!(vault.read(&other).await.unwrap().secret(), second.secret());
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_come_from_memory_only_while_changes_are_heard() {
    let Some(mut server) = tokio::task::block_in_place(|| Postgres::start(Setup::default())) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("vault.key");
    let url = server.database();
    let near = PostgresVault::open(open(&url).await, &key_file)
        .await
        .unwrap();
    let database = open(&url).await;
    let heard = database.stamp("vault");
    let far = Arc::new(PostgresVault::open(database, &key_file).await.unwrap());
    let cached = CachedVault::new(far, CacheSettings::default());
    heard.live().await;
    let id = EnrollmentId::random();
    let account = promises::account("ACME", "one", "JBSWY3DPEHPK3PXP");
    near.store(&id, &account).await.unwrap();
    cached.read(&id).await.unwrap();
    let before = cached.counts().hits;
    while cached.counts().hits == before {
        cached.read(&id).await.unwrap();
    }
    // A change by another process counts within a second.
    let labels = Labels::new(Some("Other"), "one").unwrap();
    let change = Change {
        labels: Some(labels),
        ..Change::default()
    };
    near.change(&id, &change).await.unwrap();
    let changed = Instant::now();
    while cached.read(&id).await.unwrap().issuer() != Some("Other") {
        assert!(changed.elapsed() < Duration::from_secs(1));
    }
    // Without the database nothing is given out, and everything goes on by itself.
    tokio::task::block_in_place(|| server.stop().unwrap());
    let stopped = Instant::now();
    while cached.read(&id).await.is_ok() {
        assert!(stopped.elapsed() < Duration::from_secs(1));
    }
    let read = cached.read(&id).await;
    assert!(
        matches!(read, Err(VaultError::Unavailable { .. })),
        "{read:?}"
    );
    assert!(cached.check().await.is_err());
    tokio::task::block_in_place(|| server.start_again().unwrap());
    cached.read(&id).await.unwrap();
    cached.check().await.unwrap();
}
