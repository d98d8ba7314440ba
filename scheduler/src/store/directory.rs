//! What a node knows of the others from the database: which there are, how they are called, and which
//! of them owns the task hubs.
//!
//! A thread with a session of its own says that this node is there, and reads what the others say, also
//! while the writer is busy, or waits for the database.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::engine::{self, Connection};
use super::ownership::{Standing, TICK};
use crate::OpenError;
use crate::nodes::{Fingerprint, Node, Owner, Owners, PeerPort};

/// How often a node says that it is there.
const SEEN: Duration = Duration::from_secs(1);
/// After which time without an answer of the database this node does not know who owns the task hubs.
const STALE: Duration = Duration::from_secs(5);
/// The most nodes, and the most terms, that are listed.
const LISTED: i64 = 200;
const TERMS: i64 = 50;
/// How long a node that ends waits until it is no longer listed.
const LEAVE: Duration = Duration::from_secs(1);

/// A node, as the database lists it. Those that were killed are listed for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: Arc<str>,
    pub(crate) name: String,
    pub(crate) version: String,
    /// Where others call it, and the digest of its certificate, if they can.
    pub(crate) peer: Option<(Arc<str>, Fingerprint)>,
    /// Whether the database has heard from it within the last ten seconds.
    pub(crate) live: bool,
    /// Whether it owns the task hubs, and its lease has not ended.
    pub(crate) owns: bool,
    /// Microseconds since 1970, by the database's clock.
    pub(crate) started_us: i64,
    pub(crate) seen_us: i64,
}

/// A term of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PastTerm {
    pub(crate) fence: i64,
    /// The owner's name.
    pub(crate) name: String,
    /// Why the task hubs were not the former owner's any more.
    pub(crate) reason: String,
    pub(crate) began_us: i64,
}

/// What was read last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// None if nothing was read yet.
    at: Option<Instant>,
    fence: i64,
    pub(crate) nodes: Vec<Listed>,
    /// The newest first.
    pub(crate) terms: Vec<PastTerm>,
    /// Those that others can call.
    peers: Arc<[Node]>,
}

/// The nodes on one database, as one of them sees them.
pub(crate) struct Directory {
    id: Arc<str>,
    name: String,
    port: Option<PeerPort>,
    standing: Arc<Standing>,
    known: Mutex<Arc<Known>>,
    leave: SyncSender<oneshot::Sender<()>>,
}

impl Directory {
    /// Starts the thread, which ends when the directory is dropped.
    pub(super) fn start(
        id: Arc<str>,
        name: String,
        port: Option<PeerPort>,
        standing: Arc<Standing>,
        conn: Connection,
    ) -> Result<Arc<Self>, OpenError> {
        let (leave, leaving) = sync_channel(1);
        let directory = Arc::new(Self {
            id,
            name,
            port,
            standing,
            known: Mutex::default(),
            leave,
        });
        let id = Arc::clone(&directory.id);
        let watched = Arc::downgrade(&directory);
        std::thread::Builder::new()
            .name("scheduler-nodes".to_owned())
            .spawn(move || {
                let done = follow(&watched, &conn, &leaving);
                if let Err(error) = conn.execute("DELETE FROM nodes WHERE id = ?1", [&*id]) {
                    tracing::debug!(%error, "this node is listed for a while although it has ended");
                }
                drop(done);
            })
            .map_err(OpenError::Thread)?;
        Ok(directory)
    }

    /// Takes this node off the list, as the last thing that it does.
    pub(crate) async fn leave(&self) {
        let (done, gone) = oneshot::channel();
        if self.leave.try_send(done).is_ok() {
            // It is answered by being dropped.
            let _ = tokio::time::timeout(LEAVE, gone).await;
        }
    }

    /// What was read last.
    pub(crate) fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// This node's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Says that this node is there.
    fn show(&self, conn: &Connection) -> engine::Result<()> {
        let peer = self.port.as_ref().map(PeerPort::node);
        let address = peer.as_ref().map(|node| node.address.to_string());
        let certificate = peer.map(|node| node.certificate.as_bytes().to_vec());
        conn.execute(
            "INSERT INTO nodes (id, name, version, peer_address, peer_certificate)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp(),
                 peer_address = excluded.peer_address, peer_certificate = excluded.peer_certificate",
            (
                &*self.id,
                &self.name,
                env!("CARGO_PKG_VERSION"),
                address,
                certificate,
            ),
        )
        .map(drop)
    }

    /// Reads what the others say, and passes it on.
    fn read(&self, conn: &Connection) -> engine::Result<()> {
        let at = Instant::now();
        let before = self.known();
        let (fence, nodes) = list(conn)?;
        let terms = match fence == before.fence && !before.terms.is_empty() {
            true => before.terms.clone(),
            false => terms(conn)?,
        };
        let peers: Vec<Node> = nodes.iter().filter_map(Listed::peer).collect();
        let changed = peers[..] != before.peers[..]
            || owner(&nodes).map(|node| &node.id) != before.owner().map(|node| &node.id);
        let known = Arc::new(Known {
            at: Some(at),
            fence,
            nodes,
            terms,
            peers: peers.into(),
        });
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
        if changed {
            self.standing.notify();
        }
        Ok(())
    }
}

/// Follows the others until this node leaves, or nobody needs to know any more.
fn follow(
    directory: &Weak<Directory>,
    conn: &Connection,
    leaving: &Receiver<oneshot::Sender<()>>,
) -> Option<oneshot::Sender<()>> {
    let mut shown: Option<Instant> = None;
    let mut answered = true;
    loop {
        let directory = directory.upgrade()?;
        let due = shown.is_none_or(|shown| shown.elapsed() >= SEEN);
        let done = match due {
            true => directory.show(conn),
            false => Ok(()),
        };
        if due && done.is_ok() {
            shown = Some(Instant::now());
        }
        match done.and_then(|()| directory.read(conn)) {
            Ok(()) => answered = true,
            Err(error) if std::mem::replace(&mut answered, false) => {
                tracing::warn!(%error, "the database does not say which nodes there are");
            }
            Err(_) => {}
        }
        drop(directory);
        match leaving.recv_timeout(TICK) {
            Ok(done) => return Some(done),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// The fencing number of the present term, and the nodes.
fn list(conn: &Connection) -> engine::Result<(i64, Vec<Listed>)> {
    let mut fence = 0;
    let nodes = conn
        .prepare_cached(
            "SELECT n.id, n.name, n.version, n.peer_address, n.peer_certificate,
                 n.seen_at > clock_timestamp() - interval '10 seconds',
                 coalesce(o.node = n.id, false) AND o.lease_until > clock_timestamp(),
                 (extract(epoch FROM n.started_at) * 1000000)::bigint,
                 (extract(epoch FROM n.seen_at) * 1000000)::bigint,
                 o.fence
             FROM nodes n JOIN ownership o ON true ORDER BY n.seen_at DESC LIMIT ?1",
        )?
        .query_map([LISTED], |row| {
            fence = row.get(9)?;
            let address: Option<String> = row.get(3)?;
            let certificate: Option<Vec<u8>> = row.get(4)?;
            // A digest of another length is of a certificate that this release cannot check.
            let certificate = certificate.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            Ok(Listed {
                id: row.get::<_, String>(0)?.into(),
                name: row.get(1)?,
                version: row.get(2)?,
                peer: address
                    .zip(certificate)
                    .map(|(address, digest)| (address.into(), Fingerprint::from_bytes(digest))),
                live: row.get(5)?,
                owns: row.get(6)?,
                started_us: row.get(7)?,
                seen_us: row.get(8)?,
            })
        })?
        .collect::<engine::Result<Vec<_>>>()?;
    Ok((fence, nodes))
}

fn terms(conn: &Connection) -> engine::Result<Vec<PastTerm>> {
    conn.prepare_cached(
        "SELECT fence, name, reason, (extract(epoch FROM began_at) * 1000000)::bigint
         FROM terms ORDER BY fence DESC LIMIT ?1",
    )?
    .query_map([TERMS], |row| {
        Ok(PastTerm {
            fence: row.get(0)?,
            name: row.get(1)?,
            reason: row.get(2)?,
            began_us: row.get(3)?,
        })
    })?
    .collect()
}

impl Listed {
    /// It as one that others can call.
    fn peer(&self) -> Option<Node> {
        let (address, certificate) = self.peer.as_ref().filter(|_| self.live)?;
        Some(Node {
            id: Arc::clone(&self.id),
            address: Arc::clone(address),
            certificate: *certificate,
        })
    }
}

fn owner(nodes: &[Listed]) -> Option<&Listed> {
    nodes.iter().find(|node| node.owns)
}

impl Known {
    /// The node that owns the task hubs, if there is one.
    fn owner(&self) -> Option<&Listed> {
        owner(&self.nodes)
    }

    fn is_stale(&self) -> bool {
        self.at.is_none_or(|at| at.elapsed() >= STALE)
    }
}

impl Owners for Directory {
    /// One node owns all task hubs.
    fn owner(&self, _: &str) -> Owner {
        if self.standing.fence().is_ok() {
            return Owner::Here;
        }
        let known = self.known();
        let owner = match known.is_stale() {
            true => None,
            false => known.owner().and_then(Listed::peer),
        };
        match owner {
            Some(node) if node.id != self.id => Owner::Node(node),
            _ => Owner::Nobody { retry_after: TICK },
        }
    }

    fn nodes(&self) -> Arc<[Node]> {
        Arc::clone(&self.known().peers)
    }

    fn changed(&self) -> watch::Receiver<()> {
        self.standing.changed()
    }

    fn unready(&self) -> Option<String> {
        if self.standing.fence().is_ok() {
            return None;
        }
        let known = self.known();
        if known.is_stale() {
            return Some(
                "the database does not say which node owns the task hubs; see the log".to_owned(),
            );
        }
        match known.owner() {
            None => Some("no node owns the task hubs at the moment".to_owned()),
            Some(owner) if owner.id == self.id => {
                Some("this node reads what is pending in its task hubs".to_owned())
            }
            Some(owner) if owner.peer.is_none() => Some(format!(
                "the node {} owns the task hubs, and others cannot call it: start it with --peer-listen",
                owner.name
            )),
            Some(_) => None,
        }
    }
}
