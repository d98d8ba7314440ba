//! A whole server in this process, with keys of every kind.

use std::sync::Arc;
use std::time::Duration;

use countersign::access::{Grant, Grantee, KeyStore, NewKey, Role};
use countersign::app::{Parts, Running};
use countersign::clock::{Clock, SystemClock};
use countersign::config::Config;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{Door, PATIENCE, SEED_URI};

/// An account that there is not.
pub(crate) const NOWHERE: &str = "totp-00000000-0000-4000-8000-000000000000";

pub(crate) struct Server {
    running: Running,
    pub(crate) base: String,
    pub(crate) admin: String,
    pub(crate) folder: tempfile::TempDir,
    door: Door,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_on(Arc::new(SystemClock), change).await
    }

    /// A server whose front door has another clock.
    pub(crate) async fn start_on(clock: Arc<dyn Clock>, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::embedded(&folder.path().join("data"));
        change(&mut config);
        let running = Running::start_parts(config, Parts::Everything, clock)
            .await
            .unwrap();
        let base = running.server_url().unwrap();
        let admin = running.admin_token.as_ref().unwrap().to_string();
        Self {
            door: Door::at(&base, &admin),
            base,
            admin,
            running,
            folder,
        }
    }

    pub(crate) fn keys(&self) -> KeyStore {
        KeyStore::open(&self.folder.path().join("data/access.sqlite3")).unwrap()
    }

    pub(crate) fn key(&self, name: &str, role: Role) -> String {
        let new = NewKey::new(name, role);
        let (_, key) = self.keys().create(new, chrono::Utc::now()).unwrap();
        key.to_string()
    }

    /// A reader of granted accounts, in a group.
    pub(crate) fn granted_reader(&self, name: &str, group: &str) -> String {
        let new = NewKey {
            granted_only: true,
            groups: vec![group.parse().unwrap()],
            ..NewKey::new(name, Role::Reader)
        };
        let (_, key) = self.keys().create(new, chrono::Utc::now()).unwrap();
        key.to_string()
    }

    /// Subject, outcome and reason of the audit log's entries for a query.
    pub(crate) async fn told(&self, query: &str) -> Vec<Value> {
        let path = format!("/api/audit?{query}");
        let request = self.request(Method::GET, &path).bearer_auth(&self.admin);
        let page: Value = request.send().await.unwrap().json().await.unwrap();
        let entries = page["entries"].as_array().unwrap();
        entries
            .iter()
            .map(|entry| json!([entry["subject"], entry["outcome"], entry["reason"]]))
            .collect()
    }

    pub(crate) fn grant(&self, to: Grantee, account: &str) {
        let grant = Grant {
            to,
            account: account.to_owned(),
            until: None,
            reads: None,
        };
        self.keys().grant(&grant).unwrap();
    }

    /// Enrolls an account and answers its id.
    pub(crate) async fn account(&self) -> String {
        let request = self.request(Method::POST, "/api/accounts");
        let request = request
            .bearer_auth(&self.admin)
            .json(&json!({"uri": SEED_URI}));
        let created: Value = request.send().await.unwrap().json().await.unwrap();
        let id = created["secretName"].as_str();
        id.unwrap_or_else(|| panic!("{created}")).to_owned()
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.door.request(method, path)
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Response {
        self.door.get(path, token).await
    }

    /// Asks for a session as the own page does, with this in the body.
    pub(crate) fn session(&self, body: &Value) -> RequestBuilder {
        let request = self.request(Method::POST, "/api/session");
        request.header("sec-fetch-site", "same-origin").json(body)
    }

    /// Logs a browser in and answers its cookie, as browsers send it.
    pub(crate) async fn log_in(&self, key: &str) -> String {
        let request = self.session(&json!({})).bearer_auth(key);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        cookie(&response)
    }

    pub(crate) async fn status(&self, method: Method, path: &str, key: &str) -> StatusCode {
        let mut request = self.request(method.clone(), path).bearer_auth(key);
        if method == Method::POST {
            request = request.json(&json!({"uri": SEED_URI}));
        }
        request.send().await.unwrap().status()
    }

    /// Another process on the same folder, after this one.
    pub(crate) async fn restart(self) -> Self {
        self.running.stop().await.unwrap();
        let config = Config::embedded(&self.folder.path().join("data"));
        let begun = std::time::Instant::now();
        // The former one's database is closed a moment after its last task.
        let running = loop {
            match Running::start(config.clone()).await {
                Ok(running) => break running,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let base = running.server_url().unwrap();
        Self {
            door: Door::at(&base, &self.admin),
            base,
            running,
            ..self
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.running.http_addr.unwrap()
    }

    pub(crate) async fn stop(self) {
        self.running.stop().await.unwrap();
    }
}

/// Every cookie that an answer sets or takes away.
pub(crate) fn cookies(response: &Response) -> Vec<String> {
    let set = response.headers().get_all("set-cookie").iter();
    set.map(|value| value.to_str().unwrap().to_owned())
        .collect()
}

/// The one cookie that an answer sets, as browsers send it.
pub(crate) fn cookie(response: &Response) -> String {
    let set = cookies(response);
    let set: Vec<&String> = set
        .iter()
        .filter(|cookie| !cookie.contains("Max-Age=0"))
        .collect();
    assert_eq!(set.len(), 1, "{set:?}");
    set[0].split(';').next().unwrap().to_owned()
}

pub(crate) async fn problem(response: Response) -> Value {
    let kind = response.headers()["content-type"].to_str().unwrap();
    assert_eq!(kind, "application/problem+json");
    response.json().await.unwrap()
}
