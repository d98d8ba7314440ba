//! A whole server in this process.

use std::sync::Arc;

use countersign::access::{Grant, Grantee, KeyStore};
use countersign::app::{Parts, Running};
use countersign::clock::{Clock, SystemClock};
use countersign::config::Config;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

/// The example of the documentation.
pub(crate) const URI: &str = "otpauth://totp/Test%20Token?secret=2FASTEST&issuer=2FAS";

pub(crate) struct Server {
    running: Running,
    pub(crate) base: String,
    pub(crate) admin: String,
    pub(crate) folder: tempfile::TempDir,
    http: Client,
}

impl Server {
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
        Self {
            base: running.server_url().unwrap(),
            admin: running.admin_token.as_ref().unwrap().to_string(),
            running,
            folder,
            http: Client::builder().no_proxy().build().unwrap(),
        }
    }

    pub(crate) fn keys(&self) -> KeyStore {
        KeyStore::open(&self.folder.path().join("data/access.sqlite3")).unwrap()
    }

    pub(crate) fn grant(&self, to: Grantee, account: &str) {
        let grant = Grant {
            to,
            account: account.to_owned(),
            until: None,
            reads_left: None,
        };
        self.keys().grant(&grant).unwrap();
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

    pub(crate) async fn get(&self, path: &str, token: &str) -> Response {
        let request = self.request(Method::GET, path).bearer_auth(token);
        request.send().await.unwrap()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.running.http_addr.unwrap()
    }

    pub(crate) async fn stop(self) {
        self.running.stop().await.unwrap();
    }
}
