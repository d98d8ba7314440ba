//! The headers of every answer, including refusals.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;

use super::cookie::ByTls;

/// Browsers use only HTTPS, for a year.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

const HEADERS: [(HeaderName, &str); 8] = [
    // The API's answers are for this moment and this caller.
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // No page of another origin may load these answers, not even as an image or a
    // script, or keeps a handle on a window of ours.
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=(), \
         clipboard-read=(self), clipboard-write=(self)",
    ),
];

/// Adds the headers that an answer does not have yet.
pub(crate) fn add_security_headers(response: &mut Response, by_tls: ByTls) {
    let headers = response.headers_mut();
    headers.reserve(HEADERS.len() + 4);
    if by_tls.0 {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
    }
    for (name, value) in HEADERS {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
}
