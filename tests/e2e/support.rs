//! A Countersign server as a child process, and a caller that talks to it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::described::assert_described;
pub(crate) use crate::pictures::{png, qr_png};

/// The example of the seed project: secret `2FASTEST`, issuer `2FAS`.
pub(crate) const SEED_URI: &str = "otpauth://totp/Test%20Token?secret=2FASTEST&issuer=2FAS";

/// How long anything may take before a test gives up on it. Only a failure waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The path of the binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_countersign");

/// A data folder with, most of the time, a server running on it.
pub(crate) struct App {
    folder: TempDir,
    extra_args: Vec<String>,
    environment: Vec<(String, String)>,
    server: Option<Child>,
    runs: usize,
    base: String,
    dashboard: String,
    metrics: String,
    http: reqwest::Client,
    /// Every answer that any caller got, for those who search them.
    answers: Arc<Mutex<Vec<String>>>,
}

/// Someone who calls the API with a key of their own.
#[derive(Clone)]
pub(crate) struct Caller {
    base: String,
    token: Option<String>,
    http: reqwest::Client,
    answers: Arc<Mutex<Vec<String>>>,
}

/// What the API answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
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
        let output =
            File::create(self.folder.path().join(format!("output-{}.log", self.runs))).unwrap();
        let child = Command::new(BINARY)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args([
                "--scheduler-listen",
                "127.0.0.1:0",
                "--dashboard-listen",
                "127.0.0.1:0",
                "--metrics-listen",
                "127.0.0.1:0",
            ])
            .args(["--log", "trace"])
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(&self.extra_args)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        self.server = Some(child);
        let begun = Instant::now();
        let bound = loop {
            if let Some(bound) = fs::read(&addresses)
                .ok()
                .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
            {
                break bound;
            }
            if let Some(status) = self.server.as_mut().unwrap().try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", self.logs());
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "the server is not ready:\n{}",
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
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

    /// Waits until the server has logged something.
    pub(crate) async fn until_logged(&self, text: &str) {
        let begun = Instant::now();
        while !self.logs().contains(text) {
            assert!(
                begun.elapsed() < PATIENCE,
                "never logged: {text}\n{}",
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the server as a power cut would.
    pub(crate) fn kill(&mut self) {
        let mut server = self.server.take().expect("the server runs");
        server.kill().unwrap();
        server.wait().unwrap();
    }

    /// Asks the server to stop and waits until it has; answers its exit code.
    pub(crate) async fn stop(&mut self) -> Option<i32> {
        let mut server = self.server.take().expect("the server runs");
        let asked = Command::new("kill")
            .args(["-TERM", &server.id().to_string()])
            .status()
            .unwrap();
        assert!(asked.success());
        let begun = Instant::now();
        loop {
            if let Some(status) = server.try_wait().unwrap() {
                return status.code();
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "the server does not stop:\n{}",
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
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
        (1..=self.runs)
            .map(|run| {
                let path = self.folder.path().join(format!("output-{run}.log"));
                String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
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
        self.caller(caller.token.as_deref())
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
        let output = self.command(&["key", "create", name, "--role", role, "--json"]);
        assert!(output.status.success(), "{output:?}");
        let key: Value = serde_json::from_slice(&output.stdout).unwrap();
        self.caller(Some(key["key"].as_str().expect("the key is shown once")))
    }

    /// Runs a command of the binary on this data folder and waits for it.
    pub(crate) fn command(&self, args: &[&str]) -> std::process::Output {
        Command::new(BINARY)
            .args(args)
            .arg("--data-dir")
            .arg(self.data_dir())
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

impl Caller {
    /// Someone with this token at the front door that answers at `base`.
    pub(crate) fn at(base: &str, token: &str, http: reqwest::Client) -> Self {
        Self {
            base: base.to_owned(),
            token: Some(token.to_owned()),
            http,
            answers: Arc::default(),
        }
    }

    /// The key that it calls with.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    /// Sends a request and checks that the answer is a described one; one that is not JSON
    /// is a JSON string.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        let (http, request) = request.build_split();
        let request = request.unwrap();
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = http.execute(request).await.expect("the server answers");
        let status = response.status();
        let headers = response.headers().clone();
        let content_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let text = response.text().await.expect("the answer is complete");
        self.answers
            .lock()
            .unwrap()
            .push(format!("{headers:?}\n{text}"));
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        let answer = Answer {
            status,
            content_type,
            headers,
            body,
        };
        assert_described(&method, &path, &answer);
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub(crate) async fn post_bytes(&self, path: &str, content_type: &str, body: Vec<u8>) -> Answer {
        let request = self
            .request(Method::POST, path)
            .header(CONTENT_TYPE, content_type)
            .body(body);
        self.send(request).await
    }

    /// Starts an enrollment that is accepted; answers its id.
    pub(crate) async fn enroll(&self, uri: &str, approval: bool) -> String {
        let path = if approval {
            "/api/enrollments?approval=required"
        } else {
            "/api/enrollments"
        };
        let answer = self.post(path, &json!({ "uri": uri })).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        answer.id()
    }

    /// Decides an enrollment that waits for it.
    pub(crate) async fn decide(&self, id: &str, approved: bool, comment: &str) -> Answer {
        self.post(
            &format!("/api/enrollments/{id}/approval"),
            &json!({ "approved": approved, "comment": comment }),
        )
        .await
    }

    /// Follows an enrollment until it has ended.
    pub(crate) async fn ended(&self, id: &str) -> Answer {
        self.until(id, |answer| answer.status == StatusCode::OK)
            .await
    }

    /// Follows an import until it has ended.
    pub(crate) async fn import_ended(&self, id: &str) -> Answer {
        let begun = Instant::now();
        loop {
            let answer = self.get(&format!("/api/imports/{id}?wait=5")).await;
            if answer.status == StatusCode::OK {
                return answer;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end: {answer:?}");
        }
    }

    /// Waits until the audit log tells that a worker stored an account; for administrators.
    pub(crate) async fn until_stored(&self, account: &str) {
        let begun = Instant::now();
        let query = format!("/api/audit?caller=worker&action=store&subject={account}");
        loop {
            let page = self.get(&query).await;
            if page.body["entries"][0].is_object() {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "it is not recorded: {page:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Follows an enrollment until it is at a stage.
    pub(crate) async fn until_stage(&self, id: &str, stage: &str) -> Answer {
        self.until(id, |answer| answer.body["stage"] == stage).await
    }

    async fn until(&self, id: &str, reached: impl Fn(&Answer) -> bool) -> Answer {
        let begun = Instant::now();
        let mut wait = 0;
        loop {
            let answer = self
                .get(&format!("/api/enrollments/{id}?wait={wait}"))
                .await;
            if reached(&answer) {
                return answer;
            }
            assert!(
                answer.status == StatusCode::ACCEPTED && begun.elapsed() < PATIENCE,
                "the enrollment does not get there: {answer:?}"
            );
            wait = 1;
        }
    }
}

impl Answer {
    /// The id in an accepted start.
    pub(crate) fn id(&self) -> String {
        self.body["id"].as_str().expect("an id").to_owned()
    }

    /// Asserts that this is a problem of a kind, told in the standard form (RFC 9457).
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.content_type, "application/problem+json", "{self:?}");
        assert_eq!(self.body["code"], code, "{self:?}");
        assert_eq!(self.body["status"], status, "{self:?}");
        let kind = self.body["type"].as_str().unwrap_or_default();
        assert!(kind.ends_with(code), "the type names the code: {self:?}");
        for member in ["title", "detail"] {
            assert!(
                self.body[member]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{member} says something: {self:?}"
            );
        }
    }
}

/// Seconds since the Unix epoch.
pub(crate) fn unix_now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}
