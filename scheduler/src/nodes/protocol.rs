//! What nodes say to each other besides the call itself. `docs/WIRE.md` describes it.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::http::{Response, Uri};
use durabletask_proto::completion_stream_service_server;
use http_body_util::Full;
use serde_json::json;
use tonic::body::Body;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The version of the peer protocol, on each request between nodes and on the answer to a greeting.
pub(super) const VERSION: HeaderName = HeaderName::from_static("durabletask-peer");
/// This version.
pub(super) const V1: &str = "1";
/// The id of the node that sends.
pub(super) const NODE: HeaderName = HeaderName::from_static("durabletask-peer-node");
/// On an answer: the call was refused before anything happened, so it may be repeated elsewhere.
pub(super) const REFUSED: &str = "durabletask-peer-refused";
/// What the names of all these headers begin with. Nobody else's are let through.
const PREFIX: &str = "durabletask-peer";
/// The path of the greeting, by which a node learns that a connection works and who is at its end.
pub(super) const GREETING: &str = "/durabletask.peer/hello";

/// The header by which a call names its task hub.
pub(super) const TASK_HUB: &str = "taskhub";

/// The two kinds of calls, by how their errors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// gRPC.
    Grpc {
        /// Whether the call changes nothing, so that it may be sent twice.
        repeatable: bool,
        /// Whether the caller sends messages as long as it likes.
        streams: bool,
        /// Whether the answer goes on as long as the caller likes.
        lasts: bool,
    },
    /// A request of the dashboard.
    Page {
        /// Whether the request changes nothing.
        repeatable: bool,
    },
}

/// The gRPC methods that change nothing.
const READS: &[&str] = &[
    "GetEntity",
    "GetInstance",
    "ListInstanceIds",
    "QueryEntities",
    "QueryInstances",
    "StreamInstanceHistory",
    "WaitForInstanceCompletion",
    "WaitForInstanceStart",
];

/// The method whose answers are a worker's work.
const WORK: &str = "GetWorkItems";

impl Kind {
    pub(super) fn of_grpc(uri: &Uri) -> Self {
        let (service, method) = uri.path().rsplit_once('/').unwrap_or_default();
        let streams =
            service.trim_start_matches('/') == completion_stream_service_server::SERVICE_NAME;
        Self::Grpc {
            repeatable: READS.contains(&method),
            streams,
            lasts: streams || method == WORK,
        }
    }

    /// Whether the caller sends messages as long as it likes.
    pub(super) const fn streams(self) -> bool {
        matches!(self, Self::Grpc { streams: true, .. })
    }

    /// Whether the answer goes on as long as the caller likes.
    pub(super) const fn lasts(self) -> bool {
        matches!(self, Self::Grpc { lasts: true, .. })
    }

    pub(super) const fn repeatable(self) -> bool {
        match self {
            Self::Grpc { repeatable, .. } | Self::Page { repeatable } => repeatable,
        }
    }

    pub(super) const fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc { .. })
    }

    /// An answer that the call is not served.
    pub(super) fn unavailable(self, reason: &str) -> Response<Body> {
        self.answer(unavailable(reason))
    }

    /// The answer of a node that is asked for a task hub that it does not own.
    pub(super) fn not_owned(self, hub: &str) -> Response<Body> {
        self.answer(not_owned(hub))
    }

    /// An error in the form of this kind of call.
    pub(super) fn answer(self, status: Status) -> Response<Body> {
        if self.is_grpc() {
            return status.into_http();
        }
        let code = match status.code() {
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::InvalidArgument => StatusCode::BAD_REQUEST,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let body = json!({"error": status.message()}).to_string();
        let mut response = Response::new(Body::new(Full::from(body)));
        *response.status_mut() = code;
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status.metadata().contains_key(REFUSED) {
            headers.insert(REFUSED, HeaderValue::from_static(NOT_OWNER));
        }
        response
    }
}

const NOT_OWNER: &str = "not-owner";

/// The error of a call for a task hub that this node does not own (any more), which was refused
/// before it had an effect. A node that forwarded the call, or that routes its own callers, looks
/// for the owner again and repeats the call there.
pub(crate) fn not_owned(hub: &str) -> Status {
    refused(because(
        "TASK_HUB_MOVED",
        format!("this node does not own the task hub {hub:?} any more; nothing was done. Retry"),
    ))
}

/// The error of a call that was refused because its task hub is another node's, with the mark that it
/// had no effect.
pub(crate) fn refused(mut status: Status) -> Status {
    let reason = MetadataValue::from_static(NOT_OWNER);
    status.metadata_mut().insert(REFUSED, reason);
    status
}

/// The error of a call that may have done a part of its work, without the mark of one that has not.
pub(crate) fn partly_done(mut status: Status) -> Status {
    status.metadata_mut().remove(REFUSED);
    status
}

/// The error of a call that no node answers now.
pub(super) fn unavailable(reason: &str) -> Status {
    because("NODE_UNAVAILABLE", reason.to_owned())
}

fn because(reason: &str, message: String) -> Status {
    let details = ErrorDetails::with_error_info(reason, "durabletask.io", []);
    Status::with_error_details(Code::Unavailable, message, details)
}

/// Whether an answer says that the call was refused before it had an effect.
pub(super) fn was_refused(headers: &HeaderMap) -> bool {
    headers.contains_key(REFUSED)
}

/// Removes the headers that only nodes may send to each other.
pub(super) fn strip_peer_headers(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(PREFIX))
        .cloned()
        .collect();
    for name in ours {
        headers.remove(name);
    }
}

/// Prepares the headers of a caller's request for another node: without what belongs to the
/// connection, without the caller's credentials (this node has checked them, and the other one
/// has no use for them), and with the marks of a forwarded call.
pub(super) fn mark_forwarded(headers: &mut HeaderMap, node: &str, kind: Kind) {
    let of_connection: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in of_connection {
        headers.remove(name);
    }
    for name in [
        header::CONNECTION,
        header::HOST,
        header::EXPECT,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::AUTHORIZATION,
        header::COOKIE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ] {
        headers.remove(name);
    }
    strip_peer_headers(headers);
    headers.insert(VERSION, HeaderValue::from_static(V1));
    if let Ok(node) = HeaderValue::from_str(node) {
        headers.insert(NODE, node);
    }
    if kind.is_grpc() {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Takes the time that has passed since a call arrived off its `grpc-timeout`. One that cannot be
/// read is left to its receiver to refuse.
pub(super) fn shorten_deadline(headers: &mut HeaderMap, passed: Duration) {
    let name = HeaderName::from_static("grpc-timeout");
    let left = headers
        .get(&name)
        .and_then(|value| value.to_str().ok())
        .and_then(timeout_of)
        .map(|timeout| timeout.saturating_sub(passed));
    if let Some(left) = left
        && passed >= Duration::from_millis(1)
        && let Ok(value) = HeaderValue::from_str(&timeout_text(left))
    {
        headers.insert(name, value);
    }
}

/// At most eight digits and a unit, as gRPC has it.
fn timeout_of(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

fn timeout_text(timeout: Duration) -> String {
    const MOST: u128 = 99_999_999;
    let whole = |count: u128, unit| format!("{}{unit}", count.min(MOST));
    match timeout.as_millis() {
        0 => whole(timeout.as_micros(), 'u'),
        millis if millis <= MOST => whole(millis, 'm'),
        millis => whole(millis / 1000, 'S'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_shrinks_by_the_time_that_has_passed() {
        for (before, passed, after) in [
            ("1S", 250, "750m"),
            ("99999999H", 1000, "99999999S"),
            ("30M", 1000, "1799000m"),
            ("100m", 500, "0u"),
            ("5000u", 2, "3m"),
            ("1S", 0, "1S"),
            ("soon", 250, "soon"),
            ("123456789S", 250, "123456789S"),
            ("S", 250, "S"),
            ("1é", 250, "1é"),
        ] {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_bytes(before.as_bytes()).unwrap();
            headers.insert("grpc-timeout", value);
            shorten_deadline(&mut headers, Duration::from_millis(passed));
            let now = headers.get("grpc-timeout").unwrap();
            assert_eq!(now.as_bytes(), after.as_bytes(), "{before}");
        }
    }

    #[test]
    fn a_forwarded_call_carries_no_credential_and_no_mark_of_its_callers() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer secret"),
            ("cookie", "durabletask_dashboard=secret"),
            ("connection", "x-one, keep-alive"),
            ("x-one", "of the connection"),
            ("durabletask-peer", "7"),
            ("durabletask-peer-node", "a stranger"),
            ("durabletask-peer-refused", "not-owner"),
            ("workerid", "w1"),
            ("taskhub", "h"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let kind = Kind::of_grpc(&Uri::from_static("/TaskHubSidecarService/StartInstance"));
        mark_forwarded(&mut headers, "node-1", kind);
        let mut kept: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        kept.sort_unstable();
        assert_eq!(
            kept,
            [
                ("durabletask-peer", "1"),
                ("durabletask-peer-node", "node-1"),
                ("taskhub", "h"),
                ("te", "trailers"),
                ("workerid", "w1"),
            ]
        );
    }
}
