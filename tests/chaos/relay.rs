//! An address that stays while the process behind it comes and goes, as a service's does.

use std::net::SocketAddr;

use tokio::io;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards connections to the process behind it, and closes them if there is none.
pub(crate) struct Relay {
    address: SocketAddr,
    behind: watch::Sender<Option<SocketAddr>>,
}

impl Relay {
    /// Listens on a port that stays its own, with no process behind it yet.
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (behind, target) = watch::channel(None);
        tokio::spawn(async move {
            // Ends with the test's runtime.
            while let Ok((caller, _)) = listener.accept().await {
                let target = *target.borrow();
                if let Some(target) = target {
                    tokio::spawn(pass_on(caller, target));
                }
            }
        });
        Self { address, behind }
    }

    /// The address, as a URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the process behind it.
    pub(crate) fn lead_to(&self, target: Option<SocketAddr>) {
        self.behind.send_replace(target);
    }
}

async fn pass_on(mut caller: TcpStream, target: SocketAddr) {
    let Ok(mut target) = TcpStream::connect(target).await else {
        return;
    };
    let (Ok(()), Ok(())) = (caller.set_nodelay(true), target.set_nodelay(true)) else {
        return;
    };
    let (mut from_caller, mut to_caller) = caller.split();
    let (mut from_target, mut to_target) = target.split();
    // When one side closes, the other is closed at once, as when a process dies.
    tokio::select! {
        _ = io::copy(&mut from_caller, &mut to_target) => {}
        _ = io::copy(&mut from_target, &mut to_caller) => {}
    }
}
