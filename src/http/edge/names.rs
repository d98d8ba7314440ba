//! The names under which browsers reach this server.
//!
//! A cookie is valid only under one of them. Any other name that resolves to this server may
//! belong to an attacker, and so may the pages under it.

use std::net::IpAddr;

use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};

/// The host names and addresses that browsers may use for this server.
#[derive(Clone, Debug)]
pub(crate) struct OwnNames {
    /// The listening address.
    listen: IpAddr,
    /// The configured names, in lower case.
    public: Vec<String>,
}

impl OwnNames {
    /// A server that listens on `listen` and is also reached by `public` addresses, URLs.
    pub(crate) fn new(listen: IpAddr, public: &[url::Url]) -> Self {
        let public = public.iter().filter_map(url::Url::host_str);
        Self {
            listen: listen.to_canonical(),
            public: public.map(str::to_ascii_lowercase).collect(),
        }
    }

    /// Whether a request uses one of this server's names.
    pub(crate) fn are_meant_by(&self, parts: &Parts) -> bool {
        let said = parts.headers.get_all(header::HOST).iter();
        let said = said.map(|host| Authority::try_from(host.as_bytes()).ok());
        let mut named = said
            .chain(parts.uri.authority().cloned().map(Some))
            .peekable();
        // Browsers always send it, and once.
        named.peek().is_some()
            && named.all(|host| host.is_some_and(|host| self.contain(host.host())))
    }

    /// A literal address cannot be pointed elsewhere, so each is accepted
    /// that this server may have.
    fn contain(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let digits = name.trim_start_matches('[').trim_end_matches(']');
        match digits
            .parse::<IpAddr>()
            .map(|address| address.to_canonical())
        {
            Ok(address) if address.is_loopback() || self.listen.is_unspecified() => true,
            Ok(address) => address == self.listen || self.public.contains(&name),
            Err(_) => name == "localhost" || self.public.contains(&name),
        }
    }
}

/// The host of a request: with HTTP/2 it is a part of the address.
pub(crate) fn host_of(parts: &Parts) -> Option<&str> {
    let named = text(&parts.headers, header::HOST.as_str());
    named.or_else(|| parts.uri.authority().map(Authority::as_str))
}

/// A header as text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(listen: &str) -> OwnNames {
        let public = "https://codes.example".parse().unwrap();
        OwnNames::new(listen.parse().unwrap(), &[public])
    }

    #[test]
    fn only_own_names_are_known() {
        let local = names("127.0.0.1");
        for own in [
            "localhost",
            "LOCALHOST.",
            "127.0.0.1",
            "[::1]",
            "Codes.Example",
        ] {
            assert!(local.contain(own), "{own}");
        }
        for other in [
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "",
            "codes.example.evil",
        ] {
            assert!(!local.contain(other), "{other}");
        }
        assert!(names("10.0.0.1").contain("10.0.0.1"));
        assert!(!names("10.0.0.1").contain("10.0.0.2"));
        assert!(names("0.0.0.0").contain("10.0.0.2"));
        assert!(!names("0.0.0.0").contain("evil.example"));
    }
}
