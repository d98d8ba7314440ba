//! Keeps other sites' pages out: a browser that may use the dashboard, because it needs no credential
//! or because its user has logged in, must not be tricked into using it for an attacker.
//!
//! - *DNS rebinding*: a page whose name was pointed at our address sends that name as the
//!   host. Only IP addresses, `localhost` and names from the configuration are answered.
//! - *Cross-site requests*: every change is a POST with a JSON body from our own
//!   origin. A browser sends the origin of each such request, and no form can send JSON.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Lets a request through or refuses it with 403.
pub(crate) async fn guard(
    State(hosts): State<Arc<[String]>>,
    request: Request,
    next: Next,
) -> Response {
    match check(request.method(), request.uri(), request.headers(), &hosts) {
        Ok(()) => next.run(request).await,
        Err(reason) => (StatusCode::FORBIDDEN, format!("{reason}\n")).into_response(),
    }
}

fn check(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    hosts: &[String],
) -> Result<(), &'static str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // A request line may name a host too, and there may be several headers: all count.
    let mut named = Vec::new();
    named.extend(uri.authority().map(|authority| authority.as_str()));
    for header in headers.get_all(header::HOST) {
        named.push(header.to_str().unwrap_or_default());
    }
    let host = *named.first().ok_or("the request has no host")?;
    if !named.iter().all(|name| may_be_ours(name, hosts)) {
        return Err(
            "the dashboard is not served under this name; use an IP address or localhost, or start the scheduler with --dashboard-host",
        );
    }
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    let from = text("origin").map(|origin| origin.split_once("://").map_or(origin, |(_, h)| h));
    if from.is_some_and(|from| !from.eq_ignore_ascii_case(host)) {
        return Err("the request comes from another site");
    }
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin") {
        return Err("the request comes from another site");
    }
    let json = text(header::CONTENT_TYPE.as_str())
        .and_then(|kind| kind.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    if json {
        Ok(())
    } else {
        Err("changes must be a POST with Content-Type application/json")
    }
}

fn may_be_ours(host: &str, hosts: &[String]) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').unwrap_or(("", "")),
        None => host
            .find(':')
            .map_or((host, ""), |colon| host.split_at(colon)),
    };
    // Nothing else may follow the name: a user's name before an @ looks like one.
    let port = port.strip_prefix(':').unwrap_or(port);
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|ours| ours.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(method: &Method, headers: &[(&'static str, &str)]) -> Result<(), &'static str> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let hosts = ["hub.example".to_owned()];
        check(method, &Uri::from_static("/api"), &headers, &hosts)
    }

    #[test]
    fn only_names_that_cannot_be_rebound_are_answered() {
        for host in [
            "127.0.0.1:8082",
            "[::1]:8082",
            "localhost",
            "LOCALHOST:1",
            "hub.example:80",
        ] {
            assert_eq!(verdict(&Method::GET, &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example:8082",
            "localhost.evil.example",
            "127.0.0.1:80@evil.example",
            "127.0.0.1@evil.example",
            "[::1]evil.example",
            "[::1",
            "",
        ] {
            assert!(verdict(&Method::GET, &[("host", host)]).is_err(), "{host}");
        }
        assert!(verdict(&Method::GET, &[]).is_err());
    }

    #[test]
    fn a_request_line_with_a_host_and_each_header_count() {
        let ours = ("host", "127.0.0.1:8082");
        let foreign = ("host", "evil.example");
        let absolute = |line: &'static str, named: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in named {
                headers.append(*name, value.parse().unwrap());
            }
            check(&Method::GET, &Uri::from_static(line), &headers, &[])
        };
        assert_eq!(absolute("http://127.0.0.1:8082/", &[ours]), Ok(()));
        assert!(absolute("http://evil.example/", &[ours]).is_err());
        assert!(absolute("http://127.0.0.1:8082/", &[foreign]).is_err());
        assert!(absolute("/", &[ours, foreign]).is_err());
        assert!(absolute("/", &[foreign, ours]).is_err());
    }

    #[test]
    fn a_change_comes_from_our_own_pages_and_is_json() {
        let host = ("host", "127.0.0.1:8082");
        let json = ("content-type", "application/json; charset=utf-8");
        assert_eq!(verdict(&Method::POST, &[host, json]), Ok(()));
        let ours = ("origin", "http://127.0.0.1:8082");
        assert_eq!(
            verdict(
                &Method::POST,
                &[host, json, ours, ("sec-fetch-site", "same-origin")]
            ),
            Ok(())
        );
        for foreign in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("origin", "http://127.0.0.1:9999"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(
                verdict(&Method::POST, &[host, json, foreign]).is_err(),
                "{foreign:?}"
            );
        }
        assert!(verdict(&Method::POST, &[host]).is_err());
        assert!(
            verdict(
                &Method::POST,
                &[host, ("content-type", "application/x-www-form-urlencoded")]
            )
            .is_err()
        );
    }
}
