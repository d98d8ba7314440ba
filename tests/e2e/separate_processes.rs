//! Front door, worker and scheduler as processes of their own on one data folder.

use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Caller, PATIENCE, Process, countersign, document};

/// An installation in three processes, each under its own name for collectors.
pub(crate) struct SeparateProcesses {
    folder: TempDir,
    scheduler: Process,
    worker: Option<Process>,
    front_door: Process,
    /// What front door and worker are started with.
    connected: Vec<String>,
    http: reqwest::Client,
}

impl SeparateProcesses {
    /// Starts all three; `outward` goes to front door and worker.
    pub(crate) async fn start(outward: &[&str]) -> Self {
        Self::start_with("none", outward).await
    }

    /// The same with a dashboard at this address.
    pub(crate) async fn start_with(dashboard: &str, outward: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let scheduler = [
            "scheduler",
            "--listen",
            "127.0.0.1:0",
            "--dashboard",
            dashboard,
        ];
        let scheduler = start(&data, &scheduler).await;
        let url = scheduler.announced("scheduler");
        let hub = format!("Endpoint={url};TaskHub=default;Authentication=None");
        let connected = [&["--connection-string", &hub], outward].concat();
        let worker = start(&data, &[&["worker"], &connected[..]].concat()).await;
        let listening = ["front-door", "--listen", "127.0.0.1:0"];
        let front_door = start(&data, &[&listening, &connected[..]].concat()).await;
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
        self.scheduler.announced("dashboard")
    }

    /// The data folder.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Ends the worker; everything else continues.
    pub(crate) async fn stop_worker(&mut self) {
        let worker = self.worker.take();
        stop(worker.expect("the worker runs")).await;
    }

    /// Starts the worker again, on a data folder that may be another one.
    pub(crate) async fn start_worker(&mut self, data: &Path) {
        let connected = self.connected.iter().map(String::as_str);
        let args: Vec<&str> = std::iter::once("worker").chain(connected).collect();
        self.worker = Some(start(data, &args).await);
    }

    /// The task hub's connection string for a holder of its token.
    pub(crate) fn hub(&self) -> String {
        format!(
            "Endpoint={};TaskHub=default;Authentication=Token;TokenFile={}",
            self.scheduler.announced("scheduler"),
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
        let create = ["key", "create", name, "--role", role, "--json"];
        let created = countersign(&self.data_dir(), &create).output();
        let key = document(&created.unwrap());
        self.caller(key["key"].as_str().unwrap())
    }

    fn caller(&self, token: &str) -> Caller {
        let server = self.front_door.announced("server");
        Caller::at(server.trim_end_matches('/'), token, self.http.clone())
    }

    /// What the worker has logged.
    pub(crate) fn worker_log(&self) -> String {
        self.worker.as_ref().expect("the worker runs").log()
    }

    /// What the scheduler has printed.
    pub(crate) fn scheduler_said(&self) -> &Value {
        self.scheduler.announcement()
    }

    /// A request by the administrator.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let server = self.front_door.announced("server");
        let token = std::fs::read_to_string(self.folder.path().join("data/admin-token")).unwrap();
        self.http
            .request(method, format!("{server}{path}"))
            .bearer_auth(token.trim())
    }

    /// Ends all three in turn, each when it has sent what it had.
    pub(crate) async fn stop(self) {
        stop(self.front_door).await;
        if let Some(worker) = self.worker {
            stop(worker).await;
        }
        stop(self.scheduler).await;
    }
}

async fn start(data: &Path, args: &[&str]) -> Process {
    let mut command = countersign(data, args);
    command.arg("--json").env("OTEL_SERVICE_NAME", args[0]);
    Process::start(command, data.parent().unwrap(), args[0]).await
}

async fn stop(mut process: Process) {
    assert_eq!(process.stop().await, Some(0), "{}", process.log());
}
