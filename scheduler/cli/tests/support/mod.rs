//! The real program as a child process.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use durabletask_proto::task_hub_sidecar_service_client::TaskHubSidecarServiceClient;
use durabletask_proto::*;
use tonic::transport::Channel;
use tonic::{Request, Status};

pub type Client = TaskHubSidecarServiceClient<Channel>;

/// Long enough for a loaded machine; only a failing test waits it out.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Numbers that look random and are the same for the same seed (splitmix64).
pub struct Random(u64);

impl Random {
    /// With the seed that this variable names, or another one each time; says which.
    pub fn seeded(variable: &str) -> Self {
        let seed = std::env::var(variable)
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(|| u64::from(std::process::id()));
        println!("{variable}={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One below this.
    pub fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(count).unwrap()).unwrap()
    }

    pub fn millis_up_to(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.next() % (most + 1))
    }
}

/// The program with an environment that says nothing.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_durabletask-scheduler"));
    for name in [
        "DTS_TASK_HUB_NAMES",
        "DTS_USE_DYNAMIC_TASK_HUBS",
        "DURABLETASK_LISTEN",
        "DURABLETASK_DASHBOARD",
        "DURABLETASK_DATA_DIR",
        "DURABLETASK_DATABASE_URL",
        "DURABLETASK_NODE_NAME",
        "DURABLETASK_PEER_LISTEN",
        "DURABLETASK_PEER_ADDRESS",
        "DURABLETASK_PEER_CERT",
        "DURABLETASK_PEER_KEY",
        "DURABLETASK_PEER_CA",
        "DURABLETASK_TOKEN_FILE",
        "DURABLETASK_JWT_KEYS",
        "DURABLETASK_JWT_ISSUER",
        "DURABLETASK_JWT_AUDIENCE",
        "DURABLETASK_TLS_CERT",
        "DURABLETASK_TLS_KEY",
        "DURABLETASK_ALLOW_REMOTE",
        "DURABLETASK_LOG",
    ] {
        command.env_remove(name);
    }
    command
}

/// Returns once a connection to it was accepted. A machine under load has been seen to drop the
/// first attempt until the system gave up on it, which takes two minutes; another one succeeds.
fn until_connected(url: &str) {
    let (_, address) = url.split_once("://").unwrap();
    let address = address.parse().unwrap();
    let begun = Instant::now();
    while let Err(problem) = TcpStream::connect_timeout(&address, Duration::from_secs(2)) {
        assert!(begun.elapsed() < PATIENCE, "connect to {url}: {problem}");
    }
}

/// Runs the program to its end.
pub fn output(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The program, set to serve a data folder, at ports chosen by the system unless the
/// arguments say where.
fn serving(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = serving_somewhere(arguments);
    command.arg("--data-dir").arg(folder);
    command
}

fn serving_somewhere(arguments: &[&str]) -> Command {
    let mut command = program();
    if !arguments.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0", "--dashboard", "127.0.0.1:0"]);
    }
    if !arguments.contains(&"--log") {
        command.args(["--log", "warn"]);
    }
    command
        .args(arguments)
        .args(["--json", "--drain", "5"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The program, set to serve a database.
fn node(url: &str, name: &str, arguments: &[&str]) -> Command {
    let mut command = serving_somewhere(arguments);
    command
        .env("DURABLETASK_DATABASE_URL", url)
        .args(["--node-name", name]);
    command
}

/// A running scheduler.
pub struct Process {
    child: Child,
    pub grpc: String,
    pub http: String,
}

impl Process {
    /// Starts it on a data folder, with ports chosen by the system, and waits until it listens.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::try_start(folder, arguments).unwrap_or_else(|problem| panic!("{problem}"))
    }

    pub fn try_start(folder: &Path, arguments: &[&str]) -> Result<Self, String> {
        Self::wait_for(serving(folder, arguments))
    }

    /// Starts it over a database, and waits until it listens.
    pub fn node(url: &str, name: &str, arguments: &[&str]) -> Self {
        Self::try_node(url, name, arguments).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// The same as one that others can call, unless the arguments say how.
    pub fn peer(url: &str, name: &str, arguments: &[&str]) -> Self {
        let mut all = arguments.to_vec();
        if !arguments.contains(&"--peer-listen") {
            all.extend(["--peer-listen", "127.0.0.1:0"]);
        }
        Self::node(url, name, &all)
    }

    pub fn try_node(url: &str, name: &str, arguments: &[&str]) -> Result<Self, String> {
        Self::wait_for(node(url, name, arguments))
    }

    /// The same with a clock that is off, as libfaketime takes it, such as `+7m`; none where that is not
    /// installed.
    pub fn node_with_clock(url: &str, name: &str, off: &str) -> Option<Self> {
        let folders = std::fs::read_dir("/usr/lib").ok()?;
        let library = folders
            .filter_map(|folder| Some(folder.ok()?.path().join("faketime/libfaketime.so.1")))
            .find(|library| library.exists())?;
        let mut command = node(url, name, &[]);
        command
            .env("LD_PRELOAD", library)
            .env("FAKETIME", off)
            // Waiting is left alone.
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Some(Self::wait_for(command).unwrap_or_else(|problem| panic!("{problem}")))
    }

    /// Starts it with a limit on the size of each file that it writes, in bytes.
    pub fn start_limited(folder: &Path, file_size: u64) -> Self {
        let serving = serving(folder, &[]);
        // A write over the limit fails, and sends a signal that is to be ignored.
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "trap '' XFSZ; exec prlimit \"--fsize=$0:\" \"$@\""])
            .arg(file_size.to_string())
            .arg(serving.get_program())
            .args(serving.get_args())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self::wait_for(shell).unwrap_or_else(|problem| panic!("{problem}"))
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn wait_for(mut command: Command) -> Result<Self, String> {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let Ok(said) = serde_json::from_str::<serde_json::Value>(&line) else {
            let mut problem = String::new();
            let mut pipe = child.stderr.take().unwrap();
            pipe.read_to_string(&mut problem).unwrap();
            child.wait().unwrap();
            return Err(problem);
        };
        let text = |name: &str| said[name].as_str().unwrap().to_owned();
        let process = Self {
            grpc: text("scheduler"),
            http: text("dashboard"),
            child,
        };
        for url in [&process.grpc, &process.http] {
            until_connected(url);
        }
        Ok(process)
    }

    pub fn client(&self) -> Client {
        let channel = Channel::from_shared(self.grpc.clone())
            .unwrap()
            .connect_timeout(Duration::from_secs(5))
            .connect_lazy();
        TaskHubSidecarServiceClient::new(channel)
    }

    /// Returns once it answers for its task hubs; how long that took.
    pub async fn until_ready(&self) -> Duration {
        let begun = Instant::now();
        while http_as(&self.http, None, "/readyz").await.0 != 200 {
            assert!(begun.elapsed() < PATIENCE, "it takes the task hubs");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        begun.elapsed()
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    /// Starts it and kills it after a time in which it may or may not have begun to listen.
    pub async fn kill_while_it_starts(folder: &Path, after: Duration) {
        let mut child = serving(folder, &[]).spawn().unwrap();
        tokio::time::sleep(after).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGKILL: no chance to clean up.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it gracefully and returns what it logged, which has to fit into a pipe.
    pub fn log(mut self) -> String {
        let mut stderr = self.child.stderr.take().unwrap();
        assert!(self.terminate().success());
        let mut log = String::new();
        stderr.read_to_string(&mut log).unwrap();
        log
    }

    /// SIGTERM, then waits for the end.
    pub fn terminate(mut self) -> ExitStatus {
        let signal = format!("kill -TERM {}", self.child.id());
        assert!(
            Command::new("sh")
                .args(["-c", &signal])
                .status()
                .unwrap()
                .success()
        );
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it ends when asked to");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn to_hub<T>(hub: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("taskhub", hub.parse().unwrap());
    request
}

pub fn new_instance(id: &str) -> CreateInstanceRequest {
    CreateInstanceRequest {
        instance_id: id.to_owned(),
        name: "Hello".to_owned(),
        ..Default::default()
    }
}

pub async fn start(client: &Client, hub: &str, id: &str) -> Result<String, Status> {
    let start = to_hub(hub, new_instance(id));
    let answer = client.clone().start_instance(start).await?;
    Ok(answer.into_inner().instance_id)
}

pub async fn exists(client: &Client, hub: &str, id: &str) -> bool {
    let get = GetInstanceRequest {
        instance_id: id.to_owned(),
        get_inputs_and_outputs: false,
    };
    let answer = client.clone().get_instance(to_hub(hub, get)).await.unwrap();
    answer.into_inner().exists
}

/// One plain HTTP request with a host of its own; returns status and text.
pub async fn http_as(base: &str, host: Option<&str>, path: &str) -> (u16, String) {
    let mut request = reqwest::Client::new().get(format!("{base}{path}"));
    if let Some(host) = host {
        request = request.header("host", host);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}
