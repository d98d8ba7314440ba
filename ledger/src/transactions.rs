//! One thread that reads and writes the ledger's file, and commits calls together that arrive
//! together.
//!
//! A transaction of its own for each call costs a commit, two switches between threads, and,
//! where several connections write, a wait for each other that SQLite does by sleeping. Here
//! calls queue up while a commit is in progress, and the next one serves them all. The audit log
//! (`src/audit/writer.rs`) and the scheduler (`scheduler/src/store/writer.rs`) are written in the
//! same way, each with its own kind of batch.

use std::io;
use std::thread::JoinHandle;

use durabletask_sqlite::Database;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use crate::LedgerError;

/// How many calls may wait for the thread; further calls wait before they are queued.
const QUEUED: usize = 1_024;
/// How many calls one commit serves.
const TOGETHER: usize = 256;

/// What durability a call needs, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Needs {
    /// It only reads.
    Reading,
    /// What it writes survives the process.
    Quick,
    /// What it and all earlier calls have written survives the machine.
    Firm,
}

/// The thread's side of a call: runs it in a transaction, or gets the error. It
/// returns whether it failed, and what to call once the outcome of the commit is
/// known.
type Work = Box<dyn FnOnce(Result<&Connection, LedgerError>) -> (bool, Answer) + Send>;
type Answer = Box<dyn FnOnce(Result<(), LedgerError>) + Send>;

struct Call {
    needs: Needs,
    work: Work,
}

/// The queue in front of the thread, which ends when this is dropped.
pub(crate) struct Transactions {
    queue: Option<mpsc::Sender<Call>>,
    thread: Option<JoinHandle<()>>,
}

impl Transactions {
    /// Starts the thread, which has the connection to itself.
    pub(crate) fn start(connection: Database) -> io::Result<Self> {
        let (queue, calls) = mpsc::channel(QUEUED);
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || serve(connection, calls))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Runs `work` in a transaction, and returns once the required durability is reached. Work fails
    /// before it writes or not at all, unless the disk does: then all that was to be
    /// committed together is undone.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        needs: Needs,
        work: impl FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            let done = connection.and_then(work);
            let failed = done.is_err();
            // A caller that has disconnected needs no answer.
            let answer: Answer = Box::new(move |committed| {
                let _ = answer.send(done.and_then(|value| committed.map(|()| value)));
            });
            (failed, answer)
        });
        let queue = self.queue.as_ref().ok_or(LedgerError::Stopped)?;
        queue
            .send(Call { needs, work })
            .await
            .map_err(|_| LedgerError::Stopped)?;
        answered.await.map_err(|_| LedgerError::Stopped)?
    }
}

impl Drop for Transactions {
    /// Queued calls still run.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // There is no one left to report a panic to.
            let _ = thread.join();
        }
    }
}

fn serve(mut connection: Database, mut calls: mpsc::Receiver<Call>) {
    let mut batch = Vec::with_capacity(TOGETHER);
    while calls.blocking_recv_many(&mut batch, TOGETHER) > 0 {
        together(&mut connection, batch.drain(..));
    }
}

/// Runs calls in one transaction, which is flushed to disk if one of them needs that.
fn together(connection: &mut Connection, calls: impl Iterator<Item = Call>) {
    let calls: Vec<Call> = calls.collect();
    let needs = calls.iter().map(|call| call.needs).max();
    let (behavior, synchronous) = match needs.unwrap_or(Needs::Reading) {
        Needs::Reading => (TransactionBehavior::Deferred, None),
        Needs::Quick => (TransactionBehavior::Immediate, Some("NORMAL")),
        Needs::Firm => (TransactionBehavior::Immediate, Some("FULL")),
    };
    let begun = match synchronous {
        Some(mode) => connection.pragma_update(None, "synchronous", mode),
        None => Ok(()),
    };
    let begun = begun.and_then(|()| connection.transaction_with_behavior(behavior));
    let transaction = match begun {
        Ok(transaction) => transaction,
        Err(error) => {
            for call in calls {
                let (_, answer) = (call.work)(Err(again(&error)));
                answer(Ok(()));
            }
            return;
        }
    };
    let mut answers: Vec<Answer> = Vec::with_capacity(calls.len());
    let mut whole = true;
    for call in calls {
        let before = transaction.total_changes();
        // SQLite ends a transaction on its own when the disk fails; later calls would
        // not be part of it.
        let (failed, answer) = (call.work)(match whole {
            true => Ok(&transaction),
            false => Err(LedgerError::Undone),
        });
        let half_done = failed && transaction.total_changes() != before;
        whole = whole && !half_done && !transaction.is_autocommit();
        answers.push(answer);
    }
    let committed = match whole {
        true => transaction.commit().map_err(|error| again(&error)),
        // Dropping it rolls it back.
        false => Err(LedgerError::Undone),
    };
    for answer in answers {
        answer(match &committed {
            Ok(()) => Ok(()),
            Err(LedgerError::Full) => Err(LedgerError::Full),
            Err(LedgerError::Unavailable(error)) => Err(again(error)),
            Err(_) => Err(LedgerError::Undone),
        });
    }
}

/// The same error for another of the callers that it concerns.
fn again(error: &rusqlite::Error) -> LedgerError {
    match error {
        rusqlite::Error::SqliteFailure(code, text) => {
            rusqlite::Error::SqliteFailure(*code, text.clone()).into()
        }
        _ => LedgerError::Undone,
    }
}
