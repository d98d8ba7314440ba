//! The program's parts as processes, and a caller.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Process, SEED_URI, countersign, printed, until};

/// The administrator's token.
pub(crate) const ADMIN: &str = "an-administrator-for-tests";

/// A folder in which parts run, each with its log beside their data, and a task hub.
pub(crate) struct Installation {
    pub(crate) folder: tempfile::TempDir,
    hub: String,
    _scheduler: Process,
}

impl Installation {
    /// An installation whose scheduler runs, on a folder of its own.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("hub");
        let mut command = program("scheduler", &data);
        command.args(["--listen", "127.0.0.1:0", "--dashboard", "none"]);
        let scheduler = Process::start(command, folder.path(), "scheduler").await;
        let url = scheduler.announced("scheduler");
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
        printed(program(words, &self.data())).await
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
    pub(crate) async fn run(&self, part: &str) -> Process {
        self.run_as(self.command(part), part).await
    }

    pub(crate) async fn run_as(&self, command: Command, part: &str) -> Process {
        Process::start(command, self.folder.path(), part).await
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
    let mut command = countersign(data, &words.split(' ').collect::<Vec<_>>());
    command.arg("--json");
    command
}

/// What callers of a front door do.
impl Process {
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
        let answer = self.caller(token).call(method, path, body).await;
        (answer.status, answer.body)
    }

    /// Enrolls an account and returns its id once it is in the vault.
    pub(crate) async fn enroll(&self) -> String {
        let (status, enrolled) = self
            .call(
                Method::POST,
                "/api/accounts",
                Some(json!({ "uri": SEED_URI })),
            )
            .await;
        assert_eq!(status, StatusCode::CREATED, "{enrolled} {}", self.log());
        enrolled["secretName"].as_str().unwrap().to_owned()
    }

    /// Starts an enrollment that waits for a decision, and returns its id.
    pub(crate) async fn enroll_with_approval(&self) -> String {
        let path = "/api/enrollments?approval=required";
        let body = Some(json!({ "uri": SEED_URI }));
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
            || format!("{}", seen.lock().unwrap()),
            async || {
                let (_, state) = self.call(Method::GET, &path, None).await;
                (*seen.lock().unwrap()).clone_from(&state);
                (state["stage"] == stage).then_some(state)
            },
        )
        .await
    }
}
