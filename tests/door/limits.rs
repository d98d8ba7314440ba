//! Too many, too much, too slow.

use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::time::Duration;

use countersign::access::{NewKey, Role};
use countersign::config::Limits;
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::server::Server;
use crate::support::{PATIENCE, SEED_URI};

/// Who is slow; everyone else in these tests calls from 127.0.0.1.
const SLOW: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

async fn limited(change: impl FnOnce(&mut Limits)) -> Server {
    Server::start_with(|config| change(&mut config.limits)).await
}

/// A connection from an address of this machine.
async fn connect(server: &Server, from: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(server.address()).await.unwrap()
}

/// A connection that the server has let in: it has answered on it, and continues listening.
async fn let_in(server: &Server, from: Ipv4Addr) -> TcpStream {
    let mut stream = connect(server, from).await;
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let read = timeout(PATIENCE, stream.read_buf(&mut answer)).await;
        assert_ne!(read.expect("an answer").unwrap(), 0, "it was not let in");
    }
    stream
}

/// Sends bytes and returns what the server sends before it closes.
async fn talk(mut stream: TcpStream, text: &str) -> String {
    // A server that has closed already may reset the connection.
    let _ = stream.write_all(text.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the server closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn slow_connections_take_no_others_place() {
    let server = limited(|limits| {
        limits.connections_per_address = 20;
        limits.header_timeout = Duration::from_secs(600);
    })
    .await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = connect(&server, SLOW).await;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nX-")
            .await
            .unwrap();
        slow.push(stream);
    }
    assert_eq!(talk(connect(&server, SLOW).await, HEALTH).await, "");
    let healthy = talk(connect(&server, Ipv4Addr::LOCALHOST).await, HEALTH).await;
    assert!(healthy.starts_with("HTTP/1.1 200"), "{healthy}");

    slow.clear();
    timeout(PATIENCE, async {
        while talk(connect(&server, SLOW).await, HEALTH).await.is_empty() {}
    })
    .await
    .expect("there is room again");
    server.stop().await;
}

#[tokio::test]
async fn there_is_a_bound_on_all_connections() {
    let server = limited(|limits| limits.connections = 3).await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        kept.push(let_in(&server, SLOW).await);
    }
    assert_eq!(
        talk(connect(&server, Ipv4Addr::LOCALHOST).await, HEALTH).await,
        ""
    );
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_too_slowly_is_disconnected() {
    let server = limited(|limits| {
        limits.header_timeout = Duration::from_millis(300);
        limits.body_timeout = Duration::from_millis(300);
    })
    .await;
    let open = || connect(&server, SLOW);
    talk(open().await, "").await;
    talk(open().await, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: ").await;
    let post = format!(
        "POST /api/enrollments HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{\"uri\":",
        server.admin
    );
    let answer = talk(open().await, &post).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("unreadable-body"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected() {
    let server = limited(|limits| {
        limits.connections_per_address = 1;
        limits.body_timeout = Duration::from_millis(300);
    })
    .await;
    let greedy = let_in(&server, SLOW).await;
    let (_answers, mut requests) = greedy.into_split();
    // Far more than fits between the two, and nothing is read.
    let asking = tokio::spawn(async move {
        let ask = "GET /api/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
        while requests.write_all(ask.as_bytes()).await.is_ok() {}
    });
    timeout(PATIENCE, async {
        while talk(connect(&server, SLOW).await, HEALTH).await.is_empty() {}
    })
    .await
    .expect("its place is free again");
    asking.abort();
    server.stop().await;
}

#[tokio::test]
async fn headers_are_bounded() {
    let server = limited(|_| ()).await;
    let long = format!(
        "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n",
        "x".repeat(100 * 1024)
    );
    let answer = talk(connect(&server, SLOW).await, &long).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_caller_over_its_rate_learns_when_to_retry() {
    let server = limited(|limits| limits.rate_per_caller = NonZeroU32::new(1)).await;
    let (_, other) = server
        .keys()
        .create(NewKey::new("other", Role::Reader), chrono::Utc::now())
        .unwrap();
    let asked = (0..50).map(|_| server.get("/api/accounts", &server.admin));
    let mut refused = 0;
    for answer in join_all(asked).await {
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            let wait: u64 = answer.headers()["retry-after"]
                .to_str()
                .unwrap()
                .parse()
                .unwrap();
            assert!((1..=3600).contains(&wait), "{wait}");
            let problem: Value = answer.json().await.unwrap();
            assert_eq!(problem["code"], "rate-limited");
            refused += 1;
        } else {
            assert_eq!(answer.status(), StatusCode::OK);
        }
    }
    assert!(refused > 0);
    assert_eq!(server.get("/api/accounts", &other).await.status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn a_tool_that_an_agent_calls_counts_once() {
    let server = limited(|limits| limits.rate_per_caller = NonZeroU32::new(1)).await;
    let call = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "list_accounts", "arguments": {} },
    });
    // Two requests at once are allowed; a tool makes one of its own for each message.
    for _ in 0..2 {
        let request = server.request(Method::POST, "/mcp").json(&call);
        let request = request.header("accept", "application/json, text/event-stream");
        let answer = request.bearer_auth(&server.admin).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["result"]["isError"], false, "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_address_over_its_rate_still_gets_health_checks() {
    let server = limited(|limits| limits.rate_per_address = NonZeroU32::new(1)).await;
    let asked = (0..50).map(|_| server.get("/api/accounts", "nobody"));
    let statuses: Vec<u16> = join_all(asked)
        .await
        .iter()
        .map(|answer| answer.status().as_u16())
        .collect();
    assert!(
        statuses.contains(&429) && statuses.contains(&401),
        "{statuses:?}"
    );
    let health = (0..50).map(|_| server.get("/healthz", "nobody"));
    for answer in join_all(health).await {
        assert_eq!(answer.status(), StatusCode::OK);
    }
    server.stop().await;
}

#[tokio::test]
async fn one_callers_waiting_requests_leave_room_for_others() {
    let server = limited(|limits| limits.concurrency_per_caller = 2).await;
    let request = server.request(Method::POST, "/api/enrollments?approval=required");
    let started = request
        .bearer_auth(&server.admin)
        .json(&json!({"uri": SEED_URI}));
    let started: Value = started.send().await.unwrap().json().await.unwrap();
    let path = started["statusQueryGetUri"].as_str().unwrap().to_owned();
    let (_, other) = server
        .keys()
        .create(NewKey::new("other", Role::Approver), chrono::Utc::now())
        .unwrap();
    timeout(PATIENCE, async {
        let stage = async || -> Value {
            let answer = server.get(&format!("{path}?wait=20"), &server.admin).await;
            answer.json().await.unwrap()
        };
        while stage().await["stage"] != "AwaitingApproval" {}
    })
    .await
    .expect("it comes to its approval");
    // These wait until the server stops, for nobody decides. The question below may have
    // taken their place for a moment.
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let path = format!("{path}?wait=60&since=AwaitingApproval");
            let request = server
                .request(Method::GET, &path)
                .bearer_auth(&server.admin);
            tokio::spawn(async move {
                loop {
                    let answer = request.try_clone().unwrap().send().await.unwrap();
                    if answer.status() != StatusCode::TOO_MANY_REQUESTS {
                        return answer.status();
                    }
                }
            })
        })
        .collect();
    timeout(PATIENCE, async {
        while server.get(&path, &server.admin).await.status() != StatusCode::TOO_MANY_REQUESTS {}
    })
    .await
    .expect("both wait");
    assert_eq!(
        server.get(&path, &other).await.status(),
        StatusCode::ACCEPTED
    );
    server.stop().await;
    for answer in waiting {
        // Those that had begun are answered, stop or not.
        assert_eq!(answer.await.unwrap(), StatusCode::ACCEPTED);
    }
}
