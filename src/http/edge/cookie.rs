//! The session cookie: which one counts, how it is set, and how others of its name are
//! removed.
//!
//! Other programs on the same host, and other hosts of the same site, can put cookies of any
//! name beside ours. Over TLS our cookie's name keeps them out; without it, several cookies
//! of the name are refused, and the answer removes all of them, so that no one is
//! locked out for longer than one more login.

use std::net::IpAddr;

use axum::extract::{ConnectInfo, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use std::net::SocketAddr;

use crate::access::{COOKIE, HOST_COOKIE, LIFETIME};
use crate::http::FrontDoor;

/// The most folders of a path from which a cookie is removed.
const MOST_FOLDERS: usize = 16;
/// The most parent domains of a host for which a cookie is removed.
const MOST_PARENTS: usize = 3;

const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// Whether the browser came by TLS: to this server, or to a trusted proxy before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByTls(pub(crate) bool);

impl ByTls {
    /// How a request came. Must be called before its address becomes that of a proxy's
    /// client.
    pub(crate) fn of(door: &FrontDoor, request: &Request) -> Self {
        if door.server.tls {
            return Self(true);
        }
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let is_proxy = peer.is_some_and(|ConnectInfo(peer)| {
            let guard = &door.server.guard;
            guard.trusts(peer.ip())
        });
        Self(is_proxy && forwarded_by_tls(request.headers()))
    }

    /// Whether a request used TLS; a server with TLS uses it for every request.
    pub(crate) fn noted(door: &FrontDoor, parts: &Parts) -> Self {
        let noted = parts.extensions.get::<Self>();
        noted.copied().unwrap_or(Self(door.server.tls))
    }

    const fn name(self) -> &'static str {
        if self.0 { HOST_COOKIE } else { COOKIE }
    }
}

/// Whether proxies report that the browser used TLS: `X-Forwarded-Proto`, or, without it,
/// `Forwarded` (RFC 7239). The first proxy's value is the browser's.
fn forwarded_by_tls(headers: &HeaderMap) -> bool {
    let first = |name: &str| {
        let text = headers.get(name)?.to_str().ok()?;
        Some(text.split(',').next().unwrap_or(text).trim().to_owned())
    };
    if let Some(scheme) = first(FORWARDED_PROTO) {
        return scheme.eq_ignore_ascii_case("https");
    }
    let Some(element) = first(header::FORWARDED.as_str()) else {
        return false;
    };
    element.split(';').any(|pair| {
        pair.trim().split_once('=').is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("proto")
                && value.trim_matches('"').eq_ignore_ascii_case("https")
        })
    })
}

/// The session cookies of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent<'a> {
    Nothing,
    One(&'a str),
    /// More than one: which of them is the browser's own is unknown.
    Several(Vec<&'a str>),
}

impl<'a> Sent<'a> {
    /// Each value.
    pub(crate) fn values(&self) -> &[&'a str] {
        match self {
            Self::Nothing => &[],
            Self::One(value) => std::slice::from_ref(value),
            Self::Several(values) => values,
        }
    }
}

/// A request's cookies under both names. Alone, only the name that is valid here counts.
pub(crate) fn sent(headers: &HeaderMap, by_tls: ByTls) -> Sent<'_> {
    let mut found = Vec::new();
    for line in headers.get_all(header::COOKIE) {
        // Bytes, not text: another program's cookie may contain anything.
        for pair in line.as_bytes().split(|byte| *byte == b';') {
            let pair = pair.trim_ascii();
            let at = pair.iter().position(|byte| *byte == b'=');
            let (name, value) = pair.split_at(at.unwrap_or(pair.len()));
            let name = name.trim_ascii_end();
            if name == COOKIE.as_bytes() || name == HOST_COOKIE.as_bytes() {
                let value = value.get(1..).unwrap_or_default().trim_ascii_start();
                // A value that is not text is not a session, but still a cookie.
                found.push((name, std::str::from_utf8(value).unwrap_or_default()));
            }
        }
    }
    match found.as_slice() {
        [] => Sent::Nothing,
        [(name, value)] if *name == by_tls.name().as_bytes() => Sent::One(value),
        [_] => Sent::Nothing,
        several => Sent::Several(several.iter().map(|(_, value)| *value).collect()),
    }
}

/// Sets the cookie, and removes others of its name.
pub(crate) fn set(value: &str, by_tls: ByTls, uri: &Uri, headers: &HeaderMap) -> Vec<HeaderValue> {
    let secure = if by_tls.0 { "; Secure" } else { "" };
    let name = by_tls.name();
    let seconds = LIFETIME.num_seconds();
    let cookie =
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    let other = ByTls(!by_tls.0);
    let mut cookies = removals(uri, headers, by_tls, Keep::Root);
    cookies.push(removal(other.name(), "/", by_tls));
    // Last, so that none of the removals applies to it.
    cookies.push(cookie);
    values(&cookies)
}

/// Removes every cookie of the name that this request can have sent.
pub(crate) fn clear(by_tls: ByTls, uri: &Uri, headers: &HeaderMap) -> Vec<HeaderValue> {
    let mut cookies = removals(uri, headers, by_tls, Keep::Nothing);
    cookies.push(removal(ByTls(!by_tls.0).name(), "/", by_tls));
    values(&cookies)
}

/// The same, except the one that logging in replaces.
pub(crate) fn clear_beside(by_tls: ByTls, uri: &Uri, headers: &HeaderMap) -> Vec<HeaderValue> {
    values(&removals(uri, headers, by_tls, Keep::Root))
}

fn values(cookies: &[String]) -> Vec<HeaderValue> {
    let values = cookies
        .iter()
        .filter_map(|cookie| HeaderValue::from_str(cookie).ok());
    values.collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Nothing,
    /// The host's own cookie at `/`.
    Root,
}

fn removal(name: &str, path: &str, by_tls: ByTls) -> String {
    // Browsers ignore changes of a `__Host-` cookie without `Secure`.
    let secure = if by_tls.0 || name == HOST_COOKIE {
        "; Secure"
    } else {
        ""
    };
    format!("{name}=; Path={path}; Max-Age=0{secure}")
}

/// Removes cookies that another program may have set at any path and for any host
/// that sends them here. The path of a cookie that was sent is a prefix of the request's.
fn removals(uri: &Uri, headers: &HeaderMap, by_tls: ByTls, keep: Keep) -> Vec<String> {
    let mut cookies = Vec::new();
    let parents = parents(headers);
    for path in folders(uri.path()) {
        if path != "/" || keep == Keep::Nothing {
            cookies.push(removal(COOKIE, path, by_tls));
            if path == "/" && by_tls.0 {
                cookies.push(removal(HOST_COOKIE, path, by_tls));
            }
        }
        for parent in &parents {
            let cookie = removal(COOKIE, path, by_tls);
            cookies.push(format!("{cookie}; Domain={parent}"));
        }
    }
    cookies
}

/// Every path that a cookie for this one can have.
fn folders(path: &str) -> Vec<&str> {
    let mut found = vec!["/"];
    // It goes into a header; a path with unusual characters is not one of ours.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~%@".contains(&byte);
    if !path.bytes().all(plain) {
        return found;
    }
    let slashes = path.match_indices('/').map(|(at, _)| at).skip(1);
    for at in slashes.chain([path.len()]).take(MOST_FOLDERS) {
        for part in [&path[..at], path.get(..=at).unwrap_or("/")] {
            if !part.is_empty() && !found.contains(&part) {
                found.push(part);
            }
        }
    }
    found
}

/// The host and its parent domains of more than one label, for which a subdomain can
/// set cookies; none for addresses.
fn parents(headers: &HeaderMap) -> Vec<&str> {
    let host = headers.get(header::HOST).and_then(|v| v.to_str().ok());
    let Some(host) = host else {
        return Vec::new();
    };
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    if name.parse::<IpAddr>().is_ok() || !name.bytes().all(plain) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut rest = name;
    while rest.contains('.') && found.len() < MOST_PARENTS {
        found.push(rest);
        rest = rest.split_once('.').map_or("", |(_, above)| above);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, lines: &[&'static [u8]]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for line in lines {
            map.append(name, HeaderValue::from_bytes(line).unwrap());
        }
        map
    }

    #[test]
    fn one_cookie_of_the_right_name_counts_and_two_do_not() {
        let (plain, tls) = (ByTls(false), ByTls(true));
        let cookie = |lines: &[&'static [u8]]| headers("cookie", lines);
        let one = cookie(&[b"a=b; countersign_session=x; c=d"]);
        assert_eq!(sent(&one, plain), Sent::One("x"));
        assert_eq!(sent(&one, tls), Sent::Nothing);
        let host = cookie(&[b"__Host-countersign_session=y"]);
        assert_eq!(sent(&host, tls), Sent::One("y"));
        assert_eq!(sent(&host, plain), Sent::Nothing);
        let beside = cookie(&[b"evil=\xff\xfe; countersign_session=x"]);
        assert_eq!(sent(&beside, plain), Sent::One("x"));
        assert_eq!(sent(&cookie(&[b"other=x"]), plain), Sent::Nothing);
        for several in [
            cookie(&[b"countersign_session=x; countersign_session=x"]),
            cookie(&[b"countersign_session=x", b"countersign_session=y"]),
            cookie(&[b"countersign_session=x; __Host-countersign_session=y"]),
            cookie(&[b"countersign_session=\xff;countersign_session=x"]),
            cookie(&[b"countersign_session;countersign_session=x"]),
            cookie(&[b"countersign_session =y;countersign_session=x"]),
        ] {
            for by_tls in [plain, tls] {
                assert!(
                    matches!(sent(&several, by_tls), Sent::Several(values) if values.len() == 2),
                    "{several:?}"
                );
            }
        }
    }

    #[test]
    fn a_cookie_is_taken_away_wherever_it_can_have_come_from() {
        assert_eq!(folders("/"), ["/"]);
        assert_eq!(
            folders("/api/accounts"),
            ["/", "/api", "/api/", "/api/accounts"]
        );
        assert_eq!(folders("/a;b/c"), ["/"]);
        let host = headers("host", &[b"sign.team.example:7071"]);
        assert_eq!(parents(&host), ["sign.team.example", "team.example"]);
        for host in [
            b"127.0.0.1:7071".as_slice(),
            b"[::1]:1",
            b"localhost",
            b"a;b.c",
        ] {
            let mut map = HeaderMap::new();
            map.insert("host", HeaderValue::from_bytes(host).unwrap());
            assert!(parents(&map).is_empty(), "{host:?}");
        }
        let uri = Uri::from_static("/api/session");
        let cookies = removals(&uri, &host, ByTls(false), Keep::Root);
        let alone = "countersign_session=; Path=/; Max-Age=0";
        assert!(!cookies.iter().any(|cookie| cookie == alone));
        let by_parent = format!("{alone}; Domain=team.example");
        assert!(cookies.contains(&by_parent), "{cookies:?}");
        let all = removals(&uri, &host, ByTls(false), Keep::Nothing);
        assert!(all.iter().any(|cookie| cookie == alone));
    }

    #[test]
    fn the_first_proxy_says_how_the_browser_came() {
        for (name, value, by_tls) in [
            ("x-forwarded-proto", "https", true),
            ("x-forwarded-proto", "HTTPS, http", true),
            ("x-forwarded-proto", "http, https", false),
            ("forwarded", "for=192.0.2.1;proto=https", true),
            (
                "forwarded",
                "for=192.0.2.1;Proto=\"https\", proto=http",
                true,
            ),
            ("forwarded", "for=192.0.2.1", false),
            ("x-forwarded-for", "192.0.2.1", false),
        ] {
            let mut map = HeaderMap::new();
            map.insert(name, HeaderValue::from_static(value));
            assert_eq!(forwarded_by_tls(&map), by_tls, "{name}: {value}");
        }
    }
}
