//! Callers of the API, whose answers are compared with its description.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::response_schema::assert_described;
use super::{PATIENCE, Process};

/// Someone who calls the API with a key of their own.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(super) base: String,
    pub(super) token: Option<String>,
    pub(super) http: reqwest::Client,
    /// Every answer that it and others got, for those who search them.
    pub(super) answers: Arc<Mutex<Vec<String>>>,
}

/// What the API answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
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

    /// Sends a request, with a body as JSON if there is one.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let request = self.request(method, path);
        match body {
            Some(body) => self.send(request.json(&body)).await,
            None => self.send(request).await,
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

    /// Waits until the audit log shows that a worker stored an account; for administrators.
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

impl Process {
    /// A caller of this front door.
    pub(crate) fn caller(&self, token: &str) -> Caller {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
        let server = self.announced("server").trim_end_matches('/');
        Caller::at(server, token, http.build().unwrap())
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
