//! A blob service made of a map: what a store needs of one, and errors on demand.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A blob as it was put.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) bytes: Bytes,
    pub(crate) encoding: Option<String>,
}

/// What the service saw of a request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) query: String,
    pub(crate) authorization: Option<String>,
}

#[derive(Default)]
struct Kept {
    containers: BTreeSet<String>,
    blobs: BTreeMap<String, Blob>,
    failures: VecDeque<(u16, &'static str)>,
    seen: Vec<Seen>,
}

/// The service, which ends when this is dropped.
pub(crate) struct Blobs {
    /// The account's address.
    pub(crate) endpoint: String,
    kept: Arc<Mutex<Kept>>,
    _stop: DropGuard,
}

impl Blobs {
    pub(crate) async fn start() -> Self {
        let kept = Arc::<Mutex<Kept>>::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/account", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&kept));
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move {
            axum::serve(listener, router)
                .with_graceful_shutdown(stopped)
                .await
        });
        Self {
            endpoint,
            kept,
            _stop: stop.drop_guard(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    /// A connection string with the account's key.
    pub(crate) fn connection_string(&self) -> String {
        format!(
            "AccountName=account;AccountKey=a2V5;BlobEndpoint={}",
            self.endpoint
        )
    }

    /// Answers the next requests by these statuses and error codes.
    pub(crate) fn fail(&self, failures: impl IntoIterator<Item = (u16, &'static str)>) {
        self.kept().failures.extend(failures);
    }

    /// Puts a blob as somebody else would. `path` is below the account.
    pub(crate) fn put(&self, path: &str, bytes: impl Into<Bytes>, encoding: Option<&str>) {
        let blob = Blob {
            bytes: bytes.into(),
            encoding: encoding.map(str::to_owned),
        };
        self.kept().blobs.insert(format!("/account/{path}"), blob);
    }

    /// The blob at `path`, which is below the account.
    pub(crate) fn blob(&self, path: &str) -> Blob {
        self.kept().blobs[&format!("/account/{path}")].clone()
    }

    /// What it was asked since the last time.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.kept().seen)
    }
}

async fn answer(State(kept): State<Arc<Mutex<Kept>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let path = parts.uri.path().replace("%2F", "/");
    let mut kept = kept.lock().unwrap();
    kept.seen.push(Seen {
        query: query.clone(),
        authorization: text(&parts.headers, "authorization"),
    });
    if let Some((status, code)) = kept.failures.pop_front() {
        return failure(status, code);
    }
    if query.contains("restype=container") {
        return match kept.containers.insert(path) {
            true => StatusCode::CREATED.into_response(),
            false => failure(409, "ContainerAlreadyExists"),
        };
    }
    if parts.method == Method::PUT {
        let container = path.rsplit_once('/').unwrap().0;
        if !kept.containers.contains(container) {
            return failure(404, "ContainerNotFound");
        }
        let blob = Blob {
            bytes: body,
            encoding: text(&parts.headers, "x-ms-blob-content-encoding"),
        };
        kept.blobs.insert(path, blob);
        return StatusCode::CREATED.into_response();
    }
    let Some(blob) = kept.blobs.get(&path) else {
        return failure(404, "BlobNotFound");
    };
    let mut headers = HeaderMap::new();
    let last = blob.bytes.len().saturating_sub(1);
    let range = format!("bytes 0-{last}/{}", blob.bytes.len());
    headers.insert(header::CONTENT_RANGE, HeaderValue::try_from(range).unwrap());
    headers.insert(header::ETAG, HeaderValue::from_static("\"1\""));
    if let Some(encoding) = &blob.encoding {
        let encoding = HeaderValue::try_from(encoding).unwrap();
        headers.insert(header::CONTENT_ENCODING, encoding);
    }
    (StatusCode::PARTIAL_CONTENT, headers, blob.bytes.clone()).into_response()
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().unwrap();
    Some(value.to_owned())
}

fn failure(status: u16, code: &'static str) -> Response {
    let headers = [
        ("x-ms-error-code", code),
        ("content-type", "application/xml"),
    ];
    let body =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>");
    (StatusCode::from_u16(status).unwrap(), headers, body).into_response()
}
