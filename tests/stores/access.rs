//! What every store of keys, grants and sessions promises, tried on each kind of store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use countersign::access::{
    AccessStore, CallerRef, FolderAccess, Grant, Granted, Grantee, Group, KeyError, KeyStore,
    NewKey, PostgresAccess, Reads, Role, SecretHash, Spent,
};
use countersign_database::testing::Postgres;
use countersign_database::{Database, DatabaseUrl};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

type Store = Arc<dyn AccessStore>;

/// For how long a code logs in, and how many there are at a time.
const LOGIN_CODE: TimeDelta = TimeDelta::minutes(10);
const LOGIN_CODES: i64 = 16;

/// Where one store of a kind is kept, for as long as this lives.
trait Home: Sized {
    /// A place of its own with nothing in it; none where there is not what it takes.
    fn new() -> Option<Self>;
    /// The store there, as one more front door opens it.
    async fn open(&self) -> Store;
    /// The store that another front door has beside `one`, with what is not kept on the disk: a
    /// data folder has one front door.
    async fn beside(&self, one: &Store) -> Store;
}

struct Folder(tempfile::TempDir);

impl Home for Folder {
    fn new() -> Option<Self> {
        Some(Self(tempfile::tempdir().unwrap()))
    }

    async fn open(&self) -> Store {
        let keys = KeyStore::open(&self.0.path().join("access.sqlite3")).unwrap();
        Arc::new(FolderAccess::new(keys))
    }

    async fn beside(&self, one: &Store) -> Store {
        Arc::clone(one)
    }
}

struct Shared(DatabaseUrl);

impl Home for Shared {
    fn new() -> Option<Self> {
        tokio::task::block_in_place(|| Some(Self(Postgres::shared()?.database())))
    }

    async fn open(&self) -> Store {
        let database = Database::open(self.0.clone(), None, 5).await.unwrap();
        let store = PostgresAccess::new(database);
        store.ready().await;
        Arc::new(store)
    }

    async fn beside(&self, _: &Store) -> Store {
        self.open().await
    }
}

fn start() -> DateTime<Utc> {
    "2026-03-04T05:06:07Z".parse().unwrap()
}

fn hash(text: &str) -> SecretHash {
    Sha256::digest(text.as_bytes()).into()
}

async fn key(store: &Store, name: &str, granted_only: bool) -> String {
    let new = NewKey {
        granted_only,
        ..NewKey::new(name, Role::Reader)
    };
    let (_, key) = store.create(new, None, start()).await.unwrap();
    key.to_string()
}

async fn works(store: &Store, key: &str, now: DateTime<Utc>) -> bool {
    let found = store.verify(key, &hash(key), now).await.unwrap();
    found.is_some()
}

fn caller(id: &str) -> CallerRef<'_> {
    CallerRef { id, groups: &[] }
}

fn to_caller(id: &str, account: &str, reads: Option<u32>) -> Grant {
    Grant {
        to: Grantee::Caller(id.to_owned()),
        account: account.to_owned(),
        until: None,
        reads: reads.map(Reads::new),
    }
}

async fn a_key_made_at_one_is_known_at_the_other_until_it_is_revoked<H: Home>(home: H) {
    let (one, other) = (home.open().await, home.open().await);
    let text = key(&one, "bot", false).await;
    let found = other.verify(&text, &hash(&text), start()).await.unwrap();
    let found = found.unwrap();
    assert_eq!((found.name.as_str(), found.role), ("bot", Role::Reader));
    // The use was noted.
    let listed = one.list().await.unwrap();
    assert_eq!(listed[0].last_used_at, Some(start()));
    for wrong in ["", "cs_", "nonsense", &text[..text.len() - 1]] {
        assert!(!works(&other, wrong, start()).await, "{wrong}");
    }
    let again = one
        .create(NewKey::new("bot", Role::Admin), None, start())
        .await;
    assert!(matches!(again, Err(KeyError::Taken(_))), "{again:?}");
    let unknown = one.revoke("nobody", start()).await;
    assert!(matches!(unknown, Err(KeyError::Unknown(_))), "{unknown:?}");

    let stamp = other.stamp().unwrap();
    let before = one.revoke("bot", start()).await.unwrap();
    assert_eq!(before.revoked_at, None);
    let revoked = Instant::now();
    assert!(!works(&other, &text, start()).await);
    // What the other one remembers is known to be old within a second.
    while other.stamp().is_ok_and(|now| now == stamp) {
        assert!(revoked.elapsed() < Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let twice = other.revoke("bot", start() + TimeDelta::days(1)).await;
    assert_eq!(twice.unwrap().revoked_at, Some(start()));
    assert!(other.active(&found.id, start()).await.unwrap().is_none());
}

async fn a_key_is_rotated_with_an_overlap_by_its_holder<H: Home>(home: H) {
    let (one, other) = (home.open().await, home.open().await);
    let first = key(&one, "bot", false).await;
    let overlap = TimeDelta::hours(1);
    let (record, second) = one.rotate("bot", None, overlap, start()).await.unwrap();
    let (soon, late) = (start() + TimeDelta::minutes(59), start() + overlap);
    for (key, now, serves) in [
        (first.as_str(), soon, true),
        (first.as_str(), late, false),
        (second.as_str(), late, true),
    ] {
        assert_eq!(works(&other, key, now).await, serves, "{now}");
    }
    let held = hash(&first);
    let refused = other.rotate("bot", Some(&held), overlap, soon).await;
    assert!(matches!(refused, Err(KeyError::NotCurrent)), "{refused:?}");
    let session = hash("session");
    let who = format!("k.{}", record.id);
    let until = (start() + TimeDelta::days(1)).timestamp();
    one.begin_session(&session, &who, until, start().timestamp())
        .await
        .unwrap();
    let held = hash(&second);
    let (_, third) = other
        .rotate("bot", Some(&held), overlap, soon)
        .await
        .unwrap();
    // The one before the last ends at once, and so do sessions.
    assert!(!works(&one, &first, soon).await);
    assert!(works(&one, &second, soon).await && works(&one, &third, soon).await);
    assert!(!one.has_session(&session, soon.timestamp()).await.unwrap());
    one.revoke("bot", soon).await.unwrap();
    let unknown = one.rotate("bot", None, overlap, soon).await;
    assert!(matches!(unknown, Err(KeyError::Over(_))), "{unknown:?}");
}

async fn all_keys_that_one_caller_created_count_as_that_caller<H: Home>(home: H) {
    let (one, other) = (home.open().await, home.open().await);
    for (name, maker) in [("first", "admin"), ("second", "first"), ("third", "oidc:x")] {
        let new = NewKey::new(name, Role::Enroller);
        one.create(new, Some(maker), start()).await.unwrap();
    }
    for (caller, person) in [
        ("second", "admin"),
        ("third", "oidc:x"),
        ("nobody", "nobody"),
    ] {
        assert_eq!(other.person(caller).await.unwrap(), person);
    }
}

async fn grants_hold_for_callers_and_groups_until_they_end<H: Home>(home: H) {
    let (one, other) = (home.open().await, home.open().await);
    key(&one, "bot", true).await;
    key(&one, "all", false).await;
    let refused = one.grant(&to_caller("all", "a", None), false).await;
    assert!(matches!(refused, Err(KeyError::NotLimited(_))));
    let refused = one.grant(&to_caller("who", "a", None), false).await;
    assert!(matches!(refused, Err(KeyError::Unknown(_))));
    key(&one, "gone", true).await;
    one.revoke("gone", start()).await.unwrap();
    let refused = one.grant(&to_caller("gone", "a", None), false).await;
    assert!(matches!(refused, Err(KeyError::Over(_))));

    let end = start() + TimeDelta::hours(1);
    let until = Grant {
        until: Some(end),
        ..to_caller("bot", "a", None)
    };
    let granted = one.grant(&until, false).await.unwrap();
    assert_eq!(granted, Granted::Now(None));
    let granted = other.grant(&until, true).await.unwrap();
    assert_eq!(granted, Granted::Before(until.clone()));
    let group: Group = "ops team".parse().unwrap();
    let to_group = Grant {
        to: Grantee::Group(group.clone()),
        ..to_caller("", "b", None)
    };
    one.grant(&to_group, false).await.unwrap();
    let groups = [group.clone()];
    let bot = CallerRef {
        id: "bot",
        groups: &groups,
    };
    assert_eq!(other.granted(bot, start()).await.unwrap(), ["a", "b"]);
    assert_eq!(other.granted(bot, end).await.unwrap(), ["b"]);
    assert_eq!(other.granted(caller("bot"), start()).await.unwrap(), ["a"]);
    assert!(other.may_read(bot, "a", start()).await.unwrap());
    assert!(!other.may_read(bot, "a", end).await.unwrap());
    assert_eq!(other.spent(bot, "a", end).await.unwrap(), Some(Spent::Over));
    assert_eq!(other.spent(bot, "c", end).await.unwrap(), None);
    let free = other.free_until(bot, "a", start()).await.unwrap();
    assert_eq!(free, Some(end));
    let free = other.free_until(bot, "b", start()).await.unwrap();
    assert!(free.unwrap() > end + TimeDelta::days(100_000));
    assert_eq!(other.grants().await.unwrap(), [until.clone(), to_group]);
    // A name is not a group of the same name.
    let ops = caller("ops team");
    assert!(!one.may_read(ops, "b", start()).await.unwrap());
    let taken = other.take_back(&until.to, "a").await.unwrap();
    assert_eq!(taken, Some(until.clone()));
    assert_eq!(one.take_back(&until.to, "a").await.unwrap(), None);
    assert!(!one.may_read(bot, "a", start()).await.unwrap());
}

async fn as_many_readings_are_taken_as_were_granted_over_all_front_doors<H: Home>(home: H) {
    const OWN: u32 = 7;
    const SHARED: u32 = 4;
    let (one, other) = (home.open().await, home.open().await);
    key(&one, "bot", true).await;
    let own = to_caller("bot", "a", Some(OWN));
    one.grant(&own, false).await.unwrap();
    let group: Group = "ops".parse().unwrap();
    let shared = Grant {
        to: Grantee::Group(group.clone()),
        ..to_caller("", "a", Some(SHARED))
    };
    one.grant(&shared, false).await.unwrap();
    let mut takers = JoinSet::new();
    for number in 0..40 {
        let store = Arc::clone(if number % 2 == 0 { &one } else { &other });
        let groups = [group.clone()];
        takers.spawn(async move {
            let bot = CallerRef {
                id: "bot",
                groups: &groups,
            };
            store.take_counted(bot, "a", start()).await.unwrap()
        });
    }
    let taken = takers.join_all().await;
    let taken = taken.iter().filter(|taken| **taken).count();
    assert_eq!(taken, (OWN + SHARED) as usize);
    let groups = [group];
    let bot = CallerRef {
        id: "bot",
        groups: &groups,
    };
    assert_eq!(
        one.spent(bot, "a", start()).await.unwrap(),
        Some(Spent::UsedUp)
    );
    let left = other.grants().await.unwrap();
    assert!(
        left.iter().all(|it| it.reads.map(Reads::left) == Some(0)),
        "{left:?}"
    );
    // The same terms once more leave what was read of it; more reads are more.
    let Granted::Before(same) = other.grant(&own, true).await.unwrap() else {
        panic!("it was granted again");
    };
    let reads = same.reads.unwrap();
    assert_eq!((reads.granted(), reads.left()), (OWN, 0));
    let more = to_caller("bot", "a", Some(OWN + 1));
    let granted = one.grant(&more, true).await.unwrap();
    assert_eq!(granted, Granted::Now(Some(same)));
    let now = other.grant(&more, true).await.unwrap();
    assert_eq!(now, Granted::Before(more));
    // Granting it again without that does not.
    other.grant(&own, false).await.unwrap();
    assert!(one.take_counted(caller("bot"), "a", start()).await.unwrap());
}

async fn an_account_that_needs_an_approval_at_one_needs_it_at_the_other<H: Home>(home: H) {
    let (one, other) = (home.open().await, home.open().await);
    assert!(!one.guard("a", true).await.unwrap());
    assert!(other.guard("a", true).await.unwrap());
    let guarded = other.guarded().await.unwrap();
    assert_eq!(guarded, BTreeSet::from(["a".to_owned()]));
    assert!(other.guard("a", false).await.unwrap());
    assert!(!one.guard("a", false).await.unwrap());
    assert!(one.guarded().await.unwrap().is_empty());
}

async fn a_session_that_ends_at_one_has_ended_at_the_other<H: Home>(home: H) {
    let (one, other) = (home.open().await, home.open().await);
    let now = start().timestamp();
    let session = hash("a session");
    one.begin_session(&session, "a.x", now + 60, now)
        .await
        .unwrap();
    assert!(other.has_session(&session, now).await.unwrap());
    assert!(!other.has_session(&session, now + 60).await.unwrap());
    assert!(other.end_session(&session).await.unwrap());
    assert!(!one.end_session(&session).await.unwrap());
    assert!(!one.has_session(&session, now).await.unwrap());
    // More than a caller may have, at once: the oldest end.
    let mut begun = JoinSet::new();
    for number in 0..80_i64 {
        let store = Arc::clone(if number % 2 == 0 { &one } else { &other });
        begun.spawn(async move {
            let id = hash(&number.to_string());
            let until = now + 100 + number;
            store.begin_session(&id, "a.x", until, now).await.unwrap();
        });
    }
    begun.join_all().await;
    let mut kept = 0;
    for number in 0..80 {
        let id = hash(&number.to_string());
        kept += u32::from(one.has_session(&id, now).await.unwrap());
    }
    assert_eq!(kept, 64);
}

async fn of_many_who_take_a_name_or_renew_its_key_one_succeeds<H: Home>(home: H) {
    let (one, other) = (home.open().await, home.open().await);
    let mut made = JoinSet::new();
    for number in 0..20 {
        let store = Arc::clone([&one, &other][number % 2]);
        made.spawn(async move {
            let new = NewKey::new("bot", Role::Reader);
            store.create(new, None, start()).await
        });
    }
    let mut keys = Vec::new();
    for made in made.join_all().await {
        match made {
            Ok((_, key)) => keys.push(key.to_string()),
            Err(error) => assert!(matches!(error, KeyError::Taken(_)), "{error:?}"),
        }
    }
    let [first] = keys.as_slice() else {
        panic!("{} keys of one name", keys.len());
    };

    // A caller with the current key may renew it, and of many only one has it by then: nobody
    // is left with a key that another renewal has replaced.
    let held = hash(first);
    let mut renewed = JoinSet::new();
    for number in 0..20 {
        let store = Arc::clone([&one, &other][number % 2]);
        renewed.spawn(async move {
            let overlap = TimeDelta::hours(1);
            store.rotate("bot", Some(&held), overlap, start()).await
        });
    }
    let mut keys = Vec::new();
    for renewed in renewed.join_all().await {
        match renewed {
            Ok((_, key)) => keys.push(key.to_string()),
            Err(error) => assert!(matches!(error, KeyError::NotCurrent), "{error:?}"),
        }
    }
    let [second] = keys.as_slice() else {
        panic!("{} keys in place of one", keys.len());
    };
    assert!(works(&other, first, start()).await && works(&one, second, start()).await);
}

async fn what_is_taken_back_while_it_is_read_has_given_what_it_lacks<H: Home>(home: H) {
    const READS: u32 = 50;
    let (one, other) = (home.open().await, home.open().await);
    key(&one, "bot", true).await;
    let grant = to_caller("bot", "a", Some(READS));
    one.grant(&grant, false).await.unwrap();
    let mut takers = JoinSet::new();
    for number in 0..4 {
        let store = Arc::clone([&one, &other][number % 2]);
        takers.spawn(async move {
            let mut taken = 0;
            while store
                .take_counted(caller("bot"), "a", start())
                .await
                .unwrap()
            {
                taken += 1;
            }
            taken
        });
    }
    // Once some of it is read, and most probably not all.
    loop {
        let grants = other.grants().await.unwrap();
        if grants[0].reads.unwrap().left() < READS {
            break;
        }
        tokio::task::yield_now().await;
    }
    let back = other.take_back(&grant.to, "a").await.unwrap().unwrap();
    let taken: u32 = takers.join_all().await.into_iter().sum();
    assert_eq!(taken + back.reads.unwrap().left(), READS);
    assert!(!one.take_counted(caller("bot"), "a", start()).await.unwrap());
}

async fn a_login_code_is_used_once_at_any_front_door<H: Home>(home: H) {
    let one = home.open().await;
    let other = home.beside(&one).await;
    let code = hash("a code");
    one.keep_login_code(&code, "a.x", start()).await.unwrap();
    let whose = other.whose_login_code(&code, start()).await.unwrap();
    assert_eq!(whose.as_deref(), Some("a.x"));
    let mut users = JoinSet::new();
    for number in 0..20 {
        let store = Arc::clone([&one, &other][number % 2]);
        users.spawn(async move { store.redeem_login_code(&code, start()).await.unwrap() });
    }
    let good = users.join_all().await.into_iter().filter(|good| *good);
    assert_eq!(good.count(), 1);
    assert_eq!(one.whose_login_code(&code, start()).await.unwrap(), None);

    let late = start() + LOGIN_CODE;
    one.keep_login_code(&code, "a.x", start()).await.unwrap();
    assert_eq!(other.whose_login_code(&code, late).await.unwrap(), None);
    assert!(!other.redeem_login_code(&code, late).await.unwrap());
    // Nobody can fill the store with codes: the oldest goes.
    for number in 0..LOGIN_CODES {
        let code = hash(&format!("code {number}"));
        let now = start() + TimeDelta::seconds(number);
        one.keep_login_code(&code, "a.x", now).await.unwrap();
    }
    assert!(!one.redeem_login_code(&code, start()).await.unwrap());
}

/// The suite, for every kind of store.
macro_rules! promises {
    ($($promise:ident),+ $(,)?) => {
        promises!(in_sqlite, super::Folder: $($promise),+);
        promises!(in_postgres, super::Shared: $($promise),+);
    };
    ($kind:ident, $home:ty: $($promise:ident),+) => {
        mod $kind {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $promise() {
                    if let Some(home) = <$home as super::Home>::new() {
                        super::$promise(home).await;
                    }
                }
            )+
        }
    };
}

promises!(
    a_key_made_at_one_is_known_at_the_other_until_it_is_revoked,
    a_key_is_rotated_with_an_overlap_by_its_holder,
    all_keys_that_one_caller_created_count_as_that_caller,
    grants_hold_for_callers_and_groups_until_they_end,
    as_many_readings_are_taken_as_were_granted_over_all_front_doors,
    an_account_that_needs_an_approval_at_one_needs_it_at_the_other,
    a_session_that_ends_at_one_has_ended_at_the_other,
    of_many_who_take_a_name_or_renew_its_key_one_succeeds,
    what_is_taken_back_while_it_is_read_has_given_what_it_lacks,
    a_login_code_is_used_once_at_any_front_door,
);

/// Where nothing is heard of the database, nothing that is remembered is believed.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_cached_while_notifications_may_be_missed() {
    let setup = countersign_database::testing::Setup::default();
    let Some(mut server) = tokio::task::block_in_place(|| Postgres::start(setup)) else {
        return;
    };
    let database = Database::open(server.database(), None, 2).await.unwrap();
    let store = PostgresAccess::new(database);
    assert!(matches!(store.stamp(), Err(KeyError::Unproven)));
    store.ready().await;
    let before = store.stamp().unwrap();
    tokio::task::block_in_place(|| server.stop().unwrap());
    let stopped = Instant::now();
    while store.stamp().is_ok() {
        assert!(stopped.elapsed() < Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let refused = store.guarded().await;
    assert!(matches!(refused, Err(KeyError::Database(_))), "{refused:?}");
    tokio::task::block_in_place(|| server.start_again().unwrap());
    store.ready().await;
    assert!(store.stamp().unwrap() > before);
    assert!(store.guarded().await.unwrap().is_empty());
}
