//! An address that stays while the processes behind it come and go, as a service's does.

use std::net::SocketAddr;

use tokio::io;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards each connection to one of the processes behind it in turn, and closes it if there is
/// none.
pub(crate) struct Relay {
    address: SocketAddr,
    behind: watch::Sender<Vec<Option<SocketAddr>>>,
}

impl Relay {
    /// Listens on a port that stays its own, with no process behind it yet.
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (behind, targets) = watch::channel(Vec::new());
        tokio::spawn(async move {
            let mut turn = 0;
            // Ends with the test's runtime.
            while let Ok((caller, _)) = listener.accept().await {
                let there: Vec<SocketAddr> = targets.borrow().iter().copied().flatten().collect();
                turn += 1;
                if let Some(&target) = there.get(turn % there.len().max(1)) {
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

    /// Sets one of the processes behind it.
    pub(crate) fn lead_to(&self, number: usize, target: Option<SocketAddr>) {
        self.behind.send_modify(|behind| {
            behind.resize(behind.len().max(number + 1), None);
            behind[number] = target;
        });
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
