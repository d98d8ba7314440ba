//! The layers that authenticate callers of gRPC and of the dashboard.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tonic::Status;
use tonic::service::Interceptor;

use super::{Access, login};

const BEARER: &str = "Bearer realm=\"durabletask-scheduler\"";
const BASIC: &str =
    "Basic realm=\"durabletask-scheduler: any name, the token as password\", charset=\"UTF-8\"";

/// Authenticates every gRPC call.
#[derive(Clone)]
pub(crate) struct AuthInterceptor(pub(crate) Access);

impl Interceptor for AuthInterceptor {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        let header = request.metadata().get("authorization");
        match self.0.admits(header.and_then(|value| value.to_str().ok())) {
            Ok(pass) => {
                request.extensions_mut().insert(pass);
                Ok(request)
            }
            Err(refused) => {
                self.0.refusals.note("gRPC", request.remote_addr());
                Err(Status::unauthenticated(self.0.explain(refused)))
            }
        }
    }
}

/// How HTTP requests are authenticated.
#[derive(Clone)]
pub(crate) struct Asking {
    pub(crate) access: Access,
    /// Whether browsers use HTTPS.
    pub(crate) tls: bool,
}

/// Authenticates every HTTP request. Without tickets, a browser prompts its user: any name,
/// and the token as password.
pub(crate) async fn ask(State(asking): State<Asking>, request: Request, next: Next) -> Response {
    let access = &asking.access;
    let header = request.headers().get(header::AUTHORIZATION);
    let refused = match access.admits(header.and_then(|value| value.to_str().ok())) {
        Ok(_) => return next.run(request).await,
        Err(refused) => refused,
    };
    let Some(logins) = &access.logins else {
        access.refusals.note("dashboard", None);
        let mut refusal = unauthorized(&access.explain(refused));
        let headers = refusal.headers_mut();
        headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(BASIC));
        return refusal;
    };
    // A presented token decides.
    if header.is_none()
        && login::session_of(&request, asking.tls)
            .is_some_and(|secret| logins.know(&secret, &access.known()))
    {
        return next.run(request).await;
    }
    access.refusals.note("dashboard", None);
    if wants_page(request.headers()) {
        return login::page(None, &logins.how);
    }
    unauthorized(&access.explain(refused))
}

fn unauthorized(reason: &str) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(BEARER));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let body = Json(json!({"error": reason}));
    (StatusCode::UNAUTHORIZED, headers, body).into_response()
}

/// Whether a person waits for the answer.
fn wants_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT);
    accepted
        .and_then(|kinds| kinds.to_str().ok())
        .is_some_and(|kinds| kinds.contains("text/html"))
}
