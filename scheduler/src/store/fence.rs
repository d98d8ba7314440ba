//! The fence: whatever two nodes believe, and in whichever order their transactions come, what is
//! committed is what one owner after the other has committed.

use countersign_database::Database;
use proptest::prelude::*;

use super::engine::{Connection, StorageProblem, Term};
use super::ownership::{Node, Taken};
use super::testing;

/// How many nodes there are.
const NODES: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// A node asks for the task hubs.
    Take(usize),
    /// The owner's lease ends by the database's clock.
    Expire,
    /// A node writes a row, in a transaction that it believes to be its own.
    Write(usize),
    /// The same, but the answer to the commit is lost, and the node asks what became of it.
    WriteUnanswered(usize, bool),
    /// A node reads.
    Read(usize),
    HandOver(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0..NODES;
    prop_oneof![
        3 => node.clone().prop_map(Step::Take),
        2 => Just(Step::Expire),
        5 => node.clone().prop_map(Step::Write),
        2 => (node.clone(), any::<bool>()).prop_map(|(n, sent)| Step::WriteUnanswered(n, sent)),
        3 => node.clone().prop_map(Step::Read),
        1 => node.prop_map(Step::HandOver),
    ]
}

struct One {
    node: Node,
    conn: Connection,
    reader: Connection,
    /// What it believes.
    term: Option<Term>,
}

impl One {
    fn new(database: &Database, number: usize) -> Self {
        Self {
            node: testing::node(&format!("node-{number}")),
            conn: testing::session(database),
            reader: testing::session(database),
            term: None,
        }
    }

    fn believe(&mut self, term: Option<Term>) {
        self.term = term;
        self.conn.session().unwrap().set_term(term);
    }

    /// Writes a row; whether it was committed.
    fn write(&mut self, row: i64) -> bool {
        let written = self.conn.begin().and_then(|()| {
            let insert = "INSERT INTO history (instance, seq, events) VALUES (?1, 0, ?2)";
            self.conn.prepare_cached(insert)?.run((row, vec![0_u8]))?;
            self.conn.commit()
        });
        match written {
            Ok(()) => {
                self.term = self.conn.session().unwrap().term();
                true
            }
            Err(error) => {
                assert_eq!(error.problem(), StorageProblem::NotOwner, "{error}");
                self.conn.roll_back();
                false
            }
        }
    }

    /// What it reads, unless it is refused.
    fn read(&self) -> Option<i64> {
        let fence = self.term?.fence;
        let session = self.reader.session().unwrap();
        session
            .read(fence, || {
                self.reader
                    .query_row("SELECT count(*) FROM history", (), |row| row.get(0))
            })
            .inspect_err(|error| assert_eq!(error.problem(), StorageProblem::NotOwner, "{error}"))
            .ok()
    }
}

/// Who owns the task hubs in the end, as the reference has it.
#[derive(Default)]
struct Reference {
    owner: Option<usize>,
    expired: bool,
    committed: i64,
}

fn agree(steps: &[Step], database: &Database) -> Result<(), TestCaseError> {
    let admin = testing::vacant(database);
    let mut nodes: Vec<One> = (0..NODES).map(|n| One::new(database, n)).collect();
    let mut real = Reference::default();
    for (row, step) in (1_i64..).zip(steps) {
        match *step {
            Step::Expire => {
                admin
                    .execute_batch(
                        "UPDATE ownership SET lease_until = 'epoch' WHERE node IS NOT NULL",
                    )
                    .unwrap();
                real.expired = true;
            }
            Step::Take(number) => {
                let one = &mut nodes[number];
                let free = real.owner.is_none_or(|owner| owner == number) || real.expired;
                match one.node.take(&one.conn).unwrap() {
                    Taken::Mine(term) => {
                        prop_assert!(free);
                        one.believe(Some(term));
                        real.owner = Some(number);
                        real.expired = false;
                    }
                    Taken::Other(name) => {
                        prop_assert!(!free);
                        prop_assert_eq!(Some(name), real.owner.map(|n| format!("node-{n}")));
                    }
                }
            }
            Step::Write(number) => {
                let may = nodes[number].term.is_some() && real.owner == Some(number);
                prop_assert_eq!(nodes[number].write(row), may);
                if may {
                    real.committed += 1;
                    // It has renewed its lease, if no one has taken it before.
                    real.expired = false;
                }
            }
            Step::WriteUnanswered(number, sent) => {
                let one = &mut nodes[number];
                let Some(before) = one.term else { continue };
                let owns = real.owner == Some(number);
                let committed = sent && one.write(row);
                prop_assert_eq!(committed, sent && owns);
                if committed {
                    real.committed += 1;
                    real.expired = false;
                }
                // It has heard nothing of that.
                let free = owns || real.owner.is_none() || real.expired;
                match one.node.take(&one.conn).unwrap() {
                    Taken::Mine(term) => {
                        prop_assert!(free);
                        real.owner = Some(number);
                        real.expired = false;
                        let outcome = one.node.outcome(&one.conn, before).unwrap();
                        prop_assert_eq!(outcome.committed, committed);
                        prop_assert!(!owns || outcome.undisturbed);
                        one.believe(Some(term));
                    }
                    Taken::Other(_) => {
                        prop_assert!(!free);
                        let outcome = one.node.outcome(&one.conn, before).unwrap();
                        prop_assert_eq!(outcome.committed, committed);
                        one.believe(None);
                    }
                }
            }
            Step::Read(number) => {
                let may = nodes[number].term.is_some() && real.owner == Some(number);
                prop_assert_eq!(nodes[number].read(), may.then_some(real.committed));
            }
            Step::HandOver(number) => {
                let one = &mut nodes[number];
                let Some(term) = one.term else { continue };
                one.node.hand_over(&one.conn, term).unwrap();
                one.believe(None);
                if real.owner == Some(number) {
                    real.owner = None;
                    real.expired = false;
                }
            }
        }
    }
    let rows: i64 = admin
        .query_row("SELECT count(*) FROM history", (), |row| row.get(0))
        .unwrap();
    prop_assert_eq!(rows, real.committed);
    Ok(())
}

#[test]
fn only_the_owner_changes_anything_or_reads_whatever_others_believe() {
    let Some((_, database)) = testing::database() else {
        return;
    };
    proptest!(ProptestConfig::with_cases(24), |(steps in proptest::collection::vec(step(), 1..60))| {
        agree(&steps, &database)?;
    });
}

/// An owner that stands still in its transaction keeps others out no longer than two seconds, and
/// what it did is undone.
#[test]
fn an_owner_that_stands_still_in_its_transaction_is_put_out() {
    let Some((_, database)) = testing::database() else {
        return;
    };
    let admin = testing::vacant(&database);
    let mut still = One::new(&database, 0);
    let Taken::Mine(term) = still.node.take(&still.conn).unwrap() else {
        panic!("it is free")
    };
    still.believe(Some(term));
    still.conn.begin().unwrap();
    let insert = "INSERT INTO history (instance, seq, events) VALUES (1, 0, ?1)";
    still.conn.execute(insert, [vec![0_u8]]).unwrap();
    // By now it holds the row of the ownership. Its lease ends as soon as that can be written.
    let begun = std::time::Instant::now();
    let other = One::new(&database, 1);
    admin
        .execute_batch("UPDATE ownership SET lease_until = 'epoch'")
        .unwrap();
    let taken = other.node.take(&other.conn).unwrap();
    assert!(matches!(taken, Taken::Mine(_)), "{taken:?}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(4));
    let ended = still.conn.commit().unwrap_err();
    assert!(still.conn.session().unwrap().is_lost(), "{ended}");
    let outcome = still.node.outcome(&still.conn, term).unwrap();
    assert!(!outcome.committed && !outcome.undisturbed);
}
