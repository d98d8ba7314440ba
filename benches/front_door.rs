//! The front door under load, through real sockets.
//!
//! - *codes*: `GET /api/tokens` with an API key, over kept connections, beside an axum
//!   handler that answers a constant of the same length; in turns, and the ratio. Asked by
//!   `wrk` where that is installed, and else, or too, by a client in this process. Then the
//!   same over a thousand accounts, of which the first reading in each time step is an
//!   entry of the audit log, and with a key that reads only what was granted to it.
//! - *enrollments*: N of `POST /api/accounts`, each from the URI to the stored account, 50
//!   in flight: the times that half and 99 of 100 take, and the memory.
//! - *slow*: N connections that never finish their headers, and what they cost someone who
//!   asks for codes in the meantime.
//!
//! ```text
//! cargo bench --bench front_door -- [codes] [enrollments] [slow] [--scale 1.0]
//! ```
//!
//! Without a name all three run. Client and server share the cores, for both sides of the
//! ratio. It never fails on time, only when an answer is wrong.

#![allow(clippy::print_stdout, clippy::expect_used)]

#[path = "support/asking.rs"]
mod asking;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::{Duration, Instant};

use asking::{CONNECTIONS, ask, middle, rate, resident, share};
use axum::routing::get;
use axum::{Json, Router};
use chrono::Utc;
use countersign::access::{Grant, Grantee, KeyStore, NewKey, Role};
use countersign::app::Running;
use countersign::config::Config;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::process::Command;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long each side is asked in a turn.
const TURN: Duration = Duration::from_secs(3);
const TURNS: usize = 3;
/// Accounts whose codes are requested in turn.
const MANY: usize = 1_000;
const ENROLLMENTS: f64 = 1_000.0;
const IN_FLIGHT: usize = 50;
const SLOW: f64 = 10_000.0;
/// The argument of the process that has the slow connections, so that neither side runs out
/// of file descriptors.
const BE_SLOW: &str = "be-slow";
/// What it says once it has them.
const READY: &str = "ready";
/// How many slow connections come from one address.
const SLOW_FROM_ONE: usize = 500;

#[tokio::main]
async fn main() {
    countersign::hardening::harden();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [name, address, number] = arguments.as_slice()
        && name == BE_SLOW
    {
        return be_slow(address, number).await;
    }
    let scale = arguments
        .iter()
        .position(|argument| argument == "--scale")
        .and_then(|at| arguments.get(at + 1))
        .map_or(1.0, |text| text.parse().expect("--scale takes a number"));
    let names = ["codes", "enrollments", "slow"];
    let named = |name: &str| arguments.iter().any(|argument| argument == name);
    let all = !names.iter().any(|name| named(name));
    let door = Door::open().await;
    if all || named("codes") {
        codes(&door).await;
    }
    if all || named("enrollments") {
        enrollments(&door, scaled(ENROLLMENTS, scale)).await;
    }
    if all || named("slow") {
        slow(&door, scaled(SLOW, scale)).await;
    }
    door.running.stop().await.expect("it stops");
}

fn scaled(number: f64, scale: f64) -> usize {
    (number * scale).max(1.0) as usize
}

/// A whole server without bounds on rates.
struct Door {
    running: Running,
    address: SocketAddr,
    /// The account that is requested, and the keys that ask.
    account: String,
    reader: String,
    granted: String,
    _folder: tempfile::TempDir,
}

impl Door {
    async fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::embedded(&folder.path().join("data"));
        // As in production: spans are made for log lines, of which none appear.
        config.log.filter = "info,countersign_activities=warn,durabletask_scheduler=warn".into();
        countersign::telemetry::init(&config.log);
        config.limits.rate_per_address = None;
        config.limits.rate_per_caller = None;
        config.limits.connections = 100_000;
        config.limits.header_timeout = Duration::from_secs(3_600);
        let running = Running::start(config).await.expect("it starts");
        let address = running.http_addr.expect("a front door");
        let keys = KeyStore::open(&folder.path().join("data/access.sqlite3"));
        let keys = keys.expect("the keys are there");
        let key = |new: NewKey| {
            let (_, key) = keys.create(new, Utc::now()).expect("a key");
            key.to_string()
        };
        let reader = key(NewKey::new("load", Role::Reader));
        let granted = key(NewKey {
            granted_only: true,
            ..NewKey::new("granted", Role::Reader)
        });
        let mut door = Self {
            running,
            address,
            account: String::new(),
            reader,
            granted,
            _folder: folder,
        };
        door.account = door.enroll(&reqwest::Client::new()).await;
        keys.grant(&Grant {
            to: Grantee::Caller("granted".to_owned()),
            account: door.account.clone(),
            until: None,
            reads: None,
        })
        .expect("a grant");
        door
    }

    /// What asks for the code of an account with a key.
    fn request(&self, account: &str, key: &str) -> String {
        format!(
            "GET /api/tokens?id={account} HTTP/1.1\r\nHost: {}\r\n\
             Authorization: Bearer {key}\r\n\r\n",
            self.address
        )
    }

    /// Enrolls an account and answers its id.
    async fn enroll(&self, client: &reqwest::Client) -> String {
        let token = self.running.admin_token.as_ref().expect("a token");
        // Accounts of people differ.
        let secret = data_encoding::BASE32.encode(&rand::random::<[u8; 20]>());
        let uri = format!("otpauth://totp/load?secret={secret}&issuer=Bench");
        let created = client
            .post(format!("http://{}/api/accounts", self.address))
            .bearer_auth(token.as_str())
            .json(&json!({ "uri": uri }))
            .send()
            .await
            .expect("an answer");
        assert_eq!(created.status(), 201, "an account");
        let created: Value = created.json().await.expect("JSON");
        created["secretName"].as_str().expect("an id").to_owned()
    }
}

async fn codes(door: &Door) {
    let constant = async || Json(json!({"token": "123456", "timeRemaining": 17}));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let there = listener.local_addr().expect("an address");
    let router = Router::new().route("/api/tokens", get(constant));
    let served = tokio::spawn(async move { axum::serve(listener, router).await });
    let path = |at: SocketAddr| format!("http://{at}/api/tokens?id={}", door.account);
    if wrk(&path(there), &door.reader, Duration::from_millis(500)).is_some() {
        let ask = async |at: SocketAddr| {
            let (url, key) = (path(at), door.reader.clone());
            let asked = tokio::task::spawn_blocking(move || wrk(&url, &key, TURN));
            asked.await.expect("it asks").expect("wrk answers")
        };
        compare("one account, by wrk", || ask(there), || ask(door.address)).await;
    }
    let one = [door.request(&door.account, &door.reader)];
    let granted = [door.request(&door.account, &door.granted)];
    let client = reqwest::Client::new();
    let many: Vec<String> = stream::iter(0..MANY)
        .map(async |_| door.request(&door.enroll(&client).await, &door.reader))
        .buffer_unordered(IN_FLIGHT)
        .collect()
        .await;
    for (name, requests) in [
        ("one account", one.as_slice()),
        ("one account that was granted", &granted),
        ("a thousand accounts", &many),
    ] {
        compare(
            name,
            || rate(there, requests, TURN),
            || rate(door.address, requests, TURN),
        )
        .await;
    }
    served.abort();
}

/// Asks a constant and the front door in turns.
async fn compare(name: &str, constant: impl AsyncFn() -> f64, door: impl AsyncFn() -> f64) {
    let (mut ours, mut constants) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        constants.push(constant().await);
        ours.push(door().await);
    }
    let (ours, constant) = (middle(&mut ours), middle(&mut constants));
    println!(
        "codes: {name}: {ours:.0} a second, a constant {constant:.0} a second, ratio {:.2}",
        ours / constant
    );
}

/// Requests a second as `wrk` counts them; none where that is not installed.
fn wrk(url: &str, key: &str, time: Duration) -> Option<f64> {
    let output = std::process::Command::new("wrk")
        .args(["--threads", "1", "--connections"])
        .arg(CONNECTIONS.to_string())
        .args(["--duration", &format!("{}s", time.as_secs().max(1))])
        .args(["--header", &format!("Authorization: Bearer {key}"), url])
        .output()
        .ok()?;
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(!told.contains("Non-2xx"), "{told}");
    let line = told
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"));
    line?.trim().parse().ok()
}

async fn enrollments(door: &Door, number: usize) {
    let client = reqwest::Client::new();
    let before = resident("self");
    let begun = Instant::now();
    let mut times: Vec<f64> = stream::iter(0..number)
        .map(async |_| {
            let begun = Instant::now();
            door.enroll(&client).await;
            begun.elapsed().as_secs_f64() * 1_000.0
        })
        .buffer_unordered(IN_FLIGHT)
        .collect()
        .await;
    let all = begun.elapsed().as_secs_f64();
    let (half, most) = (middle(&mut times), share(&mut times, 0.99));
    println!(
        "enrollments: {number} in {all:.1} s, {IN_FLIGHT} in flight, p50 {half:.0} ms, \
         p99 {most:.0} ms, memory {before} -> {} MiB",
        resident("self")
    );
}

async fn slow(door: &Door, number: usize) {
    let (before, before_most) = latency(door).await;
    let mut slow = Command::new(std::env::current_exe().expect("this program"))
        .args([BE_SLOW, &door.address.to_string(), &number.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("another process");
    let told = BufReader::new(slow.stdout.take().expect("its words"));
    let told = told.lines().next_line().await.expect("it tells something");
    assert_eq!(told.as_deref(), Some(READY), "it has its connections");
    let (during, during_most) = latency(door).await;
    println!(
        "slow: {number} connections, codes p50 {before:.2} -> {during:.2} ms, \
         p99 {before_most:.2} -> {during_most:.2} ms, memory {} MiB",
        resident("self")
    );
}

/// Has slow connections until standard input ends.
async fn be_slow(address: &str, number: &str) {
    let address: SocketAddr = address.parse().expect("an address");
    let number: usize = number.parse().expect("a number");
    let mut slow = Vec::with_capacity(number);
    for at in 0..number {
        let from = Ipv4Addr::new(127, 1, 0, 1 + (at / SLOW_FROM_ONE) as u8);
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("an address");
        let mut stream = socket.connect(address).await.expect("a connection");
        let begun = b"GET /healthz HTTP/1.1\r\nX-Slow: ";
        stream.write_all(begun).await.expect("it is sent");
        slow.push(stream);
    }
    println!("{READY}");
    tokio::io::stdin()
        .read_to_end(&mut Vec::new())
        .await
        .expect("it is told to end");
}

/// How long codes take that are requested one after the other, in milliseconds.
async fn latency(door: &Door) -> (f64, f64) {
    let mut stream = TcpStream::connect(door.address)
        .await
        .expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    let request = door.request(&door.account, &door.reader);
    let mut buffer = Vec::new();
    let mut times = Vec::new();
    for _ in 0..2_000 {
        let begun = Instant::now();
        ask(&mut stream, &request, &mut buffer).await;
        times.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    (middle(&mut times), share(&mut times, 0.99))
}
