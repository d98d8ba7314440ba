//! The two places where callers are asked.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tonic::Status;
use tonic::service::Interceptor;

use super::Access;

/// Asks each gRPC call.
#[derive(Clone)]
pub(crate) struct Doorkeeper(pub(crate) Access);

impl Interceptor for Doorkeeper {
    fn call(&mut self, request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        let header = request.metadata().get("authorization");
        match self.0.admits(header.and_then(|value| value.to_str().ok())) {
            Ok(()) => Ok(request),
            Err(refused) => Err(Status::unauthenticated(refused.to_string())),
        }
    }
}

/// Asks each HTTP request. A browser asks its user: any name, and the token as password.
pub(crate) async fn ask(State(access): State<Access>, request: Request, next: Next) -> Response {
    let header = request.headers().get(header::AUTHORIZATION);
    match access.admits(header.and_then(|value| value.to_str().ok())) {
        Ok(()) => next.run(request).await,
        Err(refused) => {
            let mut headers = HeaderMap::new();
            for challenge in [
                "Bearer realm=\"durabletask-scheduler\"",
                "Basic realm=\"durabletask-scheduler: any name, the token as password\", charset=\"UTF-8\"",
            ] {
                headers.append(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static(challenge),
                );
            }
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            let body = Json(json!({"error": refused.to_string()}));
            (StatusCode::UNAUTHORIZED, headers, body).into_response()
        }
    }
}
