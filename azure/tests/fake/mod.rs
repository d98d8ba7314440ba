//! A small Key Vault of our own, for tests: HTTPS with a certificate of its own, the
//! challenge, versions, soft delete with its delays, paging, keys that wrap others, roles, and
//! faults on demand. It follows the REST reference for api-version 2025-07-01; it is no product of
//! Microsoft's and proves nothing about the real service.

#![allow(dead_code, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod keys;
mod roles;
mod state;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::time::Instant;

#[allow(unused_imports, reason = "each test file uses its part")]
pub(crate) use roles::Roles;
#[allow(unused_imports, reason = "each test file uses its part")]
pub(crate) use state::{Delays, Op, Vault};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) op: Op,
    pub(crate) name: String,
    pub(crate) token: Option<String>,
    pub(crate) body: Vec<u8>,
    pub(crate) at: Instant,
    pub(crate) request_id: Option<String>,
    pub(crate) user_agent: Option<String>,
}

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// An answer instead of the real one: status, code, inner code, Retry-After.
    Answer(u16, &'static str, &'static str, Option<&'static str>),
    /// The connection breaks before anything is done.
    Reset,
    /// It is done, and then the connection breaks.
    DoneThenReset,
    /// Nothing comes for so long; then the real answer.
    Stall(Duration),
    /// It is done, and nothing comes for so long.
    DoneThenStall(Duration),
    /// Not a Key Vault at all.
    Html,
}

struct Plan {
    op: Option<Op>,
    authorized: Option<bool>,
    times: usize,
    fault: Fault,
}

struct Inner {
    vault: Mutex<Vault>,
    seen: Mutex<Vec<Seen>>,
    plans: Mutex<Vec<Plan>>,
    resource: Mutex<String>,
    /// Everyone may do everything if there are none.
    roles: Mutex<Option<Roles>>,
    address: SocketAddr,
}

/// A running fake. It stops when it is dropped.
pub(crate) struct FakeKeyVault {
    inner: Arc<Inner>,
    folder: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

impl FakeKeyVault {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the certificate");
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = tcp.local_addr().expect("bound");
        let listener = tls::listen(tcp, &folder.path().join("ca.pem"));
        let inner = Arc::new(Inner {
            vault: Mutex::new(Vault::default()),
            seen: Mutex::default(),
            plans: Mutex::default(),
            resource: Mutex::new("https://vault.azure.net".to_owned()),
            roles: Mutex::default(),
            address,
        });
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&inner));
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("serving");
        });
        Self {
            inner,
            folder,
            task,
        }
    }

    /// `https://localhost:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.inner.address.port())
    }

    /// The certificate to trust, in PEM form.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The audience of the challenge.
    pub(crate) fn ask_for(&self, resource: &str) {
        *self.inner.resource.lock().unwrap() = resource.to_owned();
    }

    /// From now on identities may do what these roles say, and nothing else.
    pub(crate) fn enforce(&self, roles: Roles) {
        *self.inner.roles.lock().unwrap() = Some(roles);
    }

    /// Looks at or changes what is kept.
    pub(crate) fn vault<T>(&self, look: impl FnOnce(&mut Vault) -> T) -> T {
        look(&mut self.inner.vault.lock().unwrap())
    }

    /// The next `times` requests of this kind go wrong; the first one of a client is
    /// not authorized.
    pub(crate) fn fail(&self, op: Op, times: usize, fault: Fault) {
        self.plan(Some(op), Some(true), times, fault);
    }

    pub(crate) fn fail_any(&self, times: usize, fault: Fault) {
        self.plan(None, None, times, fault);
    }

    pub(crate) fn plan(
        &self,
        op: Option<Op>,
        authorized: Option<bool>,
        times: usize,
        fault: Fault,
    ) {
        self.inner.plans.lock().unwrap().push(Plan {
            op,
            authorized,
            times,
            fault,
        });
    }

    /// Ends all faults.
    pub(crate) fn heal(&self) {
        self.inner.plans.lock().unwrap().clear();
    }

    /// Every request so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().unwrap().clone()
    }

    /// The authorized requests of a kind so far.
    pub(crate) fn count(&self, op: Op) -> usize {
        self.seen()
            .iter()
            .filter(|seen| seen.op == op && seen.token.is_some())
            .count()
    }
}

impl Drop for FakeKeyVault {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State(inner): State<Arc<Inner>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
    let token = header("authorization");
    let Some((op, name, version)) = state::route(&method, uri.path()) else {
        return problem(404, "NotFound", "", None);
    };
    let seen = Seen {
        op,
        name: name.clone(),
        token: token.clone(),
        body: body.to_vec(),
        at: Instant::now(),
        request_id: header("x-ms-client-request-id"),
        user_agent: header("user-agent"),
    };
    inner.seen.lock().unwrap().push(seen);

    let real = || {
        let query = uri.query().unwrap_or_default();
        if !query
            .split('&')
            .any(|pair| pair.starts_with("api-version="))
        {
            return problem(400, "BadParameter", "", None);
        }
        let rejected = std::mem::take(&mut inner.vault.lock().unwrap().reject_once);
        if token.is_none() || rejected {
            return challenge(&inner);
        }
        let roles = inner.roles.lock().unwrap();
        let caller = token.as_deref().unwrap_or_default();
        if roles
            .as_ref()
            .is_some_and(|roles| !roles.allow(caller, op, &name))
        {
            return problem(403, "Forbidden", "ForbiddenByRbac", None);
        }
        let base = format!("https://localhost:{}", inner.address.port());
        let mut vault = inner.vault.lock().unwrap();
        let done = vault.answer(op, &name, version.as_deref(), query, &body, &base);
        match done {
            Ok((status, value)) => json_response(status, &value),
            Err((status, code, inner)) => problem(status, code, inner, None),
        }
    };
    match take_fault(&inner, op, token.is_some()) {
        None => real(),
        Some(Fault::Answer(status, code, inner, wait)) => problem(status, code, inner, wait),
        Some(Fault::Reset) => reset(),
        Some(Fault::DoneThenReset) => {
            real();
            reset()
        }
        Some(Fault::Stall(time)) => {
            tokio::time::sleep(time).await;
            real()
        }
        Some(Fault::DoneThenStall(time)) => {
            let answer = real();
            tokio::time::sleep(time).await;
            answer
        }
        Some(Fault::Html) => (StatusCode::OK, "<html>Sign in to the hotel</html>").into_response(),
    }
}

fn take_fault(inner: &Inner, op: Op, authorized: bool) -> Option<Fault> {
    let mut plans = inner.plans.lock().unwrap();
    let plan = plans.iter_mut().find(|plan| {
        plan.times > 0
            && plan.op.is_none_or(|wanted| wanted == op)
            && plan.authorized.is_none_or(|wanted| wanted == authorized)
    })?;
    plan.times -= 1;
    Some(plan.fault.clone())
}

/// Ends the connection's task, and with it the connection, without a word.
fn reset() -> Response {
    std::panic::resume_unwind(Box::new("reset"))
}

fn challenge(inner: &Inner) -> Response {
    let resource = inner.resource.lock().unwrap().clone();
    let value = format!(
        r#"Bearer authorization="https://login.microsoftonline.com/common", resource="{resource}""#
    );
    let body = json!({"error": {"code": "Unauthorized", "message": "AKV10000"}});
    let mut response = json_response(401, &body);
    response
        .headers_mut()
        .insert("www-authenticate", value.parse().unwrap());
    response
}

fn problem(status: u16, code: &str, inner: &str, wait: Option<&str>) -> Response {
    let mut error = json!({"code": code, "message": "a message"});
    if !inner.is_empty() {
        error["innererror"] = json!({"code": inner});
    }
    let mut response = json_response(status, &json!({ "error": error }));
    if let Some(wait) = wait {
        response
            .headers_mut()
            .insert("retry-after", wait.parse().unwrap());
    }
    response
}

fn json_response(status: u16, value: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    if status == StatusCode::NO_CONTENT {
        return status.into_response();
    }
    (status, axum::Json(value)).into_response()
}
