//! A way in for callers of the same process: the same protocol over memory instead of sockets.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::DuplexStream;
use tokio::sync::mpsc;

/// How many bytes may be under way in either direction of a connection. HTTP/2 has windows of its
/// own; this only spares wake-ups.
const BUFFER: usize = 256 * 1024;
/// How many connections may wait until the server takes them. Those beyond wait to be opened.
const WAITING: usize = 64;

/// The scheduler of this process is not served any more, so that nothing answers.
///
/// It is the inner error of what [`InProcess::connect`] fails with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the scheduler of this process has stopped; open another one and connect to that")]
#[non_exhaustive]
pub struct Stopped;

/// Opens connections to a [`Scheduler`](crate::Scheduler) in the same process. Cheap to clone.
///
/// They are answered while the scheduler is served, by the same services and under the same
/// rules as those on its port: who is asked for a token there is asked for it here. Only TLS has
/// no place in them. A connection that is opened before the scheduler is served waits for that.
///
/// This keeps no scheduler alive.
#[derive(Clone, Debug)]
pub struct InProcess {
    sender: mpsc::Sender<DuplexStream>,
}

impl InProcess {
    /// Opens a connection. The future borrows nothing, so that `move || near.connect()` is what
    /// the dialer of a client takes.
    ///
    /// # Errors
    /// [`io::ErrorKind::ConnectionRefused`] with [`Stopped`] inside once the scheduler is no
    /// longer served, or was dropped without having been served.
    pub fn connect(&self) -> impl Future<Output = io::Result<DuplexStream>> + Send + use<> {
        let sender = self.sender.clone();
        async move {
            let (near, far) = tokio::io::duplex(BUFFER);
            match sender.send(far).await {
                Ok(()) => Ok(near),
                Err(_) => Err(io::Error::new(io::ErrorKind::ConnectionRefused, Stopped)),
            }
        }
    }
}

/// Both ends; the receiving one is taken by the server.
#[derive(Clone, Debug)]
pub(crate) struct Entrance {
    near: InProcess,
    opened: Arc<Mutex<Option<mpsc::Receiver<DuplexStream>>>>,
}

impl Entrance {
    pub(crate) fn new() -> Self {
        let (sender, opened) = mpsc::channel(WAITING);
        Self {
            near: InProcess { sender },
            opened: Arc::new(Mutex::new(Some(opened))),
        }
    }

    pub(crate) fn near(&self) -> InProcess {
        self.near.clone()
    }

    /// The connections that are opened; nothing the second time.
    pub(crate) fn take(&self) -> Option<mpsc::Receiver<DuplexStream>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.take()
    }
}
