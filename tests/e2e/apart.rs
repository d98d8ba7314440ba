//! Front door, worker and scheduler as processes of their own on one data folder.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{BINARY, Caller, PATIENCE};

/// An installation in three processes, each under its own name for collectors.
pub(crate) struct Apart {
    folder: TempDir,
    scheduler: Part,
    worker: Option<Part>,
    front_door: Part,
    /// What front door and worker are started with.
    connected: Vec<String>,
    http: reqwest::Client,
}

impl Apart {
    /// Starts all three; `outward` goes to front door and worker.
    pub(crate) fn start(outward: &[&str]) -> Self {
        Self::start_with("none", outward)
    }

    /// The same with a dashboard at this address.
    pub(crate) fn start_with(dashboard: &str, outward: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let scheduler = [
            "scheduler",
            "--listen",
            "127.0.0.1:0",
            "--dashboard",
            dashboard,
        ];
        let scheduler = Part::start(&data, &scheduler);
        let url = scheduler.said["scheduler"].as_str().unwrap();
        let hub = format!("Endpoint={url};TaskHub=default;Authentication=None");
        let connected = [&["--connection-string", &hub], outward].concat();
        let worker = Part::start(&data, &[&["worker"], &connected[..]].concat());
        let listening = ["front-door", "--listen", "127.0.0.1:0"];
        let front_door = Part::start(&data, &[&listening, &connected[..]].concat());
        Self {
            folder,
            scheduler,
            worker: Some(worker),
            front_door,
            connected: connected.iter().map(|&arg| arg.to_owned()).collect(),
            http: reqwest::Client::builder()
                .timeout(PATIENCE)
                .build()
                .unwrap(),
        }
    }

    /// Where the dashboard answers.
    pub(crate) fn dashboard(&self) -> &str {
        self.scheduler.said["dashboard"].as_str().unwrap()
    }

    /// The data folder.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Ends the worker; everything else continues.
    pub(crate) async fn stop_worker(&mut self) {
        self.worker.take().expect("the worker runs").stop().await;
    }

    /// Starts the worker again, on a data folder that may be another one.
    pub(crate) fn start_worker(&mut self, data: &Path) {
        let connected = self.connected.iter().map(String::as_str);
        let args: Vec<&str> = std::iter::once("worker").chain(connected).collect();
        self.worker = Some(Part::start(data, &args));
    }

    /// The task hub's connection string for a holder of its token.
    pub(crate) fn hub(&self) -> String {
        format!(
            "Endpoint={};TaskHub=default;Authentication=Token;TokenFile={}",
            self.scheduler.said["scheduler"].as_str().unwrap(),
            self.data_dir().join("hub-token").display()
        )
    }

    /// The administrator.
    pub(crate) fn admin(&self) -> Caller {
        let token = std::fs::read_to_string(self.data_dir().join("admin-token")).unwrap();
        self.caller(token.trim())
    }

    /// A new caller with a role, made by `countersign key create`.
    pub(crate) fn new_caller(&self, name: &str, role: &str) -> Caller {
        let output = Command::new(BINARY)
            .args(["key", "create", name, "--role", role, "--json"])
            .arg("--data-dir")
            .arg(self.data_dir())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let key: Value = serde_json::from_slice(&output.stdout).unwrap();
        self.caller(key["key"].as_str().unwrap())
    }

    fn caller(&self, token: &str) -> Caller {
        let server = self.front_door.said["server"].as_str().unwrap();
        Caller::at(server.trim_end_matches('/'), token, self.http.clone())
    }

    /// What the worker has logged.
    pub(crate) fn worker_log(&self) -> String {
        text(&self.worker.as_ref().expect("the worker runs").log)
    }

    /// What the scheduler has printed.
    pub(crate) fn scheduler_said(&self) -> &Value {
        &self.scheduler.said
    }

    /// A request by the administrator.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let server = self.front_door.said["server"].as_str().unwrap();
        let token = std::fs::read_to_string(self.folder.path().join("data/admin-token")).unwrap();
        self.http
            .request(method, format!("{server}{path}"))
            .bearer_auth(token.trim())
    }

    /// Ends all three in turn, each when it has sent what it had.
    pub(crate) async fn stop(self) {
        self.front_door.stop().await;
        if let Some(worker) = self.worker {
            worker.stop().await;
        }
        self.scheduler.stop().await;
    }
}

/// One process, and what it has printed.
struct Part {
    child: Child,
    said: Value,
    log: PathBuf,
}

impl Part {
    fn start(data: &Path, args: &[&str]) -> Self {
        let log = data.with_file_name(format!("{}.log", args[0]));
        let mut child = Command::new(BINARY)
            .args(args)
            .args(["--json", "--data-dir"])
            .arg(data)
            .env("OTEL_SERVICE_NAME", args[0])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        let said = loop {
            if let Ok(said) = serde_json::from_str(&said) {
                break said;
            }
            let read = lines.read_line(&mut said).unwrap();
            assert_ne!(read, 0, "{args:?} ends at its start: {}", text(&log));
        };
        // It says nothing more, and must not wait for someone to read it.
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        Self { child, said, log }
    }

    async fn stop(mut self) {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(told.success());
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            let log = || text(&self.log);
            assert!(begun.elapsed() < PATIENCE, "it does not stop: {}", log());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        };
        assert_eq!(status.code(), Some(0), "{}", text(&self.log));
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}
