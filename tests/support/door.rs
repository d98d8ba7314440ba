//! A front door as its callers see it: requests and plain answers.

use std::time::{Duration, Instant};

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

/// The secret of accounts that it enrolls.
pub(crate) const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// A front door by its address, with the administrator's token.
pub(crate) struct Door {
    base: String,
    admin: String,
    http: Client,
}

impl Door {
    pub(crate) fn at(base: &str, admin: &str) -> Self {
        Self {
            base: base.to_owned(),
            admin: admin.to_owned(),
            http: Client::builder().no_proxy().build().unwrap(),
        }
    }

    /// The administrator's token.
    pub(crate) fn admin(&self) -> &str {
        &self.admin
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn get(&self, path: &str, key: &str) -> Response {
        let request = self.request(Method::GET, path).bearer_auth(key);
        request.send().await.unwrap()
    }

    pub(crate) async fn status(&self, path: &str, key: &str) -> StatusCode {
        self.get(path, key).await.status()
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        key: &str,
        body: Value,
    ) -> Response {
        let request = self.request(method, path).bearer_auth(key).json(&body);
        request.send().await.unwrap()
    }

    /// The answer, which is a good one.
    pub(crate) async fn done(&self, method: Method, path: &str, key: &str, body: Value) -> Value {
        let response = self.send(method.clone(), path, key, body).await;
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// A key of a new caller.
    pub(crate) async fn key(&self, name: &str, role: &str, granted_only: bool) -> String {
        let body = json!({"name": name, "role": role, "grantedOnly": granted_only});
        let made = self
            .done(Method::POST, "/api/keys", &self.admin, body)
            .await;
        made["key"].as_str().unwrap().to_owned()
    }

    /// A new account, by its id.
    pub(crate) async fn account(&self, name: &str) -> String {
        let uri = format!("otpauth://totp/{name}?secret={SECRET}&issuer=Tests");
        let body = json!({"uri": uri});
        let made = self
            .done(Method::POST, "/api/accounts", &self.admin, body)
            .await;
        made["secretName"].as_str().expect("an account").to_owned()
    }

    /// Waits until a path is answered with a status.
    pub(crate) async fn until(&self, path: &str, key: &str, status: u16, within: Duration) {
        let begun = Instant::now();
        loop {
            let found = self.status(path, key).await;
            if found == status {
                return;
            }
            assert!(begun.elapsed() < within, "{path}: {found}, not {status}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
