//! The ledger in a shared database, and what can go wrong where several write at once.
//!
//! The anomalies of concurrent transactions, and what keeps each from happening:
//!
//! | Anomaly | Would be | Kept away by | Provoked by |
//! | --- | --- | --- | --- |
//! | lost update | two decisions on one version both recorded | the matter's row locked, its version compared | `of_two_decisions_on_the_same_version_one_is_recorded` |
//! | write skew | an act begun on what a rejection ends at that moment | the same row for both | `a_rejection_and_an_act_at_the_same_moment_do_not_both_succeed` |
//! | phantom | more releases begun than were granted | counted behind the lock | `many_at_once_get_exactly_what_was_granted` |
//! | phantom | a recovery code given twice, before there is a row to lock | a lock of the account | `each_recovery_code_is_given_once` |
//! | read skew | a version read with the decisions of another | one snapshot for a reading | `what_is_held_is_read_from_one_moment` |
//! | commits out of order | a journal entry added below a number that was read | the journal's end locked until the commit | `a_reader_of_the_journal_misses_no_entry` |
//! | deadlock | a run withdrawn and its account stored wait for each other | one order of locks, and doing it again | `withdrawing_a_run_while_its_accounts_are_stored_ends_both` |
//! | dirty and non-repeatable reads | | PostgreSQL has no dirty reads; a reading is one snapshot | `what_is_held_is_read_from_one_moment` |

use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign_authority::{ActName, Plan, Seal, Status};
use countersign_database::testing::{Postgres, Setup};
use countersign_database::{Database, DatabaseError, DatabaseUrl};
use countersign_ledger::{Finished, Ledger, LedgerError, PostgresLedger};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::world::{
    ACCOUNTS, Home, IMPORT, REQUEST, World, entry, matter, read, release, start, store, transfer,
};

/// How often a race is tried.
const ROUNDS: u8 = 20;

/// A database in the server that the tests share.
pub(crate) struct Shared(DatabaseUrl);

impl Home for Shared {
    fn is_there() -> bool {
        tokio::task::block_in_place(|| Postgres::shared().is_some())
    }

    fn new() -> Self {
        let server = tokio::task::block_in_place(Postgres::shared);
        Self(tokio::task::block_in_place(|| server.unwrap().database()))
    }

    fn open(&self) -> Arc<dyn Ledger> {
        tokio::task::block_in_place(|| Handle::current().block_on(open(&self.0)))
    }
}

async fn open(url: &DatabaseUrl) -> Arc<dyn Ledger> {
    let database = Database::open(url.clone(), None, 5).await.unwrap();
    Arc::new(PostgresLedger::open(database).await.unwrap())
}

/// Two processes on one ledger, where there is a PostgreSQL.
fn two() -> Option<(World, World)> {
    Shared::is_there().then(|| {
        let home = Shared::new();
        (World::on(&home), World::on(&home))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_decisions_on_the_same_version_one_is_recorded() {
    let Some((one, other)) = two() else { return };
    for round in 0..ROUNDS {
        let (mandate, signed) = one.registered(one.request(round, 2, transfer())).await;
        let (bobs, by_bob) = one.decides(&signed, REQUEST, true, "bob").await;
        let (carols, by_carol) = one.decides(&signed, REQUEST, true, "carol").await;
        let (first, second) = tokio::join!(
            one.ledger.record(&bobs, &by_bob),
            other.ledger.record(&carols, &by_carol),
        );
        match (&first, &second) {
            (Ok(()), Err(LedgerError::Stale)) | (Err(LedgerError::Stale), Ok(())) => {}
            both => panic!("{both:?}"),
        }
        let held = one.held(&mandate, REQUEST).await;
        assert_eq!((held.decisions.len(), held.version), (1, 2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_and_an_act_at_the_same_moment_do_not_both_succeed() {
    let Some((door, worker)) = two() else { return };
    for round in 0..ROUNDS {
        let (mandate, signed) = door.registered(door.request(round, 0, read(1))).await;
        let counted = worker.permit(&signed, REQUEST, release()).await.unwrap();
        let counted = counted.counted().unwrap();
        let (permit, objection) = door.decides(&signed, REQUEST, false, "carol").await;
        let (begun, recorded) = tokio::join!(
            worker.ledger.begin(&counted, start()),
            door.ledger.record(&permit, &objection),
        );
        assert_ne!(begun.is_ok(), recorded.is_ok(), "{begun:?} {recorded:?}");
        let held = door.held(&mandate, REQUEST).await;
        assert_eq!(held.uses.len(), usize::from(begun.is_ok()));
        let ended = match begun.is_ok() {
            true => Status::Done,
            false => Status::Rejected,
        };
        assert_eq!(held.status, Some(ended));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_read_from_one_moment() {
    let Some((one, other)) = two() else { return };
    let (mandate, signed) = one.registered(one.request(1, 0, read(200))).await;
    let (read_once, mut readings) = tokio::sync::watch::channel(());
    let reader = async {
        loop {
            let held = other.held(&mandate, REQUEST).await;
            // Each use adds one to the version, which began at 1.
            assert_eq!(held.version, 1 + held.uses.len() as u64);
            read_once.send_replace(());
            if held.uses.len() == 40 {
                return;
            }
        }
    };
    let writer = async {
        for _ in 0..40 {
            let permit = one.permit(&signed, REQUEST, release()).await.unwrap();
            let counted = permit.counted().unwrap();
            one.ledger.begin(&counted, start()).await.unwrap();
            // Another reading is under way by then.
            readings.changed().await.unwrap();
        }
    };
    tokio::join!(reader, writer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_journal_misses_no_entry() {
    const WRITERS: usize = 8;
    const EACH: usize = 25;
    let Some((one, other)) = two() else { return };
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let ledger = Arc::clone(if writer % 2 == 0 {
            &one.ledger
        } else {
            &other.ledger
        });
        writers.spawn(async move {
            for number in 0..EACH {
                let entry = entry("store", &format!("{writer}-{number}"));
                ledger.note(entry).await.unwrap();
            }
        });
    }
    let (mut read, mut last) = (Vec::new(), 0);
    let begun = Instant::now();
    while read.len() < WRITERS * EACH {
        assert!(begun.elapsed() < Duration::from_secs(60), "some are missed");
        for found in one.ledger.journal_after(last, 7).await.unwrap() {
            assert_eq!(found.seq, last + 1);
            last = found.seq;
            read.push(found.entry.about);
        }
    }
    writers.join_all().await;
    assert!(one.ledger.journal_after(last, 7).await.unwrap().is_empty());
    read.sort();
    read.dedup();
    assert_eq!(read.len(), WRITERS * EACH);
}

#[tokio::test(flavor = "multi_thread")]
async fn withdrawing_a_run_while_its_accounts_are_stored_ends_both() {
    let Some((door, worker)) = two() else { return };
    for round in 0..ROUNDS {
        let (mandate, signed) = door.registered(door.import(round)).await;
        let plan = worker.permit(&signed, IMPORT, Plan).await.unwrap();
        let accounts = ACCOUNTS.map(|id| id.parse().unwrap());
        worker.ledger.plan(&plan, &accounts).await.unwrap();
        let permit = worker.permit(&signed, ACCOUNTS[0], store(ACCOUNTS[0]));
        let counted = permit.await.unwrap().counted().unwrap();
        worker.ledger.begin(&counted, start()).await.unwrap();
        let finished = Finished {
            at: start(),
            result: None,
            status: Some(Status::Done),
            entry: Some(entry("store", ACCOUNTS[0])),
            gives: None,
        };
        let run = matter(&mandate, IMPORT);
        let begun = Instant::now();
        let (stored, withdrawn) = tokio::join!(
            worker.ledger.finish(&counted, finished),
            door.ledger.withdraw(&run),
        );
        stored.unwrap();
        withdrawn.unwrap();
        // The server looks for a circle after a second only: there was none.
        assert!(
            begun.elapsed() < Duration::from_millis(900),
            "round {round}"
        );
        let held = door.held(&mandate, ACCOUNTS[0]).await;
        assert!(held.done(ActName::Store).is_some());
        assert_eq!(held.status, Some(Status::Done));
        let left = door.held(&mandate, ACCOUNTS[1]).await.status;
        assert_eq!(left, Some(Status::Withdrawn));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_database_is_reported_and_the_same_handle_recovers() {
    let Some(mut server) = Postgres::start(Setup::default()) else {
        return;
    };
    let world = World::over(open(&server.database()).await);
    let (mandate, signed) = world.registered(world.request(1, 0, transfer())).await;
    let counted = world.permit(&signed, REQUEST, Seal).await.unwrap();
    let counted = counted.counted().unwrap();
    server.stop().unwrap();
    let begun = Instant::now();
    let held = world.ledger.state(&matter(&mandate, REQUEST)).await;
    assert!(
        matches!(
            held,
            Err(LedgerError::Database(
                DatabaseError::Unreachable { .. } | DatabaseError::Unavailable(_)
            ))
        ),
        "{held:?}"
    );
    assert!(world.ledger.begin(&counted, start()).await.is_err());
    assert!(world.ledger.latest(REQUEST).await.is_err());
    assert!(world.ledger.journal_after(0, 1).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(10));
    server.start_again().unwrap();
    world.ledger.begin(&counted, start()).await.unwrap();
    assert_eq!(world.held(&mandate, REQUEST).await.uses.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_wrote_into_it_is_not_read_as_nothing() {
    let Some(server) = tokio::task::block_in_place(Postgres::shared) else {
        return;
    };
    let name = server.make();
    let url = server.database_named(&name);
    let world = World::over(open(&url).await);
    let (mandate, _) = world.registered(world.request(1, 0, transfer())).await;
    let ruin = |statement: &str| server.psql(&name, statement).unwrap();
    ruin("UPDATE countersign.ledger_matters SET status = 'perhaps'");
    let held = world.ledger.state(&matter(&mandate, REQUEST)).await;
    assert!(matches!(held, Err(LedgerError::Malformed)), "{held:?}");
    ruin("UPDATE countersign.ledger_matters SET status = 'open', version = -1");
    let held = world.ledger.state(&matter(&mandate, REQUEST)).await;
    assert!(matches!(held, Err(LedgerError::Malformed)), "{held:?}");
    ruin("UPDATE countersign.ledger SET id = 'no id'");
    let database = Database::open(url, None, 2).await.unwrap();
    let opened = PostgresLedger::open(database).await.err();
    assert!(matches!(opened, Some(LedgerError::Malformed)), "{opened:?}");
}
