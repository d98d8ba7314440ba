//! The audit log in a shared database: one chain for all writers, and nothing goes missing
//! from it unnoticed.

use chrono::{DateTime, TimeDelta, Utc};
use countersign::audit::{
    Action, AuditError, AuditQuery, ChainCheck, Event, Head, Loss, PostgresAudit,
};
use countersign_database::Database;
use countersign_database::testing::Postgres;
use tempfile::TempDir;
use tokio::task::JoinSet;

const KEY: [u8; 32] = [7; 32];

/// A database, and the folders of two machines.
struct Place {
    server: &'static Postgres,
    name: String,
    folders: [TempDir; 2],
}

impl Place {
    fn new() -> Option<Self> {
        tokio::task::block_in_place(|| {
            let server = Postgres::shared()?;
            Some(Self {
                server,
                name: server.make(),
                folders: std::array::from_fn(|_| tempfile::tempdir().unwrap()),
            })
        })
    }

    async fn try_open(&self, machine: usize, key: &[u8; 32]) -> Result<PostgresAudit, AuditError> {
        let url = self.server.database_named(&self.name);
        let database = Database::open(url, None, 4).await.unwrap();
        PostgresAudit::open(database, self.folders[machine].path(), key).await
    }

    async fn open(&self, machine: usize) -> PostgresAudit {
        self.try_open(machine, &KEY).await.unwrap()
    }

    /// As someone who owns the database and knows how the log is kept from being changed.
    fn tamper(&self, statement: &str) {
        let statement = format!(
            "SET session_replication_role = replica; SET search_path = countersign; {statement}"
        );
        self.server.psql(&self.name, &statement).unwrap();
    }
}

fn start() -> DateTime<Utc> {
    "2026-03-04T05:06:07.089Z".parse().unwrap()
}

fn event(number: i64) -> Event {
    let at = start() + TimeDelta::seconds(number);
    let caller = if number % 2 == 0 { "even" } else { "odd" };
    Event::new(Action::Store, caller, at).to(format!("totp-{number}"))
}

fn all() -> AuditQuery {
    AuditQuery {
        limit: 10_000,
        ..AuditQuery::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_writers_continue_one_chain() {
    const WRITERS: i64 = 8;
    const EACH: i64 = 20;
    let Some(place) = Place::new() else { return };
    let doors = [place.open(0).await, place.open(1).await];
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let door = doors[usize::try_from(writer % 2).unwrap()].clone();
        writers.spawn(async move {
            for number in 0..EACH {
                let events = [event(writer * 1_000 + number), event(number)];
                door.append(&events).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let count = u64::try_from(WRITERS * EACH * 2).unwrap();
    for door in &doors {
        let verdict = door.verify(None).await.unwrap();
        let ChainCheck::Intact(end) = verdict else {
            panic!("{verdict:?}");
        };
        assert_eq!(end.sequence, count);
        assert_eq!(
            door.verify(Some(&end)).await.unwrap(),
            ChainCheck::Intact(end)
        );
    }
    let entries = doors[0].query(&all()).await.unwrap();
    let places: Vec<u64> = entries.iter().map(|entry| entry.sequence).collect();
    assert_eq!(places, (1..=count).collect::<Vec<_>>());
    // What was appended together stands together.
    for pair in entries.chunks(2) {
        let number = |at: usize| pair[at].event.at.timestamp() - start().timestamp();
        assert_eq!(number(0) % 1_000, number(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_found_by_who_what_and_when() {
    let Some(place) = Place::new() else { return };
    let door = place.open(0).await;
    let events: Vec<Event> = (0..6).map(event).collect();
    door.append(&events).await.unwrap();
    let hostile = Event::new(Action::Seal, "nul\0and \u{202e}", start()).to("a\0b");
    door.append(&[hostile]).await.unwrap();
    let other = place.open(1).await;
    let find = async |query: AuditQuery| {
        let found = other.query(&query).await.unwrap();
        found.iter().map(|it| it.sequence).collect::<Vec<_>>()
    };
    let odd = AuditQuery {
        caller: Some("odd".to_owned()),
        ..all()
    };
    assert_eq!(find(odd.clone()).await, [2, 4, 6]);
    assert_eq!(
        find(AuditQuery {
            newest_first: true,
            after: Some(6),
            limit: 1,
            ..odd
        })
        .await,
        [4]
    );
    assert_eq!(
        find(AuditQuery {
            subject: Some("totp-3".to_owned()),
            ..all()
        })
        .await,
        [4]
    );
    assert_eq!(
        find(AuditQuery {
            action: Some(Action::Seal),
            ..all()
        })
        .await,
        [7]
    );
    assert_eq!(
        find(AuditQuery {
            since: Some(start() + TimeDelta::seconds(1)),
            until: Some(start() + TimeDelta::seconds(3)),
            ..all()
        })
        .await,
        [2, 3]
    );
    let nul = AuditQuery {
        caller: Some("nul\0".to_owned()),
        ..all()
    };
    assert!(find(nul).await.is_empty());
    assert_eq!(other.query(&all()).await.unwrap()[1].event, event(1));
    assert!(matches!(
        other.verify(None).await.unwrap(),
        ChainCheck::Intact(_)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_changed_in_it_is_noticed() {
    for (change, expected) in [
        (
            "UPDATE audit_entries SET event = replace(event, 'odd', 'even') WHERE sequence = 4",
            Some(4),
        ),
        (
            "UPDATE audit_entries SET caller = 'nobody' WHERE sequence = 3",
            Some(3),
        ),
        ("DELETE FROM audit_entries WHERE sequence = 2", Some(2)),
        ("DELETE FROM audit_entries WHERE sequence > 3", None),
        (
            "DELETE FROM audit_entries WHERE sequence > 3;
             UPDATE audit_end SET sequence = 3,
                 hash = (SELECT hash FROM audit_entries WHERE sequence = 3)",
            None,
        ),
    ] {
        let Some(place) = Place::new() else { return };
        let door = place.open(0).await;
        let events: Vec<Event> = (0..5).map(event).collect();
        door.append(&events).await.unwrap();
        let refused = place.server.psql(
            &place.name,
            "DELETE FROM countersign.audit_entries WHERE sequence = 5",
        );
        assert!(refused.unwrap_err().contains("append-only"));
        place.tamper(change);
        let verdict = door.verify(None).await.unwrap();
        match expected {
            Some(sequence) => assert_eq!(verdict, ChainCheck::Broken { sequence }, "{change}"),
            None => assert_eq!(
                verdict,
                ChainCheck::Incomplete(Loss::Cut { ends: 3, noted: 5 }),
                "{change}"
            ),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_replaced_by_an_older_copy_is_noticed_running_and_at_start() {
    let Some(place) = Place::new() else { return };
    let door = place.open(0).await;
    let old = door.append(&[event(0), event(1)]).await.unwrap();
    let end = door.append(&[event(2)]).await.unwrap();
    assert_eq!((old.sequence, end.sequence), (2, 3));
    // The copy from before the last entry comes back, and someone else goes on from there.
    place.tamper(
        "DELETE FROM audit_entries WHERE sequence > 2;
         UPDATE audit_end SET sequence = 2,
             hash = (SELECT hash FROM audit_entries WHERE sequence = 2)",
    );
    let lost = |result: Result<(), AuditError>, expected: &Loss| match result {
        Err(AuditError::Incomplete(loss)) => assert_eq!(loss, *expected),
        other => panic!("{other:?}"),
    };
    let cut = Loss::Cut { ends: 2, noted: 3 };
    lost(door.append(&[event(3)]).await.map(drop), &cut);
    lost(place.try_open(0, &KEY).await.map(drop), &cut);
    // A machine that was never there cannot know.
    let other = place.open(1).await;
    other.append(&[event(4), event(5)]).await.unwrap();
    let replaced = Loss::Other { sequence: 3 };
    lost(door.append(&[event(3)]).await.map(drop), &replaced);
    lost(place.try_open(0, &KEY).await.map(drop), &replaced);
    let verdict = door.verify(None).await.unwrap();
    assert_eq!(verdict, ChainCheck::Incomplete(replaced.clone()));
    let verdict = other.verify(Some(&end)).await.unwrap();
    assert_eq!(verdict, ChainCheck::Incomplete(replaced));
    let kept = Head {
        sequence: 100,
        hash: [1; 32],
    };
    let verdict = other.verify(Some(&kept)).await.unwrap();
    assert_eq!(
        verdict,
        ChainCheck::Incomplete(Loss::Cut {
            ends: 4,
            noted: 100
        })
    );
    // Who runs the machine accepts it, which is recorded, and goes on.
    let url = place.server.database_named(&place.name);
    let database = Database::open(url, None, 2).await.unwrap();
    let accept = || {
        let event = Event::new(Action::AcceptLoss, "local", start()).because("restored");
        PostgresAudit::accept_loss(&database, place.folders[0].path(), &KEY, event)
    };
    assert_eq!(accept().await.unwrap(), Loss::Other { sequence: 3 });
    assert!(matches!(accept().await, Err(AuditError::NothingLost)));
    let door = place.open(0).await;
    let end = door.append(&[event(6)]).await.unwrap();
    let intact = door.verify(None).await.unwrap();
    assert_eq!(intact, ChainCheck::Intact(end));
    let entries = door.query(&all()).await.unwrap();
    let accepted = entries
        .iter()
        .find(|it| it.event.action == Action::AcceptLoss);
    let accepted = &accepted.unwrap().event;
    assert_eq!(accepted.reason.as_deref(), Some("restored"));
    assert!(
        accepted.changes[0]
            .from
            .as_deref()
            .unwrap()
            .starts_with("3:")
    );
    // Another server key makes another chain.
    let folder = tempfile::tempdir().unwrap();
    let foreign = PostgresAudit::open(database, folder.path(), &[8; 32]).await;
    assert!(matches!(
        foreign.map(drop),
        Err(AuditError::KeyMissing { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn old_entries_move_into_archives_that_prove_themselves_while_others_write() {
    let Some(place) = Place::new() else { return };
    let (door, other) = (place.open(0).await, place.open(1).await);
    let events: Vec<Event> = (0..30).map(event).collect();
    let end = door.append(&events).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str| files.path().join(name);
    let archived = Event::new(Action::ArchiveAudit, "local", start());
    let before = |number: i64| start() + TimeDelta::seconds(number);

    let nothing = door.archive(&file("none"), start(), None, &archived).await;
    assert_eq!(nothing.unwrap(), None);
    assert!(!file("none").exists());
    // A collector has 5 entries only.
    let (one, two) = (file("1"), file("2"));
    let first = door.archive(&one, before(10), Some(5), &archived).await;
    let first = first.unwrap().unwrap();
    assert_eq!((first.entries, first.through.sequence), (5, 5));
    let taken = door.archive(&file("1"), before(10), None, &archived).await;
    assert!(matches!(taken, Err(AuditError::File(_))), "{taken:?}");

    // Others write and read on meanwhile.
    let mut writers = JoinSet::new();
    for number in 0..10 {
        let other = other.clone();
        writers.spawn(async move { other.append(&[event(100 + number)]).await.unwrap() });
    }
    let second = door.archive(&two, before(20), None, &archived).await;
    let second = second.unwrap().unwrap();
    assert_eq!((second.entries, second.through.sequence), (15, 20));
    writers.join_all().await;

    let archives = [file("2"), file("1")];
    for machine in [&door, &other, &place.open(0).await] {
        for archives in [&archives[..], &[]] {
            let verdict = machine.verify_with(None, archives).await.unwrap();
            assert!(
                matches!(&verdict, ChainCheck::Intact(head) if head.sequence == 42),
                "{verdict:?}"
            );
        }
    }
    // A head from before can be checked with the archives, and only with them.
    let verdict = door.verify_with(Some(&end), &archives).await.unwrap();
    assert!(matches!(verdict, ChainCheck::Intact(_)), "{verdict:?}");
    let kept = first.through.clone();
    let refused = door.verify(Some(&kept)).await;
    assert!(
        matches!(refused, Err(AuditError::InArchive(5))),
        "{refused:?}"
    );
    let missing = door.verify_with(None, &archives[..1]).await;
    assert!(
        matches!(missing, Err(AuditError::Archive { .. })),
        "{missing:?}"
    );

    // Nobody without the key says that more was archived.
    place.tamper(
        "DELETE FROM audit_entries WHERE sequence <= 22;
         UPDATE audit_archived SET sequence = 22,
             hash = (SELECT hash FROM audit_entries WHERE sequence = 23)",
    );
    let refused = door.verify(None).await;
    assert!(
        matches!(refused, Err(AuditError::ArchiveUnproven(22))),
        "{refused:?}"
    );
}
