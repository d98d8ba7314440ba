//! What answers of several operations have in common.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

use crate::http::FrontDoor;

/// The answer is for this moment and this caller only.
pub(crate) fn no_store(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether a caller wants a stream of events instead of one answer.
pub(crate) fn accepts_events(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter();
    accepted.any(|value| {
        value
            .to_str()
            .is_ok_and(|text| text.contains("text/event-stream"))
    })
}

/// The result of following something or, when the server stops, its last known
/// state: shutdown does not wait for long polls.
pub(crate) async fn unless_stopped<S, E>(
    door: &FrontDoor,
    known: S,
    following: impl Future<Output = Result<S, E>>,
) -> Result<S, E> {
    tokio::select! {
        latest = following => latest,
        () = door.stop.cancelled() => Ok(known),
    }
}
