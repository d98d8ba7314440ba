//! Another program at the server's address: whatever it answers, commands say that it is not the
//! server, and neither take its answer for one nor wait for another.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use crate::support::{BINARY, output};

const ID: &str = "totp-0f8b2f5e-3c1d-4a6b-9e7f-2d4c6b8a0e1f";
const URI: &str = "otpauth://totp/Shop:ann?secret=GEZDGNBVGY3TQOJQ";
/// Status line, type and body of what such a program answers to everything.
const ANSWERS: [(&str, &str, &str); 9] = [
    ("200 OK", "application/json", "{}"),
    ("200 OK", "application/json", "[1]"),
    ("200 OK", "application/json", "null"),
    (
        "200 OK",
        "application/json",
        "{\"accounts\": [], \"id\": \"x\", \"stage\": \"Enrolled\"}",
    ),
    ("200 OK", "text/html", "<html>Log in</html>"),
    ("204 No Content", "text/plain", ""),
    ("302 Found", "text/html", ""),
    ("404 Not Found", "text/html", "<html>nothing</html>"),
    (
        "501 Not Implemented",
        "text/html",
        "<html>unsupported</html>",
    ),
];
const COMMANDS: [&[&str]; 11] = [
    &["list"],
    &["list", "--enrollments"],
    &["token", "Shop"],
    &["token", ID],
    &["verify", ID, "123456"],
    &["enroll", URI],
    &["status", ID, "--wait"],
    &["approve", ID],
    &["remove", ID],
    &["key", "list"],
    &["login-link"],
];

/// A program that gives the same answer to everything; its address.
fn program(status: &'static str, kind: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            // All of it: what is not read would be answered by a reset.
            read(&mut connection);
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\
                 location: https://login.example/\r\nconnection: close\r\n\r\n{body}"
            );
            let _ = connection.write_all(answer.as_bytes());
        }
    });
    format!("http://{address}")
}

/// Reads a request with its body.
fn read(connection: &mut TcpStream) {
    let mut asked = Vec::new();
    let mut part = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&asked).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let mut lines = head.lines();
            let length = lines.find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return;
            }
        }
        match connection.read(&mut part) {
            Ok(0) | Err(_) => return,
            Ok(read) => asked.extend_from_slice(&part[..read]),
        }
    }
}

#[tokio::test]
async fn another_program_is_never_taken_for_the_server() {
    let folder = tempfile::tempdir().unwrap();
    for (status, kind, body) in ANSWERS {
        let address = program(status, kind, body);
        for words in COMMANDS {
            let mut command = Command::new(BINARY);
            command
                .env_clear()
                .args(words)
                .current_dir(folder.path())
                .env("COUNTERSIGN_SERVER", &address)
                .env("COUNTERSIGN_TOKEN", "a-token-for-another-server");
            let ended = output(command).await;
            let said = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(
                ended.status.code(),
                Some(8),
                "{words:?} at {status} {body}: {said}"
            );
            assert!(said.contains("is not countersign"), "{words:?}: {said}");
        }
    }
}
