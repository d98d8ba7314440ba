//! Which node owns the task hubs of a PostgreSQL database.
//!
//! All nodes on one database are one hub, and one of them at a time owns it: it keeps in memory what it
//! dispatches, and commits in groups, as over a file. The others stand by. What ownership rests on is in
//! the database alone (`migrations/`): a row with the owner, a fencing number that each new owner raises,
//! a number that each of the owner's transactions raises, and until when the lease lasts by the
//! database's clock. Clocks of nodes count for nothing.
//!
//! - Every transaction of the writer first proves its term under that row's lock, and renews the lease.
//!   A node that was frozen or cut off, and whose place another has taken, can change nothing.
//! - Every reading proves it in its own snapshot: it answers what was true while this node owned the
//!   hubs, never what a later owner has changed.
//! - After a commit without an answer, the node begins a new term, which the old transaction cannot
//!   follow any more, and finds in `terms` whether it came before.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::engine::{self, Connection, OptionalExtension, StorageError, Term, not_owner};
use crate::metrics::Leases;

/// How long a lease lasts without a transaction, as `prove` in the migrations has it.
pub(super) const LEASE: Duration = Duration::from_secs(3);
/// After which time the owner renews its lease, if nothing else was written.
pub(super) const RENEWAL: Duration = Duration::from_millis(800);
/// How often the writer looks at its lease, or at the owner's.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// Who owns the task hubs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This node.
    Here,
    /// The node of this name.
    Other(String),
    /// None, or it is not known.
    Nobody,
}

/// What everyone in the process sees of the ownership.
pub(crate) struct Standing {
    /// Of this node's term; 0 while it owns nothing.
    fence: AtomicI64,
    owner: watch::Sender<Owner>,
    /// Notifies of what may change who answers a call.
    changed: watch::Sender<()>,
    leases: Leases,
}

impl Standing {
    pub(super) fn new() -> Self {
        Self {
            fence: AtomicI64::new(0),
            owner: watch::Sender::new(Owner::Nobody),
            changed: watch::Sender::new(()),
            leases: Leases::default(),
        }
    }

    /// The fencing number of this node's term.
    pub(crate) fn fence(&self) -> Result<i64, StorageError> {
        match self.fence.load(Ordering::SeqCst) {
            0 => Err(match &*self.owner.borrow() {
                Owner::Other(name) => not_owner(format!(
                    "this node stands by while the node {name} owns the task hubs"
                )),
                _ => not_owner("this node stands by, and no node is known to own the task hubs"),
            }),
            fence => Ok(fence),
        }
    }

    /// Who owns the task hubs, to look at and to wait for.
    pub(crate) fn owner(&self) -> watch::Receiver<Owner> {
        self.owner.subscribe()
    }

    pub(super) fn is(&self, fence: i64, owner: Owner) {
        let before = self.fence.swap(fence, Ordering::SeqCst);
        match (before, fence) {
            (0, 0) => {}
            (_, 0) => {
                self.leases.lost.inc();
            }
            (before, now) if before != now => {
                self.leases.taken.inc();
            }
            _ => {}
        }
        let changed = self.owner.send_if_modified(|known| {
            let changed = *known != owner;
            *known = owner;
            changed
        });
        if changed {
            self.notify();
        }
    }

    pub(super) fn notify(&self) {
        self.changed.send_replace(());
    }

    /// Notifies of what may change who answers a call.
    pub(super) fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(crate) fn leases(&self) -> &Leases {
        &self.leases
    }
}

/// What a node has found when it asked for the task hubs.
#[derive(Debug)]
pub(super) enum Taken {
    /// They are its own from now on.
    Mine(Term),
    /// They are another's.
    Other(String),
}

/// What became of a transaction whose commit was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) committed: bool,
    /// No other node has owned the task hubs since.
    pub(super) undisturbed: bool,
}

/// A node, as the others know it.
pub(crate) struct Node {
    pub(super) id: String,
    pub(super) name: String,
}

impl Node {
    pub(super) fn new(id: String, name: String) -> Self {
        Self { id, name }
    }

    /// Asks for the task hubs: it gets them if they are its own, or nobody's, or if their owner's
    /// lease has ended.
    pub(super) fn take(&self, conn: &Connection) -> engine::Result<Taken> {
        conn.query_row(
            "SELECT taken, its_fence, its_number, its_name FROM take_hubs(?1, ?2)",
            (&self.id, &self.name),
            |row| {
                Ok(match row.get(0)? {
                    true => Taken::Mine(Term {
                        fence: row.get(1)?,
                        number: row.get(2)?,
                    }),
                    false => Taken::Other(row.get::<_, Option<String>>(3)?.unwrap_or_default()),
                })
            },
        )
    }

    /// What became of the transaction that was the last one of `term`, a term that is over.
    pub(super) fn outcome(&self, conn: &Connection, term: Term) -> engine::Result<Outcome> {
        let next: Option<i64> = conn
            .query_row(
                "SELECT after_number FROM terms WHERE fence = ?1",
                [term.fence + 1],
                |row| row.get(0),
            )
            .optional()?;
        let Some(after) = next else {
            return Err(not_owner("the term of this node is not over"));
        };
        let undisturbed = conn.query_row(
            "SELECT NOT EXISTS (SELECT 1 FROM terms WHERE fence > ?1 AND node <> ?2)",
            (term.fence, &self.id),
            |row| row.get(0),
        )?;
        Ok(Outcome {
            committed: after > term.number,
            undisturbed,
        })
    }

    /// Gives the task hubs to the next node that asks.
    pub(super) fn hand_over(&self, conn: &Connection, term: Term) -> engine::Result<()> {
        conn.execute(
            "UPDATE ownership SET node = NULL, lease_until = 'epoch' WHERE fence = ?1 AND node = ?2",
            (term.fence, &self.id),
        )
        .map(drop)
    }
}
