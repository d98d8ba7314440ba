//! A way to the scheduler whose connections are cut after so many bytes.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// After how many bytes a connection is cut, up to the scheduler and down from it.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub up: u64,
    pub down: u64,
}

impl Cut {
    pub const NEVER: Self = Self {
        up: u64::MAX,
        down: u64::MAX,
    };
}

/// Open until it is dropped.
pub struct Way {
    pub address: SocketAddr,
    passing: JoinHandle<()>,
}

impl Way {
    /// The first connections are cut like this, the others like the last of `cuts`.
    pub async fn open(to: SocketAddr, cuts: Vec<Cut>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let passing = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            let mut cuts = cuts.into_iter();
            let mut cut = Cut::NEVER;
            while let Ok((stream, _)) = listener.accept().await {
                cut = cuts.next().unwrap_or(cut);
                connections.spawn(pass(stream, to, cut));
            }
        });
        Self { address, passing }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.passing.abort();
    }
}

async fn pass(client: TcpStream, to: SocketAddr, cut: Cut) {
    let Ok(server) = TcpStream::connect(to).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = copy(from_client, to_server, cut.up) => {}
        () = copy(from_server, to_client, cut.down) => {}
    }
}

async fn copy(from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, most: u64) {
    let _ = tokio::io::copy(&mut from.take(most), &mut to).await;
}
