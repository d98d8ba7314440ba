//! The writer as one of several nodes: it stands by, takes the task hubs, keeps its lease, finds out what
//! became of a commit, and hands over.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{Counters, Ended, Job, Thread, Told, When, refuse};
use crate::store::counts::Counts;
use crate::store::engine::{self, Connection, StorageError, StorageProblem, Term, not_owner};
use crate::store::ownership::{LEASE, Node, Owner, RENEWAL, Standing, Taken};
use crate::store::{Pending, StoreError};

/// How long to wait before the database is asked again whether a transaction is on its disk.
const AGAIN: Duration = Duration::from_millis(100);

/// Reads what is pending, with these task hubs from the start, and all that the writer counts.
pub(crate) type Load =
    fn(&Connection, &[String], &mut dyn FnMut(Pending)) -> engine::Result<(Counters, Counts)>;

/// A node's part in the ownership.
pub(crate) struct Office {
    node: Node,
    standing: Arc<Standing>,
    /// Task hubs that exist from the start.
    hubs: Vec<String>,
    load: Load,
    /// When the lease was last renewed, by this machine's steady clock; the database has done it later.
    renewed: Cell<Instant>,
    /// Whether it leaves the task hubs to others.
    leaving: bool,
    /// Whether the last question for the task hubs was answered.
    answered: bool,
}

impl Office {
    pub(crate) fn new(node: Node, standing: Arc<Standing>, hubs: Vec<String>, load: Load) -> Self {
        Self {
            node,
            standing,
            hubs,
            load,
            renewed: Cell::new(Instant::now()),
            leaving: false,
            answered: true,
        }
    }

    /// A transaction that began at this moment has renewed the lease.
    pub(super) fn renewed(&self, begun: Instant) {
        self.renewed.set(begun);
    }
}

impl Thread {
    fn term(&self) -> Option<Term> {
        self.conn.session().and_then(engine::Session::term)
    }

    /// Renews the lease where nothing else was written, and otherwise asks for the task hubs.
    pub(super) fn tick(&mut self) {
        let owns = self.term().is_some();
        let Some(office) = &mut self.office else {
            return;
        };
        if office.leaving {
            return;
        }
        if !owns {
            self.ask();
            return;
        }
        if office.renewed.get().elapsed() < RENEWAL {
            return;
        }
        match self.transact(&mut []).1 {
            Ended::Committed => {}
            Ended::RolledBack(error) if error.problem() == StorageProblem::NotOwner => {
                self.lose(&error);
            }
            Ended::RolledBack(error) => {
                tracing::warn!(%error, "the lease on the task hubs was not renewed");
            }
            Ended::Unknown(error, _) => {
                // Nothing was in it.
                tracing::warn!(%error, "the connection to the database was lost");
                self.reconnect();
            }
        }
        self.give_up_when_late();
    }

    /// Takes the task hubs if they are free, with all that is pending.
    pub(super) fn ask(&mut self) {
        let Some(office) = &mut self.office else {
            return;
        };
        match office.node.take(&self.conn) {
            Ok(Taken::Mine(term)) => {
                office.answered = true;
                tracing::info!(fence = term.fence, "this node takes the task hubs");
                self.enter(term);
            }
            Ok(Taken::Other(name)) => {
                if !std::mem::replace(&mut office.answered, true) {
                    tracing::info!("the database answers again");
                }
                office.standing.is(0, Owner::Other(name));
            }
            Err(error) => {
                office.standing.is(0, Owner::Nobody);
                if std::mem::replace(&mut office.answered, false) {
                    tracing::warn!(%error, "the task hubs cannot be asked for");
                }
            }
        }
    }

    /// Begins a term after another node's.
    fn enter(&mut self, term: Term) {
        let (Some(office), Some(session)) = (&self.office, self.conn.session()) else {
            return;
        };
        office.renewed(Instant::now());
        let begun = Instant::now();
        session.set_term(Some(term));
        let committed = Arc::clone(&self.pieces.committed);
        // Nothing is left of an earlier term.
        committed.forget();
        let mut count = 0_u64;
        let mut restore = |pending| {
            count += 1;
            committed.restore(pending);
        };
        let loaded = (office.load)(&self.conn, &office.hubs, &mut restore);
        match loaded {
            Ok((counters, counts)) => {
                self.counters = counters;
                self.pieces.counts.replace(counts);
                office.renewed(Instant::now());
                office.standing.is(term.fence, Owner::Here);
                tracing::info!(
                    fence = term.fence,
                    pending = count,
                    took = ?begun.elapsed(),
                    "this node owns the task hubs"
                );
            }
            Err(error) => {
                tracing::error!(%error, "what is pending cannot be read; the task hubs stay with no one until it can");
                committed.forget();
                session.set_term(None);
            }
        }
    }

    /// Ends a term that is over: everything in memory is of the past.
    pub(super) fn lose(&mut self, error: &StorageError) {
        if self.term().is_none() {
            return;
        }
        let Some(office) = &self.office else { return };
        if office.standing.fence().is_ok() {
            tracing::warn!(%error, "this node has lost the task hubs; it stands by");
        }
        office.standing.is(0, Owner::Nobody);
        self.pieces.committed.forget();
        self.pieces.counts.replace(Counts::default());
        if let Some(session) = self.conn.session() {
            session.set_term(None);
        }
    }

    /// Stops answering once the lease may have ended: another node may own the task hubs.
    fn give_up_when_late(&mut self) {
        let late = self
            .office
            .as_ref()
            .is_some_and(|office| office.renewed.get().elapsed() >= LEASE);
        if late && self.term().is_some() {
            self.lose(&not_owner(
                "the lease has ended before the database renewed it",
            ));
        }
    }

    /// Continues after a lost connection, in a new term if no one else has begun one.
    fn reconnect(&mut self) {
        let (Some(office), Some(term)) = (&self.office, self.term()) else {
            return;
        };
        let resumed = office.node.take(&self.conn).and_then(|taken| {
            let Taken::Mine(new) = taken else {
                return Err(not_owner("another node has taken the task hubs"));
            };
            let outcome = office.node.outcome(&self.conn, term)?;
            Ok((new, outcome))
        });
        match resumed {
            Ok((new, outcome)) if outcome.undisturbed => self.resume(new),
            Ok((new, _)) => {
                self.lose(&not_owner("another node has had the task hubs"));
                self.enter(new);
            }
            Err(error) if error.problem() == StorageProblem::NotOwner => self.lose(&error),
            // The next tick tries again.
            Err(_) => {}
        }
    }

    fn resume(&mut self, term: Term) {
        if let (Some(office), Some(session)) = (&self.office, self.conn.session()) {
            session.set_term(Some(term));
            office.renewed(Instant::now());
            office.standing.is(term.fence, Owner::Here);
            tracing::info!(fence = term.fence, "this node continues with the task hubs");
        }
    }

    /// Finds out what became of commands whose commit was not answered, however long it takes, and
    /// answers them. Others are refused in the meantime. Returns those that were not committed and may
    /// be run again.
    pub(super) fn find_out(
        &mut self,
        jobs: Vec<Box<dyn Job>>,
        error: &StorageError,
        told: Told,
        waiting: &mut mpsc::Receiver<When>,
    ) -> Vec<Box<dyn Job>> {
        let Some(term) = self.term() else {
            refuse(jobs, error);
            return Vec::new();
        };
        tracing::warn!(%error, commands = jobs.len(), "a commit was not answered; asking the database what became of it");
        let mut lost = false;
        loop {
            let Some(office) = &self.office else {
                refuse(jobs, error);
                return Vec::new();
            };
            let taken = office.node.take(&self.conn);
            let found = taken.and_then(|taken| Ok((taken, office.node.outcome(&self.conn, term)?)));
            match found {
                Ok((taken, outcome)) => {
                    return self.found_out(
                        jobs,
                        told,
                        taken,
                        outcome.committed,
                        outcome.undisturbed && !lost,
                    );
                }
                Err(problem) => tracing::debug!(error = %problem, "the database does not say yet"),
            }
            if !lost && office.renewed.get().elapsed() >= LEASE {
                self.lose(error);
                lost = true;
            }
            loop {
                match waiting.try_recv() {
                    Ok(When::HandOver(_)) | Err(mpsc::error::TryRecvError::Disconnected) => {
                        // Nobody knows whether they were committed, so they are not called refused.
                        for job in jobs {
                            job.finish(Err(StoreError::Closed));
                        }
                        return Vec::new();
                    }
                    Ok(other) => other.refuse(error),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                }
            }
            std::thread::sleep(AGAIN);
        }
    }

    fn found_out(
        &mut self,
        jobs: Vec<Box<dyn Job>>,
        told: Told,
        taken: Taken,
        committed: bool,
        undisturbed: bool,
    ) -> Vec<Box<dyn Job>> {
        tracing::info!(committed, "the database says what became of the commit");
        match taken {
            Taken::Mine(new) if undisturbed => {
                self.resume(new);
                if !committed {
                    return jobs;
                }
                self.report(told);
            }
            Taken::Mine(new) => {
                self.lose(&not_owner("another node has had the task hubs"));
                self.enter(new);
            }
            Taken::Other(_) => self.lose(&not_owner("another node has taken the task hubs")),
        }
        match committed {
            true => jobs.into_iter().for_each(|job| job.finish(Ok(()))),
            false => refuse(jobs, &not_owner("another node has taken the task hubs")),
        }
        Vec::new()
    }

    /// Leaves the task hubs to others.
    pub(super) fn hand_over(&mut self) {
        let term = self.term();
        let Some(office) = &mut self.office else {
            return;
        };
        office.leaving = true;
        if let Some(term) = term {
            if let Err(error) = office.node.hand_over(&self.conn, term) {
                tracing::warn!(%error, "the task hubs were not handed over; others take them once the lease has ended");
            }
            self.lose(&not_owner("this node has handed the task hubs over"));
        }
    }
}
