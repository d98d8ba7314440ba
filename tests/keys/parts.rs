//! The program's parts as processes, and a caller.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// How long anything may take before a test gives up on it. Only a failure waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The administrator's token.
pub(crate) const ADMIN: &str = "an-administrator-for-tests";
const URI: &str = "otpauth://totp/Test%20Token?secret=2FASTEST&issuer=2FAS";

/// A folder in which parts run, each with its log beside their data, and a task hub.
pub(crate) struct Installation {
    pub(crate) folder: tempfile::TempDir,
    hub: String,
    _scheduler: Part,
}

impl Installation {
    /// An installation whose scheduler runs, on a folder of its own.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("hub");
        let mut command = program("scheduler", &data);
        command.args(["--listen", "127.0.0.1:0", "--dashboard", "none"]);
        let scheduler = Part::start(command, folder.path(), "scheduler").await;
        let url = scheduler.said["scheduler"].as_str().unwrap();
        let token = data.join("hub-token").display().to_string();
        let hub = format!("Endpoint={url};TaskHub=default;Authentication=Token;TokenFile={token}");
        Self {
            folder,
            hub,
            _scheduler: scheduler,
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Runs a command on the data folder to its end, and returns what it prints.
    pub(crate) async fn tell(&self, words: &str) -> Value {
        printed(&mut program(words, &self.data())).await
    }

    /// A key that does not count as the administrator's, since it is created on the machine.
    pub(crate) async fn approver(&self) -> String {
        let made = "key create second-pair-of-eyes --role approver";
        self.tell(made).await["key"].as_str().unwrap().to_owned()
    }

    /// The command for a worker or front door on the data folder.
    pub(crate) fn command(&self, part: &str) -> Command {
        self.command_on(part, &self.data())
    }

    /// The same on another folder.
    pub(crate) fn command_on(&self, part: &str, data: &Path) -> Command {
        let mut command = program(part, data);
        command
            .args(["--connection-string", &self.hub])
            .args(["--log", "info,countersign=debug"])
            .env("COUNTERSIGN_ADMIN_TOKEN", ADMIN);
        if part == "front-door" {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn run(&self, part: &str) -> Part {
        self.run_as(self.command(part), part).await
    }

    pub(crate) async fn run_as(&self, command: Command, part: &str) -> Part {
        Part::start(command, self.folder.path(), part).await
    }

    /// The names of the files in the data folder, but for what SQLite keeps beside databases.
    pub(crate) fn files(&self) -> BTreeSet<String> {
        files(&self.data())
    }
}

/// The names of the files in a folder, but for what SQLite keeps beside databases.
pub(crate) fn files(folder: &Path) -> BTreeSet<String> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| {
            !["-wal", "-shm", "-lock"]
                .iter()
                .any(|end| name.ends_with(end))
        })
        .collect()
}

/// The program with a command of one or more words, and no settings but those given here.
pub(crate) fn program(words: &str, data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command
        .env_clear()
        .args(words.split(' '))
        .args(["--json", "--data-dir"])
        .arg(data)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs a command to its end, and returns what it prints.
pub(crate) async fn printed(command: &mut Command) -> Value {
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A process that is ready, or that tries to get so.
pub(crate) struct Part {
    pub(crate) child: Child,
    pub(crate) said: Value,
    log: PathBuf,
}

impl Part {
    /// Starts a process and waits until it says that it is ready.
    pub(crate) async fn start(command: Command, folder: &Path, name: &str) -> Self {
        let mut part = Self::spawn(command, folder, name);
        part.ready().await;
        part
    }

    /// Starts a process, which may have to wait for another one.
    pub(crate) fn spawn(mut command: Command, folder: &Path, name: &str) -> Self {
        let log = folder.join(format!("{name}.log"));
        let child = command
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self {
            child,
            said: Value::Null,
            log,
        }
    }

    pub(crate) async fn ready(&mut self) {
        let mut lines = BufReader::new(self.child.stdout.take().unwrap());
        let mut said = String::new();
        let reading = async {
            while serde_json::from_str::<Value>(&said).is_err() {
                let read = lines.read_line(&mut said).await.unwrap();
                assert_ne!(read, 0, "it ends at its start: {}", self.log());
            }
        };
        let ready = tokio::time::timeout(PATIENCE, reading).await;
        assert!(ready.is_ok(), "it is not ready: {}", self.log());
        self.said = serde_json::from_str(&said).unwrap();
        // The pipe is read to its end, so that the process never waits for it.
        tokio::spawn(async move { lines.read_to_end(&mut Vec::new()).await });
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has logged this.
    pub(crate) async fn until_logged(&self, text: &str) {
        until(
            || async { self.log().contains(text).then_some(()) },
            || self.log(),
        )
        .await;
    }

    /// Waits for its end, which it comes to on its own.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.expect("it ends").unwrap().code()
    }

    /// Asks it to stop, and waits for that.
    pub(crate) async fn stop(&mut self) -> Option<i32> {
        let pid = self.child.id().expect("it runs").to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(asked.unwrap().success());
        self.ended().await
    }

    /// Calls a front door as the administrator.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        self.call_as(ADMIN, method, path, body).await
    }

    pub(crate) async fn call_as(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .unwrap();
        let server = self.said["server"].as_str().unwrap();
        let mut request = http
            .request(method, format!("{server}{path}"))
            .bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap_or(Value::Null))
    }

    /// Enrolls an account and returns its id once it is in the vault.
    pub(crate) async fn enroll(&self) -> String {
        let (status, enrolled) = self
            .call(Method::POST, "/api/accounts", Some(json!({ "uri": URI })))
            .await;
        assert_eq!(status, StatusCode::CREATED, "{enrolled} {}", self.log());
        enrolled["secretName"].as_str().unwrap().to_owned()
    }

    /// Starts an enrollment that waits for a decision, and returns its id.
    pub(crate) async fn enroll_with_approval(&self) -> String {
        let path = "/api/enrollments?approval=required";
        let body = Some(json!({ "uri": URI }));
        let (status, started) = self.call(Method::POST, path, body).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{started}");
        let id = started["id"].as_str().unwrap().to_owned();
        self.until_stage("enrollments", &id, "AwaitingApproval")
            .await;
        id
    }

    /// Waits until an enrollment or request is at this stage, and returns what is said of it.
    pub(crate) async fn until_stage(&self, kind: &str, id: &str, stage: &str) -> Value {
        let path = format!("/api/{kind}/{id}");
        let seen = std::sync::Mutex::new(Value::Null);
        until(
            || async {
                let (_, state) = self.call(Method::GET, &path, None).await;
                (*seen.lock().unwrap()).clone_from(&state);
                (state["stage"] == stage).then_some(state)
            },
            || format!("{}", seen.lock().unwrap()),
        )
        .await
    }
}

/// Asks again until there is an answer.
pub(crate) async fn until<T, F>(ask: impl Fn() -> F, what: impl Fn() -> String) -> T
where
    F: Future<Output = Option<T>>,
{
    let begun = std::time::Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not happen: {}", what());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
