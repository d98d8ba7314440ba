//! Bodies over the limit: the sender gets that answer, however it sends them.
//!
//! The clients here write to a socket of their own: one that only reads after its last
//! byte is written sees a reset connection where a cleverer one still sees an answer.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::bad_input::assert_alive;
use crate::support::{App, PATIENCE};

/// How a body is announced.
#[derive(Clone, Copy, Debug)]
enum Framing {
    /// By its length.
    Length,
    /// Not at all: in chunks.
    Chunks,
}

/// Writes a whole request of `megabytes` and only then reads the answer: status,
/// headers and body.
fn send_whole(
    app: &App,
    token: &str,
    kind: &str,
    framing: Framing,
    megabytes: usize,
) -> (u16, String, Value) {
    let mut socket = connect(app);
    let announced = match framing {
        Framing::Length => format!("content-length: {}", megabytes << 20),
        Framing::Chunks => "transfer-encoding: chunked".to_owned(),
    };
    write!(
        socket,
        "POST /api/enrollments HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-type: {kind}\r\nconnection: close\r\n{announced}\r\n\r\n"
    )
    .unwrap();
    let megabyte = vec![0_u8; 1 << 20];
    for _ in 0..megabytes {
        match framing {
            Framing::Length => socket.write_all(&megabyte).unwrap(),
            Framing::Chunks => {
                socket.write_all(b"100000\r\n").unwrap();
                socket.write_all(&megabyte).unwrap();
                socket.write_all(b"\r\n").unwrap();
            }
        }
    }
    if let Framing::Chunks = framing {
        socket.write_all(b"0\r\n\r\n").unwrap();
    }
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    parse(&answer)
}

fn connect(app: &App) -> TcpStream {
    let socket = TcpStream::connect(app.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn parse(answer: &str) -> (u16, String, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (
        status,
        head.to_ascii_lowercase(),
        serde_json::from_str(body).unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_writes_a_whole_oversized_body_gets_an_answer() {
    let app = App::start().await;
    let token = app.admin_token();
    for (kind, framing, megabytes) in [
        ("image/png", Framing::Length, 11),
        ("image/png", Framing::Chunks, 11),
        ("application/json", Framing::Length, 11),
        ("multipart/form-data; boundary=x", Framing::Length, 11),
        ("image/png", Framing::Length, 100),
        ("image/png", Framing::Chunks, 100),
    ] {
        let case = format!("{kind} {framing:?} {megabytes} MB");
        let (status, head, body) =
            tokio::task::block_in_place(|| send_whole(&app, &token, kind, framing, megabytes));
        assert_eq!(status, 413, "{case}: {head}");
        assert!(
            head.contains("content-type: application/problem+json"),
            "{case}: {head}"
        );
        assert_eq!(body["code"], "payload-too-large", "{case}");
    }
    assert_alive(&app).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_token_is_reported_first() {
    let app = App::start().await;
    let (status, _, body) =
        tokio::task::block_in_place(|| send_whole(&app, "wrong", "image/png", Framing::Length, 2));
    assert_eq!(status, 401);
    assert_eq!(body["code"], "unauthenticated");
    assert_alive(&app).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_expects_100_continue_need_not_send() {
    let app = App::start().await;
    let token = app.admin_token();
    let answer = tokio::task::block_in_place(|| {
        let mut socket = connect(&app);
        write!(
            socket,
            "POST /api/enrollments HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
             content-type: image/png\r\nconnection: close\r\nexpect: 100-continue\r\n\
             content-length: {}\r\n\r\n",
            100 << 20
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    });
    let (status, _, body) = parse(&answer);
    assert_eq!(status, 413, "no 100 Continue comes first: {answer}");
    assert_eq!(body["code"], "payload-too-large");
    assert_alive(&app).await;
}

#[tokio::test]
async fn an_ordinary_client_sees_the_answer_to_100_mb() {
    let app = App::start().await;
    let admin = app.admin();
    let request = admin
        .request(Method::POST, "/api/enrollments")
        .header("content-type", "image/png")
        .body(vec![0_u8; 100 << 20]);
    let answer = admin.send(request).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{answer:?}");
    answer.assert_problem(413, "payload-too-large");
}
