//! A command shows a token of the data folder to the server of that folder and to nothing else,
//! and the folder is taken only if nobody else can write there.

use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::Request;
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::relay::Relay;
use crate::support::{App, BINARY, PATIENCE, SEED_URI};

/// What another program answers, whatever it is asked.
const ANSWERS: [&str; 3] = [
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n{\"proof\":\"00\"}",
    "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
];

/// Listens where a server was, answers everything alike, and gives what it was sent.
fn squat(listener: &TcpListener, answer: &str) -> Vec<u8> {
    let mut heard = Vec::new();
    listener.set_nonblocking(true).unwrap();
    while let Ok((mut stream, _)) = listener.accept() {
        stream.set_nonblocking(false).unwrap();
        let patience = Some(Duration::from_millis(200));
        stream.set_read_timeout(patience).unwrap();
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            heard.extend_from_slice(&buffer[..read]);
            let _ = stream.write_all(answer.as_bytes());
        }
    }
    heard
}

/// A command on a data folder while another program listens where its server was.
fn beside(listener: &TcpListener, answer: &str, mut command: Command) -> (Output, Vec<u8>) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut heard = Vec::new();
    while child.try_wait().unwrap().is_none() {
        heard.extend(squat(listener, answer));
        std::thread::yield_now();
    }
    (child.wait_with_output().unwrap(), heard)
}

fn program(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    for variable in ["SERVER", "TOKEN", "ADMIN_TOKEN", "CONFIG", "DATA_DIR"] {
        command.env_remove(format!("COUNTERSIGN_{variable}"));
    }
    command.args(arguments).arg("--data-dir").arg(data);
    command
}

#[tokio::test]
async fn a_program_in_the_servers_place_is_shown_no_token() {
    let mut app = App::start().await;
    let (address, token) = (app.address().to_owned(), app.admin_token());
    app.kill();
    let listener = TcpListener::bind(&address).unwrap();
    let port = listener.local_addr().unwrap().port();
    let named = [
        format!("http://localhost:{port}"),
        format!("http://{address}"),
    ];
    let arguments: [&[&str]; 4] = [
        &["list"],
        &["token", "totp-00000000-0000-4000-8000-000000000000"],
        &["list", "--server", &named[0]],
        &["list", "--server", &named[1]],
    ];
    for answer in ANSWERS {
        for arguments in arguments {
            let command = program(&app.data_dir(), arguments);
            let (output, heard) = beside(&listener, answer, command);
            assert_eq!(output.status.code(), Some(8), "{arguments:?}: {output:?}");
            let heard = String::from_utf8_lossy(&heard).into_owned();
            assert!(heard.contains("GET /api/hello?nonce="), "{heard}");
            assert!(!heard.contains(&token), "{heard}");
            assert!(!heard.to_lowercase().contains("authorization"), "{heard}");
        }
    }
    // A token that was given, for a server that was not.
    let mut given = program(&app.data_dir(), &["list"]);
    given.env("COUNTERSIGN_TOKEN", "cs_given");
    let (output, heard) = beside(&listener, ANSWERS[0], given);
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    assert!(!String::from_utf8_lossy(&heard).contains("cs_given"));
}

#[tokio::test]
async fn relaying_the_question_to_the_real_server_gains_nothing() {
    let app = App::start().await;
    assert!(app.command(&["list"]).status.success());
    let relay = Relay::open().await;
    relay.lead_to(0, app.address().parse().ok());
    let stale = json!({"server": relay.url(), "scheduler": null, "dashboard": null, "pid": 1});
    fs::write(app.data_dir().join("serve.json"), stale.to_string()).unwrap();
    let data = app.data_dir();
    let relayed = tokio::task::spawn_blocking(move || {
        let enroll = program(&data, &["enroll", SEED_URI, "--no-wait"]).output();
        enroll.unwrap()
    });
    let relayed = relayed.await.unwrap();
    assert_eq!(relayed.status.code(), Some(8), "{relayed:?}");
    // A user who names server and token wants that server to have it.
    let (url, token) = (relay.url(), app.admin_token());
    let data = app.data_dir();
    let named = tokio::task::spawn_blocking(move || {
        let mut command = program(&data, &["list", "--json", "--server", &url]);
        command.env("COUNTERSIGN_TOKEN", token).output().unwrap()
    });
    let named = named.await.unwrap();
    assert!(named.status.success(), "{named:?}");
    let listed: Value = serde_json::from_slice(&named.stdout).unwrap();
    assert_eq!(listed["accounts"], json!([]));
}

#[tokio::test]
async fn the_proof_is_for_this_machine_and_for_one_question() {
    let app = App::start().await;
    let stranger = app.caller(None);
    let ask = async |nonce: &str| {
        let path = format!("/api/hello?nonce={nonce}");
        let answer = stranger.request(reqwest::Method::GET, &path).send().await;
        let answer = answer.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (one, other) = (ask(&"0".repeat(64)).await, ask(&"1".repeat(64)).await);
    assert_eq!((one.0, other.0), (200, 200));
    assert_ne!(one, other);
    for wrong in ["", "0", "countersign", &"0".repeat(66)] {
        assert_eq!(ask(wrong).await.0, 400, "{wrong}");
    }
}

/// A body that begins and does not end.
fn endless() -> UnsyncBoxBody<Bytes, Infallible> {
    let first = stream::iter([Ok(Frame::data(Bytes::from_static(b"{")))]);
    StreamBody::new(first.chain(stream::pending())).boxed_unsync()
}

/// Keeps every request of a connection unfinished, until `over`.
async fn keep_busy(address: String, over: CancellationToken) {
    let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let (send, end) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(end);
    let requests = (0..128).map(|number| {
        let (mut send, address) = (send.clone(), address.clone());
        async move {
            loop {
                // Both were answered only once their body was there, or a moment later.
                let path = ["hello", "session"][number % 2];
                let request = Request::post(format!("http://{address}/api/{path}"))
                    .header("content-type", "application/json")
                    .header("content-length", 1000)
                    .header("sec-fetch-site", "same-origin")
                    .body(endless())
                    .unwrap();
                if send.ready().await.is_err() || send.send_request(request).await.is_err() {
                    return;
                }
            }
        }
    });
    let all = join_all(requests);
    over.run_until_cancelled(all).await;
}

#[tokio::test]
async fn commands_recognize_their_server_while_strangers_keep_it_busy() {
    let app = App::start().await;
    let over = CancellationToken::new();
    let floods: Vec<_> = (0..17)
        .map(|_| tokio::spawn(keep_busy(app.address().to_owned(), over.clone())))
        .collect();
    // No more strangers are let in from this machine.
    let stranger = app.caller(None);
    let begun = Instant::now();
    loop {
        let answer = stranger.request(reqwest::Method::GET, "/").send().await;
        if answer.unwrap().status() == 429 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it is not kept busy");
    }
    let data = app.data_dir();
    let listed = tokio::task::spawn_blocking(move || {
        let outputs = (0..3).map(|_| program(&data, &["list", "--json"]).output().unwrap());
        outputs.collect::<Vec<_>>()
    });
    for output in listed.await.unwrap() {
        assert!(output.status.success(), "{output:?}");
    }
    over.cancel();
    for flood in floods {
        flood.await.unwrap();
    }
}

#[tokio::test]
async fn only_a_front_doors_health_is_believed() {
    let mut app = App::start().await;
    let health = app.command(&["health"]);
    assert!(health.status.success(), "{health:?}");
    let address = app.address().to_owned();
    app.kill();
    let gone = app.command(&["health"]);
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
    let listener = TcpListener::bind(&address).unwrap();
    let others = [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nready",
        "HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"status\":\"ok\"}",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 302 Found\r\nlocation: /readyz/\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy",
    ];
    for answer in ANSWERS.into_iter().chain(others) {
        for arguments in [&["health"][..], &["health", "--json"]] {
            let command = program(&app.data_dir(), arguments);
            let (output, _) = beside(&listener, answer, command);
            assert_eq!(output.status.code(), Some(8), "{answer}: {output:?}");
            let said = String::from_utf8(output.stderr).unwrap();
            let named = format!("another program answers at {address}");
            assert!(said.contains(&named), "{answer}: {said}");
        }
    }
    // Neither by one that says just what a front door would.
    let ready = r#"{"status":"ok","hub":"ok","vault":"ok"}"#;
    let length = ready.len();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{ready}");
    let command = program(&app.data_dir(), &["health"]);
    let (output, _) = beside(&listener, &answer, command);
    assert_eq!(output.status.code(), Some(8), "{output:?}");
}

#[tokio::test]
async fn a_secret_on_the_command_line_is_warned_of_and_not_repeated() {
    let app = App::start().await;
    let token = app.admin_token();
    let said = |output: &Output| String::from_utf8(output.stderr.clone()).unwrap();
    let output = app.command(&["list", "--token", &token]);
    assert!(output.status.success(), "{output:?}");
    let warned = said(&output);
    assert!(warned.contains("--token-file"), "{warned}");
    assert!(!warned.contains(&token), "{warned}");
    let output = app.command(&["enroll", SEED_URI, "--json"]);
    assert!(output.status.success(), "{output:?}");
    let warned = said(&output);
    assert!(warned.contains("standard input"), "{warned}");
    assert!(!warned.contains("2FASTEST"), "{warned}");

    let file = app.folder().join("token");
    fs::write(&file, format!("{token}\n")).unwrap();
    let with_file = ["list", "--token-file", file.to_str().unwrap()];
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let output = app.command(&with_file);
    assert_eq!(
        output.status.code(),
        Some(1),
        "others can read it: {output:?}"
    );
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let output = app.command(&with_file);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(said(&output), "");
    let mut piped = program(&app.data_dir(), &["list", "--token-file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    piped
        .stdin
        .take()
        .unwrap()
        .write_all(token.as_bytes())
        .unwrap();
    let output = piped.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let remote = ["list", "--server", "http://192.0.2.1:7071", "--token-file"];
    let output = app.command(&[&remote[..], &[file.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(said(&output).contains("https://"), "{output:?}");
}

#[tokio::test]
async fn a_folder_that_others_can_write_is_used_by_no_part() {
    let mut app = App::start().await;
    app.kill();
    let data = app.data_dir();
    let hub = "Endpoint=http://127.0.0.1:1;TaskHub=default;Authentication=None";
    let listening = ["--listen", "127.0.0.1:0"];
    let parts: [Vec<&str>; 9] = [
        [
            &["serve", "--scheduler-listen", "127.0.0.1:0"][..],
            &listening,
        ]
        .concat(),
        [&["front-door", "--connection-string", hub][..], &listening].concat(),
        vec!["worker", "--connection-string", hub],
        [&["scheduler", "--dashboard", "none"][..], &listening].concat(),
        vec!["list"],
        vec!["key", "list"],
        vec!["grant", "list"],
        vec!["audit", "verify"],
        vec!["audit", "export"],
    ];
    let database = data.join("access.sqlite3");
    for (place, mode) in [(&data, 0o777), (&data, 0o720), (&database, 0o606)] {
        let usual = fs::metadata(place).unwrap().permissions();
        fs::set_permissions(place, Permissions::from_mode(mode)).unwrap();
        for arguments in &parts {
            let output = program(&data, arguments).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
            let said = String::from_utf8(output.stderr).unwrap();
            let advice = format!("chmod go-w '{}'", place.display());
            assert!(said.contains(&advice), "{arguments:?}: {said}");
        }
        fs::set_permissions(place, usual).unwrap();
    }
    assert!(app.command(&["audit", "verify"]).status.success());
}
