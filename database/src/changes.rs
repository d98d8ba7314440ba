//! Notifications of changes in the database, and the proof that none was missed.
//!
//! Code that changes what other processes remember calls [`announce`] in the same transaction.
//! One connection of each process listens. Silence on it means that nothing was changed only
//! as long as the connection works, and one whose packets are dropped is silent too. So the
//! process sends itself a heartbeat through the database over that connection, five a second. The
//! database delivers in the order of commits: when a heartbeat comes back, everything that was
//! committed before it was sent has been received. [`Changes::is_live`] says whether a heartbeat
//! that was sent less than a second ago has come back. Only then may what is cached be trusted.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use deadpool_postgres::Transaction;
use rand::RngExt as _;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_postgres::{AsyncMessage, Notification};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use crate::DatabaseError;
use crate::connection::{AnyWire, Connector, Wire};

/// The channel on which changes are announced.
const CHANNEL: &str = "countersign_change";
/// How long a heartbeat that came back proves that the connection works.
const PROVES: Duration = Duration::from_secs(1);
/// How often a heartbeat is sent.
const HEARTBEAT: Duration = Duration::from_millis(200);
/// How long a heartbeat may take until the connection is given up.
const LATE: Duration = Duration::from_secs(2);
/// The shortest and the longest pause before another connection is tried.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// The longest detail of a change, in bytes: PostgreSQL takes less than 8,000 in all.
const LONGEST: usize = 4_000;

/// One thing that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What kind of thing, as a word.
    pub topic: String,
    /// Which one; nothing if it may be any of them.
    pub detail: String,
}

/// Announces to all processes that something is changed, once `transaction` is committed. A detail
/// that is too long is left out: all of that kind may have changed then.
///
/// # Errors
///
/// [`DatabaseError`].
pub async fn announce(
    transaction: &Transaction<'_>,
    topic: &str,
    detail: &str,
) -> Result<(), DatabaseError> {
    let detail = if detail.len() > LONGEST { "" } else { detail };
    let said = format!("{topic} {detail}");
    let statement = transaction
        .prepare_cached("SELECT pg_notify($1, $2)")
        .await?;
    transaction.execute(&statement, &[&CHANNEL, &said]).await?;
    Ok(())
}

/// A cache of what others may change. It is called in the order of the changes,
/// and must not block; when it has returned, nothing of what was remembered before may be
/// used.
pub trait Subscription: Send + Sync {
    /// Something was changed.
    fn changed(&self, change: &Change);
    /// Anything may have been changed.
    fn lost(&self);
}

/// Follows the changes until it is dropped.
pub struct Changes {
    proof: watch::Receiver<Option<Instant>>,
    _stop: DropGuard,
}

impl Changes {
    pub(crate) fn follow(connector: Connector, subscription: Arc<dyn Subscription>) -> Self {
        let (proven, proof) = watch::channel(None);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let follower = Follower {
            connector,
            received: Arc::new(Received {
                subscription,
                proven,
                heartbeats: Mutex::default(),
            }),
        };
        tokio::spawn(async move { stopped.run_until_cancelled(follower.follow()).await });
        Self {
            proof,
            _stop: stop.drop_guard(),
        }
    }

    /// Whether it is proven that everything that was committed until a second ago was received.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.proof
            .borrow()
            .is_some_and(|sent| sent.elapsed() < PROVES)
    }

    /// Waits until that is proven.
    pub async fn until_live(&self) {
        let mut proof = self.proof.clone();
        // The sender lives as long as the task, which ends with this.
        let _ = proof
            .wait_for(|proven| proven.is_some_and(|sent| sent.elapsed() < PROVES))
            .await;
    }
}

struct Follower {
    connector: Connector,
    received: Arc<Received>,
}

/// What comes over the connection.
struct Received {
    subscription: Arc<dyn Subscription>,
    proven: watch::Sender<Option<Instant>>,
    /// Those under way, by when they were sent.
    heartbeats: Mutex<VecDeque<(String, Instant)>>,
}

impl Follower {
    async fn follow(&self) {
        let mut pause = PAUSES.0;
        loop {
            let begun = Instant::now();
            let Err(error) = self.listen().await;
            self.received.nothing_more();
            tracing::warn!(%error, "notifications from the database are interrupted");
            if begun.elapsed() > PAUSES.1 {
                pause = PAUSES.0;
            }
            tokio::time::sleep(pause).await;
            pause = PAUSES.1.min(pause * 2);
        }
    }

    /// Listens until the connection is lost.
    async fn listen(&self) -> Result<std::convert::Infallible, DatabaseError> {
        let (client, wire) = self.connector.connect().await?;
        let received = Arc::clone(&self.received);
        let wire = AbortOnDropHandle::new(tokio::spawn(receive(wire, received)));
        self.connector.prepare(&client).await?;
        // A channel of its own: other processes do not need these heartbeats.
        let heartbeats = format!("countersign_beat_{:016x}", rand::rng().random::<u64>());
        // A heartbeat changes nothing that has to be on a disk.
        let listen = format!("SET synchronous_commit = off; LISTEN {CHANNEL}; LISTEN {heartbeats}");
        within(client.batch_execute(&listen)).await?;
        let notify = within(client.prepare("SELECT pg_notify($1, $2)")).await?;
        // What was changed before was not received.
        self.received.subscription.lost();
        let mut number = 0_u64;
        let mut ticks = tokio::time::interval(HEARTBEAT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if wire.is_finished() {
                return Err(DatabaseError::Lost);
            }
            number += 1;
            let heartbeat = format!("{number}");
            self.received
                .heartbeats()
                .push_back((format!("{heartbeats} {heartbeat}"), Instant::now()));
            within(client.execute(&notify, &[&heartbeats, &heartbeat])).await?;
        }
    }
}

async fn within<T>(
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, DatabaseError> {
    let done = tokio::time::timeout(LATE, work).await;
    Ok(done.map_err(|_| DatabaseError::Late(LATE))??)
}

/// Takes what comes over a connection, until it ends.
async fn receive(mut wire: AnyWire, received: Arc<Received>) {
    while let Some(Ok(message)) = poll_fn(|context| poll(&mut wire, context)).await {
        if let AsyncMessage::Notification(notification) = message {
            received.take(&notification);
        }
    }
    received.nothing_more();
}

fn poll(
    wire: &mut AnyWire,
    context: &mut Context<'_>,
) -> Poll<Option<Result<AsyncMessage, tokio_postgres::Error>>> {
    match wire {
        Wire::Tls(wire) => wire.poll_message(context),
        Wire::Plain(wire) => wire.poll_message(context),
    }
}

impl Received {
    fn take(&self, notification: &Notification) {
        if notification.channel() == CHANNEL {
            let said = notification.payload();
            let (topic, detail) = said.split_once(' ').unwrap_or((said, ""));
            self.subscription.changed(&Change {
                topic: topic.to_owned(),
                detail: detail.to_owned(),
            });
            return;
        }
        let name = format!("{} {}", notification.channel(), notification.payload());
        let mut heartbeats = self.heartbeats();
        // They come back in their order.
        if let Some(at) = heartbeats
            .iter()
            .position(|(heartbeat, _)| *heartbeat == name)
        {
            let sent = heartbeats.drain(..=at).next_back().map(|(_, sent)| sent);
            drop(heartbeats);
            self.proven.send_replace(sent);
        }
    }

    /// Nothing comes over the connection any more.
    fn nothing_more(&self) {
        self.heartbeats().clear();
        self.proven.send_replace(None);
        self.subscription.lost();
    }

    fn heartbeats(&self) -> MutexGuard<'_, VecDeque<(String, Instant)>> {
        // Nothing that a panic could leave half done.
        self.heartbeats
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
