//! The vault in a shared database: its promises, and that nothing in the database opens it.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod promises;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign_activities::vault::{
    CacheSettings, CachedVault, Change, PostgresVault, SecretVault, SharedRotation,
    SharedRotationError, SharedVaultError, Stored, StoredUnlessThere, VaultError,
    rotate_shared_key,
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
        PostgresVault::open(database, &key_file.into()).await
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
async fn a_machine_with_an_extra_key_encrypts_with_the_shared_one() {
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
async fn codes_come_from_memory_only_while_changes_are_received() {
    let Some(mut server) = tokio::task::block_in_place(|| Postgres::start(Setup::default())) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("vault.key");
    let url = server.database();
    let near = PostgresVault::open(open(&url).await, &key_file.clone().into())
        .await
        .unwrap();
    let database = open(&url).await;
    let heard = database.stamp("vault");
    let far = Arc::new(
        PostgresVault::open(database, &key_file.clone().into())
            .await
            .unwrap(),
    );
    let cached = CachedVault::new(far, CacheSettings::default());
    heard.until_live().await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_key_is_rotated_while_two_machines_read_and_store_and_no_reading_fails() {
    let accounts = match std::env::var_os("LONG").is_some() {
        true => 10_000,
        false => 300,
    };
    let Some(place) = Place::new() else { return };
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("vault.key");
    let one = place.open().await;
    std::fs::copy(place.key_file(), &copy).unwrap();
    let other = place.open_with(&copy).await.unwrap();
    let database = open(&place.server.database_named(&place.name)).await;
    let account = |number: usize| {
        let secret = BASE32_NOPAD.encode(format!("secret number {number:06}").as_bytes());
        promises::account("ACME", &format!("user-{number}"), &secret)
    };
    let mut ids = Vec::new();
    for number in 0..accounts {
        let id = EnrollmentId::random();
        one.store(&id, &account(number)).await.unwrap();
        ids.push(id);
    }
    let codes = RecoveryCodes::new(["a code"]).unwrap();
    let none = RecoveryCodes::default();
    one.set_recovery(&ids[0], &none, &codes).await.unwrap();
    one.delete(&ids[1]).await.unwrap();

    // Both machines read all the time, past any cache, and one stores.
    let ids = Arc::new(ids);
    let busy = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_busy =
        |busy: &std::sync::atomic::AtomicBool| busy.load(std::sync::atomic::Ordering::Relaxed);
    let readers: Vec<_> = [&one, &other]
        .map(|vault| {
            let (vault, ids, busy) = (vault.clone(), Arc::clone(&ids), Arc::clone(&busy));
            tokio::spawn(async move {
                let mut reads = 0;
                while is_busy(&busy) {
                    let at = 2 + reads * 7 % (ids.len() - 2);
                    let read = vault.read(&ids[at]).await.unwrap();
                    assert_eq!(read.secret(), account(at).secret());
                    reads += 1;
                }
                reads
            })
        })
        .into_iter()
        .collect();
    let writer = {
        let (vault, busy) = (other.clone(), Arc::clone(&busy));
        tokio::spawn(async move {
            let mut stored = 0;
            while is_busy(&busy) {
                let new = account(500_000 + stored);
                let id = EnrollmentId::random();
                let kept = vault.store_unless_there(&id, &new, None).await.unwrap();
                assert_eq!(kept, StoredUnlessThere::Stored(Stored::Created));
                stored += 1;
            }
            stored
        })
    };

    let key_file = place.key_file();
    let keys = |path: &Path| std::fs::read_to_string(path).unwrap().lines().count();
    let first = rotate_shared_key(&database, &key_file.clone().into(), false, |_| ())
        .await
        .unwrap();
    let SharedRotation::Copy { key } = first.clone() else {
        panic!("{first:?}");
    };
    // Asked again, it makes no further key. Nothing needs the new one yet.
    let again = rotate_shared_key(&database, &key_file.clone().into(), false, |_| ())
        .await
        .unwrap();
    assert_eq!(again, first);
    assert_eq!((keys(&key_file), keys(&copy)), (2, 1));
    assert_eq!(
        other.read(&ids[2]).await.unwrap().secret(),
        account(2).secret()
    );
    std::fs::copy(&key_file, &copy).unwrap();

    // Cut off in the middle, it goes on from there.
    let (cut, file) = (database.clone(), key_file.clone());
    let cut = tokio::spawn(async move {
        rotate_shared_key(&cut, &file.into(), true, |now| {
            assert!(now.done < 100, "cut off")
        })
        .await
    });
    assert!(cut.await.unwrap_err().is_panic());
    let between = place.open_with(&copy).await.unwrap();
    for at in [2, accounts - 1] {
        assert_eq!(
            between.read(&ids[at]).await.unwrap().secret(),
            account(at).secret()
        );
    }
    let mut steps = 0;
    let done = rotate_shared_key(&database, &key_file.clone().into(), true, |_| steps += 1)
        .await
        .unwrap();
    let SharedRotation::Done(rotated) = done else {
        panic!("{done:?}");
    };
    assert!(rotated.resumed && steps >= 2, "{rotated:?} {steps}");
    assert_eq!(rotated.key, key);
    busy.store(false, std::sync::atomic::Ordering::Relaxed);
    let mut reads = 0;
    for reader in readers {
        reads += reader.await.unwrap();
    }
    let stored = writer.await.unwrap();
    assert!(reads > 0 && stored > 0);
    println!(
        "{accounts} accounts; {reads} readings and {stored} new accounts meanwhile, none failed"
    );

    // Nothing needs the old key any more, and everything is found as before.
    assert_eq!(keys(&key_file), 1);
    let last = place.open().await;
    for vault in [&one, &other, &last] {
        assert_eq!(vault.recovery(&ids[0]).await.unwrap(), codes);
        let same = vault.same_as(&account(7)).await.unwrap();
        assert_eq!(same.len(), 1);
        assert_eq!(same[0].id, ids[7]);
        let (id, new) = (EnrollmentId::random(), account(500_000));
        let twice = vault.store_unless_there(&id, &new, None).await.unwrap();
        assert!(matches!(twice, StoredUnlessThere::There(_)), "{twice:?}");
    }
    last.recover(&ids[1]).await.unwrap();
    assert_eq!(
        last.read(&ids[1]).await.unwrap().secret(),
        account(1).secret()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rotated_only_where_the_current_one_is() {
    let Some(place) = Place::new() else { return };
    let database = open(&place.server.database_named(&place.name)).await;
    let key_file = place.key_file();
    let nothing = rotate_shared_key(&database, &key_file.clone().into(), true, |_| ()).await;
    assert!(
        matches!(nothing, Err(SharedRotationError::NoVault)),
        "{nothing:?}"
    );
    place.open().await;
    let further = Place::new().unwrap();
    further.open().await;
    let wrong = rotate_shared_key(&database, &further.key_file().into(), true, |_| ()).await;
    assert!(
        matches!(wrong, Err(SharedRotationError::KeyMissing(_))),
        "{wrong:?}"
    );
}
