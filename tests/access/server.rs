//! A whole server with keys of every kind.

use countersign::access::{KeyStore, NewKey, Role};
use countersign::app::Running;
use countersign::config::Config;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

pub(crate) const URI: &str = "otpauth://totp/Test%20Token?secret=2FASTEST&issuer=2FAS";
pub(crate) const NOWHERE: &str = "totp-00000000-0000-4000-8000-000000000000";

pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) base: String,
    pub(crate) admin: String,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) http: Client,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::embedded(&folder.path().join("data"));
        change(&mut config);
        let running = Running::start(config).await.unwrap();
        Self {
            base: format!("http://{}", running.http_addr.unwrap()),
            admin: running.admin_token.as_ref().unwrap().to_string(),
            running,
            folder,
            http: Client::builder().no_proxy().build().unwrap(),
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

    /// Subject, outcome and reason of what the audit record tells about a query.
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

    /// Enrolls an account and answers its id.
    pub(crate) async fn account(&self) -> String {
        let request = self.request(Method::POST, "/api/accounts");
        let request = request.bearer_auth(&self.admin).json(&json!({"uri": URI}));
        let created: Value = request.send().await.unwrap().json().await.unwrap();
        created["secretName"]
            .as_str()
            .expect("an account")
            .to_owned()
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn status(&self, method: Method, path: &str, key: &str) -> StatusCode {
        let mut request = self.request(method.clone(), path).bearer_auth(key);
        if method == Method::POST {
            request = request.json(&json!({"uri": URI}));
        }
        request.send().await.unwrap().status()
    }

    pub(crate) async fn stop(self) {
        self.running.stop().await.unwrap();
    }
}

pub(crate) async fn problem(response: Response) -> Value {
    let kind = response.headers()["content-type"].to_str().unwrap();
    assert_eq!(kind, "application/problem+json");
    response.json().await.unwrap()
}
