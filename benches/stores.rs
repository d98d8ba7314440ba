//! The data folder and the shared database side by side, and how both grow with the accounts.
//!
//! One installation is filled with accounts, up to a number, then to ten times as many, and so on.
//! Of each size one copy stays in a data folder (SQLite) and one is moved into PostgreSQL, by
//! `countersign migrate`. Both are served by the program itself, and asked in turns:
//!
//! - *start*: until the program says that it is ready;
//! - *codes*: of one account, from memory, and of up to a thousand in turn, of which the first
//!   reading in each time step is an entry of the audit log;
//! - *list*: the first page of 200, and a search that finds one;
//! - *enrollments*: `POST /api/accounts`, 50 in flight, from the URI to the stored account, without
//!   and with an `Idempotency-Key`, for which the ledger is asked what was started before;
//! - *memory* at the end.
//!
//! ```text
//! cargo bench --bench stores -- [--largest 100000] [--turns 3]
//! ```
//!
//! PostgreSQL is started from the programs that are installed, with its usual durability. Client,
//! both servers and PostgreSQL share the cores. It never fails on time, only when an answer is
//! wrong.

#![allow(clippy::print_stdout, clippy::expect_used)]

#[path = "support/asking.rs"]
mod asking;

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use asking::{ask, middle, rate, resident, share};
use countersign_activities::vault::{EmbeddedVault, SecretVault as _};
use countersign_database::testing::{Postgres, Setup};
use countersign_enrollment::ids::EnrollmentId;
use countersign_enrollment::otpauth;
use futures_util::{StreamExt as _, stream};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const ADMIN: &str = "administrators-token-of-the-benchmark";
/// The smallest number of accounts.
const SMALLEST: usize = 100;
const LARGEST: usize = 100_000;
/// Accounts whose codes are requested in turn, at most.
const MANY: usize = 1_000;
/// How long each side is asked in a turn.
const TURN: Duration = Duration::from_secs(2);
const TURNS: usize = 3;
/// In each turn.
const ENROLLMENTS: usize = 100;
const IN_FLIGHT: usize = 50;
/// How often a list is asked for in a turn.
const LISTS: usize = 20;
/// The row-by-row copying of files takes long on a disk: accounts are made in memory, if there is a
/// folder in it.
const MEMORY: &str = "/dev/shm";

/// A server of one kind, and what it was measured at.
struct Side {
    name: &'static str,
    server: Child,
    address: SocketAddr,
    reader: String,
    start: f64,
    one: Vec<f64>,
    many: Vec<f64>,
    page: Vec<f64>,
    search: Vec<f64>,
    enrollments: Vec<f64>,
    with_key: Vec<f64>,
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, usual: usize| {
        let at = arguments.iter().position(|argument| argument == name);
        let text = at.and_then(|at| arguments.get(at + 1));
        text.map_or(usual, |text| text.parse().expect("a number"))
    };
    let (largest, turns) = (number("--largest", LARGEST), number("--turns", TURNS));
    let durable = Setup {
        durable: true,
        ..Setup::default()
    };
    let Some(postgres) = Postgres::start(durable) else {
        return;
    };
    let quick = Path::new(MEMORY);
    let source = match quick.is_dir() {
        true => tempfile::tempdir_in(quick),
        false => tempfile::tempdir(),
    };
    let source = source.expect("a folder");
    let data = source.path().join("data");
    // Makes the keys and databases of an installation.
    let (mut first, _, _) = serve(&data, None).await;
    stop(&mut first).await;
    let mut ids = Vec::new();
    let mut size = SMALLEST;
    while size <= largest {
        fill(&data, &mut ids, size).await;
        measure(&postgres, &data, &ids, turns).await;
        size *= 10;
    }
}

/// Fills the vault of an installation that is not running up to `size` accounts.
async fn fill(data: &Path, ids: &mut Vec<EnrollmentId>, size: usize) {
    let vault = EmbeddedVault::open(data).expect("a vault");
    for number in ids.len()..size {
        let secret = data_encoding::BASE32_NOPAD.encode(&rand::random::<[u8; 20]>());
        let uri = format!("otpauth://totp/account-{number}?secret={secret}&issuer=Bench");
        let account = otpauth::parse(&uri).expect("an account").account;
        let id = EnrollmentId::random();
        vault.store(&id, &account).await.expect("it is stored");
        ids.push(id);
    }
}

async fn measure(postgres: &Postgres, data: &Path, ids: &[EnrollmentId], turns: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let (here, there) = (folder.path().join("sqlite"), folder.path().join("postgres"));
    copy(data, &here);
    copy(data, &there);
    let name = tokio::task::block_in_place(|| postgres.make());
    let url = format!(
        "postgresql://countersign@127.0.0.1:{}/{name}",
        postgres.port()
    );
    let begun = Instant::now();
    let moved = program(&there, Some(&url))
        .args(["migrate", "to-database"])
        .output();
    let moved = moved.await.expect("it runs");
    assert!(moved.status.success(), "{moved:?}");
    println!(
        "{} accounts: moved into the database and compared in {:.1} s",
        ids.len(),
        begun.elapsed().as_secs_f64()
    );
    let mut sides = [
        Side::start("SQLite", &here, None).await,
        Side::start("PostgreSQL", &there, Some(&url)).await,
    ];
    let some: Vec<String> = ids.iter().take(MANY).map(ToString::to_string).collect();
    for side in &sides {
        // Read once, so that they come from memory from then on.
        rate(side.address, &side.requests(&some), TURN / 4).await;
    }
    for _ in 0..turns {
        for side in &mut sides {
            let one = side.requests(&some[..1]);
            side.one.push(rate(side.address, &one, TURN).await);
            let many = side.requests(&some);
            side.many.push(rate(side.address, &many, TURN).await);
            let page = side.lists("limit=200").await;
            side.page.extend(page);
            let search = side.lists("search=account-42").await;
            side.search.extend(search);
            let enrolled = side.enroll(false).await;
            side.enrollments.extend(enrolled);
            let enrolled = side.enroll(true).await;
            side.with_key.extend(enrolled);
        }
    }
    report(ids.len(), &mut sides);
    for side in &mut sides {
        stop(&mut side.server).await;
    }
}

impl Side {
    async fn start(name: &'static str, data: &Path, database: Option<&str>) -> Self {
        let (server, address, start) = serve(data, database).await;
        let made = Client::new()
            .post(format!("http://{address}/api/keys"))
            .bearer_auth(ADMIN)
            .json(&json!({"name": "bench", "role": "reader"}))
            .send();
        let made: Value = made.await.expect("an answer").json().await.expect("JSON");
        Self {
            name,
            server,
            address,
            reader: made["key"].as_str().expect("a key").to_owned(),
            start,
            one: Vec::new(),
            many: Vec::new(),
            page: Vec::new(),
            search: Vec::new(),
            enrollments: Vec::new(),
            with_key: Vec::new(),
        }
    }

    /// What asks for the codes of these accounts.
    fn requests(&self, ids: &[String]) -> Vec<String> {
        let ask = |id: &String| self.get(&format!("/api/tokens?id={id}"));
        ids.iter().map(ask).collect()
    }

    fn get(&self, path: &str) -> String {
        format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
            self.address, self.reader
        )
    }

    /// How long each of some lists takes, in milliseconds.
    async fn lists(&self, query: &str) -> Vec<f64> {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        let request = self.get(&format!("/api/accounts?{query}"));
        let (mut buffer, mut times) = (Vec::new(), Vec::new());
        for _ in 0..LISTS {
            let begun = Instant::now();
            ask(&mut stream, &request, &mut buffer).await;
            times.push(begun.elapsed().as_secs_f64() * 1_000.0);
        }
        times
    }

    /// How long each of some enrollments takes, in milliseconds.
    async fn enroll(&self, with_key: bool) -> Vec<f64> {
        let client = Client::new();
        stream::iter(0..ENROLLMENTS)
            .map(async |_| {
                let secret = data_encoding::BASE32_NOPAD.encode(&rand::random::<[u8; 20]>());
                let uri = format!("otpauth://totp/new?secret={secret}&issuer=Bench");
                let mut made = client
                    .post(format!("http://{}/api/accounts", self.address))
                    .bearer_auth(ADMIN)
                    .json(&json!({ "uri": uri }));
                if with_key {
                    made = made.header("idempotency-key", secret);
                }
                let begun = Instant::now();
                let made = made.send().await.expect("an answer");
                assert_eq!(made.status(), 201, "an account");
                begun.elapsed().as_secs_f64() * 1_000.0
            })
            .buffer_unordered(IN_FLIGHT)
            .collect()
            .await
    }
}

fn report(accounts: usize, sides: &mut [Side; 2]) {
    println!(
        "| Accounts | Store | Start, ms | Codes of one, 1/s | Codes of many, 1/s | Page, ms | Search, ms \
         | Enrollment p50, ms | p99, ms | with a key p50, ms | Memory, MiB |"
    );
    let mut rates = Vec::new();
    for side in sides.iter_mut() {
        let (one, many) = (middle(&mut side.one), middle(&mut side.many));
        rates.push((one, many));
        let memory = side.server.id().map_or(0, |id| resident(&id.to_string()));
        println!(
            "| {accounts} | {} | {:.0} | {one:.0} | {many:.0} | {:.2} | {:.2} | {:.0} | {:.0} | {:.0} \
             | {memory} |",
            side.name,
            side.start,
            middle(&mut side.page),
            middle(&mut side.search),
            middle(&mut side.enrollments),
            share(&mut side.enrollments, 0.99),
            middle(&mut side.with_key),
        );
    }
    if let [(one, many), (other_one, other_many)] = rates.as_slice() {
        println!(
            "{accounts} accounts: PostgreSQL gives {:.2} of SQLite's codes of one account, {:.2} of \
             many",
            other_one / one,
            other_many / many
        );
    }
}

/// The program on a data folder, with no settings but these.
fn program(data: &Path, database: Option<&str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.env_clear().env("COUNTERSIGN_DATA_DIR", data);
    command.env("COUNTERSIGN_ADMIN_TOKEN", ADMIN);
    if let Some(database) = database {
        command.env("COUNTERSIGN_DATABASE_URL", database);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Starts a server: where it listens, and after how many milliseconds.
async fn serve(data: &Path, database: Option<&str>) -> (Child, SocketAddr, f64) {
    let begun = Instant::now();
    let mut server = program(data, database)
        .args(["serve", "--json", "--listen", "127.0.0.1:0"])
        .args(["--scheduler-listen", "127.0.0.1:0", "--dashboard-listen"])
        .args(["127.0.0.1:0", "--log", "warn"])
        .args(["--rate-per-address", "none", "--rate-per-caller", "none"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(server.stdout.take().expect("its words"));
    let mut said = String::new();
    while serde_json::from_str::<Value>(&said).is_err() {
        let read = lines.read_line(&mut said).await.expect("its words");
        assert_ne!(read, 0, "it starts");
    }
    let start = begun.elapsed().as_secs_f64() * 1_000.0;
    tokio::spawn(async move { lines.read_to_end(&mut Vec::new()).await });
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let url = said["server"].as_str().expect("an address");
    let address = url.trim_start_matches("http://").parse();
    (server, address.expect("an address"), start)
}

async fn stop(server: &mut Child) {
    if let Some(id) = server.id() {
        let stopped = Command::new("kill").arg(id.to_string()).status().await;
        assert!(stopped.expect("it is sent").success());
    }
    server.wait().await.expect("it ends");
}

fn copy(from: &Path, to: &Path) {
    let mut private = std::fs::DirBuilder::new();
    private.mode(0o700).create(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("a file");
        let target: PathBuf = to.join(entry.file_name());
        match entry.file_type().expect("a kind").is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("it is copied")),
        }
    }
}
