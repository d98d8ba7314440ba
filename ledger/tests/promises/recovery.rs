//! Recovery codes are given out once each.

use std::collections::BTreeSet;
use std::sync::Arc;

use countersign_authority::{Seal, Status};
use countersign_enrollment::ids::EnrollmentId;
use countersign_ledger::{Finished, Gives, LedgerError};

use crate::transfer;
use crate::world::{ACCOUNTS, Home, REQUEST, World, start};

fn marks(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub(crate) async fn each_recovery_code_is_given_once<H: Home>() {
    let home = H::new();
    let (one, other) = (World::on(&home), World::on(&home));
    let [first, second]: [EnrollmentId; 2] =
        [ACCOUNTS[0], ACCOUNTS[1]].map(|id| id.parse().unwrap());
    let all: Vec<String> = (0..24).map(|number| format!("mark-{number:02}")).collect();
    let given = one.ledger.recovery_given(&first, &all).await.unwrap();
    assert_eq!(given, vec![false; 24]);

    // By two handles at once.
    let takers = (0..24).map(|number| {
        let ledger = Arc::clone(if number % 2 == 0 {
            &one.ledger
        } else {
            &other.ledger
        });
        let (first, all) = (first.clone(), all.clone());
        tokio::spawn(async move { ledger.give_recovery(&first, &all, start()).await.unwrap() })
    });
    let takers: Vec<_> = takers.collect();
    let (mut indices, mut left) = (BTreeSet::new(), BTreeSet::new());
    for taker in takers {
        let given = taker.await.unwrap().expect("one is left");
        assert!(indices.insert(given.index) && left.insert(given.left));
    }
    assert_eq!(indices, (0..24).collect());
    assert_eq!(left, (0..24).collect());
    let none = one.ledger.give_recovery(&first, &all, start()).await;
    assert_eq!(none.unwrap(), None);

    // Set again with others among them, only those are given; of another account, all are.
    let more = marks(&["mark-03", "new", "mark-07"]);
    let given = other.ledger.recovery_given(&first, &more).await.unwrap();
    assert_eq!(given, [true, false, true]);
    let given = other.ledger.give_recovery(&first, &more, start()).await;
    let given = given.unwrap().unwrap();
    assert_eq!((given.index, given.left), (1, 0));
    let given = one.ledger.give_recovery(&second, &more, start()).await;
    assert_eq!(given.unwrap().unwrap().left, 2);

    drop((one, other));
    let again = World::on(&home);
    let none = again.ledger.give_recovery(&first, &more, start()).await;
    assert_eq!(none.unwrap(), None, "after it was opened again");
    let none = again.ledger.give_recovery(&first, &[], start()).await;
    assert_eq!(none.unwrap(), None);
}

pub(crate) async fn a_transfer_marks_all_recovery_codes_as_given_out<H: Home>() {
    let home = H::new();
    let world = World::on(&home);
    let account: EnrollmentId = ACCOUNTS[0].parse().unwrap();
    let all = marks(&["a", "b", "c"]);
    let (mandate, signed) = world.registered(world.request(1, 0, transfer())).await;
    let permit = world.permit(&signed, REQUEST, Seal).await.unwrap();
    let counted = permit.counted().unwrap();
    world.ledger.begin(&counted, start()).await.unwrap();
    let before = world.ledger.recovery_given(&account, &all).await.unwrap();
    // Someone takes one in between: the act is not done, and gives none of them.
    world
        .ledger
        .give_recovery(&account, &all, start())
        .await
        .unwrap();
    let finish = async |given: &[bool]| {
        let finished = Finished {
            at: start(),
            result: Some("s1.x"),
            status: Some(Status::Done),
            entry: None,
            gives: Some(Gives {
                account: &account,
                marks: &all,
                given,
            }),
        };
        world.ledger.finish(&counted, finished).await
    };
    let stale = finish(&before).await;
    assert!(matches!(stale, Err(LedgerError::Stale)), "{stale:?}");
    let given = world.ledger.recovery_given(&account, &all).await.unwrap();
    assert_eq!(given, [true, false, false]);
    let held = world.held(&mandate, REQUEST).await;
    assert_eq!(held.uses[0].done_at, None);
    // Done again, it gives all that are left. Once it is done, it stays done.
    for _ in 0..2 {
        finish(&given).await.unwrap();
    }
    let given = world.ledger.recovery_given(&account, &all).await.unwrap();
    assert_eq!(given, [true; 3]);
    let none = world.ledger.give_recovery(&account, &all, start()).await;
    assert_eq!(none.unwrap(), None);

    let more = marks(&["b", "d", "d"]);
    let new = world.ledger.give_all_recovery(&account, &more, start());
    assert_eq!(new.await.unwrap()[..2], [false, true]);
    let given = world.ledger.recovery_given(&account, &more).await.unwrap();
    assert_eq!(given, [true; 3]);
}
