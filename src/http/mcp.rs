//! `/mcp`: tools for agents by the Model Context Protocol, over streamable HTTP.
//!
//! Every message is a request of its own with its own credentials; there are no sessions
//! that someone could hijack, that could pile up or that would have to be ended. What
//! a tool does are requests to this API, inside the process, as the caller of the
//! message: they pass the same checks and limits and leave the same audit entries.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts as _, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use rmcp::model::Extensions;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::FrontDoor;
use super::edge::arrival::{self, OccupiedPlaces};
use super::edge::audited::reason_header;
use super::edge::auth::{self, Caller, Known};
use super::edge::body::{self, Expected};
use super::edge::error::ApiError;
use super::edge::observe;
use crate::mcp::{Backend, Call, Reply, ToolError, Tools};
use crate::telemetry::spans;

/// The longest answer of the API that is read, in bytes.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// The endpoint, whose tools call `api`.
pub(super) fn router(door: &Arc<FrontDoor>, api: Router) -> Router<Arc<FrontDoor>> {
    let stop = door.stop.clone();
    let tools = Tools::new(Arc::new(InProcess { api }), stop.clone());
    let service = StreamableHttpService::new(
        move || Ok(tools.clone()),
        Arc::new(NeverSessionManager::default()),
        settings(stop),
    );
    Router::new()
        .route_service("/mcp", service)
        .route_layer(middleware::from_fn_with_state(Arc::clone(door), admit))
}

fn settings(stop: CancellationToken) -> StreamableHttpServerConfig {
    StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(Expected::Json.most())
        .with_cancellation_token(stop)
        // The caller and its origin were checked by `admit`, which knows this server's name as
        // the caller sees it and that without credentials only this machine comes in.
        .disable_allowed_hosts()
}

/// Admits a message: from no other site's page except those of allowed origins, and
/// from a known caller.
async fn admit(
    State(door): State<Arc<FrontDoor>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    let origin = parts.headers.get(header::ORIGIN);
    let invited = origin.is_some_and(|origin| {
        let mut origins = door.server.cors_origins.iter();
        origins.any(|invited| invited.as_bytes() == origin.as_bytes())
    });
    if !invited && !auth::from_own_page(&parts.headers, true) {
        return Err(ApiError::CrossSite);
    }
    Caller::<Known>::from_request_parts(&mut parts, &door).await?;
    let onward = Onward::take(&mut parts);
    parts.extensions.insert(onward);
    take_anything(&mut parts.headers);
    let json = body::is_json(&parts.headers);
    let response = next.run(Request::from_parts(parts, body)).await;
    Ok(explained(response, json))
}

/// A client that accepts anything also accepts the two kinds of answers that it must name.
fn take_anything(headers: &mut HeaderMap) {
    let anything = HeaderValue::from_static("*/*");
    if headers
        .get(header::ACCEPT)
        .is_none_or(|accepted| accepted == anything)
    {
        let both = HeaderValue::from_static("application/json, text/event-stream");
        headers.insert(header::ACCEPT, both);
    }
}

/// A plain-text refusal of the protocol's library, turned into a problem;
/// `json` is whether the message said that it is JSON.
fn explained(response: Response, json: bool) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || body::is_json(response.headers()) {
        return response;
    }
    let no_message = || ApiError::InvalidJson {
        detail: "It is not a message of the Model Context Protocol that is accepted here."
            .to_owned(),
    };
    let error = match status {
        StatusCode::METHOD_NOT_ALLOWED => ApiError::MethodNotAllowed,
        StatusCode::NOT_ACCEPTABLE => ApiError::NotAcceptable,
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::BodyTooLarge(Expected::Json),
        StatusCode::UNSUPPORTED_MEDIA_TYPE if !json => {
            ApiError::UnsupportedMediaType(Expected::Json)
        }
        status if status.is_client_error() => no_message(),
        _ => ApiError::Internal("the protocol library failed".into()),
    };
    let mut explained = error.into_response();
    if let Some(allowed) = response.headers().get(header::ALLOW) {
        let headers = explained.headers_mut();
        headers.insert(header::ALLOW, allowed.clone());
    }
    explained
}

/// What a tool's requests inherit from the message.
#[derive(Clone)]
struct Onward {
    headers: HeaderMap,
    peer: Option<ConnectInfo<SocketAddr>>,
    /// The message counts among the caller's requests for as long as it is answered.
    _place: Option<Arc<OccupiedPlaces>>,
}

impl Onward {
    /// Removes credentials from a message, so that later handlers do not
    /// have them, and copies what identifies its origin.
    fn take(parts: &mut Parts) -> Self {
        let mut headers = HeaderMap::new();
        headers.extend(auth::key_in_query(parts));
        // A key may be in the query.
        if let Ok(path) = parts.uri.path().parse::<Uri>() {
            parts.uri = path;
        }
        for name in auth::CREDENTIALS {
            if let Some(value) = parts.headers.remove(&name) {
                headers.insert(name, value);
            }
        }
        for name in [
            header::HOST,
            header::ORIGIN,
            HeaderName::from_static("sec-fetch-site"),
        ] {
            if let Some(value) = parts.headers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        // One id in the log and the audit log, and one trace, for message and requests.
        if let Ok(id) = HeaderValue::from_str(&observe::current().0) {
            headers.insert(observe::REQUEST_ID, id);
        }
        headers.extend(spans::traceparent());
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Self {
            headers,
            peer: peer.copied(),
            _place: arrival::place(&parts.extensions),
        }
    }
}

/// The API of this process.
struct InProcess {
    api: Router,
}

#[async_trait]
impl Backend for InProcess {
    async fn call(&self, extensions: &Extensions, call: Call) -> Result<Reply, ToolError> {
        let broken = || ToolError("The server could not do that. Try again.".to_owned());
        let parts = extensions.get::<Parts>().ok_or_else(broken)?;
        let onward = parts.extensions.get::<Onward>().ok_or_else(broken)?;
        let body = match &call.body {
            Some(body) => Body::from(body.to_string()),
            None => Body::empty(),
        };
        let mut request = Request::builder()
            .method(call.method)
            .uri(call.path)
            .body(body)
            .map_err(|_| broken())?;
        *request.headers_mut() = onward.headers.clone();
        if call.body.is_some() {
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        let reason = call.reason.as_deref().and_then(reason_header);
        request.headers_mut().extend(reason);
        if let Some(peer) = onward.peer {
            request.extensions_mut().insert(peer);
        }
        let response = match self.api.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (head, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, MAX_ANSWER)
            .await
            .map_err(|_| broken())?;
        Ok(Reply {
            status: head.status,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        })
    }
}
