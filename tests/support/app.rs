//! A Countersign server as a process, with its data folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};

use reqwest::StatusCode;
use serde_json::Value;
use tempfile::TempDir;

use super::{Caller, PATIENCE, Process, countersign, document};

/// A data folder with, most of the time, a server running on it.
pub(crate) struct App {
    folder: TempDir,
    extra_args: Vec<String>,
    environment: Vec<(String, String)>,
    server: Option<Process>,
    runs: usize,
    base: String,
    dashboard: String,
    metrics: String,
    http: reqwest::Client,
    /// Every answer that any caller got, for those who search them.
    answers: Arc<Mutex<Vec<String>>>,
}

impl App {
    /// Starts a server on a new data folder.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a server with more arguments on a new data folder.
    pub(crate) async fn start_with(extra_args: &[&str]) -> Self {
        Self::start_under(&[], extra_args).await
    }

    /// The same with more variables in its environment.
    pub(crate) async fn start_under(environment: &[(&str, &str)], extra_args: &[&str]) -> Self {
        let mut app = Self::nowhere_under(environment, extra_args);
        app.launch().await;
        app
    }

    /// A place for a data folder that is not there yet, and no server.
    pub(crate) fn nowhere() -> Self {
        Self::nowhere_under(&[], &[])
    }

    fn nowhere_under(environment: &[(&str, &str)], extra_args: &[&str]) -> Self {
        let variables = environment.iter();
        Self {
            folder: tempfile::tempdir().unwrap(),
            extra_args: extra_args.iter().map(|&arg| arg.to_owned()).collect(),
            environment: variables
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            server: None,
            runs: 0,
            base: String::new(),
            dashboard: String::new(),
            metrics: String::new(),
            http: reqwest::Client::builder()
                .timeout(PATIENCE)
                .build()
                .unwrap(),
            answers: Arc::default(),
        }
    }

    /// Starts the server again on the same data folder.
    pub(crate) async fn launch(&mut self) {
        assert!(self.server.is_none(), "the server runs already");
        let addresses = self.data_dir().join("serve.json");
        // Left behind by a killed server; a new one writes its own.
        let _ = fs::remove_file(&addresses);
        self.runs += 1;
        let mut command = countersign(&self.data_dir(), &["serve", "--log", "trace"]);
        for listener in ["", "scheduler-", "dashboard-", "metrics-"] {
            command.args([format!("--{listener}listen"), "127.0.0.1:0".to_owned()]);
        }
        command.args(&self.extra_args);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let run = format!("run-{}", self.runs);
        let server = Process::spawn(command, self.folder.path(), &run);
        let server = self.server.insert(server);
        let bound: Value = server
            .until("it listens", || {
                serde_json::from_slice(&fs::read(&addresses).ok()?).ok()
            })
            .await;
        let address = |part: &str| {
            let address = bound[part].as_str().expect("serve.json names the address");
            format!(
                "http://{}",
                address.trim_start_matches("http://").trim_end_matches('/')
            )
        };
        self.base = address("server");
        self.dashboard = address("dashboard");
        self.metrics = address("metrics");
    }

    /// Starts the server again with other arguments.
    pub(crate) async fn launch_with(&mut self, extra_args: &[&str]) {
        self.extra_args = extra_args.iter().map(|&arg| arg.to_owned()).collect();
        self.launch().await;
    }

    /// What front door and worker tell Prometheus.
    pub(crate) async fn metrics(&self) -> String {
        let path = format!("{}/metrics", self.metrics);
        let answer = self.http.get(path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.text().await.unwrap()
    }

    /// What the scheduler tells Prometheus.
    pub(crate) async fn scheduler_metrics(&self) -> String {
        self.dashboard_page("/metrics").await
    }

    /// Where the dashboard answers.
    pub(crate) fn dashboard(&self) -> &str {
        &self.dashboard
    }

    /// The token that task hub and dashboard ask for.
    pub(crate) fn hub_token(&self) -> String {
        let token = fs::read_to_string(self.data_dir().join("hub-token")).unwrap();
        token.trim().to_owned()
    }

    /// Where the task hub answers.
    pub(crate) fn hub_endpoint(&self) -> String {
        let bound = fs::read(self.data_dir().join("serve.json")).unwrap();
        let bound: Value = serde_json::from_slice(&bound).unwrap();
        bound["scheduler"].as_str().unwrap().to_owned()
    }

    /// Waits until the server has logged something, in this run or an earlier one.
    pub(crate) async fn until_logged(&self, text: &str) {
        let logged = async || self.logs().contains(text).then_some(());
        super::until(|| format!("{text}\n{}", self.logs()), logged).await;
    }

    /// Ends the server as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.server.take().expect("the server runs").kill();
    }

    /// Asks the server to stop and waits until it has; answers its exit code.
    pub(crate) async fn stop(&mut self) -> Option<i32> {
        self.server.take().expect("the server runs").stop().await
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The folder that holds the data folder and the logs of every run.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Everything that the server has printed and logged, over all runs.
    pub(crate) fn logs(&self) -> String {
        let runs = 1..=self.runs;
        let files = runs.flat_map(|run| [format!("run-{run}.out"), format!("run-{run}.log")]);
        files
            .map(|name| {
                let bytes = fs::read(self.folder.path().join(name)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).into_owned()
            })
            .collect()
    }

    /// Every answer so far, headers and body.
    pub(crate) fn answers(&self) -> Vec<String> {
        self.answers.lock().unwrap().clone()
    }

    /// The front door's address: host and port.
    pub(crate) fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// The task hub's connection string for a holder of its token.
    pub(crate) fn hub_connection(&self) -> String {
        format!(
            "Endpoint={};TaskHub=default;Authentication=Token;TokenFile={}",
            self.hub_endpoint(),
            self.data_dir().join("hub-token").display()
        )
    }

    /// A client of the task hub, as any holder of its token can have.
    pub(crate) fn task_hub(&self) -> durabletask::Client {
        let connection = durabletask::Connection::parse(&self.hub_connection());
        durabletask::Client::new(&connection.unwrap()).unwrap()
    }

    /// The administrator's token.
    pub(crate) fn admin_token(&self) -> String {
        let token = fs::read_to_string(self.data_dir().join("admin-token")).unwrap();
        token.trim().to_owned()
    }

    /// The caller with the admin token.
    pub(crate) fn admin(&self) -> Caller {
        self.caller(Some(&self.admin_token()))
    }

    /// A caller with this token, or without any.
    pub(crate) fn caller(&self, token: Option<&str>) -> Caller {
        Caller {
            base: self.base.clone(),
            token: token.map(str::to_owned),
            http: self.http.clone(),
            answers: self.answers.clone(),
        }
    }

    /// The same caller, talking to the server that runs now.
    pub(crate) fn with_token_of(&self, caller: &Caller) -> Caller {
        self.caller(caller.token())
    }

    /// All that the dashboard tells about the default task hub and its instances.
    pub(crate) async fn dashboard_pages(&self) -> String {
        let hub = "/api/hubs/default";
        let list = self
            .dashboard_page(&format!("{hub}/instances?limit=200"))
            .await;
        let told: serde_json::Value = serde_json::from_str(&list).unwrap();
        let ids: Vec<&str> = told["instances"]
            .as_array()
            .unwrap()
            .iter()
            .map(|instance| instance["id"].as_str().unwrap())
            .collect();
        let mut paths = vec![
            "/".to_owned(),
            "/metrics".to_owned(),
            "/api/hubs".to_owned(),
            format!("{hub}/workers"),
        ];
        for id in ids {
            paths.push(format!("{hub}/instances/{id}"));
            paths.push(format!("{hub}/instances/{id}/history"));
        }
        let mut text = list;
        for path in paths {
            text.push_str(&self.dashboard_page(&path).await);
        }
        text
    }

    async fn dashboard_page(&self, path: &str) -> String {
        let url = format!("{}{path}", self.dashboard);
        let request = self.http.get(url).bearer_auth(self.hub_token());
        let response = request.send().await.unwrap();
        assert!(
            response.status().is_success(),
            "{path}: {}",
            response.status()
        );
        response.text().await.unwrap()
    }

    /// A new caller with a role, made by `countersign key create`.
    pub(crate) fn new_caller(&self, name: &str, role: &str) -> Caller {
        let create = ["key", "create", name, "--role", role, "--json"];
        let key = document(&self.command(&create));
        self.caller(Some(key["key"].as_str().expect("the key is shown once")))
    }

    /// Runs a command of the binary on this data folder and waits for it.
    pub(crate) fn command(&self, args: &[&str]) -> Output {
        countersign(&self.data_dir(), args).output().unwrap()
    }
}
