//! Strangers who send a lot, and nothing to the end, take nothing from anyone else.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use countersign::access::{NewKey, Role};
use futures_util::future::join_all;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::server::Server;
use crate::support::PATIENCE;

/// More than enough, at [`STREAMS`] each, for everything that the front door answers at once.
const CONNECTIONS: usize = 18;
/// As many as a connection has.
const STREAMS: usize = 128;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A body that begins with `bytes` and does not end.
fn endless(bytes: &'static [u8]) -> Body {
    let first = futures_util::stream::iter([Ok(Frame::data(Bytes::from_static(bytes)))]);
    let rest = futures_util::stream::pending();
    StreamBody::new(futures_util::StreamExt::chain(first, rest)).boxed_unsync()
}

/// What a stranger sends: each is refused, or is for everyone.
fn stranger(kind: usize, base: &str) -> Request<Body> {
    let wrong_key = format!("Bearer cs_0123456789ab_{}", "0".repeat(64));
    let to = |method: Method, path: &str| {
        let uri = format!("{base}{path}");
        Request::builder().method(method).uri(uri).header(HOST, "x")
    };
    let request = match kind % 13 {
        0 => to(Method::POST, "/api/enrollments")
            .header(CONTENT_LENGTH, 1000)
            .body(endless(b"")),
        1 => to(Method::POST, "/api/imports")
            .header(AUTHORIZATION, wrong_key)
            .body(endless(b"otpauth://")),
        2 => to(Method::GET, "/api/accounts")
            .header("x-functions-key", "guess")
            .body(endless(b"")),
        3 => to(Method::POST, "/mcp").body(endless(b"{\"jsonrpc\":")),
        4 => to(Method::POST, "/api/session")
            .header(AUTHORIZATION, "Bearer ey.e30.x")
            .body(endless(b"code=x")),
        5 => to(Method::PUT, "/nothing/here").body(endless(&[b'x'; 10_000])),
        6 => to(Method::GET, "/api/tokens?code=cs_admin_guess")
            .header(COOKIE, "countersign_session=k.0123456789ab.1.AAAA")
            .body(endless(b"")),
        7 => to(Method::GET, "/").body(Empty::new().boxed_unsync()),
        8 => to(Method::DELETE, "/api/session").body(endless(b"x")),
        9 => to(Method::POST, "/api/session")
            .header("sec-fetch-site", "same-origin")
            .header(CONTENT_TYPE, "application/json")
            .body(endless(b"{")),
        10 => to(Method::POST, "/healthz").body(endless(b"x")),
        11 => to(Method::POST, "/api/hello").body(endless(b"{")),
        _ => to(Method::GET, "/api/hello?nonce=x").body(endless(b"x")),
    };
    request.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_keep_neither_health_nor_a_caller_waiting() {
    let server = Server::start_with(|_| ()).await;
    let (_, key) = server
        .keys()
        .create(NewKey::new("reader", Role::Reader), chrono::Utc::now())
        .unwrap();
    let held = Arc::new(AtomicUsize::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let mut floods = Vec::new();
    for connection in 0..CONNECTIONS {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let (send, end) =
            http2::handshake::<_, _, Body>(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(end);
        for stream in 0..STREAMS {
            let mut send = send.clone();
            let (base, held, over) = (server.base.clone(), Arc::clone(&held), Arc::clone(&over));
            floods.push(tokio::spawn(async move {
                // The first kind is the plainest: as many as the others together.
                let kind = if stream % 2 == 0 {
                    0
                } else {
                    connection + stream
                };
                let mut answered = Vec::new();
                while !over.load(Ordering::Relaxed) && answered.len() < 2 {
                    held.fetch_add(1, Ordering::Relaxed);
                    let _ = send.ready().await;
                    let Ok(answer) = send.send_request(stranger(kind, &base)).await else {
                        break;
                    };
                    answered.push(answer.status());
                }
                answered
            }));
        }
    }
    let hello = format!("/api/hello?nonce={}", "0a".repeat(32));
    timeout(PATIENCE, async {
        while held.load(Ordering::Relaxed) < CONNECTIONS * STREAMS {
            tokio::task::yield_now().await;
        }
        for _ in 0..20 {
            for (path, token) in [
                ("/healthz", ""),
                ("/readyz", ""),
                // By which commands on this machine recognize the server.
                (&hello, ""),
                ("/api/accounts", key.as_str()),
                ("/api/session", key.as_str()),
            ] {
                let answer = server.get(path, token).await;
                assert_eq!(answer.status(), StatusCode::OK, "{path}");
            }
        }
    })
    .await
    .expect("all are answered during the flood");
    over.store(true, Ordering::Relaxed);
    let answers = timeout(PATIENCE, join_all(floods)).await;
    let answers = answers.expect("strangers are answered too, whatever they still owe");
    let statuses: Vec<u16> = answers
        .into_iter()
        .flat_map(|answered| answered.unwrap())
        .map(|status| status.as_u16())
        .collect();
    let mut counts = BTreeMap::new();
    for status in &statuses {
        *counts.entry(*status).or_insert(0) += 1;
    }
    assert!(
        statuses.contains(&401) || statuses.contains(&429),
        "{counts:?}"
    );
    assert!(
        !statuses.contains(&503),
        "nobody is told that others take all"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_strangers_connection_ends_soon_though_its_body_does_not() {
    let server = Server::start_with(|_| ()).await;
    let address = server.address();
    let ask = |head: &'static str| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let ended = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{head}: it goes on");
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answers = join_all([
        "POST /api/enrollments HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
        "POST /api/enrollments HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
        "POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
        "GET /api/accounts HTTP/1.1\r\nHost: x\r\nx-functions-key: y\r\nContent-Length: 9\r\n\r\n",
        "POST /api/session HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
    ].map(ask))
    .await;
    // This one's body may say who it is; so it is awaited, and not for long.
    let log_in = "POST /api/session HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: same-origin\r\n\
                  Content-Type: application/json\r\nContent-Length: 9\r\n\r\n";
    let answer = ask(log_in).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    for answer in answers {
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    server.stop().await;
}
