//! What every ledger promises, tried on each kind of ledger that there is.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "promises/postgres.rs"]
mod postgres;
#[path = "promises/recovery.rs"]
mod recovery;
#[path = "promises/sqlite.rs"]
mod sqlite;
#[path = "promises/world.rs"]
mod world;

use std::sync::Arc;

use chrono::TimeDelta;
use countersign_authority::{ActName, Plan, Refusal, Seal, Status};
use countersign_ledger::{Begun, Finished, LedgerError, NewEntry, Outcome};
use recovery::{
    a_transfer_marks_all_recovery_codes_as_given_out, each_recovery_code_is_given_once,
};
use world::{
    ACCOUNTS, ENROLLMENT, Home, IMPORT, REQUEST, World, entry, matter, read, release, start, store,
    transfer,
};

async fn a_mandate_is_written_down_once<H: Home>() {
    let home = H::new();
    let world = World::on(&home);
    let (mandate, signed) = world.enrollment(1, 0);
    world.ledger.register(&mandate, &signed).await.unwrap();
    let first = world.held(&mandate, ENROLLMENT).await;
    assert_eq!(first.ledger, *world.ledger.id());
    assert_eq!(first.mandate, Some(signed.digest()));
    assert_eq!((first.status, first.version), (Some(Status::Open), 1));
    assert!(first.decisions.is_empty() && first.uses.is_empty());
    // Again, as after an answer that was lost.
    world.ledger.register(&mandate, &signed).await.unwrap();
    assert_eq!(world.held(&mandate, ENROLLMENT).await, first);

    // Another one with its run, and one that names another ledger.
    let (other, other_signed) = world.enrollment(1, 2);
    let taken = world.ledger.register(&other, &other_signed).await;
    assert!(matches!(taken, Err(LedgerError::RunTaken)), "{taken:?}");
    let elsewhere = World::on(&H::new());
    let (foreign, foreign_signed) = elsewhere.enrollment(3, 0);
    let refused = world.ledger.register(&foreign, &foreign_signed).await;
    assert!(
        matches!(refused, Err(LedgerError::OtherLedger)),
        "{refused:?}"
    );
    assert_eq!(world.held(&mandate, ENROLLMENT).await, first);

    // Nothing is held of what was never written.
    let unknown = world.held(&foreign, ENROLLMENT).await;
    assert_eq!((unknown.mandate, unknown.status), (None, None));
    let beside = world.held(&mandate, ACCOUNTS[0]).await;
    assert_eq!(beside.mandate, Some(signed.digest()));
    assert_eq!(beside.status, None);
}

async fn a_decision_is_recorded_on_what_was_judged_only<H: Home>() {
    let home = H::new();
    let world = World::on(&home);
    let (mandate, signed) = world.registered(world.enrollment(1, 2)).await;
    let (by_bob, bobs) = world.decides(&signed, ENROLLMENT, true, "bob").await;
    let (by_carol, carols) = world.decides(&signed, ENROLLMENT, true, "carol").await;
    world.ledger.record(&by_bob, &bobs).await.unwrap();
    for (permit, decision) in [(&by_carol, &carols), (&by_bob, &bobs)] {
        let stale = world.ledger.record(permit, decision).await;
        assert!(matches!(stale, Err(LedgerError::Stale)), "{stale:?}");
    }
    let held = world.held(&mandate, ENROLLMENT).await;
    assert_eq!(held.decisions, std::slice::from_ref(&bobs));
    assert_eq!((held.status, held.version), (Some(Status::Open), 2));
    // Judged again, it counts.
    let (by_carol, carols) = world.decides(&signed, ENROLLMENT, true, "carol").await;
    world.ledger.record(&by_carol, &carols).await.unwrap();
    let held = world.held(&mandate, ENROLLMENT).await;
    assert_eq!(held.decisions, [bobs, carols]);
    assert!(
        world
            .permit(&signed, ENROLLMENT, store(ENROLLMENT))
            .await
            .is_ok()
    );
    // On a matter that the ledger does not hold there is nothing to write.
    let elsewhere = World::on(&H::new());
    let (_, theirs) = elsewhere.registered(elsewhere.enrollment(5, 1)).await;
    let (permit, decision) = elsewhere.decides(&theirs, ENROLLMENT, true, "bob").await;
    let stale = world.ledger.record(&permit, &decision).await;
    assert!(matches!(stale, Err(LedgerError::Stale)), "{stale:?}");
}

async fn a_rejection_ends_the_matter<H: Home>() {
    let home = H::new();
    let world = World::on(&home);
    for (run, by, status) in [
        (1, "bob", Status::Rejected),
        // The requester takes it back.
        (2, "alice", Status::Withdrawn),
    ] {
        let (mandate, signed) = world.registered(world.request(run, 2, read(3))).await;
        let (permit, decision) = world.decides(&signed, REQUEST, true, "carol").await;
        world.ledger.record(&permit, &decision).await.unwrap();
        // Agreed to by another one at the same moment: the rejection stands.
        let (late, consent) = world.decides(&signed, REQUEST, true, "dave").await;
        let (permit, decision) = world.decides(&signed, REQUEST, false, by).await;
        world.ledger.record(&permit, &decision).await.unwrap();
        let stale = world.ledger.record(&late, &consent).await;
        assert!(matches!(stale, Err(LedgerError::Stale)), "{stale:?}");
        let held = world.held(&mandate, REQUEST).await;
        assert_eq!(held.status, Some(status), "{by}");
        assert_eq!(held.decisions.len(), 2);
        let refused = world.permit(&signed, REQUEST, release()).await;
        assert!(refused.is_err(), "{by}: {refused:?}");
    }
}

async fn an_act_is_begun_and_done_once<H: Home>() {
    let home = H::new();
    let world = World::on(&home);
    let (mandate, signed) = world.registered(world.request(1, 0, transfer())).await;
    let counted = world
        .permit(&signed, REQUEST, Seal)
        .await
        .unwrap()
        .counted();
    let counted = counted.unwrap();
    let now = start() + TimeDelta::seconds(1);
    let begun = world.ledger.begin(&counted, now).await.unwrap();
    assert_eq!(begun, Begun::Now);
    // After a crash, by the worker that was permitted it before and by one that is now.
    let again = world.permit(&signed, REQUEST, Seal).await.unwrap();
    assert!(again.repeats());
    for counted in [&counted, &again.counted().unwrap()] {
        let Begun::Before(before) = world.ledger.begin(counted, now).await.unwrap() else {
            panic!("it is begun twice");
        };
        assert_eq!(before.act, ActName::Seal);
        assert_eq!((before.begun_at, before.done_at), (now, None));
    }
    let done = now + TimeDelta::seconds(1);
    let finished = |result| Finished {
        at: done,
        result: Some(result),
        status: Some(Status::Done),
        entry: Some(entry("seal", REQUEST)),
        gives: None,
    };
    world
        .ledger
        .finish(&counted, finished("s1.x"))
        .await
        .unwrap();
    let held = world.held(&mandate, REQUEST).await;
    assert_eq!(held.status, Some(Status::Done));
    // Doing it again changes nothing: neither what came of it nor the journal.
    world
        .ledger
        .finish(&counted, finished("s1.y"))
        .await
        .unwrap();
    assert_eq!(world.held(&mandate, REQUEST).await, held);
    assert_eq!(world.ledger.journal_after(0, 10).await.unwrap().len(), 1);
    let Begun::Before(before) = world.ledger.begin(&counted, done).await.unwrap() else {
        panic!("it is begun after it was done");
    };
    assert_eq!(before.done_at, Some(done));
    assert_eq!(before.result.as_deref(), Some("s1.x"));
    assert_eq!(held.uses, [before]);
}

async fn an_act_judged_on_an_outdated_version_is_not_begun<H: Home>() {
    let home = H::new();
    let world = World::on(&home);
    let (mandate, signed) = world.registered(world.request(1, 1, transfer())).await;
    let (permit, decision) = world.decides(&signed, REQUEST, true, "bob").await;
    world.ledger.record(&permit, &decision).await.unwrap();
    let counted = world.permit(&signed, REQUEST, Seal).await.unwrap();
    let counted = counted.counted().unwrap();
    // Someone rejects between the judgment and the act.
    let (permit, decision) = world.decides(&signed, REQUEST, false, "carol").await;
    world.ledger.record(&permit, &decision).await.unwrap();
    let stale = world.ledger.begin(&counted, start()).await;
    assert!(matches!(stale, Err(LedgerError::Stale)), "{stale:?}");
    assert!(world.held(&mandate, REQUEST).await.uses.is_empty());
    // The same with a run that is withdrawn.
    let (mandate, signed) = world.registered(world.request(2, 0, transfer())).await;
    let counted = world.permit(&signed, REQUEST, Seal).await.unwrap();
    let counted = counted.counted().unwrap();
    world
        .ledger
        .withdraw(&matter(&mandate, REQUEST))
        .await
        .unwrap();
    let stale = world.ledger.begin(&counted, start()).await;
    assert!(matches!(stale, Err(LedgerError::Stale)), "{stale:?}");
}

async fn many_at_once_get_exactly_what_was_granted<H: Home>() {
    const GRANTED: u32 = 7;
    let home = H::new();
    // Two handles, as a front door and a worker have them.
    let (one, other) = (Arc::new(World::on(&home)), Arc::new(World::on(&home)));
    let (mandate, signed) = one.registered(one.request(1, 0, read(GRANTED))).await;
    let mut tries = tokio::task::JoinSet::new();
    for number in 0..50 {
        let world = Arc::clone(if number % 2 == 0 { &one } else { &other });
        let signed = signed.clone();
        tries.spawn(async move {
            loop {
                let release = release();
                let permit = match world.permit(&signed, REQUEST, release).await {
                    Ok(permit) => permit,
                    Err(refusal) => break Err(refusal),
                };
                let counted = permit.counted().unwrap();
                match world.ledger.begin(&counted, start()).await {
                    Ok(begun) => break Ok(begun),
                    Err(LedgerError::Stale) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        });
    }
    let ended = tries.join_all().await;
    let given = ended.iter().filter(|it| **it == Ok(Begun::Now)).count();
    assert_eq!(given, GRANTED as usize, "{ended:?}");
    let spent = |it: &&Result<_, _>| **it == Err(Refusal::UsedUp);
    assert_eq!(ended.iter().filter(spent).count(), 50 - given, "{ended:?}");
    let held = one.held(&mandate, REQUEST).await;
    assert_eq!(held.count(ActName::Release), given);
    // All of it is used: it is done.
    assert_eq!(held.status, Some(Status::Done));
}

async fn many_at_once_begin_a_single_act_once<H: Home>() {
    let home = H::new();
    let (one, other) = (Arc::new(World::on(&home)), Arc::new(World::on(&home)));
    let (_, signed) = one.registered(one.enrollment(1, 0)).await;
    let permit = one
        .permit(&signed, ENROLLMENT, store(ENROLLMENT))
        .await
        .unwrap();
    let counted = permit.counted().unwrap();
    let mut tries = tokio::task::JoinSet::new();
    for number in 0..50 {
        let world = Arc::clone(if number % 2 == 0 { &one } else { &other });
        let counted = counted.clone();
        tries.spawn(async move { world.ledger.begin(&counted, start()).await.unwrap() });
    }
    let ended = tries.join_all().await;
    let first = ended.iter().filter(|it| **it == Begun::Now).count();
    assert_eq!(first, 1, "{ended:?}");
}

async fn an_import_has_the_accounts_that_were_planned<H: Home>() {
    let home = H::new();
    let world = World::on(&home);
    let (mandate, signed) = world.registered(world.import(1)).await;
    let permit = world.permit(&signed, IMPORT, Plan).await.unwrap();
    let accounts = ACCOUNTS.map(|id| id.parse().unwrap());
    world.ledger.plan(&permit, &accounts[..2]).await.unwrap();
    let first = world.held(&mandate, ACCOUNTS[0]).await;
    assert_eq!((first.status, first.version), (Some(Status::Open), 1));
    assert_eq!(first.mandate, Some(signed.digest()));
    assert_eq!(world.held(&mandate, ACCOUNTS[2]).await.status, None);
    // One of them is enrolled; planning it again changes nothing.
    let act = store(ACCOUNTS[0]);
    let counted = world.permit(&signed, ACCOUNTS[0], act).await.unwrap();
    let counted = counted.counted().unwrap();
    world.ledger.begin(&counted, start()).await.unwrap();
    let finished = Finished {
        at: start(),
        result: None,
        status: Some(Status::Done),
        entry: None,
        gives: None,
    };
    world.ledger.finish(&counted, finished).await.unwrap();
    let done = world.held(&mandate, ACCOUNTS[0]).await;
    world.ledger.plan(&permit, &accounts).await.unwrap();
    assert_eq!(world.held(&mandate, ACCOUNTS[0]).await, done);

    // Ending one account ends that one; ending the run ends all that are open.
    let status = async |about: &str| world.held(&mandate, about).await.status.unwrap();
    world
        .ledger
        .withdraw(&matter(&mandate, ACCOUNTS[1]))
        .await
        .unwrap();
    assert_eq!(status(ACCOUNTS[1]).await, Status::Withdrawn);
    // Planning is over once an account is stored; the others continue.
    assert_eq!(status(IMPORT).await, Status::Done);
    assert_eq!(status(ACCOUNTS[2]).await, Status::Open);
    world
        .ledger
        .withdraw(&matter(&mandate, IMPORT))
        .await
        .unwrap();
    for (about, is) in [
        (IMPORT, Status::Done),
        (ACCOUNTS[0], Status::Done),
        (ACCOUNTS[1], Status::Withdrawn),
        (ACCOUNTS[2], Status::Withdrawn),
    ] {
        assert_eq!(status(about).await, is, "{about}");
    }
    let refused = world.permit(&signed, ACCOUNTS[2], store(ACCOUNTS[2]));
    assert_eq!(
        refused.await.unwrap_err(),
        Refusal::Ended(Status::Withdrawn)
    );
}

async fn the_latest_mandate_is_the_last_that_was_not_withdrawn<H: Home>() {
    let home = H::new();
    let world = World::on(&home);
    let latest = async |about: &str| world.ledger.latest(about).await.unwrap();
    assert_eq!(latest(REQUEST).await, None);
    let (first, first_signed) = world.registered(world.request(9, 0, read(1))).await;
    let (second, second_signed) = world.registered(world.request(1, 0, read(2))).await;
    let found = latest(REQUEST).await.unwrap();
    assert_eq!(found.mandate, second_signed);
    assert_eq!(found.status, Status::Open);
    let open = async |about: &str| {
        let open = world.ledger.still_open(about).await.unwrap();
        open.into_iter().map(|it| it.mandate).collect::<Vec<_>>()
    };
    assert_eq!(
        open(REQUEST).await,
        [second_signed.clone(), first_signed.clone()]
    );
    // The second one was never started under: the first one is what runs.
    world
        .ledger
        .withdraw(&matter(&second, REQUEST))
        .await
        .unwrap();
    assert_eq!(latest(REQUEST).await.unwrap().mandate, first_signed);
    assert_eq!(open(REQUEST).await, [first_signed]);
    world
        .ledger
        .withdraw(&matter(&first, REQUEST))
        .await
        .unwrap();
    let found = latest(REQUEST).await.unwrap();
    assert_eq!(found.mandate, second_signed);
    assert_eq!(found.status, Status::Withdrawn);
    assert_eq!(open(REQUEST).await, []);
    // An account of an import has the import's.
    let (_, import) = world.registered(world.import(5)).await;
    let permit = world.permit(&import, IMPORT, Plan).await.unwrap();
    let account = [ACCOUNTS[0].parse().unwrap()];
    world.ledger.plan(&permit, &account).await.unwrap();
    assert_eq!(latest(ACCOUNTS[0]).await.unwrap().mandate, import);
    assert_eq!(open(ACCOUNTS[0]).await, [import]);
}

async fn the_journal_is_kept_in_order_and_within_bounds<H: Home>() {
    let home = H::new();
    let world = World::on(&home);
    for number in 0..10 {
        world
            .ledger
            .note(entry("store", &format!("n{number}")))
            .await
            .unwrap();
    }
    let hostile = NewEntry {
        about: format!("é{}\nforged\u{7f}", "é".repeat(600)),
        account: Some("a\r\nb".to_owned()),
        outcome: Outcome::Refused,
        reason: Some("\u{1b}[31m".repeat(200)),
        ..entry("store", "")
    };
    world.ledger.note(hostile).await.unwrap();
    let all = world.ledger.journal_after(0, 100).await.unwrap();
    let numbers: Vec<u64> = all.iter().map(|it| it.seq).collect();
    assert_eq!(numbers, (1..=11).collect::<Vec<_>>());
    assert_eq!(all[3].entry, entry("store", "n3"));
    let some = world.ledger.journal_after(4, 3).await.unwrap();
    assert_eq!(some, &all[4..7]);
    assert!(world.ledger.journal_after(11, 3).await.unwrap().is_empty());
    assert!(
        world
            .ledger
            .journal_after(u64::MAX, usize::MAX)
            .await
            .unwrap()
            .is_empty()
    );
    let hostile = &all[10].entry;
    assert_eq!(hostile.outcome, Outcome::Refused);
    assert_eq!(hostile.account.as_deref(), Some("ab"));
    for text in [&hostile.about, hostile.reason.as_ref().unwrap()] {
        assert!(text.len() <= 500 && text.len() > 490, "{}", text.len());
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

async fn everything_is_there_after_it_was_opened_again<H: Home>() {
    let home = H::new();
    let world = World::on(&home);
    let (mandate, signed) = world.registered(world.request(1, 1, transfer())).await;
    let (permit, decision) = world.decides(&signed, REQUEST, true, "bob").await;
    world.ledger.record(&permit, &decision).await.unwrap();
    let counted = world.permit(&signed, REQUEST, Seal).await.unwrap();
    let counted = counted.counted().unwrap();
    world.ledger.begin(&counted, start()).await.unwrap();
    let finished = Finished {
        at: start(),
        result: Some("s1.x"),
        status: None,
        entry: Some(entry("seal", REQUEST)),
        gives: None,
    };
    world.ledger.finish(&counted, finished).await.unwrap();
    let (import, _) = world.registered(world.import(2)).await;
    world
        .ledger
        .withdraw(&matter(&import, IMPORT))
        .await
        .unwrap();
    let held = async |world: &World| {
        (
            world.ledger.id().clone(),
            world.held(&mandate, REQUEST).await,
            world.held(&import, IMPORT).await,
            world.ledger.latest(REQUEST).await.unwrap(),
            world.ledger.journal_after(0, 10).await.unwrap(),
        )
    };
    let before = held(&world).await;
    drop(world);
    let again = World::on(&home);
    assert_eq!(held(&again).await, before);
    assert_eq!(
        before.1.done(ActName::Seal).unwrap().result.as_deref(),
        Some("s1.x")
    );
    // A ledger elsewhere is another one.
    assert_ne!(World::on(&H::new()).ledger.id(), again.ledger.id());
}

async fn two_handles_see_what_the_other_writes<H: Home>() {
    let home = H::new();
    let (door, worker) = (World::on(&home), World::on(&home));
    assert_eq!(door.ledger.id(), worker.ledger.id());
    let (mandate, signed) = door.registered(door.request(1, 1, transfer())).await;
    assert_eq!(
        worker.held(&mandate, REQUEST).await.mandate,
        Some(signed.digest())
    );
    let refused = worker.permit(&signed, REQUEST, Seal).await;
    assert!(matches!(refused, Err(Refusal::NotApproved { .. })));
    let (permit, decision) = door.decides(&signed, REQUEST, true, "bob").await;
    door.ledger.record(&permit, &decision).await.unwrap();
    let counted = worker.permit(&signed, REQUEST, Seal).await.unwrap();
    let counted = counted.counted().unwrap();
    // What the front door writes in the meantime makes the worker judge again.
    let (permit, decision) = door.decides(&signed, REQUEST, false, "carol").await;
    door.ledger.record(&permit, &decision).await.unwrap();
    let stale = worker.ledger.begin(&counted, start()).await;
    assert!(matches!(stale, Err(LedgerError::Stale)), "{stale:?}");
    worker.ledger.note(entry("seal", REQUEST)).await.unwrap();
    assert_eq!(door.ledger.journal_after(0, 10).await.unwrap().len(), 1);
}

/// The suite for one kind of ledger.
macro_rules! promises_of {
    ($kind:ident, $home:ty: $($promise:ident),+ $(,)?) => {
        mod $kind {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $promise() {
                    if <$home as crate::world::Home>::is_there() {
                        super::$promise::<$home>().await;
                    }
                }
            )+
        }
    };
}

/// The suite, for every kind of ledger.
macro_rules! promises {
    ($($promise:ident),+ $(,)?) => {
        promises_of!(in_sqlite, crate::sqlite::Folder: $($promise),+);
        promises_of!(in_postgres, crate::postgres::Shared: $($promise),+);
    };
}

promises!(
    a_mandate_is_written_down_once,
    a_decision_is_recorded_on_what_was_judged_only,
    a_rejection_ends_the_matter,
    an_act_is_begun_and_done_once,
    an_act_judged_on_an_outdated_version_is_not_begun,
    many_at_once_get_exactly_what_was_granted,
    many_at_once_begin_a_single_act_once,
    an_import_has_the_accounts_that_were_planned,
    the_latest_mandate_is_the_last_that_was_not_withdrawn,
    the_journal_is_kept_in_order_and_within_bounds,
    everything_is_there_after_it_was_opened_again,
    two_handles_see_what_the_other_writes,
    a_transfer_marks_all_recovery_codes_as_given_out,
    each_recovery_code_is_given_once,
);
