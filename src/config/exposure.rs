//! Settings for how far the front door is exposed: limits, certificates, proxies, origins.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::{Config, Settings};
use crate::duration;

/// Limits per caller, per address and in total.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address. Does not apply to trusted proxies.
    pub connections_per_address: usize,
    /// Requests a second from one address, sustained; bursts of twice as many.
    pub rate_per_address: Option<NonZeroU32>,
    /// Requests a second of one caller, sustained; bursts of twice as many.
    pub rate_per_caller: Option<NonZeroU32>,
    /// Requests of one caller that are answered at once, including long polls.
    pub concurrency_per_caller: usize,
    /// How long the headers of a request may take to arrive.
    pub header_timeout: Duration,
    /// How long a client may send nothing of a body, or read nothing of an answer.
    pub body_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: 1_000,
            rate_per_address: NonZeroU32::new(2_000),
            rate_per_caller: NonZeroU32::new(1_000),
            concurrency_per_caller: 256,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
        }
    }
}

/// The certificate and key files of a TLS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM file with the certificate and its intermediates.
    pub certificate: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
}

/// Networks and single addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(pub(super) Vec<(IpAddr, u8)>);

impl Networks {
    /// Whether an address is in one of them.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0
            .iter()
            .any(|(network, bits)| match (network, address) {
                (IpAddr::V4(network), IpAddr::V4(address)) => {
                    let mask = u32::MAX.checked_shl(32 - u32::from(*bits)).unwrap_or(0);
                    network.to_bits() & mask == address.to_bits() & mask
                }
                (IpAddr::V6(network), IpAddr::V6(address)) => {
                    let mask = u128::MAX.checked_shl(128 - u32::from(*bits)).unwrap_or(0);
                    network.to_bits() & mask == address.to_bits() & mask
                }
                _ => false,
            })
    }

    fn parse(text: &str) -> Option<Self> {
        let one = |item: &str| {
            let (address, bits) = match item.split_once('/') {
                Some((address, bits)) => (address, Some(bits.parse().ok()?)),
                None => (item, None),
            };
            let address: IpAddr = address.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.unwrap_or(most);
            (bits <= most).then_some((address, bits))
        };
        items(text).map(one).collect::<Option<_>>().map(Self)
    }
}

impl Config {
    /// What the settings allow that few people want; it is said, and nothing is refused.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let open = !self.listen.ip().is_loopback();
        if open && self.tls.is_none() && self.trusted_proxies.0.is_empty() {
            warnings.push(format!(
                "the front door listens on {} without TLS: everyone on the way can read tokens and \
                 codes. Set tls-certificate and tls-key, or put a proxy with TLS in front of it and \
                 name it with trusted-proxies",
                self.listen
            ));
        }
        warnings
    }
}

impl Settings {
    /// The settings of this module, from the environment.
    pub(super) fn exposure_from_environment(&mut self, var: &impl Fn(&str) -> Option<String>) {
        self.max_connections = var("COUNTERSIGN_MAX_CONNECTIONS");
        self.max_connections_per_address = var("COUNTERSIGN_MAX_CONNECTIONS_PER_ADDRESS");
        self.rate_per_address = var("COUNTERSIGN_RATE_PER_ADDRESS");
        self.rate_per_caller = var("COUNTERSIGN_RATE_PER_CALLER");
        self.concurrency_per_caller = var("COUNTERSIGN_CONCURRENCY_PER_CALLER");
        self.header_timeout = var("COUNTERSIGN_HEADER_TIMEOUT");
        self.body_timeout = var("COUNTERSIGN_BODY_TIMEOUT");
        self.tls_certificate = var("COUNTERSIGN_TLS_CERTIFICATE");
        self.tls_key = var("COUNTERSIGN_TLS_KEY");
        self.trusted_proxies = var("COUNTERSIGN_TRUSTED_PROXIES");
        self.cors_origins = var("COUNTERSIGN_CORS_ORIGINS");
        self.public_url = var("COUNTERSIGN_PUBLIC_URL");
    }

    pub(super) fn check_limits(&self, problems: &mut Vec<String>) -> Limits {
        let usual = Limits::default();
        let mut number = |name: &str, text: &Option<String>, usual: usize| match text {
            None => usual,
            Some(text) => match text.parse() {
                Ok(number @ 1..=1_000_000) => number,
                _ => {
                    problems.push(format!(
                        "{name} must be a number from 1 to 1000000, not {text:?}"
                    ));
                    usual
                }
            },
        };
        let connections = number("max-connections", &self.max_connections, usual.connections);
        let connections_per_address = number(
            "max-connections-per-address",
            &self.max_connections_per_address,
            usual.connections_per_address,
        );
        let concurrency_per_caller = number(
            "concurrency-per-caller",
            &self.concurrency_per_caller,
            usual.concurrency_per_caller,
        );
        let mut rate = |name: &str, text: &Option<String>, usual| match text.as_deref() {
            None => usual,
            Some("none") => None,
            Some(text) => match text.parse() {
                Ok(rate) => Some(rate),
                Err(_) => {
                    problems.push(format!(
                        "{name} must be a number of requests per second, or none, not {text:?}"
                    ));
                    usual
                }
            },
        };
        let rate_per_address = rate(
            "rate-per-address",
            &self.rate_per_address,
            usual.rate_per_address,
        );
        let rate_per_caller = rate(
            "rate-per-caller",
            &self.rate_per_caller,
            usual.rate_per_caller,
        );
        let mut time = |name: &str, text: &Option<String>, usual| match text.as_deref() {
            None => usual,
            Some(text) => duration::parse(text).unwrap_or_else(|reason| {
                problems.push(format!("{name}: {reason}, not {text:?}"));
                usual
            }),
        };
        Limits {
            connections,
            connections_per_address,
            rate_per_address,
            rate_per_caller,
            concurrency_per_caller,
            header_timeout: time("header-timeout", &self.header_timeout, usual.header_timeout),
            body_timeout: time("body-timeout", &self.body_timeout, usual.body_timeout),
        }
    }

    pub(super) fn check_tls(&self, problems: &mut Vec<String>) -> Option<TlsFiles> {
        match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => Some(TlsFiles {
                certificate: PathBuf::from(certificate),
                key: PathBuf::from(key),
            }),
            (None, None) => None,
            _ => {
                problems.push("tls-certificate and tls-key belong together: set both".to_owned());
                None
            }
        }
    }

    pub(super) fn check_proxies(&self, problems: &mut Vec<String>) -> Networks {
        let text = self.trusted_proxies.as_deref().unwrap_or_default();
        Networks::parse(text).unwrap_or_else(|| {
            problems.push(format!(
                "trusted-proxies must be a list of addresses such as 10.0.0.1 or 10.0.0.0/8, \
                 separated by commas, not {text:?}"
            ));
            Networks::default()
        })
    }

    pub(super) fn check_public_urls(&self, problems: &mut Vec<String>) -> Vec<url::Url> {
        let mut urls = Vec::new();
        for item in items(self.public_url.as_deref().unwrap_or_default()) {
            match item.parse::<url::Url>() {
                Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                    urls.push(url);
                }
                _ => problems.push(format!(
                    "public-url: write an address as browsers show it, https://codes.example, not \
                     {item:?}"
                )),
            }
        }
        urls
    }

    pub(super) fn check_origins(&self, problems: &mut Vec<String>) -> Vec<String> {
        let text = self.cors_origins.as_deref().unwrap_or_default();
        let is_origin = |origin: &str| {
            let url = origin.parse::<url::Url>().ok();
            url.is_some_and(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.origin().ascii_serialization() == origin
            })
        };
        let (good, bad): (Vec<&str>, Vec<&str>) = items(text).partition(|item| is_origin(item));
        for origin in bad {
            problems.push(format!(
                "cors-origins: write an origin as browsers do, https://app.example, not {origin:?}"
            ));
        }
        good.into_iter().map(str::to_owned).collect()
    }
}

/// The items of a comma-separated list.
pub(super) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_begins_with_their_bits() {
        let networks = Networks::parse("10.0.0.0/8, 192.0.2.7, fd00::/8,0.0.0.0/0").unwrap();
        let only = Networks::parse("10.0.0.0/8, 192.0.2.7, fd00::/8").unwrap();
        for (address, inside) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("fd12::1", true),
            ("fe80::1", false),
            ("::ffff:10.0.0.1", true),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(only.contain(address), inside, "{address}");
            assert!(networks.contain(address) || !inside, "{address}");
        }
        assert!(networks.contain("8.8.8.8".parse().unwrap()));
        for wrong in ["10.0.0.0/33", "x", "10.0.0.0/", "fd00::/129"] {
            assert_eq!(Networks::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_front_door_that_is_open_to_the_network_without_tls_is_warned_about() {
        let warned = |listen: &str, change: fn(&mut Config)| {
            let mut config = Config::embedded(std::path::Path::new("data"));
            config.listen = listen.parse().unwrap();
            change(&mut config);
            !config.warnings().is_empty()
        };
        let files = |config: &mut Config| {
            config.tls = Some(TlsFiles {
                certificate: "c.pem".into(),
                key: "k.pem".into(),
            });
        };
        for open in ["0.0.0.0:7071", "[::]:7071", "192.0.2.1:7071"] {
            assert!(warned(open, |_| ()), "{open}");
            assert!(!warned(open, files), "{open}");
            assert!(
                !warned(open, |config| config.trusted_proxies =
                    Networks::parse("10.0.0.1").unwrap()),
                "{open}"
            );
        }
        assert!(!warned("127.0.0.1:7071", |_| ()));
        assert!(!warned("[::1]:7071", |_| ()));
    }

    #[test]
    fn invalid_limits_and_origins_are_reported() {
        let settings = Settings {
            max_connections: Some("0".to_owned()),
            rate_per_caller: Some("0".to_owned()),
            rate_per_address: Some("none".to_owned()),
            body_timeout: Some("soon".to_owned()),
            tls_key: Some("key.pem".to_owned()),
            trusted_proxies: Some("proxy".to_owned()),
            cors_origins: Some("https://a.example, https://a.example/, *".to_owned()),
            ..Settings::default()
        };
        let mut problems = Vec::new();
        let limits = settings.check_limits(&mut problems);
        assert_eq!(limits.rate_per_address, None);
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert_eq!(settings.check_tls(&mut problems), None);
        settings.check_proxies(&mut problems);
        assert_eq!(settings.check_origins(&mut problems), ["https://a.example"]);
        assert_eq!(problems.len(), 7, "{problems:?}");
    }
}
