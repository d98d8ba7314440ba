//! The processes of an installation on one data folder, or on several that share a database, and
//! their kills.

use std::fs::{self, File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use countersign_database::DatabaseUrl;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::PATIENCE;
use crate::support::relay::Relay;

/// How much of a process's log is shown when something is wrong.
const SHOWN_LOG: usize = 6_000;
/// What a front door logs with an answer that is its own fault.
const INTERNAL: &str = "code=\"internal\"";
/// Of so many kills of a process, one hits it while it starts.
const AMID_START: u64 = 4;
/// How far into its start at most. One that is ready sooner is killed all the same.
const LONGEST_START: Duration = Duration::from_millis(150);

/// The administrator's token of installations that share a database.
pub(crate) const ADMIN: &str = "administrators-token-of-chaos";
/// What an operator copies to every further machine.
const KEYS: [&str; 8] = [
    "hub-token",
    "server.key",
    "mandate.key",
    "mandate.pub",
    "fingerprint.key",
    "seal.key",
    "seal.pub",
    "vault.key",
];

/// Which process. Workers and front doors have the number of their machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Scheduler,
    Worker(usize),
    FrontDoor(usize),
}

impl Part {
    /// Those on one data folder.
    pub(crate) const ALL: [Self; 3] = [Self::Scheduler, Self::Worker(0), Self::FrontDoor(0)];
    /// Those that share a database.
    pub(crate) const SHARED: [Self; 6] = [
        Self::Scheduler,
        Self::Worker(0),
        Self::Worker(1),
        Self::FrontDoor(0),
        Self::FrontDoor(1),
        Self::FrontDoor(2),
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Worker(_) => "worker",
            Self::FrontDoor(_) => "front-door",
        }
    }

    const fn machine(self) -> usize {
        match self {
            Self::Scheduler => 0,
            Self::Worker(number) | Self::FrontDoor(number) => number,
        }
    }

    /// Tells its choices from those of the others.
    const fn number(self) -> u64 {
        match self {
            Self::Scheduler => 0,
            Self::Worker(number) => 1 + 3 * number as u64,
            Self::FrontDoor(number) => 2 + 3 * number as u64,
        }
    }

    /// The longest that it lives and that it is gone. A worker that has lost its
    /// scheduler waits about a second before it tries again, so the scheduler has to
    /// live longer than that for some work to be done.
    const fn longest(self) -> (Duration, Duration) {
        match self {
            Self::Scheduler => (Duration::from_millis(4_000), Duration::from_millis(400)),
            Self::Worker(_) | Self::FrontDoor(_) => {
                (Duration::from_millis(2_500), Duration::from_millis(250))
            }
        }
    }
}

/// A data folder, shared by three processes, and the addresses at which they are found.
pub(crate) struct Installation {
    folder: TempDir,
    hub: Relay,
    pub(crate) door: Relay,
    /// What its machines share.
    database: Option<DatabaseUrl>,
}

impl Installation {
    pub(crate) async fn new() -> Self {
        Self::with(None).await
    }

    async fn with(database: Option<DatabaseUrl>) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            hub: Relay::open().await,
            door: Relay::open().await,
            database,
        }
    }

    /// One whose machines share a database, each with the keys that the first one has made.
    pub(crate) async fn on(database: DatabaseUrl) -> Self {
        let at = Self::with(Some(database)).await;
        let scheduler = at.start(Part::Scheduler).await;
        // The front door waits for the keys that the worker makes.
        let worker = at.spawn(Part::Worker(0));
        let door = at.start(Part::FrontDoor(0)).await;
        for (part, mut child) in Part::ALL.into_iter().zip([scheduler, worker, door]) {
            at.kill(part, &mut child).await;
        }
        for machine in 1..3 {
            let folder = at.data_of(machine);
            fs::DirBuilder::new().mode(0o700).create(&folder).unwrap();
            for name in KEYS {
                fs::copy(at.data().join(name), folder.join(name)).unwrap();
            }
        }
        at
    }

    pub(crate) const fn is_shared(&self) -> bool {
        self.database.is_some()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.data_of(0)
    }

    fn data_of(&self, machine: usize) -> PathBuf {
        let name = match machine {
            0 => "data".to_owned(),
            other => format!("data-{other}"),
        };
        self.folder.path().join(name)
    }

    /// A command of the program on a machine's data folder, with no settings but its arguments
    /// and what the machines share.
    fn program(&self, machine: usize, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command
            .args(arguments)
            .arg("--data-dir")
            .arg(self.data_of(machine))
            .env_clear();
        if let Some(database) = &self.database {
            command.env("COUNTERSIGN_DATABASE_URL", database.to_string());
            command.env("COUNTERSIGN_ADMIN_TOKEN", ADMIN);
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let output = self.program(0, arguments).output().await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output
    }

    /// Makes an API key.
    pub(crate) async fn key(&self, name: &str, role: &str) -> String {
        let arguments = ["key", "create", name, "--role", role, "--json"];
        let output = self.run(&arguments).await;
        let key: Value = serde_json::from_slice(&output.stdout).unwrap();
        key["key"].as_str().unwrap().to_owned()
    }

    fn log(&self, part: Part) -> PathBuf {
        let (name, machine) = (part.name(), part.machine());
        self.folder.path().join(format!("{name}-{machine}.log"))
    }

    /// The end of what each process has logged.
    fn logs(&self) -> String {
        let shown = Part::SHARED.map(|part| {
            let bytes = fs::read(self.log(part)).unwrap_or_default();
            let whole = String::from_utf8_lossy(&bytes);
            // What no one expects, and the end.
            let internal = whole.lines().filter(|line| line.contains(INTERNAL));
            let mut text: String = internal.map(|line| format!("{line}\n")).collect();
            let shown = bytes.len().saturating_sub(SHOWN_LOG);
            text.push_str(&String::from_utf8_lossy(&bytes[shown..]));
            match text.is_empty() {
                true => text,
                false => format!("== {part:?}\n{text}\n"),
            }
        });
        shown.concat()
    }

    /// Starts a process, which may or may not get as far as to listen.
    fn spawn(&self, part: Part) -> Child {
        let log: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log(part))
            .unwrap();
        let hub = format!(
            "Endpoint={};TaskHub=default;Authentication=None",
            self.hub.url()
        );
        let arguments = [part.name(), "--json", "--log", "info"];
        let mut command = self.program(part.machine(), &arguments);
        match part {
            Part::Scheduler => {
                command.args(["--listen", "127.0.0.1:0", "--dashboard", "none"]);
            }
            Part::Worker(_) => {
                command.args(["--connection-string", &hub]);
            }
            Part::FrontDoor(_) => {
                command.args(["--connection-string", &hub]);
                command.args(["--listen", "127.0.0.1:0"]);
                // All callers are this test.
                command.args(["--rate-per-address", "none", "--rate-per-caller", "none"]);
            }
        }
        command
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the program starts")
    }

    /// Starts a process and waits until it says that it is ready. Without its database it may end
    /// instead, and is started again.
    async fn start(&self, part: Part) -> Child {
        loop {
            let mut child = self.spawn(part);
            if self.wait_for(part, &mut child).await.is_some() {
                return child;
            }
            assert!(self.is_shared(), "{part:?} ends at its start");
            child.wait().await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until a process says that it is ready; none if it ends before that.
    async fn wait_for(&self, part: Part, child: &mut Child) -> Option<()> {
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        let reading = async {
            while serde_json::from_str::<Value>(&said).is_err() {
                if lines.read_line(&mut said).await.unwrap() == 0 {
                    return false;
                }
            }
            true
        };
        let ready = tokio::time::timeout(PATIENCE, reading).await;
        let ready = ready.unwrap_or_else(|_| panic!("{part:?} is not ready"));
        if !ready {
            return None;
        }
        // The pipe is read to its end, so that the process never waits for it.
        tokio::spawn(async move { lines.read_to_end(&mut Vec::new()).await });
        let said: Value = serde_json::from_str(&said).unwrap();
        match part {
            Part::Scheduler => self.hub.lead_to(0, Some(address(&said["scheduler"]))),
            Part::FrontDoor(number) => self.door.lead_to(number, Some(address(&said["server"]))),
            Part::Worker(_) => {}
        }
        Some(())
    }

    async fn kill(&self, part: Part, child: &mut Child) {
        let ended = child.try_wait().unwrap();
        assert_eq!(ended, None, "{part:?} ended by itself");
        match part {
            Part::Scheduler => self.hub.lead_to(0, None),
            Part::FrontDoor(number) => self.door.lead_to(number, None),
            Part::Worker(_) => {}
        }
        child.kill().await.unwrap();
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.logs());
        }
    }
}

fn address(url: &Value) -> SocketAddr {
    let url = url.as_str().expect("it says where it listens");
    url.trim_start_matches("http://").parse().unwrap()
}

/// A process's lives and kills.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fate {
    pub(crate) kills: u64,
    pub(crate) during_startup: u64,
    /// The most memory that any of its lives had, in MiB; 0 where the system does not tell.
    pub(crate) memory: u64,
}

/// One process and its lives.
pub(crate) struct Lives<'a> {
    part: Part,
    installation: &'a Installation,
    random: StdRng,
    /// How many kills of all processes there have been.
    counted: &'a watch::Sender<u64>,
    child: Child,
    fate: Fate,
}

impl<'a> Lives<'a> {
    /// Starts it for the first time, kills it during that, and starts it again.
    pub(crate) async fn begin(
        installation: &'a Installation,
        part: Part,
        seed: u64,
        counted: &'a watch::Sender<u64>,
    ) -> Self {
        let mut lives = Self {
            part,
            installation,
            random: StdRng::seed_from_u64(seed ^ (part.number() + 1) << 32),
            counted,
            child: installation.spawn(part),
            fate: Fate::default(),
        };
        lives.be_killed_during_startup().await;
        lives.child = installation.start(part).await;
        lives
    }

    /// Kills it until there have been so many kills, at moments that the seed says, and
    /// starts it again each time.
    pub(crate) async fn be_killed(&mut self, kills: u64) {
        let (part, at) = (self.part, self.installation);
        let (life, gap) = part.longest();
        while self.fate.kills < kills {
            self.pause(life).await;
            self.fate.memory = self.fate.memory.max(memory(&self.child));
            at.kill(part, &mut self.child).await;
            self.killed();
            self.pause(gap).await;
            if self.fate.kills < kills && self.fate.kills.is_multiple_of(AMID_START) {
                self.child = at.spawn(part);
                self.be_killed_during_startup().await;
            }
            self.child = at.start(part).await;
        }
    }

    async fn be_killed_during_startup(&mut self) {
        self.pause(LONGEST_START).await;
        self.child.kill().await.unwrap();
        self.fate.during_startup += 1;
        self.killed();
    }

    fn killed(&mut self) {
        self.fate.kills += 1;
        self.counted.send_modify(|kills| *kills += 1);
    }

    async fn pause(&mut self, longest: Duration) {
        let longest = u64::try_from(longest.as_millis()).unwrap();
        let pause = Duration::from_millis(self.random.random_range(0..=longest));
        tokio::time::sleep(pause).await;
    }

    pub(crate) const fn part(&self) -> Part {
        self.part
    }

    /// Asks it to stop, which it does in an orderly way.
    pub(crate) async fn stop(mut self) -> Fate {
        self.fate.memory = self.fate.memory.max(memory(&self.child));
        let id = self.child.id().expect("it runs").to_string();
        let asked = Command::new("kill").args(["-TERM", &id]).status().await;
        assert!(asked.unwrap().success());
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let code = ended.expect("it stops when asked to").unwrap().code();
        assert_eq!(code, Some(0), "{:?} stops cleanly", self.part);
        self.fate
    }
}

/// The most memory that a process has had, in MiB.
fn memory(child: &Child) -> u64 {
    let status = child.id().map(|id| format!("/proc/{id}/status"));
    let text = status
        .and_then(|path| fs::read_to_string(path).ok())
        .unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) / 1024
}
