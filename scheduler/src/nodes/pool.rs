//! The connections to the other nodes, and how many calls each of them carries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connect::{Sender, Unreachable, connect};
use super::meters::Meters;
use super::owners::{Node, Owners};
use super::port::PeerPort;

/// The most connections to one node.
pub(super) const CONNECTIONS: usize = 4;
/// The most calls and streams on one connection.
pub(super) const STREAMS: usize = 1000;
/// A connection with as many gets company, if there may be more: each is driven by one task.
const SPREAD: usize = 64;

/// Why there is no stream to a node.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum NoStream {
    #[error("{0}")]
    Unreachable(#[from] Unreachable),
    #[error("this node has {} calls open there, which is the most", CONNECTIONS * STREAMS)]
    Full,
}

/// A place for one call on a connection.
pub(super) struct Stream {
    pub(super) sender: Sender,
    /// Held while the call is open.
    pub(super) place: OwnedSemaphorePermit,
}

pub(super) struct Pool {
    port: PeerPort,
    owners: Arc<dyn Owners>,
    keepalive: Duration,
    meters: Arc<Meters>,
    peers: Mutex<HashMap<Arc<str>, Arc<Peer>>>,
}

struct Peer {
    node: Node,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Vec<Connection>,
    /// Everyone who waits for a connection waits for the same one.
    opening: Option<Shared<BoxFuture<'static, Result<(), Unreachable>>>>,
    /// Whether the last attempt failed, which is logged once.
    failing: bool,
}

struct Connection {
    sender: Sender,
    places: Arc<Semaphore>,
}

impl Pool {
    pub(super) fn new(
        port: PeerPort,
        owners: Arc<dyn Owners>,
        keepalive: Duration,
        meters: Arc<Meters>,
    ) -> Self {
        Self {
            port,
            owners,
            keepalive,
            meters,
            peers: Mutex::default(),
        }
    }

    /// A place on a connection to this node, which is opened if there is none with room.
    pub(super) async fn stream(&self, node: &Node) -> Result<Stream, NoStream> {
        let peer = self.peer(node);
        loop {
            let opening = {
                let mut state = lock(&peer.state);
                state
                    .open
                    .retain(|connection| !connection.sender.is_closed());
                let least = state
                    .open
                    .iter()
                    .max_by_key(|connection| connection.places.available_permits());
                let (free, stream) = match least {
                    None => (0, None),
                    Some(connection) => {
                        (connection.places.available_permits(), connection.stream())
                    }
                };
                let more = state.open.len() < CONNECTIONS;
                match stream {
                    Some(stream) => {
                        if more && free <= STREAMS - SPREAD && state.opening.is_none() {
                            drop(self.open(&peer, &mut state));
                        }
                        return Ok(stream);
                    }
                    None if !more => return Err(NoStream::Full),
                    None => match &state.opening {
                        Some(opening) if opening.peek().is_none() => opening.clone(),
                        _ => self.open(&peer, &mut state),
                    },
                }
            };
            opening.await?;
        }
    }

    /// The peer with this node's address and certificate. Nodes that are gone are forgotten.
    fn peer(&self, node: &Node) -> Arc<Peer> {
        let mut peers = lock(&self.peers);
        if let Some(peer) = peers.get(&node.id)
            && peer.node == *node
        {
            return Arc::clone(peer);
        }
        let live = self.owners.nodes();
        peers.retain(|id, _| live.iter().any(|node| node.id == *id));
        let peer = Arc::new(Peer {
            node: node.clone(),
            state: Mutex::default(),
        });
        peers.insert(Arc::clone(&node.id), Arc::clone(&peer));
        peer
    }

    /// Begins to open a connection, in a task of its own: the first caller that needs it may leave.
    fn open(
        &self,
        peer: &Arc<Peer>,
        state: &mut State,
    ) -> Shared<BoxFuture<'static, Result<(), Unreachable>>> {
        let (peer, port) = (Arc::clone(peer), self.port.clone());
        let (keepalive, meters) = (self.keepalive, Arc::clone(&self.meters));
        let task = tokio::spawn(async move {
            let opened = connect(&peer.node, &port, keepalive, &meters).await;
            let mut state = lock(&peer.state);
            state.opening = None;
            match opened {
                Ok(sender) => {
                    tracing::debug!(node = %peer.node, "connected to another node");
                    state.failing = false;
                    state.open.push(Connection {
                        sender,
                        places: Arc::new(Semaphore::new(STREAMS)),
                    });
                    Ok(())
                }
                Err(error) => {
                    meters.failed_connections.inc();
                    if !std::mem::replace(&mut state.failing, true) {
                        tracing::warn!(node = %peer.node, %error, "another node cannot be reached");
                    }
                    Err(error)
                }
            }
        });
        let opening = async move { task.await.unwrap_or(Err(Unreachable::Ended)) }
            .boxed()
            .shared();
        state.opening = Some(opening.clone());
        opening
    }
}

impl Connection {
    fn stream(&self) -> Option<Stream> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Stream {
            sender: self.sender.clone(),
            place,
        })
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
